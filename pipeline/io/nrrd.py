"""NRRD files (teem.sourceforge.net/nrrd/format.html), as 3D Slicer and others write masks, to voxels."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.io.raster import Outline, Raster, unplaced, unreadable, unsupported, voxels
from pipeline.model.volume import Affine

_SOURCE = "NRRD"
_LONGEST_HEADER = 1 << 22
_END_OF_HEADER = re.compile(rb"\r?\n\r?\n")
_VECTOR = re.compile(r"none|\([^()]*\)")
_SPACES = {
    "right-anterior-superior": (1, 1, 1),
    "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
    "lps": (-1, -1, 1),
}
"""Signs that take a named space to RAS+; a space that names no direction of the body places nothing."""
_ENCODINGS = {
    "raw": "raw",
    "gzip": "gzip",
    "gz": "gzip",
    "bzip2": "bzip2",
    "bz2": "bzip2",
    "hex": "hex",
    "txt": "text",
    "text": "text",
    "ascii": "text",
}
_TYPES = {
    "i1": "signed char,int8,int8_t",
    "u1": "uchar,unsigned char,uint8,uint8_t",
    "i2": "short,short int,signed short,signed short int,int16,int16_t",
    "u2": "ushort,unsigned short,unsigned short int,uint16,uint16_t",
    "i4": "int,signed int,int32,int32_t",
    "u4": "uint,unsigned int,uint32,uint32_t",
    "i8": "longlong,long long,long long int,signed long long,signed long long int,int64,int64_t",
    "u8": "ulonglong,unsigned long long,unsigned long long int,uint64,uint64_t",
    "f4": "float",
    "f8": "double",
}
_DTYPES = {name: code for code, names in _TYPES.items() for name in names.split(",")}


@dataclass(frozen=True, slots=True)
class _Header:
    """The fields, in lower case, and the key/value pairs, as they are; `end` is where the data begin."""

    end: int
    fields: dict[str, str] = field(default_factory=dict)
    pairs: dict[str, str] = field(default_factory=dict)


def read_nrrd(blob: bytes, companion: bytes | None = None) -> Raster:
    """Return the voxels of a NRRD file; with the data file as companion where the header stands alone.

    Raises
    ------
    LabelError
        unreadable, truncated, label-inconsistent or label-too-large if header and data do not agree;
        missing-geometry if the header does not place the voxels in a named space; label-unsupported.
    """
    header = _header(blob)
    if ("data file" in header.fields) != (companion is not None):
        raise unsupported(_SOURCE, "a data file if and only if the header stands alone")
    sizes = _whole_numbers(header, "sizes")
    if _whole_numbers(header, "dimension") != [len(sizes)]:
        raise unreadable(_SOURCE, "as many sizes as dimensions")
    axes, affine = _place(header, len(sizes))
    payload = blob[header.end :] if companion is None else companion
    dtype = np.dtype(_DTYPES.get(_field(header, "type").lower(), "V1"))
    if dtype.kind == "V":
        raise unsupported(_SOURCE, "a numeric type")
    data = voxels(_SOURCE, payload, _encoding(header), dtype.newbyteorder(_order(header, dtype)), sizes)
    texts = len(header.pairs) + len({"content"} & set(header.fields))
    return Raster(_SOURCE, _layers(data, axes), affine, header.pairs, texts)


def outline(blob: bytes) -> Outline:
    """Return what a NRRD header says of volumes and place; it refuses what `read_nrrd` does."""
    header = _header(blob)
    sizes = _whole_numbers(header, "sizes")
    axes, affine = _place(header, len(sizes))
    others = [size for axis, size in enumerate(sizes) if axis not in axes]
    i, j, k = (sizes[axis] for axis in axes)
    return Outline(others[0] if others else 1, (i, j, k), affine)


def data_file(blob: bytes) -> str | None:
    """Return the data file that a header names; None when the data follow the header."""
    return _header(blob).fields.get("data file")


def _header(blob: bytes) -> _Header:
    """Return the header, which a blank line or the end of the file ends."""
    if not re.match(rb"NRRD000[1-5]\r?\n", blob):
        raise unreadable(_SOURCE, "NRRD0001 to NRRD0005")
    end = _END_OF_HEADER.search(blob, 0, _LONGEST_HEADER)
    text = blob[: end.start() if end else _LONGEST_HEADER].decode("utf-8", errors="replace")
    header = _Header(end.end() if end else len(blob))
    for line in text.splitlines()[1:]:
        if line.startswith("#"):
            continue
        key, pair, value = line.partition(":=")
        name, plain, description = line.partition(": ")
        if pair and (not plain or len(key) <= len(name)):
            header.pairs[key] = value
        elif plain:
            header.fields[_canonical(name)] = description.strip()
    return header


def _canonical(name: str) -> str:
    lower = name.strip().lower()
    return {"datafile": "data file", "lineskip": "line skip", "byteskip": "byte skip"}.get(lower, lower)


def _field(header: _Header, name: str) -> str:
    if name not in header.fields:
        raise unreadable(_SOURCE, f"the field `{name}`", "none")
    return header.fields[name]


def _whole_numbers(header: _Header, name: str) -> list[int]:
    try:
        return [int(word) for word in _field(header, name).split()]
    except ValueError:
        raise unreadable(_SOURCE, f"whole numbers in `{name}`") from None


def _encoding(header: _Header) -> str:
    name = _ENCODINGS.get(_field(header, "encoding").lower())
    skips = {header.fields.get(skip, "0") for skip in ("line skip", "byte skip")}
    if name is None or skips != {"0"}:
        raise unsupported(_SOURCE, "raw, gzip, bzip2, hex or text data without skips")
    return name


def _order(header: _Header, dtype: np.dtype[np.generic]) -> Literal["<", ">", "="]:
    """Return the byte order; it must be said where it matters."""
    if dtype.itemsize == 1 or _encoding(header) == "text":
        return "="
    endian = _field(header, "endian").lower()
    if endian not in {"little", "big"}:
        raise unreadable(_SOURCE, "endian little or big")
    return "<" if endian == "little" else ">"


def _place(header: _Header, dimension: int) -> tuple[list[int], Affine]:
    """Return the three axes that lie in space, and the affine of their indices to RAS+ mm."""
    signs = _SPACES.get(header.fields.get("space", "").lower())
    vectors = _VECTOR.findall(header.fields.get("space directions", ""))
    origin = _vector(header.fields.get("space origin", ""))
    if signs is None or origin is None or len(vectors) != dimension:
        raise unplaced(_SOURCE, "space, space directions of every axis and space origin")
    if set(re.findall(r'"([^"]*)"', header.fields.get("space units", ""))) - {"mm", ""}:
        raise unsupported(_SOURCE, "space units mm")
    axes = [axis for axis, text in enumerate(vectors) if text != "none"]
    steps = [_vector(vectors[axis]) for axis in axes]
    if len(axes) != 3 or not 3 <= dimension <= 4:
        raise unsupported(_SOURCE, "three axes in space and at most one of layers")
    affine = np.eye(4)
    for column, vector in enumerate([*steps, origin]):
        if vector is None:
            raise unplaced(_SOURCE, "space directions and origin of three numbers")
        affine[:3, column] = vector * signs
    return axes, affine


def _vector(text: str) -> npt.NDArray[np.float64] | None:
    """Return the three numbers of `(x,y,z)`, None for anything else."""
    try:
        numbers = np.array([float(word) for word in text.strip().strip("()").split(",")])
    except ValueError:
        return None
    return numbers if numbers.shape == (3,) and np.isfinite(numbers).all() else None


def _layers(data: npt.NDArray[np.generic], axes: list[int]) -> npt.NDArray[np.generic]:
    """Return (L, I, J, K): the axis that does not lie in space first."""
    others = [axis for axis in range(data.ndim) if axis not in axes]
    moved = np.transpose(data, [*others, *axes])
    return moved if others else moved[None]
