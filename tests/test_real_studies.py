"""A real prostate study becomes the case that Task05 means, or is refused for what is wrong with it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage

from pipeline import case, export
from pipeline.index import index
from pipeline.io import store
from pipeline.io.workspace import Workspace, create
from pipeline.model.identified import Key
from pipeline.model.record import Finished
from pipeline.plan import TaskPlan, plan
from pipeline.planned import planned

TASK = "Task05_Prostate"
T2, ADC, SAGITTAL = (
    "4.000000-t2tsetra-00702",
    "7.000000-ep2ddifftraDYNDISTADC-48780",
    "3.000000-t2tsesag-87368",
)


@pytest.fixture
def study(real: Path) -> Path:
    return real / "prostatex-0000/complete/07-07-2011"


def slices_of(folder: Path) -> list[Dataset]:
    """Return a series in the order of its normal."""
    read = [pydicom.dcmread(path) for path in folder.iterdir()]
    row, column = np.array(read[0].ImageOrientationPatient, dtype=float).reshape(2, 3)
    return sorted(read, key=lambda one: float(np.dot(np.cross(row, column), one.ImagePositionPatient)))


def voxels_of(slices: list[Dataset]) -> np.ndarray:
    """Return stored values (columns, rows, slices), turned to RAS+; the series is axial, feet at its start."""
    data = np.stack([one.pixel_array.T for one in slices], axis=-1)
    return data[::-1, ::-1]


def square(image: Dataset, low: int, high: int) -> list[float]:
    """Return the corners of a square in a slice, through places between pixel centres, in mm."""
    row, column = np.array(image.ImageOrientationPatient, dtype=float).reshape(2, 3)
    down, across = (float(step) for step in image.PixelSpacing)
    origin = np.array(image.ImagePositionPatient, dtype=float)
    ends = [(low, low), (high, low), (high, high), (low, high)]
    points = [origin + row * across * (i - 0.5) + column * down * (j - 0.5) for i, j in ends]
    return [round(float(number), 6) for number in np.concatenate(points)]


def write_zones(path: Path, slices: list[Dataset], **given: Any) -> None:
    """Write an RTSTRUCT of two zones, squares on the fourth slice to the ninth."""
    first = slices[0]
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.Modality = RTStructureSetStorage, "RTSTRUCT"
    made.SOPInstanceUID, made.SeriesInstanceUID = "1.2.3.4", "1.2.3"
    made.StudyInstanceUID, made.PatientID = first.StudyInstanceUID, first.PatientID
    series, refers, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = first.SeriesInstanceUID
    refers.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID, frame.RTReferencedStudySequence = first.FrameOfReferenceUID, [refers]
    made.ReferencedFrameOfReferenceSequence = [frame]
    made.StructureSetROISequence, made.ROIContourSequence = [], []
    for number, (name, low, high) in enumerate((("PZ", 150, 170), ("TZ", 180, 196)), start=1):
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = number, name
        roi.ReferencedFrameOfReferenceUID = first.FrameOfReferenceUID
        drawn.ReferencedROINumber, drawn.ContourSequence = number, []
        for image in slices[3:9]:
            contour = Dataset()
            contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", 4
            contour.ContourData = square(image, low, high)
            drawn.ContourSequence.append(contour)
        made.StructureSetROISequence.append(roi)
        made.ROIContourSequence.append(drawn)
    for keyword, value in given.items():
        setattr(made, keyword, value)
    made.save_as(path, enforce_file_format=True)


def planned_from(source: Path, folder: Path) -> tuple[Workspace, TaskPlan]:
    (folder / "key").write_text("07" * 32)
    workspace = create(folder / "workspace", folder / "key")
    index(workspace, [source], TASK, lambda *_: None)
    (made,) = plan(workspace, [TASK])
    return workspace, made


def finished(workspace: Workspace) -> tuple[np.ndarray, np.ndarray, Mapping[str, Any]]:
    (request,) = planned(workspace, [TASK])[0].requests
    outcome = case.run(request, lambda _: None)
    assert isinstance(outcome, Finished), outcome
    record = store.find(workspace.store, outcome.entry)
    assert record is not None
    folder = workspace.store / outcome.entry
    image, label = (nib.load(folder / name) for name in ("image.nii.gz", "label.nii.gz"))
    assert np.array_equal(image.affine, label.affine)
    return image.get_fdata(), np.asanyarray(label.dataobj), record


def test_the_study_gives_t2_as_it_is_adc_in_its_units_and_the_zones_where_they_were_drawn(
    study: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    shutil.copytree(study, source)
    slices = slices_of(study / T2)
    write_zones(source / "zones.dcm", slices)
    workspace, made = planned_from(source, tmp_path)
    assert made.refusals == []
    folders = {
        name: {Path(ref.path).parent.name for ref in refs} for name, refs in made.cases[0].channels.items()
    }
    assert folders == {"T2": {T2}, "ADC": {ADC}}
    image, label, record = finished(workspace)
    stored = voxels_of(slices).astype(np.float64)
    low, high = np.percentile(stored, [0.5, 99.5])
    assert np.allclose(image[..., 0], np.clip((stored - low) / (high - low), 0, 1) * 1000, atol=0.01)
    zones = np.zeros(stored.shape, np.uint8)
    zones[150:170, 150:170, 3:9], zones[180:196, 180:196, 3:9] = 1, 2
    assert np.array_equal(label, zones[::-1, ::-1])
    adc = voxels_of(slices_of(study / ADC))
    assert adc.min() <= image[..., 1].min()
    assert image[..., 1].max() <= adc.max()
    notes = {(note["channel"], note["stage"]): note for note in record["notes"]}
    assert notes["T2", "align"]["resampled"] is False
    assert (notes["ADC", "align"]["interpolation"], notes["ADC", "convert"]["quantity"]) == ("linear", "adc")


def test_a_study_whose_t2_lacks_a_slice_is_refused(study: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(study, source)
    write_zones(source / "zones.dcm", slices_of(study / T2))
    sorted((source / T2).iterdir())[9].unlink()
    workspace, _ = planned_from(source, tmp_path)
    outcomes = [case.run(request, lambda _: None) for request in planned(workspace, [TASK])[0].requests]
    assert [getattr(outcome, "code", "") for outcome in outcomes] == ["missing-slice"]


def test_the_twin_that_lacks_a_slice_is_refused(real: Path) -> None:
    twin = real / "prostatex-0000/missing-slice-ProstateX-0000"
    made = export.preview_sources([twin], key=Key(b"k" * 32), told=lambda *_: None)
    assert [row["code"] for row in made.refused] == ["missing-slice"]
    assert made.written == []


@pytest.mark.parametrize(
    ("drawn_on", "given", "code"),
    [
        (SAGITTAL, {}, "label-other-image"),
        (T2, {"PatientID": "another"}, "label-other-patient"),
    ],
)
def test_a_label_of_another_series_or_patient_is_refused(
    drawn_on: str, given: Mapping[str, str], code: str, study: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    shutil.copytree(study, source)
    write_zones(source / "zones.dcm", slices_of(study / drawn_on), **given)
    _, made = planned_from(source, tmp_path)
    assert [refusal.code for refusal in made.refusals] == [code]


def test_a_label_in_another_frame_of_reference_is_refused(study: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(study, source)
    slices = slices_of(study / T2)
    slices[0].FrameOfReferenceUID = "1.2.3.9"
    write_zones(source / "zones.dcm", slices)
    workspace, made = planned_from(source, tmp_path)
    codes = [refusal.code for refusal in made.refusals]
    outcomes = [case.run(request, lambda _: None) for request in planned(workspace, [TASK])[0].requests]
    assert codes + [getattr(outcome, "code", "") for outcome in outcomes] == ["frame-of-reference"]
