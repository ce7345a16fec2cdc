"""What a task's rules had changed in a channel's pixels, as its notes say: text covered, a face emptied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.secondreader.reading import Slice

Notes = Mapping[str, Mapping[str, Any]]
"""The last note of each room on a channel."""


def is_covered(notes: Notes) -> bool:
    """Whether text was covered in the slices, before anything else was done to them."""
    return "covered" in notes.get("screen", {})


def is_defaced(notes: Notes) -> bool:
    """Whether a face was taken away, on the finished grid."""
    return notes.get("face", {}).get("treatment") == "deface"


def covered(slices: Sequence[Slice], notes: Notes) -> list[Slice]:
    """Return slices, in the order of the plan, with the noted places covered by what is the smallest stored number."""
    changed = list(slices)
    falls = any(float(part.get("slope", 1)) < 0 for part in notes.get("convert", {}).get("rescale", ()))
    ends = [one.values.max() if falls else one.values.min() for one in slices]
    for place in notes["screen"]["covered"]["places"] if is_covered(notes) else ():
        (top, bottom), (left, right) = place["rows"], place["columns"]
        for number in range(len(slices)) if place["slices"] == "all" else place["slices"]:
            values = changed[number].values.copy()
            values[top:bottom, left:right] = ends[number]
            changed[number] = replace(changed[number], values=values)
    return changed


@dataclass(frozen=True, slots=True)
class Spared:
    """How many voxels may have one of these values, whatever the second reader finds there."""

    values: tuple[float, ...]
    most: int

    def among(self, released: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Return which voxels have one of the values."""
        return np.isin(released, np.array(self.values, dtype=np.float64))


def spared(notes: Notes, released: npt.NDArray[Any]) -> Spared:
    """Return what padding became and a face was emptied to, and how many voxels are noted of both."""
    padding = notes.get("convert", {}).get("padding", {})
    values, most = [float(padding.get("becomes", "nan"))], int(padding.get("voxels", 0))
    if is_defaced(notes):
        values.append(float(released.min()))
        most += int(notes["face"]["removed_voxels"])
    return Spared(tuple(values), most)
