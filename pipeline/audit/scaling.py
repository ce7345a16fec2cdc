"""Robust scaling: the note against the rule, the values against the note."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.audit.claims import Channel, Claim, channel_faults, number_of
from pipeline.audit.report import Spot


def check_scale_note(note: Mapping[str, Any], channel: Channel, shape: Sequence[int], spot: Spot) -> None:
    """Compare what scale says of itself with the rule that the header gives for the channel."""
    document = {"name": channel.name, "quantity": channel.quantity, "scale": _part(note, _SCALE_KEYS)}
    if any(channel_faults(document)) or Channel.of(document) != channel:
        spot.report(
            "scale", wanted=f"the rule of channel {channel.name}", found=f"a note of {note.get('method')}"
        )
        return
    spot.expect("scale", "the quantity", wanted=channel.quantity, found=note.get("quantity"))
    if channel.percentiles is None:
        return
    low, high, voxels = number_of(note, "low"), number_of(note, "high"), math.prod(shape[:3])
    if not low < high:
        spot.report("scale", wanted="a lower cut-off below the upper one", found=f"{low:g} and {high:g}")
    spot.expect("scale", "the number of voxels", wanted=voxels, found=note.get("voxels"))
    for name, share in zip(_CLIPPED, _clipped_shares(channel), strict=True):
        # No more voxels than the percentile leaves outside can lie beyond its cut-off; zeros left out may.
        if channel.over == "all" and not 0 <= number_of(note, name) <= _rank(voxels, share):
            spot.report(
                "scale", wanted=f"{name} of at most {_rank(voxels, share)} voxels", found=note.get(name)
            )


_SCALE_KEYS = ("method", "percentiles", "over", "range")


_CLIPPED = ("clipped_below", "clipped_above")


def _part(note: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: note[key] for key in keys if key in note}


def _clipped_shares(channel: Channel) -> tuple[float, float]:
    """Return the shares of voxels outside the lower and the upper percentile."""
    low, high = channel.percentiles or (0.0, 100.0)
    return low / 100, 1 - high / 100


def _rank(voxels: int, share: float) -> int:
    """Return how many of the sorted voxels lie at or beyond a percentile between samples (type 7)."""
    return math.floor((voxels - 1) * share + 1e-9 * voxels) + 1 if voxels else 0


class Tally:
    """Running numbers of one channel: range, voxels at the ends of the scale, whether all are whole."""

    def __init__(self, channel: Channel) -> None:
        self._ends = channel.range
        self._asks_whole = channel.quantity == "hounsfield"
        self.lows: list[float] = []
        self.highs: list[float] = []
        self.at_ends = [0, 0]
        self.is_whole = True

    def add(self, values: npt.NDArray[Any]) -> None:
        """Count further voxels of the channel, at least one."""
        # NaN and infinity always show in the extremes.
        low, high = float(values.min()), float(values.max())
        self.lows.append(low)
        self.highs.append(high)
        if self._ends is not None:
            for place, end in enumerate(self._ends):
                if low == high == end:
                    self.at_ends[place] += values.size
                elif low <= end <= high:
                    self.at_ends[place] += int(np.count_nonzero(values == end))
        if self._asks_whole and self.is_whole and values.dtype.kind == "f":
            self.is_whole = bool((values == np.rint(values)).all())

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest value; NaN if there is one."""
        # Python's min would lose a NaN that is not first.
        return float(np.min(self.lows)), float(np.max(self.highs))


def check_percentiles(channel: Channel, tally: Tally, voxels: int, claim: Claim, spot: Spot) -> None:
    """Report unless each end of the range holds at least the share of voxels that its percentile clips."""
    notes = [n for n in claim.notes if n["stage"] == "scale" and n.get("channel") == channel.name]
    counted = voxels
    if channel.over == "nonzero":
        # Zeros went to the lower end if the lower cut-off is not below them; all others were surely counted.
        is_above = all(number_of(note, "low") >= 0 for note in notes)
        counted = voxels - tally.at_ends[0] if is_above else 0
    for place, share in enumerate(_clipped_shares(channel)):
        least = _rank(voxels if place == 0 and channel.over == "all" else counted, share) - 1
        clipped = [number_of(note, _CLIPPED[place]) for note in notes]
        least = max([least, *(int(number) for number in clipped if math.isfinite(number))])
        if tally.at_ends[place] < least:
            end = f"{(channel.range or (0, 0))[place]:g}"
            wanted = f"at least {least} voxels at {end} in channel {channel.name}"
            spot.report("scale", wanted=wanted, found=tally.at_ends[place])
