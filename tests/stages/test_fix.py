"""The half turn rotates; it never mirrors."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.model.errors import GeometryError
from pipeline.model.volume import Volume
from pipeline.stages.fix import half_turn

WHY = {"why": "the header says the opposite", "evidence": "evidence/example.md"}


def volume(dtype: type = np.int16, affine: np.ndarray | None = None) -> Volume:
    data = np.arange(24, dtype=dtype).reshape(2, 3, 4)
    return Volume(data, np.diag([2.0, 3.0, 4.0, 1.0]) if affine is None else affine)


def test_right_front_becomes_left_back_on_the_same_slice():
    before = volume()
    after = half_turn(before, **WHY).value
    for index in np.ndindex(2, 3, 4):
        i, j, k = index
        assert after.data[1 - i, 2 - j, k] == before.data[index]


def test_the_affine_stays():
    before = volume()
    np.testing.assert_array_equal(half_turn(before, **WHY).value.affine, before.affine)


def test_turning_twice_is_nothing():
    before = volume()
    twice = half_turn(half_turn(before, **WHY).value, **WHY).value
    np.testing.assert_array_equal(twice.data, before.data)


def test_a_label_keeps_its_dtype():
    assert half_turn(volume(np.uint8), **WHY).value.data.dtype == np.uint8


def test_handedness_survives():
    # A mirror would be undone by reversing one axis; a rotation is not.
    before, after = volume().data, half_turn(volume(), **WHY).value.data
    assert not np.array_equal(after[::-1], before)
    assert not np.array_equal(after[:, ::-1], before)


@pytest.mark.parametrize("flip", [[-1, -1, 1], [-1, 1, 1], [1, 1, -1]])
def test_a_volume_that_is_not_ras_is_refused(flip):
    with pytest.raises(GeometryError) as refusal:
        half_turn(volume(affine=np.diag([*flip, 1.0])), **WHY)
    assert refusal.value.code == "not-ras"


def test_the_note_gives_reason_and_evidence():
    note = half_turn(volume(), **WHY).note
    assert note.to_json() == {"stage": "fix", "half_turn": "axial", "reversed": ["i", "j"], **WHY}
