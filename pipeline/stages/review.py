"""Judge by what a reviewer said whether a finished case is released."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.model.record import Json, Refusal
from pipeline.model.review import ACCEPT, CORRECT, NOT_REVIEWED, REJECT, STALE, Kept, seen_of, standing

STAGE = "review"

_CODES = {
    REJECT: "rejected-in-review",
    CORRECT: "correction-wanted",
    STALE: "review-stale",
    NOT_REVIEWED: "not-reviewed",
}
_WANTED = "a case that a reviewer accepts as it is"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the manifest says of a case's review, and the refusal where it keeps the case out."""

    note: Mapping[str, Json]
    refusal: Refusal | None = None


def review(record: Mapping[str, Any], kept: Kept | None, *, is_required: bool) -> Judgement:
    """Judge one finished case.

    A decision counts for what was looked at: on other voxels it is stale. One that kept the case out keeps it out until
    somebody looks again.

    Parameters
    ----------
    record
        record.json of the case.
    kept
        The last decision on it, if there is one.
    is_required
        Whether a case that nobody has accepted is refused.
    """
    seen = seen_of(record)
    state = standing(kept, seen)
    note: dict[str, Json] = {"decision": state}
    if kept is not None and state != STALE:
        note |= {"reason": kept.reason, "reviewer": kept.reviewer, "seen": seen.model_dump(mode="json")}
    was_kept_out = kept is not None and kept.decision != ACCEPT
    if state == ACCEPT or not (is_required or was_kept_out):
        return Judgement(note)
    found = state if kept is None else f"{kept.decision}, {kept.reason}"
    found = f"{found}, of other voxels" if state == STALE else found
    refusal = Refusal(record["task"], record["case"], STAGE, _CODES[state], _WANTED, found)
    return Judgement(note, refusal)
