"""Place the phantom's acquisitions: the header numbers as a scanner writes them, and the grid they mean."""

from __future__ import annotations

import math
from dataclasses import dataclass

import nibabel as nib
import numpy as np
import numpy.typing as npt

from pipeline.model.volume import Affine, Grid

Triple = tuple[float, float, float]

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""DICOM's millimetres run to the left and posterior (PS3.3 C.7.6.2.1.1), ours to the right and anterior."""

_BASES: dict[tuple[str, str], tuple[Triple, Triple]] = {
    ("axial", "HFS"): ((1, 0, 0), (0, 1, 0)),
    # Feet first, as some scanners write it: columns run to the right, so the normal points to the feet.
    ("axial", "FFS"): ((-1, 0, 0), (0, 1, 0)),
    ("sagittal", "HFS"): ((0, 1, 0), (0, 0, -1)),
    ("sagittal", "FFS"): ((0, -1, 0), (0, 0, -1)),
    ("coronal", "HFS"): ((1, 0, 0), (0, 0, -1)),
    ("coronal", "FFS"): ((-1, 0, 0), (0, 0, -1)),
}


def decimal_string(number: float) -> str:
    """Return a DS text of at most 16 characters (PS3.5 6.2) without needless zeros."""
    text = f"{number:.9f}".rstrip("0").rstrip(".")
    if len(text) > 16:
        raise ValueError("a decimal string has at most 16 characters")
    return "0" if text in ("-0", "") else text


def _written(values: npt.NDArray[np.float64]) -> Triple:
    x, y, z = (float(decimal_string(float(value))) for value in values)
    return x, y, z


def cosines(plane: str, position: str, tilt_deg: tuple[float, float] = (0.0, 0.0)) -> tuple[Triple, Triple]:
    """Return the direction of columns and rows (LPS+ unit vectors, as written with 9 decimals).

    `tilt_deg` turns the plane about the patient's left-right, then about the head-foot axis.
    """
    row, column = _BASES[plane, position]
    about_x, about_z = np.deg2rad(tilt_deg)
    cx, sx, cz, sz = math.cos(about_x), math.sin(about_x), math.cos(about_z), math.sin(about_z)
    turn = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    return _written(turn @ np.array(row)), _written(turn @ np.array(column))


@dataclass(frozen=True, slots=True)
class Acquisition:
    """Where the slices of one series lie; every number is the one that the header says.

    Shape is (columns, rows, slices); directions and origin are LPS+ (mm); `row_mm` and `column_mm` are the
    two values of PixelSpacing, the distance between rows and between columns.
    """

    shape: tuple[int, int, int]
    along_row: Triple
    along_column: Triple
    row_mm: float
    column_mm: float
    slice_mm: float
    origin: Triple
    position: str

    @property
    def normal(self) -> npt.NDArray[np.float64]:
        """Unit vector across the slices, LPS+."""
        return np.cross(np.array(self.along_row), np.array(self.along_column))

    @property
    def affine(self) -> Affine:
        """4 x 4 from (column, row, slice) to RAS+ mm."""
        affine = np.eye(4)
        affine[:3, 0] = np.array(self.along_row) * self.column_mm
        affine[:3, 1] = np.array(self.along_column) * self.row_mm
        affine[:3, 2] = self.normal * self.slice_mm
        affine[:3, 3] = self.origin
        placed: Affine = LPS_TO_RAS @ affine
        return placed

    @property
    def grid(self) -> Grid:
        """The grid of the stack, in the acquisition's own axis order."""
        return Grid(self.shape, self.affine)

    def slice_origin(self, k: int) -> Triple:
        """Return the centre of slice k's first voxel, LPS+ mm, as written."""
        return _written(np.array(self.origin) + k * self.slice_mm * self.normal)


def centred(
    shape: tuple[int, int, int],
    directions: tuple[Triple, Triple],
    *,
    spacing_mm: Triple,
    centre: Triple,
    position: str,
) -> Acquisition:
    """Return the acquisition whose middle lies at `centre` (LPS+ mm) within rounding.

    `spacing_mm` is the distance between columns, rows and slices.
    """
    column_mm, row_mm, slice_mm = spacing_mm
    row, column = (np.array(direction) for direction in directions)
    normal = np.cross(row, column)
    columns, rows, slices = ((n - 1) / 2 for n in shape)
    origin = (
        np.array(centre) - columns * column_mm * row - rows * row_mm * column - slices * slice_mm * normal
    )
    return Acquisition(
        shape,
        directions[0],
        directions[1],
        row_mm,
        column_mm,
        slice_mm,
        _written(np.round(origin, 4)),
        position,
    )


def to_ras(data: npt.NDArray[np.generic], affine: Affine) -> tuple[npt.NDArray[np.generic], Affine]:
    """Return the same voxels in the closest RAS+ axis order, with the affine that goes with it."""
    orientation = nib.orientations.io_orientation(affine)
    turned = nib.orientations.apply_orientation(data, orientation)
    return turned, affine @ nib.orientations.inv_ornt_aff(orientation, data.shape)


def half_turn(data: npt.NDArray[np.generic], affine: Affine) -> npt.NDArray[np.generic]:
    """Turn the voxels by 180 degrees in the patient's axial plane, in whatever order they are stored.

    The two axes closest to left-right and posterior-anterior are reversed; the header stays, and so becomes
    wrong.
    """
    orientation = nib.orientations.io_orientation(affine)
    turned = tuple(axis for axis in range(3) if int(orientation[axis, 0]) in (0, 1))
    flipped: npt.NDArray[np.generic] = np.flip(data, turned)
    return flipped
