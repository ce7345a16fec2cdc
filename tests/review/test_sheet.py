"""Contact sheets: the same bytes again, true proportions, windows, outlines in the classes' colours."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from pipeline.review.sheet import CLOSE, COLOURS, OUTLINED, PLAIN, WHOLE, Case, Look, draw, kinds

CT = [Look("CT", (-160.0, 240.0))]
CHANCE = np.random.default_rng(3)


def case(
    channels: int = 1, *, has_label: bool = True, spacing: tuple[float, float, float] = (1, 1, 1)
) -> Case:
    image = CHANCE.integers(-100, 100, (30, 30, 20, channels)).astype(np.int16)
    label = np.zeros((30, 30, 20), dtype=np.uint8)
    label[5:15, 5:15, 5:15] = 1
    label[8:12, 8:12, 8:12] = 2
    return Case(image, label if has_label else None, spacing)


def rgb(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(png)).convert("RGB")).astype(int)


def is_coloured(picture: np.ndarray) -> np.ndarray:
    return np.ptp(picture, axis=2) > 0


def colours(picture: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(map(int, colour)) for colour in np.unique(picture[is_coloured(picture)], axis=0)}


def test_the_same_voxels_give_the_same_bytes() -> None:
    one = case(2)
    looks = [Look("T2", None), Look("ADC", None)]

    assert draw(one, looks) == draw(one, looks)


@pytest.mark.parametrize("has_label", [True, False])
def test_every_kind_that_is_promised_is_drawn(has_label: bool) -> None:
    assert set(draw(case(has_label=has_label), CT)) == set(kinds(has_label))


def test_outlines_have_the_colours_of_their_classes_and_plain_sheets_none() -> None:
    drawn = draw(case(), CT)

    assert colours(rgb(drawn[WHOLE, OUTLINED])) == {COLOURS[0], COLOURS[1]}
    assert colours(rgb(drawn[WHOLE, PLAIN])) == set()


def test_under_an_outline_the_sheet_is_the_plain_one() -> None:
    drawn = draw(case(), CT)
    outlined, plain = rgb(drawn[CLOSE, OUTLINED]), rgb(drawn[CLOSE, PLAIN])
    grey = ~is_coloured(outlined)

    assert np.array_equal(outlined[grey], plain[grey])
    assert 0 < (~grey).mean() < 0.2


def test_the_inside_of_a_label_is_not_covered() -> None:
    drawn = draw(case(has_label=True), CT)[WHOLE, OUTLINED]

    assert is_coloured(rgb(drawn)).mean() < 0.05


def test_a_window_makes_what_lies_outside_black_and_white() -> None:
    image = np.full((30, 30, 20, 1), -1000, dtype=np.int16)
    image[:15] = 1000
    picture = rgb(draw(Case(image, None, (1, 1, 1)), CT)[WHOLE, PLAIN])[..., 0]

    # Of two halves, one of each; letters and gaps take little.
    assert (picture == 255).mean() == pytest.approx((picture == 0).mean(), abs=0.1)
    assert ((picture == 255) | (picture == 0)).mean() > 0.95


def test_a_channel_without_a_window_is_shown_in_its_own_range() -> None:
    image = CHANCE.normal(5e6, 1e6, (30, 30, 20, 1)).astype(np.float32)
    picture = rgb(draw(Case(image, None, (1, 1, 1)), [Look("PET", None)])[WHOLE, PLAIN])

    assert len(np.unique(picture)) > 100


def test_a_constant_channel_is_drawn() -> None:
    image = np.zeros((5, 5, 5, 1), dtype=np.float32)

    assert draw(Case(image, None, (1, 1, 1)), [Look("T2", None)])


def test_slices_that_are_twice_as_far_apart_are_drawn_twice_as_high() -> None:
    one, two = (
        rgb(draw(Case(np.full((30, 30, 10, 1), 240, np.int16), None, (1, 1, step)), CT)[WHOLE, PLAIN])
        for step in (1.0, 2.0)
    )
    # Two rows of axial tiles, then one as high as its coronal tile.
    coronal = [picture.shape[0] - 2 * 304 - 8 for picture in (one, two)]

    assert coronal == [100, 200]


def test_four_channels_are_drawn_one_below_the_other() -> None:
    looks = [Look(name, None) for name in ("FLAIR", "T1w", "t1gd", "T2w")]
    one, four = (Image.open(BytesIO(draw(case(count), looks[:count])[WHOLE, PLAIN])).size for count in (3, 4))

    assert one[0] == four[0]
    assert four[1] > one[1]
