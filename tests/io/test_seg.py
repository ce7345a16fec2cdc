"""Every frame of a segmentation lands on the voxels it was drawn on, or the segmentation is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations, product
from pathlib import Path

import highdicom
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
import SimpleITK
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RLELossless, generate_uid

from pipeline.io.seg import read_seg
from pipeline.model.errors import CurationError
from pipeline.model.volume import Grid

REAL = Path(__file__).parents[2].parent / "shared/data/real"
FIXTURES = REAL / "seg-fixtures/segmentations"
Bools = npt.NDArray[np.bool_]
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

ROW = np.array([0.9659258262890683, 0.25881904510252074, 0.0])
COLUMN = np.array([-0.2241438680420134, 0.8365163037378079, 0.5])
SHAPE = (7, 5, 4)


def oblique() -> Grid:
    """A small oblique acquisition of 0.7 x 0.9 x 2.5 mm: 7 columns, 5 rows, 4 slices."""
    steps = np.stack([ROW * 0.7, COLUMN * 0.9, np.cross(ROW, COLUMN) * 2.5, [-81.3, 44.125, -617.04]], axis=1)
    return Grid(SHAPE, LPS @ np.vstack([steps, [0, 0, 0, 1]]))


def some_mask(seed: int) -> Bools:
    return np.random.default_rng(seed).random(SHAPE) < 0.4


def item(**values: object) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def decimal_strings(numbers: npt.NDArray[np.float64]) -> list[str]:
    """Numbers as DICOM writes them: at most 16 characters."""
    return [f"{number:.12g}"[:16] for number in numbers]


def turned(grid: Grid, axes: Sequence[int], signs: Sequence[int]) -> Grid:
    """The same voxels with axes permuted and then reversed."""
    change = np.zeros((4, 4))
    change[3, 3] = 1
    for place, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        change[axis, place] = sign
        change[axis, 3] = 0 if sign > 0 else grid.shape[axis] - 1
    return Grid(tuple(grid.shape[axis] for axis in axes), grid.affine @ change)


def plane_groups(grid: Grid, k: int, first: Sequence[int] = (0, 0)) -> dict[str, list[Dataset]]:
    """The functional groups that place slice k of a grid, from pixel (column, row) `first` on."""
    lps = LPS @ grid.affine
    size = np.linalg.norm(lps[:3, :2], axis=0)
    cosines = np.concatenate([lps[:3, 0] / size[0], lps[:3, 1] / size[1]])
    position = lps @ [first[0], first[1], k, 1]
    return {
        "PlaneOrientationSequence": [item(ImageOrientationPatient=decimal_strings(cosines))],
        "PixelMeasuresSequence": [item(PixelSpacing=decimal_strings(size[::-1]))],
        "PlanePositionSequence": [item(ImagePositionPatient=decimal_strings(position[:3]))],
    }


def segmentation(
    kind: str, frames: Sequence[tuple[int | None, dict[str, list[Dataset]], npt.NDArray]]
) -> Dataset:
    """A segmentation of frames: segment number, groups, pixels (columns, rows)."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SegmentationType = kind
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Columns, dataset.Rows = frames[0][2].shape
    dataset.NumberOfFrames = len(frames)
    dataset.BitsAllocated = dataset.BitsStored = 1 if kind == "BINARY" else 8
    dataset.HighBit = dataset.BitsStored - 1
    if kind == "FRACTIONAL":
        dataset.MaximumFractionalValue = 200
    pixels = np.stack([pixels.T for _, _, pixels in frames]).astype(np.uint8)
    content = np.packbits(pixels.reshape(-1), bitorder="little") if kind == "BINARY" else pixels
    dataset.PixelData = content.tobytes() + b"\0" * (content.nbytes % 2)
    dataset["PixelData"].VR = "OB"
    numbers = sorted({number for number, _, _ in frames if number is not None}) or [1, 2]
    dataset.SegmentSequence = [segment(number) for number in numbers]
    dataset.SharedFunctionalGroupsSequence = [Dataset()]
    dataset.PerFrameFunctionalGroupsSequence = [frame_groups(number, groups) for number, groups, _ in frames]
    return dataset


def segment(number: int, label: str = "", code: str = "10200004") -> Dataset:
    kind = item(CodeValue=code, CodingSchemeDesignator="DCM" if code == "125040" else "SCT")
    return item(
        SegmentNumber=number, SegmentLabel=label or f"part {number}", SegmentedPropertyTypeCodeSequence=[kind]
    )


def frame_groups(number: int | None, groups: dict[str, list[Dataset]]) -> Dataset:
    made = item(**groups)
    if number is not None:
        made.SegmentIdentificationSequence = [item(ReferencedSegmentNumber=number)]
    return made


def binary(**masks: Bools) -> Dataset:
    """A binary segmentation of one oblique image: a frame for every slice that is not empty."""
    frames = [
        (number, plane_groups(oblique(), k), mask[:, :, k])
        for number, mask in enumerate(masks.values(), start=1)
        for k in range(SHAPE[2])
        if mask[:, :, k].any()
    ]
    return segmentation("BINARY", frames)


def test_overlapping_and_sparse_segments_come_back_whole() -> None:
    first, second = some_mask(1), some_mask(2)
    first[:, :, 2] = False
    second[:, :, [0, 3]] = False
    assert (first & second).any()
    step = read_seg(binary(a=first, b=second), oblique(), threshold=None)
    assert list(step.value.masks) == ["part 1", "part 2"]
    assert np.array_equal(step.value.masks["part 1"], first)
    assert np.array_equal(step.value.masks["part 2"], second)
    assert step.value.codes == {"part 1": ("SCT:10200004",), "part 2": ("SCT:10200004",)}
    assert (step.note.facts["frames"], step.note.facts["segments"]) == (5, 2)


def test_frames_are_placed_by_position_and_not_by_order() -> None:
    mask = some_mask(3)
    frames = [(1, plane_groups(oblique(), k), mask[:, :, k]) for k in (2, 0, 3, 1)]
    step = read_seg(segmentation("BINARY", frames), oblique(), threshold=None)
    assert np.array_equal(step.value.masks["part 1"], mask)


@pytest.mark.parametrize(
    "keyword", ["SegmentIdentificationSequence", "PlaneOrientationSequence", "PixelMeasuresSequence"]
)
def test_a_group_may_stand_in_the_shared_groups(keyword: str) -> None:
    mask = some_mask(4)
    dataset = binary(a=mask)
    dataset.SharedFunctionalGroupsSequence[0][keyword] = dataset.PerFrameFunctionalGroupsSequence[0][keyword]
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        del groups[keyword]
    step = read_seg(dataset, oblique(), threshold=None)
    assert np.array_equal(step.value.masks["part 1"], mask)


@pytest.mark.parametrize("axes", list(permutations(range(3))), ids=str)
def test_frames_may_be_permuted_and_mirrored_against_the_image(axes: tuple[int, int, int]) -> None:
    mask = some_mask(5)
    for signs in product((1, -1), repeat=3):
        grid = turned(oblique(), axes, signs)
        drawn = np.transpose(mask, axes)[tuple(slice(None, None, sign) for sign in signs)]
        frames = [(1, plane_groups(grid, k), drawn[:, :, k]) for k in range(grid.shape[2])]
        step = read_seg(segmentation("BINARY", frames), oblique(), threshold=None)
        assert np.array_equal(step.value.masks["part 1"], mask)


def test_a_cropped_frame_lands_on_its_part_of_the_slice() -> None:
    mask = np.zeros(SHAPE, dtype=bool)
    part = some_mask(6)[2:6, 1:4, 1]
    mask[2:6, 1:4, 1] = part
    frames = [(1, plane_groups(oblique(), 1, first=(2, 1)), part)]
    step = read_seg(segmentation("BINARY", frames), oblique(), threshold=None)
    assert np.array_equal(step.value.masks["part 1"], mask)


def test_positions_may_be_rounded_a_little_along_the_normal_and_that_is_said() -> None:
    mask = some_mask(7)
    frames = [(1, plane_groups(oblique(), k + 0.02 * (k % 2)), mask[:, :, k]) for k in range(SHAPE[2])]
    step = read_seg(segmentation("BINARY", frames), oblique(), threshold=None)
    assert np.array_equal(step.value.masks["part 1"], mask)
    assert step.note.facts["off_plane_slices"] == "0.02"


def fractional(values: npt.NDArray[np.uint8]) -> Dataset:
    frames = [(1, plane_groups(oblique(), k), values[:, :, k]) for k in range(SHAPE[2])]
    return segmentation("FRACTIONAL", frames)


def test_a_fraction_is_in_from_the_threshold_on() -> None:
    values = np.random.default_rng(8).integers(0, 201, SHAPE).astype(np.uint8)
    values[0, 0, :3] = [99, 100, 101]
    step = read_seg(fractional(values), oblique(), threshold=0.5)
    assert np.array_equal(step.value.masks["part 1"], values >= 100)
    assert step.note.facts["threshold"] == "0.5"


def test_fractions_need_a_threshold_and_whole_ones_do_not() -> None:
    values = (some_mask(9) * 200).astype(np.uint8)
    step = read_seg(fractional(values), oblique(), threshold=None)
    assert np.array_equal(step.value.masks["part 1"], values == 200)
    values[0, 0, 0] = 199
    with pytest.raises(CurationError, match="label-fractional"):
        read_seg(fractional(values), oblique(), threshold=None)


def labelmap(values: npt.NDArray[np.uint8]) -> Dataset:
    frames = [(None, plane_groups(oblique(), k), values[:, :, k]) for k in range(SHAPE[2])]
    return segmentation("LABELMAP", frames)


def test_a_label_map_gives_a_mask_for_each_segment_but_background() -> None:
    values = np.random.default_rng(10).integers(0, 3, SHAPE).astype(np.uint8)
    dataset = labelmap(values)
    dataset.SegmentSequence.insert(0, segment(0, "nothing", code="125040"))
    dataset.SegmentSequence.append(segment(7, "not drawn"))
    step = read_seg(dataset, oblique(), threshold=None)
    assert list(step.value.masks) == ["part 1", "part 2", "not drawn"]
    assert np.array_equal(step.value.masks["part 1"], values == 1)
    assert np.array_equal(step.value.masks["part 2"], values == 2)
    assert not step.value.masks["not drawn"].any()


def test_the_padding_value_of_a_label_map_is_no_segment() -> None:
    values = np.random.default_rng(11).integers(1, 4, SHAPE).astype(np.uint8)
    dataset = labelmap(values)
    dataset.PixelPaddingValue = 3
    step = read_seg(dataset, oblique(), threshold=None)
    assert list(step.value.masks) == ["part 1", "part 2"]
    dataset.SegmentSequence.append(segment(3, "padding"))
    assert list(read_seg(dataset, oblique(), threshold=None).value.masks) == ["part 1", "part 2"]
    del dataset.SegmentSequence[2]
    del dataset.PixelPaddingValue
    with pytest.raises(CurationError, match="label-value-undeclared"):
        read_seg(dataset, oblique(), threshold=None)


def test_segments_of_the_same_label_stay_apart() -> None:
    first, second = some_mask(12), some_mask(13)
    dataset = binary(a=first, b=second)
    for each in dataset.SegmentSequence:
        each.SegmentLabel = "tumour"
    step = read_seg(dataset, oblique(), threshold=None)
    assert set(step.value.names.values()) == {"tumour"}
    assert np.array_equal(step.value.masks["tumour #2"], second)


# Refusals


def move(groups: Dataset, by_mm: npt.NDArray[np.float64]) -> None:
    place = groups.PlanePositionSequence[0]
    moved = np.array(place.ImagePositionPatient, dtype=float) + by_mm
    place.ImagePositionPatient = decimal_strings(moved)


def shift_in_the_slice(dataset: Dataset) -> None:
    move(dataset.PerFrameFunctionalGroupsSequence[1], ROW * 0.01)


def shift_across(dataset: Dataset) -> None:
    move(dataset.PerFrameFunctionalGroupsSequence[1], np.cross(ROW, COLUMN) * 1.2)


def leave_the_grid(dataset: Dataset) -> None:
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        move(groups, np.cross(ROW, COLUMN) * 2.5)


def stretch(dataset: Dataset) -> None:
    dataset.PerFrameFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = ["0.9", "0.71"]


def swap_spacing(dataset: Dataset) -> None:
    dataset.PerFrameFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = ["0.7", "0.9"]


def tilt(dataset: Dataset) -> None:
    plane = dataset.PerFrameFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    plane.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]


def fold(dataset: Dataset) -> None:
    plane = dataset.PerFrameFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    plane.ImageOrientationPatient = list(plane.ImageOrientationPatient)[:3] * 2


def lose_position(dataset: Dataset) -> None:
    del dataset.PerFrameFunctionalGroupsSequence[0]["PlanePositionSequence"]


def go_far(dataset: Dataset) -> None:
    dataset.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient = [1e30, 0, 0]


def flatten(dataset: Dataset) -> None:
    dataset.PerFrameFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [0, 0.7]


def miscount_frames(dataset: Dataset) -> None:
    dataset.NumberOfFrames = 3


def lose_all_frames(dataset: Dataset) -> None:
    dataset.NumberOfFrames, dataset.PerFrameFunctionalGroupsSequence = 0, []


def cut_pixels(dataset: Dataset) -> None:
    dataset.PixelData = dataset.PixelData[:-2]


def add_pixels(dataset: Dataset) -> None:
    dataset.PixelData += b"\0\0"


def lose_pixels(dataset: Dataset) -> None:
    del dataset["PixelData"]


def enlarge(dataset: Dataset) -> None:
    dataset.Rows = dataset.Columns = 65535


def colour(dataset: Dataset) -> None:
    dataset.SamplesPerPixel = 3


def repeat_a_frame(dataset: Dataset) -> None:
    groups = dataset.PerFrameFunctionalGroupsSequence
    groups[1].PlanePositionSequence = groups[0].PlanePositionSequence


def refer_to_a_stranger(dataset: Dataset) -> None:
    dataset.PerFrameFunctionalGroupsSequence[0].SegmentIdentificationSequence[0].ReferencedSegmentNumber = 9


def lose_the_segment(dataset: Dataset) -> None:
    del dataset.PerFrameFunctionalGroupsSequence[0]["SegmentIdentificationSequence"]


def declare_twice(dataset: Dataset) -> None:
    dataset.SegmentSequence.append(dataset.SegmentSequence[0])


def change_kind(dataset: Dataset) -> None:
    dataset.SegmentationType = "DOODLE"


def tile(dataset: Dataset) -> None:
    dataset.DimensionOrganizationType = "TILED_FULL"


def lose_syntax(dataset: Dataset) -> None:
    del dataset.file_meta["TransferSyntaxUID"]


def claim_compression(dataset: Dataset) -> None:
    dataset.file_meta.TransferSyntaxUID = RLELossless
    dataset.BitsAllocated = dataset.BitsStored = 8


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (shift_in_the_slice, "label-off-grid"),
        (shift_across, "label-off-grid"),
        (leave_the_grid, "label-off-grid"),
        (stretch, "label-off-grid"),
        (swap_spacing, "label-off-grid"),
        (tilt, "label-off-grid"),
        (fold, "label-off-grid"),
        (lose_position, "missing-geometry"),
        (go_far, "missing-geometry"),
        (flatten, "missing-geometry"),
        (miscount_frames, "label-inconsistent"),
        (lose_all_frames, "label-inconsistent"),
        (cut_pixels, "label-inconsistent"),
        (add_pixels, "label-inconsistent"),
        (lose_pixels, "label-inconsistent"),
        (enlarge, "label-too-large"),
        (colour, "label-inconsistent"),
        (repeat_a_frame, "label-inconsistent"),
        (refer_to_a_stranger, "label-inconsistent"),
        (lose_the_segment, "label-inconsistent"),
        (declare_twice, "label-inconsistent"),
        (change_kind, "label-unsupported"),
        (tile, "label-unsupported"),
        (lose_syntax, "undecodable"),
        (claim_compression, "undecodable"),
    ],
)
def test_what_cannot_be_placed_or_trusted_is_refused(spoil: Callable[[Dataset], None], code: str) -> None:
    dataset = binary(a=some_mask(14))
    spoil(dataset)
    with pytest.raises(CurationError) as refusal:
        read_seg(dataset, oblique(), threshold=None)
    assert refusal.value.code == code


@pytest.mark.parametrize("value", [201, 255])
def test_a_fraction_above_one_is_refused(value: int) -> None:
    values = np.zeros(SHAPE, dtype=np.uint8)
    values[1, 1, 1] = value
    with pytest.raises(CurationError, match="label-inconsistent"):
        read_seg(fractional(values), oblique(), threshold=0.5)


def test_a_threshold_of_nothing_is_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="threshold"):
        read_seg(binary(a=some_mask(1)), oblique(), threshold=0.0)


# Written by others


def source_images() -> list[Dataset]:
    """The oblique acquisition as CT instances, that highdicom refers to."""
    study, series, frame = generate_uid(entropy_srcs=["a"]), generate_uid(entropy_srcs=["b"]), "1.2.3"
    images = []
    for k in range(SHAPE[2]):
        groups = plane_groups(oblique(), k)
        image = item(
            SOPClassUID=CTImageStorage,
            SOPInstanceUID=generate_uid(entropy_srcs=[str(k)]),
            StudyInstanceUID=study,
            SeriesInstanceUID=series,
            FrameOfReferenceUID=frame,
            Modality="CT",
            PatientID="x",
            PatientName="",
            PatientBirthDate="",
            PatientSex="",
            StudyDate="",
            StudyTime="",
            StudyID="",
            AccessionNumber="",
            ReferringPhysicianName="",
            SeriesNumber=1,
            InstanceNumber=k + 1,
            Rows=SHAPE[1],
            Columns=SHAPE[0],
            SliceThickness="2.5",
            ImageOrientationPatient=groups["PlaneOrientationSequence"][0].ImageOrientationPatient,
            PixelSpacing=groups["PixelMeasuresSequence"][0].PixelSpacing,
            ImagePositionPatient=groups["PlanePositionSequence"][0].ImagePositionPatient,
            SamplesPerPixel=1,
            BitsAllocated=16,
            BitsStored=16,
            HighBit=15,
            PixelRepresentation=0,
            PhotometricInterpretation="MONOCHROME2",
        )
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        images.append(image)
    return images


def by_highdicom(kind: str, pixels: npt.NDArray, parts: int) -> Dataset:
    """A segmentation that highdicom wrote; pixels (slices, rows, columns[, segments])."""
    described = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=f"part {number}",
            segmented_property_category=codes.SCT.Organ,
            segmented_property_type=codes.SCT.Liver,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for number in range(1, parts + 1)
    ]
    return highdicom.seg.Segmentation(
        source_images=source_images(),
        pixel_array=pixels,
        segmentation_type=kind,
        segment_descriptions=described,
        series_instance_uid=generate_uid(),
        series_number=2,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="x",
        manufacturer_model_name="x",
        software_versions="1",
        device_serial_number="1",
        max_fractional_value=255,
    )


@pytest.mark.parametrize(
    ("kind", "syntax"),
    [
        ("BINARY", ExplicitVRLittleEndian),
        ("FRACTIONAL", ExplicitVRLittleEndian),
        ("FRACTIONAL", RLELossless),
        ("LABELMAP", ExplicitVRLittleEndian),
        ("LABELMAP", RLELossless),
    ],
)
def test_what_highdicom_writes_comes_back_to_the_voxel(kind: str, syntax: str) -> None:
    first, second = some_mask(21), some_mask(22)
    first[:, :, 1] = second[:, :, 1] = False
    second &= ~first
    stacked = np.stack([first, second], axis=-1)
    pixels = np.transpose(stacked, (2, 1, 0, 3)).astype(np.uint8)
    if kind == "LABELMAP":
        pixels = (pixels * [1, 2]).sum(axis=-1).astype(np.uint8)
    dataset = by_highdicom(kind, pixels, parts=2)
    if syntax == RLELossless:
        dataset.compress(RLELossless, encoding_plugin="pydicom")
    step = read_seg(dataset, oblique(), threshold=None)
    assert np.array_equal(step.value.masks["part 1"], first)
    assert np.array_equal(step.value.masks["part 2"], second)
    assert step.value.codes["part 1"] == ("SCT:10200004",)


def test_overlaps_that_highdicom_writes_come_back_to_the_voxel() -> None:
    first, second = some_mask(23), some_mask(24)
    pixels = np.transpose(np.stack([first, second], axis=-1), (2, 1, 0, 3)).astype(np.uint8)
    step = read_seg(by_highdicom("BINARY", pixels, parts=2), oblique(), threshold=None)
    assert np.array_equal(step.value.masks["part 1"], first)
    assert np.array_equal(step.value.masks["part 2"], second)


# Real objects, against the label maps that dcmqi made of them


def real_grid(folder: Path) -> Grid:
    """The grid of a plain series, from its headers alone."""
    slices = [pydicom.dcmread(path, stop_before_pixels=True) for path in folder.iterdir()]
    row, column = np.array(slices[0].ImageOrientationPatient, dtype=float).reshape(2, 3)
    positions = np.array([each.ImagePositionPatient for each in slices], dtype=float)
    order = np.argsort(positions @ np.cross(row, column))
    first, last = positions[order[0]], positions[order[-1]]
    down, across = (float(value) for value in slices[0].PixelSpacing)
    steps = np.stack([row * across, column * down, (last - first) / (len(slices) - 1), first], axis=1)
    return Grid((slices[0].Columns, slices[0].Rows, len(slices)), LPS @ np.vstack([steps, [0, 0, 0, 1]]))


def by_dcmqi(name: str, value: int) -> Bools:
    return np.transpose(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(FIXTURES / name))) == value


fixtures = pytest.mark.skipif(not FIXTURES.is_dir(), reason="the SEG fixtures are not beside the repo")


@fixtures
@pytest.mark.parametrize(
    ("file", "image", "label", "reference", "value"),
    [
        ("liver.dcm", "ct-3slice", "Liver", "liver_seg.nrrd", 1),
        ("partial_overlaps.dcm", "ct-3slice", "GREEN", "partial_overlaps-1.nrrd", 1),
        ("partial_overlaps.dcm", "ct-3slice", "ORANGE", "partial_overlaps-2.nrrd", 2),
        ("partial_overlaps.dcm", "ct-3slice", "PURPLE", "partial_overlaps-3.nrrd", 3),
        ("partial_overlaps.dcm", "ct-3slice", "LIGHT_BLUE", "partial_overlaps-1.nrrd", 4),
        ("partial_overlaps.dcm", "ct-3slice", "DARK_BLUE", "partial_overlaps-1.nrrd", 5),
        ("23x38x3/seg/label.seg", "23x38x3/image", "Liver", "23x38x3/nrrd/label.nrrd", 1),
        ("24x38x3/seg/label.seg", "24x38x3/image", "Liver", "24x38x3/nrrd/label.nrrd", 1),
        ("sparse-labelmap-noppv.dcm", "24x38x3/image", "Liver", "sparse_labelmap_noppv_seg.nrrd", 1),
        ("sparse-labelmap-ppv5.dcm", "24x38x3/image", "Liver", "sparse_labelmap_ppv5_seg.nrrd", 1),
    ],
)
def test_no_voxel_differs_from_dcmqi(file: str, image: str, label: str, reference: str, value: int) -> None:
    grid = real_grid(FIXTURES / image)
    step = read_seg(pydicom.dcmread(FIXTURES / file), grid, threshold=None)
    wanted = by_dcmqi(reference, value)
    assert wanted.any()
    assert np.array_equal(step.value.masks[label], wanted)


@fixtures
def test_the_wrong_image_is_refused() -> None:
    with pytest.raises(CurationError, match="label-off-grid"):
        read_seg(
            pydicom.dcmread(FIXTURES / "liver.dcm"), real_grid(FIXTURES / "24x38x3/image"), threshold=None
        )


@pytest.mark.skipif(not (REAL / "breast-ser-06").is_dir(), reason="the breast series is not beside the repo")
def test_a_fractional_segmentation_with_a_shared_segment_number_is_read() -> None:
    folder = REAL / "breast-ser-06"
    dataset = pydicom.dcmread(folder / "mask/1-1.dcm")
    grid = real_grid(folder / "image_dce_ser")
    step = read_seg(dataset, grid, threshold=0.5)
    (mask,) = step.value.masks.values()
    wanted = np.zeros(grid.shape, dtype=bool)
    for groups, pixels in zip(dataset.PerFrameFunctionalGroupsSequence, dataset.pixel_array, strict=True):
        position = groups.PlanePositionSequence[0].ImagePositionPatient
        k = np.linalg.inv(LPS @ grid.affine)[2] @ [*map(float, position), 1]
        wanted[:, :, round(k)] = pixels.T == 255
    assert mask.sum() == 82527
    assert np.array_equal(mask, wanted)
