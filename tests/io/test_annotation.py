"""The same drawing means the same voxels, whatever it was saved as; damage is refused, never passed on."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from pipeline.io import annotation
from pipeline.model.errors import CurationError
from pipeline.model.rules import Label, LabelClass
from pipeline.model.volume import Annotation, Grid
from pipeline.stages.label import label
from pipeline.stages.rasterise import rasterise

SHAPE = (9, 7, 4)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
TURN = np.array([[0.8, 0.36, -0.48], [0.0, 0.8, 0.6], [0.6, -0.48, 0.64]])
RULE = Label(
    classes=(
        LabelClass(value=1, name="liver", from_names=("liver",)),
        LabelClass(value=2, name="cancer", from_names=("tumou?r",)),
    )
)
BOXES = {"Liver": (slice(1, 4), slice(2, 6), slice(0, 3)), "TUMOR": (slice(5, 8), slice(1, 3), slice(2, 4))}


def acquired() -> Grid:
    """An oblique acquisition of 0.7 x 0.9 x 2.5 mm."""
    affine = np.eye(4)
    affine[:3, :3] = TURN * [0.7, 0.9, 2.5]
    affine[:3, 3] = [-81.3, 44.125, -617.04]
    return Grid(SHAPE, LPS @ affine)


def truth() -> np.ndarray:
    data = np.zeros(SHAPE, dtype=np.uint8)
    for value, box in enumerate(BOXES.values(), start=1):
        data[box] = value
    return data


def item(**values: object) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def texts(numbers: np.ndarray) -> list[str]:
    return [f"{number:.12g}"[:16] for number in np.ravel(numbers)]


def as_contours() -> Annotation:
    """The boxes as an RT Structure Set: one rectangle a slice, half way between voxel centres."""
    rois, drawn = [], []
    for number, (name, box) in enumerate(BOXES.items(), start=1):
        low = [part.start - 0.5 for part in box[:2]]
        high = [part.stop - 0.5 for part in box[:2]]
        corners = [(low[0], low[1]), (high[0], low[1]), (high[0], high[1]), (low[0], high[1])]
        outlines = []
        for k in range(box[2].start, box[2].stop):
            points = [(LPS @ acquired().affine @ [i, j, k, 1])[:3] for i, j in corners]
            outlines.append(item(ContourGeometricType="CLOSED_PLANAR", ContourData=texts(np.array(points))))
        rois.append(item(ROINumber=number, ROIName=name))
        drawn.append(item(ReferencedROINumber=number, ContourSequence=outlines))
    dataset = item(StructureSetROISequence=rois, ROIContourSequence=drawn)
    return rasterise(annotation.read_rtstruct(dataset).rois, acquired()).value


def segmentation() -> Dataset:
    """The boxes as a binary segmentation."""
    lps = LPS @ acquired().affine
    frames, bits = [], []
    for number, box in enumerate(BOXES.values(), start=1):
        for k in range(box[2].start, box[2].stop):
            frames.append(
                item(
                    PlanePositionSequence=[item(ImagePositionPatient=texts(lps[:3, 3] + k * lps[:3, 2]))],
                    SegmentIdentificationSequence=[item(ReferencedSegmentNumber=number)],
                )
            )
            bits.append((truth()[:, :, k] == number).T)
    shared = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=texts(TURN[:, :2].T))],
        PixelMeasuresSequence=[item(PixelSpacing=["0.9", "0.7"])],
    )
    content = np.packbits(np.ravel(bits), bitorder="little").tobytes()
    dataset = item(
        SegmentationType="BINARY",
        Columns=SHAPE[0],
        Rows=SHAPE[1],
        NumberOfFrames=len(frames),
        SamplesPerPixel=1,
        BitsAllocated=1,
        PixelData=content + b"\0" * (len(content) % 2),
        SegmentSequence=[item(SegmentNumber=n, SegmentLabel=name) for n, name in enumerate(BOXES, start=1)],
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=frames,
    )
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def as_segments() -> Annotation:
    return annotation.read_seg(segmentation(), acquired(), threshold=None).value


def nifti() -> bytes:
    return nib.Nifti1Image(truth(), acquired().affine).to_bytes()


def as_values() -> Annotation:
    return annotation.read_mask(nifti(), ".nii").value


def as_named_values() -> Annotation:
    return annotation.read_mask(gzip.compress(nifti()), "a.nii.gz", names={1: "liver", 2: "tumour"}).value


@pytest.mark.parametrize("read", [as_contours, as_segments, as_values, as_named_values])
def test_the_same_drawing_gives_the_same_label_from_every_format(read: Callable[[], Annotation]) -> None:
    oriented = Grid(SHAPE, acquired().affine @ np.diag([-1.0, -1, 1, 1]) + moved_origin())
    step = label(read(), oriented, RULE)
    assert np.array_equal(step.value.data, truth()[::-1, ::-1])


def moved_origin() -> np.ndarray:
    """What turning the first two axes round adds to the affine."""
    change = np.zeros((4, 4))
    change[:3, 3] = acquired().affine[:3, :2] @ [SHAPE[0] - 1, SHAPE[1] - 1]
    return change


def damaged(blob: bytes, chance: np.random.Generator) -> bytes:
    """A file with a few bytes changed, lost or added."""
    content = bytearray(blob)
    for _ in range(chance.integers(1, 4)):
        place = int(chance.integers(min(len(content), 400)))
        what = chance.integers(3)
        if what == 0:
            content[place] ^= 1 << int(chance.integers(8))
        elif what == 1:
            del content[place : place + int(chance.integers(1, 9))]
        else:
            content[place:place] = chance.integers(0, 256, 3, dtype=np.uint8).tobytes()
    return bytes(content)


@pytest.mark.parametrize("blob", [nifti(), gzip.compress(nifti(), mtime=0)], ids=["plain", "gzip"])
def test_a_damaged_mask_is_read_or_refused_and_nothing_else(blob: bytes) -> None:
    chance = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        try:
            annotation.read_mask(damaged(blob, chance), ".nii")
        except CurationError:
            refused += 1
    assert refused > 50


def test_references_of_either_object_are_read_the_same_way() -> None:
    series = item(SeriesInstanceUID="1.5")
    dataset = item(FrameOfReferenceUID="1.1", ReferencedSeriesSequence=[series])
    found = annotation.read_references(pydicom.Dataset(dataset))
    assert (found.frame_of_reference_uids, found.series_uids) == (("1.1",), ("1.5",))
