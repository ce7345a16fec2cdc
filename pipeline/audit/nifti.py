"""The header of a single-file NIfTI-1 (nifti1.h)."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.audit.geometry import corners, row_text
from pipeline.audit.report import Spot, failure

QFORM_TOLERANCE_MM = 0.05
"""How far apart qform and sform may place a corner: the qform is the rotation nearest to rounded cosines."""


_DTYPES = {2: ("uint8", "<u1"), 4: ("int16", "<i2"), 16: ("float32", "<f4"), 512: ("uint16", "<u2")}
"""NIfTI-1 datatype codes that a release may hold."""


_NIFTI_FIELDS = ((0, 4), (40, 56), (70, 74), (76, 120), (123, 124), (252, 328), (344, 348))
"""Bytes of the header that say something; all others, every text among them, are zero."""


VOXEL_OFFSET = 352


@dataclass(frozen=True, slots=True, eq=False)
class NiftiHeader:
    """What a NIfTI-1 header says (nifti1.h)."""

    shape: tuple[int, ...]
    dtype: str
    code: str
    sform: npt.NDArray[np.float64]


def read_header(content: bytes, spot: Spot) -> NiftiHeader:
    """Read 352 bytes as a single-file NIfTI-1 header, report what a release may not have in it.

    Raises
    ------
    EvidenceError
        If shape or datatype cannot be told from it.
    """
    ndim, *axes = struct.unpack_from("<8h", content, 40)
    code, bits = struct.unpack_from("<2h", content, 70)
    shape = tuple(axes[:ndim]) if 0 < ndim <= 7 else ()
    if content[:4] != b"\x5c\x01\x00\x00" or code not in _DTYPES or not 3 <= ndim <= 4 or min(shape) < 1:
        raise failure(
            "NIfTI-1, little-endian, X,Y,Z or X,Y,Z,channel, of a known dtype", f"shape {shape}, dtype {code}"
        )
    dtype, layout = _DTYPES[code]
    offset, slope, intercept = struct.unpack_from("<3f", content, 108)
    for what, wanted, found in (
        ("magic and no extension", b"n+1\x00" + bytes(4), content[344:]),
        ("bits per voxel", 8 * np.dtype(layout).itemsize, bits),
        ("voxels from byte", VOXEL_OFFSET, offset),
        ("no scaling, slope and intercept", True, slope in (0, 1) and intercept == 0),
        ("millimetres (2)", 2, content[123] & 7),
        ("unused axes of one voxel", True, set(axes[ndim:]) <= {0, 1}),
        ("no bytes in fields without meaning", b"", _surplus(content)),
    ):
        spot.expect("package", what, wanted=wanted, found=found)
    return NiftiHeader(shape, dtype, layout, _check_forms(content, shape, spot))


def _surplus(content: bytes) -> bytes:
    """Return what stands in header fields that say nothing."""
    silent = bytearray(content[:348])
    for begin, end in _NIFTI_FIELDS:
        silent[begin:end] = bytes(end - begin)
    return bytes(silent).strip(b"\x00")


def _check_forms(content: bytes, shape: Sequence[int], spot: Spot) -> npt.NDArray[np.float64]:
    """Return the sform, shape (4, 4); report when qform, codes or spacing do not agree with it."""
    pixdim = struct.unpack_from("<8f", content, 76)
    codes = struct.unpack_from("<2h", content, 252)
    numbers = np.frombuffer(content, dtype="<f4", count=18, offset=256).astype(np.float64)
    sform = np.vstack([numbers[6:].reshape(3, 4), [0, 0, 0, 1]])
    if min(codes) < 1:
        spot.report("package", wanted="qform and sform codes above 0", found=codes)
    if not np.isfinite(numbers).all() or not np.isfinite(pixdim).all():
        spot.report("package", wanted="finite qform, sform and spacing", found=row_text(numbers))
        return sform
    spacing = np.linalg.norm(sform[:3, :3], axis=0)
    if not np.allclose(pixdim[1:4], spacing, rtol=1e-5, atol=0):
        spot.report(
            "package",
            wanted=f"the sform's spacing, {row_text(spacing)} mm",
            found=f"{row_text(pixdim[1:4])} mm",
        )
    qform = _qform(numbers[:6], pixdim)
    apart = float(np.abs(corners(shape, qform) - corners(shape, sform)).max())
    if not apart <= QFORM_TOLERANCE_MM:
        spot.report("package", wanted="a qform equal to the sform", found=f"corners {apart:.3g} mm apart")
    return sform


def _qform(numbers: npt.NDArray[np.float64], pixdim: Sequence[float]) -> npt.NDArray[np.float64]:
    """Return the affine that quaternion, offset and spacing mean (nifti1.h, method 2)."""
    b, c, d = numbers[:3]
    a = math.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d)))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    mirror = -1.0 if pixdim[0] < 0 else 1.0
    affine = np.eye(4)
    affine[:3, :3] = rotation * [pixdim[1], pixdim[2], mirror * pixdim[3]]
    affine[:3, 3] = numbers[3:6]
    return affine
