"""Check what no part of a task's rules can know alone: names that must agree, ids, files that are named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.io.plainyaml import Fault, Place
from pipeline.io.strict import at, quoted, suggest
from pipeline.model.rules import (
    EXPECTED_KEYWORDS,
    PLANES,
    SELECT_KEYWORDS,
    TEXT_KEYWORDS,
    Cases,
    PublishedSplit,
    TaskRules,
)
from pipeline.model.volume import Quantity

_REFERENCES = ("https://", "http://", "doi:", "arXiv:")


def crossed(document: Any, folders: Sequence[Path]) -> Iterator[Fault]:
    """Yield the faults between the parts of a rules document, which may be wrong in any other way as well.

    Parameters
    ----------
    document
        The plain value of a rules file, of any shape.
    folders
        Where evidence that the rules name may lie.
    """
    for number, channel in enumerate(_list(document, "channels")):
        place: Place = ("channels", number)
        yield from _criteria_faults(at(channel, ("select",)), (*place, "select"))
        yield from _unknown(at(channel, ("expected",)), (*place, "expected"), EXPECTED_KEYWORDS)
        yield from _scale_faults(channel, place)
    yield from _twice(document, "channels", "name")
    yield from _label_faults(document)
    yield from _turn_faults(document, folders)
    release = at(document, ("header", "release"))
    if isinstance(release, str) and not (release.isascii() and release.isprintable()):
        yield Fault(("header", "release"), "printable ASCII", quoted(release))


def _list(document: Any, *place: str) -> list[Any]:
    found = at(document, place)
    return found if isinstance(found, list) else []


def _unknown(mapping: Any, place: Place, known: Iterable[str]) -> Iterator[Fault]:
    for keyword in mapping if isinstance(mapping, dict) else ():
        if keyword not in known:
            near = suggest(keyword, known)
            found = f"an unknown one, perhaps meant as {near}" if near else "an unknown one"
            yield Fault((*place, keyword), "a keyword that the index keeps", found)


def _criteria_faults(criteria: Any, place: Place) -> Iterator[Fault]:
    yield from _unknown(criteria, place, SELECT_KEYWORDS)
    for keyword, criterion in criteria.items() if isinstance(criteria, dict) else ():
        parts = criterion if isinstance(criterion, dict) else {}
        if keyword in TEXT_KEYWORDS and {"min", "max"} & set(parts):
            yield Fault((*place, keyword), "equals, any_of, matches, has_all, ... for text", "min or max")
        if keyword == "plane":
            yield from _plane_faults(parts, (*place, keyword))


def _plane_faults(parts: Mapping[str, Any], place: Place) -> Iterator[Fault]:
    listed = parts.get("any_of")
    named = [parts.get("equals"), *(listed if isinstance(listed, list) else [])]
    for name in named:
        if isinstance(name, str) and name not in PLANES:
            yield Fault(place, f"one of {', '.join(PLANES)}", quoted(name))


def _scale_faults(channel: Any, place: Place) -> Iterator[Fault]:
    quantity, method = at(channel, ("quantity",)), at(channel, ("scale", "method"))
    if method not in ("keep", "robust_min_max") or quantity not in [q.value for q in Quantity]:
        return
    if Quantity(quantity).is_quantitative is not (method == "keep"):
        wanted = "keep, because the channel is quantitative"
        if method == "keep":
            wanted = "robust_min_max, because the channel's unit is arbitrary"
        yield Fault((*place, "scale", "method"), wanted, method)


def _twice(document: Any, key: str, inner: str, parents: Place = ()) -> Iterator[Fault]:
    seen: Counter[str] = Counter()
    for number, item in enumerate(_list(at(document, parents), key)):
        name = at(item, (inner,))
        if isinstance(name, str):
            seen[name] += 1
            if seen[name] > 1:
                yield Fault((*parents, key, number, inner), f"each {inner} once", f"{quoted(name)} again")


def _label_faults(document: Any) -> Iterator[Fault]:
    channels = [at(channel, ("name",)) for channel in _list(document, "channels")]
    drawn_on = at(document, ("label", "channel"))
    if isinstance(drawn_on, str) and drawn_on not in channels:
        yield Fault(("label", "channel"), "a channel's name", quoted(drawn_on))
    classes = _list(document, "label", "classes")
    for number, item in enumerate(classes):
        value = at(item, ("value",))
        if isinstance(value, int) and value != number + 1:
            yield Fault(("label", "classes", number, "value"), f"{number + 1}, counting from 1", str(value))
        if at(item, ("name",)) == "background":
            yield Fault(("label", "classes", number, "name"), "another name: 0 is background", "background")
    yield from _twice(document, "classes", "name", ("label",))
    names = [at(item, ("name",)) for item in classes]
    for number, name in enumerate(_list(document, "label", "precedence")):
        if name not in names:
            yield Fault(("label", "precedence", number), "a class's name", quoted(name))


def _turn_faults(document: Any, folders: Sequence[Path]) -> Iterator[Fault]:
    pattern = at(document, ("cases", "id"))
    for number, turn in enumerate(_list(document, "half_turns")):
        place: Place = ("half_turns", number)
        yield from _criteria_faults(at(turn, ("where",)), (*place, "where"))
        case, evidence = at(turn, ("case",)), at(turn, ("evidence",))
        if isinstance(case, str) and isinstance(pattern, str) and not _may_fit(pattern, case):
            yield Fault((*place, "case"), f"an id like {pattern}", quoted(case))
        if isinstance(evidence, str) and not _is_evidence(evidence, folders):
            yield Fault(
                (*place, "evidence"),
                "a file beside the rules or under manifests/, or a link",
                quoted(evidence),
            )
    yield from _twice(document, "half_turns", "case")


def _may_fit(pattern: str, case: str) -> bool:
    return case.rpartition("_")[0] == pattern.rpartition("_")[0]


def _is_evidence(named: str, folders: Sequence[Path]) -> bool:
    if named.startswith(_REFERENCES):
        return True
    path = PurePosixPath(named)
    if path.is_absolute() or ".." in path.parts or "\x00" in named:
        return False
    return any((root / path).is_file() for root in folders)


def split_faults(split: PublishedSplit, rules: TaskRules) -> Iterator[Fault]:
    """Yield where a list of published ids does not agree with the rules that name it."""
    if split.task != rules.task:
        yield Fault(("task",), rules.task, split.task)
    seen: set[str] = set()
    for subset, ids in (("training", split.training), ("test", split.test)):
        for place, case in enumerate(ids):
            if case in seen:
                yield Fault((subset, place), "each case once", f"{case} again")
            if not fits(rules.cases, case):
                yield Fault((subset, place), f"ids like {rules.cases.id}", case)
            seen.add(case)


def fits(cases: Cases, case: str) -> bool:
    """Whether a case id is one that the pattern makes."""
    number = case.rpartition("_")[2]
    return number.isdecimal() and cases.id.format(int(number)) == case
