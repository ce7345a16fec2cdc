from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from pipeline.io.policy import load_policy
from pipeline.model.identified import Identified, Key
from pipeline.stages.deidentify import deidentify
from pipeline.verify.elements import Instance, read_instance
from pipeline.verify.instances import faults, pair_of, searched_bytes
from pipeline.verify.pseudonyms import Pseudonyms
from pipeline.verify.public import public

SECRET = bytes(range(32))
PET = "1.2.840.10008.5.1.4.1.1.128"


def source() -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.SeriesInstanceUID = PET, "1.2.999.1", "1.2.999.2"
    dataset.PatientName, dataset.PatientID, dataset.PatientWeight = "Quavexzor^Ann", "4711", "71.5"
    dataset.StudyDate, dataset.StudyTime, dataset.Modality = "20190304", "101530", "PT"
    dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", 25)
    dataset.Rows = dataset.Columns = 4
    dataset.SamplesPerPixel, dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 1, 16, 16, 15
    dataset.PixelRepresentation, dataset.PixelData = 0, bytes(range(32))
    return dataset


def read(dataset: Dataset) -> Instance:
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return read_instance(stream.getvalue())


def found(*spoil: Callable[[Dataset], object]) -> set[tuple[str, str]]:
    """De-identify the source, spoil the result, and say what the verifier finds."""
    step = deidentify(Identified([source()]), policy=load_policy(), key=Key(SECRET))
    (clean,) = step.value
    for one in spoil:
        one(clean)
    least, most = public().settings["shift_days"]
    keys = Pseudonyms(SECRET, least, most, public().uids)
    return set(faults(pair_of(read(source()), read(clean), keys, public()), keys, public()))


def test_what_the_door_writes_has_no_fault() -> None:
    assert found() == set()


SPOILT: dict[str, Callable[[Dataset], object]] = {
    "PatientName": lambda d: setattr(d, "PatientName", "sub-000000000000"),
    "PatientID": lambda d: setattr(d, "PatientID", "4711"),
    "SOPInstanceUID": lambda d: setattr(d, "SOPInstanceUID", "1.2.999.1"),
    "SeriesInstanceUID": lambda d: setattr(d, "SeriesInstanceUID", "2.25.99"),
    "StudyDate": lambda d: setattr(d, "StudyDate", "20190305"),
    "PatientIdentityRemoved": lambda d: setattr(d, "PatientIdentityRemoved", "NO"),
    "DeidentificationMethod": lambda d: setattr(d, "DeidentificationMethod", ""),
    "LongitudinalTemporalInformationModified": lambda d: d.__delattr__("LongitudinalTemporalInformationModified"),
    "BurnedInAnnotation": lambda d: setattr(d, "BurnedInAnnotation", "YES"),
    "DeidentificationMethodCodeSequence": lambda d: setattr(d, "PatientWeight", None),
    "private (0019,xx0c)": lambda d: d.private_block(0x0019, "QUA", create=True).add_new(0x0C, "US", 1),
    "(6000,3000)": lambda d: d.add_new(0x60003000, "OW", b"\1\2"),
}  # fmt: skip


@pytest.mark.parametrize("place", SPOILT)
def test_a_spoilt_element_is_found_at_its_place(place: str) -> None:
    assert place in {where for where, _ in found(SPOILT[place])}


def test_a_sequence_that_the_table_removes_is_found() -> None:
    spoilt = found(lambda d: setattr(d, "ReferencedPatientSequence", [Dataset()]))
    assert ("ReferencedPatientSequence", "a sequence that the table removes") in spoilt


def test_pixels_are_searched_as_voxels_and_all_else_as_text() -> None:
    dataset = source()
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    text, voxels = searched_bytes(stream.getvalue(), read(dataset).pixels)
    assert bytes(voxels) == bytes(range(32))
    assert len(text) + len(voxels) == len(stream.getvalue())
