"""Stored voxels become a volume without a change of value or place."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.model.errors import CurationError
from pipeline.model.volume import Quantity, Volume
from pipeline.stages.accept import accept

AFFINE = np.array([[0, -0.5, 0, 7], [0.75, 0, 0, -8], [0, 0, 2.0, 9], [0, 0, 0, 1]])


def stored(*values: float, dtype: str = "f8") -> Volume:
    return Volume(np.resize(np.array(values, dtype=dtype), (2, 2, 3)), AFFINE)


@pytest.mark.parametrize(
    ("values", "dtype", "wanted"),
    [
        ((-1024, 3071), "f8", "int16"),
        ((0, 40000), "u2", "int32"),
        ((-32768, 32767), "i4", "int16"),
        ((0, 2.0**40), "i8", "float32"),
        ((0.5, 1), "f8", "float32"),
        ((0, 255), "u1", "int16"),
    ],
)
def test_values_are_kept_in_the_smallest_type_that_holds_them(
    values: tuple[float, ...], dtype: str, wanted: str
) -> None:
    volume = stored(*values, dtype=dtype)
    step = accept(volume, Quantity.HOUNSFIELD)
    assert step.value.data.dtype == wanted
    assert np.array_equal(step.value.data, volume.data.astype(np.float64))
    assert np.array_equal(step.value.affine, AFFINE)
    assert step.value.quantity is Quantity.HOUNSFIELD


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_what_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(CurationError) as refusal:
        accept(stored(0, value), Quantity.ARBITRARY)
    assert refusal.value.code == "not-finite"


def test_axes_off_a_right_angle_are_refused() -> None:
    affine = AFFINE.copy()
    affine[0, 2] = 0.01
    with pytest.raises(CurationError) as refusal:
        accept(Volume(np.zeros((2, 2, 2)), affine), Quantity.ARBITRARY)
    assert refusal.value.code == "gantry-tilt"


def test_one_slice_is_no_volume() -> None:
    with pytest.raises(CurationError) as refusal:
        accept(Volume(np.zeros((4, 4, 1)), AFFINE), Quantity.ARBITRARY)
    assert refusal.value.code == "single-slice"
