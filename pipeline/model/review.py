"""What a person says of a finished case that they looked at."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipeline.model.record import Json
from pipeline.model.rules import CaseId, Rule, TaskName

FILE_FORMAT = "curate-decisions/1"

ACCEPT, REJECT, CORRECT = "accept", "reject", "correct"
STALE, NOT_REVIEWED = "stale", "not-reviewed"
STANDINGS = (ACCEPT, REJECT, CORRECT, STALE, NOT_REVIEWED)
"""How a finished case can stand in review."""

REASONS: Mapping[str, Mapping[str, str]] = {
    ACCEPT: {
        "fit": "Image and label are as they should be.",
        "usable": "Small faults that do not matter for the task.",
    },
    REJECT: {
        "wrong-image": "Another region, phase or sequence than the task's.",
        "image-quality": "Artefacts, motion, noise or missing tissue.",
        "wrong-label": "The label is of something else, or far off.",
        "person-visible": "A face, a name or a number can be seen: tell the privacy officer.",
        "other": "Something else; say it in the comment.",
    },
    CORRECT: {
        "half-turn": "Turned by 180 degrees in the axial plane.",
        "mirrored": "Left and right, or head and feet, are exchanged.",
        "label-shifted": "The label lies beside what it means.",
        "label-incomplete": "Slices, parts or classes of the label are missing.",
        "label-swapped": "Classes are exchanged.",
        "other": "Something else; say it in the comment.",
    },
}
"""Decision -> reason code -> what it means, in the order of the keys that choose it on the page."""

_LOOKED_AT = ("affine", "dtype", "shape", "voxels")

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Keyed = Annotated[str, Field(pattern=r"^hmac-sha256:[0-9a-f]{64}$")]


class Seen(Rule):
    """Which image and label were looked at: the digest of each one's voxels and place."""

    image: Digest
    label: Digest | None


class _Said(Rule):
    """A decision with a reason that belongs to it."""

    case: CaseId
    seen: Seen
    decision: Literal["accept", "reject", "correct"]
    reason: str

    @model_validator(mode="after")
    def _has_its_reason(self) -> _Said:
        if self.reason not in REASONS[self.decision]:
            raise ValueError(f"wanted one of {', '.join(REASONS[self.decision])} with {self.decision}")
        return self


class Decision(_Said):
    """What a reviewer said of one case. Comment and initials may name persons: private."""

    comment: str = Field(max_length=2000)
    reviewer: str = Field(pattern=r"^[A-Z]{2,8}$", description="Initials.")


class Decisions(Rule):
    """What the page saves: decisions on cases of one task, in one workspace."""

    format: Literal["curate-decisions/1"]
    key: str = Field(pattern=r"^[0-9a-f]{16}$", description="The key's public name.")
    task: TaskName
    decisions: tuple[Decision, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _each_case_once(self) -> Decisions:
        if len({said.case for said in self.decisions}) != len(self.decisions):
            raise ValueError("wanted each case once")
        return self


class Kept(_Said):
    """A decision as it is kept and told: the reviewer under the key, no comment."""

    format: Literal["curate-decision/1"] = "curate-decision/1"
    task: TaskName
    reviewer: Keyed

    def to_json(self) -> dict[str, Json]:
        """Return the decision as one JSON object."""
        document: dict[str, Json] = self.model_dump(mode="json")
        return document


def seen_of(record: Mapping[str, Any]) -> Seen:
    """Return what whoever looks at a finished case sees: voxels and where they lie, but not how they are packed."""
    parts = (record["image"], record["label"])
    image, label = (None if part is None else _digest(part) for part in parts)
    return Seen(image=str(image), label=label)


def _digest(part: Mapping[str, Any]) -> str:
    document = {name: part[name] for name in _LOOKED_AT}
    # ASCII keys in order, texts and whole numbers: these are the bytes of RFC 8785.
    text = json.dumps(document, separators=(",", ":"), sort_keys=True)
    return "sha256:" + hashlib.sha256(text.encode("ascii")).hexdigest()


def standing(kept: Kept | None, seen: Seen) -> str:
    """Return how a case stands: its decision, `stale` when it was on other voxels, or `not-reviewed`."""
    if kept is None:
        return NOT_REVIEWED
    return kept.decision if kept.seen == seen else STALE
