"""Take every person out of DICOM datasets: two gates, keyed pseudonyms, shifted dates, marks."""

from __future__ import annotations

import math
import re
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from pydicom.charset import convert_encodings, python_encoding
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import DataElement, RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.errors import BytesLengthException
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.sequence import Sequence as Items
from pydicom.tag import BaseTag
from pydicom.uid import UID

from pipeline.model import deid
from pipeline.model.codestream import plain_frame
from pipeline.model.deid import (
    Act,
    Codes,
    Found,
    Handling,
    Otherwise,
    Policy,
    Purpose,
    Scope,
    Subject,
    padded,
)
from pipeline.model.errors import CurationError, SourceError
from pipeline.model.identified import Identified, Key
from pipeline.model.record import Json, Note, Step

IMPLEMENTATION_CLASS_UID = "2.25.246230489341786029417713095172386154271"
"""Names this program in file meta information (PS3.10 7.1); drawn once at random."""

IMPLEMENTATION_VERSION_NAME = "CURATE"

METHOD = "curate: allow-list and PS3.15 Table E.1-1"
"""De-identification Method, followed by the table's edition and the policy's digest."""

_UNPARSABLE = (
    ValueError, KeyError, TypeError, AttributeError, EOFError, OSError, OverflowError, NotImplementedError,
    RecursionError, struct.error, BytesLengthException,
)  # fmt: skip
"""What pydicom raises for an element that it cannot parse or write."""

_SOP_CLASS, _SOP_INSTANCE = BaseTag(0x00080016), BaseTag(0x00080018)
_PATIENT_ID, _ISSUER = BaseTag(0x00100020), BaseTag(0x00100021)
_CHARACTER_SET, _BURNED_IN = BaseTag(0x00080005), BaseTag(0x00280301)
_PIXEL_REPRESENTATION, _FRAMES = BaseTag(0x00280103), BaseTag(0x00280008)
_MATRIX = (BaseTag(0x00280010), BaseTag(0x00280011), BaseTag(0x00280002), BaseTag(0x00280100))
"""Rows, columns, samples per pixel, bits allocated."""
_REMOVED, _METHOD, _METHOD_CODES, _MODIFIED = (
    BaseTag(tag) for tag in (0x00120062, 0x00120063, 0x00120064, 0x00280303)
)
_BITS_STORED, _HIGH_BIT = BaseTag(0x00280101), BaseTag(0x00280102)
_OFFSETS = (BaseTag(0x7FE00001), BaseTag(0x7FE00002))
"""Extended offset table and its lengths."""
_SYNTAX, _META_CLASS, _META_INSTANCE = BaseTag(0x00020010), BaseTag(0x00020002), BaseTag(0x00020003)
_NUMBERED = tuple(
    BaseTag(tag)
    for tag in (
        0x00100020,
        0x00101000,
        0x00080050,
        0x00200010,
        0x00100030,
        0x00100010,
        0x00102154,
        0x00380010,
    )
)
"""Patient ID, other IDs, accession number, study ID, birth date, name, telephone numbers, admission ID."""
_CODE_VALUE, _SCHEME, _MEANING = BaseTag(0x00080100), BaseTag(0x00080102), BaseTag(0x00080104)

Element = DataElement | RawDataElement


def subject_token(key: Key, patient_id: str, issuer: str = "") -> str:
    """Return 64 hex digits that stand for a subject in everything that is written.

    Padding (blanks, NUL) is no part of an ID. An issuer makes another subject only when it is given.
    """
    parts = [patient_id.strip(" \0"), issuer.strip(" \0")]
    return key.token("subject", "\0".join(part for part in parts if part), 64)


def subject_name(token: str) -> str:
    """Return what stands for patient name and patient ID of a subject's token."""
    return f"sub-{token[:12]}"


def deidentify(
    datasets: Identified[Sequence[Dataset]],
    *,
    policy: Policy,
    key: Key,
    vocabulary: Sequence[re.Pattern[str]] = (),
    ignored: Sequence[re.Pattern[str]] = (),
    admits_text: bool = False,
) -> Step[tuple[Dataset, ...]]:
    """Return new datasets that hold no person, in the order given; the originals stay as they are.

    Only elements that the policy's allow-list names, whose value passes its check, and that the
    confidentiality table lets pass are written, at any depth. Pixel data is never decoded: it is cut to its
    exact length, and comments go from compressed frames. File meta information is new.

    Parameters
    ----------
    datasets
        CT, MR, PET images, segmentations or structure sets, as read, with file meta information.
    policy
        What may pass.
    key
        From it come subject, UIDs and days; the same in any process and order.
    vocabulary
        Names of ROIs and segments that the task's label mapping knows, matched whole. Any other name becomes
        `roi-<number>` or `segment-<number>`.
    ignored
        Names of those that the task leaves out: such a name becomes `ignored-<number>`.
    admits_text
        Whether images are let in whose header says that text is burned in, because their pixels are looked at next.

    Returns
    -------
    Step
        Datasets in their transfer syntax; the note counts what was done by keyword.

    Raises
    ------
    CurationError
        `not-deidentifiable` for another SOP class, `value-not-releasable` for a value without which a voxel
        would change, `missing-identifier`, `burned-in-text` when the header says so.
    SourceError
        `truncated` when the pixel data is too short, `undecodable`, `unreadable`.

    Notes
    -----
    PS3.15 Annex E.
    """
    desk = _Desk(policy, key, tuple(vocabulary), tuple(ignored), admits_text)
    cleaned = tuple(_dataset(dataset, desk) for dataset in datasets.reveal())
    return Step(cleaned, Note("deidentify", _facts(desk, len(cleaned))))


@dataclass(frozen=True, slots=True)
class _Desk:
    """What one call works with, and its tally: (act, tag) -> count."""

    policy: Policy
    key: Key
    vocabulary: tuple[re.Pattern[str], ...]
    ignored: tuple[re.Pattern[str], ...]
    admits_text: bool
    tally: Counter[tuple[Act, int]] = field(default_factory=Counter)
    purposes: Counter[str] = field(default_factory=Counter)
    options: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Visit:
    """One dataset on its way through; `wrote_*` is what the marks must say afterwards."""

    desk: _Desk
    purpose: Purpose
    subject: Subject
    reader: _Reader
    syntax: UID
    is_implicit: bool
    wrote_private: bool = False
    wrote_unicode: bool = False
    wrote_characteristics: bool = False

    def count(self, act: Act, tag: int) -> None:
        self.desk.tally[act, tag] += 1


@dataclass(frozen=True, slots=True)
class _Reader:
    """How one dataset's elements are read as bytes: byte order, character sets, sign of its pixels."""

    is_little_endian: bool
    encodings: Sequence[str]
    is_signed: bool

    def found(self, element: Element, vrs: Sequence[str]) -> Found | None:
        """Return the element's value as bytes; None when its representation or byte order is another.

        An element of an implicit file says no representation, so it has the dictionary's.
        """
        vr = self._vr(element, vrs)
        if vr not in vrs:
            return None
        if isinstance(element, RawDataElement):
            agrees = element.is_little_endian == self.is_little_endian
            value = b"" if element.value is None and element.length == 0 else element.value
            return Found(value, vr, self.is_little_endian) if agrees and value is not None else None
        value = self._written(element, vr)
        return None if value is None else Found(value, vr, self.is_little_endian)

    def _vr(self, element: Element, vrs: Sequence[str]) -> str:
        vr = element.VR
        if vr is None or " or " in vr:
            return "SS" if self.is_signed and "SS" in vrs else "OW" if "OW" in vrs else vrs[0]
        return str(vr)

    def _written(self, element: DataElement, vr: str) -> bytes | None:
        buffer = DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = self.is_little_endian, True
        try:
            plain = element if vr == element.VR else DataElement(element.tag, vr, element.value)
            write_data_element(buffer, plain, list(self.encodings))
        except _UNPARSABLE:
            return None
        # Implicit VR: four bytes of tag and four of length stand before the value (PS3.5 7.1.3).
        return buffer.getvalue()[8:]


def _dataset(source: Dataset, desk: _Desk) -> Dataset:
    visit = _visit(source, desk)
    elements = _level(source, desk.policy.scopes[visit.purpose.name], visit)
    elements |= _identity(source, visit)
    elements |= _marks(visit)
    out = _made(elements, visit)
    if visit.wrote_unicode:
        encodings = convert_encodings("ISO_IR 192")
        out.set_original_encoding(visit.is_implicit, visit.reader.is_little_endian, encodings)
    out.file_meta = _file_meta(out, visit)
    desk.purposes[visit.purpose.name] += 1
    return out


def _visit(source: Dataset, desk: _Desk) -> _Visit:
    """Find out what the dataset is and whose, or refuse it."""
    meta = getattr(source, "file_meta", Dataset())
    syntax = UID(_text(meta, _SYNTAX))
    purpose = desk.policy.purposes.get(_sop_class(source))
    if purpose is None:
        raise CurationError(
            "not-deidentifiable", wanted="a CT, MR or PET image, SEG or RTSTRUCT", found="another SOP class"
        )
    if syntax not in desk.policy.known_uids or not syntax.is_transfer_syntax:
        raise SourceError("unreadable", wanted="a transfer syntax of the standard", found="none")
    if _says_text(source) and not desk.admits_text:
        raise CurationError(
            "burned-in-text", wanted="pixels without text", found="BurnedInAnnotation says otherwise"
        )
    signed = source.get_item(_PIXEL_REPRESENTATION, keep_deferred=True)
    is_little = syntax.is_little_endian
    reader = _Reader(is_little, _encodings(source), False)
    found = None if signed is None else reader.found(signed, ("US",))
    numbers = (found.numbers() if found else None) or (0,)
    reader = _Reader(is_little, reader.encodings, numbers[0] == 1)
    return _Visit(desk, purpose, _subject(source, desk), reader, syntax, syntax.is_implicit_VR)


def claims_text(datasets: Identified[Sequence[Dataset]]) -> bool:
    """Whether the header of one of them says that text is burned into its pixels."""
    return any(_says_text(dataset) for dataset in datasets.reveal())


def _says_text(source: Dataset) -> bool:
    return _text(source, _BURNED_IN).upper() not in {"", "NO"}


def _text(source: Dataset, tag: BaseTag) -> str:
    """Return an ASCII value without padding; empty when it is absent or not ASCII."""
    element = source.get_item(tag, keep_deferred=True)
    if element is None:
        return ""
    value = element.value
    text = value.decode("latin-1") if isinstance(value, bytes) else "" if value is None else str(value)
    return text.strip(" \0")


def _sop_class(source: Dataset) -> str:
    """Return the SOP class; where the dataset leaves it empty, the one that the file meta information says."""
    return _text(source, _SOP_CLASS) or _text(getattr(source, "file_meta", Dataset()), _META_CLASS)


def _sop_instance(source: Dataset) -> str:
    return _text(source, _SOP_INSTANCE) or _text(getattr(source, "file_meta", Dataset()), _META_INSTANCE)


def _encodings(source: Dataset) -> Sequence[str]:
    """Return the Python names of the dataset's character sets; Latin-1 where they are not known."""
    element = source.get_item(_CHARACTER_SET, keep_deferred=True)
    value = "" if element is None or element.value is None else element.value
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    declared = text.split("\\") if isinstance(text, str) else [str(name) for name in text]
    names = [name.strip(" \0") for name in declared]
    # pydicom warns of a name that it does not know, and quotes it.
    return list(convert_encodings(names)) if set(names) <= set(python_encoding) else ["iso8859"]


def _subject(source: Dataset, desk: _Desk) -> Subject:
    patient_id = _text(source, _PATIENT_ID)
    if not patient_id:
        raise CurationError("missing-identifier", wanted="a patient ID", found="none", where="PatientID")
    issuer = _text(source, _ISSUER) if desk.policy.issuer_counts else ""
    token = subject_token(desk.key, patient_id, issuer)
    least, most = desk.policy.shift_days
    drawn = int.from_bytes(desk.key.digest("shift", token), "big") % (most - least + 1)
    return Subject(token, least + drawn, desk.key, desk.policy.known_uids, _numbers(source))


def _numbers(source: Dataset) -> frozenset[float]:
    """Return the whole numbers of five digits or more that the identifying elements hold, or are made of."""
    found: set[float] = set()
    for tag in _NUMBERED:
        text = _text(source, tag)
        if any(digit in text for digit in "123456789"):
            runs = [*re.findall(r"[0-9]+", text), "".join(re.findall(r"[0-9]", text))]
            found.update(float(run) for run in runs if 5 <= len(run.lstrip("0")) <= 15)
    return frozenset(found)


_Elements = dict[BaseTag, Element]


def _made(elements: _Elements, visit: _Visit) -> Dataset:
    """Return a dataset that holds the elements and is written as they stand, without being parsed again."""
    made = Dataset(elements, parent_encoding="utf8")
    made.set_original_encoding(visit.is_implicit, visit.reader.is_little_endian, "utf8")
    return made


def _raw(tag: BaseTag, vr: str, value: bytes, visit: _Visit) -> RawDataElement:
    return RawDataElement(tag, vr, len(value), value, 0, visit.is_implicit, visit.reader.is_little_endian)


def _level(source: Dataset, scope: Scope, visit: _Visit) -> _Elements:
    """Return what may be written of one level of a dataset."""
    kept: _Elements = {}
    for element in source.values():
        # Tags compare slowly, plain integers do not.
        tag = int(element.tag)
        if tag & 0x10000:
            kept |= _private(element, source, visit)
            continue
        handling = scope.get(tag)
        passed = None if handling is None else _public(element, handling, source, visit)
        if passed is None:
            visit.count(Act.REMOVED, tag)
        else:
            kept[element.tag] = passed
    return kept


def _public(element: Element, handling: Handling, source: Dataset, visit: _Visit) -> Element | None:
    """Return the element as it may be written, None to drop it: both gates judge."""
    gate, tag = visit.purpose.gate, int(element.tag)
    passed, otherwise = None, Otherwise.EMPTIED
    if gate.admits(tag, handling.check.act):
        passed, otherwise = _passed(element, handling, source, visit), handling.otherwise
    if passed is not None:
        return passed
    if otherwise is Otherwise.REFUSED:
        raise CurationError(
            "value-not-releasable",
            wanted="a value that may be released",
            found="another",
            where=handling.keyword,
        )
    if otherwise is Otherwise.EMPTIED and gate.admits(tag, Act.EMPTIED):
        visit.count(Act.EMPTIED, tag)
        return _raw(element.tag, handling.vrs[0], b"", visit)
    return None


def _passed(element: Element, handling: Handling, source: Dataset, visit: _Visit) -> Element | None:
    """Return the element with what its check lets pass."""
    check, tag = handling.check, element.tag
    if isinstance(check, deid.Items):
        return _sequence(element, check, source, visit)
    if isinstance(check, deid.Pixels):
        return _pixel_data(element, handling, source, visit)
    says_nothing = isinstance(check, deid.Empty | deid.Fixed | deid.SubjectName)
    # What is replaced whatever it says need not be read.
    found = Found(b"-", handling.vrs[0], True) if says_nothing else visit.reader.found(element, handling.vrs)
    if found is None:
        return None
    if isinstance(check, deid.Label) and not found.is_blank:
        act, value = _label(found, check, source, visit)
    else:
        act, passed = check.act, b"" if found.is_blank else check.clean(found, visit.subject)
        if passed is None:
            return None
        value = passed
    visit.count(act, int(tag))
    visit.wrote_characteristics |= bool(value) and tag in visit.desk.policy.characteristics
    return _raw(tag, found.vr, value, visit)


def _label(found: Found, check: deid.Label, source: Dataset, visit: _Visit) -> tuple[Act, bytes]:
    """Keep a name that is of a class of the task; else say the kind, or that it is left out, and the item's number."""
    name = _decoded(found.value, visit.reader.encodings).strip(" \0")
    if any(pattern.fullmatch(name) for pattern in visit.desk.vocabulary):
        visit.wrote_unicode |= not name.isascii()
        return Act.CLEANED, padded([name.encode("utf-8")])
    number = source.get_item(BaseTag(check.number), keep_deferred=True)
    said = None if number is None else visit.reader.found(number, ("IS", "US"))
    if any(pattern.fullmatch(name) for pattern in visit.desk.ignored):
        return Act.CLEANED, _ascii(f"ignored-{_integer(said)}")
    return Act.REPLACED, _ascii(f"{check.kind}-{_integer(said)}")


def _integer(found: Found | None) -> int:
    """Return a whole number of either representation; 0 when there is none."""
    if found is None:
        return 0
    text = found.value.strip(b" \0")
    if found.vr == "IS":
        return int(text) if re.fullmatch(rb"\d{1,5}", text) else 0
    return int((found.numbers() or (0,))[0])


def _decoded(value: bytes, encodings: Sequence[str]) -> str:
    """Return text in the first of the character sets that it is whole in."""
    for encoding in encodings:
        try:
            return value.decode(encoding)
        except UnicodeDecodeError:
            continue
    return value.decode("latin-1")


def _private(element: Element, source: Dataset, visit: _Visit) -> _Elements:
    """Return a safe private element with its creator; nothing of any other."""
    tag = element.tag
    block = tag.element >> 8
    # Creators (gggg,0010-00FF) reserve blocks and are written with what is kept of theirs (PS3.5 7.8.1).
    if not block:
        return {}
    creator_tag = BaseTag(tag.group << 16 | block)
    creator = _text(source, creator_tag)
    handling = visit.desk.policy.private.get((creator, tag.group, tag.element & 0xFF))
    if handling is None or not visit.purpose.gate.admits(tag, handling.check.act):
        visit.count(Act.REMOVED, tag)
        return {}
    passed = _passed(_with_known_vr(element, handling), handling, source, visit)
    if passed is None:
        visit.count(Act.REMOVED, tag)
        return {}
    visit.wrote_private = True
    return {creator_tag: _raw(creator_tag, "LO", _ascii(creator), visit), tag: passed}


def _with_known_vr(element: Element, handling: Handling) -> Element:
    """Give a private element that passed through an implicit or an unknowing system its representation back.

    PS3.5 6.2.2: what is marked UN stands in implicit little endian, as its true representation would. Some
    systems mark it OB instead.
    """
    marks = {None, "UN", "OB"}
    if not isinstance(element, RawDataElement) or element.VR not in marks or not element.is_little_endian:
        return element
    return element._replace(VR=handling.vrs[0], is_implicit_VR=element.VR == "UN" or element.is_implicit_VR)


def _sequence(element: Element, check: deid.Items, source: Dataset, visit: _Visit) -> DataElement | None:
    """Return the sequence with its items cleaned; None when it had items and none is left."""
    items = _items_of(element, source)
    if items is None:
        return None
    scope = visit.desk.policy.scopes[check.scope]
    kept = []
    for item in items:
        code = {} if check.codes is Codes.NONE else _code(item, check.codes, visit)
        elements = None if code is None else _level(_without(item, code), scope, visit) | code
        if elements is not None and check.needs.issubset(elements):
            kept.append(_made(elements, visit))
    if items and not kept:
        return None
    visit.count(Act.RECURSED, element.tag)
    return DataElement(element.tag, "SQ", Items(kept))


def _items_of(element: Element, source: Dataset) -> Sequence[Dataset] | None:
    """Return a sequence's items without changing the source; None when it does not parse."""
    if not isinstance(element, RawDataElement):
        return element.value if element.VR == "SQ" else None
    if element.VR not in {None, "SQ"}:
        return None
    try:
        parsed = convert_raw_data_element(element._replace(VR="SQ"), encoding="iso8859", ds=source)
    except _UNPARSABLE:
        return None
    items: Sequence[Dataset] = parsed.value
    return items


def _code(item: Dataset, codes: Codes, visit: _Visit) -> _Elements | None:
    """Return a code's three elements, with the dictionary's meaning; None for a code that it lacks."""
    policy = visit.desk.policy
    value, scheme = _text(item, _CODE_VALUE), _text(item, _SCHEME)
    meaning = policy.codes.get((policy.scheme_synonyms.get(scheme, scheme), value))
    if meaning is not None:
        return _code_elements(value, scheme, meaning, visit)
    if codes is Codes.KNOWN:
        return None
    scheme, value, meaning = policy.unspecified
    return _code_elements(value, scheme, meaning, visit)


def _code_elements(value: str, scheme: str, meaning: str, visit: _Visit) -> _Elements:
    return {
        _CODE_VALUE: _raw(_CODE_VALUE, "SH", _ascii(value), visit),
        _SCHEME: _raw(_SCHEME, "SH", _ascii(scheme), visit),
        # PS3.5 6.2: a long string has at most 64 characters.
        _MEANING: _raw(_MEANING, "LO", _ascii(meaning[:64]), visit),
    }


def _ascii(text: str) -> bytes:
    return padded([text.encode("ascii", "replace")])


def _without(item: Dataset, elements: Mapping[BaseTag, Element]) -> Dataset:
    """Return the item without elements that are written already."""
    rest = Dataset({element.tag: element for element in item.values() if element.tag not in elements})
    return rest if elements else item


def _pixel_data(element: Element, handling: Handling, source: Dataset, visit: _Visit) -> Element | None:
    """Return pixel data cut to its exact length (PS3.5 8.1.1, A.4)."""
    visit.count(Act.KEPT, element.tag)
    if visit.syntax.is_encapsulated:
        return _frames(element, source, visit)
    found = visit.reader.found(element, handling.vrs)
    if found is None:
        return None
    length = _native_length(source, visit)
    if len(found.value) < length:
        raise SourceError(
            "truncated", wanted=f"{length} bytes of pixels", found=str(len(found.value)), where="PixelData"
        )
    value = _without_overlays(found.value[:length], source, visit)
    return _raw(element.tag, found.vr, value + b"\0" if length % 2 else value, visit)


def _without_overlays(pixels: bytes, source: Dataset, visit: _Visit) -> bytes:
    """Clear the bits in which overlays stand beside the pixels (PS3.3 C.9.2, retired 2004)."""
    bits = _overlay_bits(source, visit)
    if not bits:
        return pixels
    allocated, stored = _count(source, visit, _MATRIX[3], "US"), _count(source, visit, _BITS_STORED, "US")
    high = _count(source, visit, _HIGH_BIT, "US")
    if allocated != 16 or visit.syntax.is_encapsulated or any(high - stored < bit <= high for bit in bits):
        raise CurationError(
            "burned-in-text",
            wanted="overlays apart from pixels",
            found="overlays in pixel bits",
            where="PixelData",
        )
    mask = 0xFFFF & ~sum(1 << bit for bit in bits)
    order = "<u2" if visit.reader.is_little_endian else ">u2"
    return bytes((np.frombuffer(pixels, order) & np.array(mask, order)).astype(order).tobytes())


def _overlay_bits(source: Dataset, visit: _Visit) -> set[int]:
    """Return the positions of overlay planes that have no data of their own."""
    found = set()
    for plane in range(0x60000000, 0x60200000, 0x20000):
        # A plane of its own has one bit allocated (PS3.3 C.9.2).
        is_beside = BaseTag(plane | 0x3000) not in source
        if is_beside and _count(source, visit, BaseTag(plane | 0x0100), "US") > 1:
            found.add(_count(source, visit, BaseTag(plane | 0x0102), "US"))
    return found


def _native_length(source: Dataset, visit: _Visit) -> int:
    """Return the bytes that uncompressed frames take; single bits are packed across frames (PS3.5 8.1.1)."""
    rows, columns, samples, bits = (_count(source, visit, word, "US") for word in _MATRIX)
    values = rows * columns * samples * (_count(source, visit, _FRAMES, "IS") or 1)
    return (values * bits + 7) // 8


def _count(source: Dataset, visit: _Visit, tag: BaseTag, vr: str) -> int:
    element = source.get_item(tag, keep_deferred=True)
    found = None if element is None else visit.reader.found(element, (vr,))
    if found is None:
        return 0
    return (
        int(found.value.strip(b" \0") or 0)
        if vr == "IS" and found.value.strip(b" \0").isdigit()
        else _integer(found)
    )


def _frames(element: Element, source: Dataset, visit: _Visit) -> DataElement:
    """Return compressed frames, one fragment each, under a new offset table."""
    count = _count(source, visit, _FRAMES, "IS") or 1
    try:
        content, offsets = bytes(element.value or b""), _extended_offsets(source, visit)
        frames = list(generate_frames(content, number_of_frames=count, extended_offsets=offsets))
    except _UNPARSABLE as fault:
        raise SourceError(
            "unreadable", wanted="compressed frames", found="damage", where="PixelData"
        ) from fault
    if len(frames) != count:
        raise SourceError("truncated", wanted=f"{count} frames", found=str(len(frames)), where="PixelData")
    pixels = math.prod(_count(source, visit, tag, "US") for tag in _MATRIX[:2])
    plain = [plain_frame(frame, visit.syntax, pixels) for frame in frames]
    _without_overlays(b"", source, visit)
    if None in plain:
        raise SourceError(
            "undecodable", wanted="a whole frame of the transfer syntax", found="another", where="PixelData"
        )
    whole = DataElement(element.tag, "OB", encapsulate([frame for frame in plain if frame is not None]))
    whole.is_undefined_length = True
    return whole


def _extended_offsets(source: Dataset, visit: _Visit) -> tuple[bytes, bytes] | None:
    """Return where long frames begin and how long they are (PS3.3 C.7.6.3.1.8); None where the object is short."""
    tables = [source.get_item(tag, keep_deferred=True) for tag in _OFFSETS]
    found = [visit.reader.found(table, ("OV",)) for table in tables if table is not None]
    values = [table.value for table in found if table is not None and table.value]
    return (values[0], values[1]) if len(values) == 2 else None


def _identity(source: Dataset, visit: _Visit) -> _Elements:
    """Return the elements that name the instance, also where only the file meta information did."""
    instance = _sop_instance(source)
    if not instance:
        raise CurationError(
            "missing-identifier", wanted="an instance UID", found="none", where="SOPInstanceUID"
        )
    uid, sop_class = visit.subject.uid(instance), _sop_class(source)
    return {
        _SOP_CLASS: _raw(_SOP_CLASS, "UI", padded([sop_class.encode("ascii")], b"\0"), visit),
        _SOP_INSTANCE: _raw(_SOP_INSTANCE, "UI", padded([uid.encode("ascii")], b"\0"), visit),
    }


def _marks(visit: _Visit) -> _Elements:
    """Return the elements that say what was done (PS3.15 E.1.1)."""
    policy = visit.desk.policy
    done = ["basic", *(option for option in visit.purpose.options if _was_done(option, visit))]
    visit.desk.options.update(done)
    codes = [
        _made(_code_elements(code, "DCM", meaning, visit), visit) for code, meaning in _method(done, policy)
    ]
    method = f"{METHOD}\\edition {policy.edition}, policy {policy.digest[:23]}"
    marks: _Elements = {
        _REMOVED: _raw(_REMOVED, "CS", b"YES ", visit),
        _METHOD: _raw(_METHOD, "LO", _ascii(method), visit),
        _METHOD_CODES: DataElement(_METHOD_CODES, "SQ", Items(codes)),
        _MODIFIED: _raw(_MODIFIED, "CS", b"MODIFIED", visit),
    }
    if visit.wrote_unicode:
        marks[_CHARACTER_SET] = _raw(_CHARACTER_SET, "CS", b"ISO_IR 192", visit)
    return marks


def _method(options: Sequence[str], policy: Policy) -> list[tuple[str, str]]:
    return sorted(policy.method_codes[option] for option in options)


def _was_done(option: str, visit: _Visit) -> bool:
    if option == "retain_safe_private":
        return visit.wrote_private
    return visit.wrote_characteristics or option != "retain_patient_characteristics"


def _file_meta(out: Dataset, visit: _Visit) -> FileMetaDataset:
    """Return new file meta information; nothing of the old one is kept but the transfer syntax."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = UID(_text(out, _SOP_CLASS))
    meta.MediaStorageSOPInstanceUID = UID(_text(out, _SOP_INSTANCE))
    meta.TransferSyntaxUID = visit.syntax
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    return meta


def _facts(desk: _Desk, objects: int) -> dict[str, Json]:
    """Return what was done, by act, keyword and count; no value, no private creator."""
    acts: dict[str, Counter[str]] = {act.value: Counter() for act in Act}
    for (act, tag), count in desk.tally.items():
        acts[act.value][_keyword(tag)] += count
    return {
        "objects": objects,
        "purposes": dict(sorted(desk.purposes.items())),
        "options": sorted(desk.options),
        "edition": desk.policy.edition,
        "policy": desk.policy.digest,
        "actions": {name: dict(sorted(counts.items())) for name, counts in sorted(acts.items()) if counts},
    }


def _keyword(tag: int) -> str:
    """Return what the note calls an element: a private or unknown one by that word, lest the tag tell more."""
    if tag & 0x10000:
        return "private"
    return keyword_for_tag(tag) or ("group length" if tag & 0xFFFF == 0 else "unknown")
