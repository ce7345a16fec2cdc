"""Whatever bytes call themselves DICOM become a header, or a refusal with a code, and nothing else."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EncapsulatedPDFStorage,
    EnhancedMRColorImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    MRImageStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    PositronEmissionTomographyImageStorage,
    RTStructureSetStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    VLEndoscopicImageStorage,
)

from pipeline.io.dicom import Header, is_dicom, read_damaged, read_dataset, read_header, write_dataset
from pipeline.model.errors import CurationError, SourceError
from pipeline.model.series import Kind

PERSON = "DOE^JANE"


def with_identifiers(sop_class: str) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = UID(sop_class), "1.2.3.4"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    dataset.PatientName, dataset.PatientID = PERSON, "4711"
    return dataset


def image(sop_class: str = CTImageStorage) -> Dataset:
    dataset = with_identifiers(sop_class)
    dataset.Modality, dataset.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 4, 3, 1
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.HighBit, dataset.PixelRepresentation = 15, 1
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, 5], [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.EchoTime, dataset.AcquisitionNumber = ["0.5", "0.5"], 0, 0
    dataset.RescaleIntercept, dataset.RescaleSlope = -1024, 1
    dataset.add_new("PixelData", "OW", np.arange(12, dtype="<i2").tobytes())
    return dataset


def encapsulated() -> Dataset:
    dataset = image()
    dataset.PixelData = encapsulate([b"\xff\xd8" + bytes(range(40)) + b"\xff\xd9"])
    dataset["PixelData"].VR = "OB"
    return dataset


def structures() -> Dataset:
    dataset = with_identifiers(RTStructureSetStorage)
    dataset.Modality = "RTSTRUCT"
    series = Dataset()
    series.SeriesInstanceUID = "1.2.3.1"
    study = Dataset()
    study.RTReferencedSeriesSequence = Sequence([series])
    frame = Dataset()
    frame.FrameOfReferenceUID, frame.RTReferencedStudySequence = "1.2.9", Sequence([study])
    dataset.ReferencedFrameOfReferenceSequence = Sequence([frame])
    roi = Dataset()
    roi.ROINumber, roi.ROIName = 1, "liver"
    dataset.StructureSetROISequence = Sequence([roi])
    drawn = Dataset()
    drawn.ReferencedROINumber = 1
    drawn.ContourSequence = Sequence([contour(z) for z in range(4)])
    dataset.ROIContourSequence = Sequence([drawn])
    dataset.RTROIObservationsSequence = Sequence([])
    return dataset


def contour(z: int) -> Dataset:
    drawn = Dataset()
    drawn.ContourGeometricType, drawn.NumberOfContourPoints = "CLOSED_PLANAR", 3
    drawn.ContourData = [0, 0, z, 5, 0, z, 5, 5, z]
    return drawn


def segmentation() -> Dataset:
    dataset = image(SegmentationStorage)
    dataset.Modality, dataset.BitsAllocated, dataset.NumberOfFrames = "SEG", 1, 2
    dataset.PixelData = b"\x01\x02\x03\x00"
    series = Dataset()
    series.SeriesInstanceUID = "1.2.3.9"
    dataset.ReferencedSeriesSequence = Sequence([series])
    return dataset


def undefined_lengths(dataset: Dataset) -> Dataset:
    """Return a dataset whose sequences and items end in delimiters."""
    for element in dataset:
        if element.VR == "SQ":
            element.is_undefined_length = True
            for item in element.value:
                item.is_undefined_length_sequence_item = True
                undefined_lengths(item)
    return dataset


def to_bytes(dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


SAMPLES: dict[str, tuple[Callable[[], Dataset], str]] = {
    "CT": (image, ExplicitVRLittleEndian),
    "CT, implicit": (image, ImplicitVRLittleEndian),
    "CT, big-endian": (image, ExplicitVRBigEndian),
    "CT, deflated": (image, DeflatedExplicitVRLittleEndian),
    "CT, encapsulated": (encapsulated, JPEGBaseline8Bit),
    "RTSTRUCT": (structures, ExplicitVRLittleEndian),
    "RTSTRUCT, delimited": (lambda: undefined_lengths(structures()), ImplicitVRLittleEndian),
    "SEG": (segmentation, ExplicitVRLittleEndian),
}


@cache
def sample(name: str) -> bytes:
    make, syntax = SAMPLES[name]
    return to_bytes(make(), syntax)


def outcome(content: bytes) -> Header | str:
    """Return the header, or the code of the refusal; anything else that is raised fails the test."""
    try:
        return read_header(content)
    except CurationError as refusal:
        assert PERSON not in str(refusal)
        return refusal.code


# What a file is


@pytest.mark.parametrize(
    ("sop_class", "kind", "code"),
    [
        (CTImageStorage, Kind.IMAGE, None),
        (MRImageStorage, Kind.IMAGE, None),
        (PositronEmissionTomographyImageStorage, Kind.IMAGE, None),
        (SegmentationStorage, Kind.SEG, None),
        (SecondaryCaptureImageStorage, Kind.OTHER, "derived-screen"),
        (MultiFrameGrayscaleByteSecondaryCaptureImageStorage, Kind.OTHER, "derived-screen"),
        (EnhancedMRColorImageStorage, Kind.OTHER, "derived-screen"),
        (VLEndoscopicImageStorage, Kind.OTHER, "not-an-image"),
        (EncapsulatedPDFStorage, Kind.OTHER, "not-an-image"),
        ("1.2.840.10008.5.1.4.1.1.78.6", Kind.OTHER, "not-an-image"),
    ],
)
def test_the_class_says_what_a_file_is(sop_class: str, kind: Kind, code: str | None) -> None:
    header = read_header(to_bytes(image(sop_class)))

    assert (header.kind, header.code) == (kind, code)


def test_a_medium_directory_is_no_image() -> None:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2"
    dataset.FileSetID = "DISK"
    stream = BytesIO()
    pydicom.dcmwrite(stream, dataset, enforce_file_format=True)

    assert read_header(stream.getvalue()).code == "dicomdir"


def test_a_class_that_contradicts_the_file_meta_is_not_believed() -> None:
    content = to_bytes(image())
    at = content.rindex(CTImageStorage.encode())
    damaged = content[: at + len(CTImageStorage) - 1] + b"9" + content[at + len(CTImageStorage) :]

    assert read_header(damaged).code == "unreadable"


def test_a_label_names_the_series_it_was_drawn_on() -> None:
    assert read_header(sample("RTSTRUCT")).facts["references"] == ["1.2.3.1"]
    assert read_header(sample("SEG")).facts["references"] == ["1.2.3.9"]


@pytest.mark.parametrize("count", [1, 8, 9, 300])
def test_of_the_instances_that_a_label_names_a_few_are_kept_from_first_to_last(count: int) -> None:
    uids = [f"1.2.3.{1000 + number}" for number in range(count)]
    dataset = SAMPLES["RTSTRUCT"][0]()
    contours = [Dataset() for _ in uids]
    for contour, uid in zip(contours, uids, strict=True):
        contour.ContourImageSequence = [Dataset()]
        contour.ContourImageSequence[0].ReferencedSOPInstanceUID = uid
    dataset.ROIContourSequence = [Dataset()]
    dataset.ROIContourSequence[0].ContourSequence = contours
    kept = read_header(to_bytes(dataset)).facts["referenced_instances"]
    assert len(kept) == len(set(kept)) == min(count, 8)
    assert (kept[0], kept[-1]) == (uids[0], uids[-1])
    assert set(kept) <= set(uids)


def test_zero_is_a_fact_and_an_empty_element_is_none() -> None:
    dataset = image()
    dataset.SeriesDescription = ""
    facts = read_header(to_bytes(dataset)).facts

    assert (facts["EchoTime"], facts["AcquisitionNumber"]) == (0, 0)
    assert "SeriesDescription" not in facts
    assert facts["ImagePositionPatient"] == [0, 0, 5]


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_a_file_without_preamble_and_meta_is_read(syntax: str) -> None:
    content = to_bytes(image(), syntax)
    bare = content[144 + int.from_bytes(content[140:144], "little") :]

    assert is_dicom(bare[:132])
    assert read_header(bare).kind is Kind.IMAGE


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_pixels_keep_their_byte_order_when_no_syntax_is_named(syntax: str) -> None:
    dataset = image()
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.arange(12, dtype=">i2").tobytes()
    content = to_bytes(dataset, syntax)
    silent = content[:132] + content[144 + int.from_bytes(content[140:144], "little") :]

    np.testing.assert_array_equal(read_dataset(silent).pixel_array, np.arange(12).reshape(4, 3))


def test_a_written_dataset_reads_back() -> None:
    dataset = read_dataset(sample("CT"))

    assert read_dataset(write_dataset(dataset)) == dataset


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"notes of Dr. House\n" * 20,
        "Befund\n".encode("utf-16"),
        b"\x89PNG\r\n\x1a\n" + bytes(200),
        gzip.compress(b"x" * 500),
        (348).to_bytes(4, "little") + bytes(400),
        (348).to_bytes(4, "big") + bytes(400),
        b"NRRD0004\ntype: short\n" + bytes(200),
        b"ObjectType = Image\n" + bytes(200),
        b"%PDF-1.4\n" + bytes(200),
        b"{\"a\": 1}" + b" " * 200,
        bytes(400),
        b"\xff" * 400,
        b"\xff\xd8\xff\xe0" + bytes(200),
        b"MZ" + bytes(200),
        b"\x00\x00\x00\x01Bud1" + bytes(200),
    ],
)  # fmt: skip
def test_what_is_not_dicom_is_not_taken_for_it(content: bytes) -> None:
    assert not is_dicom(content[:132])


# Damage


def harmless(header: Header | str) -> bool:
    return isinstance(header, Header) and header.code not in (None, "unreadable")


@pytest.mark.parametrize("name", SAMPLES)
def test_a_damaged_file_says_its_series_while_it_can(name: str) -> None:
    content = sample(name)
    said = [read_damaged(content[:cut]) for cut in range(0, len(content), 2)]

    # Half a UID would name another series.
    assert {facts.get("SeriesInstanceUID", "1.2.3.1") for facts in said} == {"1.2.3.1"}
    assert said[0] == {}
    assert ("SeriesInstanceUID" in said[-1]) == (SAMPLES[name][1] != DeflatedExplicitVRLittleEndian)
    assert not any("PatientName" in facts for facts in said)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_cut_anywhere_is_never_whole_nor_harmless(name: str) -> None:
    content = sample(name)
    kept = {}
    # A deflated stream may end in a byte that pads it to an even length.
    end = len(content) - (SAMPLES[name][1] == DeflatedExplicitVRLittleEndian)
    for cut in range(140, end, 1 if name.startswith("RTSTRUCT") else 3):
        found = outcome(content[:cut])
        if not isinstance(found, str) and found.code != "unreadable":
            kept[cut] = found

    # What stands behind an RTSTRUCT's contours may be lost: its observations hold no drawing.
    assert all(found.kind is Kind.RTSTRUCT and has_all_contours(content[:cut]) for cut, found in kept.items())
    assert len(kept) <= 1


def has_all_contours(content: bytes) -> bool:
    return len(read_dataset(content).ROIContourSequence[0].ContourSequence) == 4


@pytest.mark.parametrize("name", SAMPLES)
def test_flipped_bits_give_a_header_or_a_code(name: str) -> None:
    chance = random.Random(name)
    content = sample(name)
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(chance.randint(1, 6)):
            damaged[chance.randrange(128, len(damaged))] ^= 1 << chance.randrange(8)
        outcome(bytes(damaged))
        read_damaged(bytes(damaged))


@pytest.mark.parametrize("keyword", ["Rows", "BitsAllocated", "PixelData", "Columns"])
def test_an_image_that_lacks_what_sizes_its_pixels_is_refused(keyword: str) -> None:
    dataset = image()
    del dataset[keyword]

    assert outcome(to_bytes(dataset)) in ("truncated", "unreadable")


@pytest.mark.parametrize("keyword", ["Rows", "Columns", "BitsAllocated"])
@pytest.mark.parametrize("value", ["12", ["1", "2"]])
def test_a_matrix_of_text_is_refused_before_it_is_multiplied(keyword: str, value: object) -> None:
    dataset = image()
    dataset[keyword] = DataElement(keyword, "LO", value)
    assert outcome(to_bytes(dataset)) == "unreadable"


def test_grey_with_three_samples_is_damaged_and_no_screen_shot() -> None:
    dataset = encapsulated()
    dataset.SamplesPerPixel = 3
    found = outcome(to_bytes(dataset))

    assert isinstance(found, Header) and found.code == "unreadable"


def test_a_class_of_several_values_is_refused() -> None:
    content = to_bytes(image())
    place = content.rindex(CTImageStorage.encode(), 0, content.index(b"PN"))
    found = outcome(content[: place + 4] + b"\\" + content[place + 5 :])

    assert isinstance(found, Header) and found.code == "unreadable"


def test_floating_point_pixels_are_named_and_not_taken_for_a_cut_file() -> None:
    dataset = image()
    del dataset.PixelData
    dataset.FloatPixelData = b"\0" * 64

    assert outcome(to_bytes(dataset)) == "undecodable"


@pytest.mark.parametrize("make", [image, segmentation])
def test_pixels_shorter_than_declared_are_truncated(make: Callable[[], Dataset]) -> None:
    dataset = make()
    dataset.Rows = 400

    assert outcome(to_bytes(dataset)) == "truncated"


def test_a_refusal_and_what_led_to_it_quote_no_value() -> None:
    for name in SAMPLES:
        error: BaseException | None = refused(sample(name)[:-5])
        while error is not None:
            assert PERSON not in str(error) + repr(error)
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def refused(content: bytes) -> SourceError:
    with pytest.raises(SourceError) as refusal:
        read_header(content)
    return refusal.value


def test_a_number_that_is_none_stays_text() -> None:
    content = sample("CT").replace(b"0.5\\0.5 ", b"JANE\\DOE")

    assert read_header(content).facts["PixelSpacing"] == ["JANE", "DOE"]


# Real files


def test_no_real_file_is_taken_for_cut_or_damaged(real: Path) -> None:
    paths = sorted(path for path in real.rglob("*") if path.is_file())[::12]
    found = {path.name: outcome(c) for path in paths if is_dicom((c := path.read_bytes())[:132])}

    assert len(found) > 50
    assert {name: code for name, code in found.items() if isinstance(code, str)} == {}
    assert not any(isinstance(header, Header) and header.code == "unreadable" for header in found.values())


MAKERS = {
    "Siemens": [(0x0019, "SIEMENS MR HEADER", {0x0C: ("IS", "800"), 0x0E: ("FD", [0.0, 0.6, -0.8])})],
    "GE": [
        (0x0043, "GEMS_PARM_01", {0x39: ("IS", ["1000000800", "8", "0", "0"])}),
        (0x0019, "GEMS_ACQU_01", {0xBB: ("DS", "0"), 0xBC: ("DS", "0.6"), 0xBD: ("DS", "-0.8")}),
    ],
    "UIH": [(0x0065, "Image Private Header", {0x09: ("FD", 800.0), 0x37: ("FD", [0.0, 0.6, -0.8])})],
    "Philips": [
        (0x2001, "Philips Imaging DD 001", {0x03: ("FL", 800.0)}),
        (0x2005, "Philips MR Imaging DD 001", {0xB0: ("FL", 0.0), 0xB1: ("FL", 0.6), 0xB2: ("FL", -0.8)}),
    ],
}


@pytest.mark.parametrize("maker", MAKERS)
def test_a_maker_s_own_b_value_and_direction_are_facts_where_the_public_ones_are_missing(maker: str) -> None:
    dataset = image()
    for group, creator, elements in MAKERS[maker]:
        block = dataset.private_block(group, creator, create=True)
        for offset, (vr, value) in elements.items():
            block.add_new(offset, vr, value)
    facts = read_header(to_bytes(dataset)).facts
    assert facts["DiffusionBValue"] == 800
    assert [float(number) for number in facts["DiffusionGradientOrientation"]] == pytest.approx(
        [0, 0.6, -0.8]
    )


@pytest.mark.parametrize(
    ("number", "component"), [(0, "MAGNITUDE"), (1, "PHASE"), (2, "REAL"), (3, "IMAGINARY")]
)
def test_ge_says_in_an_element_of_its_own_which_part_of_a_complex_image_it_sends(
    number: int, component: str
) -> None:
    dataset = image()
    dataset.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x2F, "SS", number)
    assert read_header(to_bytes(dataset)).facts["ComplexImageComponent"] == component


def test_items_in_items_where_a_value_belongs_are_unreadable_and_never_made_into_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dataset, item = image(), Dataset()
    item.PatientID = "x"
    dataset[0x00080060] = DataElement(0x00080060, "SQ", Sequence([item]))
    content = to_bytes(dataset)
    # The text of 3,000 levels took hours and all memory.
    monkeypatch.setattr(Dataset, "__str__", lambda _: pytest.fail("a dataset was made into text"))
    assert outcome(content) == "unreadable"
    assert read_damaged(content)["SeriesInstanceUID"]
