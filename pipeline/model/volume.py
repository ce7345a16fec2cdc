"""Voxels with their place in millimetres."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

Affine = npt.NDArray[np.float64]
"""4 x 4, from voxel indices (i, j, k, 1) to RAS+ millimetres (x, y, z, 1)."""

GRID_TOLERANCE_MM = 1e-3
"""Two grids are one when no corner differs by more than this many millimetres."""


class Quantity(StrEnum):
    """What a voxel's number means."""

    HOUNSFIELD = "hounsfield"
    """CT, in Hounsfield units."""
    ADC = "adc"
    """Apparent diffusion coefficient, in the units of its DICOM rescale."""
    ACTIVITY = "activity"
    """PET, in Bq/ml."""
    SUV = "suv"
    """PET, standardised uptake value by body weight, in g/ml."""
    OTHER_QUANTITATIVE = "other_quantitative"
    """Another measured quantity (T1 map, perfusion parameter, ...), kept as it is."""
    ARBITRARY = "arbitrary"
    """MRI magnitude: the number means nothing across scanners."""

    @property
    def is_quantitative(self) -> bool:
        """Whether the number may be compared across scanners, and so must not be rescaled."""
        return self is not Quantity.ARBITRARY


@dataclass(frozen=True, slots=True)
class Linear:
    """How stored numbers become values: times slope, plus intercept.

    `first` and `last` are the stored numbers for which this holds; None: for all.
    """

    slope: float = 1.0
    intercept: float = 0.0
    first: float | None = None
    last: float | None = None


@dataclass(frozen=True, slots=True)
class Lookup:
    """How stored numbers become values: the stored number `first` is `values[0]`, the next one `values[1]`, ..."""

    first: int
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Measure:
    """What the numbers of a stack measure, and by what evidence.

    `scales` holds what makes each slice's values, in the order the slices were given; none where the slices' own
    Modality LUT does. `facts` go into the note of the conversion.
    """

    quantity: Quantity
    scales: Sequence[Linear | Lookup] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


def corners(shape: tuple[int, ...], affine: Affine) -> npt.NDArray[np.float64]:
    """Return the RAS+ millimetres of the eight outermost voxel centres, shape (8, 3)."""
    ends = np.array(
        [[i, j, k, 1] for i in (0, shape[0] - 1) for j in (0, shape[1] - 1) for k in (0, shape[2] - 1)]
    )
    placed: npt.NDArray[np.float64] = (ends @ affine.T)[:, :3]
    return placed


def corner_distance(shape: tuple[int, ...], first: Affine, second: Affine) -> float:
    """Return the largest distance in mm between the same corner placed by two affines."""
    return float(np.linalg.norm(corners(shape, first) - corners(shape, second), axis=1).max())


def spans_space(affine: Affine) -> bool:
    """Whether the three axes of an affine are finite and span a volume."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > np.prod(lengths) / 1000)


Orientation = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""For x, y and z in turn: the voxel axis along it, and whether it runs towards R, A, S (1) or away (-1)."""

TIE_TOLERANCE = 1e-6
"""Direction cosines that differ by less count as equal, so that rounding never decides between two axes."""


def orientation(affine: Affine) -> Orientation:
    """Return which voxel axis runs closest along each of R, A and S, and in which direction.

    The closest pair of axes is matched first, then the next among those left (as nibabel does). Between
    pairs equally close (an axis at 45 degrees) voxel axis and world axis of the same number win, then
    lower numbers, so that an oriented volume stays as it is.
    """
    columns = np.asarray(affine, dtype=np.float64)[:3, :3]
    cosines = columns / np.sqrt((columns * columns).sum(axis=0))
    found: dict[int, tuple[int, int]] = {}
    while len(found) < 3:
        used = {axis for axis, _ in found.values()}
        pairs = [
            (world, axis) for world in range(3) if world not in found for axis in range(3) if axis not in used
        ]
        best = max(abs(cosines[pair]) for pair in pairs)
        close = [pair for pair in pairs if abs(cosines[pair]) > best - TIE_TOLERANCE]
        world, axis = min(close, key=lambda pair: (pair[0] != pair[1], pair))
        found[world] = (axis, 1 if cosines[world, axis] > 0 else -1)
    return found[0], found[1], found[2]


def axis_codes(affine: Affine) -> str:
    """Return where the voxel axes i, j and k point, one letter each of R, L, A, P, S or I, such as `RAS`."""
    letters = {
        axis: pair[way < 0] for pair, (axis, way) in zip(("RL", "AP", "SI"), orientation(affine), strict=True)
    }
    return letters[0] + letters[1] + letters[2]


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
        return (
            self.shape == other.shape
            and corner_distance(self.shape, self.affine, other.affine) <= tolerance_mm
        )


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """Voxels of shape (I, J, K) on a grid; read-only, so that a room can only hand on a new one."""

    data: npt.NDArray[Any]
    affine: Affine
    quantity: Quantity = Quantity.ARBITRARY

    def __post_init__(self) -> None:
        grid = Grid(self.data.shape, self.affine)
        data = self.data.view()
        data.setflags(write=False)
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "affine", grid.affine)

    @property
    def grid(self) -> Grid:
        """The grid the voxels lie on."""
        return Grid(self.data.shape, self.affine)


_VALUE_NAME = re.compile(r"value (-?\d+)")


def value_name(value: int) -> str:
    """Return the name of the mask of one value of a label map."""
    return f"value {value}"


def named_value(name: str) -> int | None:
    """Return the value that `value_name` was given, None for any other name."""
    match = _VALUE_NAME.fullmatch(name)
    return int(match[1]) if match else None


def distinct_names(names: Sequence[str]) -> list[str]:
    """Return a key for each name: itself, or with its place where it is empty, shared, or like a value's."""
    stripped = [name.strip() for name in names]
    count = Counter(stripped)
    keys = []
    for place, name in enumerate(stripped, start=1):
        key = name if name and count[name] == 1 and named_value(name) is None else f"{name} #{place}".strip()
        while key in keys or (key != name and key in count):
            key += "'"
        keys.append(key)
    return keys


@dataclass(frozen=True, slots=True, eq=False)
class LabelMap(Mapping[str, npt.NDArray[np.bool_]]):
    """Masks of a label map, each cut out when asked for: many values need not fit into memory as masks.

    `layers` has shape (L, I, J, K) and whole numbers; `places` maps a mask's name to its layer and value.
    """

    layers: npt.NDArray[Any]
    places: Mapping[str, tuple[int, int]]

    def __getitem__(self, name: str) -> npt.NDArray[np.bool_]:
        layer, value = self.places[name]
        mask: npt.NDArray[np.bool_] = self.layers[layer] == value
        return mask

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


@dataclass(frozen=True, slots=True, eq=False)
class Annotation:
    """An expert's drawing: named boolean masks, all on one grid, as read, before any class is given.

    `masks` maps a name (ROI name, segment label, or `value N` of a label map) to a boolean array of the
    grid's shape (I, J, K). Masks may overlap. `codes` gives a mask's codes, `SCHEME:VALUE`, where it has any;
    `names` the name as drawn where the mask's own is another, because several share it (`distinct_names`).
    `is_part` says that the grid may be a part of the image's, as whoever drew it declared.
    """

    masks: Mapping[str, npt.NDArray[np.bool_]]
    grid: Grid
    codes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    is_part: bool = False

    def __post_init__(self) -> None:
        for mask in self.masks.values():
            if mask.shape != self.grid.shape or mask.dtype != np.bool_:
                raise ValueError("every mask is boolean and has the grid's shape")


@dataclass(frozen=True, slots=True, eq=False)
class Move:
    """How an image is placed anew without a change to its voxels: an affine from RAS+ mm to RAS+ mm, rigid."""

    affine: Affine = field(default_factory=lambda: np.eye(4))

    def after(self, first: Move) -> Move:
        """Return the move that does `first`, then this one."""
        return Move(self.affine @ first.affine)

    def volume(self, volume: Volume) -> Volume:
        """Return a volume at its new place; itself where nothing moves."""
        return volume if self._is_still else replace(volume, affine=self.affine @ volume.affine)

    def annotation(self, drawn: Annotation) -> Annotation:
        """Return a drawing that moves with its image."""
        if self._is_still:
            return drawn
        return replace(drawn, grid=Grid(drawn.grid.shape, self.affine @ drawn.grid.affine))

    @property
    def _is_still(self) -> bool:
        return np.array_equal(self.affine, np.eye(4))
