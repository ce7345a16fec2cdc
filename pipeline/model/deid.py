"""What the door lets through: value checks, second gate and the policy that holds them."""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import NamedTuple, Protocol

from pipeline.model.csa import reduced_csa
from pipeline.model.identified import Key

TEXT_NUMBERS = frozenset({"DS", "IS"})
"""Value representations that write a number as text."""

PACKED = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}
"""Value representations that pack numbers, and their `struct` codes."""

DIGITS_LIMIT = 4
"""Most digits in a text made of listed words: fewer than a date or a telephone number has."""

_NUMBER = re.compile(rb"[+-]?(?:\d{1,15}(?:\.\d{0,20})?|\.\d{1,20})(?:[eE][+-]?\d{1,3})?")
_DATE = re.compile(rb"\d{8}")
_TIME = re.compile(rb"(?:[01]\d|2[0-3])(?:[0-5]\d(?:(?:[0-5]\d|60)(?:\.\d{1,6})?)?)?")
_MOMENT = re.compile(
    rb"(\d{8})((?:(?:[01]\d|2[0-3])(?:[0-5]\d(?:(?:[0-5]\d|60)(?:\.\d{1,6})?)?)?)?)([+-]\d{4})?"
)
_PRINTABLE = re.compile(rb"[ -~]{8,}")
_PRINTABLE_WHOLE = re.compile(rb"[ -~]{4,}")
"""Text in disguise. Whole numbers are small, so that one of their bytes is zero; four bytes of a measured one
are printable too often by chance."""


class Act(StrEnum):
    """What is done to an element."""

    KEPT = "kept"
    """Let through as it is: it parses as the number, or is the constant, that it has to be."""
    CLEANED = "cleaned"
    """Let through because every value stands in a controlled vocabulary; other values are gone."""
    SHIFTED = "shifted"
    """Dates are moved by the subject's days; times of day stay."""
    REMAPPED = "remapped"
    """UIDs are replaced by keyed ones, the same in every file."""
    EMPTIED = "emptied"
    """The element stays without a value, because the object needs it."""
    REPLACED = "replaced"
    """The value is replaced by one that says nothing."""
    RECURSED = "recursed"
    """A sequence whose items are cleaned one by one."""
    REMOVED = "removed"
    """The element is gone."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Subject:
    """Whom the door lets through, by pseudonym: the keyed token and the days by which dates move back.

    `numbers` are those that identify the subject (patient ID, accession number, ...): no element may hold one.
    """

    token: str
    shift_days: int
    key: Key
    known_uids: frozenset[str]
    numbers: frozenset[float] = frozenset()

    @property
    def name(self) -> str:
        """What stands for patient name and patient ID."""
        return f"sub-{self.token[:12]}"

    def uid(self, original: str) -> str:
        """Return the keyed UID that stands for `original`; one of the standard's own stays (PS3.5 B.2)."""
        if original in self.known_uids:
            return original
        return f"2.25.{int.from_bytes(self.key.digest('uid', original)[:16], 'big')}"

    def day(self, text: str) -> str | None:
        """Return the shifted date of `YYYYMMDD`; None if there is no such day."""
        try:
            shifted = date.fromisoformat(text) - timedelta(days=self.shift_days)
        except (ValueError, OverflowError):
            return None
        return f"{shifted.year:04d}{shifted.month:02d}{shifted.day:02d}"


class Found(NamedTuple):
    """One element's value as the file holds it: bytes, value representation and byte order."""

    value: bytes
    vr: str
    is_little_endian: bool

    @property
    def is_blank(self) -> bool:
        """Whether there is no value, or only padding."""
        is_text = self.vr not in PACKED and self.vr != "AT"
        return not (self.value.strip(b" \0") if is_text else self.value)

    def parts(self) -> list[bytes]:
        """Return the values of a text element, without the padding."""
        return [part.strip(b" \0") for part in self.value.split(b"\\")]

    def numbers(self) -> tuple[float, ...] | None:
        """Return the packed numbers; None if the length does not fit."""
        code = PACKED[self.vr]
        size = struct.calcsize(f"<{code}")
        if len(self.value) % size:
            return None
        order = "<" if self.is_little_endian else ">"
        return struct.unpack(f"{order}{len(self.value) // size}{code}", self.value)


class Check(Protocol):
    """How one element's value is judged; every check is a value that holds no state."""

    @property
    def act(self) -> Act:
        """What the check does to what it lets through."""

    def clean(self, found: Found, subject: Subject) -> bytes | None:
        """Return the bytes that may be written; None if nothing may. The value is not empty."""


def padded(parts: Sequence[bytes], pad: bytes = b" ") -> bytes:
    """Join values as a DICOM text element of even length."""
    text = b"\\".join(parts)
    return text + pad if len(text) % 2 else text


@dataclass(frozen=True, slots=True)
class Number:
    """Let a number through when it parses and lies in the closed range; written again, never copied.

    A packed number whose bytes are all printable is text in disguise and goes, and so does one of the numbers
    that identify the subject.
    """

    low: float
    high: float
    act: Act = Act.KEPT

    def clean(self, found: Found, subject: Subject) -> bytes | None:
        """See `Check`."""
        numbers, value = self._text(found) if found.vr in TEXT_NUMBERS else self._packed(found)
        is_within = all(self.low <= number <= self.high for number in numbers)
        return value if is_within and subject.numbers.isdisjoint(numbers) else None

    def _text(self, found: Found) -> tuple[Sequence[float], bytes | None]:
        parts = found.parts()
        if not all(map(_NUMBER.fullmatch, parts)):
            return (), None
        return list(map(float, parts)), padded(parts)

    def _packed(self, found: Found) -> tuple[Sequence[float], bytes | None]:
        numbers = found.numbers() if found.vr in PACKED else None
        text = _PRINTABLE if found.vr in {"FL", "FD"} else _PRINTABLE_WHOLE
        if numbers is None or text.fullmatch(found.value):
            return (), None
        return numbers, found.value


@dataclass(frozen=True, slots=True)
class FirstNumber:
    """Let the first of several whole numbers through, without the flag that some scanners add; the rest is 0."""

    low: float
    high: float
    flag: int
    act: Act = Act.CLEANED

    def clean(self, found: Found, subject: Subject) -> bytes | None:
        """See `Check`."""
        parts = found.parts()
        if not re.fullmatch(rb"\d{1,12}", parts[0]):
            return None
        number = int(parts[0]) % self.flag
        rest = [b"0"] * (len(parts) - 1)
        return padded([str(number).encode("ascii"), *rest]) if self.low <= number <= self.high else None


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Texts that may pass: whole values, values that match a pattern, or values all of whose words are listed.

    Compared without regard to case; ASCII only.
    """

    values: frozenset[str] = frozenset()
    patterns: tuple[re.Pattern[str], ...] = ()
    words: frozenset[str] = frozenset()

    def holds(self, text: str) -> bool:
        """Whether the value may pass."""
        folded = text.casefold()
        if folded in self.values or any(pattern.fullmatch(text) for pattern in self.patterns):
            return True
        return bool(self.words) and self._is_made_of_words(folded)

    def _is_made_of_words(self, text: str) -> bool:
        words = [word for word in re.split(r"[ _+./()*:-]+", text) if word]
        digits = sum(letter.isdigit() for letter in text)
        return bool(words) and len(text) <= 64 and digits <= DIGITS_LIMIT and self.words.issuperset(words)


@dataclass(frozen=True, slots=True)
class Words:
    """Let text through when each of its values is in the vocabulary; one that is not becomes `otherwise`.

    Where that ends with a hyphen, keyed digits of the value follow, so that different values stay different.
    Without `otherwise` the whole element goes.
    """

    vocabulary: Vocabulary
    otherwise: str | None = None
    act: Act = Act.CLEANED

    def clean(self, found: Found, subject: Subject) -> bytes | None:
        """See `Check`."""
        parts = []
        for part in found.parts():
            passes = part.isascii() and (not part or self.vocabulary.holds(part.decode("ascii")))
            if not passes and self.otherwise is None:
                return None
            parts.append(part if passes else self._instead(part, subject).encode("ascii"))
        return padded(parts)

    def _instead(self, part: bytes, subject: Subject) -> str:
        instead = str(self.otherwise)
        return instead + subject.key.token("alias", part.hex(), 6) if instead.endswith("-") else instead


@dataclass(frozen=True, slots=True)
class Uid:
    """Replace each UID by its keyed one."""

    act: Act = Act.REMAPPED

    def clean(self, found: Found, subject: Subject) -> bytes | None:
        """See `Check`."""
        parts = [part.decode("latin-1") for part in found.parts()]
        return padded([subject.uid(part).encode("ascii") if part else b"" for part in parts], b"\0")


@dataclass(frozen=True, slots=True)
class KnownUid:
    """Let UIDs of the standard's own dictionary through: SOP classes, transfer syntaxes, context groups."""

    act: Act = Act.KEPT

    def clean(self, found: Found, subject: Subject) -> bytes | None:
        """See `Check`."""
        parts = found.parts()
        known = all(part.decode("latin-1") in subject.known_uids for part in parts)
        return padded(parts, b"\0") if known else None


@dataclass(frozen=True, slots=True)
class Day:
    """Move dates by the subject's days."""

    act: Act = Act.SHIFTED

    def clean(self, found: Found, subject: Subject) -> bytes | None:
        """See `Check`."""
        shifted = []
        for part in found.parts():
            moved = subject.day(part.decode("ascii")) if _DATE.fullmatch(part) else None
            if moved is None:
                return None
            shifted.append(moved.encode("ascii"))
        return padded(shifted)


@dataclass(frozen=True, slots=True)
class Clock:
    """Let times of day through, which a shift by whole days leaves as they are, but no identifying number."""

    act: Act = Act.SHIFTED

    def clean(self, found: Found, subject: Subject) -> bytes | None:
        """See `Check`."""
        parts = found.parts()
        are_times = all(_TIME.fullmatch(part) for part in parts)
        return padded(parts) if are_times and subject.numbers.isdisjoint(map(float, parts)) else None


@dataclass(frozen=True, slots=True)
class Moment:
    """Move date-times by the subject's days; a date-time without a day goes."""

    act: Act = Act.SHIFTED

    def clean(self, found: Found, subject: Subject) -> bytes | None:
        """See `Check`."""
        shifted = []
        for part in found.parts():
            match = _MOMENT.fullmatch(part)
            moved = subject.day(match[1].decode("ascii")) if match else None
            if match is None or moved is None:
                return None
            shifted.append(moved.encode("ascii") + match[2] + (match[3] or b""))
        return padded(shifted)


@dataclass(frozen=True, slots=True)
class Empty:
    """Keep the element, which the object needs, without its value."""

    act: Act = Act.EMPTIED

    def clean(self, found: Found, subject: Subject) -> bytes | None:
        """See `Check`."""
        return b""


@dataclass(frozen=True, slots=True)
class Fixed:
    """Replace the value by a constant."""

    text: str
    act: Act = Act.REPLACED

    def clean(self, found: Found, subject: Subject) -> bytes | None:
        """See `Check`."""
        return padded([self.text.encode("ascii")])


@dataclass(frozen=True, slots=True)
class SubjectName:
    """Replace the value by the subject's pseudonym."""

    act: Act = Act.REPLACED

    def clean(self, found: Found, subject: Subject) -> bytes | None:
        """See `Check`."""
        return padded([subject.name.encode("ascii")])


@dataclass(frozen=True, slots=True)
class Pointer:
    """Let a tag through when the standard, or a safe private block, knows it (VR AT)."""

    known: frozenset[int]
    act: Act = Act.KEPT

    def clean(self, found: Found, subject: Subject) -> bytes | None:
        """See `Check`."""
        order = "<" if found.is_little_endian else ">"
        if len(found.value) % 4:
            return None
        halves = struct.unpack(f"{order}{len(found.value) // 2}H", found.value)
        tags = [group << 16 | element for group, element in zip(halves[::2], halves[1::2], strict=True)]
        return found.value if self.known.issuperset(tags) else None


@dataclass(frozen=True, slots=True)
class Label:
    """Keep a name that a task's label mapping knows; replace any other by a kind and the item's number."""

    kind: str
    number: int
    act: Act = Act.CLEANED

    def clean(self, found: Found, subject: Subject) -> bytes | None:
        """Let nothing through: the stage, which knows the item's number, decides."""
        return None


class Codes(StrEnum):
    """What a sequence's items are to the code dictionary."""

    NONE = "none"
    """They are no codes."""
    KNOWN = "known"
    """Codes; an item whose code the dictionary lacks goes."""
    REQUIRED = "required"
    """Codes; one that the dictionary lacks becomes `unspecified`, because the object must have one."""


@dataclass(frozen=True, slots=True)
class Items:
    """Clean a sequence item by item; an item that loses an element of `needs` goes whole.

    `scope` names what its items may hold beside their code.
    """

    scope: str
    codes: Codes = Codes.NONE
    needs: frozenset[int] = frozenset()
    act: Act = Act.RECURSED

    def clean(self, found: Found, subject: Subject) -> bytes | None:
        """Let nothing through: the stage walks the items."""
        return None


@dataclass(frozen=True, slots=True)
class Csa:
    """Write Siemens' CSA header again with the named numbers, each in its range."""

    ranges: tuple[tuple[str, tuple[float, float]], ...]
    act: Act = Act.CLEANED

    def clean(self, found: Found, subject: Subject) -> bytes | None:
        """See `Check`."""
        return reduced_csa(found.value, dict(self.ranges))


@dataclass(frozen=True, slots=True)
class Pixels:
    """Cut pixel data to its exact length; strip comments from compressed frames."""

    act: Act = Act.KEPT

    def clean(self, found: Found, subject: Subject) -> bytes | None:
        """Let nothing through: the stage, which knows the matrix, decides."""
        return None


@dataclass(frozen=True, slots=True)
class Lut:
    """Keep a table that rises or falls throughout and has the length that its descriptor says."""

    act: Act = Act.KEPT

    def clean(self, found: Found, subject: Subject) -> bytes | None:
        """See `Check`."""
        count = len(found.value) // 2
        order = "<" if found.is_little_endian else ">"
        if len(found.value) % 2 or count < 2 or _PRINTABLE.fullmatch(found.value):
            return None
        values = struct.unpack(f"{order}{count}H", found.value)
        steps = [after - before for before, after in itertools.pairwise(values)]
        return found.value if all(s >= 0 for s in steps) or all(s <= 0 for s in steps) else None


class Otherwise(StrEnum):
    """What becomes of an element whose value may not pass."""

    REMOVED = "removed"
    """It goes."""
    EMPTIED = "emptied"
    """It stays without a value, because the object needs it (type 2 of PS3.3)."""
    REFUSED = "refused"
    """The object is refused, because a voxel or its place would change without the value."""


@dataclass(frozen=True, slots=True)
class Handling:
    """One element of the allow-list: its check, the value representations it may have, what else becomes of it."""

    keyword: str
    vrs: tuple[str, ...]
    check: Check
    otherwise: Otherwise = Otherwise.REMOVED


Scope = Mapping[int, Handling]
"""What may stand at one level: tag -> handling."""


@dataclass(frozen=True, slots=True)
class Gate:
    """The second gate: what the confidentiality table lets be done with a tag (PS3.15 Table E.1-1).

    A tag that the table does not list is not its business; overlays, curves and private elements are
    listed by pattern.
    """

    exact: Mapping[int, frozenset[Act]]
    patterns: Sequence[tuple[int, int, frozenset[Act]]]
    private: frozenset[Act]

    def admits(self, tag: int, act: Act) -> bool:
        """Whether the table lets `act` be done with what stands at `tag`."""
        if tag & 0x10000:
            return act in self.private
        acts = self.exact.get(tag)
        if acts is not None:
            return act in acts
        return all(tag & mask != value or act in allowed for mask, value, allowed in self.patterns)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the confidentiality table: tag (hex, `x` for any digit, or PRIVATE), name and actions."""

    tag: str
    name: str
    basic: str
    options: Mapping[str, str]

    def action(self, options: frozenset[str]) -> str:
        """Return the action under the chosen options; of two that apply, the one that cleans."""
        chosen = {self.options[option] for option in options if option in self.options}
        return "C" if "C" in chosen else min(chosen, default=self.basic)


_ADMITTED = {
    "X": frozenset[Act](),
    "Z": frozenset({Act.EMPTIED, Act.REPLACED}),
    "D": frozenset({Act.EMPTIED, Act.REPLACED}),
    "U": frozenset({Act.REMAPPED}),
    "U*": frozenset({Act.REMAPPED, Act.RECURSED, Act.EMPTIED}),
    "C": frozenset({Act.CLEANED, Act.SHIFTED, Act.EMPTIED, Act.REPLACED, Act.RECURSED}),
    "K": frozenset(Act),
}


def gate(rows: Sequence[Row], options: frozenset[str]) -> Gate:
    """Return the second gate that the table's rows make under the chosen options.

    A compound action (X/Z/D) lets each of its parts be done.
    """
    exact: dict[int, frozenset[Act]] = {}
    patterns = []
    private = frozenset[Act]()
    for row in rows:
        acts = frozenset[Act]().union(*(_ADMITTED[part] for part in row.action(options).split("/")))
        if row.tag == "PRIVATE":
            private = acts
        elif "x" in row.tag:
            mask = int("".join("0" if digit == "x" else "f" for digit in row.tag), 16)
            patterns.append((mask, int(row.tag.replace("x", "0"), 16), acts))
        else:
            exact[int(row.tag, 16)] = acts
    return Gate(exact, tuple(patterns), private)


@dataclass(frozen=True, slots=True)
class Purpose:
    """What one kind of object is for: its SOP classes, what may stand at its top level, its options."""

    name: str
    classes: frozenset[str]
    scope: str
    gate: Gate
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """All that de-identification is told: allow-list, second gate, vocabularies, options.

    Parameters
    ----------
    purposes
        SOP Class UID -> purpose; any other object is refused.
    scopes
        Name -> what may stand at that level.
    private
        (private creator, group, offset in the block) -> handling.
    codes
        (coding scheme, code value) -> meaning; other codes go.
    scheme_synonyms
        Other designators of a coding scheme -> the one in `codes`.
    unspecified
        Scheme, value and meaning of the code that stands for an unknown one.
    known_uids
        UIDs of the standard, which are nobody's.
    method_codes
        Option -> (code value, meaning) of CID 7050.
    shift_days
        Least and most days by which a subject's dates move back.
    birth_date
        `emptied`, or `shifted` by the subject's days like other dates.
    edition, digest
        Edition of the confidentiality table; digest of all files of the policy.
    rows, characteristics
        The table's rows; the tags that the option to retain patient characteristics is about.
    """

    purposes: Mapping[str, Purpose]
    scopes: Mapping[str, Scope]
    private: Mapping[tuple[str, int, int], Handling]
    codes: Mapping[tuple[str, str], str]
    scheme_synonyms: Mapping[str, str]
    unspecified: tuple[str, str, str]
    known_uids: frozenset[str]
    method_codes: Mapping[str, tuple[str, str]]
    shift_days: tuple[int, int]
    birth_date: str
    issuer_counts: bool
    edition: str
    digest: str
    rows: Sequence[Row]
    characteristics: frozenset[int]
