"""What pixels can show of a person: lettering, where it lies, and whether anybody looked for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.model.volume import Volume

Frame = npt.NDArray[Any]
"""One image as it is stored, shape (rows, columns)."""

Picture = npt.NDArray[np.uint8]
"""What is looked at, shape (rows, columns), 0 to 255."""


@dataclass(frozen=True, slots=True)
class Box:
    """Where lettering lies in a picture: rows top..bottom and columns left..right, the ends left out."""

    top: int
    left: int
    bottom: int
    right: int


@dataclass(frozen=True, slots=True)
class Screening:
    """Whether pixels are searched for lettering; `unscreened` says why they are not, None that they are."""

    unscreened: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """The mean of many heads, and on the same grid what stays of it (1) when its face goes (0)."""

    head: Volume
    stays: Volume


SCREENED = Screening()
"""What holds where nobody said otherwise."""


def hides_bits(stored: Frame, bits: int, high: int) -> bool:
    """Whether bits beside those of the numbers are set: an overlay may stand in them that no header declares.

    Parameters
    ----------
    stored
        Pixels with every bit as it is stored, of any shape, whole numbers.
    bits, high
        BitsStored and HighBit (PS3.5 8.1.1). Above HighBit may stand the sign, extended or not.
    """
    unused = high + 1 - bits
    if not stored.size or bits < 1 or unused < 0:
        return bool(stored.size)
    shifted = stored >> unused
    half, low, most = 1 << (bits - 1), int(shifted.min()), int(shifted.max())
    is_number = (low >= 0 and most < 2 * half) or (low >= -half and most < half)
    return not is_number or bool(unused and (shifted << unused != stored).any())
