"""DICOM RT Structure Sets (PS3.3 A.19) to contours in RAS+ mm."""

from __future__ import annotations

import numpy as np
from pydicom import Dataset

from pipeline.io.labelobject import (
    LPS_TO_RAS,
    codes,
    inconsistent,
    items,
    numbers,
    parse,
    read_references,
    whole,
)
from pipeline.model.contour import FARTHEST_MM, Contour, Contours, Geometric, Roi


def read_rtstruct(dataset: Dataset) -> Contours:
    """Return the regions of an RT Structure Set, in its order, points in RAS+ mm.

    Parameters
    ----------
    dataset
        RT Structure Set, de-identified. Regions without contours stay, with none.

    Raises
    ------
    LabelError
        unreadable if an element does not parse; label-inconsistent if a region's number is missing, given
        twice or not declared, or if coordinates are not triplets of numbers, as many as the contour says,
        near the scanner.
    """
    parse(dataset)
    declared = _by_number(dataset, "StructureSetROISequence", "ROINumber")
    drawn = _by_number(dataset, "ROIContourSequence", "ReferencedROINumber")
    strangers = len(set(drawn) - set(declared))
    if strangers:
        raise inconsistent("contours of declared regions", f"{strangers} others", "ROIContourSequence")
    given = _observed_codes(dataset)
    rois = [
        _roi(number, item, drawn.get(number, Dataset()), given.get(number, ()))
        for number, item in declared.items()
    ]
    return Contours(tuple(rois), read_references(dataset))


def _by_number(dataset: Dataset, sequence: str, keyword: str) -> dict[int, Dataset]:
    """Return the items of a sequence by region number; refuse a number given twice."""
    found: dict[int, Dataset] = {}
    for place, item in enumerate(items(dataset, sequence), start=1):
        number = whole(item, keyword, f"item {place} of {sequence}")
        if number in found:
            raise inconsistent("each region once", "one twice", f"{sequence}, ROI number {number}")
        found[number] = item
    return found


def _observed_codes(dataset: Dataset) -> dict[int, tuple[str, ...]]:
    """Return each region's identification codes; several observations of one region add up."""
    found: dict[int, tuple[str, ...]] = {}
    for place, item in enumerate(items(dataset, "RTROIObservationsSequence"), start=1):
        number = whole(item, "ReferencedROINumber", f"item {place} of RTROIObservationsSequence")
        found[number] = found.get(number, ()) + codes(item, "RTROIIdentificationCodeSequence")
    return found


def _roi(number: int, declared: Dataset, drawn: Dataset, given: tuple[str, ...]) -> Roi:
    contours = enumerate(items(drawn, "ContourSequence"), start=1)
    return Roi(
        number=number,
        name=str(declared.get("ROIName") or ""),
        contours=tuple(_contour(item, f"contour {place} of ROI number {number}") for place, item in contours),
        codes=given,
        frame_of_reference_uid=str(declared.get("ReferencedFrameOfReferenceUID") or ""),
    )


def _contour(item: Dataset, where: str) -> Contour:
    coordinates = numbers(item, "ContourData", where)
    if len(coordinates) % 3:
        raise inconsistent("triplets of coordinates", f"{len(coordinates)} numbers", where)
    points = coordinates.reshape(-1, 3)
    if item.get("NumberOfContourPoints") is not None:
        declared = whole(item, "NumberOfContourPoints", where)
        if declared != len(points):
            raise inconsistent(f"{declared} points, as declared", f"{len(points)}", where)
    if not (np.abs(points) <= FARTHEST_MM).all():
        raise inconsistent(f"coordinates within {FARTHEST_MM:g} mm", "others", where)
    kind = str(item.get("ContourGeometricType") or "").upper()
    return Contour(points * LPS_TO_RAS, Geometric(kind) if kind in set(Geometric) else Geometric.OTHER)
