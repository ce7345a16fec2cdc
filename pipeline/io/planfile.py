"""A task's plan on disk: a header, then one line a case and one a refusal, in the order of the cases."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload
from weakref import finalize

from pipeline.io.document import escaped
from pipeline.io.durable import writing
from pipeline.model.plan import CasePlan
from pipeline.model.record import Json, Refusal


class Cases(Sequence[CasePlan]):
    """The planned cases of a file, each read when it is asked for: together they name every source file.

    The file stays open, so that they stay what they are when the task is planned anew.
    """

    def __init__(self, path: Path, lines: Sequence[tuple[int, int]]) -> None:
        self._lines = lines
        """Offset and length of each case's line."""
        self._file = os.open(path, os.O_RDONLY)
        finalize(self, os.close, self._file)

    @property
    def offsets(self) -> list[int]:
        """Where each case's line begins."""
        return [offset for offset, _ in self._lines]

    def __len__(self) -> int:
        return len(self._lines)

    @overload
    def __getitem__(self, number: int) -> CasePlan: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[CasePlan]: ...
    def __getitem__(self, number: int | slice) -> CasePlan | Sequence[CasePlan]:
        if isinstance(number, slice):
            return [self._read(*line) for line in self._lines[number]]
        return self._read(*self._lines[number])

    def _read(self, offset: int, length: int) -> CasePlan:
        return CasePlan.from_json(json.loads(os.pread(self._file, length, offset)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __hash__(self) -> int:
        return hash(tuple(self._lines))


@dataclass(frozen=True, slots=True)
class PlanFile:
    """What stands in a plan."""

    header: Mapping[str, Any]
    cases: Cases
    names: Sequence[str]
    """The case ids, in the order of `cases`."""
    refusals: Sequence[Refusal]


def read_plan(path: Path) -> PlanFile:
    """Return a plan; its cases stay on disk."""
    header: Mapping[str, Any] = {}
    lines: list[tuple[int, int]] = []
    names: list[str] = []
    refusals: list[Refusal] = []
    offset = 0
    with path.open("rb") as stream:
        for line in stream:
            document = json.loads(line)
            if document["kind"] == "header":
                header = document
            elif document["kind"] == "case":
                lines.append((offset, len(line)))
                names.append(document["case"])
            else:
                refusals.append(Refusal(**{name: document[name] for name in Refusal.__slots__}))
            offset += len(line)
    return PlanFile(header, Cases(path, lines), names, refusals)


class PlanWriter:
    """The lines of a plan in whatever order they come, kept on disk until they are sorted into the plan."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream = path.open("w+b")
        self._cases: list[tuple[str, int]] = []
        self._refusals: list[Refusal] = []

    def add(self, line: CasePlan | Refusal) -> None:
        """Take in a case or a refusal."""
        if isinstance(line, Refusal):
            self._refusals.append(line)
            return
        self._cases.append((line.case, self._stream.tell()))
        self._stream.write(escaped(line.to_json()) + b"\n")

    def write(self, path: Path, header: Mapping[str, Json]) -> PlanFile:
        """Write the plan, and be gone."""
        self._cases.sort(key=lambda line: line[0])
        self._refusals.sort(key=lambda refusal: refusal.case)
        lines: list[tuple[int, int]] = []
        with self._stream, writing(path, 0o600) as stream:
            stream.write(escaped(header) + b"\n")
            for _, offset in self._cases:
                self._stream.seek(offset)
                line = self._stream.readline()
                lines.append((stream.tell(), len(line)))
                stream.write(line)
            for refusal in self._refusals:
                stream.write(escaped({"kind": "refusal", **refusal.to_json()}) + b"\n")
        self._path.unlink()
        return PlanFile(header, Cases(path, lines), [case for case, _ in self._cases], self._refusals)
