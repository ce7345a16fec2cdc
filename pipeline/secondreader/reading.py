"""DICOM files to slices with values and places, by SimpleITK and GDCM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import numpy.typing as npt
import SimpleITK

Vector = npt.NDArray[np.float64]

_FRAMES, _SHARED = (0x5200, 0x9230), (0x5200, 0x9229)
_ORIENTATION = (0x0020, 0x9116), (0x0020, 0x0037)
_POSITION = (0x0020, 0x9113), (0x0020, 0x0032)
_SPACING = (0x0028, 0x9110), (0x0028, 0x0030)
_INTERCEPT, _SLOPE = ((0x0028, 0x9145), (0x0028, 0x1052)), ((0x0028, 0x9145), (0x0028, 0x1053))
"""Functional group -> the element in it (PS3.3 C.7.6.16)."""


class UnreadError(Exception):
    """Neither SimpleITK nor GDCM reads the file as slices."""


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """One slice: values of shape (rows, columns); LPS+ mm of its first pixel, unit vectors along row and column.

    `spacing` is the distance of columns, then of rows, in mm; `is_plain` whether the stored bits need no shift and
    have no sign within their word.
    """

    values: npt.NDArray[Any]
    position: Vector
    row: Vector
    column: Vector
    spacing: tuple[float, float]
    is_plain: bool = True

    def corners(self) -> Vector:
        """Return the RAS+ mm of the first pixel and of the last ones along row, column and both, shape (4, 3)."""
        rows, columns = self.values.shape
        across = self.row * self.spacing[0] * (columns - 1)
        down = self.column * self.spacing[1] * (rows - 1)
        lps = self.position + np.array([0 * across, across, down, across + down])
        ras: Vector = lps * [-1.0, -1.0, 1.0]
        return ras


def read_slices(path: Path) -> list[Slice]:
    """Return the slices of one file, in the order of its frames.

    Raises
    ------
    UnreadError
        If it is no image, or of an encoding that neither library decodes.
    """
    # SimpleITK prints what it doubts, with names of files.
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    gdcm.Trace.WarningOff()
    gdcm.Trace.ErrorOff()
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        return _frames(path) if _number(reader, "0028|0008") > 1 else [_single(reader)]
    except RuntimeError as fault:
        raise UnreadError from fault


def _single(reader: SimpleITK.ImageFileReader) -> Slice:
    image = reader.Execute()
    values = SimpleITK.GetArrayFromImage(image)
    axes = np.array(image.GetDirection()).reshape(3, 3)
    across, down = image.GetSpacing()[:2]
    stored, high, signed = (_number(reader, key) for key in ("0028|0101", "0028|0102", "0028|0103"))
    is_plain = high == stored - 1 and (not signed or stored % 8 == 0)
    place = np.array(image.GetOrigin())
    return Slice(values[0], place, axes[:, 0], axes[:, 1], (across, down), is_plain)


def _number(reader: SimpleITK.ImageFileReader, key: str) -> int:
    return int(reader.GetMetaData(key)) if reader.HasMetaDataKey(key) else 0


def _frames(path: Path) -> list[Slice]:
    """Return the frames of an enhanced image, each with its own place and rescale."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    if not reader.Read():
        raise UnreadError
    top = _Level(reader.GetFile().GetDataSet(), reader)
    shared, own = _items(top, _SHARED), _items(top, _FRAMES)
    stack = _stored(reader.GetImage())
    if len(own) != len(stack):
        raise UnreadError
    pixels = reader.GetImage().GetPixelFormat()
    is_plain = pixels.GetHighBit() == pixels.GetBitsStored() - 1 and not pixels.GetPixelRepresentation()
    return [_frame(values, [groups, *shared], is_plain) for values, groups in zip(stack, own, strict=True)]


def _stored(image: gdcm.Image) -> npt.NDArray[Any]:
    """Return the stored numbers of all frames, shape (frames, rows, columns)."""
    pixels = image.GetPixelFormat()
    kinds = "i" if pixels.GetPixelRepresentation() else "u"
    dtype = np.dtype(f"<{kinds}{pixels.GetBitsAllocated() // 8}")
    columns, rows, *frames = (image.GetDimension(axis) for axis in range(image.GetNumberOfDimensions()))
    raw = image.GetBuffer().encode("utf-8", errors="surrogateescape")
    if pixels.GetSamplesPerPixel() != 1 or not frames:
        raise UnreadError
    return np.frombuffer(raw, dtype).reshape(frames[0], rows, columns)


def _frame(stored: npt.NDArray[Any], groups: Sequence[_Level], is_plain: bool) -> Slice:
    orientation = _numbers(groups, *_ORIENTATION)
    between_rows, between_columns = _numbers(groups, *_SPACING)
    slope, intercept = _numbers(groups, *_SLOPE) or [1.0], _numbers(groups, *_INTERCEPT) or [0.0]
    values = stored if slope == [1] and intercept == [0] else stored * slope[0] + intercept[0]
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    position = np.array(_numbers(groups, *_POSITION))
    if position.shape != (3,) or row.shape != column.shape:
        raise UnreadError
    return Slice(values, position, row, column, (between_columns, between_rows), is_plain)


def _numbers(groups: Sequence[_Level], sequence: tuple[int, int], element: tuple[int, int]) -> list[float]:
    """Return an element of a functional group, that of the frame before the shared one; none where it is nowhere."""
    for level in groups:
        for item in _items(level, sequence)[:1]:
            if item.dataset.FindDataElement(gdcm.Tag(*element)):
                text = str(item.dataset.GetDataElement(gdcm.Tag(*element)).GetByteValue() or "")
                return [float(part) for part in text.replace("\0", " ").split("\\") if part.strip()]
    return []


@dataclass(frozen=True, slots=True, eq=False)
class _Level:
    """A dataset of GDCM, and what it lies in: GDCM frees a sequence that nobody holds, with its items."""

    dataset: Any
    holder: Any


def _items(level: _Level, tag: tuple[int, int]) -> list[_Level]:
    if not level.dataset.FindDataElement(gdcm.Tag(*tag)):
        return []
    sequence = level.dataset.GetDataElement(gdcm.Tag(*tag)).GetValueAsSQ()
    count = 0 if sequence is None else sequence.GetNumberOfItems()
    items = [sequence.GetItem(number) for number in range(1, count + 1)]
    return [_Level(item.GetNestedDataSet(), (level, sequence, item)) for item in items]
