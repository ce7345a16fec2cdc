"""DICOM Segmentations (PS3.3 A.51) to masks on the grid of the image they were drawn on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID, RLELossless

from pipeline.io.labelobject import LPS_TO_RAS, codes, inconsistent, items, numbers, parse, whole
from pipeline.model.contour import FARTHEST_MM
from pipeline.model.errors import LabelError
from pipeline.model.record import Json, Note, Step, decimal
from pipeline.model.volume import GRID_TOLERANCE_MM, Annotation, Grid, distinct_names

SLICE_TOLERANCE = 0.05
"""A frame lies on a slice when it is nearer than this many slice distances: headers round positions, and the
regular grid evens that out. Within the slice GRID_TOLERANCE_MM holds."""

LARGEST_FRAME = 1 << 26
"""Pixels of the largest frame that is decoded."""

_BACKGROUND = "DCM:125040"
_UNDECODABLE = (ArithmeticError, AttributeError, EOFError, LookupError, RuntimeError, TypeError, ValueError)
"""What pydicom and its decoders raise on pixel data that is not what it says it is."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Segment:
    """One declared segment."""

    number: int
    label: str
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where one frame lies on the image's grid.

    Its columns run along voxel axis `along[0]`, its rows along `along[1]`, each up (1) or down (-1). `start`
    is the voxel of its first pixel, `off` its distance from the slice in slice distances, `segment` None in
    a label map.
    """

    segment: int | None
    start: tuple[int, int, int]
    along: tuple[int, int]
    signs: tuple[int, int]
    off: float


@dataclass(frozen=True, slots=True)
class _Coding:
    """How a frame's numbers tell what is in."""

    kind: str
    threshold: float | None
    maximum: int
    padding: int | None
    segments: frozenset[int]


def read_seg(dataset: Dataset, grid: Grid, *, threshold: float | None) -> Step[Annotation]:
    """Return a segmentation's segments as masks on the whole grid of the image it was drawn on.

    Parameters
    ----------
    dataset
        DICOM Segmentation (BINARY, FRACTIONAL or LABELMAP), de-identified. Each frame is placed by its own
        position and orientation, in whichever functional groups they stand. Frames may be missing, cropped,
        permuted or mirrored against the image, but their pixels are voxels of the image.
    grid
        The image's grid in acquisition order.
    threshold
        A voxel of a FRACTIONAL segmentation is in from this fraction of MaximumFractionalValue on (above 0,
        up to 1); None: no fractions but 0 and 1 are taken.

    Returns
    -------
    Step
        Masks (I, J, K) by segment label, with their type codes, in the order of the segments; the background
        segment of a label map is left out.

    Raises
    ------
    LabelError
        label-off-grid if a frame's pixels are not voxels of the grid (GRID_TOLERANCE_MM at its corners in the
        slice, SLICE_TOLERANCE across); label-inconsistent if counts, sizes or numbers disagree;
        label-fractional; label-value-undeclared; label-unsupported; missing-geometry; undecodable;
        unreadable.
    """
    parse(dataset)
    segments = _segments(dataset)
    coding = _coding(dataset, segments, threshold)
    frames = _frames(dataset, grid, coding)
    masks: dict[int, Mask] = {}
    for place, (frame, pixels) in enumerate(zip(frames, _pixels(dataset), strict=True), start=1):
        for number, inside in _parts(frame, pixels, coding, f"frame {place}"):
            if number not in masks:
                masks[number] = np.zeros(grid.shape[::-1], dtype=np.bool_).T
            _write(masks[number], frame, inside)
    wanted = [segment for segment in segments if not _is_background(segment, coding)]
    facts: dict[str, Json] = {
        "source": "SEG",
        "kind": coding.kind,
        "frames": len(frames),
        "segments": len(wanted),
        "threshold": None if threshold is None else decimal(threshold),
        "off_plane_slices": decimal(round(max((frame.off for frame in frames), default=0.0), 6)),
    }
    return Step(_annotation(wanted, masks, grid), Note("annotation", facts))


def read_segment_names(dataset: Dataset) -> list[tuple[str, tuple[str, ...]]]:
    """Return label and type codes of each segment that is drawn, in order; nothing is decoded.

    Raises
    ------
    LabelError
        label-inconsistent, label-unsupported or unreadable, as `read_seg`.
    """
    parse(dataset)
    segments = _segments(dataset)
    coding = _coding(dataset, segments, None)
    return [(segment.label, segment.codes) for segment in segments if not _is_background(segment, coding)]


def _annotation(segments: Sequence[_Segment], masks: dict[int, Mask], grid: Grid) -> Annotation:
    """Return the masks under their segments' labels; a segment without a voxel takes no memory."""
    keys = distinct_names([segment.label for segment in segments])
    nothing = np.broadcast_to(np.False_, grid.shape)
    named = list(zip(keys, segments, strict=True))
    return Annotation(
        {key: masks.get(segment.number, nothing) for key, segment in named},
        grid,
        codes={key: segment.codes for key, segment in named if segment.codes},
        names={key: segment.label for key, segment in named if segment.label != key},
    )


def _segments(dataset: Dataset) -> list[_Segment]:
    """Return the declared segments in order of the sequence; refuse a number given twice."""
    found = [
        _Segment(
            whole(item, "SegmentNumber", f"item {place} of SegmentSequence"),
            str(item.get("SegmentLabel") or ""),
            codes(item, "SegmentedPropertyTypeCodeSequence"),
        )
        for place, item in enumerate(items(dataset, "SegmentSequence"), start=1)
    ]
    if len({segment.number for segment in found}) != len(found):
        raise inconsistent("each segment once", "a number twice", "SegmentSequence")
    return found


def _coding(dataset: Dataset, segments: Sequence[_Segment], threshold: float | None) -> _Coding:
    """Return how the pixels are to be understood."""
    kind = str(dataset.get("SegmentationType") or "")
    if kind not in {"BINARY", "FRACTIONAL", "LABELMAP"}:
        raise LabelError(
            "label-unsupported",
            wanted="SegmentationType BINARY, FRACTIONAL or LABELMAP",
            found="another or none",
            where="segmentation",
        )
    if str(dataset.get("DimensionOrganizationType") or "").startswith("TILED"):
        raise LabelError(
            "label-unsupported", wanted="frames of a volume", found="tiles of a slide", where="segmentation"
        )
    if threshold is not None and not 0 < threshold <= 1:
        raise ValueError("a threshold is above 0 and at most 1")
    padded = kind == "LABELMAP" and dataset.get("PixelPaddingValue") is not None
    return _Coding(
        kind,
        threshold,
        maximum=whole(dataset, "MaximumFractionalValue", "segmentation") if kind == "FRACTIONAL" else 1,
        padding=whole(dataset, "PixelPaddingValue", "segmentation") if padded else None,
        segments=frozenset(segment.number for segment in segments),
    )


def _is_background(segment: _Segment, coding: _Coding) -> bool:
    """Whether a segment of a label map only says where nothing was drawn (PS3.3 C.8.20.2)."""
    return coding.kind == "LABELMAP" and (segment.number == coding.padding or _BACKGROUND in segment.codes)


# Frames and their places


def _frames(dataset: Dataset, grid: Grid, coding: _Coding) -> list[_Frame]:
    """Return where each frame lies; refuse two of one segment at one place, and sizes that do not agree."""
    groups = items(dataset, "PerFrameFunctionalGroupsSequence")
    size = _frame_size(dataset, len(groups))
    shared = (items(dataset, "SharedFunctionalGroupsSequence") or [Dataset()])[0]
    frames: list[_Frame] = []
    for place, group in enumerate(groups, start=1):
        where = f"frame {place} of {len(groups)}"
        segment = None if coding.kind == "LABELMAP" else _segment_of(group, shared, where)
        if segment is not None and segment not in coding.segments:
            raise inconsistent("frames of declared segments", "another", where)
        frames.append(_placed(segment, _plane(group, shared, where), size, grid, where))
    places = {(frame.segment, frame.start, frame.along) for frame in frames}
    if len(places) != len(frames):
        raise inconsistent(
            "one frame of a segment at one place", f"{len(frames) - len(places)} more", "frames"
        )
    return frames


def _frame_size(dataset: Dataset, frames: int) -> tuple[int, int]:
    """Return columns and rows; refuse sizes that frames and pixel data do not bear out."""
    where = "segmentation"
    columns, rows = whole(dataset, "Columns", where), whole(dataset, "Rows", where)
    declared = whole(dataset, "NumberOfFrames", where) if "NumberOfFrames" in dataset else 1
    if declared != frames or frames < 1:
        raise inconsistent(f"{declared} frames, as declared", f"{frames} functional groups", where)
    if not 0 < columns * rows <= LARGEST_FRAME or min(columns, rows) < 1:
        raise LabelError(
            "label-too-large", wanted=f"at most {LARGEST_FRAME} pixels a frame", found="others", where=where
        )
    if dataset.get("SamplesPerPixel", 1) != 1 or "PixelData" not in dataset:
        raise inconsistent("PixelData of one sample per pixel", "something else", where)
    bits = columns * rows * frames * whole(dataset, "BitsAllocated", where)
    held, wanted = len(dataset.PixelData), (bits + 7) // 8
    # PS3.5 8.2: native frames follow each other without gaps, padded to an even length once.
    if not _is_encapsulated(dataset) and held not in {wanted, wanted + wanted % 2}:
        raise inconsistent(f"{wanted} bytes of pixels", f"{held}", where)
    return columns, rows


def _is_encapsulated(dataset: Dataset) -> bool:
    syntax = getattr(dataset, "file_meta", Dataset()).get("TransferSyntaxUID", UID(""))
    if not syntax.is_transfer_syntax:
        raise LabelError(
            "undecodable", wanted="a transfer syntax", found="none", where="segmentation's file meta"
        )
    return bool(syntax.is_encapsulated)


def _group(group: Dataset, shared: Dataset, keyword: str) -> Dataset:
    """Return a functional group's item, the frame's own before the shared one; empty when there is none."""
    return (items(group, keyword) or items(shared, keyword) or [Dataset()])[0]


def _segment_of(group: Dataset, shared: Dataset, where: str) -> int:
    return whole(_group(group, shared, "SegmentIdentificationSequence"), "ReferencedSegmentNumber", where)


def _plane(group: Dataset, shared: Dataset, where: str) -> npt.NDArray[np.float64]:
    """Return a frame's step along its columns, along its rows, and its first pixel, RAS+ mm, shape (3, 3)."""
    orientation = numbers(_group(group, shared, "PlaneOrientationSequence"), "ImageOrientationPatient", where)
    spacing = numbers(_group(group, shared, "PixelMeasuresSequence"), "PixelSpacing", where)
    position = numbers(_group(group, shared, "PlanePositionSequence"), "ImagePositionPatient", where)
    is_complete = (len(orientation), len(spacing), len(position)) == (6, 2, 3) and (spacing > 0).all()
    if not is_complete or np.abs(np.concatenate([orientation, spacing, position])).max() > FARTHEST_MM:
        raise LabelError(
            "missing-geometry",
            wanted="orientation, pixel spacing and position",
            found="not all of them",
            where=where,
        )
    # PS3.3 C.7.6.2.1.1: PixelSpacing is the row spacing first, so it belongs to the step from row to row.
    steps = np.stack([orientation[:3] * spacing[1], orientation[3:] * spacing[0], position])
    return np.asarray(steps * LPS_TO_RAS, dtype=np.float64)


def _placed(
    segment: int | None, plane: npt.NDArray[np.float64], size: tuple[int, int], grid: Grid, where: str
) -> _Frame:
    """Return the voxels that a frame's pixels are; refuse a frame between them or beyond them."""
    to_index = np.linalg.inv(grid.affine)
    steps = plane[:2] @ to_index[:3, :3].T
    along = (int(np.argmax(np.abs(steps[0]))), int(np.argmax(np.abs(steps[1]))))
    signs = (1 if steps[0, along[0]] > 0 else -1, 1 if steps[1, along[1]] > 0 else -1)
    first = np.rint(to_index[:3, :3] @ plane[2] + to_index[:3, 3]).astype(np.int64)
    start = (int(first[0]), int(first[1]), int(first[2]))
    if along[0] == along[1]:
        raise _off_grid("pixel axes along two voxel axes", "both along one", where)
    last = list(start)
    for axis, sign, count in zip(along, signs, size, strict=True):
        last[axis] += sign * (count - 1)
    if min(*start, *last) < 0 or (np.array([start, last]) >= grid.shape).any():
        raise _off_grid("a frame within the image's grid", "one that reaches beyond it", where)
    frame = _Frame(segment, start, along, signs, off=0.0)
    in_plane, across = _deviation(frame, plane, size, grid)
    if in_plane > GRID_TOLERANCE_MM or across > SLICE_TOLERANCE:
        found = f"a corner {in_plane:.3g} mm off in the slice, {across:.3g} slice distances across"
        raise _off_grid("pixels that are voxels of the image", found, where)
    return _Frame(segment, start, along, signs, off=across)


def _deviation(
    frame: _Frame, plane: npt.NDArray[np.float64], size: tuple[int, int], grid: Grid
) -> tuple[float, float]:
    """Return how far a frame's corners are from their voxels: mm in the slice, slice distances across."""
    ends = np.array([[c, r] for c in (0, size[0] - 1) for r in (0, size[1] - 1)])
    wanted = np.tile(np.array(frame.start), (4, 1))
    for column, (axis, sign) in enumerate(zip(frame.along, frame.signs, strict=True)):
        wanted[:, axis] += sign * ends[:, column]
    apart = ends @ plane[:2] + plane[2] - (wanted @ grid.affine[:3, :3].T + grid.affine[:3, 3])
    first, second = (grid.affine[:3, axis] for axis in frame.along)
    normal = np.cross(first, second) / np.linalg.norm(np.cross(first, second))
    step = abs(float(normal @ grid.affine[:3, 3 - sum(frame.along)]))
    across = apart @ normal
    in_plane = np.linalg.norm(apart - across[:, None] * normal, axis=1)
    return float(in_plane.max()), float(np.abs(across).max()) / step


def _off_grid(wanted: str, found: str, where: str) -> LabelError:
    return LabelError("label-off-grid", wanted=wanted, found=found, where=where)


# Pixels


def _pixels(dataset: Dataset) -> Iterator[npt.NDArray[np.integer]]:
    """Yield each frame's pixels, shape (rows, columns)."""
    try:
        if _is_packed(dataset):
            yield from _bits(dataset)
        else:
            # pydicom's own RLE decoder cannot crash the process, as compiled ones can.
            plugin = "pydicom" if dataset.file_meta.TransferSyntaxUID == RLELossless else ""
            yield from iter_pixels(dataset, raw=True, decoding_plugin=plugin)
    except _UNDECODABLE:
        # Not chained: decoders quote what they choke on.
        raise LabelError(
            "undecodable", wanted="frames that decode", found="one that does not", where="segmentation"
        ) from None


def _is_packed(dataset: Dataset) -> bool:
    """Whether the pixels are single bits, eight to a byte."""
    syntax = dataset.file_meta.TransferSyntaxUID
    return dataset.BitsAllocated == 1 and not syntax.is_encapsulated and bool(syntax.is_little_endian)


def _bits(dataset: Dataset) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield each frame of single bits, which follow each other without gaps, lowest first (PS3.5 8.1.1).

    Not by pydicom, which (3.0.2) cuts frames short that do not end with a byte when it yields them one by one.
    """
    shape = (int(dataset.Rows), int(dataset.Columns))
    content = np.frombuffer(dataset.PixelData, dtype=np.uint8)
    size = shape[0] * shape[1]
    for begin in range(0, size * int(dataset.NumberOfFrames), size):
        end = begin + size
        bits = np.unpackbits(content[begin // 8 : (end + 7) // 8], bitorder="little")
        yield bits[begin % 8 : begin % 8 + size].reshape(shape)


def _parts(
    frame: _Frame, pixels: npt.NDArray[np.integer], coding: _Coding, where: str
) -> Iterator[tuple[int, Mask]]:
    """Yield the segments of a frame that have a pixel in it, and which pixels those are."""
    if frame.segment is None:
        yield from _labelled(pixels, coding, where)
    else:
        inside = _inside(pixels, coding, where)
        if inside.any():
            yield frame.segment, inside


def _labelled(pixels: npt.NDArray[np.integer], coding: _Coding, where: str) -> Iterator[tuple[int, Mask]]:
    """Yield each segment of a label map's frame; 0 and the padding value may go undeclared."""
    for number in (int(value) for value in np.unique(pixels)):
        if number in coding.segments:
            yield number, pixels == number
        elif number not in {0, coding.padding}:
            raise LabelError(
                "label-value-undeclared", wanted="numbers of declared segments", found="another", where=where
            )


def _inside(pixels: npt.NDArray[np.integer], coding: _Coding, where: str) -> Mask:
    """Return which pixels of one segment's frame are in."""
    if int(pixels.max()) > coding.maximum or int(pixels.min()) < 0:
        raise inconsistent(f"pixels from 0 to {coding.maximum}", "others", where)
    if coding.threshold is not None:
        return np.asarray(pixels >= coding.threshold * coding.maximum)
    inside = pixels == coding.maximum
    if (inside | (pixels == 0)).all():
        return np.asarray(inside)
    raise LabelError("label-fractional", wanted="fractions 0 and 1", found="others", where=where)


def _write(mask: Mask, frame: _Frame, inside: Mask) -> None:
    """Put a frame's pixels, shape (rows, columns), where they belong."""
    place: list[slice | int] = list(frame.start)
    for axis, sign, count in zip(frame.along, frame.signs, inside.shape[::-1], strict=True):
        begin = frame.start[axis]
        end = begin + sign * count
        place[axis] = slice(begin, end if end >= 0 else None, sign)
    mask[tuple(place)] |= inside.T if frame.along[0] < frame.along[1] else inside
