"""Voxels with their place in millimetres."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

Affine = npt.NDArray[np.float64]
"""4 x 4, from voxel indices (i, j, k, 1) to RAS+ millimetres (x, y, z, 1)."""

GRID_TOLERANCE_MM = 1e-3
"""Two grids are one when no corner differs by more than this many millimetres."""


class Quantity(str, Enum):
    """What a voxel's number means."""

    HOUNSFIELD = "hounsfield"
    """CT, in Hounsfield units."""
    ADC = "adc"
    """Apparent diffusion coefficient, in the units of its DICOM rescale."""
    ACTIVITY = "activity"
    """PET, in Bq/ml."""
    OTHER_QUANTITATIVE = "other_quantitative"
    """Another measured quantity (T1 map, perfusion parameter, ...), kept as it is."""
    ARBITRARY = "arbitrary"
    """MRI magnitude: the number means nothing across scanners."""

    @property
    def is_quantitative(self) -> bool:
        """Whether the number may be compared across scanners, and so must not be rescaled."""
        return self is not Quantity.ARBITRARY


def corners(shape: tuple[int, ...], affine: Affine) -> npt.NDArray[np.float64]:
    """Return the RAS+ millimetres of the eight outermost voxel centres, shape (8, 3)."""
    ends = np.array([[i, j, k, 1] for i in (0, shape[0] - 1) for j in (0, shape[1] - 1) for k in (0, shape[2] - 1)])
    placed: npt.NDArray[np.float64] = (ends @ affine.T)[:, :3]
    return placed


def corner_distance(shape: tuple[int, ...], first: Affine, second: Affine) -> float:
    """Return the largest distance in mm between the same corner placed by two affines."""
    return float(np.linalg.norm(corners(shape, first) - corners(shape, second), axis=1).max())


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Where voxels lie: shape (I, J, K) and affine to RAS+ mm."""

    shape: tuple[int, int, int]
    affine: Affine

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or len(self.shape) != 3 or min(self.shape) < 1:
            raise ValueError("a grid has three axes and a 4 x 4 affine")
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along i, j, k in mm."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in ml."""
        return float(abs(np.linalg.det(self.affine[:3, :3])) / 1000)

    def equals(self, other: Grid, tolerance_mm: float = GRID_TOLERANCE_MM) -> bool:
        """Whether both have the same shape and no corner differs by more than the tolerance."""
        return self.shape == other.shape and corner_distance(self.shape, self.affine, other.affine) <= tolerance_mm


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """Voxels of shape (I, J, K) on a grid; read-only, so that a room can only hand on a new one."""

    data: npt.NDArray[Any]
    affine: Affine
    quantity: Quantity = Quantity.ARBITRARY

    def __post_init__(self) -> None:
        grid = Grid(self.data.shape, self.affine)  # type: ignore[arg-type]
        data = self.data.view()
        data.setflags(write=False)
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "affine", grid.affine)

    @property
    def grid(self) -> Grid:
        """The grid the voxels lie on."""
        return Grid(self.data.shape, self.affine)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, eq=False)
class Annotation:
    """An expert's drawing: named boolean masks, all on one grid, as read, before any class is given.

    `masks` maps a name (ROI name, segment label, or `value N` of a label map) to a boolean array of the
    grid's shape (I, J, K). Masks may overlap.
    """

    masks: Mapping[str, npt.NDArray[np.bool_]]
    grid: Grid

    def __post_init__(self) -> None:
        for mask in self.masks.values():
            if mask.shape != self.grid.shape or mask.dtype != np.bool_:
                raise ValueError("every mask is boolean and has the grid's shape")
