"""Slices at uneven or sheared places, interpolated onto an even grid that stands straight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.model.errors import GeometryError
from pipeline.model.evenstack import (
    ROUNDING_MM,
    SAME_POSITION_MM,
    OrderedPlaces,
    Place,
    Vector,
    check_complete,
    check_untilted,
    even_step,
    multiples_of,
    ordered,
    uneven,
)
from pipeline.model.rules import Geometry
from pipeline.model.volume import Affine

STEEPEST_SHEAR = 1.0
"""Largest shift within the slice plane per mm along the normal: 45 degrees. No gantry tilts by more than 30."""

LARGEST_RATIO = 3.0
"""A step more than so many times the smallest one is a hole, not another spacing."""

SMALLEST_SHARE = 0.5
"""A step below this share of the median one is where two runs of slices meet; it is no spacing to sample by."""

FEW_SEAMS = 0.1
"""Where more than this share of the steps is so small, they are the spacing of a part of the stack."""

PIXEL_DIGITS = 6
"""Shifts are rounded to a millionth of a pixel, so that a slice moved by whole pixels keeps its values."""


@dataclass(frozen=True, slots=True, eq=False)
class LooseStack:
    """Where slices lie, and the grid onto which they are interpolated.

    `order` holds the slices' numbers along the normal, `along` their positions in mm. `shape` and `affine` (to
    RAS+ mm) are the grid's: its first plane is that of the first slice, its last one that of the last. `planes`
    are the slices' places in planes of the grid, `shift` where their first pixel lies in it, in columns and
    rows, shape (slices, 2). `shear` is the shift in mm along row and column per mm along the normal.
    """

    order: Sequence[int]
    along: Vector
    shape: tuple[int, int, int]
    affine: Affine
    step_mm: float
    planes: Vector
    shift: Vector
    shear: Vector
    mended: tuple[str, ...]


def loose_stack(places: Sequence[Place], *, stated_mm: float | None, rule: Geometry) -> LooseStack:
    """Return slices with the grid that they are to be interpolated onto.

    Its rows, columns and normal are those of the slices, which keep their planes and pixel spacing. Tilted, they
    move within their planes. Of uneven steps the smallest is taken (but where two runs of slices meet), made a
    little smaller so that it divides the whole extent.

    Raises
    ------
    GeometryError
        If the slices differ in matrix, spacing or orientation, share a position, or lie so that the rule does
        not let them be interpolated.
    """
    slices = ordered(places)
    shift_mm = _sheared(slices, rule)
    step, code = _step(slices, stated_mm, rule)
    planes = (slices.along - slices.along[0]) / step
    near = np.rint(planes)
    is_on = np.abs(planes - near) * step <= slices.tolerance_mm + ROUNDING_MM
    if not is_on.all() and "variable-spacing" not in rule.mends:
        raise uneven(slices.along, slices.tolerance_mm)
    pixels = shift_mm / [slices.between_columns, slices.between_rows]
    pixels = np.round(pixels, PIXEL_DIGITS)
    low, high = np.floor(pixels.min(axis=0)), np.ceil(pixels.max(axis=0))
    columns, rows = (np.array(places[0].shape) + high - low).astype(int).tolist()
    affine = slices.affine(step)
    affine[:3, 3] += affine[:3, 0] * low[0] + affine[:3, 1] * low[1]
    shear = shift_mm[-1] / (slices.along[-1] - slices.along[0])
    mended = (*(["gantry-tilt"] if shift_mm.any() else []), *([code] if code else []))
    shape = columns, rows, int(near[-1]) + 1
    where = np.where(is_on, near, planes)
    return LooseStack(slices.order, slices.along, shape, affine, step, where, pixels - low, shear, mended)


def _sheared(slices: OrderedPlaces, rule: Geometry) -> Vector:
    """Return how far each slice lies beside the first one in mm along row and column, shape (slices, 2)."""
    along = slices.along - slices.along[0]
    if float(np.abs(slices.drift).max()) <= slices.tolerance_mm or "gantry-tilt" not in rule.mends:
        check_untilted(slices.drift, slices.along, slices.tolerance_mm)
        return np.zeros((len(along), 2))
    shear = slices.drift[-1] / along[-1]
    off = float(np.sqrt(((slices.drift - along[:, np.newaxis] * shear) ** 2).sum(axis=1)).max())
    steepness = float(np.sqrt((shear * shear).sum()))
    if off > slices.tolerance_mm + ROUNDING_MM or steepness > STEEPEST_SHEAR:
        raise GeometryError(
            "gantry-tilt",
            wanted=f"slices along one line within {slices.tolerance_mm:.3f} mm, at most 45 degrees off their normal",
            found=f"{off:.3f} mm, {np.degrees(np.arctan(steepness)):.2f} degrees",
            where="stack of positions",
        )
    return np.stack([(slices.drift * axis).sum(axis=1) for axis in (slices.row, slices.column)], axis=1)


def _step(slices: OrderedPlaces, stated_mm: float | None, rule: Geometry) -> tuple[float, str]:
    """Return the step of the grid in mm, and the code of what it mends along the normal, if anything."""
    along, steps = slices.along, np.diff(slices.along)
    extent = float(along[-1] - along[0])
    even, _ = even_step(along)
    is_even = float(np.abs(along - along[0] - even * np.arange(along.size)).max()) <= (
        slices.tolerance_mm + ROUNDING_MM
    )
    witness = stated_mm if stated_mm is not None and stated_mm > SAME_POSITION_MM else None
    for unit in (witness, None if is_even else float(steps.min())):
        multiples = np.ones(1, dtype=int) if unit is None else multiples_of(along, unit)
        if unit is not None and multiples.max() > 1:
            if int(multiples.sum()) - multiples.size > rule.missing:
                check_complete(along, unit)
            return extent / int(multiples.sum()), "missing-slice"
    if is_even:
        return even, ""
    spacings = steps[steps >= SMALLEST_SHARE * np.median(steps)]
    are_few = steps.size - spacings.size <= FEW_SEAMS * steps.size
    smallest = float((spacings if are_few else steps).min())
    if "variable-spacing" not in rule.mends or steps.max() > LARGEST_RATIO * smallest:
        raise uneven(along, slices.tolerance_mm)
    return extent / float(np.ceil(extent / smallest - ROUNDING_MM)), "variable-spacing"


def straighten(
    slices: npt.NDArray[Any], stack: LooseStack
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Interpolate slices linearly onto the stack's grid: within their planes, then along the normal.

    A pixel reaches half its width beyond its centre; what lies further outside of a slice was not measured,
    and takes the smallest of all values.

    Parameters
    ----------
    slices
        Shape (columns, rows, slices), finite, in the stack's order.

    Returns
    -------
    tuple
        The values, never outside the range of those that came in, and which were measured; the grid's shape.
    """
    low, high = slices.min(), slices.max()
    data = np.empty(stack.shape, dtype=np.float32, order="F")
    measured = np.empty(stack.shape, dtype=np.bool_, order="F")
    for plane in range(stack.shape[2]):
        below = int(np.searchsorted(stack.planes, plane, side="right")) - 1
        values, inside = _moved(slices[:, :, below], stack, below)
        if stack.planes[below] < plane:
            above, inside_above = _moved(slices[:, :, below + 1], stack, below + 1)
            share = (plane - stack.planes[below]) / (stack.planes[below + 1] - stack.planes[below])
            values, inside = values * (1 - share) + above * share, inside & inside_above
        data[:, :, plane] = np.where(inside, np.clip(values, low, high), low)
        measured[:, :, plane] = inside
    return data, measured


def _moved(pixels: npt.NDArray[Any], stack: LooseStack, number: int) -> tuple[Vector, npt.NDArray[np.bool_]]:
    """Return one slice moved within its plane to where it lies in the grid, and which pixels it covers."""
    values = pixels.astype(np.float64)
    inside = []
    for axis in (0, 1):
        places = np.arange(stack.shape[axis]) - stack.shift[number, axis]
        last = pixels.shape[axis] - 1
        inside.append((places >= -0.5) & (places <= last + 0.5))
        places = np.clip(places, 0, last)
        before = np.floor(places).astype(int)
        share = (places - before)[:, np.newaxis] if axis == 0 else places - before
        after = np.minimum(before + 1, last)
        values = values.take(before, axis) * (1 - share) + values.take(after, axis) * share
    return values, inside[0][:, np.newaxis] & inside[1]
