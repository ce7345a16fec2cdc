from __future__ import annotations

from dataclasses import replace

from pydicom.datadict import keyword_for_tag

from pipeline.demo.header import Study, patient_and_study
from pipeline.demo.sites import SITES, patient

STUDY = Study(patient(SITES[0], seed=(0,)), SITES[0], "CT", "CHEST", (0, "Task", 0))
PERSON_PLACES = (
    "PatientName", "PatientID", "OtherPatientIDs", "OtherPatientNames", "PatientBirthDate", "PatientAddress",
    "PatientTelephoneNumbers", "PatientComments", "AccessionNumber", "InstitutionName", "InstitutionAddress",
    "ReferringPhysicianName", "PerformingPhysicianName", "OperatorsName", "StudyDescription", "DeviceSerialNumber",
    "StudyID", "RequestAttributesSequence", "ImageComments", "StudyInstanceUID", "StationName",
)  # fmt: skip


def test_every_usual_place_is_filled() -> None:
    dataset = patient_and_study(STUDY)

    assert all(dataset[keyword].value for keyword in PERSON_PLACES)


def test_every_text_about_the_person_is_in_the_header() -> None:
    values = {str(element.value) for element in patient_and_study(STUDY).iterall()}
    who = STUDY.identity
    elsewhere = {who.family, who.given, who.family.title(), who.folder}

    assert who.strings() - elsewhere <= values


def test_the_station_says_whether_the_study_is_turned_and_the_model_that_it_is_made_up() -> None:
    straight, turned = (patient_and_study(replace(STUDY, is_turned=is_turned)) for is_turned in (False, True))
    differing = {keyword_for_tag(e.tag) for e in straight if e != turned[e.tag]}

    assert turned.StationName == "PHANTOM-TURNED"
    assert differing == {"StationName"}
    assert str(straight.ManufacturerModelName).startswith("Phantom ")


def test_another_word_makes_other_uids() -> None:
    other = replace(STUDY, words=(0, "Task", 1))

    assert STUDY.study_uid != other.study_uid
    assert STUDY.frame_uid != other.frame_uid
    assert STUDY.series_uid("CT") != STUDY.series_uid("localizer") != other.series_uid("localizer")
    assert STUDY.instance_uid("CT", 1) != STUDY.instance_uid("CT", 2)
