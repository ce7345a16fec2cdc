"""Give each voxel of an annotation its class, on the image's grid."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

import numpy as np
import numpy.typing as npt
import SimpleITK
from pydicom.sr.coding import Code

from pipeline.model.errors import LabelError
from pipeline.model.names import IGNORED_NAME
from pipeline.model.record import Json, Note, Step, decimal, decimals
from pipeline.model.rules import Label, LabelClass
from pipeline.model.volume import (
    GRID_TOLERANCE_MM,
    Annotation,
    Grid,
    Volume,
    corner_distance,
    named_value,
)

NEAR_ENOUGH = 0.5
"""Likeness (0 to 1) from which on a class is named as what an unknown name may have meant."""

SNAP = 2.0**24
"""Indices are rounded to 1/SNAP voxel before a voxel is chosen, far below what places are known to."""

MOST_NAMED = 20
"""Faults of one kind that a message lists before it only counts."""

UNASSIGNED = "refused"
"""How `meaning` begins for a drawing that is of no class and not ignored, or of several."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Mask:
    """One mask of the annotation: its place there, its name, and the classes it fits, each with what matched."""

    place: int
    key: str
    name: str
    fits: dict[int, str]
    is_ignored: bool


@dataclass(frozen=True, slots=True)
class _Overlap:
    """Voxels that two classes claim."""

    kept: int
    lost: int
    voxels: int


@dataclass(frozen=True, slots=True)
class _Turn:
    """How an array is brought to another grid: `axes[n]` is the axis that becomes the n-th, signs say which turn."""

    axes: tuple[int, int, int]
    signs: tuple[int, int, int]


def label(annotation: Annotation, image: Grid, rule: Label) -> Step[Volume]:
    """Map the annotation's masks to the rule's classes, on the image's own grid.

    Names are matched whole, without regard to case and outer blanks; codes by meaning (an SRT code equals its SCT
    successor); masks called `value N` by value. Several masks of one class are united. Nothing is resampled where
    the annotation's grid is the image's, or one with axes permuted or reversed. Another grid is refused, unless the
    rule says `resample`: then each voxel of the image takes the class of the nearest voxel of the drawing, and
    none outside of its field. A drawing that is declared a part (3D Slicer) is put where it lies among the image's
    voxels.

    Parameters
    ----------
    annotation
        Masks (I, J, K) on their own grid.
    image
        The image's RAS+ grid; its affine becomes the label's.
    rule
        Classes, names to ignore, and precedence where classes overlap.

    Returns
    -------
    Step
        Label of the image's shape, 0 for background; uint8, or uint16 with more than 255 classes. The note
        holds each class' voxels, ml, components (joined by faces) and what matched; no name as drawn. Of a
        resampled label also ml before and change in percent, and drawn voxels outside the image's field.

    Raises
    ------
    LabelError
        label-name-unknown, label-value-undeclared and label-name-ambiguous for masks that fit no class, or two, or
        a class and `ignore`; label-overlap without precedence; label-off-grid if a corner is further
        than GRID_TOLERANCE_MM from the image's; label-empty; label-missing-class, also for a class that
        resampling would lose.
    """
    annotation = _whole(annotation, image) if annotation.is_part else annotation
    masks = [_mask(place, key, annotation, rule) for place, key in enumerate(annotation.masks, start=1)]
    _refuse_unassigned(masks, rule)
    turn, fault = _turn_between(annotation.grid, image)
    if fault is not None and rule.resample is None:
        raise fault
    painted, overlaps = _paint(annotation, masks, rule)
    if fault is None:
        data = np.asfortranarray(_turned(painted, turn))
        placing: dict[str, Json] = {"axes": list(turn.axes), "signs": list(turn.signs)}
    else:
        data = _nearest_voxels(painted, annotation.grid, image)
        placing = _resampling(painted, annotation.grid, image, rule)
    classes: dict[str, dict[str, Json]] = {
        str(wanted.value): {
            "name": wanted.name,
            **_extent(data, wanted.value, image),
            **_origin(masks, wanted),
            **(_change(painted, data, wanted, (annotation.grid, image)) if fault is not None else {}),
        }
        for wanted in rule.classes
    }
    _refuse_missing({int(value) for value, facts in classes.items() if facts["voxels"]}, rule)
    facts: dict[str, Json] = {
        "classes": classes,
        "ignored": sum(mask.is_ignored for mask in masks),
        "overlaps": [_overlap_facts(overlap, rule) for overlap in overlaps],
        **placing,
        "components_by": "faces",
    }
    return Step(Volume(data, image.affine), Note("label", facts))


# Which mask is which class


def meaning(name: str, value: int | None, codes: Sequence[str], rule: Label) -> str:
    """Return in words what a rule makes of a drawing: its class, that it is ignored, or why it refuses the case.

    `value` is that of a mask's voxels whose values have no names, None of a drawing with a name.
    """
    name = name.strip()
    mask = _Mask(0, name, name, _fits(name, value, codes, rule), _is_ignored(name, rule))
    if len(mask.fits) + mask.is_ignored > 1:
        return f"{UNASSIGNED}: fits {_described(mask, rule)}"
    if mask.fits or mask.is_ignored:
        return _described(mask, rule).replace("`ignore`", "ignored")
    return (
        f"{UNASSIGNED}: {_nearest(mask.name, rule)}" if value is None else f"{UNASSIGNED}: undeclared value"
    )


def _mask(place: int, key: str, annotation: Annotation, rule: Label) -> _Mask:
    """Return what a mask fits."""
    name = annotation.names.get(key, key).strip()
    fits = _fits(name, named_value(key), annotation.codes.get(key, ()), rule)
    return _Mask(place, key, name, fits, _is_ignored(name, rule))


def _fits(name: str, number: int | None, codes: Sequence[str], rule: Label) -> dict[int, str]:
    """Return the values of the classes that a mask fits, each with what matched."""
    matched = {wanted.value: _match(name, number, codes, wanted) for wanted in rule.classes}
    return {value: how for value, how in matched.items() if how}


def _match(name: str, number: int | None, codes: Sequence[str], wanted: LabelClass) -> str:
    """Return by what a mask fits a class: name, code or value; empty when it does not."""
    if number is not None:
        return "value" if number in (wanted.from_values or (wanted.value,)) else ""
    if _matches(wanted.from_names, name):
        return "name"
    return "code" if any(_is_same(code, own) for code in codes for own in wanted.from_codes) else ""


def _is_ignored(name: str, rule: Label) -> bool:
    """Whether the rules leave a name out, or it came through the door as one that they do."""
    return IGNORED_NAME.fullmatch(name) is not None or _matches(rule.ignore, name)


def known_names(annotation: Annotation, rule: Label) -> Annotation:
    """Return the drawing with the names and codes of classes alone; any other name becomes a number.

    What `label` makes of it is the same, but that nobody can say any more which class an unknown name is nearest to.
    """
    masks, names, codes = {}, {}, {}
    for place, (key, drawn) in enumerate(annotation.masks.items(), start=1):
        mask = _mask(place, key, annotation, rule)
        is_known = "name" in mask.fits.values()
        name = mask.name if is_known else f"{'ignored' if mask.is_ignored else 'unnamed'}-{place}"
        # A value's key says no more than the value; that of a known name, no more than the name and its place.
        kept = key if is_known or named_value(key) is not None else name
        masks[kept] = drawn
        if key in annotation.names:
            names[kept] = name
        own = [code for item in rule.classes for code in item.from_codes]
        codes[kept] = tuple(
            code for code in annotation.codes.get(key, ()) if any(_is_same(code, one) for one in own)
        )
    return replace(annotation, masks=masks, names=names, codes=codes)


def _matches(patterns: Iterable[str], name: str) -> bool:
    return any(re.fullmatch(pattern, name, re.IGNORECASE) for pattern in patterns)


def _is_same(first: str, second: str) -> bool:
    """Whether two codes `SCHEME:VALUE` mean the same; pydicom knows which SRT code became which SCT code."""
    return bool(_code(first) == _code(second))


def _code(text: str) -> Code:
    scheme, _, value = text.partition(":")
    return Code(value, scheme, "")


def _refuse_unassigned(masks: Sequence[_Mask], rule: Label) -> None:
    """Refuse masks that are of no class and not ignored, or of more than one; name them by place only."""
    where = f"annotation of {len(masks)} masks"
    strange = [mask for mask in masks if not mask.fits and not mask.is_ignored]
    values = [number for mask in strange if (number := named_value(mask.key)) is not None]
    named = [
        f"mask {mask.place} ({_nearest(mask.name, rule)})"
        for mask in strange
        if named_value(mask.key) is None
    ]
    wanted = f"names of {', '.join(item.name for item in rule.classes)}, or ignored ones"
    if named:
        raise LabelError("label-name-unknown", wanted=wanted, found=_listed(named), where=where)
    if values:
        declared = [value for item in rule.classes for value in item.from_values or (item.value,)]
        raise LabelError(
            "label-value-undeclared",
            wanted=f"values {_listed(declared)}",
            found=f"also {_listed(values)}",
            where=where,
        )
    torn = [mask for mask in masks if len(mask.fits) + mask.is_ignored > 1]
    if torn:
        found = _listed([f"mask {mask.place} ({_described(mask, rule)})" for mask in torn])
        raise LabelError("label-name-ambiguous", wanted="one class for each mask", found=found, where=where)


def _listed(things: Sequence[object]) -> str:
    """Return things as a list in words, not too long."""
    more = f" and {len(things) - MOST_NAMED} more" if len(things) > MOST_NAMED else ""
    return ", ".join(str(thing) for thing in things[:MOST_NAMED]) + more


def _described(mask: _Mask, rule: Label) -> str:
    return " and ".join(
        [rule.classes[value - 1].name for value in mask.fits] + ["`ignore`"] * mask.is_ignored
    )


def _nearest(name: str, rule: Label) -> str:
    """Return the class whose names are most like a name, in words that do not quote it."""
    scores = {wanted.name: max(_likeness(name, word) for word in _words(wanted)) for wanted in rule.classes}
    best = max(scores, key=lambda word: scores[word])
    return f"nearest {best}" if scores[best] >= NEAR_ENOUGH else "near none"


def _words(wanted: LabelClass) -> list[str]:
    """Return the class' name and the words in its patterns."""
    return [wanted.name, *re.findall(r"[^\W\d_]{3,}", " ".join(wanted.from_names))]


def _likeness(name: str, word: str) -> float:
    return SequenceMatcher(None, name.lower(), word.lower()).ratio()


# Which voxel is which class


def _paint(
    annotation: Annotation, masks: Sequence[_Mask], rule: Label
) -> tuple[npt.NDArray[np.unsignedinteger], list[_Overlap]]:
    """Return each voxel's class on the annotation's grid, the strongest last so that it stays, and overlaps."""
    dtype = np.uint8 if len(rule.classes) <= np.iinfo(np.uint8).max else np.uint16
    # Slice after slice in memory, as masks are.
    painted = np.zeros(annotation.grid.shape[::-1], dtype=dtype)
    overlaps: list[_Overlap] = []
    for wanted in _weakest_first(rule):
        for mask in masks:
            if wanted.value not in mask.fits:
                continue
            drawn = annotation.masks[mask.key].T
            claimed = np.bincount(painted[drawn], minlength=1)
            lost = [int(value) for value in np.flatnonzero(claimed) if value not in {0, wanted.value}]
            overlaps += [_Overlap(wanted.value, value, int(claimed[value])) for value in lost]
            painted[drawn] = wanted.value
    _refuse_undecided(overlaps, rule)
    return painted.T, _summed(overlaps)


def _weakest_first(rule: Label) -> list[LabelClass]:
    """Return the classes without precedence, then those with it, the strongest last."""
    strength = {name: -place for place, name in enumerate(rule.precedence)}
    return sorted(rule.classes, key=lambda wanted: strength.get(wanted.name, -len(strength)))


def _summed(overlaps: Sequence[_Overlap]) -> list[_Overlap]:
    """Return one overlap for each pair of classes: each of a class' masks may take some of its voxels."""
    pairs = sorted({(overlap.kept, overlap.lost) for overlap in overlaps})
    return [
        _Overlap(kept, lost, sum(each.voxels for each in overlaps if (each.kept, each.lost) == (kept, lost)))
        for kept, lost in pairs
    ]


def _refuse_undecided(overlaps: Sequence[_Overlap], rule: Label) -> None:
    """Refuse overlaps of classes that precedence does not order."""
    undecided = [
        f"{rule.classes[overlap.kept - 1].name} and {rule.classes[overlap.lost - 1].name} share {overlap.voxels}"
        for overlap in _summed(overlaps)
        if not {rule.classes[overlap.kept - 1].name, rule.classes[overlap.lost - 1].name}
        <= set(rule.precedence)
    ]
    if undecided:
        raise LabelError(
            "label-overlap",
            wanted="one class for each voxel",
            found=f"voxels: {_listed(undecided)}",
            where="label",
        )


def _overlap_facts(overlap: _Overlap, rule: Label) -> dict[str, Json]:
    return {
        "kept": rule.classes[overlap.kept - 1].name,
        "lost": rule.classes[overlap.lost - 1].name,
        "voxels": overlap.voxels,
    }


def _refuse_missing(present: Collection[int], rule: Label) -> None:
    """Refuse a label without a voxel, and one without a voxel of a required class."""
    if not present:
        raise LabelError("label-empty", wanted="a voxel of a class", found="none", where="label")
    missing = [wanted.name for wanted in rule.classes if wanted.required and wanted.value not in present]
    if missing:
        raise LabelError(
            "label-missing-class", wanted=f"voxels of {', '.join(missing)}", found="none", where="label"
        )


# From the annotation's grid to the image's


def _whole(annotation: Annotation, image: Grid) -> Annotation:
    """Return a part of the image's grid as the whole of it; what is no such part comes back as it is."""
    part = annotation.grid
    steps = np.linalg.inv(image.affine) @ part.affine
    turn = np.rint(steps[:3, :3])
    axes = [int(axis) for axis in np.abs(turn).argmax(axis=1)]
    is_turn = np.array_equal(np.abs(turn) @ np.abs(turn).T, np.eye(3))
    ends = np.array([[0, 0, 0], np.array(part.shape) - 1]) @ turn.T + np.rint(steps[:3, 3])
    low, high = ends.min(axis=0).astype(int), ends.max(axis=0).astype(int)
    exact = np.eye(4)
    exact[:3, :3], exact[:3, 3] = turn, np.rint(steps[:3, 3])
    is_near = corner_distance(part.shape, part.affine, image.affine @ exact) <= GRID_TOLERANCE_MM
    is_inside = bool((low >= 0).all() and (high < np.array(image.shape)).all())
    if not (is_turn and is_near and is_inside):
        return annotation
    ways = [slice(None, None, 1 if turn[place, axis] > 0 else -1) for place, axis in enumerate(axes)]
    box = tuple(slice(int(first), int(last) + 1) for first, last in zip(low, high, strict=True))
    masks = {}
    for name, mask in annotation.masks.items():
        masks[name] = np.zeros(image.shape, dtype=np.bool_, order="F")
        masks[name][box] = mask.transpose(axes)[tuple(ways)]
    return replace(annotation, masks=masks, grid=image)


def _turn_between(drawn: Grid, image: Grid) -> tuple[_Turn, LabelError | None]:
    """Return the permutation and reversal of axes that brings one grid nearest to the other, and what is off."""
    steps = np.linalg.inv(image.affine)[:3, :3] @ drawn.affine[:3, :3]
    axes = [int(axis) for axis in np.argmax(np.abs(steps), axis=1)]
    signs = [1 if steps[place, axis] > 0 else -1 for place, axis in enumerate(axes)]
    turn = _Turn((axes[0], axes[1], axes[2]), (signs[0], signs[1], signs[2]))
    shape = tuple(drawn.shape[axis] for axis in axes)
    if sorted(axes) != [0, 1, 2] or shape != image.shape:
        wanted = f"{_sizes(image.shape)} voxels along x, y, z"
        return turn, LabelError("label-off-grid", wanted=wanted, found=_sizes(shape), where="label")
    apart = corner_distance(image.shape, _affine_after(drawn, turn), image.affine)
    if not apart <= GRID_TOLERANCE_MM:
        wanted = f"corners within {GRID_TOLERANCE_MM:g} mm of the image's"
        return turn, LabelError("label-off-grid", wanted=wanted, found=f"{apart:.3g} mm", where="label")
    return turn, None


def _sizes(shape: Sequence[int]) -> str:
    return " x ".join(str(size) for size in shape)


def _affine_after(drawn: Grid, turn: _Turn) -> npt.NDArray[np.float64]:
    """Return the affine of a grid after its turn."""
    change = np.zeros((4, 4))
    change[3, 3] = 1
    for place, (axis, sign) in enumerate(zip(turn.axes, turn.signs, strict=True)):
        change[axis, place] = sign
        change[axis, 3] = 0 if sign > 0 else drawn.shape[axis] - 1
    return np.asarray(drawn.affine @ change, dtype=np.float64)


def _turned(painted: npt.NDArray[np.unsignedinteger], turn: _Turn) -> npt.NDArray[np.unsignedinteger]:
    first, second, third = (slice(None, None, sign) for sign in turn.signs)
    return np.transpose(painted, turn.axes)[first, second, third]


def _nearest_voxels(
    painted: npt.NDArray[np.unsignedinteger], drawn: Grid, image: Grid
) -> npt.NDArray[np.unsignedinteger]:
    """Return for each voxel of the image the class of the drawing's voxel in which its centre lies, else 0.

    A centre on the face between two voxels belongs to the one of higher index.
    """
    to_index = np.linalg.inv(drawn.affine) @ image.affine
    i, j = np.ogrid[: image.shape[0], : image.shape[1]]
    data = np.zeros(image.shape, dtype=painted.dtype, order="F")
    for k in range(image.shape[2]):
        index = [_voxel_at(row[0] * i + row[1] * j + (row[2] * k + row[3])) for row in to_index[:3]]
        inside = np.ones(image.shape[:2], dtype=np.bool_)
        for place, length in zip(index, drawn.shape, strict=True):
            inside &= (place >= 0) & (place < length)
        data[:, :, k][inside] = painted[index[0][inside], index[1][inside], index[2][inside]]
    return data


def _voxel_at(index: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the voxels in which places lie; rounded first, so that arithmetic decides no tie."""
    return np.floor(np.rint(index * SNAP) / SNAP + 0.5).astype(np.int64)


# What the note says


def _resampling(
    painted: npt.NDArray[np.unsignedinteger], drawn: Grid, image: Grid, rule: Label
) -> dict[str, Json]:
    """Return how a drawing on another grid was brought onto the image's."""
    to_index = np.linalg.inv(image.affine) @ drawn.affine
    places = _voxel_at(np.argwhere(painted) @ to_index[:3, :3].T + to_index[:3, 3])
    outside = int(((places < 0) | (places >= np.array(image.shape))).any(axis=1).sum())
    return {
        "resampled": {
            "interpolation": "nearest",
            "why": rule.resample.why if rule.resample else "",
            "shape_before": list(drawn.shape),
            "affine_before": decimals(drawn.affine),
            "drawn_voxels": len(places),
            "drawn_voxels_outside": outside,
        }
    }


def _change(
    painted: npt.NDArray[np.unsignedinteger],
    data: npt.NDArray[np.unsignedinteger],
    wanted: LabelClass,
    grids: tuple[Grid, Grid],
) -> dict[str, Json]:
    """Return a class' ml before resampling and its change in percent; refuse one that is lost."""
    before, after = (
        float(np.count_nonzero(voxels == wanted.value) * grid.voxel_ml)
        for voxels, grid in zip((painted, data), grids, strict=True)
    )
    if before and not after:
        raise LabelError(
            "label-missing-class",
            wanted=f"a voxel of {wanted.name} after resampling",
            found=f"none of {before:.3g} ml",
            where="label",
        )
    change = 100 * (after - before) / before if before else 0.0
    return {"ml_before": decimal(round(before, 6)), "change_percent": decimal(round(change, 3))}


def _extent(data: npt.NDArray[np.unsignedinteger], value: int, image: Grid) -> dict[str, Json]:
    """Return voxels, ml and components of one class."""
    chosen = data == value
    voxels = int(np.count_nonzero(chosen))
    return {
        "voxels": voxels,
        "ml": decimal(round(voxels * image.voxel_ml, 6)),
        "components": _components(chosen) if voxels else 0,
    }


def _components(chosen: Mask) -> int:
    """Return the number of parts that no shared face joins."""
    spans = []
    for axis in range(3):
        used = np.flatnonzero(chosen.any(axis=tuple({0, 1, 2} - {axis})))
        spans.append(slice(int(used[0]), int(used[-1]) + 1))
    counter = SimpleITK.ConnectedComponentImageFilter()
    counter.SetFullyConnected(False)
    counter.Execute(SimpleITK.GetImageFromArray(chosen[spans[0], spans[1], spans[2]].astype(np.uint8)))
    return int(counter.GetObjectCount())


def _origin(masks: Sequence[_Mask], wanted: LabelClass) -> dict[str, Json]:
    """Return of how many masks a class is made, by what matched."""
    matched = [mask.fits[wanted.value] for mask in masks if wanted.value in mask.fits]
    return {"masks": {how: matched.count(how) for how in sorted(set(matched))}}
