"""Slices with known voxels at known places, as DICOM files, classic or in one enhanced file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedMRImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
OBLIQUE = (0.8, 0.6, 0.0, 0.0, 0.0, -1.0)
"""Rows in the axial plane, 37 degrees off; columns from head to feet."""


@dataclass(frozen=True)
class Source:
    """Stored numbers of shape (columns, rows, slices) and where their slices lie, LPS+ mm."""

    stored: npt.NDArray[np.uint16]
    orientation: tuple[float, ...] = OBLIQUE
    spacing: tuple[float, float] = (1.5, 0.75)
    step: float = 2.0
    slopes: Sequence[float] = (1.0,)

    @property
    def affine(self) -> npt.NDArray[np.float64]:
        """From (column, row, slice) to RAS+ mm."""
        row, column = np.array(self.orientation[:3]), np.array(self.orientation[3:])
        affine = np.eye(4)
        affine[:3, 0], affine[:3, 1] = row * self.spacing[1], column * self.spacing[0]
        affine[:3, 2], affine[:3, 3] = np.cross(row, column) * self.step, (10.5, -20.25, 30)
        return TO_RAS @ affine

    @property
    def values(self) -> npt.NDArray[np.float64]:
        slopes = np.resize(np.array(self.slopes), self.stored.shape[2])
        return self.stored * slopes - 1024.0

    def position(self, k: int) -> list[float]:
        return [float(x) for x in (TO_RAS @ self.affine @ [0, 0, k, 1])[:3]]

    def _base(self) -> Dataset:
        dataset = Dataset()
        dataset.Modality, dataset.SOPClassUID, dataset.SOPInstanceUID = "CT", CTImageStorage, "1.2.3"
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.Columns, dataset.Rows = self.stored.shape[:2]
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.PixelRepresentation = 15, 0
        return dataset

    def write(self, folder: Path, **elements: Any) -> list[Path]:
        """Write one file a slice, in no order of their places; `elements` replace or add some."""
        paths = []
        for k in np.random.default_rng(7).permutation(self.stored.shape[2]).tolist():
            dataset = self._base()
            dataset.PixelSpacing, dataset.ImageOrientationPatient = list(self.spacing), list(self.orientation)
            dataset.ImagePositionPatient, dataset.SliceThickness = self.position(k), 9
            dataset.RescaleSlope, dataset.RescaleIntercept = self.slopes[k % len(self.slopes)], -1024
            dataset.SOPInstanceUID = f"1.2.3.{k}"
            for keyword, value in elements.items():
                setattr(dataset, keyword, value)
            dataset.PixelData = self.stored[:, :, k].T.tobytes()
            paths.append(_save(dataset, folder / f"{len(paths)}", ExplicitVRLittleEndian))
        return paths

    def write_enhanced(self, path: Path, *, is_implicit: bool = False) -> Path:
        """Write all slices as frames of one MR file, the last one first, each with place and rescale of its own."""
        dataset = self._base()
        order = list(reversed(range(self.stored.shape[2])))
        dataset.Modality, dataset.SOPClassUID = "MR", EnhancedMRImageStorage
        dataset.NumberOfFrames = len(order)
        shared = Dataset()
        shared.PixelMeasuresSequence = [_item(PixelSpacing=list(self.spacing), SliceThickness=9)]
        shared.PlaneOrientationSequence = [_item(ImageOrientationPatient=list(self.orientation))]
        dataset.SharedFunctionalGroupsSequence = [shared]
        dataset.PerFrameFunctionalGroupsSequence = []
        for k in order:
            own = Dataset()
            own.PlanePositionSequence = [_item(ImagePositionPatient=self.position(k))]
            slope = self.slopes[k % len(self.slopes)]
            own.PixelValueTransformationSequence = [
                _item(RescaleSlope=slope, RescaleIntercept=-1024, RescaleType="US")
            ]
            dataset.PerFrameFunctionalGroupsSequence.append(own)
        dataset.PixelData = b"".join(self.stored[:, :, k].T.tobytes() for k in order)
        return _save(dataset, path, ImplicitVRLittleEndian if is_implicit else ExplicitVRLittleEndian)


def _item(**elements: Any) -> Dataset:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def _save(dataset: Dataset, path: Path, syntax: str) -> Path:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def ramp(columns: int = 5, rows: int = 4, slices: int = 3) -> npt.NDArray[np.uint16]:
    """Return numbers that are all different, so that no exchange of two voxels hides."""
    return np.arange(columns * rows * slices, dtype=np.uint16).reshape(columns, rows, slices) + 900
