"""What a reviewer said decides whether a case is released, and what the manifest tells of it."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.model.review import Kept, seen_of
from pipeline.stages.review import review

VOXELS = {"affine": [["1"]], "dtype": "int16", "shape": [1, 1, 1], "voxels": "sha256:" + 64 * "1"}
RECORD: dict[str, Any] = {"task": "Task09_Spleen", "case": "spleen_1", "image": VOXELS, "label": None}
CHANGED = {**RECORD, "image": {**VOXELS, "voxels": "sha256:" + 64 * "2"}}


def said(decision: str, reason: str) -> Kept:
    document = {"case": "spleen_1", "task": "Task09_Spleen", "decision": decision, "reason": reason}
    seen = seen_of(RECORD).model_dump()
    return Kept.model_validate(document | {"seen": seen, "reviewer": "hmac-sha256:" + 64 * "0"})


ACCEPTED, REJECTED, TO_TURN = (
    said("accept", "fit"),
    said("reject", "wrong-image"),
    said("correct", "half-turn"),
)


@pytest.mark.parametrize(
    ("record", "kept", "required", "optional"),
    [
        (RECORD, ACCEPTED, None, None),
        (RECORD, REJECTED, "rejected-in-review", "rejected-in-review"),
        (RECORD, TO_TURN, "correction-wanted", "correction-wanted"),
        (RECORD, None, "not-reviewed", None),
        (CHANGED, ACCEPTED, "review-stale", None),
        (CHANGED, REJECTED, "review-stale", "review-stale"),
        (CHANGED, TO_TURN, "review-stale", "review-stale"),
    ],
)
def test_a_case_is_refused_unless_it_may_be_released(
    record: dict[str, Any], kept: Kept | None, required: str | None, optional: str | None
) -> None:
    for is_required, code in ((True, required), (False, optional)):
        refusal = review(record, kept, is_required=is_required).refusal
        assert (None if refusal is None else refusal.code) == code


def test_the_note_tells_decision_reason_reviewer_and_what_was_seen() -> None:
    note = review(RECORD, ACCEPTED, is_required=False).note

    assert set(note) == {"decision", "reason", "reviewer", "seen"}
    assert note["seen"] == seen_of(RECORD).model_dump()


def test_a_stale_decision_tells_nothing_more() -> None:
    assert review(CHANGED, ACCEPTED, is_required=False).note == {"decision": "stale"}


def test_a_refusal_says_what_the_reviewer_said() -> None:
    refusal = review(RECORD, TO_TURN, is_required=False).refusal

    assert refusal is not None
    assert refusal.found == "correct, half-turn"
