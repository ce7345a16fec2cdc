"""Say as data what the phantom holds: the ten tasks with their organs, channels, planes and labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.demo.anatomy import Organ
from pipeline.demo.geometry import Triple

TEST_EVERY = 4
"""Every fourth subject is for testing; so a longer demo begins with the shorter one."""

TURNED_TASKS = ("Task01_BrainTumour", "Task02_Heart")
TURNED_CASES = (1, 5)
"""Which subjects (counted from 0) are stored turned by 180 degrees: the second and the fifth for training."""


@dataclass(frozen=True, slots=True)
class ChannelPlan:
    """One image of a case: its published name, the protocol that makes it, and how bright each tissue is."""

    name: str
    protocol: str
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """One task of the phantom.

    `labels` are the kinds of label object, used in turn, `none` for a subject that nobody labelled;
    `published` says that the task brings a case table with published ids.
    """

    task: str
    modality: str
    region: str
    organs: tuple[Organ, ...]
    channels: tuple[ChannelPlan, ...]
    class_names: tuple[str, ...]
    labels: tuple[str, ...]
    marker: Triple = (0.78, 0.72, 0.62)
    planes: tuple[str, ...] = ("axial", "axial", "axial", "axial")
    published: bool = False


_CT = {"air": -1000.0, "body": 35.0, "marker": 1150.0, "bone": 900.0, "lung": -830.0}
_EVERY_PLANE = ("axial", "sagittal", "coronal", "oblique")

_BRAIN = (
    Organ("ventricle", (0.15, 0.1, -0.05), (0.2, 0.3, 0.35)),
    Organ("edema", (-0.32, 0.22, 0.1), (0.36, 0.34, 0.5), 1),
    Organ("enhancing", (-0.3, 0.2, 0.12), (0.22, 0.22, 0.34), 3),
    Organ("necrosis", (-0.28, 0.19, 0.14), (0.11, 0.11, 0.22), 2),
)
_FLAIR = {
    "air": 0.0,
    "body": 420.0,
    "marker": 1900.0,
    "ventricle": 90.0,
    "edema": 1300.0,
    "enhancing": 980.0,
    "necrosis": 700.0,
}
_T1W = {
    "air": 0.0,
    "body": 900.0,
    "marker": 1700.0,
    "ventricle": 210.0,
    "edema": 620.0,
    "enhancing": 700.0,
    "necrosis": 430.0,
}
_T1GD = {
    "air": 0.0,
    "body": 950.0,
    "marker": 2600.0,
    "ventricle": 230.0,
    "edema": 640.0,
    "enhancing": 2100.0,
    "necrosis": 450.0,
}
_T2W = {
    "air": 0.0,
    "body": 600.0,
    "marker": 2300.0,
    "ventricle": 2000.0,
    "edema": 1500.0,
    "enhancing": 1150.0,
    "necrosis": 1750.0,
}

_PELVIS = (
    Organ("bone", (-0.62, -0.1, 0.2), (0.14, 0.25, 0.7)),
    Organ("bladder", (0.08, 0.42, 0.35), (0.34, 0.22, 0.5)),
    Organ("PZ", (0.06, -0.28, -0.05), (0.4, 0.28, 0.62), 1),
    Organ("TZ", (0.08, -0.16, 0.0), (0.26, 0.2, 0.45), 2),
)

_ABDOMEN_BONE = Organ("bone", (0.05, -0.55, 0.1), (0.13, 0.12, 1.4))
_LIVER = Organ("liver", (0.38, 0.12, 0.15), (0.4, 0.46, 0.72), 1)

TASKS: tuple[TaskPlan, ...] = (
    TaskPlan(
        "Task01_BrainTumour",
        "MR",
        "BRAIN",
        _BRAIN,
        (
            ChannelPlan("FLAIR", "flair", _FLAIR),
            ChannelPlan("T1w", "t1", _T1W),
            ChannelPlan("t1gd", "t1gd", _T1GD),
            ChannelPlan("T2w", "t2", _T2W),
        ),
        ("edema", "non-enhancing tumor", "enhancing tumour"),
        ("nifti", "nrrd", "seg", "nifti-ras"),
        marker=(0.42, 0.38, 0.5),
        planes=("axial", "axial", "axial-tilted", "axial"),
        published=True,
    ),
    TaskPlan(
        "Task02_Heart",
        "MR",
        "HEART",
        (
            Organ("lung", (-0.55, 0.1, 0.2), (0.24, 0.5, 0.8)),
            Organ("ventricle", (-0.15, 0.2, -0.25), (0.34, 0.32, 0.5)),
            Organ("atrium", (0.12, -0.2, 0.15), (0.36, 0.28, 0.42), 1),
            Organ("atrium", (0.42, -0.05, 0.3), (0.14, 0.24, 0.22), 1),
        ),
        (
            ChannelPlan(
                "MRI",
                "heart",
                {
                    "air": 14.0,
                    "body": 480.0,
                    "marker": 1700.0,
                    "lung": 60.0,
                    "ventricle": 1100.0,
                    "atrium": 1400.0,
                },
            ),
        ),
        ("left atrium",),
        ("nifti", "seg", "rtstruct", "none"),
        planes=("oblique", "sagittal", "coronal", "axial"),
        published=True,
    ),
    TaskPlan(
        "Task03_Liver",
        "CT",
        "ABDOMEN",
        (
            _ABDOMEN_BONE,
            Organ("spleen", (-0.52, -0.1, 0.3), (0.2, 0.24, 0.45)),
            _LIVER,
            Organ("tumour", (0.36, 0.2, 0.1), (0.16, 0.17, 0.34), 2),
        ),
        (ChannelPlan("CT", "liver-ct", _CT | {"liver": 115.0, "spleen": 125.0, "tumour": 62.0}),),
        ("liver", "cancer"),
        ("seg", "rtstruct", "nifti", "none"),
    ),
    TaskPlan(
        "Task04_Hippocampus",
        "MR",
        "BRAIN",
        (
            Organ("skull", (0.03, -0.05, 0.04), (0.86, 0.74, 1.25)),
            Organ("brain", (0.04, -0.03, 0.03), (0.74, 0.63, 1.05)),
            Organ("anterior", (-0.3, 0.18, -0.1), (0.2, 0.26, 0.4), 1),
            Organ("posterior", (-0.22, -0.24, 0.06), (0.16, 0.27, 0.36), 2),
        ),
        (
            ChannelPlan(
                "MRI",
                "hippocampus",
                {
                    "air": 9.0,
                    "body": 300.0,
                    "marker": 1500.0,
                    "skull": 150.0,
                    "brain": 820.0,
                    "anterior": 1010.0,
                    "posterior": 930.0,
                },
            ),
        ),
        ("Anterior", "Posterior"),
        ("nifti-ras", "nrrd", "seg", "none"),
        planes=_EVERY_PLANE,
    ),
    TaskPlan(
        "Task05_Prostate",
        "MR",
        "PROSTATE",
        _PELVIS,
        (
            ChannelPlan(
                "T2",
                "t2-prostate",
                {
                    "air": 11.0,
                    "body": 380.0,
                    "marker": 1800.0,
                    "bone": 150.0,
                    "bladder": 2100.0,
                    "PZ": 1350.0,
                    "TZ": 800.0,
                },
            ),
            ChannelPlan(
                "ADC",
                "adc",
                {
                    "air": 0.0,
                    "body": 900.0,
                    "marker": 2900.0,
                    "bone": 300.0,
                    "bladder": 3100.0,
                    "PZ": 1700.0,
                    "TZ": 1250.0,
                },
            ),
        ),
        ("PZ", "TZ"),
        ("nifti", "seg", "nrrd", "rtstruct"),
        planes=("axial", "axial-tilted", "axial", "axial-tilted"),
        published=True,
    ),
    TaskPlan(
        "Task06_Lung",
        "CT",
        "CHEST",
        (
            _ABDOMEN_BONE,
            Organ("lung", (0.42, 0.05, 0.05), (0.32, 0.5, 1.0)),
            Organ("lung", (-0.45, 0.0, 0.0), (0.27, 0.44, 0.9)),
            Organ("tumour", (0.36, 0.12, 0.2), (0.15, 0.18, 0.3), 1),
        ),
        (ChannelPlan("CT", "lung-ct", _CT | {"tumour": 48.0}),),
        ("cancer",),
        ("nifti", "rtstruct", "nrrd", "none"),
    ),
    TaskPlan(
        "Task07_Pancreas",
        "CT",
        "ABDOMEN",
        (
            _ABDOMEN_BONE,
            Organ("liver", (0.45, 0.15, 0.25), (0.34, 0.42, 0.6)),
            Organ("pancreas", (-0.1, 0.0, 0.05), (0.44, 0.18, 0.36), 1),
            Organ("tumour", (0.08, 0.04, 0.0), (0.15, 0.13, 0.28), 2),
        ),
        (ChannelPlan("CT", "pancreas-ct", _CT | {"liver": 112.0, "pancreas": 96.0, "tumour": 55.0}),),
        ("pancreas", "cancer"),
        ("nifti-ras", "nifti", "seg", "none"),
    ),
    TaskPlan(
        "Task08_HepaticVessel",
        "CT",
        "LIVER",
        (
            _ABDOMEN_BONE,
            Organ("liver", (0.34, 0.1, 0.1), (0.44, 0.5, 0.8)),
            Organ("vessel", (0.3, 0.0, 0.1), (0.36, 0.09, 0.18), 1),
            Organ("vessel", (0.2, 0.15, 0.05), (0.09, 0.3, 0.2), 1),
            Organ("tumour", (0.44, 0.28, 0.2), (0.15, 0.16, 0.3), 2),
        ),
        (ChannelPlan("CT", "vessel-ct", _CT | {"liver": 108.0, "vessel": 190.0, "tumour": 58.0}),),
        ("Vessel", "Tumour"),
        ("rtstruct", "seg", "nifti", "none"),
    ),
    TaskPlan(
        "Task09_Spleen",
        "CT",
        "ABDOMEN",
        (
            _ABDOMEN_BONE,
            Organ("liver", (0.45, 0.15, 0.25), (0.34, 0.42, 0.6)),
            Organ("spleen", (-0.42, -0.12, 0.25), (0.26, 0.3, 0.55), 1),
        ),
        (ChannelPlan("CT", "spleen-ct", _CT | {"liver": 112.0, "spleen": 131.0}),),
        ("spleen",),
        ("seg", "rtstruct", "nifti", "none"),
        published=True,
    ),
    TaskPlan(
        "Task10_Colon",
        "CT",
        "ABDOMEN",
        (
            _ABDOMEN_BONE,
            Organ("liver", (0.45, 0.2, 0.3), (0.3, 0.4, 0.5)),
            Organ("gas", (-0.4, 0.25, -0.1), (0.2, 0.2, 0.6)),
            Organ("tumour", (-0.26, 0.14, -0.1), (0.17, 0.16, 0.34), 1),
        ),
        (ChannelPlan("CT", "colon-ct", _CT | {"liver": 110.0, "gas": -920.0, "tumour": 71.0}),),
        ("colon cancer primaries",),
        ("rtstruct", "nifti-ras", "nifti", "none"),
    ),
)
"""The ten tasks in order."""

MASK_KINDS = ("nifti", "nifti-ras", "nrrd")
"""Labels that are voxels and refer to no image: NIfTI in the acquisition's axis order or RAS+, NRRD."""
