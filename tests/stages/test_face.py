from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import headlike
import numpy as np
import pytest
from pydicom import dcmread

from pipeline.model.volume import Quantity, Volume
from pipeline.stages.convert import convert
from pipeline.stages.face import PART_KEYWORDS, Part, Sight, look_for_face, said_part
from pipeline.stages.orient import orient


def seen(volume: Volume, part: Part = Part.UNSAID) -> Sight:
    return look_for_face(volume, part).value


@pytest.mark.parametrize("part", Part)
@pytest.mark.parametrize("ct", [False, True])
def test_a_head_is_a_head_whatever_its_header_says(ct: bool, part: Part) -> None:
    step = look_for_face(headlike.head(ct=ct), part)

    assert (step.value, step.note.facts["by"]) == (Sight.HEAD, "voxels")


def test_a_head_in_exactly_zero_is_no_stripped_brain() -> None:
    assert seen(headlike.head(air=0.0), Part.HEAD) is Sight.HEAD


def test_a_brain_without_skull_shows_no_face() -> None:
    assert seen(headlike.brain(), Part.HEAD) is Sight.STRIPPED


def test_a_brain_in_noise_is_not_taken_for_stripped() -> None:
    volume = headlike.brain()
    noise = np.abs(np.random.default_rng(7).normal(20, 5, volume.data.shape))

    noisy = replace(volume, data=np.where(volume.data == 0, noise, volume.data))

    assert seen(noisy, Part.HEAD) is not Sight.STRIPPED


def test_a_head_without_face_is_told_from_one_with() -> None:
    assert seen(headlike.head(face=False), Part.HEAD) is Sight.FACELESS


@pytest.mark.parametrize("part", [Part.UNSAID, Part.OTHER])
@pytest.mark.parametrize("ct", [False, True])
def test_a_trunk_is_no_head(ct: bool, part: Part) -> None:
    assert seen(headlike.abdomen(ct=ct), part) is Sight.NONE


@pytest.mark.parametrize("size", [20, 36])
def test_a_cut_out_of_a_brain_shows_no_surface(size: int) -> None:
    assert seen(headlike.cut_out(size), Part.HEAD) is Sight.NONE


def test_a_head_that_only_the_header_knows_is_taken_for_granted() -> None:
    noise = Volume(np.random.default_rng(8).normal(100, 30, (64, 64, 32)), np.diag([4.0, 4, 4, 1]))
    step = look_for_face(noise, Part.HEAD)

    assert (step.value, step.note.facts["by"]) == (Sight.HEAD, "header")
    assert seen(noise, Part.OTHER) is Sight.NONE


def test_an_empty_volume_is_no_head_unless_its_header_says_so() -> None:
    empty = Volume(np.zeros((64, 64, 32)), np.diag([4.0, 4, 4, 1]))

    assert seen(empty) is Sight.NONE


@pytest.mark.parametrize(
    ("facts", "part"),
    [
        ({"BodyPartExamined": "HEAD"}, Part.HEAD),
        ({"BodyPartExamined": "BRAIN"}, Part.HEAD),
        ({"BodyPartExamined": "PROSTATE", "StudyDescription": "MR head"}, Part.OTHER),
        ({"SeriesDescription": "t1_mprage_sag"}, Part.HEAD),
        ({"BodyPartExamined": "WHOLEBODY"}, Part.UNSAID),
        ({"BodyPartExamined": None}, Part.UNSAID),
        ({}, Part.UNSAID),
    ],
)
def test_the_header_says_which_part_it_is(facts: dict[str, str], part: Part) -> None:
    assert said_part(facts) is part


REAL_SERIES = [
    ("mr-decubitus-hfdr/2_t1_fl2d_sag", Quantity.ARBITRARY, Sight.HEAD),
    ("crlm-ct-1004/image", Quantity.HOUNSFIELD, Sight.NONE),
    ("breast-ser-06/image_dce_ser", Quantity.ARBITRARY, Sight.NONE),
    ("crc-adc-001/t2_image", Quantity.ARBITRARY, Sight.NONE),
]


@pytest.mark.parametrize(("folder", "quantity", "sight"), REAL_SERIES)
def test_real_heads_are_seen_and_other_parts_are_not(
    real: Path, folder: str, quantity: Quantity, sight: Sight
) -> None:
    slices = [dcmread(path) for path in sorted((real / folder).rglob("*.dcm"))]
    volume = orient(convert(slices, quantity).value).value

    assert seen(volume, said_part({keyword: slices[0].get(keyword) for keyword in PART_KEYWORDS})) is sight
    assert seen(volume) is sight
