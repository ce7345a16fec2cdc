"""The planes that are shown hold the label, and lie on the screen as a radiologist reads it."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.review.planes import AXIAL, CORONAL, SAGITTAL, Plane, extent, planes, surroundings

SHAPE = (6, 7, 40)
WHOLE = (slice(0, 6), slice(0, 7), slice(0, 40))


def labelled(*boxes: tuple[slice, slice, slice]) -> np.ndarray:
    label = np.zeros(SHAPE, dtype=np.uint8)
    for box in boxes:
        label[box] = 1
    return label


def test_the_extent_holds_every_labelled_voxel_and_no_more() -> None:
    label = labelled((slice(1, 2), slice(3, 4), slice(5, 6)), (slice(4, 6), slice(0, 1), slice(30, 33)))

    assert extent(label, SHAPE) == (slice(1, 6), slice(0, 4), slice(5, 33))


@pytest.mark.parametrize("label", [None, labelled()])
def test_without_a_label_everything_is_shown(label: np.ndarray | None) -> None:
    assert extent(label, SHAPE) == WHOLE


def axial(part: slice, count: int) -> list[int]:
    cuts = planes((slice(1, 3), slice(2, 5), part), WHOLE, count)
    return [cut.index for cut in cuts if cut.axis == AXIAL]


def test_axial_planes_lie_evenly_from_the_first_labelled_to_the_last() -> None:
    assert axial(slice(10, 31), 5) == [10, 15, 20, 25, 30]


@pytest.mark.parametrize("part", [slice(0, 1), slice(39, 40), slice(20, 22)])
def test_a_thin_label_is_shown_with_its_neighbours(part: slice) -> None:
    shown = axial(part, 5)

    assert len(shown) == 5
    assert set(range(part.start, part.stop)) <= set(shown)
    assert shown == list(range(shown[0], shown[0] + 5))


def test_a_volume_of_few_slices_is_shown_once() -> None:
    cuts = planes((slice(0, 2),) * 3, (slice(0, 2),) * 3, 13)

    assert [cut.index for cut in cuts if cut.axis == AXIAL] == [0, 1]


def test_coronal_and_sagittal_are_in_the_middle_of_the_label() -> None:
    cuts = planes((slice(1, 4), slice(2, 7), slice(0, 9)), WHOLE, 3)

    assert [(cut.axis, cut.index) for cut in cuts[-2:]] == [(CORONAL, 4), (SAGITTAL, 2)]


@pytest.mark.parametrize(
    ("axis", "left", "top"),
    [(AXIAL, "i", "j"), (CORONAL, "i", "k"), (SAGITTAL, "j", "k")],
)
def test_right_or_front_is_on_the_left_and_front_or_head_on_top(axis: int, left: str, top: str) -> None:
    # RAS+: i grows to the right, j to the front, k to the head.
    grown = dict(zip("ijk", np.indices(SHAPE), strict=True))
    plane = Plane(axis, 3, WHOLE)
    across, down = plane.cut(grown[left]), plane.cut(grown[top])

    assert across[0, 0] > across[0, -1]
    assert down[0, 0] > down[-1, 0]
    assert plane.letters[0] == {"i": "R", "j": "A"}[left]
    assert plane.letters[2] == {"j": "A", "k": "S"}[top]


def test_a_close_up_shows_surroundings_and_stays_within_the_volume() -> None:
    box = surroundings((slice(2, 4), slice(0, 7), slice(10, 20)), SHAPE, (10.0, 10.0, 10.0))

    assert box == (slice(1, 5), slice(0, 7), slice(6, 24))


def test_a_plane_is_as_large_as_its_voxels() -> None:
    assert Plane(CORONAL, 0, WHOLE).size_mm((2.0, 9.0, 0.5)) == (12.0, 20.0)
