"""Slices, each placed by its own header, as one even stack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.model.errors import GeometryError
from pipeline.model.volume import Affine

Vector = npt.NDArray[np.float64]

PLACE_TOLERANCE_MM = 0.1
"""How far, in mm, a voxel may come to lie from where the header of its own slice puts it.

Positions are often rounded, at worst to one decimal; two such roundings leave a slice up to 0.1 mm from
an even stack that starts at the first slice. It is a fifth of the finest spacing (0.5 mm) of clinical CT."""

PLACE_TOLERANCE_SHARE = 0.2
"""The same as a share of the slice spacing, for stacks finer than 0.5 mm."""

ROUNDING_MM = 1e-6
"""Added to the tolerance, because 0.1 has no exact binary form."""

SAME_POSITION_MM = 0.01
"""Slices closer than this, in mm, lie at the same position; no scanner steps that little."""

ROUNDED_STEP_MM = 0.01
"""Where a whole stack of median steps ends further than this, in mm, from the last slice, the steps were
rounded (0.62 and 0.63 for 0.625), and the distance of the two ends tells the spacing better."""

MULTIPLE_TOLERANCE = 0.1
"""As a share of the step: how near to a whole multiple a gap must be to be called missing slices."""

LISTED_POSITIONS = 20
"""As many missing positions are named in a refusal; the rest is counted."""


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where one slice's header puts it, in LPS+ mm (PS3.3 C.7.6.2.1.1).

    `row` is the unit vector of increasing column index, `column` that of increasing row index, `position` the
    centre of the first pixel. `between_columns` and `between_rows` are the pixel spacings along them; `shape`
    is columns, rows.
    """

    row: Vector
    column: Vector
    position: Vector
    between_columns: float
    between_rows: float
    shape: tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class EvenStack:
    """Parallel slices of one matrix, straight above each other, one step apart.

    `order` holds the slices' numbers by position along the normal (row x column), `along` these positions in
    mm. `affine` is orthogonal and leads from (column, row, slice) indices to RAS+ mm; it puts every pixel
    within `tolerance_mm` of where its own slice's header does.
    """

    order: Sequence[int]
    affine: Affine
    along: Vector
    step_mm: float
    step_from: str
    tolerance_mm: float
    deviation_mm: float


@dataclass(frozen=True, slots=True, eq=False)
class OrderedPlaces:
    """Parallel slices of one matrix by their position along the normal (row x column), LPS+ mm.

    `order` holds the slices' numbers, `along` their positions along the normal and `drift` how far each lies
    beside the normal through the first one, shape (slices, 3). `tolerance_mm` is how far a slice may lie from
    where a grid puts it.
    """

    row: Vector
    column: Vector
    normal: Vector
    between_columns: float
    between_rows: float
    order: Sequence[int]
    along: Vector
    drift: Vector
    first: Vector
    tolerance_mm: float

    def affine(self, step_mm: float) -> Affine:
        """Return the orthogonal affine from (column, row, slice) indices to RAS+ mm that begins at the first slice."""
        axes = [self.row * self.between_columns, self.column * self.between_rows, self.normal * step_mm]
        lps = np.eye(4)
        lps[:3] = np.stack([*axes, self.first], axis=1)
        # DICOM counts x to the left and y to the back. Adding zero turns -0 into 0.
        ras: Affine = lps * np.array([[-1.0], [-1.0], [1.0], [1.0]]) + 0.0
        return ras


def ordered(places: Sequence[Place]) -> OrderedPlaces:
    """Return slices in the order of the normal, whatever the order given.

    Raises
    ------
    GeometryError
        If they differ in matrix, spacing or orientation, or share a position.
    """
    row, column, between_columns, between_rows = _plane(places)
    normal = _unit(np.cross(row, column))
    along = np.array([_dot(place.position, normal) for place in places])
    order = np.argsort(along, kind="stable")
    along = along[order]
    _check_distinct(along)
    first = places[int(order[0])].position
    drift = np.array([places[number].position - first for number in order])
    drift = drift - (along - along[0])[:, np.newaxis] * normal
    tolerance = min(PLACE_TOLERANCE_MM, PLACE_TOLERANCE_SHARE * float(np.median(np.diff(along))))
    spacing = between_columns, between_rows
    return OrderedPlaces(row, column, normal, *spacing, order.tolist(), along, drift, first, tolerance)


def even_stack(places: Sequence[Place], *, stated_mm: float | None = None) -> EvenStack:
    """Return the even stack that at least two slices make, in whatever order they are given.

    The step is the median one; every slice is held against it. The spacing that the headers state places
    nothing, but it is a witness: with every second slice lost, the rest is even again.

    Raises
    ------
    GeometryError
        If the slices differ in matrix, spacing or orientation, share a position, are sheared against their
        normal, or do not follow each other evenly; missing slices are named by index and mm along the normal.
    """
    slices = ordered(places)
    along, tolerance = slices.along, slices.tolerance_mm
    check_untilted(slices.drift, along, tolerance)
    step, step_from = even_step(along)
    deviation = float(np.abs(along - along[0] - step * np.arange(len(along))).max())
    if stated_mm is not None and stated_mm > SAME_POSITION_MM:
        check_complete(along, stated_mm)
    if deviation > tolerance + ROUNDING_MM:
        check_complete(along, float(np.diff(along).min()))
        raise uneven(along, tolerance)
    return EvenStack(slices.order, slices.affine(step), along, step, step_from, tolerance, deviation)


def _dot(first: Vector, second: Vector) -> float:
    # Written out, because BLAS may round differently from one processor to the next.
    return float(first[0] * second[0] + first[1] * second[1] + first[2] * second[2])


def _unit(vector: Vector) -> Vector:
    unit: Vector = vector / _dot(vector, vector) ** 0.5
    return unit


def _plane(places: Sequence[Place]) -> tuple[Vector, Vector, float, float]:
    """Return row and column direction, at a right angle, and the pixel spacings along them.

    They are the slices' medians, so that the order given does not matter, and hold for each slice within the
    tolerance at its far corners.
    """
    row = _unit(np.median([place.row for place in places], axis=0))
    column = _unit(np.median([place.column for place in places], axis=0))
    # Half of what is missing to a right angle is taken from each.
    skew = _dot(row, column) / 2
    row, column = _unit(row - skew * column), _unit(column - skew * row)
    between_columns = float(np.median([place.between_columns for place in places]))
    between_rows = float(np.median([place.between_rows for place in places]))
    for number, place in enumerate(places):
        columns, rows = place.shape[0] - 1, place.shape[1] - 1
        along_row = (place.row * place.between_columns - row * between_columns) * columns
        along_column = (place.column * place.between_rows - column * between_rows) * rows
        off = float(np.abs([along_row, along_column, along_row + along_column]).max())
        if place.shape != places[0].shape or off > PLACE_TOLERANCE_MM + ROUNDING_MM:
            raise GeometryError(
                "mixed-grids",
                wanted=f"one matrix, pixel spacing and orientation, corners within {PLACE_TOLERANCE_MM} mm",
                found=f"corners off by {off:.3f} mm" if place.shape == places[0].shape else "another matrix",
                where=f"slice {number + 1} as given",
            )
    return row, column, between_columns, between_rows


def _check_distinct(along: Vector) -> None:
    same = np.flatnonzero(np.diff(along) < SAME_POSITION_MM)
    if same.size:
        raise GeometryError(
            "duplicate-positions",
            wanted=f"slices at least {SAME_POSITION_MM} mm apart",
            found=f"{same.size} of {along.size} at the position of the one before",
            where=f"slice {same[0] + 1} along the normal, {along[same[0]]:.3f} mm",
        )


def check_untilted(drift: Vector, along: Vector, tolerance: float) -> None:
    """Refuse slices that do not lie straight above each other: a tilted gantry shears the stack."""
    shift = float(np.sqrt((drift * drift).sum(axis=1)).max())
    if shift > tolerance + ROUNDING_MM:
        angle = float(np.degrees(np.arctan2(shift, along[-1] - along[0])))
        raise GeometryError(
            "gantry-tilt",
            wanted=f"slices along their normal within {tolerance:.3f} mm",
            found=f"a shift of {shift:.3f} mm within the slice plane, {angle:.2f} degrees",
            where="stack of positions",
        )


def even_step(along: Vector) -> tuple[float, str]:
    """Return the slice spacing in mm and what it was taken from: the median step or the two ends."""
    median = float(np.median(np.diff(along)))
    extent = float(along[-1] - along[0])
    if abs(median * (along.size - 1) - extent) <= ROUNDED_STEP_MM:
        return median, "median"
    return extent / (along.size - 1), "ends"


def check_complete(along: Vector, unit: float) -> None:
    """Refuse a stack all of whose steps are near whole multiples of a unit in mm, some of them more than one."""
    multiples = multiples_of(along, unit)
    if multiples.max() < 2:
        return
    inner = np.concatenate([np.arange(1, multiple) for multiple in multiples])
    before = np.repeat(np.arange(multiples.size), multiples - 1)
    indices = (np.cumsum(multiples) - multiples)[before] + inner
    raise GeometryError(
        "missing-slice",
        wanted=f"a slice every {unit:.3f} mm",
        found=_listed(indices, along[before] + inner * unit),
        where="along the normal",
    )


def multiples_of(along: Vector, unit: float) -> npt.NDArray[np.int_]:
    """Return how many units in mm each step is, 1 for all unless each is near a whole multiple."""
    steps = np.diff(along)
    multiples = np.round(steps / unit).astype(int)
    is_near = np.abs(steps - multiples * unit).max() <= MULTIPLE_TOLERANCE * unit
    return multiples if is_near else np.ones_like(multiples)


def uneven(along: Vector, tolerance: float) -> GeometryError:
    """Return the refusal of slices that do not follow each other evenly."""
    steps = np.diff(along)
    widest = int(np.abs(steps - np.median(steps)).argmax())
    return GeometryError(
        "variable-spacing",
        wanted=f"steps of {np.median(steps):.3f} mm, every slice within {tolerance:.3f} mm of its place",
        found=f"steps from {steps.min():.3f} to {steps.max():.3f} mm",
        where=f"after slice {widest + 1} along the normal, {along[widest]:.3f} mm",
    )


def _listed(indices: npt.NDArray[np.int_], places: Vector) -> str:
    """Return the missing slices as index (from 0, along the normal) and mm."""
    pairs = list(zip(indices.tolist(), places.tolist(), strict=True))
    text = ", ".join(f"index {index} at {place:.3f} mm" for index, place in pairs[:LISTED_POSITIONS])
    rest = len(pairs) - LISTED_POSITIONS
    return f"{len(pairs)} missing: {text}" + (f", and {rest} more" if rest > 0 else "")
