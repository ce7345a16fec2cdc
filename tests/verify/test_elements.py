from __future__ import annotations

import struct
from io import BytesIO

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from pipeline.model.errors import SourceError
from pipeline.verify.elements import read_instance

NAME = b"Quavexzor "


def written(dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_elements_at_any_depth_are_read_with_their_path(syntax: str) -> None:
    dataset, item = Dataset(), Dataset()
    item.PatientName = NAME.decode()
    dataset.RequestAttributesSequence = [item]
    found = {e.path: e.value for e in read_instance(written(dataset, syntax)).elements}
    assert found[0x00400275, 0x00100010] == NAME
    assert found[(0x00020010,)]


@pytest.mark.parametrize("is_explicit", [True, False])
def test_a_sequence_that_is_marked_unknown_is_read_in_either_encoding(is_explicit: bool) -> None:
    body = struct.pack("<HH", 0x0010, 0x0010)
    body += b"PN" + struct.pack("<H", len(NAME)) if is_explicit else struct.pack("<I", len(NAME))
    body += NAME
    dataset = Dataset()
    dataset.private_block(0x0029, "QUA", create=True).add_new(
        0x01, "UN", b"\xfe\xff\x00\xe0" + struct.pack("<I", len(body)) + body
    )
    values = {e.value for e in read_instance(written(dataset)).elements}
    assert NAME in values


def test_a_private_element_says_whose_it_is() -> None:
    dataset = Dataset()
    dataset.private_block(0x0029, "QUA", create=True).add_new(0x01, "LO", "x")
    element = next(e for e in read_instance(written(dataset)).elements if e.path == (0x00291001,))
    assert element.creator == "QUA"


def test_what_does_not_inflate_is_refused() -> None:
    dataset = Dataset()
    dataset.PatientName = NAME.decode()
    with pytest.raises(SourceError):
        read_instance(written(dataset, DeflatedExplicitVRLittleEndian)[:-12] + 12 * b"\xff")


LARGE = 2**17


def large(syntax: str) -> bytes:
    dataset = Dataset()
    dataset.private_block(0x0029, "QUA", create=True).add_new(0x01, "OB", NAME + bytes(LARGE))
    dataset.add_new(0x7FE00010, "OW", b"ab" * LARGE)
    dataset.add_new(0xFFFCFFFC, "OB", NAME)
    return written(dataset, syntax)


@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
)
def test_a_large_value_is_read_whole_and_pixel_data_lie_where_they_are_said_to(syntax: str) -> None:
    content = large(syntax)
    instance = read_instance(content)
    values = {e.path: e.value for e in instance.elements}

    assert values[0x00291001,] == NAME + bytes(LARGE)
    assert values[0xFFFCFFFC,] == NAME
    begin, end = instance.pixels
    assert content[begin:end] + values[0x7FE00010,] == b"ab" * LARGE
    assert bool(end) == (syntax != DeflatedExplicitVRLittleEndian)


def test_pixel_data_that_are_cut_off_end_where_the_file_does() -> None:
    content = large(ExplicitVRLittleEndian)[:-1000]
    begin, end = read_instance(content).pixels

    assert end == len(content)
    assert set(content[begin:end]) == set(b"ab")


def test_pixel_data_of_fragments_are_one_range_of_the_file() -> None:
    dataset = Dataset()
    dataset.add_new(0x7FE00010, "OB", encapsulate([b"ab" * LARGE, b"cd" * LARGE]))
    dataset["PixelData"].is_undefined_length = True
    dataset.add_new(0xFFFCFFFC, "OB", NAME)
    content = written(dataset, RLELossless)
    instance = read_instance(content)
    begin, end = instance.pixels

    assert content[begin:end].startswith(b"\xfe\xff\x00\xe0")
    assert content[end : end + 4] == b"\xfe\xff\xdd\xe0"
    assert NAME in {e.value for e in instance.elements}
