"""Frames and tiles become the slices that the scanner would have sent one by one."""

from __future__ import annotations

import copy
import struct
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.misc import is_dicom
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from pipeline.model.errors import CurationError
from pipeline.model.volume import Quantity, Volume, axis_codes
from pipeline.stages.convert import convert
from pipeline.stages.orient import orient
from pipeline.stages.unfold import unfold

REAL = Path(__file__).parents[3] / "shared/data/real"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
ROWS, COLUMNS = 4, 6

# --- A factory of images that hold many slices


def item(**elements: object) -> list[Dataset]:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return [dataset]


def voxels(count: int) -> np.ndarray:
    """Every voxel different, shape (slices, rows, columns)."""
    return np.arange(count * ROWS * COLUMNS, dtype=np.uint16).reshape(count, ROWS, COLUMNS)


def image(pixels: np.ndarray, **elements: object) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", "2.25.7"
    dataset.Modality, dataset.ImageType = "MR", ["ORIGINAL", "PRIMARY", "M"]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def enhanced(count: int = 4, **elements: object) -> Dataset:
    """An enhanced MR image of one stack, first frame lowest."""
    dataset = image(voxels(count), SOPClassUID=ENHANCED_MR, NumberOfFrames=count)
    shared = Dataset()
    shared.PixelMeasuresSequence = item(PixelSpacing=[0.5, 0.75], SliceThickness=3)
    shared.PlaneOrientationSequence = item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    shared.MRTimingAndRelatedParametersSequence = item(RepetitionTime=9000, FlipAngle=90)
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = [Dataset() for _ in range(count)]
    for k, groups in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        groups.PlanePositionSequence = item(ImagePositionPatient=[-10, -20, 30 + 3 * k])
        groups.PixelValueTransformationSequence = item(
            RescaleSlope=k + 1, RescaleIntercept=-k, RescaleType="US"
        )
        groups.MREchoSequence = item(EffectiveEchoTime=72.1)
        groups.FrameContentSequence = item(StackID="1", InStackPositionNumber=k + 1, TemporalPositionIndex=1)
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def csa(**texts: Sequence[str]) -> bytes:
    """A CSA header in the newer form."""
    out = b"SV10\4\3\2\1" + struct.pack("<2I", len(texts), 77)
    for name, items in texts.items():
        out += struct.pack("<64si4siii", name.encode(), len(items), b"FD", 3, len(items), 77)
        for text in items:
            raw = text.encode() + b"\0"
            out += struct.pack("<4i", len(raw), len(raw), 77, len(raw)) + raw + bytes(-len(raw) % 4)
    return out


def tiled(count: int, down: int, across: int) -> np.ndarray:
    canvas = np.zeros((down * ROWS, across * COLUMNS), np.uint16)
    for k, tile in enumerate(voxels(count)):
        i, j = divmod(k, across)
        canvas[i * ROWS : (i + 1) * ROWS, j * COLUMNS : (j + 1) * COLUMNS] = tile
    return canvas


def mosaic(count: int = 5, normal: float = 1, **elements: object) -> Dataset:
    """A Siemens mosaic whose first slice has its corner at (-10, -20, 30)."""
    side = int(np.ceil(np.sqrt(count)))
    shift = (side - 1) / 2
    corner = [-10 - 0.75 * COLUMNS * shift, -20 - 0.5 * ROWS * shift, 30]
    dataset = image(
        tiled(count, side, side),
        ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        ImagePositionPatient=corner,
        PixelSpacing=[0.5, 0.75],
        SpacingBetweenSlices=3.5,
    )
    dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", count)
    header = csa(NumberOfImagesInMosaic=[str(count)], SliceNormalVector=["0.0", "0.0", f"{normal:.8f}"])
    dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", header)
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def grid(count: int = 5, down: int = 2, across: int = 3) -> Dataset:
    dataset = image(
        tiled(count, down, across),
        ImageType=["ORIGINAL", "PRIMARY", "M", "VFRAME"],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        PixelSpacing=[0.5, 0.75],
    )
    block = dataset.private_block(0x0065, "Image Private Header", create=True)
    block.add_new(0x09, "FD", 1000.0)
    block.add_new(0x37, "FD", [0.0, 1.0, 0.0])
    block.add_new(0x50, "DS", str(count))
    block.add_new(0x51, "SQ", [item(ImagePositionPatient=[-10, -20, 30 + 3.5 * k])[0] for k in range(count)])
    return dataset


def volume(slices: Sequence[Dataset]) -> Volume:
    return convert(slices, Quantity.ARBITRARY).value


def code(dataset: Dataset) -> str:
    with pytest.raises(CurationError) as refusal:
        unfold(dataset)
    return refusal.value.code


# --- Enhanced multi-frame


def test_a_classic_image_is_handed_back():
    dataset = image(voxels(1)[0])
    assert unfold(dataset) == (dataset,)


def test_frames_keep_pixels_and_rescale_and_place():
    frames = unfold(enhanced())
    for k, (frame, pixels) in enumerate(zip(frames, voxels(4), strict=True)):
        np.testing.assert_array_equal(frame.pixel_array, pixels)
        assert list(frame.ImagePositionPatient) == [-10, -20, 30 + 3 * k]
        assert (frame.RescaleSlope, frame.RescaleIntercept, frame.InstanceNumber) == (k + 1, -k, k + 1)
        assert (frame.EchoTime, frame.RepetitionTime, frame.FlipAngle, frame.SliceThickness) == (
            72.1,
            9000,
            90,
            3,
        )
        assert "NumberOfFrames" not in frame
        assert "PerFrameFunctionalGroupsSequence" not in frame
        assert frame.SOPClassUID == "1.2.840.10008.5.1.4.1.1.4"
    turned = volume(frames)
    np.testing.assert_array_equal(turned.data[:, :, 2], voxels(4)[2].T * 3 - 2)
    np.testing.assert_array_equal(
        turned.affine, [[-0.75, 0, 0, 10], [0, -0.5, 0, 20], [0, 0, 3, 30], [0, 0, 0, 1]]
    )


def test_the_image_that_was_unfolded_is_unchanged():
    for dataset in (enhanced(), mosaic(), grid()):
        dataset.InstanceNumber = 9
        before = copy.deepcopy(dataset)
        unfold(dataset)
        assert dataset == before


def test_a_frames_own_group_stands_before_the_shared_one():
    dataset = enhanced()
    dataset.PerFrameFunctionalGroupsSequence[2].PixelMeasuresSequence = item(PixelSpacing=[2, 2])
    assert [list(frame.PixelSpacing) for frame in unfold(dataset)] == [[0.5, 0.75]] * 2 + [[2, 2]] + [
        [0.5, 0.75]
    ]


def test_compressed_frames_are_the_same_frames():
    dataset = enhanced()
    dataset.compress(RLELossless, encoding_plugin="pydicom")
    frames = unfold(dataset)
    assert {frame.file_meta.TransferSyntaxUID for frame in frames} == {RLELossless}
    np.testing.assert_array_equal(volume(frames).data, volume(unfold(enhanced())).data)


def test_what_tells_volumes_apart_is_handed_on():
    dataset = enhanced()
    for k, groups in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        direction = item(DiffusionGradientOrientation=[0.0, float(k), 1.0])
        groups.MRDiffusionSequence = item(
            DiffusionBValue=500.0 * k,
            DiffusionDirectionality="DIRECTIONAL",
            DiffusionGradientDirectionSequence=direction,
        )
        groups.FrameContentSequence[0].TemporalPositionIndex = k
        groups.MRImageFrameTypeSequence = item(
            FrameType=["DERIVED", "PRIMARY", "DIFFUSION", "ADC"], ComplexImageComponent="PHASE"
        )
        groups.CardiacSynchronizationSequence = item(NominalCardiacTriggerDelayTime=41.5)
    frame = unfold(dataset)[3]
    assert (frame.DiffusionBValue, list(frame.DiffusionGradientOrientation)) == (1500, [0, 3, 1])
    assert (frame.TemporalPositionIdentifier, frame.StackID, frame.InStackPositionNumber) == (3, "1", 4)
    assert list(frame.ImageType) == ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]
    assert (frame.ComplexImageComponent, frame.TriggerTime) == ("PHASE", 41.5)


def test_elements_that_a_legacy_conversion_put_aside_come_back():
    dataset = enhanced(SOPClassUID="1.2.840.10008.5.1.4.1.1.4.4")
    for k, groups in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        groups.UnassignedPerFrameConvertedAttributesSequence = item(EchoNumbers=k)
    assert [frame.EchoNumbers for frame in unfold(dataset)] == [0, 1, 2, 3]


@pytest.mark.parametrize("frames", [3, 5, 0])
def test_groups_that_do_not_fit_the_frames_are_refused(frames):
    assert code(enhanced(NumberOfFrames=frames)) == "unsupported-multiframe"


def test_an_image_of_no_frames_is_refused_and_does_not_vanish():
    dataset = enhanced(NumberOfFrames=0, PerFrameFunctionalGroupsSequence=[])
    assert code(dataset) == "unsupported-multiframe"


def test_missing_frames_of_pixel_data_are_refused():
    dataset = enhanced()
    dataset.PixelData = dataset.PixelData[:-2]
    assert code(dataset) == "undecodable"
    dataset = enhanced()
    del dataset.PixelData
    assert code(dataset) == "undecodable"


@pytest.mark.parametrize("uid", ["1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.30", ""])
def test_functional_groups_of_other_objects_are_refused(uid):
    assert code(enhanced(SOPClassUID=uid)) == "unsupported-multiframe"


def test_frames_without_functional_groups_are_refused():
    assert code(image(voxels(3), NumberOfFrames=3)) == "unsupported-multiframe"
    assert code(image(voxels(1)[0], SOPClassUID=ENHANCED_MR)) == "unsupported-multiframe"


# --- Mosaic and grid


@pytest.mark.parametrize("count", [1, 2, 4, 5, 9, 10])
def test_mosaic_tiles_lie_where_the_slices_were(count):
    tiles = unfold(mosaic(count))
    assert len(tiles) == count
    for k, tile in enumerate(tiles):
        np.testing.assert_array_equal(tile.pixel_array, voxels(count)[k])
        assert list(tile.ImagePositionPatient) == [-10, -20, 30 + 3.5 * k]
        assert list(tile.ImageType) == ["ORIGINAL", "PRIMARY", "M"]


def test_a_mosaic_whose_normal_points_down_grows_down():
    data = volume(unfold(mosaic(5, normal=-1)))
    np.testing.assert_array_equal(data.data[:, :, 4], voxels(5)[0].T)
    assert data.affine[2, 3] == 30 - 4 * 3.5


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.__delitem__((0x0029, 0x1010)),
        lambda d: d.remove_private_tags(),
        lambda d: d.__delattr__("SpacingBetweenSlices"),
        lambda d: d.__delattr__("ImagePositionPatient"),
        lambda d: d.__setattr__("SpacingBetweenSlices", None),
        lambda d: d.__setattr__("ImageOrientationPatient", [1, 0, 0, 0, 0, 1]),
        lambda d: d[0x0019, 0x100A].__setattr__("value", 6),
        lambda d: d[0x0029, 0x1010].__setattr__("value", csa(NumberOfImagesInMosaic=["5"])),
        lambda d: d.__setattr__("Rows", 11),
    ],
)
def test_a_mosaic_without_its_layout_is_refused(spoil):
    dataset = mosaic()
    spoil(dataset)
    assert code(dataset) in {"layout-missing", "undecodable"}


def test_a_mosaic_with_an_image_beyond_the_number_of_its_images_is_refused():
    dataset = mosaic(6)
    dataset[0x0019, 0x100A].value = 5
    dataset[0x0029, 0x1010].value = csa(NumberOfImagesInMosaic=["5"], SliceNormalVector=["0", "0", "1"])
    assert code(dataset) == "layout-missing"


def test_the_only_frame_of_an_image_keeps_its_instance_number():
    dataset = enhanced(1, InstanceNumber=7)
    assert [one.InstanceNumber for one in unfold(dataset)] == [7]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 400), st.integers(0, 255))
def test_a_damaged_header_is_refused_or_read_the_same(place, byte):
    dataset = mosaic()
    raw = bytearray(dataset[0x0029, 0x1010].value)
    raw[place % len(raw)] = byte
    dataset[0x0029, 0x1010].value = bytes(raw)
    try:
        tiles = unfold(dataset)
    except CurationError:
        return
    assert len(tiles) == 5


@pytest.mark.parametrize(("count", "down", "across"), [(1, 1, 1), (2, 1, 2), (5, 2, 3), (20, 4, 5)])
def test_grid_tiles_have_the_position_that_each_states(count, down, across):
    tiles = unfold(grid(count, down, across))
    for k, tile in enumerate(tiles):
        np.testing.assert_array_equal(tile.pixel_array, voxels(count)[k])
        assert list(tile.ImagePositionPatient) == [-10, -20, 30 + 3.5 * k]
        assert (tile.DiffusionBValue, list(tile.DiffusionGradientOrientation)) == (1000, [0, 1, 0])


def test_a_grid_without_its_layout_is_refused():
    dataset = grid()
    dataset.remove_private_tags()
    assert code(dataset) == "layout-missing"
    dataset = grid()
    del dataset[0x0065, 0x1051].value[2]
    assert code(dataset) == "layout-missing"
    dataset = grid()
    del dataset[0x0065, 0x1051].value[2].ImagePositionPatient
    assert code(dataset) == "layout-missing"


# --- Real images


def real(folder: str) -> list[Dataset]:
    if not (REAL / folder).is_dir():
        pytest.skip("the real data are not here")
    return [pydicom.dcmread(path) for path in sorted((REAL / folder).iterdir()) if is_dicom(path)]


def volumes(datasets: Sequence[Dataset]) -> list[Volume]:
    """The volumes of one kind each, in the order of their first frames."""
    groups = defaultdict(list)
    for number, dataset in enumerate(datasets):
        for frame in unfold(dataset):
            kind = [
                frame.get(k)
                for k in (
                    "ImageType",
                    "TemporalPositionIdentifier",
                    "DiffusionBValue",
                    "DiffusionGradientOrientation",
                )
            ]
            groups[str(kind), number].append(frame)
    return [volume(frames) for frames in groups.values()]


@pytest.mark.parametrize(
    "folder",
    [
        "philips_enhanced/anatomical/001", "philips_enhanced/anatomical/001_implicit", "philips_enhanced/fmri/001",
        "philips_enhanced/fmri/001_implicit", "hyperfine/anatomical/001", "siemens_multiframe/anatomical/001",
    ],
)  # fmt: skip
def test_real_enhanced_images_equal_their_reference_nifti(folder):
    ours = [orient(each).value for each in volumes(real(f"miniatures/{folder}"))]
    reference = nibabel.as_closest_canonical(nibabel.load(REAL / f"miniatures/{folder}_ground_truth.nii.gz"))
    values = np.asarray(reference.dataobj)
    stacked = np.stack([each.data for each in ours], axis=-1)
    assert np.allclose(stacked, values.reshape(stacked.shape), rtol=2e-7)
    assert all(np.allclose(each.affine, reference.affine, atol=1e-3) for each in ours)


@pytest.mark.parametrize("name", ["001", "001_implicit"])
def test_a_real_diffusion_series_has_the_b_values_of_its_reference(name):
    # The reference NIfTI itself holds one of the four volumes, at the wrong place, and zeros: only its affine,
    # b-values and directions can be used.
    folder = f"miniatures/philips_enhanced/dti/{name}"
    (dataset,) = real(folder)
    ours = volumes([dataset])
    reference = nibabel.as_closest_canonical(nibabel.load(REAL / f"{folder}_ground_truth.nii.gz"))
    assert np.allclose(orient(ours[0]).value.affine, reference.affine, atol=1e-3)
    frames = unfold(dataset)
    assert [frame.DiffusionBValue for frame in frames[:4]] == np.loadtxt(
        REAL / f"{folder}_ground_truth.bval"
    ).tolist()
    directions = np.loadtxt(REAL / f"{folder}_ground_truth.bvec").T
    np.testing.assert_allclose(
        [frame.DiffusionGradientOrientation for frame in frames[1:4]], directions[1:], atol=1e-9
    )
    for t, each in enumerate(ours):
        expected = dataset.pixel_array[t::4].transpose(2, 1, 0) * 2.38510378510378
        assert np.allclose(each.data, expected, rtol=1e-6)


def test_a_real_field_map_is_told_from_its_magnitude():
    magnitude, field = volumes(real("mr-enhanced/In/Philips"))
    assert magnitude.data.shape == field.data.shape == (64, 64, 32)
    assert magnitude.data.min() == 0
    assert field.data.min() < -400


def test_real_enhanced_time_points_lie_on_one_grid():
    first, *rest = volumes(real("mr-enhanced/In/Siemens/XA10"))
    assert len(rest) == 3
    assert all(each.grid.equals(first.grid) for each in rest)


def test_a_real_mosaic_lies_where_its_protocol_says():
    datasets = real("mr-4d/siemens-mosaic")
    first = volumes(datasets)[0]
    # The protocol in the series header: five slices of 216 mm, centred at z = 16, 28, ... mm.
    assert first.data.shape == (72, 72, 5)
    assert axis_codes(first.affine) == "LPS"
    np.testing.assert_array_equal(first.affine @ [36, 36, 0, 1], [0, 0, 16, 1])
    np.testing.assert_array_equal(first.affine @ [36, 36, 1, 1], [0, 0, 28, 1])
    np.testing.assert_array_equal(first.data[:, :, 4], datasets[0].pixel_array[72:144, 72:144].T)


def test_a_real_grid_is_a_stack_of_like_slices():
    datasets = real("mr-uih-grid")
    ours = volumes(datasets)
    assert len(ours) == len(datasets) == 17
    assert {each.data.shape for each in ours} == {(64, 64, 20)}
    slices = ours[0].data.reshape(-1, 20).T
    assert min(np.corrcoef(slices)[range(19), range(1, 20)]) > 0.6


@pytest.mark.parametrize("folder", ["mr-4d/siemens-mosaic", "mr-uih-grid"])
def test_real_tiles_without_private_elements_are_refused(folder):
    dataset = real(folder)[0]
    dataset.remove_private_tags()
    assert code(dataset) == "layout-missing"
