"""Find a head that shows its face: by what the header says of the body part, and by the shape of what lies in air.

A head is the one part of a body that is closed towards superior: from its top the outline widens as a dome to the
width of a skull, with air around. A cut-out without air shows no surface and so no face. A brain that was stripped
of its skull stands in a background of exactly one value, is no larger than a brain, and has no dark shell of bone
below its surface. Where the header says head and the shape says nothing, a head is taken for granted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK

from pipeline.model.record import Json, Note, Step
from pipeline.model.volume import Quantity, Volume

Mask = npt.NDArray[np.bool_]

COARSE_MM = 4.0
"""Edge of the voxels on which shapes are judged."""

AIR_HU = -400.0
"""Hounsfield units: below is air."""

SMALLEST_VIEW_MM = 90.0
"""A field of view whose second longest edge is shorter shows no face that somebody would know."""

DOME_AP_MM, DOME_LR_MM, DOME_DEPTH_MM = (120.0, 265.0), (95.0, 200.0), 100.0
"""Widths of a head within so much of its top, from a small child's to a large man's with ears and nose."""

CROWN_SHARE = 0.6
"""A body whose uppermost level is smaller than this share of its largest closes just above the field of view."""

HEAD_VIEW_MM = 130.0
"""A field of view whose second longest edge is longer is no cut-out of a head; without air it is noise."""

BRAIN_MM = (175.0, 205.0, 175.0)
"""Largest edges of a brain towards right, anterior and superior."""

LEAST_CONSTANT = 0.2
"""Share of voxels that are background around a brain without skull."""

LEAST_SURFACE = 0.02
"""Share of voxels that are air connected with the edge; with less there is no surface."""

SHELL_DIP = 0.85
"""Bone below the skin is darker than both what lies above and below by this factor."""

FACE_SHARE, FACE_DEPTH_MM = 0.3, 110.0
"""Share of tissue in the front fifth of a head, from so far below its top: with less the face was taken away.
Measured: 0.45 and 0.61 in two heads, 0.23 and 0.04 after their faces had gone."""

FACE_HEIGHT_MM = 50.0
"""How far down from there tissue is counted."""

_HEAD = re.compile(
    r"head|brain|skull|face|facial|orbit|sinus|crani|cereb|neuro|kopf|sch[aä]del|hirn|mp[ _-]?rage",
    re.IGNORECASE,
)
_WHOLE = re.compile(r"whole|partial", re.IGNORECASE)


PART_KEYWORDS = ("BodyPartExamined", "SeriesDescription", "ProtocolName", "StudyDescription")
"""What `said_part` asks of a header."""


class Part(StrEnum):
    """What a header says of the part of the body."""

    HEAD = "head"
    """A head, a brain, or a part of them."""
    OTHER = "other"
    """Another part."""
    UNSAID = "unsaid"
    """Nothing, or the whole body."""


class Sight(StrEnum):
    """What a volume shows of a head."""

    NONE = "no head"
    """No head, or a cut-out that shows no surface."""
    STRIPPED = "brain without skull"
    """A brain in a constant background."""
    FACELESS = "head without face"
    """A head whose face is not there."""
    HEAD = "head"
    """A head that may show its face."""


def said_part(facts: Mapping[str, Any]) -> Part:
    """Return what a header says, from BodyPartExamined and, where that is silent, from the descriptions."""
    part = str(facts.get("BodyPartExamined") or "")
    texts = [str(facts.get(keyword) or "") for keyword in PART_KEYWORDS[1:]]
    if _HEAD.search(part):
        return Part.HEAD
    if part.strip() and not _WHOLE.search(part):
        return Part.OTHER
    return Part.HEAD if any(_HEAD.search(text) for text in texts) else Part.UNSAID


@dataclass(frozen=True, slots=True, eq=False)
class _Shape:
    """The largest thing in air on a coarse grid, shape (I, J, K), R, A and S in turn."""

    body: Mask
    air: Mask
    edges_mm: tuple[float, float, float]


def look_for_face(volume: Volume, part: Part) -> Step[Sight]:
    """Say whether a volume shows a head, and with it a face.

    Parameters
    ----------
    volume
        CT or MR, shape (I, J, K), RAS+.
    part
        What the header says.

    Returns
    -------
    Step
        What is seen; the note says it, what the header says, and whether the shape or the header decided.
    """
    sight, by = _sight(volume, part)
    facts: dict[str, Json] = {"sees": sight.value, "header": part.value, "by": by}
    return Step(sight, Note("face", facts))


def _sight(volume: Volume, part: Part) -> tuple[Sight, str]:
    view_mm = sorted(np.array(volume.data.shape) * volume.grid.spacing_mm)
    if view_mm[1] < SMALLEST_VIEW_MM:
        return Sight.NONE, "field of view"
    shape = _shape_of(volume)
    has_surface = shape.air.mean() >= LEAST_SURFACE
    if part is Part.HEAD and not has_surface and view_mm[1] < HEAD_VIEW_MM:
        return Sight.NONE, "no surface"
    is_seen = has_surface and (_is_dome(shape) or (part is Part.UNSAID and _is_slab(shape)))
    if not is_seen and part is not Part.HEAD:
        return Sight.NONE, "voxels"
    if _is_stripped(volume):
        return Sight.STRIPPED, "voxels"
    if is_seen and _is_faceless(shape):
        return Sight.FACELESS, "voxels"
    return Sight.HEAD, "voxels" if is_seen else "header"


def _image(data: npt.NDArray[Any], volume: Volume) -> SimpleITK.Image:
    """Return an array on the volume's grid, its axes taken as R, A and S."""
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(data.transpose(2, 1, 0)))
    image.SetSpacing(volume.grid.spacing_mm)
    return image


def _array(image: SimpleITK.Image) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0)
    return found


def _coarse(volume: Volume) -> npt.NDArray[np.float64]:
    """Return block means on voxels of about `COARSE_MM`; thick slices stay as they are, repeated."""
    data = volume.data.astype(np.float64)
    for axis, spacing in enumerate(volume.grid.spacing_mm):
        step = max(round(COARSE_MM / spacing), 1)
        starts = np.arange(0, data.shape[axis], step)
        counts = np.diff(np.append(starts, data.shape[axis]))
        sums = np.add.reduceat(data, starts, axis=axis)
        data = sums / counts.reshape([-1 if a == axis else 1 for a in range(3)])
        times = max(round(spacing * step / COARSE_MM), 1)
        data = np.repeat(data, times, axis=axis)
    return data


def _shape_of(volume: Volume) -> _Shape:
    values = _coarse(volume)
    if volume.quantity is Quantity.HOUNSFIELD:
        tissue = values > AIR_HU
    else:
        image = SimpleITK.GetImageFromArray(np.clip(values, *np.percentile(values, [0.5, 99.5])))
        # Half way to Otsu's threshold: skin and bone are dark, air is darker.
        tissue = values > values.min() + 0.5 * (_otsu(image) - values.min())
    edges = tuple(
        n * s / c for n, s, c in zip(volume.data.shape, volume.grid.spacing_mm, values.shape, strict=True)
    )
    image = SimpleITK.GetImageFromArray(tissue.astype(np.uint8))
    opened = SimpleITK.BinaryMorphologicalOpening(image, [1 if n > 8 else 0 for n in image.GetSize()])
    parts = SimpleITK.RelabelComponent(SimpleITK.ConnectedComponent(opened))
    body = SimpleITK.GetArrayFromImage(parts) == 1
    return _Shape(body, _outside(~tissue), edges)


def _otsu(image: SimpleITK.Image) -> float:
    threshold = SimpleITK.OtsuThresholdImageFilter()
    threshold.Execute(image)
    return float(threshold.GetThreshold())


def _outside(air: Mask) -> Mask:
    """Return the air that is connected with the edge towards right, left, anterior, posterior or superior."""
    labels = SimpleITK.GetArrayFromImage(
        SimpleITK.ConnectedComponent(SimpleITK.GetImageFromArray(air.astype(np.uint8)))
    )
    faces = [labels[0], labels[-1], labels[:, 0], labels[:, -1], labels[:, :, -1]]
    touching = np.unique(np.concatenate([face.ravel() for face in faces]))
    outside: Mask = np.isin(labels, touching[touching > 0])
    return outside


def _is_dome(shape: _Shape) -> bool:
    """Whether the body closes towards superior and is as wide as a head within a hand's breadth of its top."""
    levels = np.flatnonzero(shape.body.any(axis=(0, 1)))
    if not levels.size:
        return False
    depth = int(DOME_DEPTH_MM / shape.edges_mm[2])
    crown = shape.body[:, :, max(levels[-1] - depth, 0) : levels[-1] + 1]
    areas = crown.sum(axis=(0, 1))
    is_cut_off = levels[-1] == shape.body.shape[2] - 1
    if is_cut_off and (areas[-1] > CROWN_SHARE * areas.max() or _is_framed(crown)):
        return False
    ap, lr = _width(crown, 1) * shape.edges_mm[1], _width(crown, 0) * shape.edges_mm[0]
    # A few sagittal slices are no wide head, but show a profile.
    is_wide = DOME_LR_MM[0] <= lr <= DOME_LR_MM[1]
    is_thin_view = shape.body.shape[0] * shape.edges_mm[0] < DOME_LR_MM[0]
    return DOME_AP_MM[0] <= ap <= DOME_AP_MM[1] and (is_wide or is_thin_view)


def _is_framed(mask: Mask) -> bool:
    """Whether it reaches the edge of the field of view towards right, left, posterior or anterior."""
    return bool(mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())


def _width(mask: Mask, axis: int) -> int:
    held = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
    return int(held[-1] - held[0] + 1) if held.size else 0


def _is_slab(shape: _Shape) -> bool:
    """Whether most levels are cut through a head: surrounded by air, longer towards anterior than wide."""
    levels = [shape.body[:, :, k] for k in range(shape.body.shape[2])]
    return sum(_is_cut(level, shape.edges_mm) for level in levels) > len(levels) / 2


def _is_cut(level: Mask, edges_mm: tuple[float, float, float]) -> bool:
    if _is_framed(level) or not level.any():
        return False
    lr, ap = ((np.ptp(np.flatnonzero(level.any(axis=1 - axis))) + 1) * edges_mm[axis] for axis in (0, 1))
    return bool(110 <= lr <= 190 and 140 <= ap <= 250 and 1.08 <= ap / lr <= 1.7)


def _is_faceless(shape: _Shape) -> bool:
    """Whether the front of the head below the eyes holds hardly any tissue."""
    i, j, k = (
        np.flatnonzero(shape.body.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)
    )
    third, front = (i[-1] - i[0]) // 3, j[-1] - (j[-1] - j[0]) // 5
    top = k[-1] - int(FACE_DEPTH_MM / shape.edges_mm[2])
    if top - k[0] < 2:
        return False
    lowest = max(k[0], top - int(FACE_HEIGHT_MM / shape.edges_mm[2]))
    place = shape.body[i[0] + third : i[-1] - third + 1, front : j[-1] + 1, lowest:top]
    return bool(place.size) and float(place.mean()) < FACE_SHARE


def _is_stripped(volume: Volume) -> bool:
    """Whether a thing no larger than a brain, without a shell of bone, stands in exactly one value."""
    data = volume.data
    edge = np.concatenate([data[0].ravel(), data[-1].ravel(), data[:, 0].ravel(), data[:, -1].ravel()])
    values, counts = np.unique(edge, return_counts=True)
    background = values[counts.argmax()]
    inside = data != background
    if counts.max() < 0.98 * edge.size or inside.mean() > 1 - LEAST_CONSTANT or not inside.any():
        return False
    widths = [_width(inside, axis) * volume.grid.spacing_mm[axis] for axis in range(3)]
    if any(width > most for width, most in zip(widths, BRAIN_MM, strict=True)):
        return False
    return not _has_shell(volume, inside)


def _has_shell(volume: Volume, inside: Mask) -> bool:
    """Whether below the surface something darker lies than above and below it: bone under skin."""
    image = _image(inside.astype(np.uint8), volume)
    depth = -_array(
        SimpleITK.SignedMaurerDistanceMap(
            image, insideIsPositive=False, squaredDistance=False, useImageSpacing=True
        )
    )
    means = [
        float(volume.data[(depth > low) & (depth <= low + 3)].mean())
        for low in range(0, 21, 3)
        if ((depth > low) & (depth <= low + 3)).any()
    ]
    return any(
        means[n] < SHELL_DIP * max(means[:n]) and means[n] < SHELL_DIP * max(means[n + 1 :])
        for n in range(1, len(means) - 1)
    )
