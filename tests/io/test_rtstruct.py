"""Regions come out of an RT Structure Set as they were drawn, or are refused."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage

from pipeline.io.rtstruct import read_rtstruct
from pipeline.model.contour import Geometric
from pipeline.model.errors import LabelError

REAL = Path(__file__).parents[2].parent / "shared/data/real"


def contour(points: list[list[float]], kind: str = "CLOSED_PLANAR") -> Dataset:
    item = Dataset()
    item.ContourGeometricType = kind
    item.NumberOfContourPoints = len(points)
    item.ContourData = [number for point in points for number in point]
    return item


def structure_set(**drawn: list[Dataset]) -> Dataset:
    """A structure set with a region for each name, numbered from 1."""
    dataset = Dataset()
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [], []
    for number, (name, contours) in enumerate(drawn.items(), start=1):
        declared, outline = Dataset(), Dataset()
        declared.ROINumber, declared.ROIName = number, name
        declared.ReferencedFrameOfReferenceUID = "1.2.3"
        outline.ReferencedROINumber, outline.ContourSequence = number, contours
        dataset.StructureSetROISequence.append(declared)
        dataset.ROIContourSequence.append(outline)
    return dataset


def written(dataset: Dataset) -> Dataset:
    """The dataset as another program would write and we read it."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = RTStructureSetStorage, "1.2"
    meta.TransferSyntaxUID = ImplicitVRLittleEndian
    file = FileDataset("", dataset, preamble=b"\0" * 128, file_meta=meta)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, file, enforce_file_format=True)
    return pydicom.dcmread(io.BytesIO(buffer.getvalue()))


TRIANGLE = [[1.5, 2.5, 3.5], [4.0, 2.5, 3.5], [1.5, 9.0, 3.5]]


def test_points_are_turned_from_lps_to_ras() -> None:
    contours = read_rtstruct(written(structure_set(liver=[contour(TRIANGLE)])))
    (roi,) = contours.rois
    assert (roi.number, roi.name, roi.frame_of_reference_uid) == (1, "liver", "1.2.3")
    assert roi.contours[0].points.tolist() == [[-x, -y, z] for x, y, z in TRIANGLE]
    assert contours.refers_to.frame_of_reference_uids == ("1.2.3",)


@pytest.mark.parametrize("text", [b"1.0\\Doe^Jane\\3.0 ", b"1.0\\\\3.0", b"1.0\\2.0\\nan"])
def test_a_coordinate_that_is_no_number_is_refused_without_quoting_it(text: bytes) -> None:
    dataset = structure_set(a=[contour(TRIANGLE)])
    tag = Tag("ContourData")
    dataset.ROIContourSequence[0].ContourSequence[0][tag] = RawDataElement(
        tag, "DS", len(text), text, 0, False, True
    )
    with pytest.raises(LabelError, match="label-inconsistent") as refusal:
        read_rtstruct(dataset)
    assert "Doe" not in str(refusal.value)


def test_coordinates_longer_than_the_standard_allows_are_read() -> None:
    text = b"-123.45678901234567890\\2.000000000000000001\\3.0 "
    dataset = structure_set(a=[contour(TRIANGLE)])
    del dataset.ROIContourSequence[0].ContourSequence[0]["NumberOfContourPoints"]
    tag = Tag("ContourData")
    dataset.ROIContourSequence[0].ContourSequence[0][tag] = RawDataElement(
        tag, "DS", len(text), text, 0, False, True
    )
    (roi,) = read_rtstruct(dataset).rois
    assert roi.contours[0].points.tolist() == [[123.45678901234567890, -2.0, 3.0]]


def test_the_type_of_a_contour_is_kept_and_an_unknown_one_is_other() -> None:
    kinds = ["CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "OPEN_PLANAR", "OPEN_NONPLANAR", "POINT", "DOODLE", ""]
    (roi,) = read_rtstruct(structure_set(a=[contour(TRIANGLE, kind) for kind in kinds])).rois
    assert [each.kind.value for each in roi.contours] == [*kinds[:5], "OTHER", "OTHER"]


def test_regions_without_contours_stay() -> None:
    dataset = structure_set(a=[], b=[contour(TRIANGLE)], c=[])
    del dataset.ROIContourSequence[2]
    del dataset.ROIContourSequence[0]["ContourSequence"]
    assert [(roi.name, len(roi.contours)) for roi in read_rtstruct(dataset).rois] == [
        ("a", 0),
        ("b", 1),
        ("c", 0),
    ]


def test_contours_find_their_region_by_number_and_not_by_place() -> None:
    dataset = structure_set(a=[], b=[contour(TRIANGLE)])
    dataset.ROIContourSequence = list(dataset.ROIContourSequence)[::-1]
    assert [len(roi.contours) for roi in read_rtstruct(dataset).rois] == [0, 1]


def test_observations_give_a_region_its_codes() -> None:
    dataset = structure_set(a=[], b=[])
    code, observation = Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator = "10200004", "SCT"
    observation.ReferencedROINumber, observation.RTROIIdentificationCodeSequence = 2, [code]
    dataset.RTROIObservationsSequence = [observation]
    assert [roi.codes for roi in read_rtstruct(dataset).rois] == [(), ("SCT:10200004",)]


def test_a_set_without_regions_has_none() -> None:
    assert read_rtstruct(Dataset()).rois == ()


def miscount(dataset: Dataset) -> None:
    dataset.ROIContourSequence[0].ContourSequence[0].NumberOfContourPoints = 4


def lose_a_coordinate(dataset: Dataset) -> None:
    item = dataset.ROIContourSequence[0].ContourSequence[0]
    item.ContourData = list(item.ContourData)[:-1]


def lie_far_away(dataset: Dataset) -> None:
    item = dataset.ROIContourSequence[0].ContourSequence[0]
    item.ContourData = [1e9, *list(item.ContourData)[1:]]


def declare_twice(dataset: Dataset) -> None:
    dataset.StructureSetROISequence.append(dataset.StructureSetROISequence[0])


def draw_twice(dataset: Dataset) -> None:
    dataset.ROIContourSequence.append(dataset.ROIContourSequence[0])


def draw_a_stranger(dataset: Dataset) -> None:
    dataset.ROIContourSequence[0].ReferencedROINumber = 99


def lose_the_number(dataset: Dataset) -> None:
    del dataset.StructureSetROISequence[0]["ROINumber"]


@pytest.mark.parametrize(
    "spoil",
    [
        miscount,
        lose_a_coordinate,
        lie_far_away,
        declare_twice,
        draw_twice,
        draw_a_stranger,
        lose_the_number,
    ],
)
def test_a_set_that_contradicts_itself_is_refused_without_a_name(spoil: Callable[[Dataset], None]) -> None:
    dataset = structure_set(Doe=[contour(TRIANGLE)], b=[])
    spoil(dataset)
    with pytest.raises(LabelError, match="label-inconsistent") as refusal:
        read_rtstruct(dataset)
    assert "Doe" not in str(refusal.value)


@pytest.mark.skipif(not (REAL / "ibsi-sts").is_dir(), reason="the IBSI set is not beside the repo")
def test_a_real_structure_set_is_read_whole() -> None:
    dataset = pydicom.dcmread(REAL / "ibsi-sts/dicom/STS_003/CT/mask/RS.dcm")
    contours = read_rtstruct(dataset)
    image = pydicom.dcmread(
        next((REAL / "ibsi-sts/dicom/STS_003/CT/image").iterdir()), stop_before_pixels=True
    )
    (roi,) = contours.rois
    assert len(roi.contours) == 20
    assert {each.kind for each in roi.contours} == {Geometric.CLOSED_PLANAR}
    assert sum(len(each.points) for each in roi.contours) == 7012
    assert contours.refers_to.frame_of_reference_uids == (image.FrameOfReferenceUID,)
    assert contours.refers_to.series_uids == (image.SeriesInstanceUID,)
    # The publisher gave the images new instance UIDs: those of the structure set are the scanner's.
    assert len(contours.refers_to.sop_uids) == 267
    first = np.array(dataset.ROIContourSequence[0].ContourSequence[0].ContourData[:3], dtype=float)
    assert roi.contours[0].points[0].tolist() == (first * [-1, -1, 1]).tolist()
