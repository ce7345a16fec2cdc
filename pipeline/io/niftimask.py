"""NIfTI-1 and NIfTI-2 files, single or in pairs, to voxels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from nibabel.nifti1 import Nifti1Header, Nifti1PairHeader
from nibabel.nifti2 import Nifti2Header, Nifti2PairHeader
from nibabel.spatialimages import HeaderDataError

from pipeline.io.raster import (
    Outline,
    Raster,
    count_voxels,
    exactly,
    inflate,
    unplaced,
    unreadable,
    unsupported,
    voxels,
)
from pipeline.model.errors import GeometryError
from pipeline.model.volume import Affine, corner_distance

_SOURCE = "NIfTI"
_GZIP = b"\x1f\x8b"
_LONGEST_START = 1 << 24
"""Bytes before the voxels: header and extensions."""
Header: TypeAlias = Nifti1Header

_KINDS: dict[tuple[int, bytes], type[Nifti1Header]] = {
    # Size of the header, magic -> class. A pair's header has its own magic.
    (348, b"n+1\0"): Nifti1Header,
    (348, b"ni1\0"): Nifti1PairHeader,
    (540, b"n+2\0\r\n\x1a\n"): Nifti2Header,
    (540, b"ni2\0\r\n\x1a\n"): Nifti2PairHeader,
}


def read_nifti(blob: bytes, companion: bytes | None = None) -> Raster:
    """Return the voxels of a NIfTI file, gzipped or not; with the .img as companion of a pair's .hdr.

    The sform places the voxels, or the qform where there is no sform. Scaled voxels are float64. The volumes of a
    fourth or fifth axis are layers.

    Raises
    ------
    CurationError
        unreadable, truncated, label-inconsistent or label-too-large if header and data do not agree;
        missing-geometry if neither qform nor sform is set (plain Analyze has none), or if the two place a
        corner more than half a voxel apart; label-unsupported for units other than mm and for other axes.
    """
    header = _header(_plain(blob, 540))
    if bool(header.is_single) != (companion is None):
        raise unsupported(_SOURCE, "an .img file if and only if the header stands alone")
    with _making_sense():
        return _read(header, blob if companion is None else companion)


def outline(blob: bytes) -> Outline:
    """Return what a NIfTI header says of volumes and place; it refuses what `read_nifti` does."""
    header = _header(_plain(blob, 540))
    with _making_sense():
        *shape, volumes = _shape(header)
        return Outline(
            volumes, (shape[0], shape[1], shape[2]), _affine(header, (shape[0], shape[1], shape[2]))
        )


@contextmanager
def _making_sense() -> Iterator[None]:
    """Refuse what nibabel stumbles over."""
    try:
        yield
    except (HeaderDataError, KeyError, ValueError):
        # Not chained: nibabel quotes the header's values.
        raise unreadable(_SOURCE, "a header that makes sense") from None


def _plain(blob: bytes, limit: int) -> bytes:
    return inflate(_SOURCE, blob, limit) if blob.startswith(_GZIP) else blob


def _header(start: bytes) -> Header:
    """Return the header; refuse plain Analyze, which does not say where its voxels lie."""
    for (size, magic), kind in _KINDS.items():
        place = 344 if size == 348 else 4
        if len(start) >= size and start[place : place + len(magic)] == magic:
            return kind(start[:size], check=False)
    if len(start) >= 348 and 348 in {int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big")}:
        raise unplaced("Analyze", "a position: NIfTI's qform or sform")
    raise unreadable(_SOURCE, "a NIfTI header")


def _read(header: Header, body: bytes) -> Raster:
    """Return the voxels that a header describes."""
    *space, volumes = sizes = _shape(header)
    shape = (space[0], space[1], space[2])
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise unsupported(_SOURCE, "whole numbers or floats up to 64 bits")
    if header.get_xyzt_units()[0] not in {"mm", "unknown"}:
        raise unsupported(_SOURCE, "millimetres")
    offset, size = int(header.get_data_offset()), count_voxels(_SOURCE, sizes) * dtype.itemsize
    if not 0 <= offset <= _LONGEST_START:
        raise unreadable(_SOURCE, "voxels near the header")
    content = exactly(_SOURCE, _plain(body, offset + size), offset + size)
    data = np.moveaxis(voxels(_SOURCE, content[offset:], "raw", dtype, (*shape, volumes)), 3, 0)
    return Raster(_SOURCE, _scaled(data, header), _affine(header, shape), texts=_texts(header, offset))


def _shape(header: Header) -> tuple[int, int, int, int]:
    """Return the three sizes in space and the number of volumes, which one further axis may count."""
    sizes = [int(size) for size in header.get_data_shape()]
    several = [size for size in sizes[3:] if size != 1]
    if len(sizes) < 3 or len(several) > 1:
        raise unsupported(_SOURCE, "three axes in space and at most one of volumes")
    return sizes[0], sizes[1], sizes[2], several[0] if several else 1


def _texts(header: Header, offset: int) -> int:
    """Return how many texts the header holds; what lies between header and voxels (extensions) is one."""
    said = [
        header[name].item() for name in ("descrip", "aux_file", "db_name", "intent_name") if name in header
    ]
    return sum(bool(text.strip(b"\0 ")) for text in said) + (offset > header.sizeof_hdr + 4)


def _scaled(data: npt.NDArray[Any], header: Header) -> npt.NDArray[Any]:
    slope, inter = header.get_slope_inter()
    if slope is None or (slope, inter) == (1.0, 0.0):
        return data
    scaled: npt.NDArray[Any] = data * np.float64(slope) + np.float64(inter)
    return scaled


def _affine(header: Header, shape: tuple[int, int, int]) -> Affine:
    """Return where the voxels lie; refuse two places that differ.

    Half a voxel is allowed between the two: a quaternion in single precision is that far off near half turns.
    """
    if header["pixdim"][0] == 0:
        # nifti1.h, method 2: a qfac of 0 counts as 1.
        header["pixdim"][0] = 1
    sform, _ = header.get_sform(coded=True)
    qform, _ = header.get_qform(coded=True)
    if sform is None and qform is None:
        raise unplaced(_SOURCE, "a qform or an sform")
    placed: Affine = np.asarray(qform if sform is None else sform, dtype=np.float64)
    if sform is not None and qform is not None:
        apart = corner_distance(shape, placed, np.asarray(qform, dtype=np.float64))
        if not apart <= np.linalg.norm(placed[:3, :3], axis=0).min() / 2:
            raise GeometryError(
                "missing-geometry",
                wanted="qform and sform within half a voxel of each other",
                found=f"corners {apart:.3g} mm apart",
                where="NIfTI mask",
            )
    return placed
