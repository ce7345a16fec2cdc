from __future__ import annotations

import struct
from io import BytesIO

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
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
