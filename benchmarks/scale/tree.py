"""Write a synthetic tree of tiny DICOM files: every instance is another one, and none of it is anybody's.

python benchmarks/scale/tree.py FOLDER --files 10000
"""

from __future__ import annotations

import argparse
import os
from io import BytesIO
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

TASK = "Task11_Many"
SLICES = 49
"""Slices a case; with its mask it has 50 files, so 1,000,000 files are 20,000 cases."""


_CASE, _SLICE, _PLACE = "1000000", "1000", "00000.0"
"""What of the template is another in each file; always as long as here."""


def template() -> bytes:
    """Return one slice, with the three placeholders above in its elements."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.Modality = CTImageStorage, "CT"
    dataset.SOPInstanceUID = f"1.2.3.{_CASE}.1.{_SLICE}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"1.2.3.{_CASE}", f"1.2.3.{_CASE}.1"
    dataset.FrameOfReferenceUID = f"1.2.3.{_CASE}.2"
    dataset.PatientID, dataset.PatientName = f"P{_CASE}", f"N{_CASE}"
    dataset.ImageType, dataset.SeriesDescription = ["ORIGINAL", "PRIMARY", "AXIAL"], "abdomen"
    dataset.Rows = dataset.Columns = 4
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 1
    dataset.PixelSpacing, dataset.SliceThickness, dataset.SeriesNumber = [1, 1], 3, 1
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.ImagePositionPatient = ["0", "0", _PLACE]
    dataset.RescaleIntercept, dataset.RescaleSlope = -1024, 1
    dataset.PixelData = bytes(range(32))
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def write(folder: Path, files: int) -> int:
    """Write a task's folder with that many files, 50 a case; return how many cases there are."""
    parts = template()
    cases = files // (SLICES + 1)
    for case in range(cases):
        # A folder with 20,000 folders is slow to list on some file systems.
        place = folder / TASK / f"{case // 1000:03}" / f"subject{case:06}"
        place.mkdir(parents=True)
        own = parts.replace(_CASE.encode(), f"{int(_CASE) + case}".encode())
        for number in range(SLICES):
            content = own.replace(f".1.{_SLICE}".encode(), f".1.{int(_SLICE) + number}".encode())
            content = content.replace(_PLACE.encode(), f"{3 * number:07.1f}".encode())
            descriptor = os.open(place / f"{number:03}", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            os.write(descriptor, content)
            os.close(descriptor)
        (place / "label.nii.gz").write_bytes(f"mask {case}".encode())
    return cases


if __name__ == "__main__":
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("folder", type=Path)
    words.add_argument("--files", type=int, default=10_000)
    asked = words.parse_args()
    print(write(asked.folder, asked.files), "cases")
