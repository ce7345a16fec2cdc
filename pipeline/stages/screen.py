"""Make the pictures in which burned-in lettering shows, and cover what was found in them.

Lettering that is burned into a series stands at one place in all of its slices, while anatomy moves on. Three
pictures of the whole stack show it: the darkest value of each pixel along the stack (letters brighter than what
lies behind them), the brightest (darker letters, and bright ones that only some slices have), and the difference
of the two (letters of any brightness that do not change where everything else does).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.model.exposure import Box, Frame, Picture

NEIGHBOURHOOD = 31
"""Pixels: how far around a place its contrast is judged; a line of lettering is no taller."""

CONTRAST = 2.5
"""Standard deviations of the neighbourhood that become black and white."""

FLOOR = 0.01
"""Of the picture's range: noise below it is not stretched into structure."""

FEWEST = 3
"""Frames of one size that make a stack; fewer are looked at one by one."""


CLEAREST = 3
"""Frames of a stack that are looked at by themselves for each find."""

BESIDE = 2.0
"""Times the lesser height: so far apart on a line, two finds are one text, with what lies between."""


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A picture to be looked at, and the frames in which lies what is found in it."""

    picture: Picture
    frames: tuple[int, ...]


def views(frames: Sequence[Frame], *, each: bool) -> list[View]:
    """Return the pictures in which lettering of these frames shows.

    Parameters
    ----------
    frames
        Images of one series in any order, shape (rows, columns), of one or more sizes.
    each
        Whether every frame is looked at by itself, beside the stack: what moves or lies on one frame shows.

    Returns
    -------
    list of View
        In the order of sizes as they first appear; pictures without any contrast are left out.
    """
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, frame in enumerate(frames):
        groups[frame.shape].append(number)
    found: list[View] = []
    for members in groups.values():
        if each or len(members) < FEWEST:
            found += [View(contrasted(frames[number]), (number,)) for number in members]
        else:
            found += [View(contrasted(p), tuple(members)) for p in _along([frames[n] for n in members])]
    return [view for view in found if view.picture.any()]


def _along(frames: Sequence[Frame]) -> tuple[Frame, Frame, Frame]:
    """Return the least and the greatest value of each pixel along the stack, and how far apart they are."""
    least, most = frames[0].astype(np.float32), frames[0].astype(np.float32)
    for frame in frames[1:]:
        np.minimum(least, frame, out=least)
        np.maximum(most, frame, out=most)
    return least, most, most - least


def contrasted(frame: Frame) -> Picture:
    """Return a frame with each place stretched by the contrast around it; all zero where there is none."""
    values = frame.astype(np.float64)
    values = np.clip(values, *np.percentile(values, [0.1, 99.9]))
    span = float(values.max() - values.min())
    if span == 0:
        return np.zeros(frame.shape, dtype=np.uint8)
    mean = _around(values)
    deviation = np.sqrt(np.maximum(_around(values * values) - mean * mean, 0))
    stretched = 128 + (values - mean) / (deviation + FLOOR * span) * (127 / CONTRAST)
    picture: Picture = np.clip(stretched, 0, 255).astype(np.uint8)
    return picture


def _around(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the mean of the neighbourhood of each pixel; beyond the edge the edge goes on."""
    reach = NEIGHBOURHOOD // 2
    for axis in (0, 1):
        wide = np.pad(values, [(reach + 1, reach) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
        total = np.cumsum(wide, axis=axis)
        ends = np.take(total, range(NEIGHBOURHOOD, total.shape[axis]), axis=axis)
        values = (ends - np.take(total, range(total.shape[axis] - NEIGHBOURHOOD), axis=axis)) / NEIGHBOURHOOD
    return values


def clearest(frames: Sequence[Frame], box: Box) -> list[int]:
    """Return which frames of one size show most at a place, in their order: a stack's letters stand out best there."""
    spread = [float(frame[box.top : box.bottom, box.left : box.right].std()) for frame in frames]
    return sorted(sorted(range(len(frames)), key=lambda number: (-spread[number], number))[:CLEAREST])


def joined(boxes: Iterable[Box]) -> list[Box]:
    """Return boxes with those of one line as one, from the top left: letters that were not read lie between them."""
    rest, whole = sorted(set(boxes), key=_corner), []
    while rest:
        box = rest.pop()
        near = next((other for other in rest if are_of_one_line(box, other)), None)
        if near is None:
            whole.append(box)
        else:
            rest.remove(near)
            rest.append(_around_both(box, near))
    return sorted(set(whole), key=_corner)


def _corner(box: Box) -> tuple[int, int, int, int]:
    return box.top, box.left, box.bottom, box.right


def are_of_one_line(first: Box, second: Box) -> bool:
    """Whether two boxes are level and so near that they are one text."""
    lesser = min(first.bottom - first.top, second.bottom - second.top)
    level = min(first.bottom, second.bottom) - max(first.top, second.top)
    gap = max(first.left - second.right, second.left - first.right)
    return level >= lesser / 2 and gap <= BESIDE * lesser


def _around_both(first: Box, second: Box) -> Box:
    return Box(
        min(first.top, second.top),
        min(first.left, second.left),
        max(first.bottom, second.bottom),
        max(first.right, second.right),
    )


def cover(frames: Sequence[Frame], boxes: Mapping[int, Sequence[Box]]) -> list[Frame]:
    """Return the frames with each box of theirs filled with the frame's smallest number."""
    covered = []
    for number, frame in enumerate(frames):
        copy = frame.copy()
        for box in boxes.get(number, ()):
            copy[box.top : box.bottom, box.left : box.right] = frame.min()
        covered.append(copy)
    return covered
