"""Compare two releases, TARs or folders case by case: what changed, by how much, and why."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.compare.reasons import (
    DATASET,
    EVIDENCE,
    FATE,
    FILE,
    Reason,
    explained,
    first_stage,
    of_headers,
    of_lines,
)
from pipeline.compare.sides import Case, Place, Task, open_side
from pipeline.compare.volumes import VolumeDifference, difference, read_picture
from pipeline.model.difference import changes
from pipeline.model.errors import CurationError, UsageError
from pipeline.model.record import Json
from pipeline.model.volume import GRID_TOLERANCE_MM

SAME, REPACKED, HEADER, VOXELS = "same", "repacked", "header", "voxels"
ONLY_FIRST, ONLY_SECOND, UNREADABLE = "only in the first", "only in the second", "unreadable"
_ORDER = (SAME, EVIDENCE, REPACKED, FATE, HEADER, VOXELS, UNREADABLE, ONLY_FIRST, ONLY_SECOND)
"""How much differs, least first: nothing; the manifest's line; the compressed bytes; the subset; the header; the voxels
or their place; ...."""


@dataclass(frozen=True, slots=True)
class PartDifference:
    """How image or label of a case differ: a word of how much, the members, and the numbers."""

    state: str
    members: tuple[str, str]
    volume: VolumeDifference | None = None

    def to_json(self) -> dict[str, Json]:
        """Return the part as one JSON object."""
        volume = None if self.volume is None else self.volume.to_json()
        return {"state": self.state, "members": list(self.members), "difference": volume}


@dataclass(frozen=True, slots=True)
class CaseDifference:
    """How one case differs, the first room whose notes differ, and what may be the reason.

    `is_explained` is None where nothing differs, or where one side has no manifest to ask.
    """

    case: str
    state: str
    parts: Mapping[str, PartDifference] = field(default_factory=dict)
    stage: str = ""
    why: Sequence[Reason] = ()
    is_explained: bool | None = None

    def to_json(self) -> dict[str, Json]:
        """Return the case as one JSON object."""
        return {
            "case": self.case,
            "state": self.state,
            "parts": {name: part.to_json() for name, part in self.parts.items()},
            "stage": self.stage,
            "why": [reason.to_json() for reason in self.why],
            "explained": self.is_explained,
        }


@dataclass(frozen=True, slots=True)
class TaskDifference:
    """How one task differs: rules and versions, dataset.json, and each case."""

    task: str
    why: Sequence[Reason]
    dataset: Mapping[str, tuple[str, str]]
    cases: Sequence[CaseDifference]

    @property
    def counts(self) -> dict[str, int]:
        """State -> number of cases, least difference first."""
        counted = Counter(case.state for case in self.cases)
        return {state: counted[state] for state in _ORDER if counted[state]}

    def to_json(self) -> dict[str, Json]:
        """Return the task as one JSON object."""
        return {
            "task": self.task,
            "why": [reason.to_json() for reason in self.why],
            "dataset": {key: list(pair) for key, pair in self.dataset.items()},
            "counts": self.counts,
            "cases": [case.to_json() for case in self.cases],
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two sides differ; tasks of one side alone are named."""

    tasks: Sequence[TaskDifference]
    only_first: Sequence[str]
    only_second: Sequence[str]

    @property
    def is_same(self) -> bool:
        """Whether nothing differs: no task, no case, no header, no text of dataset.json."""
        cases = [case for task in self.tasks for case in task.cases]
        texts = any(task.dataset for task in self.tasks)
        return not (self.only_first or self.only_second or texts) and all(c.state == SAME for c in cases)

    @property
    def unexplained(self) -> list[CaseDifference]:
        """The cases that differ although both manifests speak and neither says why: findings."""
        return [case for task in self.tasks for case in task.cases if case.is_explained is False]

    def to_json(self) -> dict[str, Json]:
        """Return the comparison as one JSON object."""
        return {
            "format": "curate-comparison/1",
            "same": self.is_same,
            "unexplained": len(self.unexplained),
            "only_first": list(self.only_first),
            "only_second": list(self.only_second),
            "tasks": [task.to_json() for task in self.tasks],
        }


def compare(first: Path, second: Path, *, tell: Callable[[str], None] = lambda _: None) -> Comparison:
    """Compare releases, TARs or folders of the published layout, one case in memory at a time.

    A single task is compared with the task of its name on the other side; two single tasks whatever their names.

    Raises
    ------
    UsageError
        not-a-release, also when the two have no task in common.
    """
    one, other = open_side(first), open_side(second)
    pairs = _paired(one, other)
    if not pairs:
        raise UsageError("not-a-release", wanted="a task on both sides", found="none")
    is_whole = len(one) > 1 and len(other) > 1
    names = {name for name, _ in pairs}
    tasks = [_compare_tasks(name, *pair, tell) for name, pair in pairs]
    return Comparison(
        tasks, sorted({*one} - names) if is_whole else [], sorted({*other} - names) if is_whole else []
    )


def _paired(one: Mapping[str, Task], other: Mapping[str, Task]) -> list[tuple[str, tuple[Task, Task]]]:
    if len(one) == len(other) == 1:
        return [(next(iter(one)), (next(iter(one.values())), next(iter(other.values()))))]
    return [(name, (one[name], other[name])) for name in sorted({*one} & {*other})]


def _compare_tasks(name: str, one: Task, other: Task, tell: Callable[[str], None]) -> TaskDifference:
    why = of_headers(one.header, other.header)
    cases = []
    for case in sorted({*one.cases, *other.cases}, key=_by_number):
        tell(f"{name}, {case}")
        cases.append(_compare_cases(case, one, other, why))
    return TaskDifference(name, why, _dataset_difference(one.dataset, other.dataset), cases)


def _by_number(case: str) -> tuple[str, int, str]:
    head, _, tail = case.rpartition("_")
    return head, int(tail) if tail.isdecimal() else -1, case


def _dataset_difference(one: Place | None, other: Place | None) -> dict[str, tuple[str, str]]:
    """Return key -> both texts of dataset.json; the lists of cases are compared as cases."""
    documents = [_json(place) for place in (one, other)]
    kept = [{k: v for k, v in d.items() if k not in ("training", "test")} for d in documents]
    return {".".join(path): pair for path, pair in changes(kept[0], kept[1])}


def _json(place: Place | None) -> dict[str, Any]:
    try:
        document = {} if place is None else json.loads(place.read())
    except ValueError:
        return {"": "not JSON"}
    return document if isinstance(document, dict) else {"": "not an object"}


def _compare_cases(name: str, one: Task, other: Task, of_task: Sequence[Reason]) -> CaseDifference:
    first, second = one.cases.get(name), other.cases.get(name)
    if first is None or second is None:
        return _only_one(name, one, other, of_task)
    parts = {part: _compare_parts(part, first, second) for part in sorted({*first.files, *second.files})}
    line, line_there = one.line(name), other.line(name)
    state = max((part.state for part in parts.values()), key=_ORDER.index, default=SAME)
    if first.subset != second.subset:
        state = max(state, FATE, key=_ORDER.index)
    if line is None or line_there is None:
        return CaseDifference(name, state, parts)
    is_one_key = one.header.get("key") == other.header.get("key")
    if state == SAME and _told(line, is_one_key) != _told(line_there, is_one_key):
        state = EVIDENCE
    if state == SAME:
        return CaseDifference(name, state, parts)
    rules = [header["rules"]["document"] for header in (one.header, other.header)]
    why = [*of_task, *of_lines(line, line_there, is_one_key=is_one_key, turns=rules)]
    changed = {*_changed(parts), *([FATE] if first.subset != second.subset else [])} or {EVIDENCE}
    return CaseDifference(name, state, parts, first_stage(line, line_there), why, explained(changed, why))


def _changed(parts: Mapping[str, PartDifference]) -> Iterator[str]:
    for name, part in parts.items():
        if part.state == REPACKED:
            yield FILE
        elif part.state != SAME:
            yield name


def _told(line: Mapping[str, Any], is_one_key: bool) -> dict[str, Any]:
    """Return what a line says; under two keys without what is keyed."""
    keyed = () if is_one_key else ("subject", "sources")
    told = {name: value for name, value in line.items() if name not in keyed}
    if not is_one_key and "review" in line:
        told["review"] = {name: value for name, value in line["review"].items() if name != "reviewer"}
    return told


def _only_one(name: str, one: Task, other: Task, of_task: Sequence[Reason]) -> CaseDifference:
    here, there = (one, other) if name in one.cases else (other, one)
    why = list(of_task)
    if name in there.refused:
        why.append(_refused(there.refused[name]))
    elif here.header and there.header:
        why.append(Reason("source", "plan", "no source made this case there", frozenset({FATE})))
    state = ONLY_FIRST if here is one else ONLY_SECOND
    is_explained = explained([FATE], why) if one.header and other.header else None
    return CaseDifference(name, state, why=why, is_explained=is_explained)


def _refused(what: str) -> Reason:
    """Return the reason that a refusal is: a reviewer's decision, or a room's."""
    kind, stage = ("reviewer", "review") if what.startswith("review: ") else ("refusal", "build")
    return Reason(kind, stage, f"refused there: {what}", frozenset({FATE}))


def _compare_parts(part: str, first: Case, second: Case) -> PartDifference:
    one, other = first.files.get(part), second.files.get(part)
    members = one.member if one else "", other.member if other else ""
    if one is None or other is None:
        return PartDifference(ONLY_SECOND if one is None else ONLY_FIRST, members)
    contents = one.read(), other.read()
    if contents[0] == contents[1]:
        return PartDifference(SAME, members)
    try:
        pictures = read_picture(contents[0]), read_picture(contents[1])
    except CurationError:
        return PartDifference(UNREADABLE, members)
    if pictures[0].content == pictures[1].content:
        return PartDifference(REPACKED, members)
    found = difference(*pictures, is_label=part == "label")
    is_moved = found.affine_mm is None or float(found.affine_mm) > GRID_TOLERANCE_MM
    return PartDifference(VOXELS if found.differing or is_moved else HEADER, members, found)


__all__ = ["DATASET", "CaseDifference", "Comparison", "PartDifference", "TaskDifference", "compare"]
