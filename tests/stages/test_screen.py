from __future__ import annotations

import numpy as np
import pytest
from lettered import burned, tissue

from pipeline.model.exposure import Box
from pipeline.stages.screen import CLEAREST, clearest, contrasted, cover, joined, views


def test_a_stack_gives_three_pictures_of_all_of_its_frames() -> None:
    found = views(list(tissue()), each=False)

    assert [view.frames for view in found] == [tuple(range(12))] * 3


def test_every_frame_is_a_picture_when_each_is_to_be_looked_at() -> None:
    found = views(list(tissue()), each=True)

    assert [view.frames for view in found] == [(number,) for number in range(12)]


def test_frames_of_two_sizes_are_two_stacks() -> None:
    large, small = tissue(), tissue((5, 40, 50))
    found = views([*large, *small], each=False)

    assert {view.picture.shape for view in found} == {(96, 160), (40, 50)}
    assert found[-1].frames == (12, 13, 14, 15, 16)


def test_two_frames_are_looked_at_one_by_one() -> None:
    assert [view.frames for view in views(list(tissue()[:2]), each=False)] == [(0,), (1,)]


def test_the_order_of_frames_does_not_change_the_pictures() -> None:
    frames = list(tissue())
    forward, backward = views(frames, each=False), views(frames[::-1], each=False)

    assert all(np.array_equal(a.picture, b.picture) for a, b in zip(forward, backward, strict=True))


def test_frames_without_contrast_are_no_picture() -> None:
    assert views([np.full((9, 9), 7, np.int16)] * 4, each=False) == []


@pytest.mark.parametrize("value", [1500, -900, 340])
def test_letters_that_stand_still_differ_from_what_lies_around_them_in_one_picture(value: int) -> None:
    frames, ink = burned(tissue(), value=value)
    around = np.zeros_like(ink)
    around[2:26, 4:150] = True
    steps = [
        abs(float(np.median(view.picture[ink])) - float(np.median(view.picture[around & ~ink])))
        for view in views(list(frames), each=False)
    ]

    assert max(steps) > 60


def test_full_int16_does_not_overflow() -> None:
    frames = [np.array([[-32768, 32767, 0]] * 3, np.int16), np.array([[32767, -32768, 0]] * 3, np.int16)]

    assert (
        views([*frames, frames[0]], each=False)[-1].picture[0, 0]
        > views([*frames, frames[0]], each=False)[-1].picture[0, 2]
    )


def test_one_pixel_is_a_picture_without_contrast() -> None:
    assert not contrasted(np.array([[5]], np.uint16)).any()


def test_the_clearest_frames_are_those_with_the_letters() -> None:
    frames, _ = burned(tissue(), only=slice(4, 6))

    assert {4, 5} < set(clearest(list(frames), Box(6, 4, 26, 140)))
    assert len(clearest(list(frames), Box(6, 4, 26, 140))) == CLEAREST


def test_finds_of_one_line_become_one_with_what_lies_between() -> None:
    line = [Box(10, 5, 20, 40), Box(11, 55, 21, 90), Box(10, 100, 20, 130)]

    assert joined([*line, Box(40, 5, 50, 40), line[0]]) == [Box(10, 5, 21, 130), Box(40, 5, 50, 40)]


def test_finds_far_apart_on_a_line_or_on_two_lines_stay_apart() -> None:
    apart = [Box(10, 5, 20, 40), Box(10, 61, 20, 90), Box(16, 5, 26, 40)]

    assert joined(apart) == sorted(apart, key=lambda box: (box.top, box.left))


def test_the_order_of_finds_does_not_change_what_they_are_joined_to() -> None:
    line = [Box(10, left, 20, left + 12) for left in range(0, 200, 30)]

    assert joined(line) == joined(line[::-1]) == [Box(10, 0, 20, 192)]


def test_covering_changes_the_boxes_and_nothing_else() -> None:
    frames = list(tissue())
    covered = cover(frames, {3: [Box(10, 20, 30, 60)]})

    changed = [np.argwhere(a != b) for a, b in zip(frames, covered, strict=True)]
    assert [len(places) > 0 for places in changed] == [number == 3 for number in range(12)]
    assert (covered[3][10:30, 20:60] == frames[3].min()).all()
    assert changed[3].min(axis=0).tolist() >= [10, 20]
    assert changed[3].max(axis=0).tolist() <= [29, 59]
