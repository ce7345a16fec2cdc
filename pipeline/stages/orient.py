"""Bring a volume into the closest Right-Anterior-Superior frame without changing a value."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.model.record import Note, Step, decimals
from pipeline.model.volume import Affine, Orientation, Volume, axis_codes, orientation


def orient(volume: Volume) -> Step[Volume]:
    """Permute and flip the axes so that i, j and k run towards right, anterior and superior.

    Parameters
    ----------
    volume
        Voxels of shape (I, J, K) in any of the 48 orientations, or oblique to any angle.

    Returns
    -------
    Step
        The same voxels, each at its same RAS+ millimetre, in the closest of the 48 orientations; the note
        holds axis codes, shape and affine before and after. A volume that lies so already is handed on.
    """
    ways = orientation(volume.affine)
    order = [axis for axis, _ in ways]
    flips = tuple(slice(None, None, way) for _, way in ways)
    affine = _reordered(volume.affine, volume.data.shape, ways)
    turned = replace(volume, data=volume.data.transpose(order)[flips], affine=affine)
    facts = {
        "axes_before": axis_codes(volume.affine),
        "axes_after": axis_codes(affine),
        "shape_before": list(volume.data.shape),
        "shape_after": list(turned.data.shape),
        "affine_before": decimals(volume.affine),
        "affine_after": decimals(affine),
    }
    return Step(turned, Note("orient", facts))


def _reordered(affine: Affine, shape: tuple[int, ...], ways: Orientation) -> Affine:
    """Return the affine that keeps every voxel at its millimetre after the axes are permuted and flipped."""
    new = np.array(affine, dtype=np.float64)
    for world, (axis, way) in enumerate(ways):
        new[:3, world] = affine[:3, axis] * way
        if way < 0:
            # The voxel that was last along this axis comes first now.
            new[:3, 3] += affine[:3, axis] * (shape[axis] - 1)
    # Adding zero turns -0 into 0, which would read as another number in the manifest.
    zeroed: Affine = new + 0.0
    return zeroed
