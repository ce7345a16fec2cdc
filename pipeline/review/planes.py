"""Choose the planes of a case that a contact sheet shows, and lay each out as it is looked at.

Screens are read as radiologists read them: the patient's right on the left, the front or the head on top.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

AXIAL, CORONAL, SAGITTAL = 2, 1, 0
"""The voxel axis, of RAS+ voxels, along which a plane of that name is cut."""

_LETTERS = {AXIAL: "RLAP", CORONAL: "RLSI", SAGITTAL: "APSI"}
_MARGIN = 0.35
"""Of the label's extent: how much of its surroundings a close-up shows on each side."""
_MARGIN_MM = 10.0

Box = tuple[slice, slice, slice]
Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Plane:
    """One cut: along which axis, at which index, and how much of it is shown."""

    axis: int
    index: int
    box: Box

    @property
    def letters(self) -> str:
        """What lies left, right, top and bottom."""
        return _LETTERS[self.axis]

    def cut(self, voxels: Array) -> Array:
        """Return (rows, columns) of (I, J, K) voxels as the screen shows them."""
        place: list[int | slice] = list(self.box)
        place[self.axis] = self.index
        shown: Array = voxels[tuple(place)].T[::-1, ::-1]
        return shown

    def size_mm(self, spacing_mm: Sequence[float]) -> tuple[float, float]:
        """Return width and height."""
        across, up = (axis for axis in range(3) if axis != self.axis)
        sizes = {
            axis: (self.box[axis].stop - self.box[axis].start) * spacing_mm[axis] for axis in (across, up)
        }
        return sizes[across], sizes[up]


def extent(label: Array | None, shape: Sequence[int]) -> Box:
    """Return the smallest box that holds every labelled voxel; everything where there is none."""
    whole = _box([(0, size) for size in shape[:3]])
    if label is None:
        return whole
    labelled = label > 0
    sides = []
    for axis in range(3):
        found = np.flatnonzero(labelled.any(axis=tuple(other for other in range(3) if other != axis)))
        sides.append((int(found[0]), int(found[-1]) + 1) if found.size else (0, shape[axis]))
    return _box(sides)


def _box(sides: Sequence[tuple[int, int]]) -> Box:
    first, second, third = (slice(low, high) for low, high in sides)
    return first, second, third


def surroundings(box: Box, shape: Sequence[int], spacing_mm: Sequence[float]) -> Box:
    """Return a box with a margin on each side, within the volume."""
    sides = []
    for part, size, step in zip(box, shape, spacing_mm, strict=False):
        margin = int(np.ceil(max(_MARGIN * (part.stop - part.start), _MARGIN_MM / step)))
        sides.append((max(part.start - margin, 0), min(part.stop + margin, size)))
    return _box(sides)


def planes(labelled: Box, shown: Box, axial: int) -> list[Plane]:
    """Return axial planes evenly over the labelled extent, feet first, then the coronal and the sagittal mid-plane.

    A label thinner than that many slices is shown with its neighbours.
    """
    low, high = _widened(labelled[AXIAL], shown[AXIAL], axial)
    indices = np.linspace(low, high - 1, min(axial, high - low)).round().astype(int)
    middle = [(part.start + part.stop - 1) // 2 for part in labelled]
    cuts = [(AXIAL, int(k)) for k in indices] + [(axis, middle[axis]) for axis in (CORONAL, SAGITTAL)]
    return [Plane(axis, index, shown) for axis, index in cuts]


def _widened(part: slice, within: slice, wanted: int) -> tuple[int, int]:
    lack = max(wanted - (part.stop - part.start), 0)
    low = max(part.start - lack // 2, within.start)
    high = min(max(part.stop, low + wanted), within.stop)
    return max(min(low, high - wanted), within.start), high
