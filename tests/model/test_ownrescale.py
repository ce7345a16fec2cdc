"""Rescales that each slice has for itself keep rules by which a damaged one shows."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from pipeline.model.ownrescale import OwnRescale, rule_breakers, written

LARGEST = [1 + 7.3 * np.sin(k / 5) ** 2 for k in range(12)]
"""Largest value of each slice."""


def slices(digits: int = 14, **said: object) -> list[OwnRescale]:
    """Return rescales as GE writes them in PET: the largest value, in single precision, through 32767."""
    slopes = [Decimal(f"{float(np.float32(value)) / 32767:.{digits}f}") for value in LARGEST]
    return [OwnRescale(slope, Decimal("0.000"), smallest=1, largest=32767, **said) for slope in slopes]


def test_a_series_that_keeps_all_rules_has_no_breaker() -> None:
    assert rule_breakers(slices()) == ()


@pytest.mark.parametrize("place", range(6, 16))
def test_a_digit_changed_in_one_slope_breaks_the_rule_of_single_precision(place: int) -> None:
    made = slices()
    text = str(made[5].slope)
    changed = f"{text[:place]}{(int(text[place]) + 4) % 10}{text[place + 1 :]}"
    made[5] = replace(made[5], slope=Decimal(changed))
    assert rule_breakers(made) == (5,)


def test_slopes_of_few_digits_keep_the_rule_by_chance_and_tell_nothing() -> None:
    made = slices(digits=7)
    made[5] = replace(made[5], slope=Decimal("0.0001234"))
    assert rule_breakers(made) == ()


def test_slopes_that_were_never_of_single_precision_tell_nothing() -> None:
    made = [replace(one, slope=Decimal(f"{0.0001 + k / 9999.7:.14f}")) for k, one in enumerate(slices())]
    assert rule_breakers(made) == ()


def test_a_window_as_wide_as_the_slope_times_the_largest_number_bears_witness() -> None:
    made = [
        replace(one, slope=Decimal(f"{0.37 + k / 97:.6g}"), window=Decimal(round((0.37 + k / 97) * 32767)))
        for k, one in enumerate(slices())
    ]
    assert rule_breakers(made) == ()
    made[3] = replace(made[3], slope=made[3].slope + Decimal("0.01"))  # type: ignore[operator]
    assert rule_breakers(made) == (3,)


def test_an_intercept_of_one_slice_alone_breaks_the_rule() -> None:
    made = slices()
    made[0] = replace(made[0], intercept=Decimal(4))
    assert rule_breakers(made) == (0,)


def test_the_stored_number_of_the_value_zero_is_the_same_in_all_slices() -> None:
    made = [replace(one, intercept=(one.slope or 0) * 32768) for one in slices(digits=9)]
    assert rule_breakers(made) == ()
    made[7] = replace(made[7], slope=(made[7].slope or 0) + Decimal("0.00002"))
    assert rule_breakers(made) == (7,)


def test_the_mapping_of_real_world_values_bears_witness() -> None:
    made = [replace(one, mapped=(float(one.slope or 0), 0.0)) for one in slices(digits=6)]
    assert rule_breakers(made) == ()
    made[7] = replace(made[7], slope=(made[7].slope or 0) + Decimal("0.000032"))
    assert rule_breakers(made) == (7,)


def test_a_slice_without_a_rescale_among_those_that_have_one_breaks_the_rule() -> None:
    made = slices()
    made[2] = OwnRescale(None, None, smallest=0, largest=9)
    assert rule_breakers(made) == (2,)


def test_a_slice_of_one_value_keeps_every_rule_of_slopes() -> None:
    made = slices()
    made[2] = replace(made[2], slope=Decimal("0.01000000000000"), smallest=0, largest=0)
    assert rule_breakers(made) == ()


def test_eight_other_slopes_at_least_must_keep_a_rule() -> None:
    made = slices()[:8]
    made[2] = replace(made[2], intercept=Decimal(4))
    assert rule_breakers(made) == ()
    assert rule_breakers([*made, *slices()[8:9]]) == (2,)


def test_one_slope_in_all_slices_is_no_rescale_of_their_own() -> None:
    made = [replace(one, slope=Decimal(1)) for one in slices()]
    made[4] = replace(made[4], slope=Decimal("1.00244379276637"), intercept=Decimal(-3))
    assert rule_breakers(made) == ()


@pytest.mark.parametrize("text", ["", "abc", "NaN", "inf", "1E999999", "9" * 400, None, float("nan")])
def test_what_is_no_finite_number_is_none(text: object) -> None:
    assert written(text) is None
