"""Voxels keep their place: grids, orientations and names of masks."""

from __future__ import annotations

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.model.volume import (
    Annotation,
    Grid,
    LabelMap,
    Quantity,
    Volume,
    axis_codes,
    corner_distance,
    distinct_names,
    named_value,
    orientation,
    value_name,
)

AFFINE = np.array([[0.7, 0, 0, -120], [0, 0.8, 0, 33], [0, 0, 2.5, -900], [0, 0, 0, 1]])
ALL_48 = [
    (axes, ways) for axes in permutations(range(3)) for ways in product((1, -1), repeat=3)
]  # fmt: skip


def axis_aligned(axes: tuple[int, ...], ways: tuple[int, ...]) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = 0
    for column, (row, way) in enumerate(zip(axes, ways, strict=True)):
        affine[row, column] = way * (column + 1)
    return affine


@pytest.mark.parametrize(("axes", "ways"), ALL_48)
def test_every_orientation_is_named_as_nibabel_names_it(axes: tuple[int, ...], ways: tuple[int, ...]) -> None:
    affine = axis_aligned(axes, ways)

    assert axis_codes(affine) == "".join(nib.aff2axcodes(affine))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=3, max_size=3), st.sampled_from(ALL_48))
def test_a_turned_volume_is_named_as_nibabel_names_it(
    angles: list[float], start: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    affine = axis_aligned(*start)
    for axis, angle in enumerate(angles):
        turn = np.eye(4)
        a, b = [number for number in range(3) if number != axis]
        turn[[a, b, a, b], [a, b, b, a]] = np.cos(angle), np.cos(angle), -np.sin(angle), np.sin(angle)
        affine = turn @ affine
    cosines = np.sort(np.abs(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)).ravel())
    # Between axes that are equally close nibabel and we may choose differently.
    if np.diff(cosines).min() > 1e-4:
        assert axis_codes(affine) == "".join(nib.aff2axcodes(affine))


def test_an_axis_at_45_degrees_stays_where_it_is() -> None:
    half = np.sqrt(0.5)
    for sign in (1, -1):
        affine = np.eye(4)
        affine[:2, :2] = [[half, -sign * half], [sign * half, half]]
        assert [axis for axis, _ in orientation(affine)] == [0, 1, 2]


def test_a_volume_keeps_its_voxels_from_being_changed() -> None:
    volume = Volume(np.zeros((2, 3, 4), np.int16), AFFINE)

    with pytest.raises(ValueError, match="read-only"):
        volume.data[0, 0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        volume.affine[0, 0] = 1


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4, 1), (0, 3, 4), ()])
def test_what_is_no_volume_cannot_be_made(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="three axes"):
        Volume(np.zeros(shape), AFFINE)


def test_a_grid_needs_a_4_by_4_affine() -> None:
    with pytest.raises(ValueError, match="4 x 4"):
        Grid((2, 3, 4), np.eye(3))


def test_spacing_and_voxel_volume_are_those_of_the_affine() -> None:
    turned = axis_aligned((2, 0, 1), (-1, 1, -1))

    assert Grid((2, 3, 4), turned).spacing_mm == (1, 2, 3)
    assert Grid((2, 3, 4), turned).voxel_ml == pytest.approx(0.006)


@pytest.mark.parametrize(("shift", "is_one"), [(0.0, True), (0.9e-3, True), (1.1e-3, False)])
def test_two_grids_are_one_within_a_micrometre_everywhere(shift: float, *, is_one: bool) -> None:
    other = AFFINE.copy()
    other[1, 3] += shift

    assert Grid((2, 3, 4), AFFINE).equals(Grid((2, 3, 4), other)) is is_one


def test_a_small_error_of_spacing_counts_where_it_is_largest() -> None:
    other = AFFINE.copy()
    other[0, 0] += 1e-5

    assert Grid((50, 3, 4), AFFINE).equals(Grid((50, 3, 4), other))
    assert not Grid((500, 3, 4), AFFINE).equals(Grid((500, 3, 4), other))
    assert corner_distance((500, 3, 4), AFFINE, other) == pytest.approx(499e-5)


def test_grids_of_different_shape_are_two() -> None:
    assert not Grid((2, 3, 4), AFFINE).equals(Grid((2, 3, 5), AFFINE))


def test_only_magnitudes_may_be_rescaled() -> None:
    assert [quantity for quantity in Quantity if not quantity.is_quantitative] == [Quantity.ARBITRARY]


NAMES = st.lists(
    st.sampled_from(["", " ", "liver", "Liver ", "value 1", "a #1", "a", "a", "#2", "a'"]), max_size=6
)


@settings(max_examples=150, deadline=None)
@given(NAMES | st.lists(st.text(max_size=4), max_size=5))
def test_masks_get_names_of_their_own(names: list[str]) -> None:
    keys = distinct_names(names)

    assert len(set(keys)) == len(names)
    assert all(key and named_value(key) is None for key in keys)
    for name, key in zip(names, keys, strict=True):
        is_alone = [other.strip() for other in names].count(name.strip()) == 1
        if is_alone and name.strip() and named_value(name.strip()) is None:
            assert key == name.strip()


@given(st.integers(-(2**40), 2**40))
def test_the_name_of_a_value_gives_the_value(value: int) -> None:
    assert named_value(value_name(value)) == value


def test_a_label_map_cuts_its_masks_out() -> None:
    layers = np.array([[[[0, 1, 2]]], [[[5, 5, 0]]]])
    masks = LabelMap(layers, {"a": (0, 1), "b": (1, 5)})

    assert (list(masks), len(masks)) == (["a", "b"], 2)
    np.testing.assert_array_equal(masks["b"], [[[True, True, False]]])
    with pytest.raises(KeyError):
        masks["c"]


@pytest.mark.parametrize("mask", [np.zeros((2, 3, 5), bool), np.zeros((2, 3, 4), np.uint8)])
def test_a_mask_that_does_not_fit_its_grid_makes_no_annotation(mask: np.ndarray) -> None:
    with pytest.raises(ValueError, match="mask"):
        Annotation({"a": mask}, Grid((2, 3, 4), AFFINE))
