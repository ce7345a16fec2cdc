"""Slices make an even stack exactly when a regular grid puts every one where its header does."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.model.errors import GeometryError
from pipeline.model.evenstack import Place, even_stack

ROW, COLUMN = np.array([1.0, 0, 0]), np.array([0, 1.0, 0])


def place(z: float, x: float = 0, row: np.ndarray = ROW, column: np.ndarray = COLUMN) -> Place:
    return Place(row, column, np.array([x, 0, z]), 1.0, 1.0, (201, 101))


def code(places: list[Place], stated_mm: float | None = None) -> str:
    with pytest.raises(GeometryError) as refusal:
        even_stack(places, stated_mm=stated_mm)
    return refusal.value.code


def test_slices_are_put_in_the_order_of_their_positions():
    stack = even_stack([place(z) for z in (4, 0, 6, 2)])
    assert list(stack.order) == [1, 3, 0, 2]
    assert stack.along.tolist() == [0, 2, 4, 6]
    assert (stack.step_mm, stack.step_from, stack.deviation_mm) == (2, "median", 0)


def test_rounded_steps_take_their_spacing_from_the_ends():
    stack = even_stack([place(round(0.625 * k, 2)) for k in range(100)])
    assert stack.step_from == "ends"
    assert stack.step_mm == pytest.approx(0.625, abs=1e-4)
    assert stack.deviation_mm < 0.01


@pytest.mark.parametrize(
    ("step", "off", "is_even"), [(5, 0.1, True), (5, 0.11, False), (0.1, 0.02, True), (0.1, 0.03, False)]
)
def test_a_slice_may_lie_off_its_place_by_the_stated_tolerance_and_no_more(step, off, is_even):
    places = [place(step * k + (off if k == 3 else 0)) for k in range(9)]
    if is_even:
        assert even_stack(places).deviation_mm == pytest.approx(off)
    else:
        assert code(places) == "variable-spacing"


@pytest.mark.parametrize(("shift", "is_straight"), [(0.01, True), (0.011, False)])
def test_a_shear_may_move_the_last_slice_by_the_tolerance_and_no_more(shift, is_straight):
    places = [place(2 * k, shift * k) for k in range(11)]
    if is_straight:
        np.testing.assert_array_equal(even_stack(places).affine[:3, 2], [0, 0, 2])
    else:
        assert code(places) == "gantry-tilt"


def test_cosines_that_are_nearly_orthonormal_become_so_and_keep_the_corners():
    row, column = np.array([0.7071, 0.7071, 0]), np.array([-0.7071, 0.7072, 0.0001])
    stack = even_stack([place(2 * k, row=row, column=column) for k in range(4)])
    axes = stack.affine[:3, :3] / np.linalg.norm(stack.affine[:3, :3], axis=0)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)


def test_cosines_that_turn_from_slice_to_slice_are_refused():
    angle = np.radians(0.2)
    turned = np.array([np.cos(angle), np.sin(angle), 0]), np.array([-np.sin(angle), np.cos(angle), 0])
    assert code([place(0), place(2), place(4, 0, *turned)]) == "mixed-grids"


def test_four_and_seven_millimetres_are_variable_and_not_missing():
    assert code([place(z) for z in (0, 4, 8, 15, 22)]) == "variable-spacing"


def test_the_stated_spacing_tells_that_slices_are_missing_where_steps_alone_cannot():
    places = [place(z) for z in (0, 4, 10)]
    assert code(places) == "variable-spacing"
    assert code(places, stated_mm=2) == "missing-slice"
    assert code([place(z) for z in (0, 4, 8)], stated_mm=2) == "missing-slice"


def test_many_missing_slices_are_counted_and_not_all_listed():
    with pytest.raises(GeometryError) as refusal:
        even_stack([place(z) for z in (0, 1, 100)])
    assert refusal.value.found.startswith("98 missing: index 2 at 2.000 mm, ")
    assert refusal.value.found.endswith(", and 78 more")
