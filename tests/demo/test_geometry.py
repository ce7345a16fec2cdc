from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest

from pipeline.demo.geometry import (
    Acquisition,
    centred,
    cosines,
    decimal_string,
    half_turn,
    to_ras,
)

PLANES = ("axial", "sagittal", "coronal")
POSITIONS = ("HFS", "FFS")
TILTS = ((0.0, 0.0), (17.0, -11.0), (9.0, 6.0))


def acquisition(plane: str, position: str, tilt: tuple[float, float] = (0.0, 0.0)) -> Acquisition:
    return centred(
        (5, 4, 3),
        cosines(plane, position, tilt),
        spacing_mm=(0.8, 0.9, 3.3),
        centre=(12.5, -31.25, 120.75),
        position=position,
    )


EVERY = [acquisition(*choice) for choice in itertools.product(PLANES, POSITIONS, TILTS)]


@pytest.mark.parametrize("number", [0, -0.0, 1.25, -123.456789, 1 / 3, -999.999999999, 1e-12])
def test_a_decimal_string_fits_and_reads_back(number: float) -> None:
    text = decimal_string(number)

    assert len(text) <= 16
    assert abs(float(text) - number) <= 5e-10
    assert text == "0" or not text.endswith("0") or "." not in text


def test_a_number_that_does_not_fit_a_decimal_string_is_an_error() -> None:
    with pytest.raises(ValueError, match="16 characters"):
        decimal_string(-1e6 / 3)


@pytest.mark.parametrize("place", EVERY)
def test_directions_are_perpendicular_unit_vectors_as_written(place: Acquisition) -> None:
    frame = np.array([place.along_row, place.along_column, place.normal])

    assert np.abs(frame @ frame.T - np.eye(3)).max() < 5e-9


@pytest.mark.parametrize("place", EVERY)
def test_the_affine_puts_every_slice_where_its_header_says(place: Acquisition) -> None:
    for k in range(place.shape[2]):
        x, y, z = nib.affines.apply_affine(place.affine, (0, 0, k))

        assert np.abs(np.array((-x, -y, z)) - place.slice_origin(k)).max() < 1e-8


@pytest.mark.parametrize("place", EVERY)
def test_the_middle_lies_where_it_should(place: Acquisition) -> None:
    x, y, z = nib.affines.apply_affine(place.affine, [(n - 1) / 2 for n in place.shape])

    assert np.abs(np.array((-x, -y, z)) - (12.5, -31.25, 120.75)).max() < 1e-3


def test_planes_look_along_their_axis() -> None:
    axes = {plane: int(np.abs(acquisition(plane, "HFS").normal).argmax()) for plane in PLANES}

    assert axes == {"axial": 2, "sagittal": 0, "coronal": 1}


@pytest.mark.parametrize("place", EVERY)
def test_ras_order_keeps_every_voxel_in_its_place(place: Acquisition) -> None:
    data = np.arange(60).reshape(place.shape)
    turned, affine = to_ras(data, place.affine)
    where = {
        int(data[index]): nib.affines.apply_affine(place.affine, index) for index in np.ndindex(*place.shape)
    }

    assert nib.aff2axcodes(affine) == ("R", "A", "S")
    for index in np.ndindex(*turned.shape):
        moved = nib.affines.apply_affine(affine, index) - where[int(turned[index])]
        assert np.abs(moved).max() < 1e-9


@pytest.mark.parametrize("place", EVERY)
def test_a_half_turn_reverses_the_first_two_ras_axes_and_no_other(place: Acquisition) -> None:
    data = np.arange(60).reshape(place.shape)
    right, _ = to_ras(data, place.affine)
    wrong, _ = to_ras(half_turn(data, place.affine), place.affine)

    assert np.array_equal(wrong, right[::-1, ::-1])
