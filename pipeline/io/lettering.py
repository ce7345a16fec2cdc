"""Find lettering in a picture with the models that lie inside the rapidocr wheel.

What the letters say never leaves this module: places go out, and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.model.errors import PrivacyError
from pipeline.model.exposure import Box, Picture

LEAST_SCORE = 0.6
"""How sure the model must be of what it read."""

TALLEST = 64
"""Pixels: taller structures are anatomy."""

FEWEST_CHARACTERS = 2
"""Letters and digits: edges and vessels are now and then read as a single one."""

MARGIN, SHARE = 2, 0.25
"""Pixels, and share of its height, around a find that belong to it: the soft edges of letters."""

BESIDE = 2.0
"""Times its height: so near to a find on its line, what is less sure is part of the same text."""

TILE, OVERLAP = 1024, 160
"""Pixels: larger pictures are looked at in parts, which share as much as a word is long."""

BORDER = 16
"""Pixels of grey around a picture: letters at its very edge are found as others are."""

STROKE = 7
"""Pixels: what is wider, an opening takes for the ground that strokes stand on."""

SHORTEST, SMALLEST = 4, 5
"""Pixels of height and of area that the smallest shape has which is counted as a letter."""

WITHIN = 0.3
"""Heights of the taller of two neighbours on a line that they overlap at most along it."""


@dataclass(frozen=True, slots=True)
class _Row:
    """Shapes that make a picture worth reading, in heights of the taller of two neighbours where it is a length."""

    step: int
    """Of 255: how far they stand out from grey."""
    neighbours: int
    """How many a shape has."""
    apart: float
    """How wide the gap may be."""
    level: float
    """How far two stand at one height."""
    alike: float
    """How many times as high as the lower one the taller may be."""


_WORD = _Row(step=50, neighbours=2, apart=1.5, level=0.6, alike=2.0)
_STROKES = replace(_WORD, step=80)
"""Above and below the ground that an opening finds."""
_PAIR = _Row(step=70, neighbours=1, apart=1.0, level=0.7, alike=1.6)

_CROWD = 2000
"""Shapes: a picture with more is read without being measured."""

_ENLARGEMENT = ((128, 3.0), (400, 2.0), (TILE, 1.5), (math.inf, 1.0))
"""Longest side in pixels -> by how much a picture is enlarged: letters of 9 pixels are found from 13 on."""

_MODELS = {"Det": "PP-OCRv6_det_small.onnx", "Rec": "PP-OCRv6_rec_small.onnx"}


def is_ready() -> bool:
    """Whether the extra that reads pictures is installed."""
    return find_spec("rapidocr") is not None and find_spec("onnxruntime") is not None


def require() -> None:
    """Refuse to go on without the extra.

    Raises
    ------
    PrivacyError
        ocr-missing.
    """
    if not is_ready():
        raise PrivacyError("ocr-missing", wanted="the extra `ocr` (rapidocr, onnxruntime)", found="none")


def find(picture: Picture) -> list[Box]:
    """Return where lettering lies, from the top left; the same for the same picture.

    Raises
    ------
    PrivacyError
        ocr-missing.
    """
    factor = next(factor for longest, factor in _ENLARGEMENT if max(picture.shape) <= longest)
    found = {box for top, left, tile in _tiles(picture) for box in _read(tile, factor, (top, left))}
    rows, columns = picture.shape
    clipped = {Box(max(b.top, 0), max(b.left, 0), min(b.bottom, rows), min(b.right, columns)) for b in found}
    return sorted(clipped, key=lambda box: (box.top, box.left, box.bottom, box.right))


def is_worth_reading(picture: Picture) -> bool:
    """Whether shapes of the size of letters stand in a row; without any, reading the picture would find nothing.

    Shapes are what stands out from the grey of a contrasted picture, bright or dark, and what is narrow: letters
    that touch something large are part of it in the first, not in the second. Three faint ones make a row, two clear.
    """
    import cv2  # Part of the extra.

    square = np.ones((STROKE, STROKE), np.uint8)
    bright, dark = np.maximum(picture, 128) - 128, 128 - np.minimum(picture, 128)
    narrow = [cv2.morphologyEx(picture, which, square) for which in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT)]
    wanted = [
        (bright, _WORD),
        (dark, _WORD),
        *((shown, _STROKES) for shown in narrow),
        (bright, _PAIR),
        (dark, _PAIR),
    ]
    return any(_has_row((shown > row.step).astype(np.uint8), row) for shown, row in wanted)


def _has_row(mask: Picture, row: _Row) -> bool:
    """Whether one shape of a mask has as many neighbours on its line as the row wants."""
    import cv2

    _, _, shapes, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    # The first is the ground.
    _, _, wide, high, area = shapes[1:].T
    is_letter = (high >= SHORTEST) & (high <= TALLEST) & (wide <= TALLEST) & (area >= SMALLEST)
    left, top, wide, high, _ = shapes[1:][is_letter].T.astype(np.float32)
    if len(left) > _CROWD:
        return True
    right, bottom = left + wide, top + high
    taller, lower = np.maximum.outer(high, high), np.minimum.outer(high, high)
    level = np.minimum.outer(bottom, bottom) - np.maximum.outer(top, top)
    gap = np.maximum.outer(left, left) - np.minimum.outer(right, right)
    is_near = (gap <= row.apart * taller) & (gap > -WITHIN * taller)
    is_near &= (level >= row.level * taller) & (taller <= row.alike * lower)
    np.fill_diagonal(is_near, False)
    return bool((is_near.sum(axis=1) >= row.neighbours).any())


def _tiles(picture: Picture) -> Iterator[tuple[int, int, Picture]]:
    for top in _starts(picture.shape[0]):
        for left in _starts(picture.shape[1]):
            yield top, left, picture[top : top + TILE, left : left + TILE]


def _starts(length: int) -> range:
    return range(0, max(length - OVERLAP, 1), TILE - OVERLAP)


def _read(tile: Picture, factor: float, corner: tuple[int, int]) -> Iterator[Box]:
    read = _engine()(_enlarged(tile, factor), use_cls=False)
    if read.boxes is None:
        return
    top, left = corner[0] - BORDER, corner[1] - BORDER
    sure: list[Box] = []
    unsure: list[Box] = []
    for corners, text, score in zip(read.boxes, read.txts, read.scores, strict=True):
        (west, north), (east, south) = corners.min(axis=0) / factor, corners.max(axis=0) / factor
        if south - north > TALLEST:
            continue
        around = MARGIN + SHARE * (south - north)
        box = Box(
            top + math.floor(north - around),
            left + math.floor(west - around),
            top + math.ceil(south + around),
            left + math.ceil(east + around),
        )
        is_sure = score >= LEAST_SCORE and sum(letter.isalnum() for letter in text) >= FEWEST_CHARACTERS
        (sure if is_sure else unsure).append(box)
    yield from sure
    yield from (box for box in unsure if any(_is_beside(box, other) for other in sure))


def _is_beside(box: Box, other: Box) -> bool:
    is_on_line = box.top < other.bottom and other.top < box.bottom
    gap = max(box.left - other.right, other.left - box.right)
    return is_on_line and gap <= BESIDE * (other.bottom - other.top)


def _enlarged(tile: Picture, factor: float) -> Picture:
    """Return a grey picture with a border in the three colours that the model wants, enlarged."""
    import cv2  # Part of the extra.

    colours = np.repeat(np.pad(tile, BORDER, constant_values=128)[:, :, np.newaxis], 3, axis=2)
    size = (round(colours.shape[1] * factor), round(colours.shape[0] * factor))
    return np.asarray(cv2.resize(colours, size, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


@cache
def _engine() -> Any:
    """Return the models, ready: from the wheel alone, in one thread, because threads change sums."""
    require()
    import cv2
    import rapidocr

    cv2.setNumThreads(1)
    folder = Path(rapidocr.__file__).parent / "models"
    # A path that is given is used or refused; a model without one would be fetched.
    models = {f"{part}.model_path": str(folder / name) for part, name in _MODELS.items()}
    threads = {f"EngineConfig.onnxruntime.{which}_op_num_threads": 1 for which in ("intra", "inter")}
    return rapidocr.RapidOCR(
        params={
            **models, **threads, "Global.log_level": "critical", "Global.use_cls": False,
            "Global.max_side_len": 4 * TILE, "Global.text_score": 0.0,
            "Det.limit_type": "min", "Det.limit_side_len": 32,
        }
    )  # fmt: skip
