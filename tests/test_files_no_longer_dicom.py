"""Images that reach us as NIfTI, NRRD or MetaImage go through the same rooms as DICOM, by rule."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from file_source import PERSON, drawn, pictured, rules_of, write_itk, write_nifti
from tiny_source import Person, write_structures, write_table

from pipeline import case
from pipeline.audit import audit
from pipeline.index import index
from pipeline.io import ledger, store
from pipeline.io.workspace import Workspace, create
from pipeline.model.record import Finished, Outcome
from pipeline.plan import TaskPlan, plan
from pipeline.planned import planned
from pipeline.release import build, pack

TASK = "Task11_Files"
LPI = np.array([[-0.8, 0, 0, 90], [0, -0.7, 0, 60], [0, 0, -2.5, 30], [0, 0, 0, 1.0]])
TURNED = np.array([[0, 0, 1.5, -20], [-1, 0, 0, 33], [0, 1.25, 0, 5], [0, 0, 0, 1.0]])


@dataclass(frozen=True)
class Place:
    """A source folder, a workspace and rules."""

    folder: Path

    @property
    def source(self) -> Path:
        return self.folder / PERSON

    def planned(self, cases: Path | None = None, **changes: Any) -> tuple[Workspace, TaskPlan]:
        """Write the rules, index and plan; look for the person in what is told."""
        rules = self.folder / "rules"
        rules.mkdir()
        (rules / f"{TASK}.yaml").write_text(json.dumps(rules_of(TASK, **changes)))
        (self.folder / "key").write_text("07" * 32)
        workspace = create(self.folder / "workspace", self.folder / "key")
        index(workspace, [self.source], TASK, lambda *_: None)
        (made,) = plan(workspace, [TASK], rules=rules, cases=cases, is_proposing=True)
        assert PERSON not in json.dumps(made.to_json())
        return workspace, made


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def made_of(workspace: Workspace) -> list[Outcome]:
    """Make every planned case; nothing of the person may be left in the store or in a refusal."""
    outcomes = [case.run(request, lambda _: None) for request in planned(workspace, [TASK])[0].requests]
    for path in workspace.store.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            content = gzip.decompress(content) if path.suffix == ".gz" else content
            assert PERSON.encode() not in content
    assert PERSON not in json.dumps([o.to_json() for o in outcomes if not isinstance(o, Finished)])
    return outcomes


def entry(
    workspace: Workspace, outcome: Outcome
) -> tuple[nib.Nifti1Image, nib.Nifti1Image, Mapping[str, Any]]:
    assert isinstance(outcome, Finished), outcome
    folder = workspace.store / outcome.entry
    record = store.find(workspace.store, outcome.entry)
    assert record is not None
    return nib.load(folder / "image.nii.gz"), nib.load(folder / "label.nii.gz"), record


def same_places(found: nib.Nifti1Image, data: np.ndarray, affine: np.ndarray) -> None:
    """Check that every voxel of a source lies at its millimetre with its value."""
    wanted = nib.as_closest_canonical(nib.Nifti1Image(data, affine))
    assert np.array_equal(np.asanyarray(found.dataobj), np.asanyarray(wanted.dataobj))
    assert np.allclose(found.affine, wanted.affine, atol=1e-4)


LITS: Mapping[str, Any] = {
    "source": {"format": "nifti", "subject": r"(?:volume|segmentation)-([0-9]+)\.nii"},
    "label": {
        "classes": [
            {"value": 1, "name": "liver", "from_names": []},
            {"value": 2, "name": "cancer", "from_names": [], "required": False},
        ]
    },
}


def write_lits(folder: Path, numbers: Sequence[int]) -> None:
    for number in numbers:
        write_nifti(folder / f"volume-{number}.nii", pictured(number), LPI)
        write_nifti(folder / f"segmentation-{number}.nii", drawn(number, (1, 2)), LPI)


def test_volumes_and_segmentations_in_one_folder_find_each_other_by_their_number(place: Place) -> None:
    write_lits(place.source, (1, 11, 2))
    workspace, made = place.planned(**LITS)
    assert [c.case for c in made.cases] == ["file_001", "file_002", "file_003"]
    assert len({c.subject for c in made.cases}) == 3
    for one, outcome in zip(made.cases, made_of(workspace), strict=True):
        image, label, record = entry(workspace, outcome)
        number = int(one.channels["CT"][0].path.rpartition("-")[2].removesuffix(".nii"))
        same_places(image, pictured(number), LPI)
        same_places(label, drawn(number, (1, 2)), LPI)
        assert image.get_data_dtype() == np.int16
        notes = {note["stage"]: note for note in record["notes"] if note["channel"] == "CT"}
        assert [room for room in notes if room != "screen"] == [
            "deidentify",
            "convert",
            "orient",
            "align",
            "scale",
        ]
        assert notes["deidentify"]["texts_removed"] == 3


def test_a_release_of_files_passes_the_audit_down_to_its_sources(place: Place) -> None:
    write_lits(place.source, (0, 1))
    workspace, _ = place.planned(**LITS)
    build(workspace, [TASK], workers=1, told=lambda *_: None, ended=lambda _: None)
    release = place.folder / "release"
    pack(workspace, release, [TASK], told=lambda _: None)
    found = audit(release, workspace=workspace.root)
    assert found.findings == ()
    rows = ledger.read_fates(workspace.private / "fates.csv")
    assert [row["fate"] for row in rows] == ["used"] * 4


SEQUENCES = ("FLAIR", "T1w", "t1gd", "T2w")
ENDINGS = {"FLAIR": "flair", "T1w": "t1", "t1gd": "t1ce", "T2w": "t2"}
MAGNITUDE = {"method": "robust_min_max", "percentiles": [0.5, 99.5], "over": "nonzero"}


def test_a_folder_a_subject_with_a_file_a_sequence_is_a_case_of_four_channels(place: Place) -> None:
    for number in range(2):
        for turn, ending in enumerate(ENDINGS.values()):
            path = place.source / f"HGG/Brats_{number}/Brats_{number}_{ending}.nii.gz"
            write_itk(path, np.abs(pictured(10 * number + turn)), TURNED)
        write_itk(
            place.source / f"HGG/Brats_{number}/Brats_{number}_seg.nii.gz", drawn(number, (1, 4)), TURNED
        )
    channels = [
        {
            "name": name, "quantity": "arbitrary", "scale": MAGNITUDE,
            "select": {"file": {"matches": rf"_{ENDINGS[name]}\.nii"}, "slices": {"min": 2}},
        }
        for name in SEQUENCES
    ]  # fmt: skip
    classes = [
        {"value": 1, "name": "core", "from_names": []},
        {"value": 2, "name": "rim", "from_names": [], "from_values": [4]},
    ]
    workspace, made = place.planned(channels=channels, label={"classes": classes})
    assert [list(c.channels) for c in made.cases] == [list(SEQUENCES)] * 2
    for one, outcome in zip(made.cases, made_of(workspace), strict=True):
        image, label, _ = entry(workspace, outcome)
        number = int(one.channels["FLAIR"][0].path.rpartition("Brats_")[2][0])
        values = np.asanyarray(image.dataobj)
        assert values.shape[3] == 4
        source = np.abs(pictured(10 * number + 2))
        wanted = np.asanyarray(nib.as_closest_canonical(nib.Nifti1Image(source, TURNED)).dataobj)
        low, high = np.percentile(wanted[wanted != 0], [0.5, 99.5])
        assert np.allclose(values[..., 2], np.clip((wanted - low) / (high - low), 0, 1) * 1000, atol=0.01)
        assert sorted(np.unique(np.asanyarray(label.dataobj))) == [0, 1, 2]


def test_volumes_of_one_four_dimensional_file_are_told_by_their_place(place: Place) -> None:
    data = np.stack([pictured(n) for n in range(3)], axis=-1)
    write_nifti(place.source / "imagesTr/la_003.nii", data, LPI)
    write_nifti(place.source / "labelsTr/la_003.nii", drawn(3), LPI)
    channels = [
        {
            "name": name, "quantity": "other_quantitative", "scale": {"method": "keep"},
            "select": {"file": {"matches": "^imagesTr/"}, "volume": {"equals": number}},
        }
        for name, number in (("first", 2), ("second", 0))
    ]  # fmt: skip
    source = {"format": "nifti", "subject": r"(la_\d+)\.nii"}
    workspace, made = place.planned(channels=channels, source=source)
    image, label, _ = entry(workspace, made_of(workspace)[0])
    for place_, number in enumerate((2, 0)):
        same_places(image.slicer[..., place_], pictured(number), LPI)
    same_places(label, drawn(3), LPI)
    assert made.proposal[0]["first"] == "imagesTr/la_003.nii#3"


@pytest.mark.parametrize(
    ("form", "image"), [("mha", "image.mhd"), ("mha", "image.mha"), ("nrrd", "image.nrrd")]
)
def test_itk_files_enter_with_the_file_of_their_voxels(place: Place, form: str, image: str) -> None:
    write_itk(place.source / "a001" / image, pictured(5), TURNED)
    write_itk(place.source / "a001/gt.nrrd", drawn(5), TURNED)
    channels = [
        {
            "name": "MRI", "quantity": "other_quantitative", "scale": {"method": "keep"},
            "select": {"file": {"matches": "image"}, "plane": {"equals": "sagittal"}},
        }
    ]  # fmt: skip
    workspace, _ = place.planned(channels=channels, source={"format": form})
    found, label, record = entry(workspace, made_of(workspace)[0])
    same_places(found, pictured(5), TURNED)
    same_places(label, drawn(5), TURNED)
    assert len(record["sources"]["MRI"]) == (2 if image.endswith("mhd") else 1)
    rows = ledger.read_fates(workspace.private / "fates.csv")
    assert {row["fate"] for row in rows} == {"used"}


def test_a_case_table_names_files_and_subjects(place: Place, tmp_path: Path) -> None:
    write_nifti(place.source / "x.nii", pictured(1), LPI)
    write_nifti(place.source / "y.nii", pictured(2), LPI)
    write_nifti(place.source / "drawn.nii", drawn(1), LPI)
    table = write_table(
        tmp_path / "cases.csv",
        [f"{TASK},file_007,{PERSON},training,y.nii,drawn.nii"],
        "task,case,subject,subset,CT,label",
    )
    channels = [rules_of(TASK)["channels"][0] | {"select": {"file": {"matches": r"(x|y)\.nii"}}}]
    workspace, made = place.planned(cases=table, channels=channels)
    assert made.refusals == []
    assert [c.case for c in made.cases] == ["file_007"]
    image, _, _ = entry(workspace, made_of(workspace)[0])
    same_places(image, pictured(2), LPI)


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        ("sheared", "gantry-tilt"),
        ("conflict", "missing-geometry"),
        ("nowhere", "missing-geometry"),
        ("nan", "not-finite"),
        ("colour", "image-unsupported"),
        ("cut", "truncated"),
    ],
)
def test_what_cannot_be_trusted_is_refused_by_name(place: Place, spoil: str, code: str) -> None:
    path = place.source / "a/volume.nii"
    data, affine = pictured(1).astype(np.float32), LPI.copy()
    if spoil == "sheared":
        affine[0, 2] = 0.4
    if spoil == "nan":
        data[0, 0, 0] = np.nan
    made = nib.Nifti1Image(data, affine)
    made.header.set_xyzt_units("mm")
    if spoil == "conflict":
        made.set_qform(np.diag([1.0, 1, 1, 1]), 1)
        made.set_sform(affine, 1)
    if spoil == "nowhere":
        made.set_qform(None, 0)
        made.set_sform(None, 0)
    blob = bytearray(made.to_bytes())
    if spoil == "colour":
        blob[70:72] = np.int16(128).tobytes()
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(blob[:-5] if spoil == "cut" else blob))
    write_nifti(place.source / "a/label.nii", drawn(1), LPI)
    workspace, made_plan = place.planned()
    codes = [refusal.code for refusal in made_plan.refusals]
    codes += [outcome.code for outcome in made_of(workspace) if not isinstance(outcome, Finished)]
    assert codes == [code]


def test_a_drawing_in_millimetres_is_no_label_of_a_file_without_a_frame_of_reference(
    place: Place, tmp_path: Path
) -> None:
    write_nifti(place.source / "a/volume.nii", pictured(1), LPI)
    write_structures(place.source / "a/contours.dcm", Person())
    table = write_table(
        tmp_path / "cases.csv",
        [f"{TASK},file_001,a,training,contours.dcm"],
        "task,case,subject,subset,label",
    )
    workspace, made = place.planned(cases=table)
    assert made.refusals == []
    (outcome,) = made_of(workspace)
    assert not isinstance(outcome, Finished)
    assert outcome.code == "frame-of-reference"


def test_rules_ask_of_a_file_only_what_it_says(place: Place) -> None:
    write_nifti(place.source / "a/volume.nii", pictured(1), LPI)
    with pytest.raises(Exception, match=r"no longer DICOM"):
        place.planned(
            channels=[rules_of(TASK)["channels"][0] | {"select": {"SeriesDescription": {"matches": "x"}}}]
        )
