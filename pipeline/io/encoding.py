"""Where the encoded elements of a DICOM file end (PS3.5 7), so that a file that ends before them is seen.

pydicom takes a file that was cut for one that ends there: it drops what it could not read and says nothing
that a program could rely on. Here every length that the file declares is followed to its end.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from pipeline.model.errors import SourceError

INFLATED_LIMIT = 2**30
"""Largest dataset, in bytes, that a deflated file may expand to."""
INFLATED_RATIO = 100
"""How many times its own size a deflated file may expand to; slices do 2 to 10 times, zeros 1000 times."""
INFLATED_ALWAYS = 2**26
"""Bytes that any deflated file may expand to: an empty slice is smaller than a hundredth of itself."""

_UNDEFINED = 0xFFFFFFFF
_ITEM_END = 0xFFFEE00D
_SEQUENCE_END = 0xFFFEE0DD
_TRANSFER_SYNTAX = 0x00020010
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
"""Value representations whose length has four bytes, after two reserved ones (PS3.5 7.1.2)."""


def refuse_cut(content: bytes) -> None:
    """Refuse a DICOM file that ends before its elements do, or inflates beyond `INFLATED_LIMIT`.

    Parameters
    ----------
    content
        A file with preamble and DICM prefix, or one that begins with its first element.

    Raises
    ------
    SourceError
        truncated, or unreadable for a deflated dataset that is damaged or too large.
    """
    walk = _begun(content)
    try:
        syntax = walk.over_meta()
        if DeflatedExplicitVRLittleEndian.encode() in syntax:
            walk = _Walk(_inflated(content, walk.at), 0)
        walk.is_little = ExplicitVRBigEndian.encode() not in syntax and (bool(syntax) or walk.begins_little())
        walk.over_dataset()
    except EOFError:
        raise SourceError("truncated", wanted="a whole file", found="an early end") from None


def is_deflated(content: bytes) -> bool:
    """Whether a file's dataset is deflated, so that reading any of it inflates all of it."""
    try:
        return DeflatedExplicitVRLittleEndian.encode() in _begun(content).over_meta()
    except EOFError:
        return False


def _begun(content: bytes) -> _Walk:
    return _Walk(content, 132 if content[128:132] == b"DICM" else 0)


@dataclass(slots=True)
class _Walk:
    """A walk over encoded elements; an EOFError when the bytes end before what they declare."""

    content: bytes | bytearray
    at: int
    is_little: bool = True

    def number(self, count: int) -> int:
        """Take a whole number of `count` bytes."""
        start = self.at
        self.skip(count)
        return int.from_bytes(self.content[start : self.at], "little" if self.is_little else "big")

    def skip(self, count: int) -> None:
        """Go on by `count` bytes."""
        self.at += count
        if self.at > len(self.content):
            raise EOFError

    def tag(self) -> int:
        """Take a tag: group and element."""
        return self.number(2) << 16 | self.number(2)

    def header(self, is_implicit: bool) -> tuple[int, int]:
        """Take the tag and length of an element.

        Explicit files hold implicit elements now and then: what is no value representation is a length.
        """
        tag = self.tag()
        representation = bytes(self.content[self.at : self.at + 2])
        if is_implicit or not b"AA" <= representation <= b"ZZ":
            return tag, self.number(4)
        if representation in _LONG:
            self.skip(4)
            return tag, self.number(4)
        self.skip(2)
        return tag, self.number(2)

    def is_implicit(self) -> bool:
        """Whether the element that comes next has no value representation: two capital letters (PS3.5 6.2)."""
        representation = self.content[self.at + 4 : self.at + 6]
        return not (representation.isalpha() and representation.isascii() and representation.isupper())

    def begins_little(self) -> bool:
        """Whether a dataset without a named syntax is little-endian; big-endian, its first group is 00xx."""
        group = self.content[self.at : self.at + 2]
        return self.is_implicit() or not (group[:1] == b"\x00" and group[1:] > b"\x03")

    def over_meta(self) -> bytes | bytearray:
        """Go over the file meta information, group 0002 (PS3.10 7.1); return its transfer syntax."""
        is_implicit = self.is_implicit()
        syntax: bytes | bytearray = b""
        while self.content[self.at : self.at + 2] == b"\x02\x00":
            tag, length = self.header(is_implicit)
            start = self.at
            self.over_value(length, is_implicit)
            syntax = self.content[start : self.at] if tag == _TRANSFER_SYNTAX else syntax
        return syntax

    def over_dataset(self) -> None:
        """Go over all elements; NULs that pad the file are none."""
        is_implicit, end = self.is_implicit(), len(self.content.rstrip(b"\x00"))
        while self.at < end:
            _, length = self.header(is_implicit)
            self.over_value(length, is_implicit)

    def over_value(self, length: int, is_implicit: bool) -> None:
        """Go over an element's value: of undefined length, its items or fragments and their delimiter."""
        if length != _UNDEFINED:
            self.skip(length)
            return
        while self.tag() != _SEQUENCE_END:
            length = self.number(4)
            if length == _UNDEFINED:
                # PS3.5 6.2.2: items of UN are implicit in an explicit file.
                self.over_item(is_implicit or self.is_implicit())
            else:
                self.skip(length)
        self.skip(4)

    def over_item(self, is_implicit: bool) -> None:
        """Go over the elements of an item of undefined length and its delimiter."""
        tag, length = self.header(is_implicit)
        while tag != _ITEM_END:
            self.over_value(length, is_implicit)
            tag, length = self.header(is_implicit)


def _inflated(content: bytes, start: int) -> bytearray:
    """Return a deflated dataset inflated (PS3.5 A.5), having counted that it stays within the limits."""
    most = min(INFLATED_LIMIT, max(INFLATED_ALWAYS, INFLATED_RATIO * len(content)))
    total = sum(map(len, _inflating(content, start, most)))
    # Joined at its full length: a list of parts would need as much again.
    whole = bytearray(total)
    at = 0
    for part in _inflating(content, start, most):
        whole[at : at + len(part)] = part
        at += len(part)
    return whole


def _inflating(content: bytes, start: int, most: int) -> Iterator[bytes]:
    inflater, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
    pending = content[start:]
    try:
        while pending and not inflater.eof:
            part = inflater.decompress(pending, 2**22)
            pending = inflater.unconsumed_tail
            total += len(part)
            if total > most:
                raise SourceError("unreadable", wanted=f"at most {most} bytes", found="a deflated bomb")
            yield part
    except zlib.error:
        raise SourceError("unreadable", wanted="a deflated dataset", found="damaged data") from None
    if not inflater.eof:
        raise EOFError
