"""Whether what the rooms say of themselves follows from the rest of the line."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.audit.claims import Manifest, number_of
from pipeline.audit.document import parts_of
from pipeline.audit.geometry import corners, matrix_text, points_along
from pipeline.audit.report import Spot
from pipeline.audit.scaling import check_scale_note

CORNER_TOLERANCE_MM = 1e-3
"""Two places are one within this many millimetres."""


_LABEL_ROOMS = ("label", "rasterise")


_CHANNEL_ROOMS = ("deidentify", "convert", "orient", "scale")


def check_notes(line: Mapping[str, Any], manifest: Manifest, spot: Spot) -> None:
    """Compare the notes of a case with each other, with the header, and with what the line says of image and label."""
    names = [channel.name for channel in manifest.channels]
    for channel in manifest.channels:
        notes = {note["stage"]: note for note in line["notes"] if note.get("channel") == channel.name}
        missing = [room for room in _CHANNEL_ROOMS if room not in notes]
        if missing:
            spot.report(
                missing[0],
                wanted=f"a note of every room on channel {channel.name}",
                found=f"none of {missing}",
            )
        if "scale" in notes:
            check_scale_note(notes["scale"], channel, line["image"]["shape"], spot)
        if "convert" in notes:
            _check_convert_note(notes["convert"], spot)
        if {"convert", "orient"} <= set(notes):
            _check_orient_note(notes["orient"], notes["convert"], spot)
        if channel.name == names[0] and "orient" in notes:
            atlas = notes.get("register", {}) if "atlas" in _rules(manifest) else {}
            last = _affine_of(
                *((atlas, "atlas_affine") if atlas else (notes["orient"], "affine_after"))
            ).astype(np.float32)
            if not np.array_equal(last, _affine_of(line["image"], "affine").astype(np.float32)):
                spot.report("orient", wanted="the affine that orient left", found="another in the image")
    _check_sources(line, [*names, *sorted({"atlas", "brain_mask"} & set(_rules(manifest)))], spot)
    _check_withheld(line, spot)
    _check_turns([note for note in line["notes"] if note["stage"] == "fix"], line, manifest, spot)


def _rules(manifest: Manifest) -> Mapping[str, Any]:
    """Return the rules document of the header, nothing when it is none."""
    document = manifest.header["rules"]["document"]
    return document if isinstance(document, dict) else {}


def _check_sources(line: Mapping[str, Any], names: Sequence[str], spot: Spot) -> None:
    wanted = {*names, "label"} if line["subset"] == "training" else set(names)
    spot.expect("ingest", "sources of", wanted=sorted(wanted), found=sorted(line["sources"]))
    for note in line["notes"]:
        keyed = line["sources"].get(note.get("channel"))
        if note["stage"] == "deidentify" and "objects" in note and keyed is not None:
            spot.expect(
                "ingest",
                f"as many sources of {note['channel']} as noted,",
                wanted=note["objects"],
                found=len(keyed),
            )


def _check_withheld(line: Mapping[str, Any], spot: Spot) -> None:
    """Report what a test case's line tells of its label."""
    for note in line["notes"] if line["subset"] == "test" else ():
        if note["stage"] in _LABEL_ROOMS or note.get("channel") == "label" or "label" in note:
            spot.report(note["stage"], wanted="nothing of a withheld label", found="a note of it")


def _affine_of(note: Mapping[str, Any], name: str) -> npt.NDArray[np.float64]:
    """Return an affine that a note holds; what is none becomes NaN, which equals nothing."""
    try:
        affine = np.array(note.get(name), dtype=np.float64)
    except (TypeError, ValueError):
        affine = np.empty(0)
    return affine if affine.shape == (4, 4) else np.full((4, 4), np.nan)


def _check_convert_note(note: Mapping[str, Any], spot: Spot) -> None:
    """Report unless the slice positions, where the note lists them, make the spacing and the affine."""
    if "positions_mm" not in note:
        return
    texts, shape = note["positions_mm"], _shape_of(note, "shape")
    positions = [number_of({"": text}, "") for text in texts] if isinstance(texts, list) else []
    if not shape or len(positions) != shape[2]:
        spot.report("convert", wanted="a position of each slice", found=f"{len(positions)} for shape {shape}")
        return
    spacing = float(np.linalg.norm(_affine_of(note, "affine")[:3, 2]))
    off = np.abs(np.diff(positions) - spacing).max(initial=0.0)
    if not off <= number_of(note, "tolerance_mm"):
        spot.report(
            "convert", wanted=f"slices {spacing:g} mm apart, as in the affine", found=f"{off:g} mm off"
        )


def _check_orient_note(orient: Mapping[str, Any], convert: Mapping[str, Any], spot: Spot) -> None:
    """Report unless orient begins where convert ended and leaves every corner at its millimetre."""
    before, after = _affine_of(orient, "affine_before"), _affine_of(orient, "affine_after")
    if orient.get("shape_before") != convert.get("shape"):
        spot.report("orient", wanted="to begin with the shape of convert", found=orient.get("shape_before"))
    if not np.array_equal(before, _affine_of(convert, "affine")):
        spot.report("orient", wanted="to begin with the affine of convert", found=matrix_text(before))
    shapes = [_shape_of(orient, name) for name in ("shape_before", "shape_after")]
    if not all(shapes):
        spot.report("orient", wanted="the shape before and after", found="none")
        return
    first, last = (corners(shape, affine) for shape, affine in zip(shapes, (before, after), strict=True))
    apart = np.abs(first[:, np.newaxis] - last[np.newaxis]).max(axis=2)
    for when, affine in (("before", before), ("after", after)):
        if not points_along(
            affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0), orient.get(f"axes_{when}")
        ):
            spot.report(
                "orient", wanted=f"the axis codes of the affine {when}", found=orient.get(f"axes_{when}")
            )
    # NaN compares as not near.
    if not (apart.min(axis=1) <= CORNER_TOLERANCE_MM).all():
        spot.report(
            "orient", wanted="every corner at the same millimetre as before", found=matrix_text(after)
        )


def _shape_of(note: Mapping[str, Any], name: str) -> list[int]:
    """Return the three lengths that a note holds, none when it does not."""
    shape = note.get(name)
    is_shape = (
        isinstance(shape, list) and len(shape) == 3 and all(isinstance(n, int) and n > 0 for n in shape)
    )
    return shape if is_shape and isinstance(shape, list) else []


def _check_turns(
    notes: Sequence[Mapping[str, Any]], line: Mapping[str, Any], manifest: Manifest, spot: Spot
) -> None:
    """Report unless all of a case is turned or nothing, with the why and evidence of the rules for it."""
    if not notes:
        return
    wanted = {channel.name for channel in manifest.channels} | (
        {"label"} if line["label"] is not None else set()
    )
    turned = [str(note.get("channel")) for note in notes]
    spot.expect("fix", "a half turn of", wanted=sorted(wanted), found=sorted(turned))
    rules = parts_of(manifest.header["rules"]["document"], "half_turns")
    listed = [rule for rule in rules if rule.get("case") == spot.case]
    for note, word in itertools.product(notes, ("why", "evidence")):
        text = note.get(word)
        if not isinstance(text, str) or not text.strip():
            spot.report("fix", wanted=f"a half turn that says its {word}", found="none")
        elif not any(rule.get(word) == text for rule in listed):
            spot.report("fix", wanted=f"the {word} that the rules give for this case", found=text)
