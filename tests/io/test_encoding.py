"""A DICOM file that ends before its elements do is seen, however it is encoded."""

from __future__ import annotations

import zlib
from io import BytesIO

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from pipeline.io import encoding
from pipeline.io.encoding import is_deflated, refuse_cut
from pipeline.model.errors import SourceError

NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)


def item(undefined: bool, inner: list[Dataset]) -> Dataset:
    dataset = Dataset()
    dataset.StudyInstanceUID = "1.2"
    dataset.ReferencedSeriesSequence = inner
    dataset["ReferencedSeriesSequence"].is_undefined_length = undefined
    dataset.is_undefined_length_sequence_item = undefined
    return dataset


def written(syntax: str, undefined: bool = True) -> bytes:
    """Return a file with nested sequences and pixel data; all of its bytes but the preamble's mean something."""
    dataset = item(undefined, [item(undefined, [item(undefined, [])]), Dataset()])
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = "1.2.3"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.Rows = dataset.Columns = 3
    dataset.BitsAllocated, dataset.BitsStored, dataset.PixelRepresentation = 16, 16, 0
    pixels = b"\x00\x07" * 9
    if syntax == JPEGBaseline8Bit:
        pixels = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xd9", b"\xff\xd8\xff\xd9"])
    dataset.add_new("PixelData", "OW" if syntax != JPEGBaseline8Bit else "OB", pixels)
    dataset["PixelData"].is_undefined_length = syntax == JPEGBaseline8Bit
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def code_of(content: bytes) -> str | None:
    try:
        refuse_cut(content)
    except SourceError as refusal:
        return refusal.code
    return None


@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("syntax", [*NATIVE, JPEGBaseline8Bit, DeflatedExplicitVRLittleEndian])
def test_a_whole_file_passes(syntax: str, undefined: bool) -> None:
    content = written(syntax, undefined)

    assert code_of(content) is None
    # Media are padded to whole sectors.
    if syntax != DeflatedExplicitVRLittleEndian:
        assert code_of(content + bytes(700)) is None


def boundaries(content: bytes) -> set[int]:
    """Return where top-level elements end: a cut there leaves a file that is whole as far as bytes can tell."""
    dataset = pydicom.dcmread(BytesIO(content), force=True)
    syntax = dataset.file_meta.TransferSyntaxUID
    starts = set()
    for element in dataset:
        is_long = element.VR in ("SQ", "OW", "OB") and syntax != ImplicitVRLittleEndian
        starts.add(int(element.file_tell or 0) - (12 if is_long else 8))
    # A big-endian group begins with a NUL, which alone looks like padding.
    return starts | {start + 1 for start in starts if content[start] == 0}


@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("syntax", [*NATIVE, JPEGBaseline8Bit])
def test_a_cut_anywhere_but_between_elements_is_truncated(syntax: str, undefined: bool) -> None:
    content = written(syntax, undefined)
    between = boundaries(content)
    start = min(between)

    whole = {cut for cut in range(start, len(content)) if code_of(content[:cut]) is None}
    assert whole == between


def test_a_cut_in_the_file_meta_information_is_truncated() -> None:
    content = written(ExplicitVRLittleEndian)
    length = 144 + int.from_bytes(content[140:144], "little")
    between = {cut for cut in range(133, length) if code_of(content[:cut]) is None}

    # Group length, version, class, instance, syntax, implementation: the next stage misses the class.
    assert len(between) <= 7


def test_every_cut_of_a_deflated_file_is_truncated() -> None:
    content = written(DeflatedExplicitVRLittleEndian)
    start = 144 + int.from_bytes(content[140:144], "little")

    assert {code_of(content[:cut]) for cut in range(start, len(content))} == {"truncated"}


def deflated(body: bytes, meta: bytes = b"") -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    syntax = DeflatedExplicitVRLittleEndian.encode() + b"\x00"
    element = b"\x02\x00\x10\x00UI" + len(syntax).to_bytes(2, "little") + syntax
    return meta + element + compressor.compress(body) + compressor.flush()


PREAMBLE = bytes(128) + b"DICM"
PRIVATE = b"\x02\x00\x02\x00UI" + (2000).to_bytes(2, "little") + b"1" * 2000
"""An element that keeps the transfer syntax away from where it stands as a rule."""


@pytest.mark.parametrize("before", [PREAMBLE, b"", PREAMBLE + PRIVATE, PRIVATE])
def test_a_bomb_is_found_wherever_its_syntax_stands(monkeypatch: pytest.MonkeyPatch, before: bytes) -> None:
    monkeypatch.setattr(encoding, "INFLATED_LIMIT", 2**20)

    bomb = deflated(bytes(2**23), before)

    assert code_of(bomb) == "unreadable"
    assert is_deflated(bomb)
    assert not is_deflated(before)


def test_a_damaged_deflated_dataset_is_unreadable() -> None:
    content = deflated(b"\x08\x00\x16\x00UI\x02\x001\x00", PREAMBLE)

    assert code_of(content) is None
    assert code_of(content[:-4] + b"\xff\xff\xff\xff") in ("unreadable", "truncated")


def test_a_bare_dataset_is_walked_by_the_order_it_has() -> None:
    for syntax in NATIVE:
        content = written(syntax)
        bare = content[144 + int.from_bytes(content[140:144], "little") :]
        assert code_of(bare) is None
        assert code_of(bare[:-1]) == "truncated"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", PREAMBLE]))
def test_no_bytes_make_it_fail_in_another_way(content: bytes, before: bytes) -> None:
    assert code_of(before + content) in (None, "truncated", "unreadable")


def test_deep_nesting_ends_the_walk_as_it_ends_the_parser() -> None:
    with pytest.raises(RecursionError):
        refuse_cut(PREAMBLE + b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff" + _items(2000))


def _items(depth: int) -> bytes:
    return b"\xfe\xff\x00\xe0\xff\xff\xff\xff\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff" * depth
