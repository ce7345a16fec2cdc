"""The ten rules files: as published, choosing the right series of every vendor, reading experts' names."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.sr._concepts_dict import concepts

from pipeline.demo import make
from pipeline.io.dicom import FACT_KEYWORDS, is_dicom, read_header
from pipeline.io.ruleset import load_rules, load_task, shipped_rules
from pipeline.io.source import entries, files_below
from pipeline.model.rules import SELECT_KEYWORDS, TaskRules
from pipeline.model.series import SourceFile, SourceRef, Stack
from pipeline.stages.ingest import ingest
from pipeline.stages.match import half_turn, selects

ROOT = Path(__file__).parents[1]
PUBLISHED = ROOT.parent / "shared/data/msd"
REAL = ROOT.parent / "shared/data/real"
RULES = {name: loaded.rules for name, loaded in load_rules(None).items()}
CT_TASKS = [name for name, rules in RULES.items() if rules.channels[0].name == "CT"]

# As published


@pytest.fixture(params=RULES)
def header(request: pytest.FixtureRequest) -> dict[str, Any]:
    path = PUBLISHED / f"{request.param}.json"
    if not path.is_file():
        pytest.skip("the published dataset.json files are not beside this checkout")
    document: dict[str, Any] = json.loads(path.read_text()) | {"task": request.param}
    return document


def test_texts_channels_and_classes_are_as_published(header: dict[str, Any]) -> None:
    rules = RULES[header["task"]]

    texts = ("name", "description", "reference", "licence")
    assert {key: getattr(rules.header, key) for key in texts} == {key: header[key] for key in texts}
    assert rules.header.release == header.get("release", header.get("relase"))
    assert rules.header.quantitative is ("quantitative" in header)
    if "quantitative" in header:
        assert [int(c.quantity.is_quantitative) for c in rules.channels] == header["quantitative"]
    assert {str(n): c.name for n, c in enumerate(rules.channels)} == header["modality"]
    classes = {"0": "background"} | {str(c.value): c.name for c in rules.label.classes}
    assert classes == header["labels"]


def test_ids_and_splits_are_as_published_in_published_order(header: dict[str, Any]) -> None:
    loaded = load_task(shipped_rules() / f"{header['task']}.yaml")
    training = [Path(case["image"]).name.removesuffix(".nii.gz") for case in header["training"]]
    test = [Path(case).name.removesuffix(".nii.gz") for case in header["test"]]

    assert loaded.published is not None
    assert (list(loaded.published.training), list(loaded.published.test)) == (training, test)
    split = loaded.rules.cases.split
    assert (split.training, split.test) == (len(training), len(test))


@pytest.mark.parametrize("task", RULES)
def test_magnitudes_are_scaled_to_a_thousand_and_quantities_kept(task: str) -> None:
    for channel in RULES[task].channels:
        if channel.quantity.is_quantitative:
            assert channel.scale.method == "keep"
        else:
            assert channel.scale.method == "robust_min_max"
            assert channel.scale.range == (0, 1000)
            assert channel.scale.percentiles == (0.5, 99.5)
            assert channel.scale.over == ("nonzero" if task == "Task01_BrainTumour" else "all")


@pytest.mark.parametrize("task", RULES)
def test_no_expected_range_stands_without_a_word_of_its_source(task: str) -> None:
    lines = (ROOT / f"rules/{task}.yaml").read_text().splitlines()
    places = [number for number, line in enumerate(lines) if line.strip().startswith("expected:")]
    assert len(places) == sum(bool(channel.expected) for channel in RULES[task].channels) > 0
    for place in places:
        around = [lines[place - 1].strip(), lines[place + 1].strip()]
        assert any(text.startswith("#") for text in around)


# Selection


def test_the_index_keeps_all_that_rules_may_ask() -> None:
    assert set(SELECT_KEYWORDS) - {"plane", "slices", "file", "volume"} <= set(FACT_KEYWORDS)


def facts(description: str, **others: Any) -> dict[str, Any]:
    return {
        "Modality": "MR",
        "SeriesDescription": description,
        "ImageType": ["ORIGINAL", "PRIMARY", "M"],
        "plane": "axial",
        "slices": 24,
        **others,
    }


def chosen(task: str, series: dict[str, Any]) -> list[str]:
    return [channel.name for channel in RULES[task].channels if selects(channel, series)]


GADOLINIUM = {"ContrastBolusAgent": "GADOVIST"}


@pytest.mark.parametrize(
    ("description", "others", "channel"),
    [
        ("Ax T2 FLAIR", {}, "FLAIR"),
        ("t2_tirm_tra_dark-fluid", {}, "FLAIR"),
        ("t2_space_dark-fluid_sag_p2_iso", {}, "FLAIR"),
        ("FLAIR_longTR tra", {}, "FLAIR"),
        ("sT2W_FLAIR", {}, "FLAIR"),
        ("FLAIR Ax", GADOLINIUM, "FLAIR"),
        ("Ax T1", {}, "T1w"),
        ("Ax T1", {"ContrastBolusAgent": ""}, "T1w"),
        ("Ax T1", {"ContrastBolusAgent": "NONE"}, "T1w"),
        ("AX T1 POSTERIOR FOSSA", {}, "T1w"),
        ("t1_mprage_tra_p2_iso", {}, "T1w"),
        ("MPRAGE", {}, "T1w"),
        ("T1W_SE tra", {}, "T1w"),
        ("T1 FLAIR Ax", {}, "T1w"),
        ("T1 without contrast", {}, "T1w"),
        ("Ax 3D BRAVO", {}, "T1w"),
        ("Ax T1 +C", GADOLINIUM, "t1gd"),
        ("Ax T1", GADOLINIUM, "t1gd"),
        ("t1_se_tra_KM", GADOLINIUM, "t1gd"),
        ("T1W_SE_Gd", GADOLINIUM, "t1gd"),
        ("SE T1 Ax CE", GADOLINIUM, "t1gd"),
        ("t1_mprage_tra_post_gad", GADOLINIUM, "t1gd"),
        ("Ax T2 FSE", {}, "T2w"),
        ("t2_tse_tra", GADOLINIUM, "T2w"),
        ("T2W_TSE tra", {}, "T2w"),
        ("FSE T2 Ax", {}, "T2w"),
    ],
)
def test_a_brain_series_is_the_channel_that_its_vendor_means(
    description: str, others: dict[str, Any], channel: str
) -> None:
    assert chosen("Task01_BrainTumour", facts(description, **others)) == [channel]


@pytest.mark.parametrize(
    ("description", "others"),
    [
        ("Ax T1 +C", {}),
        ("T1 without contrast", GADOLINIUM),
        ("Ax T2* GRE", {}),
        ("SWI_Images", {}),
        ("t2_fl2d_tra_hemo", {}),
        ("ep2d_diff_3scan_trace_p2", {}),
        ("Ax DWI", {}),
        ("Apparent Diffusion Coefficient (mm2/s)", {}),
        ("ep2d_perf_T2*", {}),
        ("T1_MPR_cor", {}),
        ("t1_mprage_tra_MPR_cor", {}),
        ("SUB T1", {}),
        ("3-plane localizer T2", {}),
        ("T2", {"slices": 3}),
        ("T2", {"ImageType": ["DERIVED", "SECONDARY", "MPR"]}),
        ("T2", {"BodyPartExamined": "PROSTATE"}),
        ("T2", {"Modality": "CT"}),
        ("", {}),
    ],
)
def test_what_is_no_brain_channel_for_sure_is_none(description: str, others: dict[str, Any]) -> None:
    assert chosen("Task01_BrainTumour", facts(description, **others)) == []


@pytest.mark.parametrize(
    ("description", "others", "channels"),
    [
        ("t2_tse_tra_320", {}, ["T2"]),
        ("Ax T2 FRFSE prostate", {}, ["T2"]),
        ("T2W_TSE_ax", {}, ["T2"]),
        ("T2 Ax pelvis", {}, ["T2"]),
        ("t2_tse_sag", {"plane": "sagittal"}, []),
        ("t2_tse_cor", {"plane": "coronal"}, []),
        ("ep2d_diff_tra_ADC", {"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]}, ["ADC"]),
        (
            "Apparent Diffusion Coefficient (mm2/s)",
            {"ImageType": ["DERIVED", "SECONDARY", "COMBINED"]},
            ["ADC"],
        ),
        ("dADC", {"ImageType": ["DERIVED", "PRIMARY", "ADC", "ADC"]}, ["ADC"]),
        ("ADC Ax", {"ImageType": ["DERIVED", "SECONDARY", "ADC"]}, ["ADC"]),
        ("eADC", {}, []),
        ("Exponential Apparent Diffusion Coefficient", {}, []),
        ("ep2d_diff_tra_TRACEW", {"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "TRACEW"]}, []),
        ("ep2d_diff_tra_CALC_BVAL", {"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "TRACEW"]}, []),
        ("DWI b800", {}, []),
        ("t1_tse_tra", {}, []),
        ("T2 map", {}, []),
        ("dyn T1 T2 twist", {}, []),
    ],
)
def test_a_prostate_series_is_t2_or_adc_or_neither(
    description: str, others: dict[str, Any], channels: list[str]
) -> None:
    assert chosen("Task05_Prostate", facts(description, **others)) == channels


@pytest.mark.parametrize(
    ("task", "description", "others", "is_chosen"),
    [
        ("Task02_Heart", "3D_bFFE_WholeHeart", {}, True),
        ("Task02_Heart", "trufi3d_nav_tra", {"plane": "coronal"}, True),
        ("Task02_Heart", "cine_trufi_sa", {}, False),
        ("Task02_Heart", "3D_bFFE_WholeHeart", {"MRAcquisitionType": "2D"}, False),
        ("Task02_Heart", "tfl_3d PD ref_tra", {}, False),
        ("Task04_Hippocampus", "T1W_3D_TFE sag", {"plane": "sagittal"}, True),
        ("Task04_Hippocampus", "t1_mprage_sag_iso", {"plane": "sagittal"}, True),
        ("Task04_Hippocampus", "Sag 3D BRAVO", {"plane": "sagittal"}, True),
        ("Task04_Hippocampus", "t1_mprage_sag_iso +C", {"plane": "sagittal"}, False),
        ("Task04_Hippocampus", "t2_space_sag", {"plane": "sagittal"}, False),
    ],
)
def test_a_volume_of_heart_or_brain_is_told_from_what_else_was_taken(
    task: str, description: str, others: dict[str, Any], is_chosen: bool
) -> None:
    series = facts(description, **({"MRAcquisitionType": "3D"} | others))

    assert chosen(task, series) == (["MRI"] if is_chosen else [])


def ct(description: str | None, **others: Any) -> dict[str, Any]:
    series = facts("", Modality="CT", ImageType=["ORIGINAL", "PRIMARY", "AXIAL"], slices=60) | others
    return series | {"SeriesDescription": description}


@pytest.mark.parametrize("task", CT_TASKS)
def test_an_axial_ct_of_the_trunk_is_chosen(task: str) -> None:
    for description in (None, "CT CH/AB/PEL", "Abdomen pv 3.0 B30f", "Portal venous, liver", "Body PV FC08"):
        assert chosen(task, ct(description)) == ["CT"]
    assert chosen(task, ct("PV", ImageType=["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"])) == ["CT"]
    assert chosen(task, ct("PV", BodyPartExamined="CHEST")) == ["CT"]


@pytest.mark.parametrize("task", CT_TASKS)
@pytest.mark.parametrize(
    "others",
    [
        {"Modality": "PT"},
        {"plane": "coronal"},
        {"slices": 3},
        {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        {"ImageType": ["DERIVED", "SECONDARY", "AXIAL", "CT_SOM5 MPR"]},
        {"ImageType": ["DERIVED", "SECONDARY", "MIP"]},
        {"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"]},
        {"BodyPartExamined": "HEAD"},
        {"SeriesDescription": "Scout"},
        {"SeriesDescription": "Topogram 0.6"},
        {"SeriesDescription": "Surview"},
        {"SeriesDescription": "MIP 10mm"},
        {"SeriesDescription": "Coronal reformat"},
        {"SeriesDescription": "SmartPrep"},
        {"SeriesDescription": "Dose Report"},
    ],
)
def test_an_overview_a_reformat_or_another_modality_is_no_ct_volume(
    task: str, others: dict[str, Any]
) -> None:
    assert chosen(task, ct("Body PV") | others) == []


@pytest.mark.parametrize(
    "description", ["Arterial phase", "LIVER ART", "ABD W/O", "Delayed 10 min", "nativ 5.0", "non-contrast"]
)
def test_other_phases_are_no_portal_venous_volume(description: str) -> None:
    wanted = {task for task in CT_TASKS if chosen(task, ct(description))}

    assert wanted == {"Task06_Lung"}


def indexed(root: Path) -> Iterator[SourceFile]:
    for path, inside, code in files_below(root):
        for entry in entries(path, inside, code):
            content = entry.content()
            if is_dicom(content[:132]):
                header = read_header(content)
                ref = SourceRef(entry.path, entry.member, hashlib.sha256(content).hexdigest(), len(content))
                yield SourceFile(ref, entry.inside, None, header.kind, header.code, header.facts)


def real_stacks(folder: str) -> list[Stack]:
    if not (REAL / folder).is_dir():
        pytest.skip("the real data are not beside this checkout")
    return list(ingest(indexed(REAL / folder)).stacks)


@pytest.mark.parametrize(
    ("folder", "series"),
    [("prostatex-0000/complete", {"T2": [4], "ADC": [7]}), ("crc-adc-001", {"T2": [901], "ADC": [602]})],
)
def test_one_t2_and_one_adc_are_found_in_a_real_study(folder: str, series: dict[str, list[int]]) -> None:
    stacks = real_stacks(folder)

    found = {
        channel.name: [int(stack.facts["SeriesNumber"]) for stack in stacks if selects(channel, stack.facts)]
        for channel in RULES["Task05_Prostate"].channels
    }
    assert found == series
    others = [name for name in RULES if name != "Task05_Prostate"]
    assert [name for name in others for stack in stacks if chosen(name, dict(stack.facts))] == []


@pytest.mark.parametrize("task", ["Task03_Liver", "Task08_HepaticVessel"])
def test_a_real_portal_venous_ct_is_chosen(task: str) -> None:
    stacks = real_stacks("crlm-ct-1004")

    assert [chosen(task, dict(stack.facts)) for stack in stacks] == [["CT"]]


# Names that experts give


def classes_of(rules: TaskRules, name: str) -> list[str]:
    return [
        klass.name
        for klass in rules.label.classes
        if any(re.fullmatch(pattern, name.strip(), re.IGNORECASE) for pattern in klass.from_names)
    ]


NAMES = {
    "Task01_BrainTumour": {
        "edema": ["Edema", "ED", "Oedema", "peritumoral edema", "peritumoural_oedema"],
        "non-enhancing tumor": ["NCR/NET", "NCR", "NET", "necrosis", "necrotic core", "Non-enhancing tumor"],
        "enhancing tumour": [
            "ET",
            "enhancing tumor",
            "Enhancing_Tumour",
            "active tumor",
            "Gd-enhancing tumor",
        ],
    },
    "Task02_Heart": {"left atrium": ["LA", "Left Atrium", "left_atrium", "L. atrium", "left atrial cavity"]},
    "Task03_Liver": {
        "liver": ["LIVER", "liver", "Liver parenchyma", "healthy liver", "Hepar"],
        "cancer": [
            "Tumor",
            "Tumour 2",
            "liver tumor",
            "GTV",
            "GTVp",
            "GTV-1",
            "GTV_liver",
            "metastasis 3",
            "HCC",
            "lesion",
        ],
    },
    "Task04_Hippocampus": {
        "Anterior": ["anterior", "Hippocampus head", "Left anterior hippocampus", "head of the hippocampus"],
        "Posterior": ["posterior", "hippocampus_body", "hippocampal tail", "tail of hippocampus left"],
    },
    "Task05_Prostate": {
        "PZ": ["pz", "Peripheral Zone", "peripheral zone of prostate", "Prostate PZ"],
        "TZ": ["TZ", "Transition Zone", "transitional_zone", "central gland"],
    },
    "Task06_Lung": {
        "cancer": ["GTV", "GTVp", "GTV-1", "lung tumor", "nodule 2", "NSCLC", "primary lung tumour"]
    },
    "Task07_Pancreas": {
        "pancreas": ["Pancreas", "pancreatic parenchyma", "normal pancreas"],
        "cancer": ["Tumor", "pancreatic mass", "cyst", "PDAC", "IPMN 1", "GTV pancreas"],
    },
    "Task08_HepaticVessel": {
        "Vessel": ["vessels", "Hepatic Vein", "portal vein", "portal venous vessels", "liver vasculature"],
        "Tumour": ["tumor", "Liver Lesion 4", "met", "GTV"],
    },
    "Task09_Spleen": {"spleen": ["SPLEEN", "Spleen contour", "lien"]},
    "Task10_Colon": {
        "colon cancer primaries": ["colon cancer", "Primary tumor", "GTV", "sigmoid carcinoma", "caecal mass"]
    },
}


@pytest.mark.parametrize("task", RULES)
def test_the_names_that_experts_use_mean_one_class(task: str) -> None:
    for klass in RULES[task].label.classes:
        for name in (klass.name, *NAMES[task][klass.name]):
            assert classes_of(RULES[task], name) == [klass.name], name


@pytest.mark.parametrize("task", RULES)
def test_an_outline_of_the_patient_or_another_organ_is_no_class(task: str) -> None:
    for name in (
        "BODY",
        "External",
        "head",
        "tail",
        "PTV 60",
        "kidney",
        "right atrium",
        "Structure 1",
        "x" * 64,
    ):
        assert classes_of(RULES[task], name) == [], name
    assert any(re.fullmatch(pattern, "BODY", re.IGNORECASE) for pattern in RULES[task].label.ignore)


@pytest.mark.parametrize("task", RULES)
def test_nothing_that_is_ignored_is_a_class_and_no_code_means_two(task: str) -> None:
    label = RULES[task].label
    named = [name for names in NAMES[task].values() for name in names]
    codes = [code for klass in label.classes for code in klass.from_codes]

    assert [n for n in named if any(re.fullmatch(p, n, re.IGNORECASE) for p in label.ignore)] == []
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"SCT:[0-9]{6,18}", code) for code in codes)


def test_no_name_of_64_characters_keeps_a_pattern_busy() -> None:
    words = (
        "gtv",
        "1",
        "portal",
        "liver",
        "hepatic_",
        "tumor",
        "tumor1",
        "ncr/",
        "left ",
        "lung primary ",
        "- ",
        "t1",
        "w/o ",
    )
    names = [(word * 64)[:63] + end for word in words for end in ("!", "x")]
    patterns = [p for r in RULES.values() for p in r.label.ignore]
    patterns += [p for r in RULES.values() for c in r.label.classes for p in c.from_names]
    patterns += [
        p
        for r in RULES.values()
        for channel in r.channels
        for criterion in channel.select.values()
        for p in (criterion.matches, criterion.not_matches)
        if p
    ]

    start = time.process_time()
    for pattern in patterns:
        for name in names:
            re.search(pattern, name, re.IGNORECASE)
            re.fullmatch(pattern, name, re.IGNORECASE)
    assert time.process_time() - start < 2


# Half turns


@pytest.mark.parametrize("task", [pytest.param("Task01_BrainTumour", marks=pytest.mark.slow), "Task02_Heart"])
def test_the_turned_cases_are_those_that_the_phantom_turns(task: str, tmp_path: Path) -> None:
    make(tmp_path, tasks=[task], cases=6, seed=0, tell=lambda line: None)

    subjects = json.loads((tmp_path / "truth/truth.json").read_text())["tasks"][task]["subjects"]
    turned = [subject["case"] for subject in subjects if subject["turned"]]
    assert [turn.case for turn in RULES[task].half_turns] == turned


def test_only_two_tasks_turn_cases() -> None:
    assert [name for name, rules in RULES.items() if rules.half_turns] == [
        "Task01_BrainTumour",
        "Task02_Heart",
    ]


@pytest.mark.parametrize("task", ["Task01_BrainTumour", "Task02_Heart"])
def test_a_case_of_another_source_is_not_turned(task: str) -> None:
    rules = RULES[task]
    phantom = {"StationName": "PHANTOM-TURNED", "ManufacturerModelName": "Phantom MR-G"}
    case = rules.half_turns[0].case

    assert half_turn(rules, case, phantom) is not None
    assert half_turn(rules, case, phantom | {"StationName": "ROOM-1"}) is None
    assert half_turn(rules, case, phantom | {"ManufacturerModelName": "Skyra"}) is None
    assert half_turn(rules, case, {}) is None
    assert (ROOT / "manifests" / rules.half_turns[0].evidence).is_file()


# The guide beside the rules


def test_the_example_of_the_guide_is_a_task(tmp_path: Path) -> None:
    guide = (shipped_rules() / "README.md").read_text()
    example = guide.split("```yaml\n")[1].split("```")[0]
    path = tmp_path / "Task11_Kidney.yaml"
    path.write_text(example)
    (tmp_path / "kidney-turn.md").write_text("what was seen")

    assert "Task11_Kidney" in load_rules(tmp_path)


def test_the_guide_explains_every_key() -> None:
    guide = (shipped_rules() / "README.md").read_text()
    schema = TaskRules.model_json_schema()
    keys = {key for part in schema["$defs"].values() for key in part.get("properties", {})} | set(
        schema["properties"]
    )

    assert [key for key in sorted(keys) if f"`{key}`" not in guide] == []


# Codes


MEANINGS = {
    "edema": "edema", "non-enhancing tumor": "necrosis", "left atrium": "left atrium", "liver": "liver",
    "PZ": "peripheral", "TZ": "transition zone", "pancreas": "pancrea", "spleen": "splen",
    "Vessel": "vascular|vein|vessel",
    "cancer": "tumor|neoplasm", "Tumour": "tumor|neoplasm", "colon cancer primaries": "tumor|neoplasm",
}  # fmt: skip
"""Class -> what PS3.16, as pydicom carries it, calls its codes."""


@pytest.mark.parametrize("task", sorted(RULES))
def test_every_code_means_in_dicom_what_its_class_means(task: str) -> None:
    said = {code: meaning for names in concepts["SCT"].values() for code, (meaning, _) in names.items()}
    for item in RULES[task].label.classes:
        for code in item.from_codes:
            scheme, _, value = code.partition(":")
            assert scheme == "SCT"
            assert re.search(MEANINGS[item.name], said[value], re.IGNORECASE), (item.name, said[value])
