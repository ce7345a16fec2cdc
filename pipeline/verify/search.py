"""Find harvested values in released bytes: as they stand, widened, escaped, in base64 and in hex, in any case."""

from __future__ import annotations

import binascii
import html
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from string import ascii_lowercase, ascii_uppercase
from urllib.parse import unquote_to_bytes

import numpy as np
import numpy.typing as npt
from ahocorasick_rs import BytesAhoCorasick

from pipeline.verify.harvest import Harvest

PATTERNS = 500_000
"""Texts searched for at once; of more, each batch has an automaton of its own, so that memory is bounded."""

_UIDS = re.compile(rb"[0-9]+(?:\.[0-9]+){3,}")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{11,}")
_DIGEST = re.compile(rb"[0-9a-fA-F]{64,}")
_HEX = re.compile(rb"[0-9A-Fa-f]{16,}")
_ESCAPE = re.compile(rb"\\u([0-9a-fA-F]{4})")
_REFERENCE = re.compile(rb"&[#A-Za-z]")
"""How each character reference of HTML begins."""

_WIDE = ((0xFF00FF00, 0), (0x00FF00FF, 8))
"""Two wide Latin letters in four bytes, in either byte order: what is zero, and how far up the first letter stands."""

Pairs = npt.NDArray[np.bool_]
"""Whether a byte (rows) is followed by another (columns) in what is searched for, shape (256, 256)."""

_MARGIN = 128
"""Bytes of voxels looked at around what can be text: the longest text that is searched for whole, and some."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A harvested value in released bytes: what it was in the source, how it is written here, where."""

    origin: str
    view: str
    offset: int


class Searcher:
    """Looks for all strong texts and UIDs of a harvest; made once, used for every released byte."""

    def __init__(self, harvest: Harvest) -> None:
        patterns = sorted(harvest.strong)
        self._whole = harvest.whole
        self._origins = [harvest.strong[pattern] for pattern in patterns]
        self._uids: Mapping[bytes, str] = {uid.encode(): origin for uid, origin in harvest.uids.items()}
        self._digests = {digest.encode() for digest in harvest.digests}
        self._pairs = pairs_of([*patterns, *self._uids, *self._digests])
        self._automata = [
            (start, BytesAhoCorasick(patterns[start : start + PATTERNS]))
            for start in range(0, len(patterns), PATTERNS)
        ]

    def text(self, content: bytes) -> Iterator[Hit]:
        """Look through bytes that may be text, in every view of them; what is found in one is not said again."""
        said: set[str] = set()
        for view, seen in views(content):
            found = [
                *self._strong(seen, view),
                *self._known_uids(seen, view),
                *self._known_digests(seen, view),
            ]
            yield from (hit for hit in found if hit.origin not in said)
            said |= {hit.origin for hit in found}

    def voxels(self, content: bytes | memoryview) -> Iterator[Hit]:
        """Look through the text that stands between voxels: only runs of bytes that can be text are read.

        Every strong text has at least seven bytes.
        """
        for begin, end in text_runs(content, self._pairs):
            for hit in self.text(bytes(content[begin:end])):
                yield Hit(hit.origin, hit.view, begin + hit.offset)

    def _strong(self, seen: bytes, view: str) -> Iterator[Hit]:
        folded = seen.lower()
        for start, automaton in self._automata:
            for number, begin, end in automaton.find_matches_as_indexes(folded, overlapping=True):
                if self._counts(folded, begin, end):
                    yield Hit(self._origins[start + number], view, begin)

    def _counts(self, folded: bytes, begin: int, end: int) -> bool:
        found = folded[begin:end]
        if found.isdigit():
            return _stands_alone(folded, begin, end)
        if found in self._whole:
            return not (folded[max(begin - 1, 0) : begin].isalnum() or folded[end : end + 1].isalnum())
        return True

    def _known_digests(self, seen: bytes, view: str) -> Iterator[Hit]:
        for found in _DIGEST.finditer(seen):
            if found[0].lower() in self._digests:
                yield Hit("digest of a source file", view, found.start())

    def _known_uids(self, seen: bytes, view: str) -> Iterator[Hit]:
        # Among voxels a dot or two are chance; a UID has three.
        for found in _UIDS.finditer(seen) if seen.count(b".") > 2 else ():
            origin = self._uids.get(found[0])
            if origin is not None:
                yield Hit(origin, view, found.start())


def _stands_alone(folded: bytes, begin: int, end: int) -> bool:
    """Whether digits are a number of their own, and no part of a longer one, of a fraction or of a digest."""
    before, after = folded[max(begin - 1, 0) : begin], folded[end : end + 1]
    return before not in _JOINED and after not in _JOINED


_JOINED = frozenset(bytes([byte]) for byte in b"0123456789abcdef.")


def views(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the readings of bytes in which a text may hide."""
    yield "as it stands", content
    if b"\0" in content:
        # UTF-16 and UTF-32 of Latin letters, either byte order, at any place.
        yield "wide characters", content.replace(b"\0", b"")
    if b"\\u" in content:
        yield "escaped", _ESCAPE.sub(lambda m: chr(int(m[1], 16)).encode("utf-8", "replace"), content)
    if b"%" in content:
        yield "escaped", unquote_to_bytes(content)
    if b"&" in content and _REFERENCE.search(content):
        yield "escaped", html.unescape(content.decode("latin-1")).encode("utf-8", "replace")
    unbroken = content.replace(b"\r", b"").replace(b"\n", b"")
    yield from _decoded("base64", b"\n".join(_from_base64(unbroken)))
    yield from _decoded("hex", b"\n".join(_from_hex(unbroken)))


def _decoded(view: str, decoded: bytes) -> Iterator[tuple[str, bytes]]:
    if decoded:
        yield view, decoded
        if b"\0" in decoded:
            yield f"{view} of wide characters", decoded.replace(b"\0", b"")


def _from_base64(content: bytes) -> Iterator[bytes]:
    """Yield what each run of base64 says, from each of the four places where it may begin."""
    for run in _BASE64.findall(content):
        plain = run.translate(_URL_SAFE)
        for start in range(4):
            piece = plain[start:]
            # What is left over of a group of four says up to two bytes more.
            rest = len(piece) % 4
            padded = piece + b"=" * (4 - rest) if rest > 1 else piece[: len(piece) - rest]
            yield binascii.a2b_base64(padded)


_URL_SAFE = bytes.maketrans(b"-_", b"+/")


def _from_hex(content: bytes) -> Iterator[bytes]:
    for run in _HEX.findall(content):
        for start in range(2):
            piece = run[start:]
            yield bytes.fromhex(piece[: len(piece) // 2 * 2].decode("ascii"))


def pairs_of(texts: Iterable[bytes]) -> Pairs:
    """Return which two bytes stand side by side in one of the texts, in any case: the first in rows."""
    joined = np.frombuffer(b"\n".join(texts), np.uint8)
    pairs: Pairs = np.zeros((256, 256), bool)
    pairs[joined[:-1], joined[1:]] = True
    small, large = (
        np.frombuffer(letters.encode(), np.uint8) for letters in (ascii_lowercase, ascii_uppercase)
    )
    for one, other in ((small, large), (large, small)):
        pairs[one] |= pairs[other]
        pairs[:, one] |= pairs[:, other]
    return pairs


def text_runs(content: bytes | memoryview, pairs: Pairs) -> Iterator[tuple[int, int]]:
    """Yield begin and end of the parts of voxel bytes that can hold a text whose pairs of bytes the table has.

    A text has seven bytes, so that a word of four of them stands at a multiple of four: such a word is of ASCII alone
    (whatever it is written in: base64, hex, escapes), or of two known pairs. Voxels of CT are neither as a rule.
    """
    words = np.frombuffer(content, "<u4", count=len(content) // 4)
    known, upper = pairs.T.reshape(-1), words & np.uint32(0xE0E0E0E0)
    # A byte that can be text has one of its upper three bits set. What is left of the cheap test is looked up.
    texts = np.flatnonzero(((upper - np.uint32(0x01010101)) & ~upper & np.uint32(0x80808080)) == 0)
    four = words[texts]
    is_ascii = (four & np.uint32(0x80808080)) == 0
    places = [texts[is_ascii | (known[four & np.uint32(0xFFFF)] & known[four >> np.uint32(16)])]]
    for zeros, shift in _WIDE:
        letters = np.uint32(0xE000E0 << shift)
        is_pair = ((words & np.uint32(zeros)) == 0) & ((upper & letters & np.uint32(0xFFFF)) != 0)
        is_pair &= (upper & letters & np.uint32(0xFFFF0000)) != 0
        # Of seven wide letters two pairs stand side by side; one alone is chance among voxels.
        seconds = np.flatnonzero(is_pair[1:] & is_pair[:-1]) + 1
        places.append(
            seconds[_are_known(words[seconds], known, shift) & _are_known(words[seconds - 1], known, shift)]
        )
    yield from _around(np.unique(np.concatenate(places)) * 4, len(content))


def _are_known(
    words: npt.NDArray[np.uint32], known: npt.NDArray[np.bool_], shift: int
) -> npt.NDArray[np.bool_]:
    """Whether the two wide letters of each word are a pair of what is searched for."""
    narrow = words >> np.uint32(shift)
    found: npt.NDArray[np.bool_] = known[(narrow | narrow >> np.uint32(8)) & np.uint32(0xFFFF)]
    return found


def _around(places: npt.NDArray[np.int64], size: int) -> Iterator[tuple[int, int]]:
    """Yield begin and end of what stands around places in order, those that meet as one."""
    if not len(places):
        return
    gaps = np.flatnonzero(np.diff(places) > 2 * _MARGIN)
    begins = places[np.r_[0, gaps + 1]] - _MARGIN
    ends = places[np.r_[gaps, len(places) - 1]] + _MARGIN + 8
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        yield max(begin, 0), min(end, size)


def weak_hits(words: Mapping[str, str], text: str) -> Iterator[Hit]:
    """Look for an owner's weak words as whole words in what is released of that owner."""
    folded = text.casefold()
    for word, origin in words.items():
        start = folded.find(word)
        while start >= 0:
            if _is_whole(folded, start, start + len(word)):
                yield Hit(origin, "as a word", start)
                break
            start = folded.find(word, start + 1)


def _is_whole(text: str, begin: int, end: int) -> bool:
    """Whether neither letter nor digit is joined to a word, nor a number's fraction or a JSON number's comma."""
    before, after = text[begin - 1 : begin], text[end : end + 1]
    if before.isalnum() or after.isalnum():
        return False
    if not text[begin:end].isdigit():
        return True
    # A bare number of a JSON document, such as a count of voxels, is none of a person's.
    is_bare = before in {":", ",", "["} and after in {",", "}", "]"}
    return (
        not is_bare and before not in {".", "-"} and not (after == "." and text[end + 1 : end + 2].isdigit())
    )
