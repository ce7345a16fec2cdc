from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from pipeline.verify.elements import read_instance
from pipeline.verify.harvest import Harvest, is_strong
from pipeline.verify.public import public


def gathered(*fill: Callable[[Dataset], object]) -> Harvest:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.999.4711"
    for one in fill:
        one(dataset)
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    harvest = Harvest(public())
    harvest.add_instance("case", read_instance(stream.getvalue()))
    return harvest


def test_a_name_is_gathered_whole_and_in_parts() -> None:
    harvest = gathered(lambda d: setattr(d, "PatientName", "Quavexzor^Lumtribel^Ann"))
    assert {b"quavexzor^lumtribel^ann", b"quavexzor", b"lumtribel"} <= harvest.strong.keys()
    assert {"quavexzor", "lumtribel"} <= harvest.weak["case"].keys()


def test_a_name_that_is_not_latin_is_gathered_in_the_files_encoding_and_in_unicode() -> None:
    def fill(dataset: Dataset) -> None:
        dataset.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
        dataset.PatientName = "Yamadazor^Tarouvex=山田山海陸川^太郎"

    strong = gathered(fill).strong
    assert "山田山海陸川".encode() in strong
    assert any(form.startswith(b"\x1b$b") for form in strong)


def test_values_deep_down_in_private_elements_and_in_bytes_are_gathered() -> None:
    def fill(dataset: Dataset) -> None:
        inner, outer = Dataset(), Dataset()
        inner.PatientComments = "seen by Doctor Zorlumvex on the ward"
        outer.add_new(0x00400275, "SQ", [inner])
        block = dataset.private_block(0x0029, "QUA SYSTEMS", create=True)
        block.add_new(0x01, "SQ", [outer])
        block.add_new(0x02, "OB", b"\0\1\2" + b"Name=Pyldrufen;" + b"\0\0")

    harvest = gathered(fill)
    assert "zorlumvex" in harvest.weak["case"]
    assert any(b"pyldrufen" in form for form in harvest.strong)


def test_a_date_is_weak_and_gathered_as_people_write_it() -> None:
    weak = gathered(lambda d: setattr(d, "StudyDate", "20190304")).weak["case"]
    assert {"20190304", "2019-03-04", "04.03.2019", "4 mar 2019"} <= weak.keys()


def test_times_and_measures_are_nobodys() -> None:
    def fill(dataset: Dataset) -> None:
        dataset.StudyTime, dataset.EchoTime, dataset.ImageType = "101530.25", "78.5", ["ORIGINAL", "PRIMARY"]

    harvest = gathered(fill)
    assert not harvest.weak["case"]
    assert harvest.common["ImageType"] == 2


def test_names_of_files_are_gathered_but_for_words_of_ours() -> None:
    harvest = Harvest(public())
    harvest.add_name("case", "Quavexzor_Lumtribel.dcm")
    harvest.add_name("case", "image.dcm")
    assert b"quavexzor_lumtribel" in harvest.strong
    assert not any(b"image" in form for form in harvest.strong)


def test_uids_are_gathered_but_for_the_standards_own() -> None:
    uids = gathered().uids
    assert "1.2.999.4711" in uids
    assert not any(uid.startswith("1.2.840.10008.") for uid in uids)


@pytest.mark.parametrize(
    ("text", "strong"),
    [
        ("Quavexzor", True), ("Quavex", False), ("aaaaaaaaaa", False), ("123456789", True), ("12345678", False),
        ("12.5e-10 3", False),
    ],
)  # fmt: skip
def test_only_what_chance_does_not_bring_about_is_strong(text: str, strong: bool) -> None:
    assert is_strong(text) == strong
