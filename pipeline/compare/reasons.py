"""Why two builds of a case differ, as far as their manifests tell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.model.difference import changes, shown
from pipeline.model.record import Json

Line = Mapping[str, Any]

IMAGE, LABEL, FILE, EVIDENCE, DATASET, FATE = "image", "label", "file", "evidence", "dataset", "fate"
"""What can differ: voxels or header of image and label, the compressed bytes, the manifest's line,
dataset.json, and whether the case is there and in which subset."""

_VOLUMES = frozenset({IMAGE, LABEL, FILE, EVIDENCE})
_EVERYTHING = _VOLUMES | {FATE}

_RULES: tuple[tuple[tuple[str, ...], str, frozenset[str]], ...] = (
    (("channels", "scale"), "scale", frozenset({IMAGE, FILE, EVIDENCE})),
    (("channels", "quantity"), "convert", frozenset({IMAGE, FILE, EVIDENCE})),
    (("channels", "expected"), "plan", frozenset({EVIDENCE})),
    (("channels", "window"), "review", frozenset({EVIDENCE})),
    (("channels",), "match", _EVERYTHING | {DATASET}),
    (("label",), "label", frozenset({LABEL, FILE, EVIDENCE, FATE, DATASET})),
    (("cases",), "split", frozenset({FATE, EVIDENCE, DATASET})),
    (("header",), "package", frozenset({DATASET})),
)
"""Where a key of the rules ends (list places left out) -> the room it steers, and what that can change."""

_ROOM_OF_LABEL = ("label", "rasterise")


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that is not the same for both, the room it steers, and what it can change."""

    kind: str
    """`rule`, `code`, `source`, `subject`, `half_turn`, `policy`, `reviewer`, `subset`, `key` or `refusal`."""
    stage: str
    text: str
    explains: frozenset[str]

    def to_json(self) -> dict[str, Json]:
        """Return the reason as one JSON object."""
        return {"kind": self.kind, "stage": self.stage, "text": self.text, "explains": sorted(self.explains)}

    def __str__(self) -> str:
        return f"{self.kind} ({self.stage}): {self.text}"


def of_headers(first: Line, second: Line) -> list[Reason]:
    """Return what the headers of two manifests of one task say: rules, versions, key."""
    if not first or not second:
        return []
    found = [_of_rule(path, pair) for path, pair in _rule_changes(first, second)]
    found += [
        _of_code(path, pair) for path, pair in changes(first.get("software", {}), second.get("software", {}))
    ]
    if first.get("key") != second.get("key"):
        text = "two keys: sources, subjects and case numbers cannot be compared"
        found.append(Reason("key", "plan", text, frozenset({EVIDENCE, FATE})))
    return found


def _rule_changes(first: Line, second: Line) -> Iterator[tuple[tuple[str, ...], tuple[str, str]]]:
    one, other = (
        {name: part for name, part in header["rules"]["document"].items() if name != "half_turns"}
        for header in (first, second)
    )
    return changes(one, other)


def _of_rule(path: tuple[str, ...], pair: tuple[str, str]) -> Reason:
    keys = tuple(name for name in path if not name.isdigit())
    rooms = ((stage, parts) for known, stage, parts in _RULES if keys[: len(known)] == known)
    stage, parts = next(rooms, ("none", frozenset()))
    return Reason("rule", stage, f"{'.'.join(path)} {pair[0]} -> {pair[1]}", parts)


def _of_code(path: tuple[str, ...], pair: tuple[str, str]) -> Reason:
    text = f"{'.'.join(path)} {pair[0]} -> {pair[1]}"
    if path[0] == "compressor":
        return Reason("code", "store", text, frozenset({FILE, EVIDENCE}))
    if path[0] == "rooms":
        room = path[-1]
        parts = _EVERYTHING - {IMAGE} if room in _ROOM_OF_LABEL else _EVERYTHING
        return Reason("code", room, text, parts)
    return Reason("code", "any", text, _EVERYTHING)


def of_lines(first: Line, second: Line, *, is_one_key: bool, turns: Sequence[Line] = ()) -> list[Reason]:
    """Return what the lines of one case in two manifests say: sources, turn, policy, reviewer, subset.

    `turns` are the two rules documents, for the half turns that they name.
    """
    found = list(_of_sources(first, second)) if is_one_key else []
    found += _of_turns(first, second, turns)
    found += _of_policy(first, second)
    if first.get("subset") != second.get("subset"):
        text = f"{shown(first.get('subset'))} -> {shown(second.get('subset'))}"
        found.append(Reason("subset", "split", text, frozenset({FATE, LABEL, FILE, EVIDENCE})))
    found += _of_review(first.get("review", {}), second.get("review", {}), is_one_key=is_one_key)
    return found


def _of_review(first: Line, second: Line, *, is_one_key: bool) -> Iterator[Reason]:
    """Say how the decisions differ; what was looked at differs with the voxels, which have their own reasons."""
    said = [{name: review.get(name) for name in ("decision", "reason")} for review in (first, second)]
    if said[0] != said[1]:
        words = [" ".join(shown(part) for part in each.values() if part is not None) for each in said]
        yield Reason("reviewer", "review", " -> ".join(words), frozenset({EVIDENCE, FATE}))
    elif is_one_key and first.get("reviewer") != second.get("reviewer"):
        yield Reason("reviewer", "review", "another reviewer", frozenset({EVIDENCE}))


def _of_sources(first: Line, second: Line) -> Iterator[Reason]:
    if first.get("subject") != second.get("subject"):
        yield Reason("subject", "split", "the case is another subject", _EVERYTHING)
    one, other = first.get("sources", {}), second.get("sources", {})
    for name in sorted({*one, *other}):
        before, after = one.get(name, []), other.get(name, [])
        if before != after:
            new, gone = len(set(after) - set(before)), len(set(before) - set(after))
            text = f"{shown(name)}: {new} files new, {gone} gone" if new or gone else f"{name}: another order"
            parts = _VOLUMES - {IMAGE} if name == "label" else _VOLUMES
            yield Reason("source", "match", text, parts)


def _of_turns(first: Line, second: Line, rules: Sequence[Line]) -> Iterator[Reason]:
    turned = [_turn_of(line) for line in (first, second)]
    case = first.get("case")
    ruled = [[turn for turn in document.get("half_turns", ()) if turn["case"] == case] for document in rules]
    if turned[0] != turned[1]:
        text = " -> ".join("turned" if turn else "not turned" for turn in turned)
        yield Reason("half_turn", "fix", text if all(turned) is False else "other evidence", _VOLUMES)
    elif ruled and ruled[0] != ruled[1]:
        yield Reason("rule", "fix", f"half_turns of {shown(case)}", _VOLUMES)


def _turn_of(line: Line) -> list[tuple[Any, ...]]:
    keys = ("channel", "reversed", "evidence", "evidence_digest")
    return [tuple(str(n.get(key)) for key in keys) for n in notes_of(line) if n.get("stage") == "fix"]


def _of_policy(first: Line, second: Line) -> Iterator[Reason]:
    one, other = (
        {(n.get("policy"), n.get("edition")) for n in notes_of(line) if n.get("stage") == "deidentify"}
        for line in (first, second)
    )
    if one != other:
        yield Reason("policy", "deidentify", "another policy of de-identification", _VOLUMES)


def notes_of(line: Line) -> list[Line]:
    """Return the notes of a line that are notes."""
    return [note for note in line.get("notes", ()) if isinstance(note, Mapping)]


def first_stage(first: Line, second: Line) -> str:
    """Return the first room whose notes differ, such as `scale T2`, or nothing."""
    one, other = notes_of(first), notes_of(second)
    for before, after in zip(one, other, strict=False):
        if before != after:
            return _named(before)
    longer = max(one, other, key=len)
    return _named(longer[min(len(one), len(other))]) if len(one) != len(other) else ""


def _named(note: Line) -> str:
    return f"{shown(note.get('stage', ''))} {shown(note.get('channel', ''))}".strip()


def explained(parts: Iterable[str], why: Sequence[Reason]) -> bool:
    """Whether each part that differs has a reason that can change it."""
    return all(any(part in reason.explains for reason in why) for part in parts)
