"""A task's package is as published: dataset.json, members, manifest lines; labels of test cases stay inside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.io.ruleset import load_rules
from pipeline.model.record import Refusal
from pipeline.model.rules import PublishedSplit, TaskRules
from pipeline.stages.package import Package, package

TASKS = load_rules()
TASK = "Task05_Prostate"
SECRET = "SECRET"
"""Stands in everything that tells of a label."""


def record(case: str, subset: str = "training", *, is_labelled: bool = True) -> dict[str, Any]:
    notes: list[dict[str, Any]] = [
        {"stage": "deidentify", "channel": "T2"},
        {"stage": "convert", "channel": "T2"},
        {"stage": "deidentify", "channel": "label", "what": SECRET},
        {"stage": "rasterise", "channel": "label", "what": SECRET},
        {"stage": "label", "channel": "label", "what": SECRET},
        {"stage": "fix", "channel": "label", "what": SECRET},
        {"stage": "check", "channel": "image", "axes": "RAS", "label": {"1": SECRET}},
    ]
    unlabelled = [note for note in notes if note["channel"] != "label"]
    unlabelled[-1] = {"stage": "check", "channel": "image", "axes": "RAS"}
    sources = {"T2": ["a"], "ADC": ["b"], **({"label": [SECRET]} if is_labelled else {})}
    return {
        "format": "curate-case/1", "task": TASK, "case": case, "subset": subset,
        "subject": "hmac-sha256:0", "sources": sources,
        "notes": notes if is_labelled else unlabelled,
        "image": {"file": "sha256:1"}, "label": {"file": SECRET} if is_labelled else None, "warnings": [],
    }  # fmt: skip


def packed(
    *records: Mapping[str, Any],
    refusals: tuple[Refusal, ...] = (),
    rules: TaskRules = TASKS[TASK].rules,
    published: PublishedSplit | None = TASKS[TASK].published,
) -> Package:
    return package(rules, {f"aa/{r['case']}": r for r in records}, refusals, published)


RECORDS = (record("prostate_10"), record("prostate_02"), record("prostate_03", "test"))


def test_a_dataset_has_the_published_keys_in_the_published_order() -> None:
    dataset = json.loads(packed(*RECORDS).dataset)

    assert list(dataset) == [
        "name", "description", "reference", "licence", "release", "tensorImageSize", "quantitative", "modality",
        "labels", "numTraining", "numTest", "training", "test",
    ]  # fmt: skip
    assert (dataset["tensorImageSize"], dataset["quantitative"]) == ("4D", [0, 1])
    assert dataset["modality"] == {"0": "T2", "1": "ADC"}
    assert dataset["labels"] == {"0": "background", "1": "PZ", "2": "TZ"}


def test_cases_are_counted_and_listed_by_number() -> None:
    dataset = json.loads(packed(*RECORDS).dataset)

    assert (dataset["numTraining"], dataset["numTest"]) == (2, 1)
    assert dataset["training"] == [
        {"image": f"./imagesTr/{case}.nii.gz", "label": f"./labelsTr/{case}.nii.gz"}
        for case in ("prostate_02", "prostate_10")
    ]
    assert dataset["test"] == ["./imagesTs/prostate_03.nii.gz"]


@pytest.fixture(scope="module")
def published_headers() -> Path:
    folder = Path(__file__).parents[2].parent / "shared/data/msd"
    if not folder.is_dir():
        pytest.skip("../shared/data/msd is not there")
    return folder


@pytest.mark.parametrize("task", TASKS)
def test_the_header_of_every_task_is_the_published_one(task: str, published_headers: Path) -> None:
    (path,) = [found for found in published_headers.rglob("*.json") if task in found.as_posix()]
    ours = json.loads(packed(rules=TASKS[task].rules, published=TASKS[task].published).dataset)
    # Five published files misspell a key.
    published = {"release" if k == "relase" else k: v for k, v in json.loads(path.read_text("utf-8")).items()}
    counted = {"training", "test", "numTraining", "numTest"}

    assert set(ours) == set(published)
    assert {k: v for k, v in ours.items() if k not in counted} == {
        k: v for k, v in published.items() if k not in counted
    }


@pytest.mark.parametrize("task", TASKS)
def test_a_dataset_is_ascii(task: str) -> None:
    content = packed(rules=TASKS[task].rules, published=TASKS[task].published).dataset

    assert content.isascii()
    assert json.loads(content)["licence"] == "CC-BY-SA 4.0"
    assert ("quantitative" in json.loads(content)) == (task == TASK)


def test_every_member_names_its_place_in_the_store() -> None:
    assert packed(*RECORDS).members == {
        f"{TASK}/imagesTr/prostate_02.nii.gz": ("aa/prostate_02", "image.nii.gz"),
        f"{TASK}/labelsTr/prostate_02.nii.gz": ("aa/prostate_02", "label.nii.gz"),
        f"{TASK}/imagesTr/prostate_10.nii.gz": ("aa/prostate_10", "image.nii.gz"),
        f"{TASK}/labelsTr/prostate_10.nii.gz": ("aa/prostate_10", "label.nii.gz"),
        f"{TASK}/imagesTs/prostate_03.nii.gz": ("aa/prostate_03", "image.nii.gz"),
    }


def test_the_label_of_a_test_case_is_withheld_and_nothing_tells_of_it() -> None:
    made = packed(record("prostate_03", "test"))

    assert made.withheld == {f"{TASK}/labelsTs/prostate_03.nii.gz": ("aa/prostate_03", "label.nii.gz")}
    assert SECRET not in json.dumps(made.lines)
    # Not even whether there is one.
    assert made.lines == packed(record("prostate_03", "test", is_labelled=False)).lines


def test_a_test_case_without_label_withholds_nothing() -> None:
    assert packed(record("prostate_03", "test", is_labelled=False)).withheld == {}


def test_the_line_of_a_training_case_is_its_record_and_its_members() -> None:
    (line,) = packed(RECORDS[0]).lines

    assert line == {
        "kind": "case",
        **RECORDS[0],
        "members": {
            "image": f"{TASK}/imagesTr/prostate_10.nii.gz", "label": f"{TASK}/labelsTr/prostate_10.nii.gz"
        },
    }  # fmt: skip


def test_the_records_stay_as_they_are() -> None:
    before = json.dumps(RECORDS)
    packed(*RECORDS)

    assert json.dumps(RECORDS) == before


def test_lines_are_sorted_by_case_refusals_last() -> None:
    refusals = tuple(
        Refusal(TASK, case, "plan", "no-label", "a", "b") for case in ("prostate_20", "prostate_11")
    )
    lines = packed(*RECORDS, refusals=refusals).lines

    assert [(line["kind"], line["case"]) for line in lines] == [
        ("case", "prostate_02"), ("case", "prostate_03"), ("case", "prostate_10"),
        ("refusal", "prostate_11"), ("refusal", "prostate_20"),
    ]  # fmt: skip


def test_published_cases_that_are_not_there_are_named_by_number() -> None:
    made = packed(*RECORDS)
    published = TASKS[TASK].published

    assert published is not None
    assert set(made.missing) == {*published.training, *published.test} - {r["case"] for r in RECORDS}
    assert list(made.missing) == sorted(made.missing, key=lambda case: int(case.rpartition("_")[2]))
    assert packed(*RECORDS, published=None).missing == []


def test_the_order_of_the_records_does_not_matter() -> None:
    assert packed(*RECORDS) == packed(*reversed(RECORDS))
