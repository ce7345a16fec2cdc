"""One released channel against what the second reader makes of its source files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.secondreader import niix
from pipeline.secondreader.changed import covered, is_covered, is_defaced, spared
from pipeline.secondreader.reading import Slice, UnreadError, read_slices

Affine = npt.NDArray[np.float64]

PLACE_TOLERANCE_MM = 0.1 + 1e-3
"""How far, in mm, a corner of a slice may be released from where its own header puts it: the stated tolerance of a
stack, and what a NIfTI's float32 rounds."""

SCALED_TOLERANCE = 1e-5
"""Of the range of a scaled channel: its arithmetic was float64 from float32 values."""

KEPT_TOLERANCE = 1e-6
"""Of the largest value of a channel that was kept as float32; whole numbers are the same or not."""

RESAMPLED_TOLERANCE = 1e-3
"""Of the range of a channel that was resampled: both place voxels in float64, from affines that round differently."""

CUT_OFF_TOLERANCE = 1e-5
"""Of the larger cut-off."""


class Reason(StrEnum):
    """Why the second reader's voxels say nothing of the release's."""

    INTERPOLATED = "interpolated"
    """A rule had the slices straightened; the second reader does not know how, and drops a tilt."""
    MODALITY_LUT = "modality-lut"
    """SimpleITK ignores a Modality LUT sequence."""
    REAL_WORLD_VALUES = "real-world-values"
    """SimpleITK ignores Real World Value Mappings, which a rule chose."""
    FILE = "file"
    """The source is no longer DICOM: there is nothing that both readers could make of it differently."""
    MOVED = "moved"
    """A rule had the channel registered; where it lies was found by a search, not by a header."""
    MASKED = "masked"
    """A rule had what lies outside of a given mask set to 0."""
    TILES = "tiles"
    """A mosaic or grid is one tall picture to SimpleITK."""
    STORED_BITS = "stored-bits"
    """Stored bits below the top of their word, or with a sign within it, are read otherwise by GDCM."""
    COVERED = "covered"
    """A rule had text in the pixels covered: compared with the noted places covered."""
    DEFACED = "defaced"
    """A rule had a face taken away: compared but for as many voxels as were noted, which have the smallest value."""
    UNREAD = "unread"
    """Neither library decodes the file: HTJ2K, float pixel data, and others."""


@dataclass(frozen=True, slots=True, eq=False)
class Released:
    """One channel as it is released: voxels of shape (I, J, K), affine to RAS+ mm."""

    voxels: npt.NDArray[Any]
    affine: Affine


@dataclass(frozen=True, slots=True)
class Difference:
    """What the second reader makes otherwise, and in which room's work it shows."""

    stage: str
    wanted: str
    found: str


@dataclass(frozen=True, slots=True)
class Opinion:
    """What the second reader says of a channel: its differences, or the reason why it has no say or a smaller one.

    `reader` is the one that was compared with: `SimpleITK`, `dcm2niix`, or none.
    """

    differences: tuple[Difference, ...] = ()
    reason: Reason | None = None
    reader: str = "SimpleITK"


def compare(
    released: Released,
    files: Sequence[Path],
    *,
    frames: Sequence[tuple[int, int]] = (),
    notes: Sequence[Mapping[str, Any]],
    scratch: Path,
) -> Opinion:
    """Read a channel's source files again and compare every voxel and every slice's place.

    Parameters
    ----------
    released
        The channel, of a release or a store.
    files
        Its source files as they came, identity and all, in the order of the plan.
    frames
        (place of the file, frame) of each slice, where a file holds several; as in the plan.
    notes
        The manifest's notes of this channel, as they are in JSON.
    scratch
        A private folder, in which dcm2niix may write.

    Returns
    -------
    Opinion
        Texts in it name no file and no element's value.
    """
    by_stage = {str(note["stage"]): note for note in notes}
    if "fix" in by_stage:
        # What was turned is compared as it was.
        released = replace(released, voxels=released.voxels[::-1, ::-1, :])
    reason = _reason(by_stage)
    try:
        slices = _wanted(files, frames, by_stage) if reason is None else []
    except UnreadError:
        reason = Reason.UNREAD
    except _TilesError:
        reason = Reason.TILES
    if reason is not None:
        return _third_opinion(released, files, by_stage, reason, scratch)
    differences = tuple(_differences(released, slices, by_stage))
    if differences and not all(one.is_plain for one in slices):
        return Opinion(reason=Reason.STORED_BITS, reader="none")
    return Opinion(differences, _change(by_stage))


class _TilesError(Exception):
    """A file has fewer frames than the plan takes from it."""


def _reason(notes: Mapping[str, Mapping[str, Any]]) -> Reason | None:
    """Return why SimpleITK cannot have a say, as far as the notes tell."""
    convert = notes.get("convert", {})
    if "straightened" in convert:
        return Reason.INTERPOLATED
    if convert.get("values") == "rwvm":
        return Reason.REAL_WORLD_VALUES
    if any("lut" in part for part in convert.get("rescale", ())):
        return Reason.MODALITY_LUT
    if convert.get("values") == "as stored":
        return Reason.FILE
    return next((reason for stage, reason in _CHANGED.items() if stage in notes), None)


def _change(notes: Mapping[str, Mapping[str, Any]]) -> Reason | None:
    """Return what was changed in the voxels that are compared all the same."""
    if is_defaced(notes):
        return Reason.DEFACED
    return Reason.COVERED if is_covered(notes) else None


_CHANGED = {"register": Reason.MOVED, "strip": Reason.MASKED}
"""Room, done only by rule -> why its voxels are not those of the source."""


def _wanted(
    files: Sequence[Path], frames: Sequence[tuple[int, int]], notes: Mapping[str, Mapping[str, Any]]
) -> list[Slice]:
    """Return the slices of a volume, covered as noted, along row x column, whatever the order of the plan."""
    read = [read_slices(path) for path in files]
    if frames:
        if any(frame >= len(read[file]) for file, frame in frames):
            raise _TilesError
        slices = [read[file][frame] for file, frame in frames]
    else:
        slices = [one for found in read for one in found]
    normal = np.cross(slices[0].row, slices[0].column)
    return sorted(covered(slices, notes), key=lambda one: float(one.position @ normal))


def _differences(
    released: Released, slices: Sequence[Slice], notes: Mapping[str, Mapping[str, Any]]
) -> list[Difference]:
    align = notes.get("align", {})
    is_resampled = align.get("resampled") is True
    own = np.array(align["affine_before"], dtype=np.float64) if is_resampled else released.affine
    affine = _affine(slices)
    axes = _axes(affine, own)
    if axes is None or len({one.values.shape for one in slices}) > 1:
        return [Difference("orient", "the second reader's grid, its axes in another order", "another grid")]
    shape = tuple(align["shape_before"]) if is_resampled else released.voxels.shape
    turned = _turned_shape(shape, axes)
    mine = (slices[0].values.shape[1], slices[0].values.shape[0], len(slices))
    if turned != mine:
        return [
            Difference(
                "convert", f"{_times(mine)} voxels, as the second reader finds", f"{_times(turned)} voxels"
            )
        ]
    off = _largest_distance(slices, affine, own)
    if off > PLACE_TOLERANCE_MM:
        return [
            Difference(
                "convert", f"each slice within {PLACE_TOLERANCE_MM} mm of its header", f"{off:.3f} mm off"
            )
        ]
    values = np.stack([_measured(one.values.T, notes) for one in slices], axis=2)
    is_told = not is_resampled and not is_defaced(notes)
    found = _cut_off_difference(values, notes) if is_told else []
    if is_resampled:
        return [*found, *_resampled_difference(released, values, affine, notes)]
    return [*found, *_voxel_difference(_turned(released.voxels, axes), values, notes)]


def _times(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _affine(slices: Sequence[Slice]) -> Affine:
    """Return the mean affine of ordered slices to RAS+ mm."""
    first = slices[0]
    step = (slices[-1].position - first.position) / max(len(slices) - 1, 1)
    columns = [first.row * first.spacing[0], first.column * first.spacing[1], step, first.position]
    affine = np.eye(4)
    affine[:3] = np.column_stack(columns) * np.array([[-1.0], [-1.0], [1.0]])
    return affine


def _index_map(affine: Affine, own: Affine) -> Affine:
    """Return what leads from the second reader's voxel indices to the release's, in whole numbers."""
    try:
        whole: Affine = np.rint(np.linalg.inv(own) @ affine)
    except np.linalg.LinAlgError:
        whole = np.zeros((4, 4))
    return whole


def _axes(affine: Affine, own: Affine) -> tuple[tuple[int, int], ...] | None:
    """Return for each axis of the second reader which axis of the release it is, and its way; None if none is."""
    whole = _index_map(affine, own)[:3, :3]
    if not np.array_equal(np.abs(whole) @ np.abs(whole).T, np.eye(3)):
        return None
    found = np.abs(whole).argmax(axis=0)
    return tuple((int(axis), int(whole[axis, number])) for number, axis in enumerate(found))


def _turned_shape(shape: Sequence[int], axes: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    return tuple(int(shape[axis]) for axis, _ in axes)


def _turned(voxels: npt.NDArray[Any], axes: Sequence[tuple[int, int]]) -> npt.NDArray[Any]:
    """Return the release's voxels in the second reader's order of axes."""
    moved = voxels.transpose([axis for axis, _ in axes])
    return moved[tuple(slice(None, None, way) for _, way in axes)]


def _largest_distance(slices: Sequence[Slice], affine: Affine, own: Affine) -> float:
    """Return how far, in mm, the release puts a slice's corner from where the slice's header does."""
    whole, apart = _index_map(affine, own), 0.0
    rows, columns = slices[0].values.shape
    for k, one in enumerate(slices):
        indices = [(i, j, k, 1) for j in (0, rows - 1) for i in (0, columns - 1)]
        placed = (np.array(indices) @ whole.T @ own.T)[:, :3]
        apart = max(apart, float(np.linalg.norm(placed - one.corners(), axis=1).max()))
    return apart


def _measured(values: npt.NDArray[Any], notes: Mapping[str, Mapping[str, Any]]) -> npt.NDArray[Any]:
    """Return values in the unit of the release."""
    factor = notes.get("convert", {}).get("suv_g_per_bq")
    return values if factor is None else values * float(factor)


def _scaling(notes: Mapping[str, Mapping[str, Any]]) -> tuple[float, float, float, float] | None:
    """Return the noted cut-offs and range of a scaled channel."""
    note = notes.get("scale", {})
    if note.get("method") != "robust_min_max":
        return None
    bottom, top = note["range"]
    return float(note["low"]), float(note["high"]), float(bottom), float(top)


def _cut_off_difference(values: npt.NDArray[Any], notes: Mapping[str, Mapping[str, Any]]) -> list[Difference]:
    scaling = _scaling(notes)
    if scaling is None:
        return []
    note = notes["scale"]
    considered = values[values != 0] if note["over"] == "nonzero" else values
    made = np.percentile(considered, [float(share) for share in note["percentiles"]])
    low, high = scaling[:2]
    if np.abs(made - [low, high]).max() <= CUT_OFF_TOLERANCE * max(abs(low), abs(high), 1e-30):
        return []
    return [
        Difference("scale", "the percentiles of the second reader's values", "cut-offs that are not these")
    ]


def _expected(
    values: npt.NDArray[Any], notes: Mapping[str, Mapping[str, Any]]
) -> tuple[npt.NDArray[Any], float]:
    """Return what a slice's values should be in the release, and how far they may be off."""
    scaling = _scaling(notes)
    if scaling is None:
        # Whole numbers come whole: then nothing may be off.
        is_whole = values.dtype.kind in "iu" or bool((values == np.rint(values)).all())
        largest = float(np.abs(values).max(initial=0.0))
        return values, 0.0 if is_whole and largest <= 2**24 else KEPT_TOLERANCE * largest
    low, high, bottom, top = scaling
    scaled = (values.astype(np.float64) - low) / (high - low) * (top - bottom) + bottom
    return np.clip(scaled, bottom, top), SCALED_TOLERANCE * (top - bottom)


def _voxel_difference(
    released: npt.NDArray[Any], values: npt.NDArray[Any], notes: Mapping[str, Mapping[str, Any]]
) -> list[Difference]:
    wrong, largest, set_aside = 0, 0.0, 0
    allowed = spared(notes, released)
    for k in range(values.shape[2]):
        wanted, tolerance = _expected(values[:, :, k], notes)
        apart = np.abs(released[:, :, k].astype(np.float64) - wanted)
        is_off = ~(apart <= tolerance)
        is_spared = is_off & allowed.among(released[:, :, k])
        set_aside += int(is_spared.sum())
        wrong += int((is_off & ~is_spared).sum())
        largest = max(largest, float(apart.max()))
    # The second reader keeps padding and faces: as many voxels as were noted may have what a rule made of them.
    if not wrong and set_aside <= allowed.most:
        return []
    wrong += set_aside
    return [
        Difference(
            "convert",
            "the second reader's voxels",
            f"{wrong} of {values.size} differ, by at most {largest:.6g}",
        )
    ]


def _resampled_difference(
    released: Released, values: npt.NDArray[Any], affine: Affine, notes: Mapping[str, Mapping[str, Any]]
) -> list[Difference]:
    """Compare within the outermost centres of the channel's own voxels: what lies beyond has no neighbours."""
    to_own = np.linalg.inv(affine) @ released.affine
    last = np.array(values.shape)[:, np.newaxis] - 1
    scaling = _scaling(notes)
    span = scaling[3] - scaling[2] if scaling is not None else float(values.max() - values.min())
    wrong, largest, compared, set_aside = 0, 0.0, 0, 0
    allowed = spared(notes, released.voxels)
    for k in range(released.voxels.shape[2]):
        i, j = np.indices(released.voxels.shape[:2]).reshape(2, -1)
        places = to_own[:3] @ np.stack([i, j, np.full_like(i, k), np.ones_like(i)])
        inside = ((places >= 0) & (places <= last)).all(axis=0)
        wanted, _ = _expected(_interpolated(values, places[:, inside]), notes)
        found = released.voxels[:, :, k].ravel()[inside]
        apart = np.abs(found.astype(np.float64) - wanted)
        is_off = ~(apart <= RESAMPLED_TOLERANCE * span)
        is_spared = is_off & allowed.among(found)
        set_aside += int(is_spared.sum())
        wrong += int((is_off & ~is_spared).sum())
        largest, compared = max(largest, float(apart.max(initial=0.0))), compared + wanted.size
    if not wrong and set_aside <= allowed.most:
        return []
    said = f"{wrong + set_aside} of {compared} differ, by at most {largest:.6g}"
    return [Difference("align", "the second reader's voxels, resampled", said)]


def _interpolated(values: npt.NDArray[Any], places: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    """Return values at fractional indices, shape (3, N), linear between the eight neighbours."""
    last = np.array(values.shape)[:, np.newaxis] - 1
    places = np.clip(places, 0, last)
    low = np.minimum(np.floor(places).astype(int), np.maximum(last - 1, 0))
    share, high = places - low, np.minimum(low + 1, last)
    total = np.zeros(places.shape[1])
    for corner in np.ndindex(2, 2, 2):
        at = tuple(np.where(up, high[axis], low[axis]) for axis, up in enumerate(corner))
        weight = np.prod([share[a] if up else 1 - share[a] for a, up in enumerate(corner)], axis=0)
        total += values[at] * weight
    return total


def _third_opinion(
    released: Released,
    files: Sequence[Path],
    notes: Mapping[str, Mapping[str, Any]],
    reason: Reason,
    scratch: Path,
) -> Opinion:
    """Ask dcm2niix for what SimpleITK cannot read; it has a say where one of its volumes lies on the release's grid."""
    is_asked = reason in (Reason.TILES, Reason.UNREAD) and notes.get("align", {}).get("resampled") is not True
    # What dcm2niix makes of the source still shows what was covered or emptied.
    is_asked = is_asked and _change(notes) is None
    found: list[Difference] = []
    for voxels, affine in niix.volumes(files, scratch) if is_asked else ():
        if _is_elsewhere(voxels.shape, affine, released):
            continue
        turned = _turned(released.voxels, _axes(affine, released.affine) or ())
        found = _voxel_difference(turned, _measured(voxels, notes), notes)
        if not found:
            return Opinion(reader="dcm2niix")
    if found:
        return Opinion(
            (Difference("convert", "one of dcm2niix's volumes there", "none of them"),), None, "dcm2niix"
        )
    return Opinion(reason=reason, reader="none")


def _is_elsewhere(shape: tuple[int, ...], affine: Affine, released: Released) -> bool:
    """Whether a volume is not on the release's grid, whatever the order and direction of its axes."""
    axes = _axes(affine, released.affine)
    if axes is None or _turned_shape(released.voxels.shape, axes) != shape:
        return True
    ends = np.array([[i, j, k, 1] for i, j, k in np.ndindex(2, 2, 2)]) * [*np.array(shape) - 1, 1]
    apart = ends @ affine.T - ends @ _index_map(affine, released.affine).T @ released.affine.T
    return bool(np.linalg.norm(apart[:, :3], axis=1).max() > PLACE_TOLERANCE_MM)
