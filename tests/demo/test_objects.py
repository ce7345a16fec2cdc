from __future__ import annotations

import io

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from pipeline.demo.geometry import centred, cosines
from pipeline.demo.header import Study
from pipeline.demo.objects import SYNTAXES, Series, encode, shuffled, slices
from pipeline.demo.sites import SITES, patient

SITE = SITES[1]
STUDY = Study(patient(SITE, seed=(0,)), SITE, "CT", "ABDOMEN", (0, "Task", 0))


def series(*, is_signed: bool = False) -> Series:
    low = -900 if is_signed else 0
    stored = np.random.Generator(np.random.PCG64(3)).integers(low, 3000, (21, 17, 3)).astype(np.int32)
    return Series(
        name="CT",
        number=2,
        description="Abdomen",
        image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
        acquisition=centred(
            (21, 17, 3), cosines("axial", "HFS"), spacing_mm=(0.8, 0.9, 2.5), centre=(0, 0, 0), position="HFS"
        ),
        stored=stored,
        instance_numbers=(3, 2, 1),
        is_signed=is_signed,
        rescale=("1", "-1024"),
        elements={"KVP": "120"},
    )


@pytest.mark.parametrize("syntax", sorted(SYNTAXES))
def test_every_syntax_keeps_every_pixel(syntax: str) -> None:
    made = series()
    for k, dataset in enumerate(slices(STUDY, made)):
        read = dcmread(io.BytesIO(encode(dataset, syntax, "PACS")))
        assert read.file_meta.TransferSyntaxUID == SYNTAXES[syntax]
        assert np.array_equal(read.pixel_array, made.stored[:, :, k].T)


@pytest.mark.parametrize("syntax", ["implicit", "explicit", "big-endian", "deflated"])
def test_negative_numbers_stay_negative(syntax: str) -> None:
    made = series(is_signed=True)
    read = dcmread(io.BytesIO(encode(slices(STUDY, made)[1], syntax, "PACS")))

    assert np.array_equal(read.pixel_array, made.stored[:, :, 1].T)


def test_writing_leaves_the_dataset_as_it_was() -> None:
    dataset = slices(STUDY, series())[0]
    before = dataset.PixelData
    encode(dataset, "rle", "PACS")

    assert dataset.PixelData == before
    assert not hasattr(dataset, "file_meta")


def test_no_decimal_string_is_longer_than_sixteen_characters() -> None:
    for dataset in slices(STUDY, series()):
        texts = [
            str(value)
            for element in dataset.iterall()
            if element.VR == "DS"
            for value in (element.value if element.VM > 1 else [element.value])
        ]
        assert texts
        assert max(map(len, texts)) <= 16


def test_slices_are_numbered_as_asked_and_every_instance_is_another() -> None:
    datasets = slices(STUDY, series())

    assert [int(dataset.InstanceNumber) for dataset in datasets] == [3, 2, 1]
    assert len({dataset.SOPInstanceUID for dataset in datasets}) == 3


def test_shuffling_keeps_every_instance() -> None:
    items = [Dataset() for _ in range(9)]
    handed = shuffled(items, np.random.Generator(np.random.PCG64(0)))

    assert sorted(map(id, handed)) == sorted(map(id, items))
    assert [id(item) for item in handed] != [id(item) for item in items]
