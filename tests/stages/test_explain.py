from __future__ import annotations

import json

import pytest

from pipeline.io.ruleset import LoadedRules, load_rules
from pipeline.model.rules import Criterion, Geometry, HalfTurn, Outliers, Padding, Resample, TaskRules
from pipeline.stages.explain import WIDTH, alternatives, explain

RULES = load_rules(None)
ROOMS = (
    "ingest", "match", "deidentify", "convert", "orient", "align", "fix", "scale", "rasterise", "label", "check",
    "split", "package",
)  # fmt: skip


def told(loaded: LoadedRules) -> str:
    return explain(loaded.rules, loaded.published)


@pytest.mark.parametrize("task", RULES)
def test_every_room_channel_class_and_source_is_told(task: str) -> None:
    rules, text = RULES[task].rules, told(RULES[task])
    heads = [line.partition(")")[0] for line in text.splitlines() if "(" in line and line[0].isupper()]

    assert [room for room in ROOMS if not any(room in head for head in heads)] == []
    assert all(f"`{channel.name}`" in text for channel in rules.channels)
    assert all(f"- {klass.value} is {klass.name}; " in text for klass in rules.label.classes)
    assert " ".join(rules.about.sources.split()) in " ".join(text.split())


@pytest.mark.parametrize("task", RULES)
def test_lines_are_short_and_end_clean(task: str) -> None:
    text = told(RULES[task])

    assert text.endswith("\n")
    assert [line for line in text.splitlines() if len(line) > WIDTH and " " in line.strip("- ")] == []
    assert [line for line in text.splitlines() if line != line.rstrip()] == []


def test_numbers_that_change_voxels_are_told() -> None:
    brain = " ".join(told(RULES["Task01_BrainTumour"]).split())
    prostate = " ".join(told(RULES["Task05_Prostate"]).split())

    assert (
        "`FLAIR`, `T1w`, `t1gd` and `T2w`: percentiles 0.5 and 99.5 of the voxels that are not 0 become 0 and 1000"
        in brain
    )
    assert "`T2`: percentiles 0.5 and 99.5 of all voxels" in prostate
    assert "`ADC`: quantitative, and left as it is." in prostate
    assert "`T2` is the reference grid. `ADC` is brought onto it by linear interpolation" in prostate


def test_a_turn_is_told_with_its_case_condition_and_evidence() -> None:
    text = " ".join(told(RULES["Task02_Heart"]).split())

    assert "in la_004 and la_009, where StationName is PHANTOM-TURNED" in text
    assert "Evidence: evidence/phantom-half-turn.md." in text
    assert "No case is turned." in told(RULES["Task03_Liver"])


def test_turns_with_reasons_of_their_own_are_told_apart() -> None:
    rules = RULES["Task02_Heart"].rules
    other = HalfTurn(
        case="la_010",
        where={"KVP": Criterion(absent=True)},
        why="Turned by hand at the console.",
        evidence="doi:10.0/0",
    )

    text = " ".join(explain(rules.model_copy(update={"half_turns": (*rules.half_turns, other)})).split())

    assert "la_010, where KVP is missing. Why: Turned by hand at the console. Evidence: doi:10.0/0." in text


def test_what_becomes_of_a_fractional_segmentation_is_told() -> None:
    rules = RULES["Task03_Liver"].rules
    label = rules.label.model_copy(update={"threshold": 0.5})

    half = " ".join(explain(rules.model_copy(update={"label": label})).split())
    assert "Of a FRACTIONAL segmentation a voxel counts from 0.5 of the maximum on." in half
    assert "A FRACTIONAL segmentation is refused unless" in " ".join(explain(rules).split())


def test_counts_of_the_published_split_are_told_and_an_own_task_has_none() -> None:
    loaded = RULES["Task08_HepaticVessel"]

    assert "303 for training and 139 for test" in " ".join(told(loaded).split())
    assert "Ids are like hepaticvessel_{:03d}." in explain(loaded.rules)


def test_every_part_of_a_criterion_is_told() -> None:
    rules = RULES["Task03_Liver"].rules
    criteria = {
        "Modality": Criterion(any_of=("CT", "PT")),
        "ImageType": Criterion(has_all=("ORIGINAL",), has_none=("MIP", "MPR")),
        "KVP": Criterion(min=80, max=140.5),
        "SeriesDescription": Criterion(matches="a|b", not_matches="c"),
        "ContrastBolusAgent": Criterion(absent=False),
    }
    channel = rules.channels[0].model_copy(update={"select": criteria})

    text = " ".join(explain(rules.model_copy(update={"channels": (channel,)})).split())

    assert (
        "Modality is CT or PT; ImageType has the values ORIGINAL and has none of the values MIP and MPR; KVP is at "
        "least 80 and is at most 140.5; SeriesDescription contains `a` or `b` and does not contain `c`; "
        "ContrastBolusAgent is there." in text
    )


@pytest.mark.parametrize(
    ("pattern", "terms"),
    [
        ("a", ["a"]),
        ("a|b", ["a", "b"]),
        ("(a|b)|c", ["(a|b)", "c"]),
        ("[|]|[()]|d", ["[|]", "[()]", "d"]),
        (r"\||\(|e", [r"\|", r"\(", "e"]),
        ("", [""]),
    ],
)
def test_alternatives_are_split_outside_of_groups_and_classes(pattern: str, terms: list[str]) -> None:
    assert alternatives(pattern) == terms


def test_masks_on_another_grid_are_refused_or_resampled_with_the_reason() -> None:
    rules = RULES["Task03_Liver"].rules
    ruled = rules.label.model_copy(update={"resample": Resample(why="Drawn on the scanner's copy.")})

    assert "A drawing on another grid is refused." in " ".join(explain(rules).split())
    text = " ".join(explain(rules.model_copy(update={"label": ruled})).split())
    assert "by the nearest voxel" in text
    assert "Drawn on the scanner's copy." in text


def test_what_is_interpolated_is_told_with_its_reason() -> None:
    rules = RULES["Task03_Liver"].rules
    mended = Geometry(tilt="resample", missing=2, why="The experts drew on such slices.")
    channel = rules.channels[0].model_copy(update={"geometry": mended})
    text = " ".join(explain(rules.model_copy(update={"channels": (channel,)})).split())

    assert "slices of a tilted gantry and at most 2 missing slices are interpolated linearly" in text
    assert "Why: The experts drew on such slices." in text
    assert "interpolated linearly" not in told(RULES["Task03_Liver"])


def test_what_padding_becomes_is_told_with_its_reason() -> None:
    rules = RULES["Task03_Liver"].rules
    padding = Padding(becomes=-1024, why="The field of view was round.")
    channel = rules.channels[0].model_copy(update={"padding": padding})
    text = " ".join(explain(rules.model_copy(update={"channels": (channel,)})).split())

    assert "voxels marked as padding become -1024. Why: The field of view was round." in text
    assert "padding" not in told(RULES["Task03_Liver"])


def test_outliers_that_count_are_told_with_their_reason() -> None:
    rules = RULES["Task03_Liver"].rules
    outliers = Outliers(treatment="keep", why="The scanner recalibrated midway.")
    channel = rules.channels[0].model_copy(update={"outliers": outliers})
    text = " ".join(explain(rules.model_copy(update={"channels": (channel,)})).split())

    assert "counts as it is written. Why: The scanner recalibrated midway." in text


def test_measures_are_told_in_words_with_their_units() -> None:
    text = " ".join(told(RULES["Task07_Pancreas"]).split())

    assert "a pixel spacing of 0.605 to 0.985 mm, a step from slice to slice of 0.7 to 7.5 mm" in text
    assert "and a tube voltage of 120 kV;" in text
    assert "the slices' plane is axial; the number of slices is at least 10;" in text


def test_what_is_moved_and_masked_is_said() -> None:
    why = {"why": "Because it was so."}
    document = json.loads(load_rules()["Task01_BrainTumour"].rules.model_dump_json())
    document["channels"][1]["registration"] = why
    document |= {"atlas": {"file": "sri24.nii", **why}, "brain_mask": {"file": "brain"}}
    document["label"]["resample"] = why
    said = " ".join(explain(TaskRules.model_validate_json(json.dumps(document))).split())
    assert "`T1w` is first moved rigidly onto `FLAIR`, where its frame of reference is another" in said
    assert "`FLAIR` is moved rigidly onto the atlas sri24.nii" in said
    assert "Outside of the brain mask that the curator gave every channel is 0." in said


def test_files_that_are_no_longer_dicom_are_said() -> None:
    document = json.loads(load_rules()["Task03_Liver"].rules.model_dump_json())
    document["source"] = {"format": "nifti", "subject": "volume-([0-9]+)"}
    document["channels"][0]["select"] = {"file": {"matches": "volume"}}
    said = " ".join(explain(TaskRules.model_validate_json(json.dumps(document))).split())
    assert "they are NIfTI files" in said
    assert "the path of the file contains `volume`" in said
