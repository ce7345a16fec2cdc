"""Files to volumes by dcm2niix, a third reader that knows makers' private elements."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK

SECONDS = 600
"""One series takes dcm2niix a few seconds."""


def program() -> str | None:
    """Return where dcm2niix is: beside this Python, where the extra put it, or on the path."""
    return shutil.which("dcm2niix", path=str(Path(sys.executable).parent)) or shutil.which("dcm2niix")


def volumes(
    files: Sequence[Path], scratch: Path
) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[np.float64]]]:
    """Yield each volume that dcm2niix makes of the files: shape (I, J, K), and affine to RAS+ mm.

    Philips' numbers are taken with their DICOM rescale. Nothing is yielded where it fails, or a file is no DICOM file.
    """
    found = program()
    if found is None or not all(map(_is_dicom, files)):
        return
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        source, made = Path(folder, "in"), Path(folder, "out")
        source.mkdir()
        made.mkdir()
        for number, path in enumerate(files):
            (source / f"{number:06d}.dcm").symlink_to(path.resolve())
        words = [found, "-z", "n", "-b", "n", "-p", "n", "-f", "%s_%r", "-o", str(made), str(source)]
        try:
            subprocess.run(words, check=False, capture_output=True, timeout=SECONDS)  # noqa: S603 - no shell, our own words
        except subprocess.TimeoutExpired:
            return
        for path in sorted(made.glob("*.nii")):
            yield from _read(path)


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _read(path: Path) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[np.float64]]]:
    image = SimpleITK.ReadImage(str(path))
    size = image.GetDimension()
    axes = np.array(image.GetDirection()).reshape(size, size)[:3, :3] * np.array(image.GetSpacing()[:3])
    affine = np.eye(4)
    affine[:3] = np.column_stack([axes, image.GetOrigin()[:3]]) * np.array([[-1.0], [-1.0], [1.0]])
    data = SimpleITK.GetArrayFromImage(image)
    for volume in data.reshape(-1, *data.shape[-3:]):
        yield volume.transpose(), affine
