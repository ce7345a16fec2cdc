"""Voxels of a mask or image file within bounds: the bytes must hold what the header declares, no more, no less."""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.model.errors import LabelError
from pipeline.model.volume import Affine

LARGEST = 1 << 30
"""Voxels of the largest mask that is taken: 1024 x 1024 x 1024. A header that declares more is refused before
anything is decompressed."""

_AUTOMATIC = zlib.MAX_WBITS | 32
"""zlib or gzip, whichever the stream's first bytes say."""


@dataclass(frozen=True, slots=True, eq=False)
class Raster:
    """What a mask file holds: layers of voxels, their place, and the header's texts.

    `layers` has shape (L, I, J, K); a plain label map has one layer. `affine` goes to RAS+ mm. `texts` counts what
    the header says beside voxels and place.
    """

    source: str
    layers: npt.NDArray[Any]
    affine: Affine
    fields: Mapping[str, str] = field(default_factory=dict)
    texts: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """What a header says before any voxel is read: how many volumes, of which shape (I, J, K), and where."""

    volumes: int
    shape: tuple[int, int, int]
    affine: Affine


def unreadable(source: str, wanted: str, found: str = "something else") -> LabelError:
    """Return the refusal of a mask file that does not parse."""
    return LabelError("unreadable", wanted=wanted, found=found, where=f"{source} mask")


def unplaced(source: str, wanted: str) -> LabelError:
    """Return the refusal of a mask file that does not say where it lies."""
    return LabelError("missing-geometry", wanted=wanted, found="none", where=f"{source} mask")


def unsupported(source: str, wanted: str, found: str = "something else") -> LabelError:
    """Return the refusal of a kind of mask file that is not read."""
    return LabelError("label-unsupported", wanted=wanted, found=found, where=f"{source} mask")


def _cut_off(source: str) -> LabelError:
    return LabelError("truncated", wanted="a whole stream", found="its start", where=f"{source} mask")


def count_voxels(source: str, shape: Sequence[int]) -> int:
    """Return how many voxels a declared shape has; refuse none, and more than LARGEST."""
    count = 1
    for size in shape:
        if size < 1:
            raise unreadable(source, "sizes above 0", "others")
        count *= size
    if count > LARGEST:
        raise LabelError(
            "label-too-large", wanted=f"at most {LARGEST} voxels", found=f"{count}", where=f"{source} mask"
        )
    return count


def inflate(source: str, blob: bytes, limit: int) -> bytes:
    """Return what a gzip or zlib stream holds, at most `limit` + 1 bytes of it."""
    parts: list[bytes] = []
    size, rest = 0, blob
    while rest and size <= limit:
        stream = zlib.decompressobj(_AUTOMATIC)
        try:
            parts.append(stream.decompress(rest, limit + 1 - size))
        except zlib.error:
            raise unreadable(source, "a whole gzip or zlib stream", "a damaged one") from None
        size += len(parts[-1])
        if not stream.eof and size <= limit:
            raise _cut_off(source)
        # Several gzip members may follow each other (RFC 1952 2.2).
        rest = stream.unused_data.lstrip(b"\0")
    return b"".join(parts)


def _unbzip(source: str, blob: bytes, limit: int) -> bytes:
    stream = bz2.BZ2Decompressor()
    try:
        content = stream.decompress(blob, limit + 1)
    except OSError:
        raise unreadable(source, "a whole bzip2 stream", "a damaged one") from None
    if not stream.eof and len(content) <= limit:
        raise _cut_off(source)
    return content


def exactly(source: str, content: bytes, size: int) -> bytes:
    """Return the content if it has the declared size; refuse what is short or goes on."""
    if len(content) < size:
        raise LabelError("truncated", wanted=f"{size} bytes", found=f"{len(content)}", where=f"{source} mask")
    if len(content) > size:
        raise LabelError("label-inconsistent", wanted=f"{size} bytes", found="more", where=f"{source} mask")
    return content


def voxels(
    source: str, payload: bytes, encoding: str, dtype: np.dtype[Any], shape: Sequence[int]
) -> npt.NDArray[Any]:
    """Return an array of the declared shape, first axis fastest, from bytes that hold just that.

    `encoding` is raw, gzip (or zlib), bzip2, hex or text.
    """
    count = count_voxels(source, shape)
    size = count * dtype.itemsize
    if encoding == "text":
        return _from_text(source, payload, count, dtype).reshape(shape, order="F")
    if encoding == "gzip":
        payload = inflate(source, payload, size)
    elif encoding == "bzip2":
        payload = _unbzip(source, payload, size)
    elif encoding == "hex":
        payload = _from_hex(source, payload)
    return np.frombuffer(exactly(source, payload, size), dtype).reshape(shape, order="F")


def _from_text(source: str, payload: bytes, count: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    words = payload.split()
    if len(words) != count:
        raise LabelError(
            "label-inconsistent", wanted=f"{count} numbers", found=f"{len(words)}", where=f"{source} mask"
        )
    try:
        return np.array(words, dtype=np.float64).astype(dtype)
    except ValueError:
        raise unreadable(source, "numbers as text") from None


def _from_hex(source: str, payload: bytes) -> bytes:
    try:
        return bytes.fromhex(payload.decode("ascii"))
    except ValueError:
        raise unreadable(source, "hexadecimal digits") from None
