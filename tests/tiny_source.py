"""Tiny made-up studies on disk, with a person's name in every usual place, for tests of index and plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, RTStructureSetStorage

PERSON = "DOE_JANE"
"""Stands in names, identifiers, descriptions and paths; nothing that is said aloud may hold it."""

AXIAL = (1, 0, 0, 0, 1, 0)


@dataclass(frozen=True, slots=True)
class Person:
    """A subject by number, so that tests can make as many as they need."""

    number: int = 0

    @property
    def patient_id(self) -> str:
        return f"{PERSON}{self.number}"

    @property
    def study_uid(self) -> str:
        return f"1.2.{self.number + 1}"

    def series_uid(self, series: int) -> str:
        return f"{self.study_uid}.{series}"


def _save(dataset: Dataset, path: Path) -> Path:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def _named(person: Person, series: int, instance: int, described: str) -> Dataset:
    dataset = Dataset()
    dataset.SOPInstanceUID = f"{person.series_uid(series)}.{instance}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = person.study_uid, person.series_uid(series)
    dataset.PatientName, dataset.PatientID = f"{PERSON}^{person.number}", person.patient_id
    dataset.ReferringPhysicianName, dataset.StudyDescription = PERSON, f"for {PERSON}"
    dataset.SeriesNumber, dataset.SeriesDescription = series, described
    return dataset


def write_series(
    folder: Path,
    person: Person,
    *,
    series: int = 1,
    described: str = "abdomen",
    count: int = 10,
    **facts: Any,
) -> list[Path]:
    """Write an axial series of 4 x 4 voxels, 3 mm apart; `facts` replace or add elements."""
    paths = []
    for number in range(count):
        dataset = _named(person, series, number + 1, described)
        dataset.Modality, dataset.SOPClassUID = "CT", CTImageStorage
        dataset.ImageType, dataset.FrameOfReferenceUID = (
            ["ORIGINAL", "PRIMARY", "AXIAL"],
            person.study_uid + ".0",
        )
        dataset.Rows = dataset.Columns = 4
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.PixelRepresentation = 15, 1
        dataset.PixelSpacing, dataset.SliceThickness = [1, 1], 3
        dataset.ImageOrientationPatient, dataset.ImagePositionPatient = list(AXIAL), [0, 0, 3 * number]
        dataset.InstanceNumber = number + 1
        dataset.RescaleIntercept, dataset.RescaleSlope = -1024, 1
        for keyword, value in facts.items():
            setattr(dataset, keyword, value)
        if dataset.Modality == "MR":
            dataset.SOPClassUID = MRImageStorage
        dataset.PixelData = bytes([number]) * 32
        paths.append(_save(dataset, folder / f"{number}"))
    return paths


def write_structures(path: Path, person: Person, *, drawn_on: int = 1) -> Path:
    """Write an RTSTRUCT without contours that refers to a series."""
    dataset = _named(person, 90, 1, "contours")
    dataset.Modality, dataset.SOPClassUID = "RTSTRUCT", RTStructureSetStorage
    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = person.series_uid(drawn_on)
    study.RTReferencedSeriesSequence = Items([series])
    frame.RTReferencedStudySequence = Items([study])
    dataset.ReferencedFrameOfReferenceSequence = Items([frame])
    dataset.StructureSetROISequence = dataset.ROIContourSequence = Items([])
    return _save(dataset, path)


def write_mask(path: Path) -> Path:
    """Write what is called like a mask; planning never looks into it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(path.name.encode())
    return path


def write_table(path: Path, lines: Sequence[str], head: str = "task,case,subject") -> Path:
    path.write_text("\n".join([head, *lines]) + "\n")
    return path


def write_task(root: Path, task: str, count: int = 4) -> Path:
    """Write a source of one task's folder: as many labelled CT subjects as asked for."""
    for number in range(count):
        folder = root / task / f"{PERSON}{number}"
        write_series(folder / "ct", Person(number))
        write_mask(folder / "label.nii.gz")
    return root
