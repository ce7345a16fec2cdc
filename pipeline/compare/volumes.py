"""By how much two NIfTI volumes differ: header, place and voxels."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from pipeline.model.errors import SourceError
from pipeline.model.record import Json, decimal
from pipeline.model.volume import Affine, corner_distance

_HEADER = 352
_GZIP = b"\x1f\x8b"
_LARGEST = 16 * 2**30
"""Bytes that one volume may take; no published one comes near."""
_CLASSES = 2**16
_TEXT_LIMIT = 80
_AXES = "ijk"


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One NIfTI-1 file, inflated: its header, its voxels as stored, and how stored numbers become values."""

    content: bytes
    header: nib.Nifti1Header
    stored: npt.NDArray[Any]
    slope: float
    intercept: float

    @property
    def affine(self) -> Affine:
        """Affine to RAS+ mm as readers take it: the sform, else the qform, else the spacing."""
        best: Affine = self.header.get_best_affine()
        return best

    def slab(self, k: int) -> npt.NDArray[np.float64]:
        """Return the values of slice k, shape (I, J) or (I, J, C); float64 holds every stored number."""
        values = self.stored[:, :, k].astype(np.float64)
        return values if (self.slope, self.intercept) == (1, 0) else values * self.slope + self.intercept


@dataclass(frozen=True, slots=True)
class VolumeDifference:
    """By how much two volumes differ.

    `header` maps a header field to its two texts; `affine_mm` is the largest distance of a corner, None for
    two shapes. `differing` of `voxels` differ, by at most `largest`, there at `at`; `not_finite` are NaN or
    infinite on one side alone. `reversed` names the axes along which reversing the first gives the second.
    `classes` maps a value to its voxels in the first, the second, and both; for labels.
    """

    header: Mapping[str, tuple[str, str]]
    affine_mm: str | None
    voxels: int
    differing: int
    largest: str = "0"
    at: tuple[int, ...] = ()
    not_finite: int = 0
    reversed: str = ""
    classes: Mapping[int, tuple[int, int, int]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        """Return the difference as one JSON object."""
        return {
            "header": {name: list(pair) for name, pair in self.header.items()},
            "affine_mm": self.affine_mm,
            "voxels": self.voxels,
            "differing": self.differing,
            "largest": self.largest,
            "at": list(self.at),
            "not_finite": self.not_finite,
            "reversed": self.reversed,
            "classes": {str(value): list(counts) for value, counts in self.classes.items()},
        }


def read_picture(content: bytes) -> Picture:
    """Return a NIfTI-1 file, gzipped or not; voxels of shape (I, J, K) or (I, J, K, C) are not copied.

    Raises
    ------
    SourceError
        unreadable or truncated, without quoting the file.
    """
    try:
        header = nib.Nifti1Header(_inflated(content, _HEADER)[:348])
        shape, dtype = tuple(int(n) for n in header.get_data_shape()), header.get_data_dtype()
        start = int(header["vox_offset"])
        slope, intercept = header.get_slope_inter()
    except (HeaderDataError, WrapStructError, ValueError, zlib.error):
        raise _unreadable("another header") from None
    size = start + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if len(shape) not in (3, 4) or min(shape) < 1 or start < _HEADER or dtype.kind not in "iuf":
        raise _unreadable(f"{len(shape)} axes of {dtype}")
    if size > _LARGEST:
        raise _unreadable("more voxels than are taken")
    plain = _inflated(content, size)
    if len(plain) < size:
        raise SourceError("truncated", wanted=f"{size} bytes", found=f"{len(plain)}")
    stored = np.frombuffer(plain, dtype, offset=start, count=int(np.prod(shape))).reshape(shape, order="F")
    scale = 1.0 if slope is None else float(slope)
    return Picture(plain, header, stored, scale, 0.0 if intercept is None else float(intercept))


def _unreadable(found: str) -> SourceError:
    return SourceError("unreadable", wanted="a NIfTI-1 volume with real voxels", found=found)


def _inflated(content: bytes, size: int) -> bytes:
    """Return the first bytes of a file, gzipped (in one member or several) or not: never more than is asked for."""
    if content[:2] != _GZIP:
        return content[:size]
    pieces, rest, left = [], content, size
    while rest[:2] == _GZIP and left > 0:
        member = zlib.decompressobj(wbits=31)
        try:
            pieces.append(member.decompress(rest, left))
        except zlib.error:
            raise _unreadable("a damaged gzip member") from None
        left -= len(pieces[-1])
        rest = member.unused_data
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def difference(first: Picture, second: Picture, *, is_label: bool) -> VolumeDifference:
    """Return by how much two volumes differ; slice after slice, so that little is held beside the two."""
    header = _header_difference(first.header, second.header)
    if first.stored.shape != second.stored.shape:
        voxels = max(first.stored.size, second.stored.size)
        return VolumeDifference(header, None, voxels, voxels, largest="")
    place = decimal(corner_distance(first.stored.shape[:3], first.affine, second.affine))
    tally = _Tally(is_label)
    for k in range(first.stored.shape[2]):
        tally.add(k, first.slab(k), second.slab(k))
    return VolumeDifference(
        header,
        place,
        first.stored.size,
        tally.differing,
        decimal(tally.largest),
        tally.at,
        tally.not_finite,
        _reversed(first, second) if tally.differing else "",
        tally.classes(),
    )


def _header_difference(first: nib.Nifti1Header, second: nib.Nifti1Header) -> dict[str, tuple[str, str]]:
    pairs = {name: (_text(first[name]), _text(second[name])) for name in first}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _text(value: npt.NDArray[Any]) -> str:
    """Return a header field as printable ASCII: it may be free text from anywhere."""
    if value.dtype.kind == "S":
        shown = bytes(value).decode("latin-1").rstrip("\x00")
    else:
        shown = " ".join(repr(number) for number in np.atleast_1d(value).tolist())
    return "".join(c if " " <= c <= "~" else "?" for c in shown)[:_TEXT_LIMIT]


class _Tally:
    """What the slices seen so far differ in."""

    def __init__(self, is_label: bool) -> None:
        self.differing = 0
        self.not_finite = 0
        self.largest = 0.0
        self.at: tuple[int, ...] = ()
        self._is_label = is_label
        self._pairs: Counter[tuple[int, int]] = Counter()

    def add(self, k: int, first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> None:
        """Take in slice k of both."""
        if self._is_label:
            self._count(first, second)
        # Infinities of one sign differ by NaN, so what is the same is asked first.
        same = (first == second) | (np.isnan(first) & np.isnan(second))
        if same.all():
            return
        self.differing += int(same.size - same.sum())
        finite = np.isfinite(first) & np.isfinite(second)
        self.not_finite += int((~same & ~finite).sum())
        distance = np.zeros(first.shape)
        np.subtract(first, second, out=distance, where=finite)
        distance = np.abs(distance)
        if distance.max() > self.largest:
            i, j, *channel = (int(n) for n in np.unravel_index(int(distance.argmax()), distance.shape))
            self.largest, self.at = float(distance.max()), (i, j, k, *channel)

    def _count(self, first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> None:
        codes = first * _CLASSES + second
        for code, count in zip(*np.unique(codes, return_counts=True), strict=True):
            if np.isfinite(code) and code == int(code) and code >= 0:
                self._pairs[divmod(int(code), _CLASSES)] += int(count)

    def classes(self) -> dict[int, tuple[int, int, int]]:
        """Return value -> voxels in the first, in the second, in both; without background."""
        values = sorted({value for pair in self._pairs for value in pair} - {0})
        return {
            value: (
                sum(n for (one, _), n in self._pairs.items() if one == value),
                sum(n for (_, other), n in self._pairs.items() if other == value),
                self._pairs[value, value],
            )
            for value in values
        }


def _reversed(first: Picture, second: Picture) -> str:
    """Return the axes along which the second is the first reversed, such as `ij` for a half turn, or none."""
    turns = [axes for count in (2, 1, 3) for axes in combinations(_AXES, count)]
    return next(("".join(axes) for axes in turns if _is_reversed(first, second, axes)), "")


def _is_reversed(first: Picture, second: Picture, axes: tuple[str, ...]) -> bool:
    last = first.stored.shape[2] - 1
    ways = tuple(slice(None, None, -1 if axis in axes else 1) for axis in "ij")
    return all(
        np.array_equal(one[ways], other, equal_nan=True)
        for one, other in _slabs(first, second, last if "k" in axes else 0)
    )


def _slabs(
    first: Picture, second: Picture, start: int
) -> Iterator[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    for k in range(second.stored.shape[2]):
        yield first.slab(abs(start - k)), second.slab(k)
