"""Scaling is linear between two percentiles, clipped, and never touches a quantity."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline.model.errors import IntensityError
from pipeline.model.rules import Keep, RobustMinMax
from pipeline.model.volume import Quantity, Volume
from pipeline.stages.scale import scale

KEEP = Keep(method="keep")


def robust(low: float = 0.5, high: float = 99.5, over: str = "all", top: float = 1000) -> RobustMinMax:
    return RobustMinMax(method="robust_min_max", percentiles=(low, high), over=over, range=(0, top))


def volume(data, quantity: Quantity = Quantity.ARBITRARY) -> Volume:
    return Volume(np.asarray(data).reshape(-1, 1, 1), np.eye(4), quantity)


def refusal(data, rule, quantity=Quantity.ARBITRARY) -> IntensityError:
    with pytest.raises(IntensityError) as caught:
        scale(volume(data, quantity), rule)
    return caught.value


def test_percentiles_land_on_the_ends_of_the_range():
    data = np.arange(1001, dtype=np.int16)
    scaled = scale(volume(data), robust(10, 90)).value.data.ravel()
    assert scaled.dtype == np.float32
    assert (scaled[:101] == 0).all()
    assert (scaled[900:] == 1000).all()
    np.testing.assert_allclose(scaled[100:901], np.linspace(0, 1000, 801), rtol=1e-6)


def test_the_note_holds_cut_offs_in_input_units_and_counts():
    facts = scale(volume(np.arange(1001, dtype=np.int16)), robust(10, 90)).note.facts
    assert (facts["low"], facts["high"]) == ("100", "900")
    assert (facts["clipped_below"], facts["clipped_above"], facts["voxels"]) == (100, 100, 1001)


def test_a_percentile_between_two_samples_is_interpolated_linearly():
    facts = scale(volume(np.array([0, 10, 20, 40], dtype=np.int16)), robust(0, 90)).note.facts
    assert float(facts["high"]) == pytest.approx(34)


def test_percentiles_far_apart_do_not_overflow_int16():
    # numpy subtracts the two samples in their own dtype.
    facts = scale(volume(np.array([-32768, 32767], dtype=np.int16)), robust(25, 75)).note.facts
    assert (facts["low"], facts["high"]) == ("-16384.25", "16383.25")


def test_nonzero_leaves_the_background_out_of_the_percentiles():
    data = np.r_[np.zeros(5000), np.linspace(100, 200, 101)].astype(np.float32)
    scaled = scale(volume(data), robust(0, 100, "nonzero")).value.data.ravel()
    assert (scaled[:5000] == 0).all()
    np.testing.assert_allclose(scaled[5000:], np.linspace(0, 1000, 101), atol=1e-3)


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(np.int16, st.integers(2, 40)))
def test_full_range_int16_stays_in_range_and_in_order(data):
    low, high = np.percentile(data.astype(np.float64), [5, 95])
    if low == high:
        return
    scaled = scale(volume(data), robust(5, 95)).value.data.ravel()
    assert scaled.min() >= 0
    assert scaled.max() <= 1000
    assert (np.diff(scaled[np.argsort(data, kind="stable")]) >= 0).all()


@pytest.mark.parametrize("slope", [0.001, 1, 7.5])
def test_a_wrong_dicom_scale_changes_nothing(slope):
    data = np.random.default_rng(7).integers(0, 4000, 500)
    expected = scale(volume(data.astype(np.int16)), robust()).value.data
    found = scale(volume(data * slope), robust()).value.data
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_one_bright_voxel_hardly_moves_the_rest():
    data = np.arange(10_000, dtype=np.int32)
    spiked = data.copy()
    spiked[0] = 2**30
    plain, robustly = (scale(volume(each), robust()).value.data.ravel() for each in (data, spiked))
    np.testing.assert_allclose(plain[1:], robustly[1:], atol=0.5)


@pytest.mark.parametrize("data", [[5, 5, 5], [0, 0, 0], [7]])
def test_a_constant_image_is_refused(data):
    assert refusal(np.array(data, dtype=np.int16), robust()).code == "constant-intensity"


def test_an_empty_image_has_no_nonzero_voxels():
    assert refusal(np.zeros(9), robust(over="nonzero")).code == "constant-intensity"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("rule", "quantity"), [(robust(), Quantity.ARBITRARY), (KEEP, Quantity.ADC)])
def test_values_that_are_not_finite_are_refused(bad, rule, quantity):
    assert refusal(np.array([1, 2, bad]), rule, quantity).code == "not-finite"


@pytest.mark.parametrize("quantity", [each for each in Quantity if each.is_quantitative])
def test_a_quantity_is_never_rescaled(quantity):
    assert refusal([1, 2, 3], robust(), quantity).code == "out-of-range"


def test_arbitrary_units_are_never_kept():
    assert refusal([1, 2, 3], KEEP).code == "out-of-range"


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_kept_values_are_the_same_bytes(dtype):
    before = volume(np.array([-1024, 0, 3071], dtype=dtype), Quantity.HOUNSFIELD)
    after = scale(before, KEEP).value
    assert after.data.dtype == dtype
    assert after.data.tobytes() == before.data.tobytes()


def test_kept_int32_becomes_float32_where_that_is_exact():
    after = scale(volume(np.array([0, 2**24], dtype=np.int32), Quantity.ADC), KEEP).value
    assert after.data.dtype == np.float32
    assert after.data.ravel().tolist() == [0, 2**24]
    assert refusal(np.array([0, 2**24 + 1], dtype=np.int32), KEEP, Quantity.ADC).code == "out-of-range"
