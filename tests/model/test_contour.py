"""Contours that cannot be are not built."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.model.contour import Contour, Geometric
from pipeline.model.volume import distinct_names, named_value, value_name


def test_points_are_rows_of_three_and_cannot_be_changed() -> None:
    contour = Contour(np.arange(9.0), Geometric.CLOSED_PLANAR)
    assert contour.points.shape == (3, 3)
    with pytest.raises(ValueError, match="read-only"):
        contour.points[0, 0] = 1


@pytest.mark.parametrize("number", [np.nan, np.inf, -1e6])
def test_a_point_that_no_patient_has_makes_no_contour(number: float) -> None:
    with pytest.raises(ValueError, match="near the scanner"):
        Contour(np.array([[0, 0, number]]), Geometric.POINT)


def test_only_closed_types_have_an_area() -> None:
    assert [kind.value for kind in Geometric if kind.has_area] == ["CLOSED_PLANAR", "CLOSEDPLANAR_XOR"]


def test_every_name_gets_a_key_of_its_own() -> None:
    names = ["liver", " liver ", "", "spleen", "value 3", "spleen #9", "value", "Spleen"]
    keys = distinct_names(names)
    assert keys == ["liver #1", "liver #2", "#3", "spleen", "value 3 #5", "spleen #9", "value", "Spleen"]
    assert distinct_names(["a", "a", "a #2"]) == ["a #1", "a #2'", "a #2"]
    assert all(named_value(key) is None for key in keys)


@pytest.mark.parametrize("value", [1, 255, -3])
def test_a_value_is_read_back_from_its_name(value: int) -> None:
    assert named_value(value_name(value)) == value


@pytest.mark.parametrize("name", ["value", "value x", "value 3 ", "Value 3", "value 3.0"])
def test_other_names_are_no_value(name: str) -> None:
    assert named_value(name) is None
