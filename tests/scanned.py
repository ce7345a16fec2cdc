"""Series as scanners send them, made up: known values at known places, classic, enhanced, tiled, of several makers."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    EnhancedPETImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
)

TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
CLASSIC = {"CT": CTImageStorage, "MR": MRImageStorage, "PT": PositronEmissionTomographyImageStorage}
ENHANCED = {"CT": EnhancedCTImageStorage, "MR": EnhancedMRImageStorage, "PT": EnhancedPETImageStorage}
FRAME_TYPES = {
    "CT": "CTImageFrameTypeSequence",
    "MR": "MRImageFrameTypeSequence",
    "PT": "PETFrameTypeSequence",
}


def smooth(columns: int = 8, rows: int = 7, slices: int = 10) -> npt.NDArray[np.uint16]:
    """Return stored numbers of 12 bits that change little from slice to slice, no two slices alike."""
    i, j, k = np.indices((columns, rows, slices))
    wave = 1700 + 900 * np.sin(i / 3 + k / 9) + 600 * np.cos(j / 2 - k / 11)
    grain = (i * 7 + j * 13 + k * 5) % 11
    return (wave + grain).astype(np.uint16)


@dataclass(frozen=True)
class Scan:
    """Stored numbers, shape (columns, rows, slices), and where a scanner's header puts them, LPS+ mm.

    `shear` is the shift within the slice plane per mm along the normal, along row and column: a tilted gantry.
    `slopes` are dealt to the slices in turn.
    """

    stored: npt.NDArray[np.uint16] = field(default_factory=smooth)
    modality: str = "CT"
    orientation: tuple[float, ...] = (1, 0, 0, 0, 1, 0)
    spacing: tuple[float, float] = (1.5, 0.75)
    step: float = 3.0
    first: tuple[float, float, float] = (-30.5, -20.25, 40.0)
    shear: tuple[float, float] = (0.0, 0.0)
    slopes: Sequence[float] = (1.0,)
    intercept: float = -1024.0
    elements: Mapping[str, Any] = field(default_factory=dict)

    @property
    def affine(self) -> npt.NDArray[np.float64]:
        """From (column, row, slice) to RAS+ mm; sheared where the gantry is."""
        row, column = np.array(self.orientation[:3]), np.array(self.orientation[3:])
        along = np.cross(row, column) + self.shear[0] * row + self.shear[1] * column
        affine = np.eye(4)
        affine[:3] = np.stack(
            [row * self.spacing[1], column * self.spacing[0], along * self.step, self.first], axis=1
        )
        return TO_RAS @ affine

    @property
    def values(self) -> npt.NDArray[np.float64]:
        """What the stored numbers measure."""
        return self.stored * np.resize(np.array(self.slopes, float), self.stored.shape[2]) + self.intercept

    def position(self, k: int) -> list[float]:
        """Return ImagePositionPatient of slice k."""
        return [round(float(x), 6) for x in (TO_RAS @ self.affine @ [0, 0, k, 1])[:3]]

    def slope(self, k: int) -> float:
        """Return RescaleSlope of slice k."""
        return float(self.slopes[k % len(self.slopes)])

    def base(self) -> Dataset:
        """Return what all slices and frames say alike."""
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.PatientID, dataset.PatientName = "4711", "Doe^Jane"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.826.1", "1.2.826.1.1"
        dataset.FrameOfReferenceUID, dataset.StudyDate, dataset.SeriesNumber = "1.2.826.1.9", "20200102", 4
        dataset.Modality, dataset.ImageType = self.modality, ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.Columns, dataset.Rows = self.stored.shape[:2]
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
        dataset.PixelRepresentation = 0
        return dataset

    def classic(self) -> list[Dataset]:
        """Return one image a slice."""
        slices = []
        for k in range(self.stored.shape[2]):
            dataset = self.base()
            dataset.SOPClassUID, dataset.SOPInstanceUID = CLASSIC[self.modality], f"1.2.826.1.1.{k + 1}"
            dataset.InstanceNumber, dataset.AcquisitionNumber = k + 1, 1
            dataset.PixelSpacing, dataset.ImageOrientationPatient = list(self.spacing), list(self.orientation)
            dataset.ImagePositionPatient, dataset.SliceLocation = self.position(k), round(self.step * k, 3)
            dataset.SliceThickness = abs(self.step)
            dataset.RescaleSlope, dataset.RescaleIntercept = self.slope(k), self.intercept
            if self.modality == "PT":
                dataset.Units = "BQML"
            for keyword, value in self.elements.items():
                setattr(dataset, keyword, value)
            dataset.PixelData = self.stored[:, :, k].T.tobytes()
            dataset["PixelData"].VR = "OW"
            slices.append(dataset)
        return slices

    def enhanced(self, order: Sequence[int] | None = None) -> Dataset:
        """Return all slices as frames of one image, in an order of frames; place and rescale for each frame."""
        order = range(self.stored.shape[2]) if order is None else order
        dataset = self.base()
        dataset.SOPClassUID, dataset.SOPInstanceUID = ENHANCED[self.modality], "1.2.826.1.1.1"
        dataset.NumberOfFrames = len(order)
        dataset.SharedFunctionalGroupsSequence = [
            item(
                PixelMeasuresSequence=[item(PixelSpacing=list(self.spacing), SliceThickness=abs(self.step))],
                PlaneOrientationSequence=[item(ImageOrientationPatient=list(self.orientation))],
                **{FRAME_TYPES[self.modality]: [item(FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])]},
            )
        ]
        dataset.PerFrameFunctionalGroupsSequence = [self.frame(k) for k in order]
        for keyword, value in self.elements.items():
            setattr(dataset, keyword, value)
        dataset.PixelData = b"".join(self.stored[:, :, k].T.tobytes() for k in order)
        dataset["PixelData"].VR = "OW"
        return dataset

    def frame(self, k: int) -> Dataset:
        """Return the functional groups of slice k."""
        kind = "HU" if self.modality == "CT" else "US"
        groups = item(
            PlanePositionSequence=[item(ImagePositionPatient=self.position(k))],
            PixelValueTransformationSequence=[
                item(RescaleSlope=self.slope(k), RescaleIntercept=self.intercept, RescaleType=kind)
            ],
            FrameContentSequence=[
                item(
                    StackID="1",
                    InStackPositionNumber=k + 1,
                    TemporalPositionIndex=1,
                    DimensionIndexValues=[1, k + 1],
                )
            ],
        )
        if self.modality == "PT":
            # PS3.3 A.56: an enhanced PET image has no Units; its mapping says what the rescale makes.
            code = item(CodeValue="Bq/ml", CodingSchemeDesignator="UCUM", CodeMeaning="Bq/ml")
            groups.RealWorldValueMappingSequence = [
                item(
                    RealWorldValueFirstValueMapped=0,
                    RealWorldValueLastValueMapped=4095,
                    RealWorldValueSlope=self.slope(k),
                    RealWorldValueIntercept=self.intercept,
                    MeasurementUnitsCodeSequence=[code],
                )
            ]
        return groups


def item(**elements: Any) -> Dataset:
    """Return an item of a sequence."""
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def encoded(dataset: Dataset) -> bytes:
    """Return the file of a dataset."""
    stream = BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def canvas(stored: npt.NDArray[np.uint16], across: int, down: int) -> npt.NDArray[np.uint16]:
    """Return slices as tiles of one image, row by row, shape (rows, columns)."""
    columns, rows, count = stored.shape
    made = np.zeros((down * rows, across * columns), np.uint16)
    for k in range(count):
        i, j = divmod(k, across)
        made[i * rows : (i + 1) * rows, j * columns : (j + 1) * columns] = stored[:, :, k].T
    return made


def csa(**texts: Sequence[str]) -> bytes:
    """Return a CSA header in its newer form."""
    out = b"SV10\4\3\2\1" + struct.pack("<2I", len(texts), 77)
    for name, words in texts.items():
        out += struct.pack("<64si4siii", name.encode(), len(words), b"FD", 3, len(words), 77)
        for text in words:
            raw = text.encode() + b"\0"
            out += struct.pack("<4i", len(raw), len(raw), 77, len(raw)) + raw + bytes(-len(raw) % 4)
    return out


def _tiled(scan: Scan, kind: str, across: int, down: int) -> Dataset:
    dataset = scan.classic()[0]
    del dataset.SliceLocation
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", kind]
    pixels = canvas(scan.stored, across, down)
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.PixelData = pixels.tobytes()
    return dataset


def mosaic(scan: Scan) -> Dataset:
    """Return the slices of an MR scan as a Siemens mosaic."""
    columns, rows, count = scan.stored.shape
    side = int(np.ceil(np.sqrt(count)))
    dataset = _tiled(scan, "MOSAIC", side, side)
    dataset.Manufacturer = "SIEMENS"
    row, column = np.split(np.array(scan.orientation), 2)
    # A mosaic's position is the corner of an image of its size whose centre is that of the first slice.
    back = row * scan.spacing[1] * columns * (side - 1) / 2 + column * scan.spacing[0] * rows * (side - 1) / 2
    dataset.ImagePositionPatient = [round(float(x), 6) for x in np.array(scan.position(0)) - back]
    dataset.SpacingBetweenSlices = abs(scan.step)
    dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", count)
    normal = np.cross(row, column) * np.sign(scan.step)
    header = csa(
        NumberOfImagesInMosaic=[str(count)], SliceNormalVector=[f"{float(one):.8f}" for one in normal]
    )
    dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", header)
    return dataset


def grid(scan: Scan) -> Dataset:
    """Return the slices of an MR scan as a United Imaging grid."""
    count = scan.stored.shape[2]
    across = int(np.ceil(np.sqrt(count)))
    dataset = _tiled(scan, "VFRAME", across, -(-count // across))
    del dataset.ImagePositionPatient
    dataset.Manufacturer = "UIH"
    block = dataset.private_block(0x0065, "Image Private Header", create=True)
    block.add_new(0x50, "DS", str(count))
    block.add_new(0x51, "SQ", [item(ImagePositionPatient=scan.position(k)) for k in range(count)])
    return dataset
