"""Series of odd kinds, from files to volumes: the right voxels at the right millimetres, or a code."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from placed_source import Source, ramp
from pydicom.dataset import Dataset
from pydicom.misc import is_dicom

from pipeline import export
from pipeline.index import look
from pipeline.io.dicom import read_dataset
from pipeline.io.policy import load_policy
from pipeline.io.source import read_refs
from pipeline.model.errors import CurationError
from pipeline.model.identified import Identified, Key
from pipeline.model.plan import refs_and_frames
from pipeline.model.series import Stack
from pipeline.model.volume import Quantity, Volume
from pipeline.stages.convert import convert
from pipeline.stages.deidentify import deidentify
from pipeline.stages.ingest import ingest
from pipeline.stages.orient import orient
from pipeline.stages.unfold import unfold

NAMED = {
    "StudyInstanceUID": "1.1",
    "SeriesInstanceUID": "1.1.1",
    "PatientID": "p",
    "FrameOfReferenceUID": "1.9",
}


def volume_of(stack: Stack) -> Volume | str:
    """Return a stack's volume in RAS+, or the code of its refusal."""
    try:
        if stack.code is not None:
            return stack.code
        refs, frames = refs_and_frames(stack)
        datasets: Sequence[Dataset] = [read_dataset(content) for content in read_refs(refs)]
        if frames:
            unfolded = [unfold(dataset) for dataset in datasets]
            datasets = [unfolded[file][frame] for file, frame in frames]
        return orient(convert(datasets, Quantity.ARBITRARY).value).value
    except CurationError as error:
        return error.code


def made(folder: Path) -> list[Volume | str]:
    return [volume_of(stack) for stack in ingest(look(folder, lambda *_: None)).stacks]


def check_same(volume: Volume | str, source: Source) -> None:
    """Look each of the source's voxels up at its millimetre."""
    assert isinstance(volume, Volume), volume
    assert volume.data.size == source.stored.size
    indices = np.indices(source.stored.shape).reshape(3, -1)
    places = np.linalg.inv(volume.affine) @ source.affine @ np.vstack([indices, np.ones_like(indices[0])])
    whole = np.rint(places[:3]).astype(int)
    np.testing.assert_allclose(places[:3], whole, atol=1e-3)
    np.testing.assert_allclose(volume.data[tuple(whole)], source.values.reshape(-1), rtol=1e-6)


POSITIONS = {
    "HFS": (1, 0, 0, 0, 1, 0), "HFP": (-1, 0, 0, 0, -1, 0), "FFS": (1, 0, 0, 0, 1, 0), "FFP": (-1, 0, 0, 0, -1, 0),
    "HFDR": (0, 1, 0, -1, 0, 0), "HFDL": (0, -1, 0, 1, 0, 0), "FFDR": (0, -1, 0, 1, 0, 0), "FFDL": (0, 1, 0, -1, 0, 0),
}  # fmt: skip
"""PatientPosition -> cosines of an axial image that the scanner leaves as it was acquired."""


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("step", [2.0, -2.0])
def test_a_patient_may_lie_in_any_way_and_slices_run_in_both(
    tmp_path: Path, position: str, step: float
) -> None:
    source = Source(ramp(), orientation=POSITIONS[position], step=step, spacing=(2.5, 0.5))
    source.write(tmp_path, **NAMED, PatientPosition=position)
    (volume,) = made(tmp_path)
    check_same(volume, source)


@pytest.mark.parametrize("count", [2, 1])
def test_two_slices_are_a_volume_and_one_is_none(tmp_path: Path, count: int) -> None:
    source = Source(ramp(slices=count))
    source.write(tmp_path, **NAMED)
    (volume,) = made(tmp_path)
    if count == 1:
        assert volume == "single-slice"
    else:
        check_same(volume, source)


def enhanced(path: Path, source: Source, **elements: Any) -> Dataset:
    dataset = pydicom.dcmread(source.write_enhanced(path))
    for keyword, value in {**NAMED, **elements}.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)
    return dataset


def test_an_enhanced_image_equals_the_classic_one_with_a_rescale_for_each_frame(tmp_path: Path) -> None:
    source = Source(ramp(), slopes=(1, 0.5, 3))
    source.write(tmp_path / "classic", **NAMED, Modality="MR")
    enhanced(tmp_path / "enhanced", source, SeriesInstanceUID="1.1.2")
    first, second = made(tmp_path)

    check_same(first, source)
    check_same(second, source)


def test_dimension_indices_that_do_not_follow_space_move_no_slice(tmp_path: Path) -> None:
    source = Source(ramp())
    dataset = enhanced(tmp_path / "enhanced", source)
    for number, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        content = Dataset()
        content.DimensionIndexValues, content.InStackPositionNumber = (
            [1, (2, 3, 1)[number]],
            (2, 3, 1)[number],
        )
        frame.FrameContentSequence = [content]
    dataset.save_as(tmp_path / "enhanced")
    (volume,) = made(tmp_path)
    check_same(volume, source)


@pytest.mark.parametrize("told_by", ["FrameType", "ComplexImageComponent"])
def test_magnitude_and_phase_frames_of_one_image_are_two_volumes(tmp_path: Path, told_by: str) -> None:
    stored = np.concatenate([ramp(), ramp() + 100], axis=2)
    source = Source(stored)
    dataset = enhanced(tmp_path / "enhanced", source)
    values = {"FrameType": (["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"]),
              "ComplexImageComponent": ("MAGNITUDE", "PHASE")}[told_by]  # fmt: skip
    # Frames are written from the last one on: the second kind comes first, on the places of the first.
    for number, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        k = stored.shape[2] - 1 - number
        kind = Dataset()
        setattr(kind, told_by, values[k // 3])
        frame.MRImageFrameTypeSequence = [kind]
        frame.PlanePositionSequence[0].ImagePositionPatient = source.position(k % 3)
    dataset.save_as(tmp_path / "enhanced")
    volumes = sorted(made(tmp_path), key=lambda volume: volume.data.max())

    check_same(volumes[0], Source(ramp()))
    check_same(volumes[1], Source(ramp() + 100))


def test_two_stacks_of_one_enhanced_image_are_two_volumes(tmp_path: Path) -> None:
    source = Source(np.concatenate([ramp(), ramp() + 100], axis=2))
    other = Source(ramp() + 100, orientation=(0, 1, 0, 0, 0, -1))
    dataset = enhanced(tmp_path / "enhanced", source)
    for number, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        k = 5 - number
        plane = Dataset()
        plane.ImageOrientationPatient = list((source if k < 3 else other).orientation)
        frame.PlaneOrientationSequence = [plane]
        frame.PlanePositionSequence[0].ImagePositionPatient = (source if k < 3 else other).position(k % 3)
    del dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    dataset.save_as(tmp_path / "enhanced")
    volumes = sorted(made(tmp_path), key=lambda volume: volume.data.max())

    check_same(volumes[0], Source(ramp()))
    check_same(volumes[1], other)


def test_one_series_over_folders_and_two_in_one_are_told_by_their_uid(tmp_path: Path) -> None:
    sources = Source(ramp()), Source(ramp() + 100)
    for number, source in enumerate(sources):
        for place, path in enumerate(
            source.write(tmp_path / "made", **{**NAMED, "SeriesInstanceUID": f"1.1.{number}"})
        ):
            target = tmp_path / "source" / f"DIR{place}" / f"IM{number}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, target)
    volumes = sorted(made(tmp_path / "source"), key=lambda volume: volume.data.max())
    for volume, source in zip(volumes, sources, strict=True):
        check_same(volume, source)


def rewritten(paths: Sequence[Path], **elements: Any) -> None:
    """Change elements of files; a value may be a function of the file's number."""
    for number, path in enumerate(paths):
        dataset = pydicom.dcmread(path)
        for keyword, value in elements.items():
            setattr(dataset, keyword, value(number) if callable(value) else value)
        dataset.save_as(path)


def test_slices_sent_twice_under_new_names_are_refused(tmp_path: Path) -> None:
    Source(ramp()).write(tmp_path / "1", **NAMED)
    rewritten(Source(ramp()).write(tmp_path / "2", **NAMED), SOPInstanceUID=lambda number: f"1.5.{number}")
    assert made(tmp_path) == ["duplicate-positions"]


def test_slice_location_places_no_slice(tmp_path: Path) -> None:
    paths = Source(ramp()).write(tmp_path, **NAMED)
    rewritten(paths, ImagePositionPatient=[0, 0, 0], SliceLocation=lambda number: 2 * number)
    assert made(tmp_path) == ["duplicate-positions"]


def test_one_position_that_jumps_is_refused_whatever_the_slice_location_says(tmp_path: Path) -> None:
    source = Source(ramp(slices=6), orientation=(1, 0, 0, 0, 1, 0))
    paths = source.write(tmp_path, **NAMED)
    dataset = pydicom.dcmread(paths[2])
    dataset.SliceLocation, dataset.ImagePositionPatient = (
        dataset.ImagePositionPatient[2],
        [10.5, -20.25, 39.3],
    )
    dataset.save_as(paths[2])
    assert made(tmp_path) in (["missing-slice"], ["variable-spacing"])


@pytest.mark.parametrize(("digits", "is_made"), [(1, True), (0, False)])
def test_positions_rounded_to_a_tenth_are_even_and_to_a_millimetre_are_not(
    tmp_path: Path, digits: int, is_made: bool
) -> None:
    source = Source(ramp(slices=9), orientation=(1, 0, 0, 0, 1, 0), step=1.25)
    for path in source.write(tmp_path, **NAMED):
        dataset = pydicom.dcmread(path)
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, y, round(float(z), digits)]
        dataset.save_as(path)
    (volume,) = made(tmp_path)
    assert isinstance(volume, Volume) == is_made
    if isinstance(volume, Volume):
        assert abs(volume.affine[2, 2] - 1.25) < 0.02


# What conversion needs passes the door


PRIVATE = (
    "mr-4d/siemens-mosaic", "mr-uih-grid", "mr-enhanced/In/Siemens/XA10",
    "miniatures/philips_enhanced/dti/001", "miniatures/hitachi/anatomical/001", "miniatures/hyperfine/anatomical/001",
)  # fmt: skip
"""Series whose layout, b-values or rescale stand in private elements or functional groups."""


def facts_of_slices(stack: Stack, datasets: Sequence[Dataset]) -> tuple[Volume, list[str]]:
    """Return the volume, and each slice's b-value and gradient direction."""
    _, frames = refs_and_frames(stack)
    unfolded = [unfold(dataset) for dataset in datasets] if frames else [(dataset,) for dataset in datasets]
    slices = [unfolded[file][frame] for file, frame in frames] if frames else list(datasets)
    weights = [f"{one.get('DiffusionBValue')} {one.get('DiffusionGradientOrientation')}" for one in slices]
    return convert(slices, Quantity.ARBITRARY).value, weights


@pytest.mark.parametrize("name", PRIVATE)
def test_de_identification_changes_no_voxel_no_place_and_no_b_value(real: Path, name: str) -> None:
    policy, key = load_policy(None), Key(bytes(32))
    stacks = ingest(look((real / name).resolve(), lambda *_: None)).stacks
    # The first and the last volume of a series of many tell as much as all of them.
    for stack in {id(stack): stack for stack in (stacks[0], stacks[-1])}.values():
        datasets = [read_dataset(content) for content in read_refs(refs_and_frames(stack)[0])]
        before, weights = facts_of_slices(stack, datasets)
        clean = deidentify(Identified(datasets), policy=policy, key=key, vocabulary=()).value
        after, kept = facts_of_slices(stack, clean)

        np.testing.assert_array_equal(after.data, before.data)
        np.testing.assert_array_equal(after.affine, before.affine)
        assert kept == weights


# Tilted gantries, resampled


NEAR = np.stack(np.meshgrid(range(-4, 5), range(-4, 5), range(-1, 2), indexing="ij"), axis=-1).reshape(-1, 3)
"""The voxels around a corner that are looked at: with a tilt, some of them lie beside the next slice."""


def millimetres(dataset: Dataset, index: np.ndarray) -> np.ndarray:
    """Where a slice's own header puts columns and rows, shape (..., 2), in RAS+ mm (PS3.3 C.7.6.2.1.1)."""
    row, column = np.split(np.array(dataset.ImageOrientationPatient, float), 2)
    between_rows, between_columns = map(float, dataset.PixelSpacing)
    across, down = index[..., :1] * between_columns * row, index[..., 1:] * between_rows * column
    lps: np.ndarray = np.array(dataset.ImagePositionPatient, float) + across + down
    return lps * [-1, -1, 1]


def resampled_places(slices: Sequence[Dataset]) -> tuple[np.ndarray, np.ndarray]:
    """Return what `--resample` makes of slices whose values are their own x, y and z in mm, and its affine."""
    geometry, read = export.choose(None, resample=True).geometry, []
    for axis in range(3):
        for dataset in slices:
            index = np.stack(np.meshgrid(np.arange(dataset.Columns), np.arange(dataset.Rows)), axis=-1)
            stored = np.rint(millimetres(dataset, index)[..., axis] * 100).astype("<i2")
            dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 15, 1
            dataset.RescaleSlope, dataset.RescaleIntercept = "0.01", "0"
            dataset.PixelData = stored.tobytes()
        volume = orient(convert(slices, Quantity.HOUNSFIELD, geometry=geometry).value).value
        read.append(volume.data)
    return np.stack(read, axis=-1), volume.affine


def was_measured(slices: Sequence[Dataset], places: np.ndarray) -> np.ndarray:
    """Whether places in RAS+ mm lie on a slice, or between two and within the pixel centres of both."""
    row, column = np.split(np.array(slices[0].ImageOrientationPatient, float), 2)
    between_rows, between_columns = map(float, slices[0].PixelSpacing)
    ends = (row, between_columns * (slices[0].Columns - 1)), (column, between_rows * (slices[0].Rows - 1))
    origins = np.array([one.ImagePositionPatient for one in slices], float)
    offsets = places * [-1, -1, 1] - origins[:, np.newaxis]
    within = np.all([(offsets @ axis >= 0) & (offsets @ axis <= end) for axis, end in ends], axis=0)
    along = offsets @ np.cross(row, column)
    is_between = within[:-1] & within[1:] & (along[:-1] > 0) & (along[1:] < 0)
    measured: np.ndarray = (within & (np.abs(along) < 1e-3)).any(axis=0) | is_between.any(axis=0)
    return measured


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["ct-ge-tilt", "miniatures/failing/gantrytilting/001"])
def test_resampled_corners_of_a_tilted_gantry_lie_within_a_tenth_of_a_millimetre(
    folder: str, real: Path
) -> None:
    paths = (path for path in (real / folder).iterdir() if is_dicom(path))
    slices = sorted(map(pydicom.dcmread, paths), key=lambda one: float(one.ImagePositionPatient[2]))
    read, affine = resampled_places(slices)
    for dataset in slices:
        last = np.array([dataset.Columns - 1, dataset.Rows - 1])
        for corner in millimetres(dataset, np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * last):
            index = np.rint(np.linalg.solve(affine, [*corner, 1])[:3]).astype(int) + NEAR
            index = index[((index >= 0) & (index < read.shape[:3])).all(axis=1)]
            places = index @ affine[:3, :3].T + affine[:3, 3]
            measured = was_measured(slices, places)
            assert measured.any()
            off_mm = np.linalg.norm(read[tuple(index.T)] - places, axis=1)[measured]
            assert off_mm.max() <= 0.1
