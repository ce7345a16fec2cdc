from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from pipeline.model import rules
from pipeline.model.rules import (
    Cases,
    Channel,
    Criterion,
    Envelope,
    Geometry,
    HalfTurn,
    Label,
    RobustMinMax,
    Strata,
    TaskRules,
)

CHANNEL = {
    "name": "CT",
    "quantity": "hounsfield",
    "select": {"Modality": {"equals": "CT"}},
    "scale": {"method": "keep"},
}
SCALE = {"method": "robust_min_max", "percentiles": [0.5, 99.5], "over": "all"}
TURN = {
    "case": "kidney_001",
    "where": {"StationName": {"equals": "A"}},
    "why": "turned at the scanner",
    "evidence": "kidney.md",
}
TASK = {
    "format": "curate-rules/1",
    "task": "Task11_Kidney",
    "header": {"name": "K", "description": "d", "reference": "r", "licence": "CC-BY 4.0", "release": "1.0"},
    "cases": {"id": "kidney_{:03d}", "split": {"training": 3, "test": 1}},
    "channels": [CHANNEL],
    "label": {"classes": [{"value": 1, "name": "kidney", "from_names": ["kidney"]}]},
    "about": {"sources": "made up", "labels": "made up"},
}


def refusal(model: Any, value: object) -> str:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(model).validate_json(json.dumps(value))
    return "; ".join(error["msg"] for error in caught.value.errors())


def test_the_smallest_task_is_accepted() -> None:
    task = TaskRules.model_validate_json(json.dumps(TASK))

    assert task.channels[0].quantity.is_quantitative
    assert task.half_turns == ()


@pytest.mark.parametrize(
    "criterion",
    [
        {},
        {"equals": None},
        {"min": 2, "max": 1},
        {"absent": True, "matches": "x"},
        {"matches": "("},
        {"any_of": []},
        {"has_none": []},
        {"equals": True},
        {"equalz": "x"},
    ],
)
def test_a_criterion_that_says_nothing_or_two_things_is_refused(criterion: object) -> None:
    assert refusal(Criterion, criterion)


@pytest.mark.parametrize("percentiles", [[99.5, 0.5], [-1, 99], [0, 101], [5, 5], [5], ["1", "99"]])
def test_percentiles_that_are_no_interval_are_refused(percentiles: object) -> None:
    assert refusal(RobustMinMax, SCALE | {"percentiles": percentiles})


def test_a_range_upside_down_is_refused() -> None:
    assert "lower < upper" in refusal(RobustMinMax, SCALE | {"range": [1000, 0]})
    assert "min <= max" in refusal(Envelope, {"min": 2, "max": 1})


def test_a_quantity_is_never_scaled_and_a_magnitude_always() -> None:
    assert "quantitative" in refusal(Channel, CHANNEL | {"scale": SCALE})
    assert "arbitrary" in refusal(Channel, CHANNEL | {"quantity": "arbitrary"})


def test_a_keyword_that_the_index_does_not_keep_is_refused() -> None:
    assert "PatientName" in refusal(Channel, CHANNEL | {"select": {"PatientName": {"equals": "X"}}})
    assert refusal(Channel, CHANNEL | {"select": {}})
    assert refusal(HalfTurn, TURN | {"where": {}})


def test_no_keyword_may_ask_for_identity() -> None:
    named = {"PatientName", "PatientID", "PatientBirthDate", "AccessionNumber", "InstitutionName"}

    assert not named & {*rules.SELECT_KEYWORDS, *rules.EXPECTED_KEYWORDS}


@pytest.mark.parametrize(
    "label",
    [
        {"classes": []},
        {"classes": [{"value": 2, "name": "a", "from_names": []}]},
        {"classes": [{"value": 1, "name": "background", "from_names": []}]},
        {
            "classes": [
                {"value": 1, "name": "a", "from_names": []},
                {"value": 2, "name": "a", "from_names": []},
            ]
        },
        {
            "classes": [
                {"value": 1, "name": "a", "from_names": [], "from_values": [2]},
                {"value": 2, "name": "b", "from_names": []},
            ]
        },
        {"classes": [{"value": 1, "name": "a", "from_names": []}], "precedence": ["b"]},
    ],
)
def test_classes_that_contradict_each_other_are_refused(label: object) -> None:
    assert refusal(Label, label)


@pytest.mark.parametrize(
    "pattern", ["kidney", "kid_ney_{:03d}", "kidney_{:0999999d}", "kidney_{!r}", "kidney_{:03x}"]
)
def test_an_id_pattern_that_makes_no_published_id_is_refused(pattern: str) -> None:
    assert refusal(Cases, {"id": pattern, "split": {"training": 1, "test": 1}})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"channels": [CHANNEL, CHANNEL]}, "a name of its own"),
        ({"label": {"channel": "MR", "classes": TASK["label"]["classes"]}}, "label.channel"),  # type: ignore[index]
        ({"half_turns": [TURN, TURN]}, "each case once"),
        ({"task": "Kidney"}, "pattern"),
        ({"format": "curate-rules/2"}, "curate-rules/1"),
        ({"extra": 1}, "Extra inputs"),
    ],
)
def test_parts_that_do_not_agree_are_refused(change: dict[str, object], said: str) -> None:
    assert said in refusal(TaskRules, TASK | change)


def test_rules_are_frozen() -> None:
    task = TaskRules.model_validate_json(json.dumps(TASK))

    with pytest.raises(ValidationError):
        task.__setattr__("task", "Task12_Other")


def test_a_geometry_rule_that_mends_nothing_is_a_fault() -> None:
    with pytest.raises(ValidationError, match="leave it out"):
        Geometry(why="Nothing of it is asked.")
    assert Geometry(missing=1, why="One is enough.").mends == {"missing-slice"}


@pytest.mark.parametrize("given", [{}, {"keyword": "KVP", "table_column": "site"}, {"keyword": "PatientID"}])
def test_strata_are_one_header_element_or_one_column(given: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="wanted"):
        Strata(**given)
