"""A DICOM file as a flat list of raw elements, whatever depth they stand at."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from typing import Any, NamedTuple, TypeGuard

import pydicom
from pydicom._dicom_dict import DicomDictionary
from pydicom.charset import convert_encodings, decode_bytes, python_encoding
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_sequence
from pydicom.tag import BaseTag

from pipeline.model.errors import SourceError

PIXEL_DATA = 0x7FE00010
"""The one element that is searched as voxels."""

_CHARACTER_SET, _TRANSFER_SYNTAX = BaseTag(0x00080005), BaseTag(0x00020010)
_UNPARSABLE = (
    InvalidDicomError, BytesLengthException, ValueError, KeyError, TypeError, AttributeError, IndexError, EOFError,
    OSError, OverflowError, NotImplementedError, RecursionError, LookupError, struct.error, zlib.error,
)  # fmt: skip
"""What pydicom raises for bytes that are no dataset, or no sequence."""

_ITEM = b"\xfe\xff\x00\xe0"
_ITEM_BIG_ENDIAN = b"\xff\xfe\xe0\x00"


_LARGE = 2**16
"""Bytes from which on a value is not copied when a file is read: most of a file is its pixel data."""

_UNDEFINED = 0xFFFFFFFF
_DEFLATED = b"1.2.840.10008.1.2.1.99"


class Element(NamedTuple):
    """One element: its tags from the top level down, its representation, its bytes, a private one's creator.

    Pixel data that stand in the file as they are have no bytes here.
    """

    path: tuple[int, ...]
    vr: str
    value: bytes
    creator: str = ""

    @property
    def tag(self) -> int:
        """The element's own tag."""
        return self.path[-1]


class Instance(NamedTuple):
    """One file: every element that holds no items, what stands before them, and how its text is encoded."""

    elements: Sequence[Element]
    pixels: tuple[int, int]
    """Where the top level's pixel data begins and ends in the file; (0, 0) when it does not stand there as it is."""
    preamble: bytes
    encodings: Sequence[str]
    is_little_endian: bool

    def texts(self, tag: int) -> list[str]:
        """Return the values of the top level's elements of a tag, without padding."""
        path = (tag,)
        values = [e.value for e in self.elements if e[0] == path and e[2]]
        return [value.decode("latin-1").strip(" \0") for value in values]

    def text(self, tag: int) -> str:
        """Return the first value of `texts`; empty when there is none."""
        return next(iter(self.texts(tag)), "")

    def decoded(self, value: bytes) -> str:
        """Return text as the file's character sets say, with whatever cannot be read as it stands."""
        try:
            return decode_bytes(value, self.encodings, {ord(mark) for mark in "\\^="})
        except (UnicodeError, LookupError, ValueError):
            return value.decode("latin-1")


def read_instance(content: bytes) -> Instance:
    """Return all elements of a DICOM file, those in sequences, private ones and file meta information included.

    Raises
    ------
    SourceError
        `unreadable` when it does not parse.
    """
    with warnings.catch_warnings():
        # pydicom quotes values in its warnings; nothing of them may reach a log.
        warnings.simplefilter("ignore")
        try:
            dataset = _parsed(content)
            encodings = _encodings(dataset)
            elements = [
                *_walk(getattr(dataset, "file_meta", Dataset()).values(), (), encodings),
                *_walk((_whole(element, content) for element in dataset.values()), (), encodings),
            ]
        except _UNPARSABLE as fault:
            raise SourceError("unreadable", wanted="a DICOM file", found=type(fault).__name__) from None
    is_little = dataset.original_encoding[1] is not False
    preamble = content[:128] if content[128:132] == b"DICM" else b""
    return Instance(elements, _pixels(dataset, content), preamble, encodings, is_little)


def _parsed(content: bytes) -> Dataset:
    """Return a file's dataset; of a large value that stands in the file as it is only its place (see `_whole`)."""
    dataset = pydicom.dcmread(BytesIO(content), force=True, defer_size=_LARGE)
    apart = [element for element in dataset.values() if _is_apart(element)]
    # Bytes that are inflated have other places than the file's; and not every place says where it ends.
    if apart and (_is_deflated(dataset) or any(element.length == _UNDEFINED for element in apart)):
        return pydicom.dcmread(BytesIO(content), force=True)
    return dataset


def _is_deflated(dataset: Dataset) -> bool:
    syntax = dataset.file_meta.get_item(_TRANSFER_SYNTAX)
    return syntax is not None and _bytes(syntax.value).strip(b" \0") == _DEFLATED


def _is_apart(element: DataElement | RawDataElement) -> TypeGuard[RawDataElement]:
    return isinstance(element, RawDataElement) and element.value is None and element.length != 0


def _whole(element: DataElement | RawDataElement, content: bytes) -> DataElement | RawDataElement:
    if not _is_apart(element) or element.tag == PIXEL_DATA:
        return element
    return element._replace(value=content[element.value_tell : element.value_tell + element.length])


def _pixels(dataset: Dataset, content: bytes) -> tuple[int, int]:
    element = dataset.get_item(BaseTag(PIXEL_DATA), keep_deferred=True)
    if not isinstance(element, RawDataElement) or not element.value_tell:
        return 0, 0
    begin, value = element.value_tell, element.value or b""
    end = min(begin + element.length, len(content)) if _is_apart(element) else begin + len(value)
    # A deflated dataset has other bytes there.
    return (begin, end) if end > begin and content.startswith(value, begin) else (0, 0)


def _encodings(dataset: Dataset) -> Sequence[str]:
    element: Any = dataset.get_item(_CHARACTER_SET)
    names = (
        []
        if element is None
        else [n.strip(" \0") for n in _bytes(element.value).decode("latin-1").split("\\")]
    )
    return tuple(convert_encodings(names)) if set(names) <= set(python_encoding) else ("iso8859",)


def _walk(
    dataset: Iterable[DataElement | RawDataElement], path: tuple[int, ...], encodings: Sequence[str]
) -> Iterator[Element]:
    creators: dict[int, str] = {}
    for element in dataset:
        tag = int(element.tag)
        creator = ""
        if tag & 0x10000:
            number = tag & 0xFFFF
            if 0x10 <= number <= 0xFF:
                creators[tag & 0xFFFF0000 | number] = _bytes(element.value).decode("latin-1").strip(" \0")
            creator = creators.get(tag & 0xFFFF0000 | number >> 8, "")
        vr = _vr(element, tag)
        items = _items(element, vr, encodings)
        if items is None:
            yield Element((*path, tag), vr, _bytes(element.value), creator)
            continue
        # The sequence itself, to tell that it was there; with its bytes where its representation was unknown.
        is_unknown = isinstance(element, RawDataElement) and element.VR in (None, "UN") and tag & 0x10000
        yield Element((*path, tag), "SQ", _bytes(element.value) if is_unknown else b"", creator)
        for item in items:
            yield from _walk(item.values(), (*path, tag), encodings)


def _vr(element: DataElement | RawDataElement, tag: int) -> str:
    if element.VR is not None:
        return str(element.VR)
    known = DicomDictionary.get(tag)
    return "UN" if known is None or tag & 0x10000 else known[0][:2]


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if value is None:
        return b""
    parts = [value] if isinstance(value, str) or not isinstance(value, Sequence) else value
    return "\\".join(map(str, parts)).encode("utf-8", "replace")


def _items(
    element: DataElement | RawDataElement, vr: str, encodings: Sequence[str]
) -> Sequence[Dataset] | None:
    """Return the items of a sequence, also of one that stands as unknown bytes; None when it is none."""
    if isinstance(element, DataElement):
        return element.value if vr == "SQ" else None
    value = element.value
    if not value or not value.startswith((_ITEM, _ITEM_BIG_ENDIAN)) or element.tag == PIXEL_DATA:
        return [] if vr == "SQ" and not value else None
    for is_implicit in dict.fromkeys((element.is_implicit_VR, True, False)):
        try:
            is_little = value.startswith(_ITEM)
            items = read_sequence(
                BytesIO(value), is_implicit, is_little, len(value), list(encodings), element.value_tell
            )
            return list(items)
        except _UNPARSABLE:
            continue
    return None
