"""Draw the contact sheets of one case: every channel in its window, the label as outlines, as PNG.

Pictures have a palette: grey, then the colours of the classes. The same voxels give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from pipeline.review.planes import AXIAL, Box, Plane, extent, planes, surroundings

SHEET_VERSION = 1
"""Raise it when sheets of the same voxels look otherwise: they are drawn again."""

WHOLE, CLOSE = "whole", "close"
OUTLINED, PLAIN = "outlined", "plain"

COLOURS = (
    (230, 60, 60), (70, 160, 240), (250, 200, 60), (90, 210, 110), (225, 110, 225), (70, 220, 220), (250, 140, 50),
    (170, 130, 250), (190, 220, 80), (240, 150, 170), (120, 180, 180), (200, 160, 110),
)  # fmt: skip
"""Of the classes 1, 2, 3, ...; begun again after the last. The page's legend shows the same."""

_GREYS = 256 - len(COLOURS)
_WINDOW_PERCENT = (0.5, 99.5)
_GAP = 4
_TEXT = 13
_LAYOUTS = {1: (5, 3, 300), 2: (5, 2, 280)}
_LAYOUT_OF_MANY = (7, 1, 236)
"""Channels -> columns, rows a channel, pixels of a tile's side."""

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Look:
    """How a channel is shown: its name, and the values that become black and white, None for its own range."""

    name: str
    window: tuple[float, float] | None


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """The voxels of one case, (I, J, K, C) and (I, J, K), with the spacing in mm."""

    image: Array
    label: Array | None
    spacing_mm: tuple[float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class _Tile:
    """One plane of one channel, as large as it will be."""

    grey: Image.Image
    outline: Array | None
    caption: str
    letters: str


@dataclass(frozen=True, slots=True, eq=False)
class _Placed:
    """A tile at its place on the sheet."""

    tile: _Tile
    left: int
    top: int


def kinds(has_label: bool) -> list[tuple[str, str]]:
    """Return (view, style) of each sheet of a case."""
    return [(v, s) for v in (WHOLE, CLOSE) for s in (OUTLINED, PLAIN)] if has_label else [(WHOLE, PLAIN)]


def draw(case: Case, looks: Sequence[Look]) -> Mapping[tuple[str, str], bytes]:
    """Return (`whole` or `close`, `outlined` or `plain`) -> PNG; a case without a label has plain ones alone."""
    shape = case.image.shape
    labelled = extent(case.label, shape)
    everything: Box = (slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2]))
    views = {WHOLE: everything}
    if case.label is not None:
        views[CLOSE] = surroundings(labelled, shape, case.spacing_mm)
    return {
        (view, style): png
        for view, box in views.items()
        for style, png in _sheets(case, looks, labelled, box)
    }


def _sheets(case: Case, looks: Sequence[Look], labelled: Box, shown: Box) -> Iterator[tuple[str, bytes]]:
    columns, rows, side = _LAYOUTS.get(len(looks), _LAYOUT_OF_MANY)
    cuts = planes(labelled, shown, columns * rows - 2)
    tiles: list[list[_Tile]] = []
    for channel, look in enumerate(looks):
        voxels = case.image[..., channel]
        window = look.window or _range_of(voxels, cuts)
        names = [f"{look.name}  ", *[""] * len(cuts)]
        drawn = [
            _tile(case, plane, _grey(plane.cut(voxels), window), side, name)
            for plane, name in zip(cuts, names, strict=False)
        ]
        tiles += [drawn[first : first + columns] for first in range(0, len(drawn), columns)]
    placed, height = _placed(tiles, side)
    greys = _pasted(placed, (columns * (side + _GAP) + _GAP, height))
    yield PLAIN, _png(greys)
    if case.label is not None:
        yield OUTLINED, _png(_stamped(greys, placed))


def _placed(rows: Sequence[Sequence[_Tile]], side: int) -> tuple[list[_Placed], int]:
    """Return each tile in the middle of its cell, rows as high as their highest tile, and the height of all."""
    placed, top = [], _GAP
    for row in rows:
        height = max(tile.grey.height for tile in row)
        for number, tile in enumerate(row):
            left = _GAP + number * (side + _GAP) + (side - tile.grey.width) // 2
            placed.append(_Placed(tile, left, top + (height - tile.grey.height) // 2))
        top += height + _GAP
    return placed, top


def _range_of(voxels: Array, cuts: Sequence[Plane]) -> tuple[float, float]:
    """Return a window for values without a fixed one: nearly all that the axial planes hold."""
    values = np.concatenate([plane.cut(voxels).ravel() for plane in cuts if plane.axis == AXIAL])
    low, high = (float(number) for number in np.percentile(values, _WINDOW_PERCENT))
    return low, high if high > low else low + 1


def _grey(values: Array, window: tuple[float, float]) -> Image.Image:
    low, high = window
    scaled = np.clip((values.astype(np.float64) - low) / (high - low), 0, 1) * 255
    return Image.fromarray(scaled.round().astype(np.uint8))


def _tile(case: Case, plane: Plane, grey: Image.Image, side: int, name: str) -> _Tile:
    width_mm, height_mm = plane.size_mm(case.spacing_mm)
    scale = side / max(width_mm, height_mm)
    width, height = max(round(width_mm * scale), 1), max(round(height_mm * scale), 1)
    outline = None if case.label is None else _outline(_nearest(plane.cut(case.label), width, height))
    caption = f"{name}{'ijk'[plane.axis]} {plane.index}"
    # Few and large voxels stay visible as such; many are averaged.
    way = Image.Resampling.BOX if width > grey.width else Image.Resampling.BILINEAR
    return _Tile(grey.resize((width, height), way), outline, caption, plane.letters)


def _nearest(values: Array, width: int, height: int) -> Array:
    rows, columns = (
        ((np.arange(wanted) + 0.5) * size / wanted).astype(int)
        for wanted, size in zip((height, width), values.shape, strict=True)
    )
    near: Array = values[np.ix_(rows, columns)]
    return near


def _outline(label: Array) -> Array:
    """Keep of each class what lies on its border, a line of two pixels within it."""
    inside = np.ones(label.shape, dtype=bool)
    padded = np.pad(label, 2, mode="edge")
    height, width = label.shape
    for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0), (0, 2), (0, -2), (2, 0), (-2, 0)):
        inside &= padded[2 + down : 2 + down + height, 2 + right : 2 + right + width] == label
    return np.where(inside, 0, label)


def _pasted(placed: Sequence[_Placed], size: tuple[int, int]) -> Array:
    """Return the sheet in grey, with captions and letters."""
    sheet = Image.new("L", size, 0)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(_TEXT)
    for each in placed:
        sheet.paste(each.tile.grey, (each.left, each.top))
    for each in placed:
        for text, place, anchor in _marks(each):
            pen.text(place, text, fill=235, font=font, anchor=anchor, stroke_width=1, stroke_fill=0)
    return (np.asarray(sheet).astype(np.uint16) * (_GREYS - 1) // 255).astype(np.uint8)


def _marks(placed: _Placed) -> Iterator[tuple[str, tuple[int, int], str]]:
    """Yield text, place and Pillow's anchor: what lies left, right, top and bottom, and which plane it is."""
    left, top = placed.left, placed.top
    right, bottom = left + placed.tile.grey.width, top + placed.tile.grey.height
    across, down = (left + right) // 2, (top + bottom) // 2
    places = ((left + 3, down), (right - 3, down), (across, top + 3), (across, bottom - 3))
    yield from zip(placed.tile.letters, places, ("lm", "rm", "ma", "md"), strict=True)
    yield placed.tile.caption, (left + 3, top + 3), "la"


def _stamped(greys: Array, placed: Sequence[_Placed]) -> Array:
    drawn = greys.copy()
    for each in placed:
        if each.tile.outline is not None:
            height, width = each.tile.outline.shape
            part = drawn[each.top : each.top + height, each.left : each.left + width]
            colour = _GREYS + (each.tile.outline.astype(np.int64) - 1) % len(COLOURS)
            np.copyto(part, colour.astype(np.uint8), where=each.tile.outline > 0)
    return drawn


def _png(indices: Array) -> bytes:
    picture = Image.fromarray(indices)
    ramp = [level * 255 // (_GREYS - 1) for level in range(_GREYS) for _ in range(3)]
    picture.putpalette(ramp + [part for colour in COLOURS for part in colour])
    stream = BytesIO()
    picture.save(stream, "PNG", compress_level=6)
    return stream.getvalue()
