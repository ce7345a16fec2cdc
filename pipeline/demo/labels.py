"""Write the expert's label as hospitals keep it: NIfTI, NRRD, DICOM SEG or RTSTRUCT."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import deflate
import highdicom as hd
import nibabel as nib
import numpy as np
import numpy.typing as npt
import SimpleITK
from pydicom import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.sr.coding import Code

from pipeline.demo.geometry import Acquisition, decimal_string, to_ras
from pipeline.demo.header import Study, patient_and_study
from pipeline.demo.outline import outlines
from pipeline.demo.sites import uid
from pipeline.model.volume import Affine

RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
LabelMap = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

_TISSUE = Code("85756007", "SCT", "Tissue")
_MORPHOLOGY = Code("49755003", "SCT", "Morphologically Abnormal Structure")


@dataclass(frozen=True, slots=True)
class Klass:
    """How experts call one class: spellings for contours and segments, and a segment's code.

    `holds` are the classes that lie inside it and that a segment of the whole organ includes; the rules'
    precedence takes them out again. Contours leave them out, as holes.
    """

    spellings: tuple[str, ...]
    code: Code
    holds: tuple[int, ...] = ()

    def spelling(self, number: int) -> str:
        """Return one of the spellings, in turn."""
        return self.spellings[number % len(self.spellings)]


_LESION = Code("108369006", "SCT", "Neoplasm")
_UNCODED = Code("85756007", "SCT", "Tissue")

CLASSES: Mapping[str, tuple[Klass, ...]] = {
    "Task01_BrainTumour": (
        Klass(("edema", "Oedema"), Code("79654002", "SCT", "Edema"), holds=(2, 3)),
        Klass(("non-enhancing tumor", "necrosis"), Code("6574001", "SCT", "Necrosis")),
        Klass(("enhancing tumor", "ET"), _UNCODED),
    ),
    "Task02_Heart": (Klass(("LA", "Left Atrium", "left_atrium"), Code("82471001", "SCT", "Left atrium")),),
    "Task03_Liver": (
        Klass(("Liver", "LIVER", "liver"), Code("10200004", "SCT", "Liver"), holds=(2,)),
        Klass(("liver tumor", "GTV", "Tumour"), _LESION),
    ),
    "Task04_Hippocampus": (
        Klass(("Anterior", "hippocampus head"), _UNCODED),
        Klass(("Posterior", "hippocampus body"), _UNCODED),
    ),
    "Task05_Prostate": (
        Klass(("PZ", "Peripheral Zone"), Code("279706003", "SCT", "Peripheral zone of the prostate")),
        Klass(("TZ", "Transition Zone"), Code("399384005", "SCT", "Transition zone of the prostate")),
    ),
    "Task06_Lung": (Klass(("GTV", "lung tumor", "GTVp"), _LESION),),
    "Task07_Pancreas": (
        Klass(("Pancreas", "pancreas"), Code("15776009", "SCT", "Pancreas"), holds=(2,)),
        Klass(("pancreatic mass", "Tumor"), _LESION),
    ),
    "Task08_HepaticVessel": (
        Klass(("Vessels", "hepatic veins", "vessel"), Code("59820001", "SCT", "Blood vessel")),
        Klass(("tumor", "liver lesion", "GTV"), _LESION),
    ),
    "Task09_Spleen": (Klass(("Spleen", "SPLEEN"), Code("78961009", "SCT", "Spleen")),),
    "Task10_Colon": (Klass(("GTV colon", "primary tumor"), _LESION),),
}
"""Task -> class -> how experts write it; each spelling is one that the task's rules map."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """An expert's label, shape (columns, rows, slices), and the stored image that it lies on."""

    task: str
    study: Study
    series: str
    acquisition: Acquisition
    values: LabelMap
    images: Sequence[Dataset]
    turn: int

    def contoured(self) -> dict[str, Mask]:
        """Return masks by ROI name: the classes, and by every other expert the outer contour, which is none."""
        names = [klass.spelling(self.turn) for klass in CLASSES[self.task]]
        masks = {name: self.values == value for value, name in enumerate(names, start=1)}
        if self.turn % 2:
            masks["BODY"] = np.zeros(self.values.shape, dtype=np.bool_)
            masks["BODY"][2:-2, 2:-2] = True
        return masks

    def segmented(self) -> dict[str, Mask]:
        """Return masks by segment label: the classes, each with what lies inside it."""
        return {
            klass.spelling(self.turn): np.isin(self.values, (value, *klass.holds))
            for value, klass in enumerate(CLASSES[self.task], start=1)
        }


def nifti_bytes(data: npt.NDArray[np.generic], affine: Affine, description: str = "") -> bytes:
    """Return a compressed NIfTI-1 file, qform and sform alike, the same bytes for the same values."""
    image = nib.Nifti1Image(np.asarray(data), affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units("mm")
    # NIfTI texts are bytes of no stated encoding; this program's site wrote UTF-8.
    image.header["descrip"] = description.encode()[:79]
    # Python 3.13 writes another gzip header than 3.11; this library is pinned.
    return bytes(deflate.gzip_compress(image.to_bytes(), 6))


def as_nifti(drawing: Drawing) -> bytes:
    """Return the label in the acquisition's own axis order; its description names the patient."""
    return nifti_bytes(drawing.values, drawing.acquisition.affine, _description(drawing))


def as_ras_nifti(drawing: Drawing) -> bytes:
    """Return the label in RAS+ axis order."""
    values, affine = to_ras(drawing.values, drawing.acquisition.affine)
    return nifti_bytes(values, affine, _description(drawing))


def _description(drawing: Drawing) -> str:
    return f"seg {drawing.study.identity.family} {drawing.study.identity.patient_id}"


def as_nrrd(drawing: Drawing) -> bytes:
    """Return the label as NRRD, LPS, as 3D Slicer and ITK write it."""
    place = drawing.acquisition
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(drawing.values.transpose(2, 1, 0)))
    image.SetOrigin(place.origin)
    image.SetSpacing((place.column_mm, place.row_mm, place.slice_mm))
    image.SetDirection(np.column_stack([place.along_row, place.along_column, place.normal]).ravel().tolist())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "label.nrrd"
        SimpleITK.WriteImage(image, str(path), useCompression=True)
        return path.read_bytes()


def as_seg(drawing: Drawing) -> Dataset:
    """Return the label as a binary DICOM SEG, one segment per class, written by highdicom."""
    masks = drawing.segmented()
    described = [
        hd.seg.SegmentDescription(
            number,
            name,
            segmented_property_category=_MORPHOLOGY if klass.code == _LESION else _TISSUE,
            segmented_property_type=klass.code,
            algorithm_type="MANUAL",
        )
        for number, (name, klass) in enumerate(zip(masks, CLASSES[drawing.task], strict=True), start=1)
    ]
    frames = np.stack([mask.transpose(2, 1, 0) for mask in masks.values()], axis=-1).astype(np.uint8)
    study = drawing.study
    with warnings.catch_warnings():
        # highdicom warns of made-up elements that it copies; they are meant to be there.
        warnings.simplefilter("ignore")
        segmentation = hd.seg.Segmentation(
            source_images=list(drawing.images),
            pixel_array=frames,
            segmentation_type="BINARY",
            segment_descriptions=described,
            series_instance_uid=study.series_uid("seg"),
            series_number=900,
            sop_instance_uid=study.instance_uid("seg", 1),
            instance_number=1,
            manufacturer="Phantom Draw",
            manufacturer_model_name="Phantom SEG",
            software_versions="phantom 1",
            device_serial_number=study.site.serial,
            content_creator_name=study.identity.reading,
            content_label="SEGMENTATION",
        )
    return _without_clock(segmentation, study)


def _without_clock(segmentation: Dataset, study: Study) -> Dataset:
    """Replace the times and UIDs that highdicom took from the clock and from chance."""
    date = study.identity.study_date
    for element in segmentation.iterall():
        if element.VR == "DA" and element.keyword in ("ContentDate", "InstanceCreationDate", "SeriesDate"):
            element.value = date
        elif element.VR == "TM" and element.keyword in ("ContentTime", "InstanceCreationTime", "SeriesTime"):
            element.value = "141507.625000"
        elif element.VR == "DT":
            element.value = f"{date}141507.625000"
        elif element.keyword == "DimensionOrganizationUID":
            element.value = uid("dimensions", *study.words)
    plain = Dataset()
    plain.update(segmentation)
    return plain


def as_rtstruct(drawing: Drawing) -> Dataset:
    """Return the label as an RT Structure Set whose contours follow the voxels' edges."""
    study = drawing.study
    dataset = patient_and_study(study)
    dataset.SOPClassUID = RTSTRUCT
    dataset.SOPInstanceUID = study.instance_uid("rtstruct", 1)
    dataset.Modality = "RTSTRUCT"
    dataset.SeriesInstanceUID = study.series_uid("rtstruct")
    dataset.SeriesNumber = "901"
    dataset.SeriesDescription = "contours"
    dataset.StructureSetLabel = "PLAN1"
    dataset.StructureSetDate = study.identity.study_date
    dataset.StructureSetTime = "142233.375000"
    dataset.InstanceNumber = "1"
    masks = drawing.contoured()
    dataset.ReferencedFrameOfReferenceSequence = Items([_referenced_frame(drawing)])
    dataset.StructureSetROISequence = Items(
        [_roi(study, number, name) for number, name in enumerate(masks, 1)]
    )
    dataset.ROIContourSequence = Items(
        [_contours(drawing, number, mask) for number, mask in enumerate(masks.values(), 1)]
    )
    dataset.RTROIObservationsSequence = Items(
        [_observation(study, number) for number in range(1, len(masks) + 1)]
    )
    return dataset


def _referenced_frame(drawing: Drawing) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID = drawing.study.series_uid(drawing.series)
    series.ContourImageSequence = Items([_reference(image) for image in drawing.images])
    study = Dataset()
    study.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"
    study.ReferencedSOPInstanceUID = drawing.study.study_uid
    study.RTReferencedSeriesSequence = Items([series])
    frame = Dataset()
    frame.FrameOfReferenceUID = drawing.study.frame_uid
    frame.RTReferencedStudySequence = Items([study])
    return frame


def _reference(image: Dataset) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = image.SOPClassUID
    reference.ReferencedSOPInstanceUID = image.SOPInstanceUID
    return reference


def _roi(study: Study, number: int, name: str) -> Dataset:
    roi = Dataset()
    roi.ROINumber = str(number)
    roi.ReferencedFrameOfReferenceUID = study.frame_uid
    roi.ROIName = name
    roi.ROIDescription = f"drawn for {study.identity.family}"
    roi.ROIGenerationAlgorithm = "MANUAL"
    return roi


def _contours(drawing: Drawing, number: int, mask: Mask) -> Dataset:
    affine = drawing.acquisition.affine * np.array([[-1.0], [-1.0], [1.0], [1.0]])
    items = []
    for k in range(mask.shape[2]):
        for loop in outlines(mask[:, :, k]):
            indices = np.column_stack([loop, np.full(len(loop), k), np.ones(len(loop))])
            items.append(_contour(drawing.images[k], (indices @ affine.T)[:, :3]))
    roi = Dataset()
    roi.ReferencedROINumber = str(number)
    roi.ROIDisplayColor = ["255", str(60 * number % 256), "0"]
    roi.ContourSequence = Items(items)
    return roi


def _contour(image: Dataset, points: npt.NDArray[np.float64]) -> Dataset:
    contour = Dataset()
    contour.ContourImageSequence = Items([_reference(image)])
    contour.ContourGeometricType = "CLOSED_PLANAR"
    contour.NumberOfContourPoints = str(len(points))
    contour.ContourData = [decimal_string(round(float(x), 6)) for x in points.ravel()]
    return contour


def _observation(study: Study, number: int) -> Dataset:
    observation = Dataset()
    observation.ObservationNumber = str(number)
    observation.ReferencedROINumber = str(number)
    observation.RTROIInterpretedType = "ORGAN"
    observation.ROIInterpreter = study.identity.reading
    return observation
