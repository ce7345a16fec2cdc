"""Find the few slices of a stack whose headers say something else than all the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

FEW = 0.1
"""Up to this share of the slices, and one in any stack, are outliers; with more, each slice says what it means."""

FEWEST_SLICES = 3
"""Of two slices that differ nobody knows which one is odd."""

CLEARLY = 0.5
"""An outlier's own values must lie nearer to its neighbours than so many times what the others' header would make."""

LOCATION_TOLERANCE_MM = 0.1
"""How far SliceLocation may be from its place: it is rounded as positions are."""


def odd_ones(said: Sequence[Hashable]) -> tuple[int, ...]:
    """Return the numbers of the few slices that say otherwise than all the others, who agree; none in any other case.

    Where every slice says something of its own, as in PET, none is odd.
    """
    if len(said) < FEWEST_SLICES:
        return ()
    usual, count = Counter(said).most_common(1)[0]
    odd = tuple(number for number, one in enumerate(said) if one != usual)
    return odd if len(said) - count <= _few(len(said)) else ()


def _few(count: int) -> int:
    return max(1, int(count * FEW))


def bears_out(own: Values, usual: Values, neighbours: Sequence[Values]) -> bool:
    """Whether a slice's own values continue its neighbours clearly better than those by the others' header would.

    Parameters
    ----------
    own, usual
        The slice's values, shape (rows, columns), by its own header and by that of the others.
    neighbours
        The nearest slices that are no outliers, one or two.
    """
    between = np.mean(neighbours, axis=0)
    with np.errstate(invalid="ignore", over="ignore"):
        off, usually_off = (float(np.abs(values - between).mean()) for values in (own, usual))
    # Not a number fails every comparison, so what is accepted is asked for.
    return off <= CLEARLY * usually_off


def stray(along: Values, locations: Values) -> tuple[int, ...]:
    """Return the few slices whose SliceLocation does not run with the positions, where that of all others does.

    SliceLocation places nothing (PS3.3 C.7.6.2.1.2: relative, and of unspecified direction), but a slice that a
    damaged position moved to the other end of its stack shows by it alone.

    Parameters
    ----------
    along
        Positions along the normal in mm, ascending.
    locations
        SliceLocation of each slice in mm, NaN where there is none.
    """
    if len(along) < FEWEST_SLICES or not np.isfinite(locations).all():
        return ()
    for way in (1, -1):
        rest = locations - way * along
        off = np.flatnonzero(np.abs(rest - np.median(rest)) > LOCATION_TOLERANCE_MM + 1e-6)
        if off.size <= _few(len(along)):
            return tuple(off.tolist())
    return ()
