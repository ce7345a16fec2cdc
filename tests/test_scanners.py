"""Series as other scanners send them, with known truth: each ends at its own voxels and millimetres, or in a code."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gdcm
import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless
from scanned import Scan, csa, encoded, grid, item, mosaic, smooth

from pipeline.door import wanted_slices
from pipeline.index import look
from pipeline.io.dicom import read_dataset
from pipeline.io.policy import load_policy
from pipeline.io.source import read_refs
from pipeline.model.errors import CurationError
from pipeline.model.identified import Identified, Key
from pipeline.model.plan import refs_and_frames
from pipeline.model.rules import Geometry
from pipeline.model.series import Stack
from pipeline.model.volume import Quantity, Volume, corner_distance
from pipeline.stages.convert import convert
from pipeline.stages.deidentify import deidentify
from pipeline.stages.ingest import ingest
from pipeline.stages.orient import orient
from pipeline.stages.quantify import quantity_of

KEY, POLICY = Key(bytes(32)), load_policy(None)
RESAMPLE = Geometry(tilt="resample", why="A tilted gantry is put straight.")
OBLIQUE = (0.8, 0.6, 0.0, 0.0, 0.0, -1.0)


def volume_of(stack: Stack, geometry: Geometry | None = None) -> Volume | str:
    """Return what becomes of a stack, de-identified first, or the code of its refusal."""
    try:
        if stack.code is not None:
            return stack.code
        refs, frames = refs_and_frames(stack)
        datasets = [read_dataset(content) for content in read_refs(refs)]
        clean = deidentify(Identified(datasets), policy=POLICY, key=KEY).value
        quantity, _ = quantity_of(stack.facts)
        return orient(convert(wanted_slices(clean, frames), quantity, geometry=geometry).value).value
    except CurationError as error:
        return error.code


def made(folder: Path, *datasets: Dataset, geometry: Geometry | None = None) -> list[Volume | str]:
    """Return what becomes of files, written under names that say nothing."""
    folder.mkdir(exist_ok=True)
    for number, dataset in enumerate(datasets):
        (folder / f"IM{number:04d}").write_bytes(encoded(dataset))
    grouping = ingest(look(folder, lambda *_: None))
    codes = [code for _, code in grouping.set_aside]
    return [*codes, *(volume_of(stack, geometry) for stack in grouping.stacks)]


def check(volume: Volume | str, scan: Scan) -> None:
    """Look each voxel of the scan up at its millimetre."""
    assert isinstance(volume, Volume), volume
    assert volume.data.size == scan.stored.size
    indices = np.indices(scan.stored.shape).reshape(3, -1)
    places = np.linalg.inv(volume.affine) @ scan.affine @ np.vstack([indices, np.ones_like(indices[0])])
    whole = np.rint(places[:3]).astype(int)
    np.testing.assert_allclose(places[:3], whole, atol=1e-4)
    np.testing.assert_allclose(volume.data[tuple(whole)], scan.values.reshape(-1), rtol=1e-6)


def brightness(volume: Volume | str) -> float:
    """Return the mean of a volume, to sort by."""
    assert isinstance(volume, Volume), volume
    return float(volume.data.mean())


def both(folder: Path, scan: Scan, image: Dataset) -> None:
    """Hold an image of many frames, and the classic export of the same data, to the truth."""
    meant = []
    for name, datasets in {"classic": scan.classic(), "enhanced": [image]}.items():
        (volume,) = made(folder / name, *datasets)
        check(volume, scan)
        meant.append(volume.quantity if isinstance(volume, Volume) else None)
    assert meant[0] == meant[1]


# Enhanced images, each as its maker writes them, equal to the classic export


def test_siemens_xa_frames_of_which_each_says_everything_for_itself(tmp_path: Path) -> None:
    scan = Scan(modality="MR", intercept=0, orientation=OBLIQUE, step=-2.2)
    image = scan.enhanced([4, 2, 0, 8, 6, 9, 7, 1, 3, 5])
    (shared,) = image.SharedFunctionalGroupsSequence
    image.ImageType, image.Manufacturer = ["ORIGINAL", "PRIMARY", "M", "NONE"], "Siemens Healthineers"
    for frame in image.PerFrameFunctionalGroupsSequence:
        for name in ("PixelMeasuresSequence", "PlaneOrientationSequence"):
            frame[name] = shared[name]
        frame.MREchoSequence = [item(EffectiveEchoTime=24.0)]
        block = frame.private_block(0x0021, "SIEMENS MR SDI 02", create=True)
        block.add_new(0x01, "SQ", [item(ImagePositionPatient=[9, 9, 9])])
    image.SharedFunctionalGroupsSequence = [Dataset()]
    both(tmp_path, scan, image)


def test_two_echoes_and_a_phase_in_one_siemens_xa_image_are_three_volumes(tmp_path: Path) -> None:
    few = smooth(6, 5, 4)
    scan = Scan(np.concatenate([few, few + 300, few + 600], axis=2), "MR", intercept=0)
    image = scan.enhanced()
    del image.SharedFunctionalGroupsSequence[0].MRImageFrameTypeSequence
    one = replace(scan, stored=few)
    for k, frame in enumerate(image.PerFrameFunctionalGroupsSequence):
        kind = "P" if k >= 8 else "M"
        frame.PlanePositionSequence = [item(ImagePositionPatient=one.position(k % 4))]
        frame.MREchoSequence = [item(EffectiveEchoTime=2.5 if k < 4 else 5.0)]
        frame.MRImageFrameTypeSequence = [item(FrameType=["ORIGINAL", "PRIMARY", kind, "NONE"])]
    volumes = made(tmp_path, image)
    for volume, more in zip(sorted(volumes, key=brightness), (0, 300, 600), strict=True):
        check(volume, replace(one, stored=few + more))


def test_philips_frames_have_the_dicom_rescale_whatever_their_private_scale_says(tmp_path: Path) -> None:
    scan = Scan(modality="MR", intercept=3.5, slopes=(1.25, 0.5, 2.75, 1.5, 4.25), step=4.4)
    image = scan.enhanced(range(9, -1, -1))
    image.Manufacturer = "Philips Medical Systems"
    for k, frame in zip(range(9, -1, -1), image.PerFrameFunctionalGroupsSequence, strict=True):
        own = Dataset()
        block = own.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
        block.add_new(0x0D, "FL", 0.0)
        block.add_new(0x0E, "FL", 0.00123 * (k + 1))
        private = frame.private_block(0x2005, "Philips MR Imaging DD 005", create=True)
        private.add_new(0x0F, "SQ", [own])
        frame.RealWorldValueMappingSequence = [
            item(RealWorldValueFirstValueMapped=0, RealWorldValueLastValueMapped=4095, RealWorldValueSlope=0.1,
                 RealWorldValueIntercept=7.0, LUTLabel="Philips")
        ]  # fmt: skip
    both(tmp_path, scan, image)


def test_a_classic_philips_slice_has_the_dicom_rescale_too(tmp_path: Path) -> None:
    scan = Scan(modality="MR", intercept=0, slopes=(2.5, 1.25, 3.75))
    slices = scan.classic()
    for number, dataset in enumerate(slices):
        block = dataset.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
        block.add_new(0x0E, "FL", 0.01 * (number + 1))
    (volume,) = made(tmp_path, *slices)
    check(volume, scan)


@pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
def test_canon_frames_in_any_order_with_pixel_measures_of_their_own(tmp_path: Path, modality: str) -> None:
    scan = Scan(
        modality=modality, step=0.5, spacing=(0.781, 0.625), slopes=(1, 2) if modality != "CT" else (1,)
    )
    image = scan.enhanced(np.random.default_rng(3).permutation(10).tolist())
    (shared,) = image.SharedFunctionalGroupsSequence
    for frame in image.PerFrameFunctionalGroupsSequence:
        frame.PixelMeasuresSequence = shared.PixelMeasuresSequence
    del shared.PixelMeasuresSequence
    image.Manufacturer = "TOSHIBA"
    # A second index, the same in all frames, and one that follows nothing.
    for number, frame in enumerate(image.PerFrameFunctionalGroupsSequence):
        frame.FrameContentSequence[0].DimensionIndexValues = [1, 1, number * 7 % 10 + 1]
    both(tmp_path, scan, image)


def test_legacy_converted_frames_carry_their_classic_elements_in_a_group_of_their_own(tmp_path: Path) -> None:
    scan = Scan(slopes=(1, 0.5, 2))
    image = scan.enhanced()
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.2"
    for k, frame in enumerate(image.PerFrameFunctionalGroupsSequence):
        del frame.FrameContentSequence
        frame.UnassignedPerFrameConvertedAttributesSequence = [
            item(InstanceNumber=10 - k, AcquisitionNumber=1)
        ]
    both(tmp_path, scan, image)


def test_pet_has_a_scale_for_each_slice_however_it_is_sent(tmp_path: Path) -> None:
    slopes = (1.0625, 0.5, 3.25, 2.25, 0.75, 1.5, 0.25, 4.5, 2.125, 1.75)
    scan = Scan(modality="PT", slopes=slopes, intercept=0, step=-3.27)
    both(tmp_path, scan, scan.enhanced())


@pytest.mark.parametrize("spoil", [{"RealWorldValueSlope": 2.5}, {"MeasurementUnitsCodeSequence": []}])
def test_enhanced_pet_whose_mapping_is_another_line_or_has_no_unit_is_no_activity(
    tmp_path: Path, spoil: dict[str, Any]
) -> None:
    image = Scan(modality="PT", intercept=0).enhanced()
    for frame in image.PerFrameFunctionalGroupsSequence:
        frame.RealWorldValueMappingSequence[0].update(spoil)
    (volume,) = made(tmp_path, image)
    assert isinstance(volume, Volume) and volume.quantity is Quantity.ARBITRARY


def test_time_points_of_an_enhanced_image_are_those_of_the_classic_series(tmp_path: Path) -> None:
    few = smooth(6, 5, 4)
    scan = Scan(np.concatenate([few, few + 500], axis=2), "MR", intercept=0)
    one = replace(scan, stored=few)
    image, slices = scan.enhanced(), scan.classic()
    for k, (frame, dataset) in enumerate(zip(image.PerFrameFunctionalGroupsSequence, slices, strict=True)):
        frame.PlanePositionSequence = [item(ImagePositionPatient=one.position(k % 4))]
        frame.FrameContentSequence = [item(TemporalPositionIndex=1 + k // 4, InStackPositionNumber=1 + k % 4)]
        dataset.ImagePositionPatient, dataset.TemporalPositionIdentifier = one.position(k % 4), 1 + k // 4
        dataset.SliceLocation = scan.step * (k % 4)
    for name, datasets in {"classic": slices, "enhanced": [image]}.items():
        volumes = sorted(made(tmp_path / name, *datasets), key=brightness)
        for volume, more in zip(volumes, (0, 500), strict=True):
            check(volume, replace(one, stored=few + more))


@pytest.mark.parametrize("spoil", ["orientation", "position", "spacing", "frames"])
def test_an_enhanced_image_that_lost_what_places_its_frames_is_refused(tmp_path: Path, spoil: str) -> None:
    image = Scan(modality="MR", intercept=0).enhanced()
    if spoil == "orientation":
        del image.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    elif spoil == "spacing":
        del image.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    elif spoil == "position":
        del image.PerFrameFunctionalGroupsSequence[4].PlanePositionSequence
    else:
        del image.PerFrameFunctionalGroupsSequence[4]
    assert made(tmp_path, image) in (
        ["missing-geometry"],
        ["unsupported-multiframe"],
        ["duplicate-positions"],
    )


# Mosaics and grids


@pytest.mark.parametrize("form", [mosaic, grid])
@pytest.mark.parametrize("orientation", [(1, 0, 0, 0, 1, 0), OBLIQUE, (0, 1, 0, 0, 0, -1)])
@pytest.mark.parametrize("step", [3.3, -3.3])
def test_tiles_equal_the_slices_sent_one_by_one(
    tmp_path: Path, form: Any, orientation: tuple[float, ...], step: float
) -> None:
    scan = Scan(modality="MR", intercept=0, orientation=orientation, step=step)
    both(tmp_path, scan, form(scan))


def _without_count(image: Dataset) -> None:
    del image[image.private_block(0x0019, "SIEMENS MR HEADER").get_tag(0x0A)]
    image[image.private_block(0x0029, "SIEMENS CSA HEADER").get_tag(0x10)].value = csa(
        SliceNormalVector=["0", "0", "1"]
    )


def _without_normal(image: Dataset) -> None:
    header = csa(NumberOfImagesInMosaic=["10"])
    image[image.private_block(0x0029, "SIEMENS CSA HEADER").get_tag(0x10)].value = header


MOSAICS = {
    "all private": lambda image: image.remove_private_tags(),
    "count": _without_count,
    "normal": _without_normal,
    "spacing": lambda image: image.pop("SpacingBetweenSlices"),
    "position": lambda image: image.pop("ImagePositionPatient"),
    "word": lambda image: setattr(image, "ImageType", ["ORIGINAL", "PRIMARY", "M"]),
}


@pytest.mark.parametrize("spoil", MOSAICS)
def test_a_mosaic_that_an_anonymiser_stripped_is_refused_alone_and_in_a_series(
    tmp_path: Path, spoil: str
) -> None:
    images = [mosaic(Scan(smooth() + t, "MR", intercept=0)) for t in range(3)]
    for number, image in enumerate(images):
        image.SOPInstanceUID, image.InstanceNumber, image.AcquisitionNumber = f"1.2.{number}", number, number
        MOSAICS[spoil](image)
    for count in (1, 3):
        outcomes = made(tmp_path / str(count), *images[:count])
        assert set(outcomes) <= {"layout-missing", "single-slice", "duplicate-positions", "missing-geometry"}


GRIDS = {
    "all private": lambda image: image.remove_private_tags(),
    "count": lambda image: image.pop(image.private_block(0x0065, "Image Private Header").get_tag(0x50)),
    "places": lambda image: image.pop(image.private_block(0x0065, "Image Private Header").get_tag(0x51)),
    "word": lambda image: setattr(image, "ImageType", ["ORIGINAL", "PRIMARY", "M"]),
    "spacing": lambda image: image.pop("PixelSpacing"),
}


@pytest.mark.parametrize("spoil", GRIDS)
def test_a_grid_that_an_anonymiser_stripped_is_refused(tmp_path: Path, spoil: str) -> None:
    image = grid(Scan(modality="MR", intercept=0))
    GRIDS[spoil](image)
    (outcome,) = made(tmp_path, image)
    assert outcome in ("layout-missing", "missing-geometry", "single-slice")


# Tilts


@pytest.mark.parametrize("degrees", [-30, -12.5, 2, 7.3, 25])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_gantry_tilted_by_any_angle_is_refused_or_lies_where_its_slices_say(
    tmp_path: Path, degrees: float, axis: int
) -> None:
    shear = tuple(np.tan(np.radians(degrees)) if axis == number else 0.0 for number in (0, 1))
    scan = Scan(
        np.zeros((24, 20, 9), np.uint16),
        step=2.5,
        shear=shear,
        spacing=(0.9, 0.7),
        slopes=(0.01,),
        intercept=-300,
    )
    assert made(tmp_path / "plain", *scan.classic()) == ["gantry-tilt"]
    found = []
    for number in range(3):
        millimetres = np.einsum("x,xijk->ijk", scan.affine[number], positions(scan.stored.shape))
        stored = np.rint((millimetres + 300) / 0.01).astype(np.uint16)
        slices = replace(scan, stored=stored, elements={"BitsStored": 16, "HighBit": 15}).classic()
        (volume,) = made(tmp_path / str(number), *slices, geometry=RESAMPLE)
        assert isinstance(volume, Volume), volume
        found.append(volume.data)
    said, places = np.stack(found), np.einsum("xy,yijk->xijk", volume.affine, positions(found[0].shape))
    within = np.einsum("xy,yijk->xijk", np.linalg.inv(scan.affine), places)[:3]
    last = np.array(scan.stored.shape).reshape(3, 1, 1, 1) - 1
    measured = ((within > -1e-6) & (within < last + 1e-6)).all(axis=0)
    assert measured.sum() > 0.9 * scan.stored.size
    assert np.abs(said - places[:3]).max(axis=0)[measured].max() <= 0.1
    assert orthogonal(volume.affine)


def positions(shape: Sequence[int]) -> np.ndarray:
    """Return homogeneous indices, shape (4, *shape)."""
    indices = np.indices(shape)
    return np.concatenate([indices, np.ones((1, *shape))])


def orthogonal(affine: np.ndarray) -> bool:
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return np.allclose(axes.T @ axes, np.eye(3), atol=1e-9)


# Ways to lie


LYING = {
    "HFS": (1, 0, 0, 0, 1, 0), "HFP": (-1, 0, 0, 0, -1, 0), "FFS": (-1, 0, 0, 0, 1, 0), "FFP": (1, 0, 0, 0, -1, 0),
    "HFDR": (0, 1, 0, -1, 0, 0), "HFDL": (0, -1, 0, 1, 0, 0), "FFDR": (0, -1, 0, -1, 0, 0), "FFDL": (0, 1, 0, 1, 0, 0),
}  # fmt: skip
"""PatientPosition -> cosines of an axial image as the table sees it, which a scanner may leave as it is."""

PLANES = {"axial": np.eye(3), "sagittal": np.eye(3)[:, [1, 2, 0]], "coronal": np.eye(3)[:, [0, 2, 1]]}


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("position", LYING)
def test_a_patient_who_lies_otherwise_has_each_voxel_at_its_own_place(
    tmp_path: Path, position: str, plane: str
) -> None:
    turn = np.array(LYING[position], float).reshape(2, 3)
    frame = np.vstack([turn, np.cross(*turn)]).T @ PLANES[plane]
    cosines = tuple(float(x) for x in (*frame[:, 0], *frame[:, 1]))
    scan = Scan(orientation=cosines, step=-1.75, elements={"PatientPosition": position})
    both(tmp_path, scan, scan.enhanced(range(9, -1, -1)))


# Pairs of syntaxes


def compressed(dataset: Dataset, syntax: str, folder: Path) -> Dataset:
    """Return a dataset whose pixels are compressed, by pydicom's plugins or, in lossless JPEG, by GDCM."""
    if syntax != JPEGLosslessSV1:
        dataset.compress(syntax, generate_instance_uid=False)
        return dataset
    folder.mkdir(exist_ok=True)
    plain, target = folder / "plain", folder / "target"
    plain.write_bytes(encoded(dataset))
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(plain))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    # GDCM writes the functional groups anew, with one rescale for all frames.
    dataset["PixelData"] = pydicom.dcmread(target)["PixelData"]
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless])
@pytest.mark.parametrize("is_enhanced", [False, True])
def test_a_series_sent_compressed_is_the_one_sent_plain(
    tmp_path: Path, syntax: str, is_enhanced: bool
) -> None:
    scan = Scan(smooth(40, 36, 4), orientation=OBLIQUE, slopes=(1,) if not is_enhanced else (1, 2))
    datasets = [scan.enhanced()] if is_enhanced else scan.classic()
    sent = [compressed(dataset, syntax, tmp_path / "made") for dataset in datasets]
    (volume,) = made(tmp_path / "sent", *sent)
    check(volume, scan)


# What two other programs make of the same


def as_ras(path: Path) -> tuple[np.ndarray, np.ndarray]:
    image = nibabel.as_closest_canonical(nibabel.load(path))
    return np.asanyarray(image.dataobj).astype(float), image.affine


def other_volumes(folder: Path, out: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return what dcm2niix, told to take the DICOM rescale, makes of a folder."""
    program = shutil.which("dcm2niix", path=str(Path(sys.executable).parent)) or shutil.which("dcm2niix")
    if program is None:
        pytest.skip("dcm2niix is not installed")
    out.mkdir()
    command = [program, "-z", "n", "-b", "n", "-p", "n", "-f", "%s", "-o", str(out), str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return [as_ras(path) for path in sorted(out.glob("*.nii"))]


SENT = {
    "canon": lambda scan: [scan.enhanced(range(9, -1, -1))],
    "classic": Scan.classic,
    "mosaic": lambda scan: [mosaic(scan)],
    "grid": lambda scan: [grid(scan)],
}


@pytest.mark.parametrize("form", SENT)
@pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
def test_dcm2niix_and_simpleitk_make_the_same_of_it(tmp_path: Path, form: str, modality: str) -> None:
    if form in ("mosaic", "grid") and modality != "MR":
        return
    scan = Scan(smooth(24, 20, 10), modality, orientation=OBLIQUE, intercept=0)
    datasets = SENT[form](scan)
    (volume,) = made(tmp_path / "in", *datasets)
    assert isinstance(volume, Volume)
    others = other_volumes(tmp_path / "in", tmp_path / "out")
    if form == "classic":
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "in")))
        SimpleITK.WriteImage(reader.Execute(), str(tmp_path / "itk.nii"))
        others.append(as_ras(tmp_path / "itk.nii"))
    for data, affine in others:
        np.testing.assert_allclose(data, volume.data, rtol=1e-6)
        assert corner_distance(data.shape, affine, volume.affine) < 1e-3
    assert len(others) == 1 + (form == "classic")


@pytest.mark.parametrize("form", [Scan.enhanced, mosaic, grid])
def test_files_that_each_hold_a_volume_are_volumes_though_nothing_else_tells_them_apart(
    tmp_path: Path, form: Any
) -> None:
    scans = [Scan(smooth(6, 5, 4) + 50 * t, "MR", intercept=0) for t in range(3)]
    images = [form(scan) for scan in scans]
    for number, image in enumerate(images):
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.7.{number}"
    for volume, scan in zip(sorted(made(tmp_path, *images), key=brightness), scans, strict=True):
        check(volume, scan)


def test_enhanced_images_of_one_frame_each_are_the_slices_of_one_volume(tmp_path: Path) -> None:
    scan = Scan(smooth(6, 5, 4), "MR", intercept=0)
    images = [scan.enhanced([k]) for k in range(4)]
    for number, image in enumerate(images):
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.8.{number}"
        image.InstanceNumber = number + 1
    (volume,) = made(tmp_path, *images)
    check(volume, scan)
