"""A rigid move is found to a part of a voxel, the same on any number of threads, and never a worse one."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK
from heads import MOVED, head, placed

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
    assert step.note.facts["start"] == "centres"
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
    def lost(
        fixed: object, moving: object, start: SimpleITK.Euler3DTransform, stride: float
    ) -> tuple[object, dict[str, object]]:
        away = SimpleITK.Euler3DTransform(start)
        away.SetTranslation([20.0, 15.0, 10.0])
        return away, {}

    monkeypatch.setattr(room, "_searched", lost)
    with pytest.raises(CurationError) as refusal:
        register(placed(head(inverted=True)), placed(head()))
    assert refusal.value.code == "registration-worse"


def test_the_picture_shows_both_images_before_and_after() -> None:
    picture = register(placed(head(inverted=True), MOVED), placed(head())).value.picture
    before, after = np.vsplit(picture, 2)
    assert picture.dtype == np.uint8
    assert not np.array_equal(before, after)


def test_voxels_of_every_type_are_taken() -> None:
    whole = Volume(head().astype(np.int16), placed(head()).affine)
    assert off_mm(register(placed(head(inverted=True)), whole).value, np.eye(4)) < 0.25
