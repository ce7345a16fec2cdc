"""Add what a hospital sends along and no release may use: overviews, reformats, screens, reports, rubbish."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from pydicom import Dataset
from pydicom.sequence import Sequence as Items

from pipeline.demo.anatomy import chance
from pipeline.demo.geometry import centred, cosines
from pipeline.demo.header import Study, patient_and_study
from pipeline.demo.objects import MEDIA_DIRECTORY, Series, encode, slices
from pipeline.demo.placing import Placing, Sent
from pipeline.demo.protocols import image_type, parameters, series_description

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
DOSE_REPORT = "1.2.840.10008.5.1.4.1.1.88.67"

_OVERVIEW = {"ge": "3-Plane Loc", "siemens": "localizer", "philips": "Survey", "canon": "Locator"}
_REFORMATS = {
    "ge": ("DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"),
    "siemens": ("DERIVED", "SECONDARY", "MPR"),
    "philips": ("DERIVED", "SECONDARY", "PROJECTION IMAGE"),
    "canon": ("DERIVED", "SECONDARY", "MIP"),
}


def extras_of(study: Study, index: int, reference: Series, placing: Placing) -> Sent:
    """Return what the hospital sends along with a subject; each kind comes with some subjects."""
    overview = _overview(study, reference)
    found = Sent(placing.series(overview, 1), overview)
    reformat = slices(study, _reformat(study, reference))
    found += Sent(placing.series(reformat, 20), reformat)
    if study.region == "PROSTATE":
        for number, series in enumerate(_other_prostate_series(study, reference), start=30):
            images = slices(study, series)
            found += Sent(placing.series(images, number), images)
    if index % 4 in (0, 3):
        found += _lone(placing, _screen(study), "SC000001")
    if study.modality == "CT" and index % 4 in (1, 2):
        found += _lone(placing, _dose_report(study), "SR000001")
    if study.site.layout == "nested":
        found += _lone(placing, _media_directory(study), "DICOMDIR")
    return found + Sent(_rubbish(study, index, placing), [])


def _lone(placing: Placing, dataset: Dataset, name: str) -> Sent:
    """Return one object in a file of its own, in the syntax that every archive can write."""
    content = encode(dataset, "explicit", placing.study.site.pacs)
    return Sent({f"{placing.folder}/{name}": content}, [dataset])


def _overview(study: Study, reference: Series) -> list[Dataset]:
    """Return a localizer: one slice in each of the three planes, in one series."""
    values = chance("localizer", *study.words).integers(0, 900, (3, 24, 20))
    found = []
    for number, plane in enumerate(("axial", "sagittal", "coronal"), start=1):
        place = centred(
            (24, 20, 1),
            cosines(plane, reference.acquisition.position),
            spacing_mm=(3.5, 3.5, 6.0),
            centre=reference.acquisition.origin,
            position=reference.acquisition.position,
        )
        series = replace(
            reference,
            name="localizer",
            number=1,
            description=_OVERVIEW[study.site.vendor],
            image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"),
            acquisition=place,
            stored=values[number - 1][:, :, None].astype(np.int32),
            instance_numbers=(number,),
            elements=parameters("liver-ct" if study.modality == "CT" else "t1", study.site.vendor),
        )
        found += slices(study, series)
    return found


def _reformat(study: Study, reference: Series) -> Series:
    """Return what a workstation made of the reference series: thicker slices of the same plane, averaged."""
    pairs = reference.stored.shape[2] // 2 * 2
    stored = (reference.stored[:, :, 0:pairs:2] + reference.stored[:, :, 1:pairs:2]) // 2
    # Repeated, so that there are as many slices as rules ask of a volume.
    stored = np.repeat(stored, 2, axis=2)
    return replace(
        reference,
        name="reformat",
        number=20,
        description="recon thick",
        image_type=_REFORMATS[study.site.vendor],
        stored=stored.astype(np.int32),
        instance_numbers=tuple(range(1, pairs + 1)),
    )


def _other_prostate_series(study: Study, reference: Series) -> list[Series]:
    """Return T2 in the two other planes and the diffusion trace: same person, same frame of reference."""
    vendor, place = study.site.vendor, reference.acquisition
    made: list[Series] = []
    for plane, protocol in (("sagittal", "t2-prostate"), ("coronal", "t2-prostate"), ("axial", "dwi")):
        shape = (26, 22, 12)
        made.append(
            Series(
                name=f"{protocol} {plane}",
                number=30 + len(made),
                description=series_description(protocol, vendor, plane),
                image_type=image_type(protocol, vendor),
                acquisition=centred(
                    shape,
                    cosines(plane, place.position),
                    spacing_mm=(1.2, 1.3, 4.2),
                    centre=place.origin,
                    position=place.position,
                ),
                stored=chance(protocol, plane, *study.words).integers(0, 1500, shape).astype(np.int32),
                instance_numbers=tuple(range(1, shape[2] + 1)),
                is_signed=reference.is_signed,
                rescale=reference.rescale,
                elements=parameters(protocol, vendor),
            )
        )
    return made


def drawn_text(lines: Sequence[str], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Return a picture, shape (rows, columns), with text burned in as white letters on grey."""
    columns, rows = size
    picture = Image.new("L", (columns, rows), 40)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default_imagefont()
    for number, line in enumerate(lines):
        # The built-in font knows Latin letters only; a screen would show the others as gaps, too.
        draw.text(
            (4, 4 + 12 * number), line.encode("latin-1", "replace").decode("latin-1"), fill=255, font=font
        )
    return np.asarray(picture)


def _object(study: Study, name: str, sop_class: str, modality: str) -> Dataset:
    dataset = patient_and_study(study)
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = study.instance_uid(name, 1)
    dataset.SeriesInstanceUID = study.series_uid(name)
    dataset.Modality = modality
    dataset.InstanceNumber = "1"
    dataset.ContentDate = study.identity.study_date
    dataset.ContentTime = "150944.875000"
    return dataset


def _screen(study: Study) -> Dataset:
    """Return a secondary capture in colour with the patient's name drawn in."""
    who = study.identity
    picture = drawn_text(
        [who.patient_name, who.patient_id, f"born {who.birth_date}", study.site.institution], (180, 64)
    )
    dataset = _object(study, "screen", SECONDARY_CAPTURE, study.modality)
    dataset.SeriesNumber = "99"
    dataset.SeriesDescription = "Screen Save"
    dataset.ConversionType = "WSD"
    dataset.ImageType = ["DERIVED", "SECONDARY", "SCREEN SAVE"]
    dataset.BurnedInAnnotation = "YES"
    dataset.SamplesPerPixel = 3
    dataset.PhotometricInterpretation = "RGB"
    dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = picture.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PixelData = np.repeat(picture[:, :, None], 3, axis=2).tobytes()
    return dataset


def _dose_report(study: Study) -> Dataset:
    """Return a dose report: no pixels, but who stood at the scanner."""
    dataset = _object(study, "dose", DOSE_REPORT, "SR")
    dataset.SeriesNumber = "997"
    dataset.SeriesDescription = "Dose Report"
    dataset.CompletionFlag, dataset.VerificationFlag = "COMPLETE", "UNVERIFIED"
    dataset.ValueType, dataset.ContinuityOfContent = "CONTAINER", "SEPARATE"
    dataset.ConceptNameCodeSequence = Items([_code("113701", "DCM", "X-Ray Radiation Dose Report")])
    observer = Dataset()
    observer.RelationshipType, observer.ValueType = "HAS OBS CONTEXT", "PNAME"
    observer.ConceptNameCodeSequence = Items([_code("121008", "DCM", "Person Observer Name")])
    observer.PersonName = study.identity.operator
    dataset.ContentSequence = Items([observer])
    return dataset


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def _media_directory(study: Study) -> Dataset:
    """Return a DICOMDIR (PS3.3 F) that names the patient and the study."""
    patient, examination = Dataset(), Dataset()
    for record, kind in ((patient, "PATIENT"), (examination, "STUDY")):
        record.OffsetOfTheNextDirectoryRecord = 0
        record.RecordInUseFlag = 0xFFFF
        record.OffsetOfReferencedLowerLevelDirectoryEntity = 0
        record.DirectoryRecordType = kind
        if study.site.character_set != "ISO_IR 6":
            record.SpecificCharacterSet = study.site.character_set
    patient.PatientName, patient.PatientID = study.identity.patient_name, study.identity.patient_id
    examination.StudyDate, examination.StudyTime = study.identity.study_date, "101502.118000"
    examination.StudyDescription = study.identity.study_description
    examination.StudyInstanceUID, examination.StudyID = study.study_uid, study.identity.study_id
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = MEDIA_DIRECTORY, study.instance_uid("dicomdir", 1)
    dataset.FileSetID = "PHANTOMCD"
    dataset.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity = 0
    dataset.OffsetOfTheLastDirectoryRecordOfTheRootDirectoryEntity = 0
    dataset.FileSetConsistencyFlag = 0
    dataset.DirectoryRecordSequence = Items([patient, examination])
    return dataset


def _rubbish(study: Study, index: int, placing: Placing) -> dict[str, bytes]:
    """Return what lies about in every export: a note, a cache of thumbnails, a picture that was cut off."""
    who, kind = study.identity, index % 3
    if kind == 0:
        text = f"{who.given} {who.family.title()} ({who.patient_id}), born {who.birth_date}.\r\n{who.comment}\r\n"
        return {f"{placing.folder}/README.txt": text.encode()}
    if kind == 1:
        marked = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504) + who.folder.encode("utf-16-le")
        return {f"{placing.folder}/Thumbs.db": marked}
    with BytesIO() as stream:
        Image.fromarray(drawn_text([who.patient_name], (96, 48))).save(stream, "JPEG")
        return {f"{placing.folder}/preview.jpg": stream.getvalue()[: len(stream.getvalue()) // 2]}
