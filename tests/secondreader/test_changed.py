"""Text that was covered and a face that was emptied: what is noted is no difference, and all else is."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.secondreader.changed import covered, is_covered, is_defaced, spared
from pipeline.secondreader.reading import Slice


def slices(count: int = 3) -> list[Slice]:
    axis = np.eye(3)
    made = []
    for k in range(count):
        values = np.arange(20, dtype=np.int16).reshape(4, 5) + 100 * k
        made.append(Slice(values, axis[2] * k, axis[0], axis[1], (1.0, 1.0)))
    return made


def noted(*places: dict[str, Any], slope: str = "1") -> dict[str, Any]:
    return {"screen": {"covered": {"places": places}}, "convert": {"rescale": [{"slope": slope}]}}


def stack(of: list[Slice]) -> npt.NDArray[Any]:
    return np.stack([one.values for one in of])


def test_a_place_is_covered_with_each_slice_s_own_smallest_value_and_nothing_else_changes() -> None:
    before, after = slices(), covered(slices(), noted({"rows": [1, 3], "columns": [2, 4], "slices": "all"}))

    assert [set(one.values[1:3, 2:4].ravel()) for one in after] == [{0}, {100}, {200}]
    assert int((stack(after) != stack(before)).sum()) == 12


def test_only_the_named_slices_are_covered() -> None:
    after = covered(slices(), noted({"rows": [0, 4], "columns": [4, 5], "slices": [1]}))

    assert [int((a.values != b.values).sum()) for a, b in zip(after, slices(), strict=True)] == [0, 4, 0]


def test_the_smallest_stored_number_is_the_largest_value_where_the_slope_falls() -> None:
    after = covered(slices(1), noted({"rows": [0, 1], "columns": [0, 1], "slices": "all"}, slope="-2"))

    assert after[0].values[0, 0] == 19


def test_a_slice_that_is_not_there_is_an_error() -> None:
    with pytest.raises(IndexError):
        covered(slices(), noted({"rows": [0, 1], "columns": [0, 1], "slices": [3]}))


def test_without_a_note_nothing_is_changed_or_spared() -> None:
    assert np.array_equal(stack(covered(slices(), {})), stack(slices()))
    assert (is_covered({}), is_defaced({}), is_defaced({"face": {"treatment": "keep"}})) == (False,) * 3
    assert not spared({}, np.zeros(3)).among(np.zeros(3)).any()


def test_as_many_voxels_as_noted_may_have_the_smallest_value_or_what_padding_became() -> None:
    notes = {
        "face": {"treatment": "deface", "removed_voxels": 7},
        "convert": {"padding": {"becomes": "50", "voxels": 2}},
    }
    found = spared(notes, np.array([4.0, 9.0, 50.0]))

    assert found.most == 9
    assert found.among(np.array([4.0, 9.0, 50.0])).tolist() == [True, False, True]
