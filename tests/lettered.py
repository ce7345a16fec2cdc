"""Stacks of made-up tissue, and lettering to burn into them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

NAME = "DOE^JANE 1947"
"""Nobody's name: no picture, record or message of a stopped case may hold it as text."""


def tissue(
    shape: tuple[int, int, int] = (12, 96, 160), *, seed: int = 1, dtype: type = np.int16
) -> npt.NDArray[Any]:
    """Return frames, shape (frames, rows, columns): bright round organs that drift, and noise around."""
    rng = np.random.default_rng(seed)
    count, rows, columns = shape
    row, column = np.mgrid[:rows, :columns]
    frames = rng.normal(120, 9, shape)
    for number in range(count):
        for place, radius, height in ((0.35, 0.22, 500), (0.6, 0.12, 300)):
            middle = (rows * (place + 0.02 * number), columns * (place - 0.015 * number))
            inside = (row - middle[0]) ** 2 + (column - middle[1]) ** 2 < (radius * rows) ** 2
            frames[number][inside] += height
    return np.rint(frames).astype(dtype)


def burned(
    frames: npt.NDArray[Any],
    *,
    text: str = NAME,
    size: int = 14,
    at: tuple[int, int] = (8, 6),
    value: int = 1500,
    only: slice = slice(None),
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Return frames with text drawn over those named, and where its ink is; `at` is (column, row)."""
    canvas = Image.new("L", frames.shape[:0:-1], 0)
    ImageDraw.Draw(canvas).text(at, text, fill=255, font=ImageFont.load_default(size))
    ink = np.asarray(canvas) / 255
    lettered = frames.astype(np.float64)
    lettered[only] = lettered[only] * (1 - ink) + value * ink
    return np.rint(lettered).astype(frames.dtype), ink > 0.5
