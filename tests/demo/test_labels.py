from __future__ import annotations

import gzip
import io
import re
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
import SimpleITK
from phantom_reading import Phantom, along_normal
from pydicom import Dataset

from pipeline.demo.labels import CLASSES, nifti_bytes
from pipeline.io.ruleset import load_rules

RULES = load_rules()
every_task = pytest.mark.parametrize("task", sorted(CLASSES))


def holds(pattern: str, text: str) -> bool:
    return re.fullmatch(pattern, text, re.IGNORECASE) is not None


@every_task
def test_every_spelling_is_mapped_to_its_class_and_to_no_other(task: str) -> None:
    rules = RULES[task].rules.label
    assert len(CLASSES[task]) == len(rules.classes)
    for number, klass in enumerate(CLASSES[task]):
        for spelling in klass.spellings:
            mapped = [
                n for n, rule in enumerate(rules.classes) if any(holds(p, spelling) for p in rule.from_names)
            ]
            assert mapped == [number], spelling


@every_task
def test_the_outer_contour_is_ignored_where_contours_are_drawn(task: str) -> None:
    ignore = RULES[task].rules.label.ignore

    assert any(holds(pattern, "BODY") for pattern in ignore) or task == "Task04_Hippocampus"


def labelled(phantom: Phantom, kind: str) -> list[tuple[str, dict[str, Any], bytes]]:
    """Return task, subject and the label's bytes of every label of a kind, archives opened."""
    found = []
    for task, subject in phantom.subjects():
        label = subject["label"]
        if label is not None and label["kind"] == kind:
            names = [name for name in phantom.files if name.startswith(f"{task}/{label['source']}")]
            if not names:
                names = [name for name in phantom.files if name.startswith(Path(label["source"]).name)]
            names = [name for name in names if re.search(r"RTSS|SEG\d|egmentation|mask_", Path(name).name)]
            assert len(names) == 1, names
            found.append((task, subject, phantom.files[names[0]]))
    assert found
    return found


def right(phantom: Phantom, subject: dict[str, Any]) -> npt.NDArray[np.uint8]:
    """Return the true label as it is stored: turned where the subject is, RAS+."""
    values, _ = phantom.load(subject["label"]["file"])
    turned: npt.NDArray[np.uint8] = values[::-1, ::-1] if subject["turned"] else values
    return turned


@pytest.mark.parametrize("kind", ["nifti", "nifti-ras"])
def test_nifti_labels_are_the_truth_on_the_images_grid(phantom: Phantom, kind: str) -> None:
    for _, subject, content in labelled(phantom, kind):
        image = nib.Nifti1Image.from_bytes(gzip.decompress(content))
        closest = nib.as_closest_canonical(image)
        first = next(iter(subject["channels"].values()))

        assert np.array_equal(np.asarray(closest.dataobj), right(phantom, subject))
        assert np.abs(closest.affine - first["affine"]).max() < 1e-4
        assert kind == "nifti" or nib.aff2axcodes(image.affine) == ("R", "A", "S")


def test_nrrd_labels_are_the_truth_on_the_images_grid(phantom: Phantom, tmp_path: Path) -> None:
    for _, subject, content in labelled(phantom, "nrrd"):
        (tmp_path / "label.nrrd").write_bytes(content)
        image = SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(tmp_path / "label.nrrd")), "RAS")
        first = next(iter(subject["channels"].values()))
        origin = np.array(image.GetOrigin()) * (-1, -1, 1)

        assert np.array_equal(SimpleITK.GetArrayFromImage(image).T, right(phantom, subject))
        assert np.abs(origin - np.array(first["affine"])[:3, 3]).max() < 1e-4


def on_the_image(phantom: Phantom, subject: dict[str, Any]) -> tuple[list[Dataset], npt.NDArray[np.float64]]:
    """Return the first channel's slices in order, and the affine from (column, row, slice) to LPS+ mm."""
    series = next(iter(subject["channels"].values()))["series"]
    slices = phantom.series[series]
    row, column = np.split(np.array(slices[0].ImageOrientationPatient, dtype=float), 2)
    ordered = sorted(slices, key=along_normal)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * ordered[0].PixelSpacing[1], column * ordered[0].PixelSpacing[0]
    ends = [np.array(ordered[end].ImagePositionPatient, dtype=float) for end in (0, -1)]
    affine[:3, 2], affine[:3, 3] = (ends[1] - ends[0]) / (len(ordered) - 1), ends[0]
    return ordered, affine


def to_ras(values: npt.NDArray[np.uint8], affine: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    image = nib.as_closest_canonical(nib.Nifti1Image(values, np.diag([-1, -1, 1, 1]) @ affine))
    return np.asarray(image.dataobj).astype(np.uint8)


def test_segments_are_the_truth_where_their_frames_lie(phantom: Phantom) -> None:
    for task, subject, content in labelled(phantom, "seg"):
        dataset = pydicom.dcmread(io.BytesIO(content))
        slices, affine = on_the_image(phantom, subject)
        values = np.zeros((len(CLASSES[task]), slices[0].Columns, slices[0].Rows, len(slices)), dtype=bool)
        frames = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
        shared = dataset.SharedFunctionalGroupsSequence[0]
        for frame, place in zip(frames, dataset.PerFrameFunctionalGroupsSequence, strict=True):
            segment = place if "SegmentIdentificationSequence" in place else shared
            number = segment.SegmentIdentificationSequence[0].ReferencedSegmentNumber
            where = np.array([*place.PlanePositionSequence[0].ImagePositionPatient, 1], dtype=float)
            i, j, k = np.rint(np.linalg.solve(affine, where)[:3]).astype(int)
            assert (i, j) == (0, 0)
            values[number - 1, :, :, k] |= frame.T.astype(bool)
        inner_first = np.zeros(values.shape[1:], dtype=np.uint8)
        for number in range(len(values)):
            inner_first[values[number]] = number + 1

        assert np.array_equal(to_ras(inner_first, affine), right(phantom, subject))


def crossed(polygon: npt.NDArray[np.float64], columns: int, rows: int) -> npt.NDArray[np.bool_]:
    """Whether a ray along i from each pixel centre meets the polygon an odd number of times, shape (columns, rows)."""
    odd = np.zeros((columns, rows), dtype=bool)
    i, j = np.indices((columns, rows))
    for start, end in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        spans = (min(start[1], end[1]) < j) & (j < max(start[1], end[1]))
        if spans.any():
            odd ^= spans & (start[0] + (j - start[1]) / (end[1] - start[1]) * (end[0] - start[0]) > i)
    return odd


def test_contours_are_the_truth_by_even_odd_at_voxel_centres(phantom: Phantom) -> None:
    holes = 0
    for task, subject, content in labelled(phantom, "rtstruct"):
        dataset = pydicom.dcmread(io.BytesIO(content))
        slices, affine = on_the_image(phantom, subject)
        values = np.zeros((slices[0].Columns, slices[0].Rows, len(slices)), dtype=np.uint8)
        spellings = [{name.casefold() for name in klass.spellings} for klass in CLASSES[task]]
        numbers = {
            roi.ROINumber: n
            for roi in dataset.StructureSetROISequence
            for n, names in enumerate(spellings, start=1)
            if roi.ROIName.casefold() in names
        }
        for roi in dataset.ROIContourSequence:
            mask = np.zeros(values.shape, dtype=bool)
            for contour in roi.ContourSequence:
                points = np.reshape(np.array(contour.ContourData, dtype=float), (-1, 3))
                indices = np.linalg.solve(affine, np.column_stack([points, np.ones(len(points))]).T).T
                k = int(np.rint(indices[0, 2]))
                assert np.abs(indices[:, 2] - k).max() < 1e-4
                polygon = crossed(indices[:, :2], *values.shape[:2])
                holes += bool((polygon & mask[:, :, k]).any())
                mask[:, :, k] ^= polygon
            if roi.ReferencedROINumber in numbers:
                values[mask] = numbers[roi.ReferencedROINumber]

        assert np.array_equal(to_ras(values, affine), right(phantom, subject)), task
    assert holes, "one region has a hole"


def test_contours_and_segments_refer_to_the_series_they_were_drawn_on(phantom: Phantom) -> None:
    for kind in ("seg", "rtstruct"):
        for _, subject, content in labelled(phantom, kind):
            dataset = pydicom.dcmread(io.BytesIO(content))
            series = next(iter(subject["channels"].values()))["series"]
            images = {str(image.SOPInstanceUID) for image in phantom.series[series]}
            referred = {str(e.value) for e in dataset.iterall() if e.keyword == "ReferencedSOPInstanceUID"}

            assert str(dataset.StudyInstanceUID) == subject["study"]
            assert referred & images
            assert referred - images <= {str(subject["study"])}


def test_the_same_values_give_the_same_file_whatever_their_memory_order() -> None:
    values = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)

    assert nifti_bytes(values, np.eye(4)) == nifti_bytes(np.asfortranarray(values), np.eye(4))
