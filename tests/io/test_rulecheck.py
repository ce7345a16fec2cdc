from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.io.rulecheck import crossed, fits, split_faults
from pipeline.io.ruleset import load_task, shipped_rules
from pipeline.model.rules import Cases, PublishedSplit, Split

KEEP = {"method": "keep"}


def said(document: Any, *folders: Path) -> list[str]:
    return [str(fault) for fault in crossed(document, folders)]


def channel(**parts: Any) -> dict[str, Any]:
    return {"channels": [{"name": "CT", "quantity": "hounsfield", "select": {}, "scale": KEEP, **parts}]}


@pytest.mark.parametrize("document", [None, [], "x", {"channels": 3}, {"channels": [None, 1]}, {"label": []}])
def test_a_document_of_any_shape_can_be_checked(document: Any) -> None:
    assert said(document) == []


def test_an_unknown_keyword_is_named_with_the_nearest_known_one() -> None:
    document = channel(select={"SeriesDescripton": {"matches": "x"}}, expected={"SliceThicknes": {}})

    assert said(document) == [
        "$.channels[0].select.SeriesDescripton: wanted a keyword that the index keeps, "
        "found an unknown one, perhaps meant as SeriesDescription",
        "$.channels[0].expected.SliceThicknes: wanted a keyword that the index keeps, "
        "found an unknown one, perhaps meant as SliceThickness",
    ]


def test_bounds_on_text_and_planes_that_are_none_are_faults() -> None:
    document = channel(select={"Modality": {"min": 1}, "plane": {"any_of": ["axial", "transverse"]}})

    assert said(document) == [
        "$.channels[0].select.Modality: wanted equals, any_of, matches, has_all, ... for text, found min or max",
        '$.channels[0].select.plane: wanted one of axial, coronal, sagittal, found "transverse"',
    ]


@pytest.mark.parametrize(
    ("quantity", "method", "faults"),
    [
        ("adc", "keep", 0),
        ("arbitrary", "robust_min_max", 0),
        ("adc", "robust_min_max", 1),
        ("arbitrary", "keep", 1),
    ],
)
def test_scaling_follows_the_quantity(quantity: str, method: str, faults: int) -> None:
    assert len(said(channel(quantity=quantity, scale={"method": method}))) == faults


def test_names_of_channels_and_classes_must_agree() -> None:
    document = {
        "channels": [{"name": "T1"}, {"name": "T2"}, {"name": "T1"}],
        "label": {
            "channel": "T3",
            "classes": [
                {"value": 1, "name": "a"},
                {"value": 3, "name": "a"},
                {"value": 3, "name": "background"},
            ],
            "precedence": ["a", "c"],
        },
    }

    assert said(document) == [
        '$.channels[2].name: wanted each name once, found "T1" again',
        '$.label.channel: wanted a channel\'s name, found "T3"',
        "$.label.classes[1].value: wanted 2, counting from 1, found 3",
        "$.label.classes[2].name: wanted another name: 0 is background, found background",
        '$.label.classes[1].name: wanted each name once, found "a" again',
        '$.label.precedence[1]: wanted a class\'s name, found "c"',
    ]


def test_a_turn_needs_a_case_of_the_task_and_evidence_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "why.md").write_text("seen")
    turns = [
        {"case": "la_001", "evidence": "why.md"},
        {"case": "la_002", "evidence": "https://example.org/why"},
        {"case": "heart_003", "evidence": "missing.md"},
        {"case": "la_001", "evidence": "../why.md"},
    ]

    assert said({"cases": {"id": "la_{:03d}"}, "half_turns": turns}, tmp_path) == [
        '$.half_turns[2].case: wanted an id like la_{:03d}, found "heart_003"',
        "$.half_turns[2].evidence: wanted a file beside the rules or under manifests/, or a link, "
        'found "missing.md"',
        "$.half_turns[3].evidence: wanted a file beside the rules or under manifests/, or a link, "
        'found "../why.md"',
        '$.half_turns[3].case: wanted each case once, found "la_001" again',
    ]


@pytest.mark.parametrize("release", ["1.0 é", "1.0\n"])
def test_a_release_text_is_printable_ascii(release: str) -> None:
    assert len(said({"header": {"release": release}})) == 1


@pytest.mark.parametrize(
    ("pattern", "case", "is_made"),
    [
        ("la_{:03d}", "la_003", True),
        ("la_{:03d}", "la_1003", True),
        ("la_{:03d}", "la_3", False),
        ("la_{:03d}", "la_0003", False),
        ("liver_{:d}", "liver_0", True),
        ("liver_{:d}", "liver_01", False),
        ("liver_{:d}", "spleen_1", False),
        ("liver_{:d}", "liver_", False),
    ],
)
def test_an_id_fits_when_the_pattern_makes_it(pattern: str, case: str, is_made: bool) -> None:
    assert fits(Cases(id=pattern, split=Split(training=1, test=1)), case) is is_made


def test_published_ids_belong_to_the_task_once_each() -> None:
    rules = load_task(shipped_rules() / "Task02_Heart.yaml").rules
    split = PublishedSplit(
        task="Task03_Liver", source="made up", training=("la_001", "la_2"), test=("la_003", "la_001")
    )

    assert [str(fault) for fault in split_faults(split, rules)] == [
        "$.task: wanted Task02_Heart, found Task03_Liver",
        "$.training[1]: wanted ids like la_{:03d}, found la_2",
        "$.test[1]: wanted each case once, found la_001 again",
    ]
