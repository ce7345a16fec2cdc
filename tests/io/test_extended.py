"""JPEG extended of 12 bits is what other decoders make of it, or refused."""

from __future__ import annotations

import hashlib

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, generate_frames

from pipeline.io.dicom import read_dataset
from pipeline.model.errors import SourceError
from pipeline.stages.convert import decoded

DIGESTS = {
    "JPEG-lossy.dcm": "d30242775a414c01d616447854ebe3f2b20259822894bcd6891f879bcdcbf313",
    "JPGExtended.dcm": "d30242775a414c01d616447854ebe3f2b20259822894bcd6891f879bcdcbf313",
}
"""pydicom's test files -> SHA-256 of the pixels that libjpeg-turbo 3.1.3 makes of them."""


def dataset_of(name: str) -> pydicom.Dataset:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    with open(path, "rb") as file:  # noqa: PTH123 - pydicom names its files as text
        return read_dataset(file.read())


@pytest.mark.parametrize("name", DIGESTS)
def test_pixels_are_those_of_another_decoder(name: str) -> None:
    pixels = decoded(dataset_of(name), "here")
    assert (pixels.dtype, pixels.shape) == (np.uint16, (1024, 256))
    assert hashlib.sha256(pixels.astype("<u2").tobytes()).hexdigest() == DIGESTS[name]


@pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
def test_a_stream_that_was_cut_is_refused(share: float) -> None:
    dataset = dataset_of("JPEG-lossy.dcm")
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    cut = frame[: int(len(frame) * share)]
    dataset.PixelData = encapsulate([cut + bytes(len(cut) % 2)])
    with pytest.raises(SourceError) as refusal:
        decoded(dataset, "here")
    assert refusal.value.code == "undecodable"


def test_a_matrix_that_is_not_the_streams_is_refused() -> None:
    dataset = dataset_of("JPEG-lossy.dcm")
    dataset.Rows = 1023
    with pytest.raises(SourceError):
        decoded(dataset, "here")
