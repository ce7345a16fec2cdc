"""A decision is one of a few, with a reason of its own, on what was seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.model.review import NOT_REVIEWED, REASONS, STALE, Decisions, Kept, Seen, seen_of, standing

SCHEMA = json.loads((Path(__file__).parents[2] / "manifests/schema/decisions.schema.json").read_text())
DIGEST, OTHER = "sha256:" + 64 * "1", "sha256:" + 64 * "2"


def part(**more: Any) -> dict[str, Any]:
    return {"affine": [["1"]], "dtype": "int16", "shape": [2, 3, 4], "voxels": DIGEST, "file": DIGEST, **more}


def record(image: dict[str, Any], label: dict[str, Any] | None) -> dict[str, Any]:
    return {"image": image, "label": label}


def kept(seen: Seen, decision: str = "accept", reason: str = "fit") -> Kept:
    document = {"case": "a_1", "seen": seen.model_dump(), "decision": decision, "reason": reason}
    return Kept.model_validate(document | {"task": "Task09_Spleen", "reviewer": f"hmac-{DIGEST}"})


@pytest.mark.parametrize("name", ["affine", "dtype", "shape", "voxels"])
def test_whoever_sees_other_voxels_or_another_place_sees_something_else(name: str) -> None:
    assert seen_of(record(part(), None)) != seen_of(record(part(**{name: "other"}), None))


def test_how_voxels_are_packed_is_not_seen() -> None:
    assert seen_of(record(part(), part())) == seen_of(record(part(file=OTHER, size=3), part(classes={})))


def test_a_decision_stands_for_what_was_seen_alone() -> None:
    here, there = seen_of(record(part(), None)), seen_of(record(part(voxels=OTHER), None))

    assert standing(kept(here, "reject", "other"), here) == "reject"
    assert standing(kept(here, "reject", "other"), there) == STALE
    assert standing(None, here) == NOT_REVIEWED


def test_a_reason_belongs_to_its_decision() -> None:
    with pytest.raises(ValidationError):
        kept(Seen(image=DIGEST, label=None), "accept", "half-turn")


def test_a_file_decides_on_each_case_once() -> None:
    said = {"case": "a_1", "seen": {"image": DIGEST, "label": None}, "decision": "accept", "reason": "fit"}
    file = {"format": "curate-decisions/1", "key": 16 * "0", "task": "Task09_Spleen"}
    one = [said | {"comment": "", "reviewer": "AB"}]

    assert Decisions.model_validate_json(json.dumps(file | {"decisions": one}))
    with pytest.raises(ValidationError):
        Decisions.model_validate_json(json.dumps(file | {"decisions": one * 2}))


def test_the_schema_names_the_same_reasons() -> None:
    choices = SCHEMA["properties"]["decisions"]["items"]["anyOf"]
    named = {c["properties"]["decision"]["const"]: c["properties"]["reason"]["enum"] for c in choices}

    assert named == {decision: list(codes) for decision, codes in REASONS.items()}
