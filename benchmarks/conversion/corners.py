"""Measure, through `curate convert --resample`, how far voxels come to lie from where their slices' headers put them.

    python benchmarks/conversion/corners.py ../shared/data/real/ct-ge-tilt [...] [--uneven]

Each real slice keeps its header, but its pixels become their own x, y and z in mm, in three series, which the command
converts and resamples. What a voxel then says is where the slices had it; where the affine puts it is where it has
come to lie. Measured are all voxels that slices cover, and those at the corners of slices by themselves. `--uneven`
moves the upper half of the slices apart first, so that a plain series is one of variable spacing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.misc import is_dicom
from pydicom.uid import ExplicitVRLittleEndian

Numbers = np.ndarray[Any, Any]

STRETCHED = 1.6
"""So many times as far apart lie the slices of the upper half."""

DIGITS = 0.01
"""Stored numbers are hundredths of a millimetre."""


def placed(folder: Path, *, uneven: bool) -> list[Dataset]:
    """Return a folder's slices along their normal."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and is_dicom(path)]
    slices = sorted(map(pydicom.dcmread, paths), key=along)
    middle, start = len(slices) // 2, position(slices[len(slices) // 2])
    for one in slices[middle:] if uneven else ():
        one.ImagePositionPatient = [f"{x:.6f}"[:16] for x in start + (position(one) - start) * STRETCHED]
    return slices


def axes(one: Dataset) -> tuple[Numbers, Numbers]:
    """Return row and column direction of a slice, LPS+."""
    row, column = np.split(np.array(one.ImageOrientationPatient, float), 2)
    return row, column


def position(one: Dataset) -> Numbers:
    """Return the place of a slice's first pixel in mm, LPS+."""
    return np.array(one.ImagePositionPatient, float)


def along(one: Dataset) -> float:
    """Return a slice's place along its normal in mm."""
    return float(np.dot(np.cross(*axes(one)), position(one)))


def millimetres(one: Dataset) -> Numbers:
    """Return where a slice's header puts its pixels, shape (rows, columns, 3), RAS+ mm (PS3.3 C.7.6.2.1.1)."""
    row, column = axes(one)
    between_rows, between_columns = map(float, one.PixelSpacing)
    across = np.arange(one.Columns)[np.newaxis, :, np.newaxis] * between_columns * row
    down = np.arange(one.Rows)[:, np.newaxis, np.newaxis] * between_rows * column
    return (position(one) + across + down) * [-1, -1, 1]


def write(slices: Sequence[Dataset], folder: Path, axis: int) -> None:
    """Write slices whose pixels are their own place along an axis."""
    folder.mkdir()
    for number, one in enumerate(slices):
        one.PixelData = np.rint(millimetres(one)[..., axis] / DIGITS).astype("<i4").tobytes()
        one["PixelData"].VR = "OW"
        one.BitsAllocated = one.BitsStored = 32
        one.HighBit, one.PixelRepresentation = 31, 1
        one.RescaleSlope, one.RescaleIntercept, one.Modality = str(DIGITS), "0", "CT"
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.PatientID = one.get("PatientID") or "4711"
        one.save_as(folder / f"{number:04d}")


class RefusedError(Exception):
    """The command made nothing of a series, and said why."""


def converted(source: Path, target: Path) -> tuple[Numbers, Numbers]:
    """Return what the command makes of a folder: voxels and affine."""
    curate = str(Path(sys.executable).with_name("curate"))
    options = ["--resample", "--json", "--unscreened", "pixels are millimetres"]
    command = [curate, "convert", str(source), "-o", str(target), *options]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode == 3:
        raise RefusedError(", ".join(row["code"] for row in json.loads(done.stdout)["refused"]))
    done.check_returncode()
    (path,) = target.rglob("image.nii.gz")
    image = nibabel.load(path)
    return np.asanyarray(image.dataobj).astype(float), image.affine


def covered(slices: Sequence[Dataset], places: Numbers) -> Numbers:
    """Return which places, shape (..., 3) in RAS+ mm, lie on a slice, or between two that both cover them."""
    lps = places * [-1, -1, 1]
    normal, heights = np.cross(*axes(slices[0])), np.array([along(one) for one in slices])
    height = lps @ normal
    above = np.clip(np.searchsorted(heights, height - 1e-3), 0, len(slices) - 1)
    is_on = np.abs(heights[above] - height) < 1e-3
    below = np.where(is_on, above, np.maximum(above - 1, 0))
    within = (height > heights[0] - 1e-3) & (height < heights[-1] + 1e-3)
    row, column = axes(slices[0])
    between_rows, between_columns = map(float, slices[0].PixelSpacing)
    ends = (row, between_columns * (slices[0].Columns - 1)), (column, between_rows * (slices[0].Rows - 1))
    firsts = np.array([position(one) for one in slices])
    for which in (below, above):
        offset = lps - firsts[which]
        for axis, end in ends:
            within &= (offset @ axis > -1e-6) & (offset @ axis < end + 1e-6)
    return within


def measured(slices: Sequence[Dataset], said: Numbers, affine: Numbers) -> tuple[float, float, int]:
    """Return how far voxels lie off in mm, at most: all that are covered, those near corners; and their number."""
    worst, worst_corner, count = 0.0, 0.0, 0
    corners = np.concatenate(
        [millimetres(one)[:: one.Rows - 1, :: one.Columns - 1].reshape(-1, 3) for one in slices]
    )
    reach = float(np.linalg.norm(affine[:3, :3].sum(axis=1)))
    for k in range(said.shape[3]):
        index = np.stack(np.meshgrid(*map(np.arange, said.shape[1:3]), [k], indexing="ij"), axis=-1)[:, :, 0]
        places = index @ affine[:3, :3].T + affine[:3, 3]
        inside = covered(slices, places)
        off = np.linalg.norm(np.moveaxis(said[..., k], 0, -1) - places, axis=-1)
        count += int(inside.sum())
        worst = max(worst, float(off[inside].max(initial=0)))
        for corner in corners:
            near = inside & (np.linalg.norm(places - corner, axis=-1) < reach)
            worst_corner = max(worst_corner, float(off[near].max(initial=0)))
    return worst, worst_corner, count


def main() -> int:
    """Print one line a series; 1 when a voxel lies more than 0.1 mm off."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    words.add_argument("series", type=Path, nargs="+")
    words.add_argument("--uneven", action="store_true")
    asked = words.parse_args()
    is_off = False
    for folder in asked.series:
        slices = placed(folder, uneven=asked.uneven)
        try:
            with tempfile.TemporaryDirectory() as place:
                made = []
                for axis in range(3):
                    write(slices, Path(place, f"in{axis}"), axis)
                    made.append(converted(Path(place, f"in{axis}"), Path(place, f"out{axis}")))
        except RefusedError as refusal:
            print(f"{folder}: {len(slices)} slices, refused: {refusal}")
            continue
        worst, corner, count = measured(slices, np.stack([data for data, _ in made]), made[0][1])
        is_off = is_off or worst > 0.1
        what = f"{len(slices)} slices, {count} voxels"
        print(f"{folder}: {what}; at most {worst:.4f} mm off, {corner:.4f} near corners", flush=True)
    return int(is_off)


if __name__ == "__main__":
    sys.exit(main())
