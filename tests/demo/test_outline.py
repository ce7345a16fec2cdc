from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.demo.outline import outlines


def crossings(polygon: npt.NDArray[np.float64], i: int, j: int) -> int:
    """Count a polygon's edges that a ray from (i, j) towards larger i meets."""
    count = 0
    for start, end in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if min(start[1], end[1]) < j < max(start[1], end[1]):
            share = (j - start[1]) / (end[1] - start[1])
            count += bool(start[0] + share * (end[0] - start[0]) > i)
    return count


def inside(polygons: list[npt.NDArray[np.float64]], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    hits = [[sum(crossings(p, i, j) for p in polygons) % 2 for j in range(shape[1])] for i in range(shape[0])]
    return np.array(hits, dtype=bool)


@given(arrays(np.bool_, st.tuples(st.integers(1, 6), st.integers(1, 7))))
def test_even_odd_at_pixel_centres_gives_the_mask_back(mask: npt.NDArray[np.bool_]) -> None:
    assert np.array_equal(inside(outlines(mask), mask.shape), mask)


def test_a_hole_is_a_polygon_of_its_own() -> None:
    ring = np.ones((5, 6), dtype=bool)
    ring[2, 2:4] = False

    assert [len(polygon) for polygon in outlines(ring)] == [4, 4]


def test_an_empty_slice_has_no_outline() -> None:
    assert outlines(np.zeros((3, 4), dtype=bool)) == []


def test_corners_lie_between_pixels() -> None:
    (square,) = outlines(np.ones((2, 3), dtype=bool))

    assert sorted(map(tuple, square.tolist())) == [(-0.5, -0.5), (-0.5, 2.5), (1.5, -0.5), (1.5, 2.5)]
