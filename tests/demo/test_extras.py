from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from phantom_reading import Phantom, normal_of
from PIL import Image, UnidentifiedImageError
from pydicom import Dataset

from pipeline.demo.extras import drawn_text
from pipeline.io.ruleset import load_rules
from pipeline.stages.match import selects

RULES = load_rules()


def used(phantom: Phantom) -> set[str]:
    return {
        channel["series"] for _, subject in phantom.subjects() for channel in subject["channels"].values()
    }


def others(phantom: Phantom) -> list[list[Dataset]]:
    """Return the image series that no channel is made of."""
    return [
        slices
        for uid, slices in phantom.series.items()
        if uid not in used(phantom) and "ImagePositionPatient" in slices[0]
    ]


def test_every_subject_brings_a_localizer_in_three_planes(phantom: Phantom) -> None:
    overviews = [slices for slices in others(phantom) if "LOCALIZER" in slices[0].ImageType]

    assert len(overviews) == len(list(phantom.subjects()))
    for slices in overviews:
        assert len({tuple(s.ImageOrientationPatient) for s in slices}) == len(slices) == 3


def test_prostates_come_with_the_other_planes_and_the_diffusion_trace(phantom: Phantom) -> None:
    for subject in phantom.truth["tasks"]["Task05_Prostate"]["subjects"]:
        mine = [s for s in others(phantom) if s[0].StudyInstanceUID == subject["study"]]
        directions = {int(np.abs(normal_of(s[0])).argmax()) for s in mine}
        assert directions == {0, 1, 2}
        assert sum("DiffusionBValue" in s[0] for s in mine) == 1
        assert {s[0].FrameOfReferenceUID for s in mine} == {subject["frame_of_reference"]}


def test_series_beside_the_right_one_are_told_apart_by_rules_or_by_the_table(phantom: Phantom) -> None:
    tempting = []
    for slices in others(phantom):
        if len({tuple(s.ImageOrientationPatient) for s in slices}) == 1:
            task = next(t for t, s in phantom.subjects() if s["patient_id"] == slices[0].PatientID)
            if any(selects(channel, facts_of(slices)) for channel in RULES[task].rules.channels):
                tempting.append(task)

    assert sorted(tempting) == ["Task05_Prostate", "Task09_Spleen"]


def facts_of(slices: list[Dataset]) -> dict[str, object]:
    plane = ("sagittal", "coronal", "axial")[int(np.abs(normal_of(slices[0])).argmax())]
    plain = {e.keyword: e.value for e in slices[0] if e.keyword and e.VR not in ("SQ", "OW", "OB")}
    return {**plain, "ImageType": list(slices[0].ImageType), "plane": plane, "slices": len(slices)}


def test_screens_have_the_name_drawn_in_and_say_so(phantom: Phantom) -> None:
    screens = [d for d in phantom.datasets.values() if d.get("ConversionType") == "WSD"]

    assert screens
    for screen in screens:
        assert screen.BurnedInAnnotation == "YES"
        assert (screen.pixel_array == 255).any()


def test_reports_and_a_media_directory_name_somebody_and_hold_no_image(phantom: Phantom) -> None:
    reports = [d for d in phantom.datasets.values() if d.get("Modality") == "SR"]
    directories = [d for name, d in phantom.datasets.items() if Path(name).name == "DICOMDIR"]

    assert reports
    assert directories
    for dataset in (*reports, *directories):
        assert "PixelData" not in dataset
    assert all(d.DirectoryRecordSequence[0].PatientName for d in directories)
    assert all("SOPClassUID" not in d for d in directories)


def test_rubbish_lies_about(phantom: Phantom) -> None:
    names = {Path(name).name for name in phantom.files}
    assert {"README.txt", "Thumbs.db", "preview.jpg"} <= names
    for name, content in phantom.files.items():
        if name.endswith("preview.jpg"):
            with pytest.raises((OSError, UnidentifiedImageError)):
                Image.open(io.BytesIO(content)).load()


def test_drawn_text_is_the_same_every_time_and_differs_between_texts() -> None:
    first, again, other = (drawn_text([text], (60, 20)) for text in ("VORNAL", "VORNAL", "VORNAM"))

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.shape == (20, 60)
