"""A rigid move is found to a part of a voxel, the same on any number of threads, and never a worse one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import SimpleITK
from heads import MOVED, head, placed, rigid

from pipeline.model.errors import CurationError
from pipeline.model.volume import Volume
from pipeline.stages import register as room
from pipeline.stages.register import Registered, register

CORNERS = np.array([[x, y, z, 1] for x in (-40, 40) for y in (-40, 40) for z in (-35, 35)], dtype=float)


def off_mm(found: Registered, true: np.ndarray) -> float:
    """Return how far the move takes a corner of the head from where it belongs."""
    return float(np.linalg.norm((CORNERS @ (found.move.affine @ true).T - CORNERS)[:, :3], axis=1).max())


def test_a_head_of_another_contrast_in_another_frame_is_brought_back_within_a_quarter_of_a_voxel() -> None:
    step = register(placed(head(inverted=True), MOVED), placed(head()))
    assert off_mm(step.value, MOVED) < 0.25 * 3
    facts = step.note.facts
    assert float(str(facts["metric_after"])) > float(str(facts["metric_before"]))
    rotation = step.value.move.affine[:3, :3]
    assert np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-8)
    assert np.linalg.det(rotation) == pytest.approx(1)


def test_frames_without_common_millimetres_are_begun_centre_upon_centre() -> None:
    far = np.eye(4)
    far[:3, 3] = [900, -400, 2000]
    step = register(placed(head(inverted=True), far @ MOVED), placed(head()))
    assert step.note.facts["metric_by_header"] is None
    assert step.note.facts["start"] in {"centres", "moments"}
    assert off_mm(step.value, far @ MOVED) < 0.25 * 3


def test_what_lies_right_already_stays() -> None:
    step = register(placed(head(inverted=True)), placed(head()))
    assert off_mm(step.value, np.eye(4)) < 0.25


def test_the_number_of_threads_changes_no_byte() -> None:
    moving, fixed = placed(head(inverted=True), MOVED), placed(head())
    found = []
    for threads in (1, 7):
        SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
        found.append(register(moving, fixed))
    assert found[0].note == found[1].note
    assert found[0].value.move.affine.tobytes() == found[1].value.move.affine.tobytes()
    assert found[0].value.picture.tobytes() == found[1].value.picture.tobytes()


def test_a_search_that_ends_worse_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(finest: Any, places: Sequence[Any]) -> list[Any]:
        return [replace(places[0], parameters=np.array([0.0, 0, 0, 20, 15, 10]))]

    monkeypatch.setattr(room, "_best", lost)
    with pytest.raises(CurationError) as refusal:
        register(placed(head(inverted=True)), placed(head()))
    assert refusal.value.code == "registration-worse"


@pytest.mark.parametrize(("degrees", "shift"), [((6, -9, 17), (-28, 26, 10)), ((-20, 3, -4), (10, 10, -8))])
def test_a_move_of_40_mm_or_20_degrees_is_found_to_a_part_of_a_voxel(
    degrees: tuple[float, float, float], shift: tuple[float, float, float]
) -> None:
    move = rigid(degrees, shift)
    assert off_mm(register(placed(head(inverted=True), move), placed(head())).value, move) < 0.25 * 3


def test_images_that_share_nothing_are_put_nowhere() -> None:
    noise = np.random.default_rng(5).normal(0, 1, head().shape).astype(np.float32)
    with pytest.raises(CurationError) as refusal:
        register(placed(noise), placed(head()))
    assert refusal.value.code == "registration-ambiguous"


@pytest.mark.parametrize(
    ("share", "off", "code"), [(0.995, 20.0, "registration-ambiguous"), (0.995, 2.0, ""), (0.9, 20.0, "")]
)
def test_a_place_is_not_trusted_when_another_far_from_it_is_nearly_as_good(
    share: float, off: float, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    truly = room._best

    def two(finest: Any, places: Sequence[Any]) -> list[Any]:
        best = truly(finest, places)[0]
        return [
            best,
            replace(
                best, parameters=best.parameters + np.array([0, 0, 0, off, 0, 0]), shared=share * best.shared
            ),
        ]

    monkeypatch.setattr(room, "_best", two)
    try:
        register(placed(head(inverted=True)), placed(head()))
        found = ""
    except CurationError as refusal:
        found = refusal.code
    assert found == code


def torn(shift: int) -> np.ndarray:
    """Return a head whose left half was moved forwards by some voxels against its right half."""
    data = head(inverted=True)
    middle = data.shape[0] // 2
    data[:middle] = np.roll(data[:middle], shift, axis=1)
    return data


def test_a_place_from_which_half_of_the_image_would_go_is_not_trusted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(CurationError) as refusal:
        register(placed(torn(4)), placed(head()))
    assert (refusal.value.code, refusal.value.wanted.split()[0]) == ("registration-ambiguous", "halves")
    limit = room.HALVES_MM
    monkeypatch.setattr(room, "HALVES_MM", 100.0)
    apart = float(str(register(placed(torn(4)), placed(head())).note.facts["halves_apart_mm"]))
    assert limit < apart < 12.5


def test_halves_of_one_rigid_body_stay_where_the_whole_puts_them() -> None:
    facts = register(placed(head(inverted=True), MOVED), placed(head())).note.facts
    assert float(str(facts["halves_apart_mm"])) < 1.5


def test_the_picture_shows_both_images_before_and_after() -> None:
    picture = register(placed(head(inverted=True), MOVED), placed(head())).value.picture
    before, after = np.vsplit(picture, 2)
    assert picture.dtype == np.uint8
    assert not np.array_equal(before, after)


def test_voxels_of_every_type_are_taken() -> None:
    whole = Volume(head().astype(np.int16), placed(head()).affine)
    assert off_mm(register(placed(head(inverted=True)), whole).value, np.eye(4)) < 0.25
