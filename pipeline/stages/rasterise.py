"""Turn contours into masks on the slices they were drawn on.

A voxel belongs to a region when its centre lies inside: an odd number of contour lines between it and
the outside. Contours of one slice combine by exclusive or, so an inner contour is a hole, one inside the
hole an island, and the two banks of a keyhole's channel cancel. A centre exactly on a line belongs to the
side of higher i (on a line along i, of higher j): two regions that share a line neither overlap nor leave
a gap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.model.contour import Contour, Geometric, Roi
from pipeline.model.errors import LabelError
from pipeline.model.record import Json, Note, Step, decimal
from pipeline.model.volume import Annotation, Grid, distinct_names

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Ring = Floats
"""Corner points of one contour in its slice, as voxel indices (i, j), shape (N, 2)."""

TILT_TOLERANCE = 0.25
"""The points of a contour lie within this many slice distances along the normal: writers round to 0.1 mm."""

HALF_SLICE = 0.495
"""Largest distance to the nearest slice, in slice distances; half way between two there is no nearest one, and the
decimals in which a contour is written (0.01 mm or so) must not choose it."""

ON_PLANE = 0.05
"""A contour nearer than this many slice distances to its slice counts as in its plane."""

SNAP = 2.0**24
"""Indices are rounded to 1/SNAP voxel, far below the precision of a written coordinate (16 characters):
a point that means a voxel centre is one, whatever the order of the arithmetic that took it there."""

CROSSINGS_AT_ONCE = 1 << 20
"""Crossings of contour lines with voxel rows held in memory at once: about 100 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class _Placed:
    """A contour on the slice it belongs to; `k` is where along the normal it really lies."""

    ring: Ring
    slice: int
    k: float
    kind: Geometric


def rasterise(rois: Sequence[Roi], grid: Grid) -> Step[Annotation]:
    """Draw each region on the grid: even-odd at voxel centres, contours of a slice by exclusive or.

    Parameters
    ----------
    rois
        Regions with contours in RAS+ mm (PS3.3 C.8.8.6). Points and open contours have no area: they are
        skipped and counted.
    grid
        The image's grid in acquisition order: slices are planes of constant k.

    Returns
    -------
    Step
        One boolean mask (I, J, K) per region. The note says of each region, by its number: contours used,
        skipped by kind, degenerate (under three points), repeated (drawn twice alike), off plane (nearer
        than half a slice but not in its plane), clipped by the field or outside it, slices without a contour
        between others (gaps), voxels and ml.

    Raises
    ------
    LabelError
        contour-not-parallel if a contour's points differ along the normal by more than TILT_TOLERANCE slice
        distances; contour-off-plane if it lies half a slice or more from every slice, or if contours of one
        region from different planes meet in one slice.
    """
    keys = distinct_names([roi.name for roi in rois])
    drawn = [_draw(roi, grid) for roi in rois]
    annotation = Annotation(
        {key: mask for key, (mask, _) in zip(keys, drawn, strict=True)},
        grid,
        codes={key: roi.codes for key, roi in zip(keys, rois, strict=True) if roi.codes},
        names={key: roi.name for key, roi in zip(keys, rois, strict=True) if roi.name != key},
    )
    facts: dict[str, Json] = {"rule": "even-odd at voxel centres", "rois": [report for _, report in drawn]}
    return Step(annotation, Note("rasterise", facts))


def _draw(roi: Roi, grid: Grid) -> tuple[npt.NDArray[np.bool_], dict[str, Json]]:
    """Return one region's mask and its report."""
    closed = [contour for contour in roi.contours if contour.kind.has_area]
    solid = [contour for contour in closed if len(contour.points) >= 3]
    placed = list(_place(solid, grid, roi.number))
    once = list(_without_repeats(placed))
    slices = _by_slice(once, roi.number)
    # Slice after slice in memory, so that slices without a contour take none.
    mask = np.zeros(grid.shape[::-1], dtype=np.bool_).T
    for k, rings in slices.items():
        _fill(mask[:, :, k], rings)
    counts = {"degenerate": len(closed) - len(solid), "repeated": len(placed) - len(once)}
    return mask, {**_report(roi, once, grid), **counts, **_extent(mask, grid)}


def _place(contours: Iterable[Contour], grid: Grid, number: int) -> Iterator[_Placed]:
    """Yield each contour on its nearest slice."""
    to_index = np.linalg.inv(grid.affine)
    for place, contour in enumerate(contours, start=1):
        where = f"closed contour {place} of ROI number {number}"
        index = np.rint((contour.points @ to_index[:3, :3].T + to_index[:3, 3]) * SNAP) / SNAP
        low, high = float(index[:, 2].min()), float(index[:, 2].max())
        if high - low > TILT_TOLERANCE:
            raise LabelError(
                "contour-not-parallel",
                wanted=f"points within {TILT_TOLERANCE} slice distances along the normal",
                found=f"{high - low:.3g}",
                where=where,
            )
        yield _Placed(
            index[:, :2], _nearest_slice((low + high) / 2, grid, where), (low + high) / 2, contour.kind
        )


def _nearest_slice(k: float, grid: Grid, where: str) -> int:
    """Return the slice that a plane at index k belongs to."""
    nearest = min(max(round(k), 0), grid.shape[2] - 1)
    if abs(k - nearest) > HALF_SLICE:
        raise LabelError(
            "contour-off-plane",
            wanted="a slice nearer than half a slice distance",
            found=f"the nearest one {abs(k - nearest):.6g} slice distances away",
            where=where,
        )
    return nearest


def _without_repeats(contours: Sequence[_Placed]) -> Iterator[_Placed]:
    """Yield the contours without exact copies: exclusive or would erase what was drawn twice.

    CLOSEDPLANAR_XOR means exclusive or to the letter (PS3.3 C.8.8.6.3): nothing is taken from it.
    """
    seen: set[tuple[int, bytes]] = set()
    for contour in contours:
        mark = (contour.slice, _lines(contour.ring))
        if contour.kind is Geometric.CLOSEDPLANAR_XOR or mark not in seen:
            yield contour
        seen.add(mark)


def _lines(ring: Ring) -> bytes:
    """Return the same for rings of the same lines, wherever and whichever way round they start."""
    # A point given twice in a row, as where a writer closes its contours, makes a line without length.
    ring = ring[(ring != np.roll(ring, -1, axis=0)).any(axis=1)]
    start, stop = ring, np.roll(ring, -1, axis=0)
    swapped = (start[:, 0] > stop[:, 0]) | ((start[:, 0] == stop[:, 0]) & (start[:, 1] > stop[:, 1]))
    lines = np.hstack([np.where(swapped[:, None], stop, start), np.where(swapped[:, None], start, stop)])
    return lines[np.lexsort(lines.T)].tobytes()


def _by_slice(contours: Sequence[_Placed], number: int) -> dict[int, list[Ring]]:
    """Return the rings of each slice; those of one slice must come from one plane."""
    slices: dict[int, list[_Placed]] = {}
    for contour in contours:
        slices.setdefault(contour.slice, []).append(contour)
    for k, group in slices.items():
        apart = max(contour.k for contour in group) - min(contour.k for contour in group)
        if apart > TILT_TOLERANCE:
            raise LabelError(
                "contour-off-plane",
                wanted=f"contours of one slice within {TILT_TOLERANCE} slice distances of each other",
                found=f"{apart:.3g}",
                where=f"slice {k}, counted from 0, of ROI number {number}",
            )
    return {k: [contour.ring for contour in group] for k, group in slices.items()}


def _report(roi: Roi, placed: Sequence[_Placed], grid: Grid) -> dict[str, Json]:
    """Return what became of a region's contours, in counts."""
    skipped = [contour.kind for contour in roi.contours if not contour.kind.has_area]
    inside = [_is_inside(contour.ring, grid.shape[:2]) for contour in placed]
    off = [abs(contour.k - contour.slice) for contour in placed]
    used = {contour.slice for contour in placed}
    return {
        "number": roi.number,
        "contours": len(roi.contours),
        "used": len(placed),
        "skipped": {kind.value: skipped.count(kind) for kind in Geometric if kind in skipped},
        "off_plane": sum(distance > ON_PLANE for distance in off),
        "off_plane_slices": decimal(round(max(off, default=0.0), 6)),
        "outside": inside.count("outside"),
        "clipped": inside.count("clipped"),
        "slices": len(used),
        "gaps": max(used) - min(used) + 1 - len(used) if used else 0,
    }


def _is_inside(ring: Ring, shape: tuple[int, ...]) -> str:
    """Say whether a ring lies inside the field (to its voxels' outer faces), is clipped by it, or outside."""
    low, high = ring.min(axis=0), ring.max(axis=0)
    start, stop = np.array([-0.5, -0.5]), np.array(shape) - 0.5
    if (high <= start).any() or (low >= stop).any():
        return "outside"
    return "clipped" if (low < start).any() or (high > stop).any() else "inside"


def _extent(mask: npt.NDArray[np.bool_], grid: Grid) -> dict[str, Json]:
    """Return how much a mask holds."""
    voxels = int(np.count_nonzero(mask))
    return {"voxels": voxels, "ml": decimal(round(voxels * grid.voxel_ml, 6))}


def _fill(plane: npt.NDArray[np.bool_], rings: Sequence[Ring]) -> None:
    """Set the voxels of one empty slice (I, J) whose centres lie inside an odd number of times.

    A line crosses row j when its lower end is at or below j and its upper end above; every centre from the
    crossing on, towards higher i, changes sides there.
    """
    corners = np.concatenate(rings)
    # No crossing lies outside the rings' own box, so nothing beyond it changes.
    start = np.clip(np.ceil(corners.min(axis=0)), 0, plane.shape).astype(np.int64)
    stop = np.clip(np.ceil(corners.max(axis=0)), 0, plane.shape).astype(np.int64)
    width, rows = (int(size) for size in stop - start + [1, 0])
    toggles = np.zeros(width * rows, dtype=np.uint8)
    for low, high, first, count in _lines_across(rings, int(start[1]), int(stop[1])):
        line = np.repeat(np.arange(len(count)), count)
        row = np.arange(len(line)) - np.repeat(np.cumsum(count) - count, count) + first[line]
        origin, reach = low[line], (high - low)[line]
        crossing = origin[:, 0] + (row - origin[:, 1]) * reach[:, 0] / reach[:, 1]
        column = np.clip(np.ceil(np.rint(crossing * SNAP) / SNAP), start[0], stop[0]).astype(np.int64)
        place = (row - start[1]) * width + column - start[0]
        toggles ^= (np.bincount(place, minlength=len(toggles)) & 1).astype(np.uint8)
    inside = np.bitwise_xor.accumulate(toggles.reshape(rows, width), axis=1)[:, :-1]
    plane[start[0] : stop[0], start[1] : stop[1]] = inside.T


def _lines_across(
    rings: Sequence[Ring], begin: int, end: int
) -> Iterator[tuple[Floats, Floats, Integers, Integers]]:
    """Yield, some at a time, lines that cross rows: lower ends, upper ends, first row, number of rows."""
    start = np.concatenate(rings)
    stop = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    # The same line is computed from the same end, whichever way it is walked, so that shared lines agree.
    upward = (start[:, 1] <= stop[:, 1])[:, None]
    low, high = np.where(upward, start, stop), np.where(upward, stop, start)
    first = np.clip(np.ceil(low[:, 1]), begin, end).astype(np.int64)
    count = np.clip(np.ceil(high[:, 1]), begin, end).astype(np.int64) - first
    crossing = count > 0
    low, high, first, count = low[crossing], high[crossing], first[crossing], count[crossing]
    batch = np.cumsum(count) // CROSSINGS_AT_ONCE
    for number in np.unique(batch):
        chosen = batch == number
        yield low[chosen], high[chosen], first[chosen], count[chosen]
