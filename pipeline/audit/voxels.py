"""Voxels, block by block, against quantity, scale, classes and what the manifest counted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.audit.claims import Channel, Claim, number_of
from pipeline.audit.nifti import NiftiHeader
from pipeline.audit.report import Spot, failure
from pipeline.audit.scaling import Tally, check_percentiles


def _blocks(pieces: Iterable[bytes], header: NiftiHeader) -> Iterator[npt.NDArray[Any]]:
    """Yield the voxels in file order, block by block; report-worthy are too few or too many bytes.

    Raises
    ------
    EvidenceError
        If there are not exactly the bytes that shape and dtype need.
    """
    dtype = np.dtype(header.code)
    left, carried = math.prod(header.shape) * dtype.itemsize, b""
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            raise failure("as many voxels as the header says", "more bytes")
        content = carried + piece if carried else piece
        whole = len(content) // dtype.itemsize
        carried = content[whole * dtype.itemsize :]
        yield np.frombuffer(content, dtype=dtype, count=whole)
    if left:
        raise failure("as many voxels as the header says", f"{left} bytes less")


def audit_image(
    pieces: Iterable[bytes], header: NiftiHeader, claim: Claim, channels: Sequence[Channel], spot: Spot
) -> None:
    """Check values against what quantity and scaling allow."""
    tallies = [Tally(channel) for channel in channels]
    per_channel, position = math.prod(header.shape[:3]), 0
    for block in _blocks(pieces, header):
        while block.size:
            place = position // per_channel
            part = block[: (place + 1) * per_channel - position]
            # A fourth axis that is too long was reported; its surplus has no rule.
            if place < len(tallies):
                tallies[place].add(part)
            position += part.size
            block = block[part.size :]
    for channel, tally in zip(channels, tallies, strict=True):
        if tally.lows:
            _check_channel(channel, tally, header, claim, spot)


def _check_channel(channel: Channel, tally: Tally, header: NiftiHeader, claim: Claim, spot: Spot) -> None:
    low, high = tally.range
    if not (math.isfinite(low) and math.isfinite(high)):
        spot.report("check", wanted=f"finite values in channel {channel.name}", found="NaN or infinity")
        return
    if low == high:
        spot.report(
            "check", wanted=f"values that differ in channel {channel.name}", found=f"{low:g} everywhere"
        )
    fits = low >= -32768 and high <= 32767
    if (
        channel.quantity == "hounsfield"
        and header.dtype == "float32"
        and len(header.shape) == 3
        and fits
        and tally.is_whole
    ):
        spot.report("convert", wanted="int16, because all values are whole and fit", found="float32")
    for note in claim.notes:
        ranges = note.get("channels") if note["stage"] == "check" else None
        told = ranges.get(channel.name) if isinstance(ranges, dict) else None
        if isinstance(told, dict) and (number_of(told, "min"), number_of(told, "max")) != (low, high):
            spot.report(
                "check", wanted=f"the noted range of channel {channel.name}", found=f"{low:.9g} to {high:.9g}"
            )
    if channel.range is not None:
        spot.expect("scale", f"channel {channel.name} over exactly", wanted=channel.range, found=(low, high))
        check_percentiles(channel, tally, math.prod(header.shape[:3]), claim, spot)


def audit_label(
    pieces: Iterable[bytes], header: NiftiHeader, claim: Claim, classes: Sequence[str], spot: Spot
) -> None:
    """Check that values are declared and as many as claimed."""
    counts, unknown = [0] * len(classes), set()
    for block in _blocks(pieces, header):
        here = _counted(block, len(classes))
        counts = [total + more for total, more in zip(counts, here, strict=True)]
        if sum(here) != block.size:
            unknown |= set(np.unique(block).tolist()) - set(range(len(classes)))
    if unknown:
        declared = ", ".join(map(str, range(len(classes))))
        spot.report("label", wanted=f"the values {declared}", found=f"also {sorted(unknown)[:10]}")
    for value in range(1, len(classes)):
        told = claim.classes.get(str(value), {}).get("voxels", 0)
        spot.expect(
            "label",
            f"as many voxels of class {value} as the manifest says,",
            wanted=told,
            found=counts[value],
        )
    _check_label_notes(counts, claim, spot)


def _counted(block: npt.NDArray[Any], classes: int) -> list[int]:
    """Return how many voxels have each declared value."""
    counts = [0] * classes
    if block.size:
        # Most blocks of a label are background from end to end.
        low, high = int(block.min()), int(block.max())
        for value in range(low, min(high + 1, classes)):
            counts[value] = block.size if low == high else int(np.count_nonzero(block == value))
    return counts


def _check_label_notes(counts: Sequence[int], claim: Claim, spot: Spot) -> None:
    """Report unless label and check counted what is there."""
    for note in claim.notes:
        told = note.get("classes") if note["stage"] == "label" else note.get("label")
        for value, part in told.items() if isinstance(told, dict) else ():
            number = part.get("voxels") if isinstance(part, dict) else part
            wanted = counts[int(value)] if value.isdecimal() and int(value) < len(counts) else None
            spot.expect(
                note["stage"], f"as many voxels of value {value} as noted,", wanted=number, found=wanted
            )
