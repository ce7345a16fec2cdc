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
