from __future__ import annotations

import numpy as np
import pytest
from lettered import burned, tissue

from pipeline.io import lettering
from pipeline.model.errors import PrivacyError
from pipeline.stages.screen import contrasted, views

pytest.importorskip("rapidocr", reason="the extra `ocr` is not installed")


def picture(**how: object) -> tuple[np.ndarray, np.ndarray]:
    frames, ink = burned(tissue((1, 96, 160)), **how)  # type: ignore[arg-type]
    return contrasted(frames[0]), ink


@pytest.mark.parametrize("size", [9, 11, 16, 22])
def test_boxes_hold_all_ink_of_letters_of_nine_pixels_and_more(size: int) -> None:
    shown, ink = picture(size=size, text="DOE^JANE")
    held = np.zeros_like(ink)
    for box in lettering.find(shown):
        held[box.top : box.bottom, box.left : box.right] = True

    assert held[ink].mean() > 0.97


def is_worth_reading(frames: np.ndarray) -> bool:
    return any(lettering.is_worth_reading(view.picture) for view in views(list(frames), each=False))


@pytest.mark.parametrize("value", [1500, -900, 240])
@pytest.mark.parametrize("size", [9, 13, 22])
def test_a_stack_with_a_line_of_letters_is_worth_reading(size: int, value: int) -> None:
    assert is_worth_reading(burned(tissue(), size=size, text="AB 7 Ef"[: 3 + 60 // size], value=value)[0])


def test_letters_that_grow_out_of_a_bar_as_bright_are_worth_reading() -> None:
    frames, ink = burned(tissue(), size=14, text="ID 77634", value=1500)
    frames[:, np.flatnonzero(ink.any(axis=1)).max() - 1 : 60, :120] = 1500

    assert is_worth_reading(frames)


def test_two_clear_letters_are_worth_reading_and_one_is_not() -> None:
    assert lettering.is_worth_reading(picture(text="AB", size=18)[0])
    assert not lettering.is_worth_reading(picture(text="R", size=18)[0])


def test_a_stack_of_tissue_is_not_worth_reading() -> None:
    assert not is_worth_reading(tissue())


def test_noise_of_more_shapes_than_can_be_measured_is_worth_reading() -> None:
    noise = np.random.default_rng(1).integers(0, 2, (600, 600)).astype(np.uint8)

    assert lettering.is_worth_reading(np.kron(noise, np.ones((4, 4), np.uint8)) * 255)


def test_tissue_is_no_text() -> None:
    assert lettering.find(contrasted(tissue()[0])) == []


def test_a_single_letter_is_no_text() -> None:
    assert lettering.find(picture(text="R", size=18)[0]) == []


def test_letters_taller_than_anatomy_allows_are_no_text() -> None:
    frames, _ = burned(tissue((1, 300, 400)), text="DOE", size=120, at=(20, 40))

    assert lettering.find(contrasted(frames[0])) == []


def test_boxes_lie_within_the_picture() -> None:
    shown, _ = picture(at=(0, 0))

    assert lettering.find(shown)
    assert all(
        0 <= box.top < box.bottom <= 96 and 0 <= box.left < box.right <= 160 for box in lettering.find(shown)
    )


def test_a_large_picture_is_read_in_parts_and_places_are_those_of_the_whole() -> None:
    frames, ink = burned(tissue((1, 1100, 300)), at=(40, 1060), size=20)
    (box, *_) = lettering.find(contrasted(frames[0]))

    rows = np.flatnonzero(ink.any(axis=1))
    assert box.top <= rows.min()
    assert box.bottom > rows.max()


def test_the_same_picture_has_the_same_boxes() -> None:
    shown, _ = picture()

    assert lettering.find(shown) == lettering.find(shown.copy())


def test_without_the_extra_nothing_is_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lettering, "find_spec", lambda name: None)

    with pytest.raises(PrivacyError) as stopped:
        lettering.require()
    assert stopped.value.code == "ocr-missing"
