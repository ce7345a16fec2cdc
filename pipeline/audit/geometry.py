"""Affines: orthonormal, RAS+, and where they place the corners."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.audit.report import Spot

ORTHONORMAL_TOLERANCE = 1e-4
"""How far the direction cosines may be from orthonormal; beyond it ITK refuses the image."""


def check_affine(affine: npt.NDArray[np.float64], spot: Spot) -> None:
    """Report an affine that is not RAS+, not orthonormal, or no affine."""
    if not np.isfinite(affine).all() or affine[3].tolist() != [0, 0, 0, 1]:
        spot.report("orient", wanted="a finite affine with 0 0 0 1 below", found=matrix_text(affine))
        return
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if spacing.min() <= 0:
        spot.report("convert", wanted="a spacing above 0 mm", found=row_text(spacing))
        return
    directions = affine[:3, :3] / spacing
    off = float(np.abs(directions.T @ directions - np.eye(3)).max())
    if off > ORTHONORMAL_TOLERANCE:
        spot.report("convert", wanted="orthonormal direction cosines", found=f"{off:.2g} off")
    if not is_ras(directions):
        spot.report("orient", wanted="axes closest to R, A, S", found=matrix_text(directions))


def is_ras(directions: npt.NDArray[np.float64]) -> bool:
    """Whether i, j, k run closest to right, anterior, superior: the closest pair of axes first."""
    left = {0, 1, 2}
    while left:
        closest = max(abs(directions[row, axis]) for row in left for axis in left)
        own = max(left, key=lambda axis: abs(directions[axis, axis]))
        # At 45 degrees two answers are right.
        if directions[own, own] < closest - ORTHONORMAL_TOLERANCE:
            return False
        left.remove(own)
    return True


def points_along(directions: npt.NDArray[np.float64], codes: object) -> bool:
    """Whether letters such as LPS say where i, j and k run closest to."""
    ways = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
    named = [ways[letter] for letter in codes if letter in ways] if isinstance(codes, str) else []
    if sorted(row for row, _ in named) != [0, 1, 2]:
        return False
    turned = np.zeros((3, 3))
    for axis, (row, sign) in enumerate(named):
        turned[:, row] = sign * directions[:, axis]
    return is_ras(turned)


def row_text(numbers: Iterable[Any]) -> str:
    """Return numbers as a finding shows them."""
    return " ".join(f"{number:.6g}" for number in numbers)


def matrix_text(matrix: npt.NDArray[np.float64]) -> str:
    """Return the upper three rows of an affine as a finding shows them."""
    return "; ".join(row_text(row) for row in matrix[:3])


def corners(shape: Sequence[int], affine: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the millimetres of the eight outermost voxel centres, shape (8, 3)."""
    ends = np.array([[*index, 1] for index in itertools.product(*((0, n - 1) for n in shape[:3]))])
    placed: npt.NDArray[np.float64] = (ends @ affine.T)[:, :3]
    return placed
