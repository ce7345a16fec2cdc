"""Bring a channel onto the reference channel's grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import SimpleITK

from pipeline.model.errors import GeometryError
from pipeline.model.record import Json, Note, Step, decimal, decimals
from pipeline.model.volume import Affine, Grid, Volume, corner_distance

MAX_OUTSIDE_SHARE = 0.5
"""Largest share of the reference's voxels that may lie outside the channel: beyond it, most of what would be
released was never measured, and the channel is not of the same region."""

EDGE_TOLERANCE = 1e-3
"""In voxels of the channel: how far beyond its outer faces a place still counts as inside, so that two grids
with the same faces cover each other whatever the rounding of their affines."""

LPS_FROM_RAS = np.array([-1.0, -1.0, 1.0])
"""SimpleITK places in LPS+, we in RAS+: x and y change their sign."""


def align(volume: Volume, onto: Grid) -> Step[Volume]:
    """Resample a volume linearly onto a grid; on that grid already, it is handed on untouched.

    A voxel's field reaches half a voxel beyond its centre, so a place up to half a voxel beyond the outermost
    centres takes the value at the edge. Places further out were not measured: they take the volume's smallest
    value, and are counted.

    Parameters
    ----------
    volume
        A channel, shape (I, J, K), finite, any affine.
    onto
        The reference channel's grid.

    Returns
    -------
    Step
        The volume on `onto`, with its very affine: the same dtype if nothing had to be resampled, else
        float32 and never outside the range of the values that came in.

    Raises
    ------
    GeometryError
        If more than `MAX_OUTSIDE_SHARE` of the grid lies outside the volume.
    """
    if volume.grid.equals(onto):
        distance = decimal(corner_distance(onto.shape, volume.affine, onto.affine))
        facts: dict[str, Json] = {"resampled": False, "corner_distance_mm": distance}
        return Step(replace(volume, affine=onto.affine), Note("align", facts))
    inside = _inside(volume.grid, onto)
    outside = int(inside.size - inside.sum())
    if outside > MAX_OUTSIDE_SHARE * inside.size:
        raise GeometryError(
            "outside-view",
            wanted=f"at most {MAX_OUTSIDE_SHARE:.0%} of the reference's voxels outside the channel",
            found=f"{outside} of {inside.size}",
            where="align",
        )
    low, high = volume.data.min(), volume.data.max()
    data = np.where(inside, np.clip(_resampled(volume, onto), low, high), low).astype(np.float32)
    facts = {
        "resampled": True,
        "interpolation": "linear",
        "shape_before": list(volume.data.shape),
        "affine_before": decimals(volume.affine),
        "outside_voxels": outside,
        "outside_value": decimal(low),
        "voxels": int(inside.size),
    }
    return Step(replace(volume, data=data, affine=onto.affine), Note("align", facts))


def _inside(grid: Grid, onto: Grid) -> npt.NDArray[np.bool_]:
    """Return which voxel centres of `onto` lie within the outer faces of `grid`, shape of `onto`."""
    to_index = np.linalg.inv(grid.affine) @ onto.affine
    i, j = np.ogrid[: onto.shape[0], : onto.shape[1]]
    inside = np.empty(onto.shape, dtype=np.bool_, order="F")
    for k in range(onto.shape[2]):
        plane = np.ones(onto.shape[:2], dtype=np.bool_)
        for row, length in zip(to_index[:3], grid.shape, strict=True):
            index = row[0] * i + row[1] * j + (row[2] * k + row[3])
            plane &= (index >= -0.5 - EDGE_TOLERANCE) & (index <= length - 0.5 + EDGE_TOLERANCE)
        inside[:, :, k] = plane
    return inside


def _resampled(volume: Volume, onto: Grid) -> npt.NDArray[np.float64]:
    """Return the volume's values at the voxels of `onto`, float64, shape of `onto`."""
    # One more voxel all around, equal to its neighbour, keeps the resampler's own edge rule out of the field:
    # which of our places count is decided in `_inside` alone.
    padded = np.pad(volume.data, 1, mode="edge")
    affine = np.array(volume.affine)
    affine[:3, 3] -= affine[:3, :3].sum(axis=1)
    resampler = SimpleITK.ResampleImageFilter()
    resampler.SetNumberOfThreads(1)
    resampler.SetInterpolator(SimpleITK.sitkLinear)
    resampler.SetOutputPixelType(SimpleITK.sitkFloat64)
    resampler.SetSize([int(n) for n in onto.shape])
    spacing, origin, direction = _lps(onto.affine)
    resampler.SetOutputSpacing(spacing)
    resampler.SetOutputOrigin(origin)
    resampler.SetOutputDirection(direction)
    resampled = resampler.Execute(_image(padded, affine))
    values: npt.NDArray[np.float64] = SimpleITK.GetArrayFromImage(resampled).transpose()
    return values


def _image(data: npt.NDArray[np.generic], affine: Affine) -> SimpleITK.Image:
    # SimpleITK's arrays are k, j, i; float64 holds every int32 and float32.
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(data.transpose(), dtype=np.float64))
    spacing, origin, direction = _lps(affine)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    return image


def _lps(affine: Affine) -> tuple[list[float], list[float], list[float]]:
    """Return spacing, origin and direction (row by row) of a RAS+ affine in SimpleITK's LPS+ frame."""
    columns = affine[:3, :3] * LPS_FROM_RAS[:, np.newaxis]
    spacing = np.sqrt((columns * columns).sum(axis=0))
    origin = affine[:3, 3] * LPS_FROM_RAS
    return spacing.tolist(), origin.tolist(), (columns / spacing).ravel().tolist()
