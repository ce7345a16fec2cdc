"""Contours that an expert drew, as points in millimetres, before any voxel is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]
"""Corner points of one contour in RAS+ mm, shape (N, 3)."""

FARTHEST_MM = 1e5
"""No scanner's patient lies further from its origin; a coordinate beyond is damage."""


class Geometric(StrEnum):
    """What a contour's points mean (Contour Geometric Type, PS3.3 C.8.8.6.3)."""

    CLOSED_PLANAR = "CLOSED_PLANAR"
    """A closed polygon in one plane."""
    CLOSEDPLANAR_XOR = "CLOSEDPLANAR_XOR"
    """A closed polygon in one plane, combined with the others of the plane by exclusive or."""
    OPEN_PLANAR = "OPEN_PLANAR"
    """A line in one plane: no area."""
    OPEN_NONPLANAR = "OPEN_NONPLANAR"
    """A line in space: no area."""
    POINT = "POINT"
    """One point: no area."""
    OTHER = "OTHER"
    """A type that the standard does not define, or none."""

    @property
    def has_area(self) -> bool:
        """Whether voxels can lie inside."""
        return self in {Geometric.CLOSED_PLANAR, Geometric.CLOSEDPLANAR_XOR}


@dataclass(frozen=True, slots=True, eq=False)
class Contour:
    """One contour; a closed one does not repeat its first point."""

    points: Points
    kind: Geometric

    def __post_init__(self) -> None:
        points = np.array(self.points, dtype=np.float64).reshape(-1, 3)
        if not (np.abs(points) <= FARTHEST_MM).all():
            raise ValueError("a contour has finite points near the scanner")
        points.setflags(write=False)
        object.__setattr__(self, "points", points)


@dataclass(frozen=True, slots=True, eq=False)
class Roi:
    """One region of interest: its number, the name it was given, and its contours.

    `codes` are those of its observations, `SCHEME:VALUE`; `frame_of_reference_uid` is empty when not said.
    """

    number: int
    name: str
    contours: Sequence[Contour]
    codes: tuple[str, ...] = ()
    frame_of_reference_uid: str = ""


@dataclass(frozen=True, slots=True)
class References:
    """What a label object says it was drawn on: frames of reference, series and instances, each sorted."""

    frame_of_reference_uids: tuple[str, ...] = ()
    series_uids: tuple[str, ...] = ()
    sop_uids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Contours:
    """All regions of one structure set, in its order, and what they were drawn on."""

    rois: Sequence[Roi]
    refers_to: References = field(default_factory=References)
