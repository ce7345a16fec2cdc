"""Orientation moves voxels and never their millimetres."""

from __future__ import annotations

import itertools

import nibabel
import numpy as np
import pytest

from pipeline.model.volume import Quantity, Volume, axis_codes
from pipeline.stages.orient import orient

SHAPE = (3, 4, 5)
AXES_48 = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))


def rotation(axis: tuple[float, float, float], degrees: float) -> np.ndarray:
    """Rodrigues' formula."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def volume(axes: tuple[int, ...], signs: tuple[int, ...], turn: np.ndarray | None = None) -> Volume:
    """A volume whose every voxel has its own value and whose spacing differs along each axis."""
    directions = np.zeros((3, 3))
    directions[axes, range(3)] = signs
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if turn is None else turn) @ directions * (1.5, 0.75, 4)
    affine[:3, 3] = -20, 33, 7
    data = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    return Volume(data, affine, Quantity.HOUNSFIELD)


def millimetres(of: Volume) -> dict[int, tuple[float, ...]]:
    """Value of each voxel -> its place, rounded to 1e-6 mm."""
    places = {}
    for index in np.ndindex(of.data.shape):
        place = of.affine @ (*index, 1)
        places[int(of.data[index])] = tuple(np.round(place[:3], 6) + 0.0)
    return places


@pytest.mark.parametrize(("axes", "signs"), AXES_48)
def test_every_voxel_keeps_its_millimetre_from_all_48_orientations(axes, signs):
    before = volume(axes, signs)
    after = orient(before).value
    assert axis_codes(after.affine) == "RAS"
    assert millimetres(after) == millimetres(before)
    assert (np.diag(after.affine)[:3] > 0).all()


@pytest.mark.parametrize(("axes", "signs"), AXES_48)
@pytest.mark.parametrize("degrees", [11, 29, 44])
def test_an_oblique_volume_keeps_its_millimetres_and_agrees_with_nibabel(axes, signs, degrees):
    before = volume(axes, signs, rotation((1, 2, -3), degrees))
    after = orient(before).value
    assert millimetres(after) == millimetres(before)
    reference = nibabel.as_closest_canonical(nibabel.Nifti1Image(before.data, before.affine))
    np.testing.assert_array_equal(after.data, np.asarray(reference.dataobj))
    np.testing.assert_allclose(after.affine, reference.affine, atol=1e-9)
    assert nibabel.aff2axcodes(after.affine) == ("R", "A", "S")


@pytest.mark.parametrize("noise", [0, 1e-9, -1e-9])
@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_rounding_never_decides_between_two_axes_at_45_degrees(axis, noise):
    exact = orient(volume((0, 1, 2), (1, 1, 1), rotation(axis, 45)))
    nudged = orient(volume((0, 1, 2), (1, 1, 1), rotation(axis, 45 + noise)))
    np.testing.assert_array_equal(exact.value.data, nudged.value.data)


@pytest.mark.parametrize("degrees", [0, 30, 45, 54.7, 90, 135])
def test_orienting_twice_is_nothing(degrees):
    for axes, signs in AXES_48[::5]:
        once = orient(volume(axes, signs, rotation((1, 1, 1), degrees))).value
        twice = orient(once).value
        np.testing.assert_array_equal(once.data, twice.data)
        np.testing.assert_array_equal(once.affine, twice.affine)


@pytest.mark.parametrize(("axes", "signs"), AXES_48)
def test_orienting_twice_is_nothing_where_two_voxel_axes_are_equally_close_to_one_direction(axes, signs):
    half = np.sqrt(0.5)
    x, y = np.array([0.6, -0.6, np.sqrt(0.28)]), np.array([half, half, 0])
    once = orient(volume(axes, signs, np.stack([x, y, np.cross(x, y)]))).value
    np.testing.assert_array_equal(orient(once).value.data, once.data)


def test_quantity_and_dtype_pass_through():
    after = orient(volume((2, 0, 1), (-1, 1, -1))).value
    assert after.quantity is Quantity.HOUNSFIELD
    assert after.data.dtype == np.int16


def test_the_note_holds_axes_and_affine_before_and_after():
    facts = orient(volume((0, 1, 2), (-1, -1, 1))).note.facts
    assert (facts["axes_before"], facts["axes_after"]) == ("LPS", "RAS")
    assert facts["affine_before"][0] == ["-1.5", "0", "0", "-20"]
    assert facts["affine_after"][0] == ["1.5", "0", "0", "-23"]


def test_no_negative_zero_reaches_the_affine():
    after = orient(volume((0, 1, 2), (-1, -1, -1))).value
    assert not np.signbit(after.affine[after.affine == 0]).any()
