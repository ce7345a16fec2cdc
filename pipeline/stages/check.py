"""Look at a finished image and its label once more, knowing nothing of how they were made."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.model.errors import GeometryError, IntensityError, LabelError
from pipeline.model.record import Json, Note, decimal
from pipeline.model.rules import Channel, LabelClass, RobustMinMax
from pipeline.model.volume import Quantity, Volume, axis_codes

HOUNSFIELD_RANGE = (-32768, 32767)
"""HU: what a CT value can be. 12-bit scanners reach 3,071, extended scales (metal) about 31,000."""

AIR_HU = -100
"""HU: an image with nothing below holds neither air nor fat, so its rescale is doubtful."""


def check(
    image: Sequence[Volume],
    label: Volume | None,
    *,
    channels: Sequence[Channel],
    classes: Sequence[LabelClass],
) -> Note:
    """Return what the finished case holds, or refuse it.

    Parameters
    ----------
    image
        One volume for each channel, shape (I, J, K) each, in the rules' order.
    label
        The label, or None for a case without one.
    channels, classes
        The rules' channels and label classes.

    Returns
    -------
    Note
        Smallest and largest value of each channel, voxels of each label value, and warnings.

    Raises
    ------
    GeometryError
        If a volume is not RAS+, or the channels do not share shape and affine exactly.
    IntensityError
        If a channel is not int16 or float32, not finite, constant, or outside what its quantity can be.
    LabelError
        If the label lies on another grid, is not uint8 or uint16, holds a value that no class declares, or
        lacks a required class.
    """
    _check_grids(image)
    ranges = {channel.name: _range(volume, channel) for volume, channel in zip(image, channels, strict=True)}
    facts: dict[str, Json] = {
        "axes": axis_codes(image[0].affine),
        "channels": {
            name: {"min": decimal(low), "max": decimal(high)} for name, (low, high) in ranges.items()
        },
        "warnings": [text for channel in channels for text in _warnings(channel, ranges[channel.name][0])],
    }
    if label is not None:
        facts["label"] = _label_counts(label, image[0], classes)
    return Note("check", facts)


def _check_grids(image: Sequence[Volume]) -> None:
    first = image[0]
    codes = axis_codes(first.affine)
    if codes != "RAS":
        raise GeometryError("not-ras", wanted="axes RAS", found=f"axes {codes}", where="check")
    for number, volume in enumerate(image):
        if volume.data.shape != first.data.shape or not np.array_equal(volume.affine, first.affine):
            raise GeometryError(
                "mixed-grids",
                wanted="every channel on the first channel's grid",
                found="another shape or affine",
                where=f"check, channel {number}",
            )


def _range(volume: Volume, channel: Channel) -> tuple[float, float]:
    where = f"check, channel {channel.name}"
    if volume.data.dtype not in (np.int16, np.float32):
        raise IntensityError(
            "out-of-range", wanted="int16 or float32", found=str(volume.data.dtype), where=where
        )
    low, high = float(volume.data.min()), float(volume.data.max())
    # NaN and infinity always show in the extremes.
    if not (np.isfinite(low) and np.isfinite(high)):
        raise IntensityError("not-finite", wanted="finite values", found="NaN or infinity", where=where)
    if low == high:
        raise IntensityError(
            "constant-intensity", wanted="values that differ", found=f"{decimal(low)} everywhere", where=where
        )
    least, most = _allowed(channel)
    if low < least or high > most:
        raise IntensityError(
            "out-of-range",
            wanted=f"{channel.quantity.value} within {decimal(least)} to {decimal(most)}",
            found=f"{decimal(low)} to {decimal(high)}",
            where=where,
        )
    return low, high


def _allowed(channel: Channel) -> tuple[float, float]:
    """Return the range that a channel's values cannot leave, in its unit."""
    if isinstance(channel.scale, RobustMinMax):
        low, high = channel.scale.range
        return float(np.float32(low)), float(np.float32(high))
    if channel.quantity is Quantity.HOUNSFIELD:
        return HOUNSFIELD_RANGE
    limit = float(np.finfo(np.float32).max)
    return -limit, limit


def _warnings(channel: Channel, low: float) -> list[str]:
    if channel.quantity is Quantity.HOUNSFIELD and low >= AIR_HU:
        return [f"channel {channel.name}: no value below {AIR_HU} HU"]
    return []


def _label_counts(label: Volume, image: Volume, classes: Sequence[LabelClass]) -> dict[str, Json]:
    """Return the voxels of each declared value, background included."""
    if label.data.shape != image.data.shape or not np.array_equal(label.affine, image.affine):
        raise LabelError(
            "label-off-grid", wanted="the image's shape and affine", found="another", where="check, label"
        )
    if label.data.dtype not in (np.uint8, np.uint16):
        raise LabelError(
            "label-not-whole", wanted="uint8 or uint16", found=str(label.data.dtype), where="check, label"
        )
    counts = np.bincount(label.data.ravel(order="K"), minlength=len(classes) + 1)
    declared = {0, *(each.value for each in classes)}
    unknown = [int(value) for value in np.flatnonzero(counts) if int(value) not in declared]
    if unknown:
        raise LabelError(
            "label-value-undeclared",
            wanted=f"values {sorted(declared)}",
            found=f"also {unknown[:10]}",
            where="check, label",
        )
    empty = [each.name for each in classes if each.required and counts[each.value] == 0]
    if empty:
        raise LabelError(
            "label-missing-class",
            wanted="a voxel of every required class",
            found=f"none of {', '.join(empty)}",
            where="check, label",
        )
    return {str(value): int(counts[value]) for value in sorted(declared)}
