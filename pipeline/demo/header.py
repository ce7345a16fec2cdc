"""Say who was examined where, in every usual place of a DICOM header."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydicom import Dataset
from pydicom.sequence import Sequence as Items

from pipeline.demo.sites import Identity, Site, uid


@dataclass(frozen=True, slots=True)
class Study:
    """One examination of one made-up patient at one site; `words` seed its UIDs and chances."""

    identity: Identity
    site: Site
    modality: str
    region: str
    words: tuple[str | int, ...]
    is_turned: bool = False

    @property
    def study_uid(self) -> str:
        """Study Instance UID."""
        return uid("study", *self.words)

    @property
    def frame_uid(self) -> str:
        """Frame of Reference UID of everything scanned without moving."""
        return uid("frame", *self.words)

    def series_uid(self, name: str) -> str:
        """Series Instance UID of the series with this inner name."""
        return uid("series", name, *self.words)

    def instance_uid(self, name: str, number: int) -> str:
        """SOP Instance UID of one instance of a series."""
        return uid("instance", name, number, *self.words)


def patient_and_study(study: Study) -> Dataset:
    """Return the patient, study and equipment elements: every usual place for a name, a number or a date."""
    dataset = Dataset()
    if study.site.character_set != "ISO_IR 6":
        dataset.SpecificCharacterSet = study.site.character_set
    filled(dataset, _patient(study.identity, study.site))
    filled(dataset, _staff(study.identity, study.site))
    filled(dataset, _equipment(study))
    return filled(dataset, _study(study, study.identity))


def filled(dataset: Dataset, values: Mapping[str, object]) -> Dataset:
    """Set elements by keyword, in place, and return the dataset."""
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def _patient(who: Identity, site: Site) -> dict[str, object]:
    return {
        "PatientName": who.patient_name,
        "PatientID": who.patient_id,
        "IssuerOfPatientID": site.institution,
        "OtherPatientIDs": who.other_id,
        "OtherPatientIDsSequence": Items(
            [filled(Dataset(), {"PatientID": who.other_id, "TypeOfPatientID": "TEXT"})]
        ),
        "OtherPatientNames": who.other_name,
        "PatientBirthName": who.other_name,
        "PatientMotherBirthName": who.mother,
        "ResponsiblePerson": who.mother,
        "PatientBirthDate": who.birth_date,
        "PatientSex": "F" if int(who.phone[-1]) % 2 else "M",
        "PatientAge": f"{int(who.study_date[:4]) - int(who.birth_date[:4]):03d}Y",
        "PatientWeight": str(50 + int(who.phone[-2:]) % 45),
        "PatientAddress": who.street,
        "RegionOfResidence": who.street,
        "PatientTelephoneNumbers": who.phone,
        "PatientComments": who.comment,
        "AdditionalPatientHistory": who.comment,
        "CurrentPatientLocation": site.department,
    }


def _study(study: Study, who: Identity) -> dict[str, object]:
    return {
        "StudyInstanceUID": study.study_uid,
        "StudyDate": who.study_date,
        "StudyTime": "101502.118000",
        "StudyID": who.study_id,
        "AccessionNumber": who.accession,
        "StudyDescription": who.study_description,
        "ImageComments": who.private_note,
        "PerformedProcedureStepID": who.procedure_id,
        "PerformedProcedureStepDescription": who.study_description,
        "PerformedProcedureStepStartDate": who.study_date,
        "RequestAttributesSequence": Items([_request(who)]),
        "ReferencedStudySequence": Items([_reference_to(study)]),
    }


def _request(who: Identity) -> Dataset:
    return filled(
        Dataset(),
        {
            "RequestedProcedureID": who.procedure_id,
            "ScheduledProcedureStepID": who.order,
            "RequestedProcedureDescription": who.study_description,
        },
    )


def _reference_to(study: Study) -> Dataset:
    # Detached Study Management, retired, is what archives still write here.
    values = {"ReferencedSOPClassUID": "1.2.840.10008.3.1.2.3.1", "ReferencedSOPInstanceUID": study.study_uid}
    return filled(Dataset(), values)


def _staff(who: Identity, site: Site) -> dict[str, object]:
    return {
        "ReferringPhysicianName": who.referring,
        "ReferringPhysicianAddress": who.street,
        "ReferringPhysicianTelephoneNumbers": who.phone,
        "ConsultingPhysicianName": who.referring,
        "PerformingPhysicianName": who.performing,
        "NameOfPhysiciansReadingStudy": who.reading,
        "PhysiciansOfRecord": who.reading,
        "OperatorsName": who.operator,
        "RequestingPhysician": who.requesting,
        "RequestingService": site.department,
    }


def _equipment(study: Study) -> dict[str, object]:
    site = study.site
    return {
        "InstitutionName": site.institution,
        "InstitutionAddress": site.address,
        "InstitutionalDepartmentName": site.department,
        "Manufacturer": site.manufacturer,
        "ManufacturerModelName": f"Phantom {study.modality}-{site.model}",
        "SoftwareVersions": site.software.split("\\"),
        "DeviceSerialNumber": site.serial,
        "DeviceUID": uid("device", site.serial),
        "StationName": "PHANTOM-TURNED" if study.is_turned else site.station,
    }
