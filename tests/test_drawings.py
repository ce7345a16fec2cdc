"""A label object goes to the image that it names, else to the one that it fits; a bad region takes no other with it."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from pipeline.drawings import Drawing, Images, Place, Region, Written, draw
from pipeline.model.errors import LabelError
from pipeline.model.record import Note, Step
from pipeline.model.series import Kind, SourceFile, SourceRef, Stack
from pipeline.model.volume import Grid

GRID = Grid((6, 5, 4), np.diag([-1.0, -1.0, 2.0, 1.0]))
FRAME = "1.2.9"


def stack(series: str, *instances: str, subject: str = "Ann") -> Stack:
    facts = {"SeriesInstanceUID": series, "StudyInstanceUID": "1", "PatientID": subject}
    files = [
        SourceFile(
            SourceRef(f"/{uid}", None, "", 0), uid, None, Kind.IMAGE, None, {**facts, "SOPInstanceUID": uid}
        )
        for uid in instances
    ]
    return Stack(files, facts)


def label(**facts: Any) -> SourceFile:
    return SourceFile(
        SourceRef("/l", None, "", 0), "l", None, Kind.RTSTRUCT, None, {"PatientID": "Ann", **facts}
    )


def images(*stacks: Stack, unwritten: Sequence[int] = ()) -> Images:
    return Images(
        stacks, [Written(f"image {n}", n, GRID, FRAME) for n in range(len(stacks)) if n not in unwritten]
    )


def always(_: SourceFile, place: Place) -> Drawing:
    """Fit every image."""
    return Drawing("", [Region("liver", b"", {"sought": place.is_sought})], {})


def never(_: SourceFile, __: Place) -> Drawing:
    raise LabelError("contour-off-plane", wanted="contours in slices", found="others")


T2, T1, ECHOES = stack("2", "2.1", "2.2"), stack("3", "3.1"), (stack("4", "4.1"), stack("4", "4.2"))


@pytest.mark.parametrize(
    ("named", "image"),
    [
        ({"references": ["3"]}, "image 1"),
        ({"referenced_instances": ["3.1"]}, "image 1"),
        ({"references": ["3"], "referenced_instances": ["0.0"]}, "image 1"),
        ({"references": ["4"], "referenced_instances": ["4.2"]}, "image 3"),
        ({"references": ["4"]}, "image 2"),
        ({"references": ["2", "3"], "referenced_instances": ["2.2"]}, "image 0"),
        ({"references": ["3", "0"]}, "image 1"),
    ],
)
def test_a_label_lies_on_the_image_that_it_names(named: dict[str, list[str]], image: str) -> None:
    drawing = images(T2, T1, *ECHOES).place(label(**named), always)
    assert (drawing.image, drawing.facts["placed_by"]) == (image, "reference")
    assert drawing.regions[0].facts == {"sought": False}


@pytest.mark.parametrize("named", [{}, {"references": ["0"]}, {"referenced_instances": ["0.0"]}])
def test_a_label_that_names_nothing_there_is_lies_on_the_one_image_that_it_fits(
    named: dict[str, Any],
) -> None:
    drawing = images(T2).place(label(**named), always)
    assert (drawing.image, drawing.facts["placed_by"]) == ("image 0", "frame of reference and grid")
    assert drawing.regions[0].facts == {"sought": True}
    with pytest.raises(LabelError, match="several of them"):
        images(T2, T1).place(label(**named), always)
    with pytest.raises(LabelError, match="contours in slices"):
        images(T2).place(label(**named), never)
    with pytest.raises(LabelError, match="none of them"):
        images(T2, T1).place(label(**named), never)


def test_a_label_that_names_two_images_by_series_and_instance_is_refused_if_it_fits_both() -> None:
    with pytest.raises(LabelError, match="several of them"):
        images(T2, T1).place(label(references=["2"], referenced_instances=["3.1"]), always)


def test_a_label_of_an_image_that_was_not_written_lies_on_no_other() -> None:
    with pytest.raises(LabelError) as refusal:
        images(T2, T1, unwritten=[1]).place(label(references=["3"]), always)
    assert refusal.value.code == "label-other-image"


def test_a_label_of_another_patient_is_refused_and_never_tried_on_others_images() -> None:
    with pytest.raises(LabelError) as refusal:
        images(T2).place(label(references=["2"], PatientID="Eve"), always)
    assert refusal.value.code == "label-other-patient"
    with pytest.raises(LabelError) as refusal:
        images(T2).place(label(PatientID="Eve"), always)
    assert refusal.value.code == "label-other-image"


@dataclass
class Opened:
    """A door behind which one dataset lies."""

    dataset: Dataset

    def clean(self, _: Sequence[SourceRef]) -> Step[tuple[Dataset, ...]]:
        return Step((self.dataset,), Note("deidentify", {}))


def rois(*heights: float, frame: str = FRAME) -> Opened:
    """A structure set with a square of nine voxels for each height, in slice distances."""
    dataset = Dataset()
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [], []
    for number, k in enumerate(heights, start=1):
        declared, drawn, contour = Dataset(), Dataset(), Dataset()
        declared.ROINumber, declared.ROIName = number, "same"
        declared.ReferencedFrameOfReferenceUID = frame
        contour.ContourGeometricType = "CLOSED_PLANAR"
        corners = [(0.5, 0.5), (3.5, 0.5), (3.5, 3.5), (0.5, 3.5)]
        contour.ContourData = [x for i, j in corners for x in (i, j, 2 * k)]
        drawn.ReferencedROINumber, drawn.ContourSequence = number, [contour]
        dataset.StructureSetROISequence.append(declared)
        dataset.ROIContourSequence.append(drawn)
    return Opened(dataset)


ON_IT, SOUGHT = Place(GRID, FRAME, is_sought=False), Place(GRID, FRAME, is_sought=True)


def test_a_region_that_cannot_be_drawn_is_refused_by_itself() -> None:
    door = rois(1, 1.5, 2.2)
    door.dataset.SOPInstanceUID = "2.25.7"
    drawing = draw(door, label(), ON_IT)
    assert (drawing.facts["source"], drawing.facts["instance"]) == ("RTSTRUCT", "2.25.7")
    assert [(region.name, region.facts["voxels"]) for region in drawing.regions] == [
        ("same #1", 9),
        ("same #3", 9),
    ]
    assert [(error.code, error.where) for error in drawing.refused] == [
        ("contour-off-plane", "closed contour 1 of ROI number 2")
    ]
    assert all(gzip.decompress(region.content)[344:348] == b"n+1\0" for region in drawing.regions)


def test_an_object_of_which_nothing_can_be_drawn_is_refused() -> None:
    with pytest.raises(LabelError) as refusal:
        draw(rois(1.5), label(), ON_IT)
    assert refusal.value.code == "contour-off-plane"
    with pytest.raises(LabelError) as refusal:
        draw(rois(1, frame="1.2.8"), label(), ON_IT)
    assert refusal.value.code == "frame-of-reference"


@pytest.mark.parametrize(
    ("door", "fits"),
    [
        (rois(1, 2), True),
        (rois(1, 2.2), False),
        (rois(1, 1.5), False),
        (rois(1, frame=""), False),
        (rois(1, frame="1.2.8"), False),
    ],
)
def test_contours_fit_an_image_that_they_do_not_name_only_in_its_slices_and_frame(
    door: Opened, fits: bool
) -> None:
    if fits:
        assert len(draw(door, label(), SOUGHT).regions) == 2
    else:
        with pytest.raises(LabelError):
            draw(door, label(), SOUGHT)


def test_an_image_without_a_frame_of_reference_is_never_found_by_it() -> None:
    with pytest.raises(LabelError, match="neither"):
        draw(rois(1), label(), Place(GRID, "", is_sought=True))
    assert draw(rois(1), label(), Place(GRID, "", is_sought=False)).regions
