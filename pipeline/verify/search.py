"""Find harvested values in released bytes: as they stand, widened, escaped, in base64 and in hex, in any case."""

from __future__ import annotations

import binascii
import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from string import ascii_lowercase, ascii_uppercase
from urllib.parse import unquote_to_bytes

import numpy as np
import numpy.typing as npt
from ahocorasick_rs import BytesAhoCorasick

from pipeline.verify.harvest import Harvest

PATTERNS = 500_000
"""Texts searched for at once; of more, each batch has an automaton of its own, so that memory is bounded."""

_DIGITS = b"0123456789"
_HEX = _DIGITS + b"abcdefABCDEF"
_BASE64 = _DIGITS + (ascii_lowercase + ascii_uppercase).encode() + b"+/_-"

# A dot is found faster than a digit.
_DOTTED = re.compile(rb"\.[0-9]+(?:\.[0-9]+){2,}")
_ESCAPE = re.compile(rb"\\u([0-9a-fA-F]{4})")
_REFERENCE = re.compile(rb"&[#A-Za-z]")
"""How each character reference of HTML begins."""

Pairs = npt.NDArray[np.bool_]
"""Whether two bytes stand side by side in what is searched for, by the little-endian number that they make."""

_APART = b"\n\x1f\n"
"""Stands between texts that are looked through as one: no view takes it away, and no coded text goes on in it."""

_TOGETHER = 2**20
"""Bytes of texts that are looked through as one."""

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
        runs = list(text_runs(content, self._pairs))
        if self._holds_any(bytes(content[begin:end]) for begin, end in runs):
            for begin, end in runs:
                for hit in self.text(bytes(content[begin:end])):
                    yield Hit(hit.origin, hit.view, begin + hit.offset)

    def is_clean(self, texts: Sequence[bytes], voxels: bytes | memoryview) -> bool:
        """Whether `text` finds nothing in any of the texts, and `voxels` nothing in the voxels: told by one search.

        False may also be said where a text and the next one make up a match together.
        """
        runs = (bytes(voxels[begin:end]) for begin, end in text_runs(voxels, self._pairs))
        return not self._holds_any(chain(texts, runs))

    def _holds_any(self, texts: Iterable[bytes]) -> bool:
        """Whether there is a match in a text, or across two of them; one by one many short texts would take long."""
        return any(next(self.text(joined), None) is not None for joined in _joined(texts))

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
        for begin, end in _runs_of(_HEX, 64, seen):
            if seen[begin:end].lower() in self._digests:
                yield Hit("digest of a source file", view, begin)

    def _known_uids(self, seen: bytes, view: str) -> Iterator[Hit]:
        # Among voxels a dot or two are chance; a UID has three.
        for found in _DOTTED.finditer(seen) if seen.count(b".") > 2 else ():
            begin = found.start()
            while seen[begin - 1 : begin].isdigit():
                begin -= 1
            # Without digits before it the dot is none of the UID's.
            begin += begin == found.start()
            origin = self._uids.get(seen[begin : found.end()])
            if origin is not None:
                yield Hit(origin, view, begin)


def _joined(texts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the texts one after another, so many at once that memory stays bounded."""
    batch: list[bytes] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= _TOGETHER:
            yield _APART.join(batch)
            batch, size = [], 0
    if batch:
        yield _APART.join(batch)


def _stands_alone(folded: bytes, begin: int, end: int) -> bool:
    """Whether digits are a number of their own, and no part of a longer one, of a fraction or of a digest."""
    before, after = folded[max(begin - 1, 0) : begin], folded[end : end + 1]
    return before not in _JOINED and after not in _JOINED


_JOINED = frozenset(bytes([byte]) for byte in b"0123456789abcdef.")


def views(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the readings of bytes in which a text may hide; of several that are the same bytes, the first."""
    yield "as it stands", content
    if b"\0" in content:
        # UTF-16 and UTF-32 of Latin letters, either byte order, at any place.
        yield "wide characters", content.replace(b"\0", b"")
    for escaped in _unescaped(content):
        if escaped != content:
            yield "escaped", escaped
    unbroken = content.replace(b"\r", b"").replace(b"\n", b"")
    yield from _decoded("base64", b"\n".join(_from_base64(unbroken)))
    yield from _decoded("hex", b"\n".join(_from_hex(unbroken)))


def _unescaped(content: bytes) -> Iterator[bytes]:
    """Yield what bytes say with escapes resolved: those of JSON, of addresses, of HTML."""
    if b"\\u" in content:
        yield _ESCAPE.sub(lambda m: chr(int(m[1], 16)).encode("utf-8", "replace"), content)
    if b"%" in content:
        yield unquote_to_bytes(content)
    if b"&" in content and _REFERENCE.search(content):
        yield html.unescape(content.decode("latin-1")).encode("utf-8", "replace")


def _runs_of(letters: bytes, least: int, content: bytes) -> Iterator[tuple[int, int]]:
    """Yield begin and end of the runs of at least so many of the letters."""
    # Several times faster than a regular expression: no step is taken byte by byte in Python's matcher.
    marked = content.translate(_marks(letters))
    wanted = b"x" * least
    begin = marked.find(wanted)
    while begin >= 0:
        end = marked.find(b"-", begin)
        yield begin, len(content) if end < 0 else end
        begin = marked.find(wanted, end) if end >= 0 else -1


@cache
def _marks(letters: bytes) -> bytes:
    return bytes(b"x"[0] if byte in letters else b"-"[0] for byte in range(256))


def _decoded(view: str, decoded: bytes) -> Iterator[tuple[str, bytes]]:
    if decoded:
        yield view, decoded
        if b"\0" in decoded:
            yield f"{view} of wide characters", decoded.replace(b"\0", b"")


def _from_base64(content: bytes) -> Iterator[bytes]:
    """Yield what each run of base64 says, from each of the four places where it may begin."""
    for begin, end in _runs_of(_BASE64, 11, content):
        plain = content[begin:end].translate(_URL_SAFE)
        for start in range(4):
            piece = plain[start:]
            # What is left over of a group of four says up to two bytes more.
            rest = len(piece) % 4
            padded = piece + b"=" * (4 - rest) if rest > 1 else piece[: len(piece) - rest]
            yield binascii.a2b_base64(padded)


_URL_SAFE = bytes.maketrans(b"-_", b"+/")


def _from_hex(content: bytes) -> Iterator[bytes]:
    for begin, end in _runs_of(_HEX, 16, content):
        for start in range(begin, begin + 2):
            yield binascii.a2b_hex(content[start : end - (end - start) % 2])


def pairs_of(texts: Iterable[bytes]) -> Pairs:
    """Return which two bytes stand side by side in one of the texts, in any case."""
    joined = np.frombuffer(b"\n".join(texts), np.uint8)
    # The second byte in rows: it is the higher one of the number that both make.
    pairs: Pairs = np.zeros((256, 256), bool)
    pairs[joined[1:], joined[:-1]] = True
    small, large = (
        np.frombuffer(letters.encode(), np.uint8) for letters in (ascii_lowercase, ascii_uppercase)
    )
    for one, other in ((small, large), (large, small)):
        pairs[one] |= pairs[other]
        pairs[:, one] |= pairs[:, other]
    return pairs.reshape(-1)


def text_runs(content: bytes | memoryview, pairs: Pairs) -> Iterator[tuple[int, int]]:
    """Yield begin and end of the parts of voxel bytes that can hold a text whose pairs of bytes the table has.

    A text has seven bytes, so that a word of four of them stands at a multiple of four: such a word is of ASCII alone
    (whatever it is written in: base64, hex, escapes), or of two known pairs. Voxels of CT are neither as a rule.
    """
    size = len(content) // 4
    words = np.frombuffer(content, "<u4", count=size)
    halves = np.frombuffer(content, "<u2", count=2 * size)
    letters = np.frombuffer(content, np.uint8, count=4 * size) >= 0x20
    texts = np.flatnonzero(letters.view("<u4") == 0x01010101)
    four = words[texts]
    is_ascii = (four & np.uint32(0x80808080)) == 0
    places = [
        texts[is_ascii | (pairs[four & np.uint32(0xFFFF)] & pairs[four >> np.uint32(16)])],
        # Wide Latin letters in either byte order: 0x20 to 0xff in one byte, the other zero.
        _wide_words((halves - np.uint16(0x20)) < 0xE0, words, pairs),
        _wide_words(letters.view("<u2") == 0x0100, words, pairs, shift=8),
    ]
    yield from _around(np.unique(np.concatenate(places)) * 4, len(content))


def _wide_words(
    wide: npt.NDArray[np.bool_], words: npt.NDArray[np.uint32], pairs: Pairs, shift: int = 0
) -> npt.NDArray[np.int64]:
    """Return which words hold two wide letters that are a known pair, as the word before does.

    Of seven wide letters two pairs stand side by side; one alone is chance among voxels.
    """
    zeros = np.uint32(0xFF00FF00 >> shift)
    is_pair = wide.view("<u2") == 0x0101
    found = np.flatnonzero(is_pair[1:] & is_pair[:-1]) + 1
    for before in (0, 1):
        two = words[found - before]
        narrow = two >> np.uint32(shift)
        is_known = pairs[(narrow | narrow >> np.uint32(8)) & np.uint32(0xFFFF)]
        found = found[is_known & ((two & zeros) == 0)]
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
