"""Make DICOM files of invented persons, with identifiers in every place where they have been found.

Everything follows from the seed. Every identifier is planted once, so that one that survives names its place.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from io import BytesIO

import numpy as np
import numpy.typing as npt
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import get_encoder
from pydicom.sequence import Sequence as Items
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

SYLLABLES = [
    "qua",
    "vex",
    "zor",
    "lum",
    "tri",
    "bel",
    "nax",
    "gor",
    "pyl",
    "dru",
    "fen",
    "kiv",
    "mol",
    "wyr",
    "jax",
    "hub",
    "oss",
    "yel",
    "ruk",
    "thi",
]
CT, MR, PT, ENHANCED, SEG, RTSTRUCT = (
    f"1.2.840.10008.5.1.4.1.1.{number}" for number in ("2", "4", "128", "4.1", "66.4", "481.3")
)


@dataclass(slots=True)
class Planted:
    """One identifier: its kind, its text, and whether it is looked for regardless of case."""

    kind: str
    text: str


@dataclass(slots=True)
class Source:
    """One file as a hospital would send it: its path, its bytes, what was planted in it, what must be kept."""

    path: str
    content: bytes
    planted: list[Planted]
    kept: Dataset | None = None


@dataclass(slots=True)
class Inventor:
    """Draws identifiers of one file and writes down each."""

    random: np.random.Generator
    planted: list[Planted] = field(default_factory=list)
    days: int = 0

    def say(self, kind: str, text: str) -> str:
        """Write an identifier down and return it."""
        self.planted.append(Planted(kind, text))
        return text

    def name(self, kind: str) -> str:
        """Invent a name that is no word of any language."""
        parts = self.random.choice(SYLLABLES, 4)
        return self.say(kind, "".join(parts).capitalize())

    def number(self, kind: str, digits: int = 9) -> str:
        """Draw a number as archives and telephones have them."""
        return self.say(kind, str(self.random.integers(10 ** (digits - 1), 10**digits)))

    def day(self, kind: str) -> str:
        """Draw a date; no two of a file lie less than ten years apart, so that no shift makes one of another."""
        ten_years, self.days = 3700, self.days + 1
        return self.say(
            kind,
            f"{date(1890, 1, 1) + timedelta(days=ten_years * self.days + int(self.random.integers(0, 20))):%Y%m%d}",
        )

    def uid(self, kind: str) -> str:
        """Draw a UID under an invented root."""
        arcs = ".".join(str(arc) for arc in self.random.integers(10**6, 10**8, 4))
        return self.say(kind, f"1.2.999.{arcs}")


Plant = Callable[[Dataset, Inventor], None]


def texts(*keywords: str) -> dict[str, Plant]:
    """Plant a name in each of these elements."""

    def one(keyword: str) -> Plant:
        return lambda dataset, invent: setattr(dataset, keyword, invent.name(keyword))

    return {keyword: one(keyword) for keyword in keywords}


def days(*keywords: str) -> dict[str, Plant]:
    """Plant a date in each of these elements."""

    def one(keyword: str) -> Plant:
        return lambda dataset, invent: setattr(dataset, keyword, invent.day(keyword))

    return {keyword: one(keyword) for keyword in keywords}


def numbers(*keywords: str) -> dict[str, Plant]:
    """Plant a number in each of these elements."""

    def one(keyword: str) -> Plant:
        return lambda dataset, invent: setattr(dataset, keyword, invent.number(keyword))

    return {keyword: one(keyword) for keyword in keywords}


def uids(*keywords: str) -> dict[str, Plant]:
    """Plant a UID in each of these elements."""

    def one(keyword: str) -> Plant:
        return lambda dataset, invent: setattr(dataset, keyword, invent.uid(keyword))

    return {keyword: one(keyword) for keyword in keywords}


def raw(dataset: Dataset, tag: int, vr: str, value: bytes) -> None:
    """Put bytes into an element as a file holds them, whatever its representation thinks of them."""
    padded = value + b" " * (len(value) % 2)
    syntax = dataset.file_meta.TransferSyntaxUID if hasattr(dataset, "file_meta") else ExplicitVRLittleEndian
    element = RawDataElement(
        BaseTag(tag), vr, len(padded), padded, 0, syntax.is_implicit_VR, syntax.is_little_endian
    )
    dataset._dict[BaseTag(tag)] = element


def disguised(keyword: str) -> Plant:
    """Plant a name in an element that should hold a number or a code."""

    def plant(dataset: Dataset, invent: Inventor) -> None:
        name = invent.name(f"{keyword} in disguise").encode()
        raw(dataset, int(Tag(keyword)), dictionary_VR(keyword), name)

    return plant


def nested(parents: tuple[str, ...], keyword: str) -> Plant:
    """Plant a name some levels down."""

    def plant(dataset: Dataset, invent: Inventor) -> None:
        item = Dataset()
        setattr(item, keyword, invent.name("/".join((*parents, keyword))))
        for parent in reversed(parents[1:]):
            outer = Dataset()
            setattr(outer, parent, [item])
            item = outer
        setattr(dataset, parents[0], [*(dataset.get(parents[0]) or []), item])

    return plant


def private(group: int, creator: str, offset: int, kind: str) -> Plant:
    """Plant a name in a private block, of a creator that is known or invented."""

    def plant(dataset: Dataset, invent: Inventor) -> None:
        owner = creator or invent.name(f"{kind}: creator")
        text = invent.name(kind)
        dataset.private_block(group, owner, create=True).add_new(offset, "LO", text)

    return plant


def _private_person(dataset: Dataset, invent: Inventor) -> None:
    item = Dataset()
    item.PatientName = invent.name("private sequence: name")
    dataset.private_block(0x0029, "SPI RELEASE 1", create=True).add_new(0x30, "SQ", [item])


def _xml(dataset: Dataset, invent: Inventor) -> None:
    text = f"<Patient><Name>{invent.name('XML in a private element')}</Name></Patient>".encode()
    dataset.private_block(0x0021, "SIEMENS MR SDS 01", create=True).add_new(
        0x19, "OB", text + b" " * (len(text) % 2)
    )


def _csa(dataset: Dataset, invent: Inventor) -> None:
    name = invent.name("CSA header").encode()
    entry = struct.pack("<64si4siii", b"PatientName", 1, b"LO", 0, 1, 77)
    entry += struct.pack("<4i", len(name), len(name), 77, len(name)) + name + b"\0" * (-len(name) % 4)
    block = dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x10, "OB", b"SV10\x04\x03\x02\x01" + struct.pack("<II", 1, 77) + entry)


def _encoded(dataset: Dataset, invent: Inventor) -> None:
    text = base64.b64encode(invent.name("base64 in a comment").encode()).decode()
    invent.say("base64 in a comment", text)
    dataset.ImageComments = text


def _overlay(dataset: Dataset, invent: Inventor) -> None:
    dataset.add(DataElement(0x60000022, "LO", invent.name("overlay description")))
    raw(dataset, 0x60023000, "OW", invent.name("overlay data").encode())


def _icon(dataset: Dataset, invent: Inventor) -> None:
    icon = Dataset()
    icon.PatientName = invent.name("icon: name")
    raw(icon, 0x7FE00010, "OW", invent.name("icon: pixels").encode())
    dataset.IconImageSequence = [icon]


def _image_type(dataset: Dataset, invent: Inventor) -> None:
    dataset.ImageType = [*dataset.ImageType, invent.name("value of image type").upper()[:16]]
    invent.planted[-1].text = dataset.ImageType[-1]


def _old_marks(dataset: Dataset, invent: Inventor) -> None:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator = "1", "99X"
    code.CodeMeaning = invent.name("meaning of an earlier method code")
    dataset.DeidentificationMethodCodeSequence = [code]


def _japanese(dataset: Dataset, invent: Inventor) -> None:
    dataset.OtherPatientNames = f"{invent.name('name in three groups')}^{invent.name('name in three groups')}"


def _contact(dataset: Dataset, invent: Inventor) -> None:
    dataset.ImagingServiceRequestComments = f"call {invent.number('telephone in a comment')}"
    dataset.PatientTelecomInformation = f"mailto:{invent.name('mail address').lower()}@example.org"
    invent.planted[-1].text = invent.planted[-1].text.lower()


def _sequence_bytes(name: str, is_explicit: bool) -> bytes:
    """Return a sequence of one item that holds a patient's name, as bytes in either encoding."""
    value = name.encode() + b" " * (len(name) % 2)
    head = b"PN" + struct.pack("<H", len(value)) if is_explicit else struct.pack("<I", len(value))
    body = struct.pack("<HH", 0x0010, 0x0010) + head + value
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(body)) + body


def _unknown_sequence(is_explicit: bool, tag: int) -> Plant:
    """Plant a sequence that is marked UN, in the encoding that the standard wants or in the other one."""
    kind = f"UN {'explicit' if is_explicit else 'implicit'} sequence at {tag:08x}"

    def plant(dataset: Dataset, invent: Inventor) -> None:
        raw(dataset, tag, "UN", _sequence_bytes(invent.name(kind), is_explicit))

    return plant


def _private_depths(dataset: Dataset, invent: Inventor) -> None:
    """Private sequences in private sequences in a public one."""
    inner, middle, outer = Dataset(), Dataset(), Dataset()
    inner.private_block(0x0031, "QUAVEX", create=True).add_new(
        0x01, "LT", invent.name("private, three levels down")
    )
    middle.private_block(0x0033, "QUAVEX", create=True).add_new(0x01, "SQ", [inner])
    outer.private_block(0x0035, "QUAVEX", create=True).add_new(0x01, "SQ", [middle])
    dataset.SourceImageSequence = [outer]


def _code_meaning(dataset: Dataset, invent: Inventor) -> None:
    """Plant a known code with somebody's meaning, and with values that no code has."""
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator = "T-D4000", "SRT"
    code.CodeMeaning = invent.name("meaning of a known code")
    code.CodingSchemeVersion, code.LongCodeValue = (
        invent.name("coding scheme version"),
        invent.name("long code"),
    )
    dataset.AnatomicRegionSequence = [code]


def _escapes(dataset: Dataset, invent: Inventor) -> None:
    """Plant a name behind an escape to another character set, one in a value after an empty one."""
    raw(dataset, 0x00104000, "LT", b"\x1b$B" + invent.name("behind an escape").encode() + b"\x1b(B")
    raw(dataset, 0x00181030, "LO", b"\\\\" + invent.name("after empty values").encode())


def _odd_numbers(dataset: Dataset, invent: Inventor) -> None:
    """Names in numbers: of several values, with blanks, as packed floats."""
    raw(dataset, 0x00181314, "DS", b"90\\" + invent.name("second value of a number").encode())
    raw(dataset, 0x00189073, "FD", invent.name("packed number").encode().ljust(16, b" ")[:16])
    invent.planted[-1].text = invent.planted[-1].text[:16]


def _moved_dates(dataset: Dataset, invent: Inventor) -> None:
    dataset.SeriesDescription = f"t1 {invent.day('date in a description')}"
    dataset.RequestedProcedureDescription = f"of {invent.day('date in a procedure')}"


def _modified_attributes(dataset: Dataset, invent: Inventor) -> None:
    """Plant what a system on the way replaced, and kept."""
    item, old = Dataset(), Dataset()
    old.PatientName, old.PatientID = (
        invent.name("original attributes: name"),
        invent.number("original attributes: ID"),
    )
    item.ModifiedAttributesSequence, item.ModifyingSystem = [old], invent.name("modifying system")
    item.SourceOfPreviousValues = invent.name("source of previous values")
    dataset.OriginalAttributesSequence = [item]


def odd_places() -> dict[str, Plant]:
    """Return places that only look harmless: other encodings, depths, groups, and what passed systems leave."""
    return {
        "UN sequence, implicit": _unknown_sequence(False, 0x00400275),
        "UN sequence, explicit": _unknown_sequence(True, 0x00081140),
        "UN private sequence": _unknown_sequence(True, 0x00191077),
        "private depths": _private_depths,
        "code meaning": _code_meaning,
        "escapes": _escapes,
        "odd numbers": _odd_numbers,
        "dates in text": _moved_dates,
        "original attributes": _modified_attributes,
        "group length": lambda d, i: raw(d, 0x00100000, "LO", i.name("group length").encode()),
        "curve of another group": lambda d, i: raw(d, 0x501E2500, "LO", i.name("curve label").encode()),
        "overlay of another group": lambda d, i: raw(d, 0x601E4000, "LT", i.name("overlay comment").encode()),
        "retired": lambda d, i: raw(d, 0x00084000, "LT", i.name("identifying comments, retired").encode()),
        "retired study": lambda d, i: raw(
            d, 0x0032000A, "CS", i.name("study status, retired").upper().encode()
        ),
        "encapsulated document": lambda d, i: raw(
            d, 0x00420011, "OB", i.name("encapsulated document").encode()
        ),
        "private creator alone": lambda d, i: raw(
            d, 0x00370010, "LO", i.name("private creator alone").encode()
        ),
        "element without creator": lambda d, i: raw(d, 0x00391001, "LO", i.name("without creator").encode()),
        "digital signature": lambda d, i: raw(
            d, 0xFFFAFFFA, "SQ", _sequence_bytes(i.name("digital signature"), True)
        ),
    }


def _references(dataset: Dataset, invent: Inventor) -> None:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CT, invent.uid("referenced instance")
    study = Dataset()
    study.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"
    study.ReferencedSOPInstanceUID = invent.uid("referenced study")
    dataset.ReferencedImageSequence, dataset.ReferencedStudySequence = [item], [study]


DATES = [
    "PatientBirthDate",
    "StudyDate",
    "SeriesDate",
    "AcquisitionDate",
    "ContentDate",
    "InstanceCreationDate",
    "AdmittingDate",
    "ScheduledProcedureStepStartDate",
    "PerformedProcedureStepStartDate",
    "LastMenstrualDate",
    "DateOfLastCalibration",
    "IssueDateOfImagingServiceRequest",
]
"""Elements in which a date is planted."""

TEXTS = [
    "PatientAddress",
    "PatientMotherBirthName",
    "PatientBirthName",
    "OtherPatientIDs",
    "EthnicGroup",
    "Occupation",
    "AdditionalPatientHistory",
    "PatientComments",
    "CountryOfResidence",
    "RegionOfResidence",
    "PatientReligiousPreference",
    "MedicalRecordLocator",
    "ResponsiblePerson",
    "ResponsibleOrganization",
    "IssuerOfPatientID",
    "PatientInsurancePlanCodeSequence",
    "InstitutionName",
    "InstitutionAddress",
    "InstitutionalDepartmentName",
    "StationName",
    "ReferringPhysicianName",
    "ReferringPhysicianAddress",
    "PerformingPhysicianName",
    "NameOfPhysiciansReadingStudy",
    "OperatorsName",
    "PhysiciansOfRecord",
    "RequestingPhysician",
    "ConsultingPhysicianName",
    "StudyDescription",
    "SeriesDescription",
    "ProtocolName",
    "RequestedProcedureDescription",
    "PerformedProcedureStepDescription",
    "ReasonForStudy",
    "AdmittingDiagnosesDescription",
    "StudyComments",
    "DerivationDescription",
    "ContrastBolusAgent",
    "DeviceSerialNumber",
    "DeviceDescription",
    "GantryID",
    "DetectorID",
    "PlateID",
    "SoftwareVersions",
    "ManufacturerModelName",
    "Manufacturer",
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSiteName",
    "ClinicalTrialTimePointDescription",
    "CurrentPatientLocation",
    "PerformedStationName",
    "PerformedStationAETitle",
    "PerformedLocation",
    "VisitComments",
    "DeidentificationMethod",
    "ConvolutionKernel",
    "SequenceName",
    "FilterType",
    "PositionReferenceIndicator",
    "StackID",
    "WindowCenterWidthExplanation",
    "MilitaryRank",
    "BranchOfService",
    "Allergies",
    "MedicalAlerts",
    "SpecialNeeds",
    "CommentsOnThePerformedProcedureStep",
    "InterpretationText",
    "ResultsComments",
    "TextComments",
    "AcquisitionComments",
    "AcquisitionProtocolDescription",
    "ReceiveCoilName",
    "TransmitCoilName",
    "SecondaryCaptureDeviceID",
    "ScheduledStudyLocation",
    "PatientState",
    "RescaleType",
    "Radiopharmaceutical",
    "VerifyingOrganization",
]
"""Elements in which a name is planted."""

NUMBERS = [
    "AccessionNumber",
    "StudyID",
    "PatientTelephoneNumbers",
    "AdmissionID",
    "RequestedProcedureID",
    "PerformedProcedureStepID",
    "ScheduledProcedureStepID",
    "FillerOrderNumberImagingServiceRequest",
    "PlacerOrderNumberImagingServiceRequest",
    "SeriesNumber",
    "AcquisitionNumber",
    "InstanceNumber",
    "XRayTubeCurrent",
    "ServiceEpisodeID",
]
"""Elements in which a number is planted."""

UIDS = [
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "IrradiationEventUID",
    "InstanceCreatorUID",
    "DeviceUID",
    "SynchronizationFrameOfReferenceUID",
    "ConcatenationUID",
]
"""Elements in which a UID is planted."""

DISGUISES = (
    "BodyPartExamined",
    "Laterality",
    "ScanOptions",
    "AcquisitionMatrix",
    "PatientAge",
    "StudyTime",
    "KVP",
)
"""Elements of numbers and codes in which a name is planted."""

COMMON: dict[str, Plant] = {
    **texts(*TEXTS),
    **numbers(*NUMBERS),
    **days(*DATES),
    **uids(*UIDS),
    **{
        f"{keyword} in disguise": disguised(keyword)
        for keyword in DISGUISES
    },
    **{
        "/".join((*parents, keyword)): nested(parents, keyword)
        for parents, keyword in (
            (("RequestAttributesSequence",), "ScheduledProcedureStepDescription"),
            (("RequestAttributesSequence", "RequestedProcedureCodeSequence"), "CodeMeaning"),
            (("ReferencedPatientSequence", "OtherPatientIDsSequence"), "PatientName"),
            (("SourceImageSequence", "PurposeOfReferenceCodeSequence"), "CodeMeaning"),
            (("AnatomicRegionSequence", "AnatomicRegionModifierSequence"), "CodeMeaning"),
            (("ProcedureCodeSequence",), "CodeValue"),
            (("PerformedProtocolCodeSequence", "ProtocolContextSequence", "ContentItemModifierSequence"), "TextValue"),
            (("OtherPatientIDsSequence",), "PatientID"),
            (("ContributingEquipmentSequence",), "InstitutionName"),
            (("AcquisitionContextSequence", "ConceptCodeSequence"), "CodeMeaning"),
            (("RealWorldValueMappingSequence",), "LUTExplanation"),
            (("RadiopharmaceuticalInformationSequence",), "Radiopharmaceutical"),
        )
    },
    "private, creator unknown": private(0x0009, "", 0x01, "private, creator unknown"),
    "private, creator known": private(0x0009, "GEMS_IDEN_01", 0x01, "private, creator known"),
    "private, safe creator": private(0x2005, "Philips MR Imaging DD 001", 0x11, "private, safe creator"),
    "private, safe offset": private(0x0019, "SIEMENS MR HEADER", 0x0C, "private, safe offset"),
    "private sequence": _private_person,
    "private XML": _xml,
    "CSA header": _csa,
    "base64": _encoded,
    "overlay": _overlay,
    "icon": _icon,
    "image type": _image_type,
    "earlier marks": _old_marks,
    "name groups": _japanese,
    "contact": _contact,
    "references": _references,
    "unknown public element": lambda d, i: raw(d, 0x00181FFE, "UN", i.name("unknown public element").encode()),
    "curve": lambda d, i: raw(d, 0x50003000, "OW", i.name("curve data").encode()),
    "colour profile": lambda d, i: raw(d, 0x00282000, "OB", i.name("colour profile").encode()),
    "trailing padding": lambda d, i: raw(d, 0xFFFCFFFC, "OB", i.name("trailing padding").encode()),
    **odd_places(),
    "character set": lambda d, i: raw(d, 0x00281101, "UN", i.name("palette descriptor").encode()),
}  # fmt: skip
"""Place -> how an identifier gets there."""

WILD = {place for place in COMMON if place.endswith("in disguise")} | {
    "XRayTubeCurrent",
    "SeriesNumber",
    "AcquisitionNumber",
    "InstanceNumber",
    "curve",
}
WILD |= {"character set", "unknown public element", *odd_places()}
"""Places whose value does not fit its representation: some tools give up at them."""

KEPT = [
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "GantryDetectorTilt",
    "RescaleSlope",
    "RescaleIntercept",
    "SliceLocation",
    "EchoTime",
    "RepetitionTime",
    "InversionTime",
    "FlipAngle",
    "EchoNumbers",
    "MagneticFieldStrength",
    "DiffusionBValue",
    "DiffusionGradientOrientation",
    "TemporalPositionIdentifier",
    "Units",
    "DecayCorrection",
    "DecayFactor",
    "FrameReferenceTime",
    "ActualFrameDuration",
    "PatientWeight",
    "RadiopharmaceuticalInformationSequence",
    "NumberOfFrames",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "SegmentationType",
    "SegmentSequence",
    "ROIContourSequence",
    "StructureSetROISequence",
    "PixelPaddingValue",
    "AcquisitionTime",
]
"""What conversion needs: kept wherever the source has it."""

SAFE_PRIVATE = (
    (0x0019, "SIEMENS MR HEADER", 0x0C), (0x0019, "SIEMENS MR HEADER", 0x0A), (0x0043, "GEMS_PARM_01", 0x39),
    (0x2005, "Philips MR Imaging DD 001", 0x0E), (0x2005, "Philips MR Imaging DD 001", 0x0D),
    (0x2001, "Philips Imaging DD 001", 0x03), (0x0019, "GEMS_ACQU_01", 0xBB),
)  # fmt: skip
"""Private elements that conversion needs: group, creator, offset."""


PLANE = ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SliceLocation"]
"""What stands in functional groups where there are some."""


def _base(sop_class: str, modality: str, syntax: str, random: np.random.Generator) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.SOPClassUID, dataset.Modality = sop_class, modality
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 32, 48, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.ImagePositionPatient = [f"{x:.4f}" for x in random.uniform(-300, 300, 3)]
    dataset.ImageOrientationPatient = ["1", "0", "0", "0", "0.9659258", "-0.2588190"]
    dataset.PixelSpacing, dataset.SliceThickness = ["0.9765625", "0.9765625"], "2.5"
    dataset.SliceLocation, dataset.AcquisitionTime = "-77.25", "101530.25"
    return dataset


def _pixels(dataset: Dataset, random: np.random.Generator, invent: Inventor) -> None:
    """Write noise in the dataset's syntax; a name follows the pixels, or stands in a comment of the frame."""
    frames = int(dataset.get("NumberOfFrames") or 1)
    values: npt.NDArray[np.uint16] = random.integers(0, 4096, (frames, 32, 48)).astype(np.uint16)
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        order = "<" if syntax.is_little_endian else ">"
        padding = invent.name("after the pixels").encode() + b" "
        dataset.add(
            DataElement(
                0x7FE00010, "OW", values.astype(f"{order}u2").tobytes() + padding[: len(padding) // 2 * 2]
            )
        )
        invent.planted[-1].text = padding[: len(padding) // 2 * 2].decode().strip()
        return
    encoded = []
    for frame in values:
        made = get_encoder(syntax).encode(
            frame.tobytes(), rows=32, columns=48, samples_per_pixel=1, bits_allocated=16, bits_stored=12,
            pixel_representation=0, photometric_interpretation="MONOCHROME2", number_of_frames=1,
        )  # fmt: skip
        encoded.append(_commented(made, syntax, invent.name("in or after a compressed frame").encode()))
    dataset.add(DataElement(0x7FE00010, "OB", encapsulate(encoded)))
    dataset["PixelData"].is_undefined_length = True


def _commented(frame: bytes, syntax: str, name: bytes) -> bytes:
    note = struct.pack(">H", len(name) + 4) + b"\0\1" + name
    if syntax == JPEG2000Lossless:
        after_size = frame.index(b"\xff\x52")
        return frame[:after_size] + b"\xff\x64" + note + frame[after_size:]
    if syntax == JPEGLSLossless:
        return frame[:2] + b"\xff\xfe" + note + frame[2:]
    return frame + name


def _ct(random: np.random.Generator, syntax: str) -> Dataset:
    dataset = _base(CT, "CT", syntax, random)
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.KVP = "1", "-1024", "120"
    dataset.GantryDetectorTilt, dataset.SpacingBetweenSlices = "-7.5", "2.5"
    return dataset


def _mr(random: np.random.Generator, syntax: str) -> Dataset:
    dataset = _base(MR, "MR", syntax, random)
    dataset.EchoTime, dataset.RepetitionTime, dataset.InversionTime = "78.5", "3000", "160"
    dataset.FlipAngle, dataset.EchoNumbers, dataset.MagneticFieldStrength = "90", "1", "3"
    dataset.DiffusionBValue, dataset.DiffusionGradientOrientation = 800.0, [0.0, 0.6, 0.8]
    dataset.TemporalPositionIdentifier, dataset.RescaleSlope, dataset.RescaleIntercept = "3", "1.28", "0"
    block = dataset.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
    block.add_new(0x0E, "FL", 0.25)
    block.add_new(0x0D, "FL", -1.5)
    dataset.private_block(0x2001, "Philips Imaging DD 001", create=True).add_new(0x03, "FL", 800.0)
    dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", 25)
    dataset.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x39, "IS", [800, 0, 0, 0])
    return dataset


def _pt(random: np.random.Generator, syntax: str) -> Dataset:
    dataset = _base(PT, "PT", syntax, random)
    dataset.Units, dataset.DecayCorrection, dataset.DecayFactor = "BQML", "START", "1.0312"
    dataset.FrameReferenceTime, dataset.ActualFrameDuration, dataset.PatientWeight = "90000", "180000", "71.5"
    dataset.RescaleSlope, dataset.RescaleIntercept = "0.7312", "0"
    dose = Dataset()
    dose.RadionuclideTotalDose, dose.RadionuclideHalfLife = "359884960", "6588"
    dose.RadiopharmaceuticalStartTime = "091500"
    dataset.RadiopharmaceuticalInformationSequence = [dose]
    return dataset


def _enhanced(random: np.random.Generator, syntax: str) -> Dataset:
    dataset = _base(ENHANCED, "MR", syntax, random)
    for keyword in (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "SliceThickness",
        "SliceLocation",
    ):
        delattr(dataset, keyword)
    dataset.NumberOfFrames = 3
    measures, orientation, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = ["1.5", "1.5"], "3"
    orientation.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    dataset.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for index in range(3):
        group, position, transform = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = ["-10.5", "7.25", str(3 * index)]
        transform.RescaleSlope, transform.RescaleIntercept, transform.RescaleType = "2", str(-index), "US"
        group.PlanePositionSequence, group.PixelValueTransformationSequence = [position], [transform]
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = groups
    return dataset


def _seg(random: np.random.Generator, syntax: str) -> Dataset:
    dataset = _base(SEG, "SEG", syntax, random)
    for keyword in (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "SliceThickness",
        "SliceLocation",
    ):
        delattr(dataset, keyword)
    dataset.SegmentationType = "BINARY"
    segment, code = Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "10200004", "SCT", "Liver"
    segment.SegmentNumber, segment.SegmentAlgorithmType = 1, "MANUAL"
    segment.SegmentedPropertyTypeCodeSequence = [code]
    dataset.SegmentSequence = [segment]
    return dataset


def _rtstruct(random: np.random.Generator, syntax: str) -> Dataset:
    dataset = _base(RTSTRUCT, "RTSTRUCT", syntax, random)
    for keyword in (*KEPT[:14], "ImageType", "SliceLocation"):
        if keyword in dataset:
            delattr(dataset, keyword)
    roi, drawn, contour = Dataset(), Dataset(), Dataset()
    roi.ROINumber = "1"
    contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", "3"
    contour.ContourData = ["0", "0", "5", "1.5", "0", "5", "0", "1.5", "5"]
    drawn.ReferencedROINumber, drawn.ContourSequence = "1", [contour]
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [roi], [drawn]
    return dataset


def _label_plants(dataset: Dataset, invent: Inventor) -> None:
    """Names in what an expert drew; the mapping knows none of them."""
    for roi in dataset.get("StructureSetROISequence", []):
        roi.ROIName, roi.ROIDescription = invent.name("ROI name"), invent.name("ROI description")
    for segment in dataset.get("SegmentSequence", []):
        segment.SegmentLabel = invent.name("segment label")
        segment.SegmentDescription = invent.name("segment description")
        segment.SegmentAlgorithmName, segment.TrackingUID = invent.name("algorithm"), invent.uid("tracking")
    dataset.ContentCreatorName = invent.name("content creator")
    dataset.ContentDescription = invent.name("content description")
    dataset.StructureSetLabel, dataset.StructureSetName = (
        invent.name("set label")[:16],
        invent.name("set name"),
    )
    dataset.ApprovalStatus, dataset.ReviewerName = "APPROVED", invent.name("reviewer")


MAKERS: tuple[tuple[str, Callable[[np.random.Generator, str], Dataset], str], ...] = (
    ("ct", _ct, ExplicitVRLittleEndian),
    ("ct-rle", _ct, RLELossless),
    ("ct-jpeg-ls", _ct, JPEGLSLossless),
    ("mr", _mr, ImplicitVRLittleEndian),
    ("mr-big-endian", _mr, ExplicitVRBigEndian),
    ("pt", _pt, DeflatedExplicitVRLittleEndian),
    ("enhanced-mr", _enhanced, JPEG2000Lossless),
    ("enhanced-mr-native", _enhanced, ExplicitVRLittleEndian),
    ("seg", _seg, ExplicitVRLittleEndian),
    ("rtstruct", _rtstruct, ImplicitVRLittleEndian),
)
"""Name, maker and transfer syntax of each object."""


def _file(name: str, dataset: Dataset, random: np.random.Generator, is_tame: bool) -> Source:
    """Plant in every place that the object has, and write it as a file."""
    invent = Inventor(random)
    kept = Dataset()
    needed = [keyword for keyword in KEPT if keyword in dataset]
    for place, plant in COMMON.items():
        if is_tame and place in WILD:
            continue
        before = set(dataset.keys())
        try:
            plant(dataset, invent)
        except (TypeError, AttributeError, ValueError):
            for tag in set(dataset.keys()) - before:
                del dataset[tag]
    _label_plants(dataset, invent)
    dataset.PatientName = f"{invent.name('PatientName')}^{invent.name('PatientName')}"
    dataset.PatientID = invent.number("PatientID")
    dataset.SOPInstanceUID = invent.uid("SOPInstanceUID")
    if name != "rtstruct":
        _pixels(dataset, random, invent)
    dataset.file_meta.SourceApplicationEntityTitle = invent.name("file meta")[:16]
    stream = BytesIO()
    syntax = dataset.file_meta.TransferSyntaxUID
    # Raw elements are written as they stand when the dataset says that it was read in the same encoding.
    dataset.set_original_encoding(syntax.is_implicit_VR, syntax.is_little_endian, "iso8859")
    dataset.save_as(stream, enforce_file_format=True)
    content = invent.name("preamble").encode().ljust(128, b"\0") + stream.getvalue()[128:]
    path = f"{invent.name('folder name')}/{invent.name('file name')}.dcm"
    for keyword in needed:
        if keyword in dataset and not isinstance(dataset.get_item(keyword), RawDataElement):
            kept[keyword] = dataset[keyword]
    return Source(path, content, invent.planted, kept)


def _directory(random: np.random.Generator) -> Source:
    """Make a DICOMDIR, which names everybody on a medium."""
    invent, dataset, record = Inventor(random), Dataset(), Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.1.3.10")
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(invent.uid("DICOMDIR: UID"))
    record.DirectoryRecordType = "PATIENT"
    record.PatientName, record.PatientID = invent.name("DICOMDIR: name"), invent.number("DICOMDIR: ID")
    dataset.FileSetID = invent.name("DICOMDIR: set")[:16]
    dataset.add(DataElement(0x00041220, "SQ", Items([record])))
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return Source("DICOMDIR", stream.getvalue(), invent.planted)


def sources(seed: int, is_tame: bool = False) -> Iterator[Source]:
    """Yield every file of a seed; tame: without values that do not fit their representation."""
    for index, (name, make, syntax) in enumerate(MAKERS):
        random = np.random.Generator(np.random.PCG64([seed, index]))
        yield _file(name, make(random, syntax), random, is_tame)
    yield _directory(np.random.Generator(np.random.PCG64([seed, len(MAKERS)])))
