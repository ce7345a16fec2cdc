"""Find the image that each label object was drawn on, and fill its regions there, without any task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from pipeline.io import annotation, nifti
from pipeline.model.contour import Roi
from pipeline.model.errors import CurationError, LabelError
from pipeline.model.record import Json, Step, decimal
from pipeline.model.series import Kind, SourceFile, SourceRef, Stack
from pipeline.model.volume import Grid, Volume, distinct_names
from pipeline.stages.orient import orient
from pipeline.stages.rasterise import rasterise

THRESHOLD = 0.5
"""A fractional segment counts from one half: there is no rule that says otherwise."""


class Door(Protocol):
    """What lets sources through without identity."""

    def clean(self, refs: Sequence[SourceRef]) -> Step[tuple[Dataset, ...]]:
        """Return the datasets of the files, de-identified."""


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """One image that was written: which of all stacks it was made of, and where its voxels lie."""

    name: str
    stack: int
    grid: Grid
    frame_of_reference: str


@dataclass(frozen=True, slots=True)
class Region:
    """One ROI or segment as a file: what it is called, its bytes, and what became of its contours or frames."""

    name: str
    content: bytes
    facts: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Drawing:
    """What a label object came to on one image: its regions, and why others could not be drawn."""

    image: str
    regions: Sequence[Region]
    facts: Mapping[str, Json]
    refused: Sequence[CurationError] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a label object is to be drawn; `is_sought` says that nothing but its fit tells that it lies there."""

    grid: Grid
    frame_of_reference: str
    is_sought: bool


Draw = Callable[[SourceFile, Place], Drawing]
"""What `draw` does, in a process of its own; the image is not named yet."""


@dataclass(slots=True)
class Images:
    """All stacks of the sources, and the images that were made of some."""

    stacks: Sequence[Stack]
    written: Sequence[Written]
    _instances: dict[int, frozenset[str]] = field(default_factory=dict)

    def place(self, label: SourceFile, drawn: Draw) -> Drawing:
        """Return a label object's regions on the one image that it was drawn on.

        The instances and series that it names say which; where the sources hold none of these, the one image of
        its patient whose frame of reference and grid it fits.

        Raises
        ------
        LabelError
            label-other-image, label-other-patient, or what refuses the drawing.
        """
        meant = self._meant(label)
        found = [image for image in self.written if image.stack in meant or not meant]
        found = self._of_patient(label, found, is_named=bool(meant))
        if meant and len({self.stacks[image.stack].series_uid for image in found}) == 1:
            # Volumes of one series that nothing tells apart: the first stands for all.
            image = found[0]
            place = Place(image.grid, image.frame_of_reference, is_sought=False)
            return _named(drawn(label, place), image, "reference")
        return _only_fitting(label, found, drawn)

    def _meant(self, label: SourceFile) -> set[int]:
        """Return the stacks that a label object names, by instance where it can, else by series."""
        series = set(label.facts.get("references", ()))
        instances = frozenset(label.facts.get("referenced_instances", ()))
        by_series = {place for place, stack in enumerate(self.stacks) if stack.series_uid in series}
        by_instance = {
            place for place in range(len(self.stacks)) if instances and instances & self._of(place)
        }
        # Where they contradict each other both count, and the fit has to tell.
        return by_instance if by_instance and by_instance <= by_series else by_series | by_instance

    def _of(self, place: int) -> frozenset[str]:
        if place not in self._instances:
            files = self.stacks[place].files
            self._instances[place] = frozenset(file.text("SOPInstanceUID") for file in files)
        return self._instances[place]

    def _of_patient(self, label: SourceFile, images: Sequence[Written], *, is_named: bool) -> list[Written]:
        """Return the images of a label's patient; refuse a label of another one that names an image."""
        patient = label.text("PatientID")
        own = [image for image in images if patient in ("", self.stacks[image.stack].subject)]
        if images and is_named and not own:
            raise LabelError(
                "label-other-patient", wanted="a drawing of the images' patient", found="another's"
            )
        return own


def _only_fitting(label: SourceFile, images: Sequence[Written], drawn: Draw) -> Drawing:
    """Return a label object's regions on the one image that they fit."""
    found: list[Drawing] = []
    for image in images:
        try:
            drawing = drawn(label, Place(image.grid, image.frame_of_reference, is_sought=True))
            found.append(_named(drawing, image, "frame of reference and grid"))
        except CurationError:
            if len(images) == 1:
                raise
    if len(found) != 1:
        several = "several of them" if found else "none of them"
        raise LabelError("label-other-image", wanted="a label drawn on one written series", found=several)
    return found[0]


def _named(drawing: Drawing, image: Written, by: str) -> Drawing:
    return Drawing(image.name, drawing.regions, {**drawing.facts, "placed_by": by}, drawing.refused)


def draw(door: Door, label: SourceFile, place: Place, _: object = None) -> Drawing:
    """Return a label object's regions on a grid.

    Contours that cannot be drawn refuse their own ROI, and the whole object where its image is sought.
    """
    (dataset,) = door.clean([label.ref]).value
    if label.kind is Kind.SEG:
        return _segments(dataset, place)
    rois = annotation.read_rtstruct(dataset).rois
    regions, refused = [], []
    for key, roi in zip(distinct_names([roi.name for roi in rois]), rois, strict=True):
        try:
            regions.append(_roi(key, roi, place))
        except CurationError as error:
            if place.is_sought:
                raise
            refused.append(error)
    if refused and not any(region.facts["voxels"] for region in regions):
        raise refused[0]
    facts: dict[str, Json] = {"source": "RTSTRUCT", "rule": "even-odd at voxel centres"}
    return Drawing("", regions, {**facts, **_which(dataset)}, refused)


def _roi(key: str, roi: Roi, place: Place) -> Region:
    _same_frame(roi.frame_of_reference_uid, place)
    step = rasterise([roi], place.grid)
    (mask,) = step.value.masks.values()
    (report,) = cast("list[dict[str, Json]]", step.note.facts["rois"])
    if place.is_sought and (report["off_plane"] or report["outside"]):
        raise LabelError("label-other-image", wanted="contours in the image's slices", found="others")
    return Region(key, _encoded(mask, place.grid), report)


def _segments(dataset: Dataset, place: Place) -> Drawing:
    _same_frame(str(dataset.get("FrameOfReferenceUID") or ""), place)
    step = annotation.read_seg(dataset, place.grid, threshold=THRESHOLD)
    regions = []
    for name, mask in step.value.masks.items():
        voxels = int(np.count_nonzero(mask))
        facts: dict[str, Json] = {"voxels": voxels, "ml": decimal(round(voxels * place.grid.voxel_ml, 6))}
        regions.append(Region(name, _encoded(mask, place.grid), facts))
    return Drawing("", regions, {**step.note.facts, **_which(dataset)})


def _which(dataset: Dataset) -> dict[str, Json]:
    """Return which of several objects of one image this is: its pseudonymous UID, as `curate deidentify` has it."""
    return {"instance": str(dataset.get("SOPInstanceUID") or "")}


def _same_frame(said: str, place: Place) -> None:
    """Refuse another frame of reference than the image's, and none where nothing else says where a drawing lies."""
    wanted = place.frame_of_reference
    if place.is_sought and not (said and wanted):
        raise LabelError(
            "label-other-image", wanted="an image or a frame of reference named", found="neither"
        )
    if said and wanted and said != wanted:
        raise LabelError("frame-of-reference", wanted="the image's frame of reference", found="another")


def _encoded(mask: npt.NDArray[np.bool_], grid: Grid) -> bytes:
    volume = orient(Volume(mask.astype(np.uint8), grid.affine)).value
    return nifti.encode(volume.data, volume.affine).content
