"""A few slices that say otherwise than all others are found, and their voxels decide."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.model.outlier import bears_out, odd_ones, stray


@pytest.mark.parametrize(
    ("said", "odd"),
    [("aab", (2,)), ("baa", (0,)), ("ab", ()), ("abc", ()), ("aabb", ()), ("a" * 20 + "bb", (20, 21)),
     ("a" * 19 + "bbb", ()), ("abcdefgh", ()), ("aaaa", ())],
)  # fmt: skip
def test_one_slice_or_a_tenth_is_odd_and_more_are_not(said: str, odd: tuple[int, ...]) -> None:
    assert odd_ones(said) == odd


@pytest.mark.parametrize(
    ("own", "is_borne_out"), [(10.0, True), (12.0, True), (15.0, False), (np.nan, False)]
)
def test_only_values_that_continue_the_neighbours_clearly_better_are_borne_out(
    own: float, is_borne_out: bool
) -> None:
    neighbours = [np.full((2, 2), 9.0), np.full((2, 2), 11.0)]
    assert bears_out(np.full((2, 2), own), np.full((2, 2), 17.0), neighbours) == is_borne_out


@pytest.mark.parametrize("way", [1, -1])
def test_a_location_that_does_not_run_with_the_position_is_stray_whichever_way_the_others_run(
    way: int,
) -> None:
    along = np.arange(10) * 2.5
    locations = way * along + 100
    assert stray(along, locations) == ()
    # The slice that was first lies, by its position, beyond the last one.
    assert stray(along, np.roll(locations, -1)) == (9,)


@pytest.mark.parametrize("locations", [np.zeros(6), np.full(6, np.nan), np.arange(6) * 7.0])
def test_locations_that_never_ran_with_the_positions_tell_nothing(locations: np.ndarray) -> None:
    assert stray(np.arange(6) * 2.0, locations) == ()
