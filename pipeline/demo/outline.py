"""Trace the edges of a mask's voxels as closed polygons, holes included."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Corner = tuple[int, int]


def outlines(mask: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.float64]]:
    """Return closed polygons whose even-odd inside holds exactly the true pixels' centres.

    Parameters
    ----------
    mask
        One slice, shape (columns, rows).

    Returns
    -------
    list
        Polygons of shape (N, 2): column and row index of each corner, at half-integer places, so that no
        pixel centre lies on an edge. A hole is a polygon of its own.
    """
    onward = _edges(mask)
    loops = []
    while onward:
        start = min(onward)
        loop, corner = [start], onward[start].pop()
        while corner != start:
            loop.append(corner)
            corner = onward[corner].pop()
        onward = {corner: ends for corner, ends in onward.items() if ends}
        loops.append(_straightened(loop))
    return loops


def _edges(mask: npt.NDArray[np.bool_]) -> dict[Corner, list[Corner]]:
    """Return the edges between inside and outside by their start; corner (i, j) lies at i - 0.5, j - 0.5."""
    padded = np.pad(mask, 1)
    onward: dict[Corner, list[Corner]] = {}
    for i, j in np.argwhere(mask):
        i, j = int(i), int(j)
        # The neighbours of (i, j) in `padded` are shifted by one; inside stays on the left of each edge.
        if not padded[i + 1, j]:
            onward.setdefault((i, j), []).append((i + 1, j))
        if not padded[i + 2, j + 1]:
            onward.setdefault((i + 1, j), []).append((i + 1, j + 1))
        if not padded[i + 1, j + 2]:
            onward.setdefault((i + 1, j + 1), []).append((i, j + 1))
        if not padded[i, j + 1]:
            onward.setdefault((i, j + 1), []).append((i, j))
    return onward


def _straightened(loop: list[Corner]) -> npt.NDArray[np.float64]:
    """Drop corners on a straight run and move to index coordinates."""
    points = np.array(loop, dtype=np.float64)
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    bends = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0] != 0
    kept: npt.NDArray[np.float64] = points[bends] - 0.5
    return kept
