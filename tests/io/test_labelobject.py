"""What a label object says of itself is read, or refused without quoting it."""

from __future__ import annotations

import pytest
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from pipeline.io.labelobject import codes, items, numbers, parse, read_references, whole
from pipeline.model.errors import LabelError


def element(**values: object) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def test_an_absent_or_empty_sequence_has_no_items() -> None:
    assert items(Dataset(), "SegmentSequence") == []
    assert items(element(SegmentSequence=[]), "SegmentSequence") == []


def test_codes_keep_their_scheme_and_may_be_long() -> None:
    sequence = [
        element(CodeValue="T-62000", CodingSchemeDesignator="SRT"),
        element(LongCodeValue="10200004000000000", CodingSchemeDesignator="SCT"),
        element(URNCodeValue="urn:oid:1.2"),
        element(CodingSchemeDesignator="SCT"),
    ]
    item = element(SegmentedPropertyTypeCodeSequence=sequence)
    found = codes(item, "SegmentedPropertyTypeCodeSequence")
    assert found == ("SRT:T-62000", "SCT:10200004000000000", ":urn:oid:1.2")


def test_a_missing_number_is_refused() -> None:
    with pytest.raises(LabelError, match="label-inconsistent"):
        whole(Dataset(), "ROINumber", "item 1")
    assert numbers(Dataset(), "ContourData", "item 1").tolist() == []


def test_text_in_place_of_a_number_is_refused_without_quoting_it() -> None:
    item = Dataset.from_json({"30060050": {"vr": "DS", "Value": [1.0]}})
    item["ContourData"]._value = "Doe^Jane"
    with pytest.raises(LabelError) as refusal:
        numbers(item, "ContourData", "item 1")
    assert "Doe" not in str(refusal.value)
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize(
    ("representation", "content"), [("FD", b"12345"), ("ZZ", b"Doe^Jane"), ("SQ", b"\0\1\2\3\4\5")]
)
def test_an_element_that_does_not_parse_is_refused_at_any_depth(representation: str, content: bytes) -> None:
    tag = Tag(0x00180088)
    raw = RawDataElement(tag, representation, len(content), content, 0, False, True)
    inner, outer = Dataset(), Dataset()
    inner[tag] = raw
    outer.SegmentSequence = [Dataset(), inner]
    with pytest.raises(LabelError, match="unreadable") as refusal:
        parse(outer)
    assert "Doe" not in str(refusal.value)
    assert refusal.value.__cause__ is None


def test_an_rtstruct_refers_to_what_its_regions_and_references_name() -> None:
    image = element(ReferencedSOPInstanceUID="1.9")
    series = element(SeriesInstanceUID="1.5", ContourImageSequence=[image])
    study = element(RTReferencedSeriesSequence=[series])
    dataset = element(
        FrameOfReferenceUID="1.1",
        SeriesInstanceUID="1.2",
        StructureSetROISequence=[element(ReferencedFrameOfReferenceUID="1.3")],
        ReferencedFrameOfReferenceSequence=[
            element(FrameOfReferenceUID="1.4", RTReferencedStudySequence=[study])
        ],
        ROIContourSequence=[
            element(ContourSequence=[element(ContourImageSequence=[element(ReferencedSOPInstanceUID="1.8")])])
        ],
    )
    found = read_references(dataset)
    assert found.frame_of_reference_uids == ("1.3", "1.4")
    assert found.series_uids == ("1.5",)
    assert found.sop_uids == ("1.8", "1.9")


def test_a_segmentation_refers_to_its_own_frame_of_reference_and_source_images() -> None:
    source = element(SourceImageSequence=[element(ReferencedSOPInstanceUID="1.7")])
    dataset = element(
        FrameOfReferenceUID="1.1",
        ReferencedSeriesSequence=[
            element(
                SeriesInstanceUID="1.5",
                ReferencedInstanceSequence=[element(ReferencedSOPInstanceUID="1.6")],
            )
        ],
        PerFrameFunctionalGroupsSequence=[element(DerivationImageSequence=[source])],
    )
    found = read_references(dataset)
    assert found.frame_of_reference_uids == ("1.1",)
    assert found.series_uids == ("1.5",)
    assert found.sop_uids == ("1.6", "1.7")
