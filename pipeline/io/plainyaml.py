"""YAML 1.2 as plain values: text, numbers, true, false, null, lists, mappings; every fault with its line.

Files that people write are read from the parser's events, not through a constructor. So nothing is built
that the file does not spell out: an alias is never followed (no small file grows large), no tag is obeyed,
a key given twice is seen; a plain word means what the core schema of YAML 1.2 says (`no` is text).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
)

SIZE_LIMIT = 2**18
"""Largest file in bytes: ten times the largest one that ships."""

DEPTH_LIMIT = 24
"""Deepest nesting: three times what rules need, far below the interpreter's own limit."""

TWICE = "the key once"
"""What was wanted where a key is given twice; the first value stays and may have faults of its own."""

Place: TypeAlias = "tuple[str | int, ...]"
"""Keys and indices from the document's top down."""

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,14})")
_DECIMAL = re.compile(r"[-+]?((0|[1-9][0-9]{0,14})(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,2})?")
_ODD_NUMBER = re.compile(
    r"[-+]?([0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?|\.[0-9]+([eE][-+]?[0-9]+)?|0x[0-9a-fA-F]+|0o[0-7]+|\.(inf|Inf|INF))"
    r"|\.(nan|NaN|NAN)"
)
"""What else YAML 1.2 takes for a number: leading zeros, other bases, too many digits, infinity, NaN."""

_WORDS: Mapping[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a file, and where."""

    place: Place
    wanted: str
    found: str
    line: int | None = None

    def __str__(self) -> str:
        at = "" if self.line is None else f" (line {self.line})"
        return f"{spelt(self.place)}: wanted {self.wanted}, found {self.found}{at}"


@dataclass(frozen=True, slots=True)
class Document:
    """What a file says: its plain value, each place's line (from 1), and the faults of its writing."""

    value: Any
    lines: Mapping[Place, int] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()

    def line_of(self, place: Place) -> int | None:
        """Return the line of a place, or of the nearest place above that the file spells out."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place)


def spelt(place: Place) -> str:
    """Return a place as people write it: `$.channels[1].scale`."""
    return "$" + "".join(_step(step) for step in place)


def _step(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if re.fullmatch(r"[A-Za-z_]\w*", step) else f"[{step!r}]"


def read_plain(content: bytes) -> Document:
    """Read one YAML document; what is wrong with its writing stands in `faults`, never in an exception.

    Parameters
    ----------
    content
        The file's bytes: UTF-8, at most `SIZE_LIMIT`.
    """
    if len(content) > SIZE_LIMIT:
        return _unread(f"at most {SIZE_LIMIT} bytes", f"{len(content)}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        return _unread("UTF-8", f"another encoding at byte {fault.start}")
    try:
        return _Reader(YAML(typ="safe", pure=True).parse(text)).document()
    except (YAMLError, ValueError) as fault:
        return _unread("YAML", type(fault).__name__)


def _unread(wanted: str, found: str, line: int | None = None) -> Document:
    return Document(None, {}, (Fault((), wanted, found, line),))


class _Reader:
    """Builds one document from parser events; used once."""

    def __init__(self, events: Iterator[Event]) -> None:
        self._events = events
        self._lines: dict[Place, int] = {}
        self._faults: list[Fault] = []

    def document(self) -> Document:
        """Return the only document of the stream; where the YAML breaks off, what was seen up to there."""
        value: Any = None
        try:
            value = self._document()
        except MarkedYAMLError as fault:
            mark = fault.problem_mark or fault.context_mark
            line = None if mark is None else mark.line + 1
            self._faults.append(Fault((), "YAML", fault.problem or "something else", line))
        return Document(value, self._lines, tuple(self._faults))

    def _document(self) -> Any:
        value: Any = None
        documents = 0
        for event in self._events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._fault((), "one document", "a second one", event)
                    break
                value = self._value(next(self._events), ())
        if documents == 0:
            self._faults.append(Fault((), "a document", "an empty file"))
        return value

    def _fault(self, place: Place, wanted: str, found: str, event: Event) -> None:
        self._faults.append(Fault(place, wanted, found, event.start_mark.line + 1))

    def _value(self, event: Event, place: Place) -> Any:
        self._lines[place] = event.start_mark.line + 1
        if isinstance(event, AliasEvent):
            self._fault(place, "the value itself", "an alias (*)", event)
            return None
        if getattr(event, "anchor", None) is not None:
            self._fault(place, "a value without an anchor (&)", "one", event)
        if getattr(event, "tag", None) is not None:
            self._fault(place, "a plain value", "a tag (!)", event)
        if isinstance(event, ScalarEvent):
            return self._scalar(event, place)
        if len(place) >= DEPTH_LIMIT:
            raise MarkedYAMLError(problem=f"more than {DEPTH_LIMIT} levels", problem_mark=event.start_mark)
        return self._mapping(place) if isinstance(event, MappingStartEvent) else self._sequence(place)

    def _sequence(self, place: Place) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self._events), SequenceEndEvent):
            items.append(self._value(event, (*place, len(items))))
        return items

    def _mapping(self, place: Place) -> dict[str, Any]:
        """Return a mapping; of a key given twice the first value stays, and the second is a fault."""
        entries: dict[str, Any] = {}
        while not isinstance(event := next(self._events), MappingEndEvent):
            key = self._key(event, place)
            first = self._lines.get((*place, key))
            value = self._value(next(self._events), (*place, key))
            if key in entries and first is not None:
                self._fault((*place, key), TWICE, f"it again, after line {first}", event)
                self._lines[(*place, key)] = first
                continue
            entries[key] = value
        return entries

    def _key(self, event: Event, place: Place) -> str:
        if not isinstance(event, ScalarEvent):
            problem = "a key that is a list, a mapping or an alias"
            raise MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        if not isinstance(self._scalar(event, place), str):
            self._fault(place, "keys that are text", f"the key {event.value}", event)
        return str(event.value)

    def _scalar(self, event: ScalarEvent, place: Place) -> str | int | float | bool | None:
        """Return what a scalar means in YAML 1.2's core schema; quoted and block scalars are text."""
        text: str = event.value
        if event.style is not None:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _INTEGER.fullmatch(text):
            return int(text)
        if _DECIMAL.fullmatch(text):
            return float(text)
        if _ODD_NUMBER.fullmatch(text):
            self._fault(place, "a plain decimal number, or text in quotes", text, event)
        return text
