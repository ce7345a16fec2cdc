"""Voxels to the one .nii.gz that they mean, byte for byte (NIfTI-1, design section 6)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from pipeline.io.compressor import gzip_member
from pipeline.io.document import digest_of
from pipeline.model.record import Json, decimals
from pipeline.model.volume import Affine

_XFORM_SCANNER = 1


@dataclass(frozen=True, slots=True)
class NiftiFile:
    """One finished file: its bytes and what the manifest says of it."""

    content: bytes
    facts: dict[str, Json]


def encode(data: npt.NDArray[Any], affine: Affine) -> NiftiFile:
    """Return the .nii.gz of voxels (I, J, K) or (I, J, K, C) with an affine to RAS+ mm.

    dtype as given: int16, float32, uint8 or uint16. qform equals sform, both scanner; no text, no extension.
    """
    header = _header(data, affine)
    voxels = np.asarray(data, dtype=data.dtype.newbyteorder("<")).tobytes(order="F")
    content = gzip_member(header + voxels)
    return NiftiFile(
        content,
        {
            "shape": list(data.shape),
            "dtype": data.dtype.name,
            "affine": decimals(np.float32(affine)),
            "voxels": "sha256:" + hashlib.sha256(voxels).hexdigest(),
            "file": digest_of(content),
            "size": len(content),
        },
    )


def _header(data: npt.NDArray[Any], affine: Affine) -> bytes:
    """Return the 352 bytes before the voxels: header and the `no extension` flag."""
    header = nib.Nifti1Header(endianness="<")
    header.set_data_dtype(data.dtype)
    header.set_data_shape(data.shape)
    # DICOM direction cosines are rounded texts: the quaternion is the nearest rotation, the sform is exact.
    header.set_qform(affine, code=_XFORM_SCANNER, strip_shears=True)
    header.set_sform(affine, code=_XFORM_SCANNER)
    # A second array axis of channels has no spacing; 1 as in the published files.
    zooms = tuple(np.linalg.norm(affine[:3, :3], axis=0)) + (1.0,) * (data.ndim - 3)
    header.set_zooms(zooms)
    header.set_xyzt_units("mm")
    header.set_slope_inter(1, 0)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    return bytes(header.binaryblock) + b"\x00\x00\x00\x00"
