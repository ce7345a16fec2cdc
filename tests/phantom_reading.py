"""Readers of the phantom that share no code with what made it."""

from __future__ import annotations

import io
import json
import tarfile
import warnings
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pydicom
from pydicom import Dataset


def loose(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield every file below a folder, archives opened, with its place."""
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                yield from ((f"{path.name}/{name}", archive.read(name)) for name in archive.namelist())
        elif path.name.endswith(".tar.gz"):
            with tarfile.open(path) as packed:
                for member in packed:
                    stream = packed.extractfile(member)
                    assert stream is not None
                    yield f"{path.name}/{member.name}", stream.read()
        elif path.is_file():
            yield path.relative_to(folder).as_posix(), path.read_bytes()


@dataclass(frozen=True)
class Phantom:
    folder: Path

    @cached_property
    def truth(self) -> Mapping[str, Any]:
        document: dict[str, Any] = json.loads((self.folder / "truth/truth.json").read_text())
        return document

    @cached_property
    def identities(self) -> set[str]:
        return set((self.folder / "truth/identities.txt").read_text().splitlines())

    @cached_property
    def files(self) -> dict[str, bytes]:
        return dict(loose(self.folder / "source"))

    @cached_property
    def datasets(self) -> dict[str, Dataset]:
        """Every DICOM file by its place, as pydicom reads it; a warning is an error."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return {
                name: pydicom.dcmread(io.BytesIO(content))
                for name, content in self.files.items()
                if content[128:132] == b"DICM"
            }

    @cached_property
    def series(self) -> dict[str, list[Dataset]]:
        found: dict[str, list[Dataset]] = defaultdict(list)
        for dataset in self.datasets.values():
            if "SeriesInstanceUID" in dataset:
                found[str(dataset.SeriesInstanceUID)].append(dataset)
        return found

    def subjects(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for task, content in self.truth["tasks"].items():
            yield from ((task, subject) for subject in content["subjects"])

    def load(self, file: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
        image = nib.Nifti1Image.from_filename(self.folder / "truth" / file)
        return np.asarray(image.dataobj), np.asarray(image.affine)


def normal_of(image: Dataset) -> npt.NDArray[np.float64]:
    """Return the unit vector across the slices, LPS+."""
    row, column = np.split(np.array(image.ImageOrientationPatient, dtype=np.float64), 2)
    return np.cross(row, column)


def along_normal(image: Dataset) -> float:
    """Return a slice's place along its normal in mm."""
    return float(np.dot(normal_of(image), image.ImagePositionPatient))


def read_by_hand(slices: list[Dataset]) -> nib.Nifti1Image:
    """Return a series as the standard says (PS3.3 C.7.6.2.1.1), closest to RAS+; shape (I, J, K), float64."""
    row, column = np.split(np.array(slices[0].ImageOrientationPatient, dtype=float), 2)
    ordered = sorted(slices, key=along_normal)
    first, last = (np.array(ordered[end].ImagePositionPatient, dtype=float) for end in (0, -1))
    affine = np.eye(4)
    affine[:3, 0] = row * float(slices[0].PixelSpacing[1])
    affine[:3, 1] = column * float(slices[0].PixelSpacing[0])
    affine[:3, 2] = (last - first) / (len(slices) - 1)
    affine[:3, 3] = first
    values = [
        s.pixel_array * float(s.get("RescaleSlope", 1)) + float(s.get("RescaleIntercept", 0)) for s in ordered
    ]
    stack = np.stack(values, axis=-1).transpose(1, 0, 2).astype(np.float64)
    closest: nib.Nifti1Image = nib.as_closest_canonical(
        nib.Nifti1Image(stack, np.diag([-1, -1, 1, 1]) @ affine)
    )
    return closest
