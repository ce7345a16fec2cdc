"""What of a source file tells who it is about: every value, at any depth, in its parts and spellings.

A value is *strong* when no chance brings it about: it is looked for in every released byte. Other values (short names,
numbers of five digits, dates) are *weak*: they are looked for as whole words in what is released of their own case.
UIDs are looked for wherever something has the form of a UID. A value that belongs to nobody is not looked for: what
the policy publishes, what the standard's codes mean, what is made of words of our own documents alone. Nor is one that
is too short. Both are counted.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from pydicom._dicom_dict import DicomDictionary

from pipeline.verify.elements import PIXEL_DATA, Element, Instance
from pipeline.verify.public import WORD, Public

STRONG = 8
"""Fewest characters of a strong text, in UTF-8."""

STRONG_NUMBER = 9
"""Fewest digits of a strong number."""

DISTINCT = 5
"""Fewest different characters of a strong text."""

WEAK_WORD, WEAK_NUMBER = 4, 5
"""Fewest letters of a weak word, fewest characters of one with digits."""

_LONGEST = 64
"""A longer text is cut into pieces of `_WORDS` words, so that a part of it is found too."""

_WORDS = 4

_TEXTS = frozenset({"AE", "AS", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_NUMBERS = frozenset({"DS", "IS"})
_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_TIME = re.compile(rb"\d{2,6}(\.\d{1,6})?")
_MOMENT = re.compile(r"\d{8}(\d{2,6}(\.\d{1,6})?)?([+-]\d{4})?")
_PACKED = frozenset({"AT", "FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"})
_PRINTABLE = re.compile(rb"[ -~]{4,}\0*")
_UID = re.compile(r"[0-9]+(\.[0-9]+){3,}")
_RUNS = re.compile(rb"[A-Za-z][A-Za-z0-9 ,.;:@^=/_'\-\xa0-\xff]{5,}")
"""Text inside bytes that are none."""

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


@dataclass(slots=True)
class Harvest:
    """What was gathered: strong texts by their bytes, UIDs, and each owner's weak words; each with its origin."""

    public: Public
    strong: dict[bytes, str] = field(default_factory=dict)
    uids: dict[str, str] = field(default_factory=dict)
    weak: defaultdict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    digests: set[str] = field(default_factory=set)
    whole: set[bytes] = field(default_factory=set)
    """Strong texts that count as whole words alone: they stood in bytes that are no text, and may be half a word."""
    common: Counter[str] = field(default_factory=Counter)
    short: Counter[str] = field(default_factory=Counter)
    _seen: set[tuple[str, str, bytes]] = field(default_factory=set)
    _blobs: set[bytes] = field(default_factory=set)

    def add_instance(self, owner: str, instance: Instance) -> None:
        """Gather from a DICOM file of an owner, such as a case."""
        self._blob(owner, "preamble", instance.preamble)
        for element in instance.elements:
            vr, value = element.vr, element.value
            if not value or element.tag == PIXEL_DATA:
                continue
            # The slices of a series say the same: most values were seen before.
            mark = (owner, vr, value)
            if len(value) < 256:
                if mark in self._seen:
                    continue
                self._seen.add(mark)
            self._element(owner, element, instance)

    def add_name(self, owner: str, name: str) -> None:
        """Gather the name of a file or folder."""
        stem = name.partition(".")[0] if not _UID.match(name) else name
        for text in {name, stem}:
            self._text(owner, "name of a file or folder", text)
        for found in _UID.finditer(name):
            self._uid(found[0], "name of a file or folder")

    def add_bytes(self, owner: str, origin: str, content: bytes) -> None:
        """Gather what is text in bytes of any form."""
        self._blob(owner, origin, content)

    def _element(self, owner: str, element: Element, instance: Instance) -> None:
        vr, value, origin = element.vr, element.value, origin_of(element)
        if vr == "UI":
            for part in value.decode("latin-1").split("\\"):
                self._uid(part.strip(" \0"), origin)
        elif vr in ("DA", "DT"):
            self._dates(owner, origin, value)
        elif vr == "TM" and all(_TIME.fullmatch(p.strip(b" \0")) for p in value.split(b"\\")):
            # Times of day stay: a shift by whole days does not touch them.
            return
        elif vr in _NUMBERS and all(_NUMBER.fullmatch(p.strip(b" \0")) for p in value.split(b"\\") if p):
            if self.public.row(element.tag) is not None:
                self._text(owner, origin, value.decode("ascii"))
        elif vr in _TEXTS or vr in _NUMBERS or vr == "TM":
            self._raw(origin, value)
            # What the table does not list is looked for by its strong texts alone: codes, defined terms.
            listed = any(
                self.public.row(tag) is not None or tag not in DicomDictionary for tag in element.path
            )
            self._text(owner if listed else "", origin, instance.decoded(value))
        elif vr not in _PACKED or _PRINTABLE.fullmatch(value):
            self._blob(owner, origin, value)

    def _uid(self, uid: str, origin: str) -> None:
        if _UID.fullmatch(uid) is None:
            if uid:
                self._text("", origin, uid)
        elif uid not in self.public.uids:
            self.uids.setdefault(uid, origin)

    def _dates(self, owner: str, origin: str, value: bytes) -> None:
        for part in value.decode("latin-1").split("\\"):
            text = part.strip(" \0")
            if _MOMENT.fullmatch(text) is None:
                self._text(owner, origin, text)
            elif text[:4] > "1000":
                for spelt in _spellings(text[:8]):
                    self.weak[owner].setdefault(spelt, origin)

    def _raw(self, origin: str, value: bytes) -> None:
        """Keep text that is not ASCII, or that escapes from it (ISO 2022), also in the bytes that it had."""
        if not value.isascii() or b"\x1b" in value:
            for part in re.split(rb"[\\^=]", value):
                plain = part.strip(b" \0")
                if len(plain) >= STRONG and len(set(plain)) >= DISTINCT:
                    self.strong.setdefault(plain.lower(), origin)

    def _blob(self, owner: str, origin: str, content: bytes) -> None:
        if len(content) < WEAK_WORD:
            return
        digest = hashlib.blake2b(content, digest_size=16).digest()
        if digest not in self._blobs:
            self._blobs.add(digest)
            runs = _RUNS.findall(content)
            if b"\0" in content and len(content) < 2**16:
                runs += _RUNS.findall(content.replace(b"\0", b""))
            before = set(self.strong)
            for run in runs:
                self._text(owner, origin, run.decode("latin-1"))
            self.whole |= self.strong.keys() - before

    def _text(self, owner: str, origin: str, text: str) -> None:
        for part in _parts(text):
            if self.public.holds(part):
                self.common[origin] += 1
                continue
            if is_strong(part):
                for form in _forms(part):
                    self.strong.setdefault(form, origin)
            self._words(owner, origin, part)

    def _words(self, owner: str, origin: str, text: str) -> None:
        if not owner:
            return
        for word in WORD.findall(text.casefold()):
            is_number = any(letter.isdigit() for letter in word)
            if word in self.public.words or (word.isdigit() and len(word) > 20):
                continue
            if len(word) >= (WEAK_NUMBER if is_number else WEAK_WORD):
                self.weak[owner].setdefault(word, origin)
            else:
                self.short[origin] += 1


def origin_of(element: Element) -> str:
    """Return where a value stood, by keyword, as a finding says it: never the value."""
    tag = element.tag
    if tag & 0x10000:
        return f"private ({tag >> 16:04x},xx{tag & 0xFF:02x})"
    known = DicomDictionary.get(tag)
    return known[4] if known is not None and known[4] else f"({tag >> 16:04x},{tag & 0xFFFF:04x})"


def is_strong(text: str) -> bool:
    """Whether a text is so long and so varied that chance does not bring it about."""
    if text.isdigit():
        return len(text) >= STRONG_NUMBER and len(set(text)) >= DISTINCT - 1
    has_letters = sum(letter.isalpha() for letter in text) >= 2
    is_number = re.fullmatch(r"[0-9.,+\-eE ]+", text) is not None
    # A letter of another script counts as the bytes that it takes.
    spelt = text.casefold().encode("utf-8", "replace")
    return len(spelt) >= STRONG and len(set(spelt)) >= DISTINCT and has_letters and not is_number


def _parts(text: str) -> Iterator[str]:
    """Yield a text's values, the components of names, and pieces of what is long."""
    for value in re.split(r"[\\\r\n\f]", text):
        whole = value.strip(" \0\t")
        pieces = [whole, *re.split(r"[\^=]", whole)] if "^" in whole or "=" in whole else [whole]
        for piece in dict.fromkeys(piece.strip() for piece in pieces):
            if len(piece) > _LONGEST:
                words = piece.split()
                yield from (" ".join(words[i : i + _WORDS]) for i in range(0, len(words), _WORDS))
            elif piece:
                yield piece


def _forms(text: str) -> set[bytes]:
    """Return the lower-case byte strings that a text has in UTF-8, Latin-1, UTF-16 and without accents."""
    forms = {text.casefold().encode("utf-8", "replace")}
    if text.isascii():
        return forms
    for spelt in (text, text.lower(), text.upper()):
        forms.add(spelt.encode("utf-8", "replace").lower())
        forms.add(spelt.encode("latin-1", "ignore").lower())
        forms |= {spelt.encode(name, "replace").lower() for name in ("utf-16-le", "utf-16-be")}
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").lower()
    return {form for form in (*forms, plain) if len(form) >= STRONG}


def _spellings(day: str) -> Iterator[str]:
    """Yield a date as people and programs write it."""
    year, month, date = day[:4], day[4:6], day[6:]
    yield day
    for mark in "-./":
        yield from (
            mark.join(parts) for parts in ((year, month, date), (date, month, year), (month, date, year))
        )
    if month.isdigit() and 1 <= int(month) <= 12:
        name = _MONTHS[int(month) - 1]
        yield from (f"{int(date)} {name} {year}", f"{date}-{name}-{year}", f"{name} {int(date)}, {year}")
