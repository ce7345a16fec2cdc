"""MetaImage files (.mha, .mhd), as ITK writes them, to voxels."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from pipeline.io.raster import Outline, Raster, unplaced, unreadable, unsupported, voxels
from pipeline.model.volume import Affine

_SOURCE = "MetaImage"
_LONGEST_HEADER = 1 << 22
_DATA_FILE = re.compile(rb"^ElementDataFile[ \t]*=[^\r\n]*(?:\r?\n|\Z)", re.MULTILINE)
_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
"""MET_LONG is left out: its size depends on the machine that wrote it."""
_OWN = {
    "ObjectType", "ObjectSubType", "NDims", "BinaryData", "BinaryDataByteOrderMSB", "ElementByteOrderMSB",
    "CompressedData", "CompressedDataSize", "CompressionLevel", "TransformMatrix", "Offset", "Position", "Origin",
    "CenterOfRotation", "AnatomicalOrientation", "ElementSpacing", "ElementSize", "DimSize", "DistanceUnits",
    "ElementNumberOfChannels", "HeaderSize", "ElementType", "ElementDataFile", "ElementMin", "ElementMax",
}  # fmt: skip
"""Fields of the format itself; any other may hold text about a person."""


def read_metaimage(blob: bytes, companion: bytes | None = None) -> Raster:
    """Return the voxels of a MetaImage file; with the data file as companion where the header stands alone.

    Raises
    ------
    LabelError
        unreadable, truncated, label-inconsistent or label-too-large if header and data do not agree;
        missing-geometry if Offset, TransformMatrix or ElementSpacing is missing; label-unsupported.
    """
    fields, end = _header(blob)
    if (fields["ElementDataFile"].upper() != "LOCAL") != (companion is not None):
        raise unsupported(_SOURCE, "a data file if and only if the header stands alone")
    payload = blob[end:] if companion is None else companion
    sizes = _sizes(fields)
    encoding = "gzip" if _is_true(fields, "CompressedData") else "raw"
    data = voxels(_SOURCE, payload, encoding, _dtype(fields), sizes)
    return Raster(_SOURCE, data[None], _affine(fields), fields, len(set(fields) - _OWN))


def outline(blob: bytes) -> Outline:
    """Return what a MetaImage header says of its place; it refuses what `read_metaimage` does."""
    fields, _ = _header(blob)
    return Outline(1, _sizes(fields), _affine(fields))


def _sizes(fields: dict[str, str]) -> tuple[int, int, int]:
    sizes = [int(size) for size in _numbers(fields, "DimSize") if size.is_integer()]
    if len(sizes) != 3 or fields.get("ElementNumberOfChannels", "1") != "1":
        raise unsupported(_SOURCE, "three dimensions and one channel")
    return sizes[0], sizes[1], sizes[2]


def data_file(blob: bytes) -> str | None:
    """Return the data file that a header names; None when the data follow the header."""
    name = _header(blob)[0]["ElementDataFile"]
    return None if name.upper() == "LOCAL" else name


def _header(blob: bytes) -> tuple[dict[str, str], int]:
    """Return the header's fields and where the data begin: ElementDataFile is the last field."""
    last = _DATA_FILE.search(blob, 0, _LONGEST_HEADER)
    if last is None:
        raise unreadable(_SOURCE, "a header that ends with ElementDataFile")
    fields = {}
    for line in blob[: last.end()].decode("utf-8", errors="replace").splitlines():
        key, _, value = line.partition("=")
        fields[key.strip()] = value.strip()
    return fields, last.end()


def _numbers(fields: dict[str, str], name: str) -> list[float]:
    """Return a field's numbers, none when it is absent; refuse what is not a number."""
    try:
        found = [float(word) for word in fields.get(name, "").split()]
    except ValueError:
        raise unreadable(_SOURCE, f"numbers in {name}") from None
    if not np.isfinite(found).all():
        raise unreadable(_SOURCE, f"finite numbers in {name}")
    return found


def _is_true(fields: dict[str, str], name: str) -> bool:
    return fields.get(name, "False").lower() in {"true", "1"}


def _dtype(fields: dict[str, str]) -> np.dtype[Any]:
    code = _TYPES.get(fields.get("ElementType", "").upper())
    if code is None or not _is_true(fields, "BinaryData") or fields.get("HeaderSize", "0") != "0":
        raise unsupported(_SOURCE, "binary data of a numeric type without a header size")
    msb = _is_true(fields, "BinaryDataByteOrderMSB") or _is_true(fields, "ElementByteOrderMSB")
    return np.dtype(code).newbyteorder(">" if msb else "<")


def _affine(fields: dict[str, str]) -> Affine:
    """Return the affine to RAS+ mm: TransformMatrix holds one axis' direction after the other, in LPS+."""
    directions = _numbers(fields, "TransformMatrix")
    spacing = _numbers(fields, "ElementSpacing")
    origin = next((_numbers(fields, name) for name in ("Offset", "Position", "Origin") if name in fields), [])
    if (len(directions), len(spacing), len(origin)) != (9, 3, 3):
        raise unplaced(_SOURCE, "TransformMatrix, ElementSpacing and Offset")
    if fields.get("DistanceUnits", "mm") not in {"mm", "?"}:
        raise unsupported(_SOURCE, "DistanceUnits mm")
    affine = np.eye(4)
    affine[:3, :3] = np.array(directions).reshape(3, 3).T * spacing
    affine[:3, 3] = origin
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
