"""Find slices whose own rescale breaks a rule that those of all other slices of a stack keep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from math import isfinite

import numpy as np

from pipeline.model.outlier import odd_ones

FEWEST_WITNESSES = 8
"""So many slices with slopes of their own must keep a rule before another one can break it."""

FINE = 32
"""How many times finer than a rule's own grain decimals must be: by chance eight would keep it once in 16**8 times."""

FULL_SCALES = (1, 32767, 65535)
"""Slopes are often the largest value of a slice, in single precision, through the largest stored number."""


@dataclass(frozen=True, slots=True)
class OwnRescale:
    """What one slice's header says of its rescale, None where it says nothing, and its ends of stored numbers.

    `window` is the first WindowWidth, `mapped` slope and intercept of the one Real World Value Mapping.
    """

    slope: Decimal | None
    intercept: Decimal | None
    window: Decimal | None = None
    mapped: tuple[float, float] | None = None
    smallest: int = 0
    largest: int = 1


def written(value: object) -> Decimal | None:
    """Return a decimal string with all the digits that it was written with, None where it is no finite number."""
    if not isinstance(value, (str, int, float, Decimal)):
        return None
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return number if isfinite(float(number)) else None


def rule_breakers(slices: Sequence[OwnRescale]) -> tuple[int, ...]:
    """Return the numbers of the few slices that break a rule which all others keep.

    The rules are exact within the rounding of the decimal strings: the same intercept, or the same stored number
    of the value 0; a slope that is a number of single precision, or one through the largest stored number; a
    window as wide as the slope times the largest stored number; the slope and intercept of the Real World Value
    Mapping. A rule counts where at least eight slices with different slopes keep it that hardly could by chance.
    """
    broken: set[int] = set()
    for kept, tell in _rules(slices):
        witnesses = {
            one.slope for one, is_kept, tells in zip(slices, kept, tell, strict=True) if is_kept and tells
        }
        if len(witnesses) >= FEWEST_WITNESSES:
            usual_is_kept = kept.count(True) > len(kept) / 2
            broken.update(odd_ones(kept) if usual_is_kept else ())
    return tuple(sorted(broken))


Rule = tuple[list[bool], list[bool]]
"""Whether each slice keeps a rule, and whether it hardly could by chance."""


def _rules(slices: Sequence[OwnRescale]) -> Iterator[Rule]:
    yield [one.slope is not None for one in slices], [True] * len(slices)
    known = [one.intercept for one in slices if one.intercept is not None]
    if not known:
        return
    usual = max(set(known), key=known.count)
    yield [one.intercept in (usual, None) for one in slices], [True] * len(slices)
    yield _split([_zero(one, _zero_point(slices)) for one in slices])
    for scale in FULL_SCALES:
        yield _split([_single(one, scale) for one in slices])
    for ends in ([one.largest for one in slices], [FULL_SCALES[1]] * len(slices)):
        yield _split([_window(one, end) for one, end in zip(slices, ends, strict=True)])
    yield (
        [one.mapped is None or _is_mapped(one) for one in slices],
        [one.mapped is not None for one in slices],
    )


def _split(found: Sequence[tuple[float, float, float]]) -> Rule:
    """Return a rule of how far each slice is off, how far it may be, and the grain by which others would be off."""
    return [off <= most for off, most, _ in found], [most * FINE <= grain for _, most, grain in found]


_KEEPS = 0.0, 0.0, -1.0
"""Off by nothing, and no witness: a slice of one value, or of no number to compare."""


def _unit(number: Decimal) -> float:
    """Return one of the last place: some writers cut where others round."""
    return float(Decimal((0, (1,), int(number.as_tuple().exponent))))


def _zero_point(slices: Sequence[OwnRescale]) -> float:
    lines = [
        (float(one.intercept), float(one.slope)) for one in slices if one.slope and one.intercept is not None
    ]
    points = [intercept / slope for intercept, slope in lines if slope]
    return float(np.median(points)) if points else 0.0


def _zero(one: OwnRescale, point: float) -> tuple[float, float, float]:
    if not one.slope or one.intercept is None or one.smallest == one.largest:
        return _KEEPS
    wanted = point * float(one.slope)
    most = _unit(one.intercept) + abs(point) * _unit(one.slope) + abs(wanted) * 2.0**-23
    return abs(float(one.intercept) - wanted), most, abs(wanted)


def _single(one: OwnRescale, scale: int) -> tuple[float, float, float]:
    if not one.slope or one.smallest == one.largest:
        return _KEEPS
    product = float(one.slope) * scale
    with np.errstate(over="ignore", invalid="ignore"):
        single = np.float32(product)
        grain = float(np.spacing(abs(single)))
    return abs(float(single) - product), _unit(one.slope) * scale, grain


def _window(one: OwnRescale, largest: int) -> tuple[float, float, float]:
    if not one.slope or one.window is None or one.smallest == one.largest:
        return _KEEPS
    wanted = float(one.slope) * largest
    most = _unit(one.window) + _unit(one.slope) * abs(largest) + abs(wanted) * 2.0**-22
    return abs(float(one.window) - wanted), most, abs(wanted)


def _is_mapped(one: OwnRescale) -> bool:
    if one.slope is None or one.intercept is None or one.mapped is None:
        return False
    return all(
        abs(float(number) - mapped) <= _unit(number) + abs(mapped) * 2.0**-22
        for number, mapped in zip((one.slope, one.intercept), one.mapped, strict=True)
    )
