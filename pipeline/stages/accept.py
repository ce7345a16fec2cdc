"""Take the voxels of an image that is no longer DICOM as what the rules say they are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.model.errors import GeometryError, IntensityError
from pipeline.model.record import Json, Note, Step, decimal, decimals
from pipeline.model.volume import Quantity, Volume

ORTHOGONAL_TOLERANCE = 1e-4
"""How far direction cosines may be from a right angle: single precision is 1e-7, and ITK refuses beyond 1e-4."""


def accept(volume: Volume, quantity: Quantity) -> Step[Volume]:
    """Hold stored voxels and their place against what a volume must be; no value changes.

    The header of such a file says nothing of what its numbers measure: that is by rule alone.

    Parameters
    ----------
    volume
        Voxels as the file holds them, shape (I, J, K), any real dtype.
    quantity
        What the rules say that they measure.

    Returns
    -------
    Step
        The same values at the same place: int16 when every one is whole and fits, else int32 when it fits, else
        float32. The note is that of the conversion.

    Raises
    ------
    GeometryError
        gantry-tilt if the axes are not at right angles; single-slice if one of them is one voxel long.
    IntensityError
        not-finite.
    """
    cosines = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    off = float(np.abs(cosines.T @ cosines - np.eye(3)).max())
    if off > ORTHOGONAL_TOLERANCE:
        raise GeometryError(
            "gantry-tilt", wanted="axes at right angles", found=f"cosines {off:.2g} off", where="convert"
        )
    if min(volume.data.shape) < 2:
        raise GeometryError("single-slice", wanted="at least two voxels along each axis", found="one")
    data = _narrowed(volume.data)
    facts: dict[str, Json] = {
        "quantity": quantity.value,
        "quantity_evidence": "rule; the file says no unit",
        "values": "as stored",
        "shape": list(data.shape),
        "dtype": str(data.dtype),
        "dtype_stored": str(volume.data.dtype.newbyteorder("=")),
        "affine": decimals(volume.affine),
        "spacing_mm": decimal(volume.grid.spacing_mm[2]),
    }
    return Step(Volume(data, volume.affine, quantity), Note("convert", facts))


def _narrowed(data: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Return the values in the smallest of int16, int32 and float32 that holds them."""
    low, high = float(data.min()), float(data.max())
    if not (np.isfinite(low) and np.isfinite(high) and max(-low, high) <= float(np.finfo(np.float32).max)):
        raise IntensityError("not-finite", wanted="finite values", found="others", where="convert")
    for dtype in (np.int16, np.int32):
        limits = np.iinfo(dtype)
        if limits.min <= low and high <= limits.max:
            whole = data.astype(dtype)
            if np.array_equal(whole, data):
                return whole
    return data.astype(np.float32)
