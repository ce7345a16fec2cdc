"""DICOM bytes to what the index keeps of them, or to a whole dataset."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from math import prod
from typing import Any

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as Items
from pydicom.tag import BaseTag, Tag
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pipeline.io import extended
from pipeline.io.encoding import is_deflated, refuse_cut
from pipeline.io.labelobject import read_references
from pipeline.model.errors import SourceError
from pipeline.model.series import Facts, Kind, listed

extended.register()

FACT_KEYWORDS = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID",
    "PatientID", "IssuerOfPatientID", "Modality", "ImageType", "SeriesDescription", "ProtocolName",
    "StudyDescription", "SequenceName", "ScanningSequence", "SequenceVariant", "MRAcquisitionType",
    "EchoTime", "RepetitionTime", "InversionTime", "FlipAngle", "MagneticFieldStrength", "EchoNumbers",
    "DiffusionBValue", "ContrastBolusAgent", "BodyPartExamined", "Manufacturer", "ManufacturerModelName",
    "StationName", "SliceThickness", "SpacingBetweenSlices", "PixelSpacing", "KVP", "ConvolutionKernel",
    "Rows", "Columns", "Units", "PatientPosition", "SeriesNumber", "AcquisitionNumber", "InstanceNumber",
    "ImageOrientationPatient", "ImagePositionPatient", "TemporalPositionIdentifier", "TriggerTime",
    "NumberOfTemporalPositions", "TemporalPositionTimeOffset", "StackID", "DimensionIndexValues",
    "DiffusionGradientOrientation", "DiffusionDirectionality", "ComplexImageComponent",
    "NominalPercentageOfCardiacPhase", "CardiacNumberOfImages",
    "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "BurnedInAnnotation",
    "GantryDetectorTilt", "RescaleType", "AcquisitionTime", "ContentTime", "ContentLabel",
)  # fmt: skip
"""Header elements that the index keeps: for grouping, for the rules' criteria and for the plan."""

_FACT_TAGS = {Tag(keyword): keyword for keyword in FACT_KEYWORDS}

_IMAGE_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT Image Storage",
    "1.2.840.10008.5.1.4.1.1.2.1": "Enhanced CT Image Storage",
    "1.2.840.10008.5.1.4.1.1.2.2": "Legacy Converted Enhanced CT Image Storage",
    "1.2.840.10008.5.1.4.1.1.4": "MR Image Storage",
    "1.2.840.10008.5.1.4.1.1.4.1": "Enhanced MR Image Storage",
    "1.2.840.10008.5.1.4.1.1.4.4": "Legacy Converted Enhanced MR Image Storage",
    "1.2.840.10008.5.1.4.1.1.128": "Positron Emission Tomography Image Storage",
    "1.2.840.10008.5.1.4.1.1.130": "Enhanced PET Image Storage",
    "1.2.840.10008.5.1.4.1.1.128.1": "Legacy Converted Enhanced PET Image Storage",
}
_SEG_CLASSES = {"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"}
_RTSTRUCT_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
_MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_ENHANCED_COLOUR = "1.2.840.10008.5.1.4.1.1.4.3"


@dataclass(frozen=True, slots=True)
class Header:
    """What the index keeps of one DICOM file: its kind, why it takes no part (if so), its facts."""

    kind: Kind
    code: str | None
    facts: Facts


def is_dicom(start: bytes) -> bool:
    """Whether the first 132 bytes have the DICM prefix (PS3.10 7.1), or begin as a bare dataset does.

    Files without the preamble begin with an element of group 0002 or 0008, little-endian, of plausible length.
    """
    if start[128:132] == b"DICM":
        return True
    group, element = int.from_bytes(start[:2], "little"), int.from_bytes(start[2:4], "little")
    if group not in (0x0002, 0x0008) or element > 0x0070 or len(start) < 16:
        return False
    explicit = start[4:6] in (b"UL", b"CS", b"UI", b"DA", b"TM", b"SH", b"LO", b"OB")
    return explicit or int.from_bytes(start[4:8], "little") <= 256


def read_dataset(content: bytes) -> Dataset:
    """Parse one DICOM file, pixel data included; nothing is decoded.

    Raises
    ------
    SourceError
        If it does not parse, ends before its elements do, or inflates beyond `encoding.INFLATED_LIMIT`.
    """
    with warnings.catch_warnings():
        # pydicom quotes values in its warnings; nothing of them may reach a log.
        warnings.simplefilter("ignore")
        try:
            refuse_cut(content)
            dataset = pydicom.dcmread(BytesIO(content), force=content[128:132] != b"DICM")
        except EOFError as fault:
            raise SourceError("truncated", wanted="a whole file", found="an early end") from fault
        except _PARSE_FAULTS as fault:
            raise SourceError("unreadable", wanted="a DICOM file", found=type(fault).__name__) from None
    _complete_meta(dataset)
    return dataset


def write_dataset(dataset: Dataset) -> bytes:
    """Return a dataset as a DICOM file with preamble and file meta (PS3.10 7.1)."""
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


_PARSE_FAULTS = (
    InvalidDicomError, BytesLengthException, ValueError, KeyError, TypeError, AttributeError, IndexError,
    NotImplementedError, RecursionError, MemoryError, OverflowError, LookupError, struct.error, zlib.error,
    OSError,
)  # fmt: skip
"""What pydicom was seen to raise on damaged files; anything else is a bug of ours or theirs."""


def _complete_meta(dataset: Dataset) -> None:
    """Name the transfer syntax that a dataset without one was read by: its pixels have the same byte order."""
    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = FileMetaDataset()
    if "TransferSyntaxUID" not in dataset.file_meta:
        is_implicit, is_little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if is_little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if is_implicit else explicit


def read_header(content: bytes) -> Header:
    """Return kind and facts of one DICOM file, having looked that it is whole."""
    dataset = read_dataset(content)
    facts = facts_of(dataset)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            code = _code(dataset, facts)
        except _PARSE_FAULTS as fault:
            raise SourceError("unreadable", wanted="a DICOM header", found=type(fault).__name__) from None
    return Header(_kind(facts), code, facts)


def _kind(facts: Facts) -> Kind:
    # As text: a damaged element may hold several values.
    sop_class = str(facts.get("SOPClassUID", ""))
    if sop_class in _IMAGE_CLASSES:
        return Kind.IMAGE
    if sop_class in _SEG_CLASSES:
        return Kind.SEG
    return Kind.RTSTRUCT if sop_class == _RTSTRUCT_CLASS else Kind.OTHER


def _code(dataset: Dataset, facts: Facts) -> str | None:
    """Return why the instance takes no part, or None."""
    stored_as = str(_plain(dataset.file_meta.get("MediaStorageSOPClassUID", "")))
    sop_class = str(facts.get("SOPClassUID", stored_as))
    if stored_as not in ("", sop_class):
        # PS3.10 7.1: they are one. A damaged class would let a slice pass for something harmless.
        return "unreadable"
    if sop_class == _MEDIA_DIRECTORY:
        return "dicomdir"
    if (sop_class + ".").startswith(_SECONDARY_CAPTURE + ".") or sop_class == _ENHANCED_COLOUR:
        return "derived-screen"
    is_grey = str(facts.get("PhotometricInterpretation", "")).startswith("MONOCHROME")
    if not sop_class or (is_grey and facts.get("SamplesPerPixel", 1) != 1):
        # PS3.3 C.7.6.3.1.2: grey has one sample. A damaged number would let a slice pass for a screen shot.
        return "unreadable"
    _refuse_parts_missing(dataset, _kind(facts))
    return "not-an-image" if _kind(facts) is Kind.OTHER else None


def _refuse_parts_missing(dataset: Dataset, kind: Kind) -> None:
    """Refuse a file that ends early, but between two elements, which nothing in its encoding shows."""
    wanted = ["SOPClassUID"]
    if kind is Kind.RTSTRUCT:
        # PS3.3 C.8.8.5 and C.8.8.6: both are type 1; the second is the drawing.
        wanted += ["StructureSetROISequence", "ROIContourSequence"]
    missing = [keyword for keyword in wanted if keyword not in dataset]
    if missing:
        raise SourceError("truncated", wanted=", ".join(wanted), found=f"no {missing[0]}")
    if kind in (Kind.IMAGE, Kind.SEG):
        _refuse_short_pixels(dataset)


_LARGEST_US = 2**16 - 1
"""Of the representation that matrix, samples and bits have (PS3.6)."""


def _refuse_short_pixels(dataset: Dataset) -> None:
    """Refuse pixel data shorter than the header says: the file was cut (PS3.5 8)."""
    if "PixelData" not in dataset:
        if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
            raise SourceError("undecodable", wanted="whole stored numbers", found="floating-point pixel data")
        raise SourceError("truncated", wanted="pixel data", found="none")
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        if not dataset.PixelData:
            raise SourceError("truncated", wanted="encoded frames", found="none")
        return
    numbers = [dataset.Rows, dataset.Columns, dataset.get("SamplesPerPixel", 1), dataset.BitsAllocated]
    if not all(isinstance(number, int) and 0 <= number <= _LARGEST_US for number in numbers):
        # A damaged element may hold text or a list, which times a matrix would fill the memory.
        raise SourceError("unreadable", wanted="a matrix in whole numbers", found="something else")
    wanted = (prod(numbers) * int(dataset.get("NumberOfFrames", 1) or 1) + 7) // 8
    if len(dataset.PixelData) < wanted:
        raise SourceError("truncated", wanted=f"{wanted} bytes of pixels", found=f"{len(dataset.PixelData)}")


def facts_of(dataset: Dataset) -> dict[str, Any]:
    """Return what the index keeps of a dataset; elements that are missing or empty are left out.

    Raises
    ------
    SourceError
        unreadable: pydicom parses an element when it is asked for.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _facts(dataset)
        except _PARSE_FAULTS as fault:
            raise SourceError("unreadable", wanted="a DICOM header", found=type(fault).__name__) from None


def _facts(dataset: Dataset) -> dict[str, Any]:
    # Only what is there is asked for: a lookup by keyword that finds nothing costs as much as one that does.
    there = dataset.keys()
    facts = {
        keyword: _plain(dataset[tag].value) if tag in there else None for tag, keyword in _FACT_TAGS.items()
    }
    facts["references"] = _references(dataset)
    if _kind(facts) in (Kind.SEG, Kind.RTSTRUCT):
        facts["referenced_instances"] = _some(read_references(dataset).sop_uids)
    facts["RescaleSlope"] = "RescaleSlope" in dataset
    if any(tag.group in _PRIVATE_GROUPS for tag in there):
        for keyword, told in _TOLD_PRIVATELY.items():
            if facts[keyword] is None:
                facts[keyword] = told(dataset)
    # Not by equality: 0 is a value (an echo time, a b-value) and equals False.
    return {keyword: value for keyword, value in facts.items() if not _is_nothing(value)}


_PRIVATE_B_VALUES = (
    (0x0019, "SIEMENS MR HEADER", 0x0C),
    (0x0043, "GEMS_PARM_01", 0x39),
    (0x0065, "Image Private Header", 0x09),
    (0x2001, "Philips Imaging DD 001", 0x03),
)
"""Group, creator and offset of the b-value in s/mm2 of makers who long had no public one."""

_PRIVATE_DIRECTIONS = (
    (0x0019, "SIEMENS MR HEADER", (0x0E,)),
    (0x0019, "GEMS_ACQU_01", (0xBB, 0xBC, 0xBD)),
    (0x0065, "Image Private Header", (0x37,)),
    (0x2005, "Philips MR Imaging DD 001", (0xB0, 0xB1, 0xB2)),
)
"""Group, creator and offsets of their gradient direction, each in a frame of its own: it only tells volumes apart."""

_PRIVATE_GROUPS = {group for group, *_ in (*_PRIVATE_B_VALUES, *_PRIVATE_DIRECTIONS)}

_GE_B_VALUE_FLAG = 10**9
"""GE adds this to a b-value to say something about the sequence."""


def _private_b_value(dataset: Dataset) -> float | None:
    for group, creator, offset in _PRIVATE_B_VALUES:
        try:
            value = dataset.private_block(group, creator)[offset].value
        except KeyError:
            continue
        text = value.decode("ascii", "replace") if isinstance(value, bytes) else _plain(value)
        first = text[0] if isinstance(text, list) and text else str(text).partition("\\")[0]
        try:
            return float(first) % _GE_B_VALUE_FLAG
        except (TypeError, ValueError):
            return None
    return None


def _private_direction(dataset: Dataset) -> list[Any] | None:
    """Return what tells a gradient direction from others, as it is written; None where there is none."""
    for group, creator, offsets in _PRIVATE_DIRECTIONS:
        try:
            block = dataset.private_block(group, creator)
            return [_told(one) for offset in offsets for one in listed(block[offset].value)]
        except KeyError:
            continue
    return None


_GE_COMPONENTS = ("MAGNITUDE", "PHASE", "REAL", "IMAGINARY")


def _private_component(dataset: Dataset) -> str | None:
    """Return what GE says in RawDataType alone: which part of a complex image this is."""
    try:
        number = dataset.private_block(0x0043, "GEMS_PARM_01")[0x2F].value
    except KeyError:
        return None
    value = int.from_bytes(number, "little") if isinstance(number, bytes) else number
    is_known = isinstance(value, int) and 0 <= value < len(_GE_COMPONENTS)
    return _GE_COMPONENTS[value] if is_known else str(_told(number))


_TOLD_PRIVATELY: Mapping[str, Callable[[Dataset], Any]] = {
    "DiffusionBValue": _private_b_value,
    "DiffusionGradientOrientation": _private_direction,
    "ComplexImageComponent": _private_component,
}
"""What makers say in elements of their own, where the public one is missing."""


def _told(value: Any) -> Any:
    # Where the private dictionary does not know an element, implicit VR leaves bytes.
    return value.hex() if isinstance(value, bytes) else _plain(value)


def _is_nothing(value: Any) -> bool:
    return value is None or value is False or value == "" or value == []


def _plain(value: Any) -> Any:
    """Return an element's value as text, a number or a list of them."""
    if value is None:
        return None
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, (MultiValue, list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (Items, Dataset)):
        # As text, items in items in items take all time and memory; no element that is asked for holds any.
        raise TypeError("items where a value belongs")
    return str(value).strip()


def _references(dataset: Dataset) -> list[str]:
    """Return the UIDs of series and frames of reference that a label object names, sorted."""
    if "ReferencedSeriesSequence" not in dataset and "ReferencedFrameOfReferenceSequence" not in dataset:
        return []
    found: set[str] = set()
    for item in dataset.get("ReferencedSeriesSequence", []):
        found.add(str(_plain(item.get("SeriesInstanceUID", ""))))
    for frame in dataset.get("ReferencedFrameOfReferenceSequence", []):
        for study in frame.get("RTReferencedStudySequence", []):
            for series in study.get("RTReferencedSeriesSequence", []):
                found.add(str(_plain(series.get("SeriesInstanceUID", ""))))
    return sorted(found - {""})


MOST_INSTANCES = 8
"""Instances that the index keeps of those that a label object names: enough to tell its series, or the volume in it."""


def _some(uids: Sequence[str]) -> list[str]:
    """Return all of a few UIDs, or a few of many, from the first to the last."""
    last = len(uids) - 1
    if last < MOST_INSTANCES:
        return list(uids)
    return [uids[place * last // (MOST_INSTANCES - 1)] for place in range(MOST_INSTANCES)]


def read_damaged(content: bytes) -> Facts:
    """Return which study, series and instance a damaged file says it is of, as far as it still says so.

    A cut slice that nobody misses would leave a shorter series behind: its series must hear of it. A deflated
    file says nothing, because it would have to be inflated, and that may be the damage.
    """
    if is_deflated(content):
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            stream = BytesIO(content)
            dataset = read_partial(stream, stop_when=_is_past_identifiers, force=content[128:132] != b"DICM")
            if stream.tell() >= len(content) and dataset:
                # The last element may be cut itself: half a UID names another series.
                del dataset[max(dataset.keys())]
            facts = {keyword: _plain(dataset.get(keyword)) for keyword in _IDENTIFIERS}
        except (*_PARSE_FAULTS, EOFError):
            return {}
    return {keyword: value for keyword, value in facts.items() if not _is_nothing(value)}


_IDENTIFIERS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientID")


def _is_past_identifiers(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return bool(tag > 0x0020000E)
