"""Compressed frames without what is no pixel: comments, application segments, whatever follows the end."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from functools import partial

_JPEG_KEPT = frozenset({0xC4, 0xCC, 0xDB, 0xDC, 0xDD, 0xF7, 0xF8}) | frozenset(range(0xC0, 0xC4)) | {
    *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0),
}  # fmt: skip
"""Marker segments that a decoder needs: frames, tables, restart interval (T.81 B.1.1.3), JPEG-LS (T.87 C.2)."""

_JPEG_DROPPED = frozenset({*range(0xE0, 0xF0), 0xFE})
"""Application segments and comments."""

_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])", re.DOTALL)
"""The next marker after entropy-coded data, where FF is followed by 00 or a restart marker (T.81 B.1.1.5)."""

_JPEG_LS_MARKER = re.compile(rb"\xff+([\x80-\xcf\xd8-\xfe])", re.DOTALL)
"""The same for JPEG-LS, where a zero bit is stuffed after FF (T.87 A.1)."""

_RLE_HEADER = struct.Struct("<16I")
"""Number of segments and 15 offsets (PS3.5 G.5)."""


class _DamagedError(ValueError):
    """The frame is not what its transfer syntax says."""


def plain_frame(frame: bytes, syntax: str, pixels: int) -> bytes | None:
    """Return the frame with nothing in it that a decoder does not need.

    Parameters
    ----------
    frame
        One compressed frame.
    syntax
        Its Transfer Syntax UID.
    pixels
        Rows times columns.

    Returns
    -------
    bytes or None
        None when the syntax is not one of JPEG, JPEG-LS, JPEG 2000 or RLE, or the frame is damaged.
    """
    family = _FAMILIES.get(syntax)
    if family is None:
        return None
    try:
        return family(frame, pixels)
    except (_DamagedError, struct.error, IndexError):
        return None


_J2K_STYLE, _J2K_FIRST_TILE, _J2K_TRANSFORM = 0xFF52, 0xFF90, 13
"""Markers COD and SOT, and where COD tells the wavelet, from the marker on (T.800 A.6.1)."""


def is_irreversible(frame: bytes) -> bool:
    """Whether a JPEG 2000 codestream's wavelet is the irreversible one: values were lost, whatever was declared."""
    at = 2
    while at + _J2K_TRANSFORM < len(frame):
        marker, length = struct.unpack_from(">HH", frame, at)
        if marker == _J2K_STYLE:
            return frame[at + _J2K_TRANSFORM] == 0
        if marker == _J2K_FIRST_TILE or marker < 0xFF00:
            return False
        at += 2 + length
    return False


def _jpeg(frame: bytes, pixels: int, after_data: re.Pattern[bytes] = _JPEG_MARKER) -> bytes:
    """Copy the segments from start to end of image (T.81 B.2)."""
    if frame[:2] != b"\xff\xd8":
        raise _DamagedError
    out, at = [frame[:2]], 2
    while True:
        while frame[at : at + 2] == b"\xff\xff":
            at += 1
        if frame[at] != 0xFF:
            raise _DamagedError
        marker = frame[at + 1]
        if marker == 0xD9:
            return b"".join([*out, b"\xff\xd9"])
        end = at + 2 + struct.unpack_from(">H", frame, at + 2)[0]
        if marker == 0xDA:
            following = after_data.search(frame, end)
            if following is None:
                raise _DamagedError
            end = following.start()
        elif marker not in _JPEG_KEPT | _JPEG_DROPPED:
            raise _DamagedError
        if marker not in _JPEG_DROPPED:
            out.append(frame[at:end])
        at = end


def _jpeg_2000(frame: bytes, pixels: int) -> bytes:
    """Copy the main header without comments, then the tile parts with blank ones (T.800 A.3, A.9.2)."""
    if frame[:2] != b"\xff\x4f":
        raise _DamagedError
    out, at = [frame[:2]], 2
    while frame[at : at + 2] != b"\xff\x90":
        end = _segment_end(frame, at)
        if frame[at + 1] != 0x64:
            out.append(frame[at:end])
        at = end
    while frame[at : at + 2] == b"\xff\x90":
        length = struct.unpack_from(">I", frame, at + 6)[0]
        # T.800 A.4.2: length 0 means up to the end of the codestream, in the last tile part.
        end = at + length if length else _data_end(frame, at + 12)
        if end > len(frame) or length in range(1, 14):
            raise _DamagedError
        out.append(_tile_part(frame[at:end]))
        at = end
    # Some encoders leave the end marker out; nothing but padding may stand in its place.
    if frame[at : at + 2] != b"\xff\xd9" and frame[at:].strip(b"\0"):
        raise _DamagedError
    return b"".join([*out, b"\xff\xd9"])


def _data_end(frame: bytes, at: int) -> int:
    """Return where the codestream's data ends: no code of it makes FF D9 (T.800 A.1.5)."""
    end = frame.find(b"\xff\xd9", at)
    if end < 0:
        raise _DamagedError
    return end


def _tile_part(part: bytes) -> bytes:
    """Blank the comments of a tile part's header; its length, which other segments name, stays."""
    blank, at = bytearray(part), 12
    while part[at : at + 2] != b"\xff\x93":
        end = _segment_end(part, at)
        if part[at + 1] == 0x64:
            blank[at + 4 : end] = bytes(end - at - 4)
        at = end
    return bytes(blank)


def _segment_end(frame: bytes, at: int) -> int:
    if frame[at] != 0xFF:
        raise _DamagedError
    length = int(struct.unpack_from(">H", frame, at + 2)[0])
    if length < 2 or at + 2 + length > len(frame):
        raise _DamagedError
    return at + 2 + length


def _rle(frame: bytes, pixels: int) -> bytes:
    """Cut each segment where it has given all of its bytes, and write the header again (PS3.5 G)."""
    count, *offsets = _RLE_HEADER.unpack_from(frame)
    starts = offsets[:count]
    if not 1 <= count <= 15 or starts != sorted(starts) or starts[0] != 64 or starts[-1] > len(frame):
        raise _DamagedError
    segments = []
    for start, end in zip(starts, [*starts[1:], len(frame)], strict=True):
        segment = frame[start:end]
        whole = segment[: _packed_length(segment, pixels)]
        segments.append(whole + b"\0" * (len(whole) % 2))
    lengths = [len(segment) for segment in segments]
    places = [64 + sum(lengths[:index]) for index in range(count)] + [0] * (15 - count)
    return _RLE_HEADER.pack(count, *places) + b"".join(segments)


def _packed_length(segment: bytes, wanted: int) -> int:
    """Return how many bytes of a PackBits segment make `wanted` bytes (PS3.5 G.3.2)."""
    at = made = 0
    while made < wanted:
        code = segment[at]
        if code < 128:
            made += code + 1
            at += code + 2
        else:
            made += 257 - code if code > 128 else 0
            at += 2 if code > 128 else 1
    if at > len(segment):
        raise _DamagedError
    return at


_FAMILIES: dict[str, Callable[[bytes, int], bytes]] = {
    "1.2.840.10008.1.2.5": _rle,
    **{f"1.2.840.10008.1.2.4.{number}": _jpeg for number in (50, 51, 57, 70)},
    **{f"1.2.840.10008.1.2.4.{number}": partial(_jpeg, after_data=_JPEG_LS_MARKER) for number in (80, 81)},
    **{f"1.2.840.10008.1.2.4.{number}": _jpeg_2000 for number in (90, 91, 92, 93, 201, 202, 203)},
}
"""Transfer Syntax UID -> how its frames are cleaned."""
