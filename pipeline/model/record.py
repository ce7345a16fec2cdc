"""What a room says it did, and how a case ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np

from pipeline.model.errors import FAULTS, CurationError

T = TypeVar("T")
Json: TypeAlias = "str | int | bool | Sequence[Json] | Mapping[str, Json] | None"
"""What evidence is made of: no floats, because their text differs between writers; see `decimal`."""


def decimal(number: float | np.floating[Any] | np.integer[Any]) -> str:
    """Return the shortest decimal text that reads back as the same number; whole numbers without a point."""
    if isinstance(number, (int, np.integer)):
        # Beyond 2**53 a float would be another number.
        return str(int(number))
    value = float(number)
    if not np.isfinite(value):
        raise ValueError("evidence holds finite numbers only")
    if value == int(value) and abs(value) < 2**53:
        return str(int(value))
    return repr(value)


def decimals(numbers: Any) -> list[Any]:
    """Return an array of numbers as nested lists of decimal texts."""
    array = np.asarray(numbers, dtype=np.float64)
    return [decimals(row) if array.ndim > 1 else decimal(row) for row in array]


@dataclass(frozen=True, slots=True)
class Note:
    """What one room did to one value, in numbers; part of the public manifest, so it holds no identity."""

    stage: str
    facts: Mapping[str, Json]

    def to_json(self) -> dict[str, Json]:
        """Return the note as one JSON object."""
        return {"stage": self.stage, **self.facts}


@dataclass(frozen=True, slots=True)
class Step(Generic[T]):
    """What a room hands on: the new value and its note."""

    value: T
    note: Note


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a case was not made: written to refusals/, to the plan and to the public manifest."""

    task: str
    case: str
    stage: str
    code: str
    wanted: str
    found: str
    where: str = ""

    @classmethod
    def of(cls, error: CurationError, *, task: str, case: str, stage: str) -> Refusal:
        """Return the refusal that an error means for a case."""
        return cls(task, case, stage, error.code, error.wanted, error.found, error.where)

    def to_json(self) -> dict[str, Json]:
        """Return the refusal as one JSON object, with the advice that goes with its code."""
        fault = FAULTS[self.code]
        return {
            "task": self.task,
            "case": self.case,
            "stage": self.stage,
            "code": self.code,
            "wanted": self.wanted,
            "found": self.found,
            "where": self.where,
            "advice": fault.advice,
            "who": fault.who,
        }


@dataclass(frozen=True, slots=True)
class Finished:
    """A case that stands in the store: where, and whether this run made it."""

    task: str
    case: str
    entry: str
    was_made: bool
    warnings: Sequence[str] = field(default_factory=tuple)


Outcome: TypeAlias = "Finished | Refusal"
"""How one case ended; small, because it crosses the network."""


@dataclass(frozen=True, slots=True)
class Handed:
    """A case that waits for its second zone: where, and the digest of the document that says all else."""

    task: str
    case: str
    folder: str
    digest: str
