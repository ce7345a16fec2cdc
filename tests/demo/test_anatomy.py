from __future__ import annotations

import numpy as np

from pipeline.demo.anatomy import Body, Organ, chance, drawn, glow, grow, paint
from pipeline.demo.geometry import centred, cosines
from pipeline.model.volume import Grid

ORGANS = (
    Organ("left lump", (-0.4, 0.2, 0.1), (0.3, 0.3, 0.4), 1),
    Organ("core", (-0.4, 0.2, 0.1), (0.15, 0.15, 0.2), 2),
)
MARKER = (0.78, 0.72, 0.62)
VALUES = {"air": -1000.0, "body": 30.0, "marker": 1150.0, "left lump": 100.0, "core": 200.0}
MAGNITUDES = {"air": 0.0, "body": 400.0, "marker": 1800.0, "left lump": 900.0, "core": 1300.0}


def grid(plane: str = "axial") -> Grid:
    return centred(
        (30, 26, 16), cosines(plane, "HFS"), spacing_mm=(0.8, 0.9, 2.2), centre=(5, -7, 90), position="HFS"
    ).grid


def body(where: Grid, person: int = 0) -> Body:
    return grow(ORGANS, where, seed=(person,))


def test_chance_depends_on_the_words_alone() -> None:
    assert chance("a", 1).random() == chance("a", 1).random() != chance("a", 2).random()


def test_an_organ_on_the_left_has_negative_x() -> None:
    where = grid()
    indices = np.argwhere(drawn(body(where), where, marker=MARKER) > 0)
    middle = where.affine[:3, :3] @ indices.mean(axis=0) + where.affine[:3, 3]

    assert middle[0] < body(where).middle_mm[0] - 2


def test_the_same_person_lies_in_the_same_place_on_another_grid() -> None:
    axial, sagittal = grid(), grid("sagittal")
    person = body(axial)
    middles = []
    for where in (axial, sagittal):
        indices = np.argwhere(drawn(person, where, marker=MARKER) == 2)
        middles.append(where.affine[:3, :3] @ indices.mean(axis=0) + where.affine[:3, 3])

    assert np.abs(middles[0] - middles[1]).max() < 1.2


def test_people_differ_in_shape() -> None:
    where = grid()
    first, second = (drawn(body(where, person), where, marker=MARKER) for person in (0, 1))

    assert not np.array_equal(first, second)


def test_ct_is_whole_hounsfield_from_air_to_bone() -> None:
    where = grid()
    image = paint(body(where), where, values=VALUES, marker=MARKER, seed=(0,))

    assert image.dtype == np.int32
    assert image.min() == -1000
    assert 1100 < image.max() <= 1200


def test_magnitudes_are_positive_and_a_stripped_background_is_exactly_zero() -> None:
    where = grid()
    person = body(where)
    image = glow(person, where, values=MAGNITUDES, marker=MARKER, seed=(0,))
    tissues = person.tissue_map(person.places(where), marker=MARKER)

    assert np.array_equal(image == 0, tissues == 0)
    assert image.max() <= 4000


def test_the_marker_is_in_one_corner_only() -> None:
    where = grid()
    image = paint(body(where), where, values=VALUES, marker=MARKER, seed=(0,))
    bright = np.argwhere(image > 1000) @ where.affine[:3, :3].T + where.affine[:3, 3]

    assert len(bright) >= 8
    assert (bright > body(where).middle_mm).all()
