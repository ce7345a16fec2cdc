"""Siemens' CSA header: read whole, written again with chosen numbers only.

The header is a list of named lists of texts inside one private element (0029,xx10). It holds a mosaic's layout
beside much else, so it can neither be kept nor dropped. The newer form, after `SV10`, is what is written.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence

_NAME = struct.Struct("<64si4siii")
"""Name, multiplicity, value representation, type, number of items, check value."""

_ITEM = struct.Struct("<4i")
"""Four lengths: the second is the item's; in the older form it is the first, less an offset."""

_HEAD, _CHECK = b"SV10\x04\x03\x02\x01", 77

_NUMBER = re.compile(r"[+-]?\d{1,10}(\.\d{0,16})?([eE][+-]?\d{1,3})?", re.ASCII)

_LEAST_ITEMS = 6
"""Items of a name that scanners write at least, the last ones empty; readers rely on it."""

_LIMIT = 4096
"""Most names, and most items of a name, in a header: many times what scanners write."""


def read_csa(header: bytes) -> dict[str, tuple[str, list[str]]]:
    """Return name -> value representation and texts that are not empty; nothing for a damaged header."""
    is_new = header.startswith(b"SV10")
    found: dict[str, tuple[str, list[str]]] = {}
    try:
        (names,) = struct.unpack_from("<I", header, 8 if is_new else 0)
        place, older = 16 if is_new else 8, 0
        for number in range(min(names, _LIMIT)):
            name, _, vr, _, items, _ = _NAME.unpack_from(header, place)
            older = items if number == 0 and not is_new else older
            texts, place = _items(header, place + _NAME.size, items, None if is_new else older)
            found[_text(name)] = _text(vr), texts
    except struct.error:
        return {}
    return found


def _items(header: bytes, place: int, count: int, older: int | None) -> tuple[list[str], int]:
    """Return the texts of one name, and where the next name begins."""
    texts = []
    if not 0 <= count <= _LIMIT:
        raise struct.error("too many items")
    for _ in range(count):
        lengths = _ITEM.unpack_from(header, place)
        length = lengths[1] if older is None else lengths[0] - older
        place += _ITEM.size
        if length < 0 or place + length > len(header):
            raise struct.error("an item reaches beyond the header")
        texts.append(_text(header[place : place + length]))
        # Items begin at multiples of four.
        place += length + -length % 4
    return [text for text in texts if text], place


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("latin-1").strip()


def reduced_csa(header: bytes, ranges: Mapping[str, tuple[float, float]]) -> bytes | None:
    """Return a header that holds the named numbers and nothing else.

    Parameters
    ----------
    header
        The element's value.
    ranges
        Name -> closed range that each of its numbers has to lie in; a name of which one does not is left out.

    Returns
    -------
    bytes or None
        None when nothing is left.
    """
    kept = {
        name: (vr, texts)
        for name, (vr, texts) in sorted(read_csa(header).items())
        if name in ranges and texts and all(_is_within(text, ranges[name]) for text in texts)
    }
    if not kept:
        return None
    parts = [_HEAD, struct.pack("<II", len(kept), _CHECK)]
    for name, (vr, texts) in kept.items():
        parts += _written(name, vr if re.fullmatch("[A-Z]{2}", vr) else "UN", texts)
    content = b"".join(parts)
    return content + b"\0" * (len(content) % 2)


def _is_within(text: str, limits: tuple[float, float]) -> bool:
    return bool(_NUMBER.fullmatch(text)) and limits[0] <= float(text) <= limits[1]


def _written(name: str, vr: str, texts: Sequence[str]) -> list[bytes]:
    """Return one name with its numbers, as they stood."""
    count = max(len(texts), _LEAST_ITEMS)
    parts = [_NAME.pack(name.encode("ascii"), len(texts), vr.encode("ascii"), 0, count, _CHECK)]
    for text in [*texts, *[""] * (count - len(texts))]:
        raw = text.encode("ascii") + b"\0" if text else b""
        parts.append(_ITEM.pack(len(raw), len(raw), _CHECK, len(raw)) + raw + b"\0" * (-len(raw) % 4))
    return parts
