"""A stack lands where its headers say, in its true values, or is refused by name."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.misc import is_dicom
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from pipeline.model.errors import CurationError
from pipeline.model.rules import Outliers, Padding
from pipeline.model.volume import Linear, Lookup, Measure, Quantity, axis_codes, corner_distance
from pipeline.stages.convert import convert
from pipeline.stages.orient import orient

REAL = Path(__file__).parents[3] / "shared/data/real"
AXIAL = (1.0, 0, 0, 0, 1, 0)


# --- A factory of series ----------------------------------------------------------------------------------------


def one_slice(position: Sequence[float], pixels: np.ndarray, **elements: object) -> Dataset:
    """A classic single-frame image; `elements` override or, where None, remove."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.Modality = "MR"
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated = dataset.BitsStored = pixels.dtype.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.ImageOrientationPatient = list(AXIAL)
    dataset.ImagePositionPatient = [float(x) for x in position]
    dataset.PixelSpacing = [0.5, 0.75]
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    for keyword, value in elements.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def series(count: int = 6, step: float = 2.0, dtype: type = np.int16, **elements: object) -> list[Dataset]:
    """An even axial stack, every voxel different: value = column + 10 row + 100 slice."""
    j, i = np.ogrid[:4, :5]
    return [
        one_slice((-10, -20, 30 + step * k), (i + 10 * j + 100 * k).astype(dtype), **elements)
        for k in range(count)
    ]


def oblique(rotation: np.ndarray, count: int = 5) -> list[Dataset]:
    slices = series(count)
    for k, dataset in enumerate(slices):
        dataset.ImageOrientationPatient = [float(f"{x:.12g}") for x in (*rotation[:, 0], *rotation[:, 1])]
        dataset.ImagePositionPatient = [
            float(f"{x:.12g}") for x in np.array([5, 6, 7]) + rotation[:, 2] * 2.5 * k
        ]
    return slices


def refusal(slices: Sequence[Dataset], quantity: Quantity = Quantity.ARBITRARY) -> CurationError:
    with pytest.raises(CurationError) as caught:
        convert(slices, quantity)
    return caught.value


# --- Geometry ---------------------------------------------------------------------------------------------------


def test_index_and_millimetre_are_those_of_the_standard():
    volume = convert(series(), Quantity.ARBITRARY).value
    assert volume.data.shape == (5, 4, 6)
    assert volume.data[3, 2, 5] == 3 + 10 * 2 + 100 * 5
    # Row spacing 0.5 belongs to j, column spacing 0.75 to i; LPS+ becomes RAS+.
    expected = [[-0.75, 0, 0, 10], [0, -0.5, 0, 20], [0, 0, 2, 30], [0, 0, 0, 1]]
    np.testing.assert_array_equal(volume.affine, expected)
    assert axis_codes(volume.affine) == "LPS"


def test_neither_file_order_nor_instance_number_moves_a_slice():
    slices = series()
    expected = convert(slices, Quantity.ARBITRARY)
    for number, dataset in enumerate(slices):
        dataset.InstanceNumber = 7 - number
    shuffled = convert([slices[n] for n in (3, 0, 5, 1, 4, 2)], Quantity.ARBITRARY)
    np.testing.assert_array_equal(shuffled.value.data, expected.value.data)
    np.testing.assert_array_equal(shuffled.value.affine, expected.value.affine)
    assert shuffled.note == expected.note


@pytest.mark.parametrize("seed", range(12))
def test_every_voxel_lies_where_its_own_slice_puts_it(seed):
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    rotation *= np.sign(np.linalg.det(rotation))
    slices = oblique(rotation)
    volume = convert(slices[::-1], Quantity.ARBITRARY).value
    for dataset in slices:
        x, y = np.array(dataset.ImageOrientationPatient).reshape(2, 3)
        values = dataset.pixel_array
        for row, column in itertools.product((0, 3), (0, 4)):
            lps = np.array(dataset.ImagePositionPatient) + x * 0.75 * column + y * 0.5 * row
            index = np.linalg.solve(volume.affine, [-lps[0], -lps[1], lps[2], 1])[:3]
            np.testing.assert_allclose(index, np.round(index), atol=1e-6)
            assert volume.data[tuple(np.round(index).astype(int))] == values[row, column]


def test_slice_thickness_and_stated_spacing_place_nothing():
    plain = convert(series(), Quantity.ARBITRARY).value
    stated = convert(series(SliceThickness=9, SpacingBetweenSlices=0.7), Quantity.ARBITRARY).value
    np.testing.assert_array_equal(plain.affine, stated.affine)


@pytest.mark.parametrize("decimals", [1, 2, 3])
def test_rounded_positions_leave_every_slice_within_a_tenth_of_a_millimetre(decimals):
    slices = series(200, 0.625)
    for k, dataset in enumerate(slices):
        dataset.ImagePositionPatient = [-10, -20, round(30 + 0.625 * k, decimals)]
    volume = convert(slices, Quantity.ARBITRARY).value
    exact = np.array(volume.affine)
    exact[:3, 2:] = [[0, 10], [0, 20], [0.625, 30]]
    assert corner_distance(volume.data.shape, volume.affine, exact) <= 0.1


@settings(max_examples=40, deadline=None)
@given(
    st.integers(3, 12).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(1, n - 2), min_size=1)))
)
def test_whatever_inner_slices_are_missing_the_stack_is_refused(case):
    count, missing = case
    slices = [
        dataset
        for k, dataset in enumerate(series(count, SpacingBetweenSlices=2, SliceThickness=2))
        if k not in missing
    ]
    assert refusal(slices).code == "missing-slice"


def test_missing_slices_are_named_by_index_and_millimetre():
    slices = series(8)
    del slices[5], slices[2]
    assert refusal(slices).found == "2 missing: index 2 at 34.000 mm, index 5 at 40.000 mm"


def test_every_second_slice_missing_shows_against_the_stated_spacing():
    slices = series(7, SpacingBetweenSlices=2, SliceThickness=2)[::2]
    assert refusal(slices).code == "missing-slice"
    assert "index 1 at 32.000 mm, index 3 at 36.000 mm, index 5 at 40.000 mm" in refusal(slices).found


def test_a_gap_between_slices_is_not_a_missing_slice():
    convert(series(step=4, SliceThickness=4, SpacingBetweenSlices=2), Quantity.ARBITRARY)
    convert(series(step=4, SliceThickness=2), Quantity.ARBITRARY)


@pytest.mark.parametrize("k", range(6))
def test_any_slice_given_twice_is_refused(k):
    slices = series()
    assert refusal([*slices, copy.deepcopy(slices[k])]).code == "duplicate-positions"


def test_a_series_of_two_time_points_is_refused():
    assert refusal(series() + series()).code == "duplicate-positions"


@pytest.mark.parametrize("steps", [(4, 4, 7, 7), (2, 2, 2.3, 2), (1, 1.5, 1, 1.5)])
def test_uneven_steps_are_refused(steps):
    slices = series(5)
    for dataset, z in zip(slices, np.cumsum([0, *steps]), strict=True):
        dataset.ImagePositionPatient = [0, 0, float(z)]
    assert refusal(slices).code == "variable-spacing"


@pytest.mark.parametrize("degrees", [-18.5, 0.7, 3, 30])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_tilted_gantry_is_refused(axis, degrees):
    slices = series(20)
    for dataset in slices:
        position = list(dataset.ImagePositionPatient)
        position[axis] += np.tan(np.radians(degrees)) * (position[2] - 30)
        dataset.ImagePositionPatient = position
    assert refusal(slices).code == "gantry-tilt"


@pytest.mark.parametrize(
    "elements",
    [
        {"PixelSpacing": [0.5, 0.8]},
        {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]},
        {"ImageOrientationPatient": [0.9, 0.43589, 0, -0.43589, 0.9, 0]},
    ],
)
def test_a_slice_of_another_grid_is_refused(elements):
    slices = series()
    for keyword, value in elements.items():
        setattr(slices[3], keyword, value)
    assert refusal(slices).code == "mixed-grids"


def test_a_slice_of_another_matrix_is_refused():
    slices = series()
    slices[2] = one_slice(slices[2].ImagePositionPatient, np.zeros((5, 4), np.int16))
    assert refusal(slices).code == "mixed-grids"


def test_one_slice_is_refused_and_two_are_a_volume():
    assert refusal(series(1)).code == "single-slice"
    assert refusal([]).code == "single-slice"
    assert convert(series(2), Quantity.ARBITRARY).value.data.shape == (5, 4, 2)


@pytest.mark.parametrize(
    "keyword", ["ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "Rows"]
)
def test_missing_geometry_is_refused(keyword):
    slices = series()
    delattr(slices[1], keyword)
    assert refusal(slices).code == "missing-geometry"


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("ImageOrientationPatient", [0, 0, 0, 0, 0, 0]),
        ("ImageOrientationPatient", [1, 0, 0, 1, 0, 0]),
        ("ImageOrientationPatient", [1, 0, 0]),
        ("PixelSpacing", [0, 0.5]),
        ("PixelSpacing", [-1, 0.5]),
    ],
)
def test_geometry_that_is_no_geometry_is_refused(keyword, value):
    slices = series()
    setattr(slices[0], keyword, value)
    assert refusal(slices).code == "missing-geometry"


def test_two_frames_of_reference_are_refused():
    slices = series(FrameOfReferenceUID="2.25.1")
    slices[0].FrameOfReferenceUID = "2.25.2"
    assert refusal(slices).code == "frame-of-reference"


def test_a_multiframe_object_is_refused():
    assert refusal(series(1, NumberOfFrames=4)).code == "unsupported-multiframe"


# --- Values -----------------------------------------------------------------------------------------------------


def test_each_slice_has_its_own_rescale():
    slices = series(3)
    for k, dataset in enumerate(slices):
        dataset.RescaleSlope, dataset.RescaleIntercept = str(0.25 * (k + 1)), str(-k)
    step = convert(slices, Quantity.ACTIVITY)
    assert step.value.data.dtype == np.float32
    for k, dataset in enumerate(slices):
        np.testing.assert_array_equal(step.value.data[:, :, k], dataset.pixel_array.T * 0.25 * (k + 1) - k)
    assert len(step.note.facts["rescale"]) == 3


@pytest.mark.parametrize(
    ("dtype", "slope", "intercept", "expected"),
    [
        (np.uint16, 1, -1024, np.int16),
        (np.int16, 2, 0.5, np.float32),
        (np.int16, 100, 0, np.int32),
        (np.uint32, 1e8, 0, np.float32),
    ],
)
def test_values_stay_whole_wherever_they_are(dtype, slope, intercept, expected):
    slices = series(dtype=dtype, RescaleSlope=slope, RescaleIntercept=intercept)
    data = convert(slices, Quantity.HOUNSFIELD).value.data
    assert data.dtype == expected
    np.testing.assert_allclose(
        data[:, :, 3], slices[3].pixel_array.T.astype(float) * slope + intercept, rtol=1e-7
    )


def test_the_extremes_of_every_stored_type_survive():
    for dtype in (np.uint8, np.int8, np.uint16, np.int16, np.int32):
        limits = np.iinfo(dtype)
        pixels = np.array([[limits.min, limits.max], [0, 1]], dtype=dtype)
        slices = [one_slice((0, 0, z), pixels) for z in (0, 1)]
        data = convert(slices, Quantity.ARBITRARY).value.data
        assert data[:, :, 0].T.tolist() == pixels.tolist()


@pytest.mark.parametrize(
    "missing", [("RescaleSlope",), ("RescaleIntercept",), ("RescaleSlope", "RescaleIntercept")]
)
def test_ct_without_a_whole_rescale_is_not_in_hounsfield_units(missing):
    slices = series(RescaleSlope=1, RescaleIntercept=-1024)
    for keyword in missing:
        delattr(slices[4], keyword)
    assert refusal(slices, Quantity.HOUNSFIELD).code == "rescale-missing"


def test_mr_without_a_rescale_is_as_stored_but_half_a_rescale_is_refused():
    convert(series(), Quantity.ARBITRARY)
    assert refusal(series(RescaleSlope=2)).code == "rescale-missing"
    assert refusal(series(RescaleSlope=0, RescaleIntercept=0)).code == "rescale-missing"


def test_a_modality_lut_stands_before_everything():
    lut = Dataset()
    lut.LUTDescriptor = [1024, 0, 16]
    lut.LUTData = list(range(1024, 0, -1))
    lut.ModalityLUTType = "HU"
    slices = series(dtype=np.uint16, ModalityLUTSequence=[lut])
    data = convert(slices, Quantity.HOUNSFIELD).value.data
    np.testing.assert_array_equal(data[:, :, 2], 1024 - slices[2].pixel_array.T.astype(int))


def lookup(first: int, values: list[int], kind: str = "HU", vr: str = "US") -> Dataset:
    lut = Dataset()
    lut.add_new("LUTDescriptor", vr, [len(values), first, 16])
    lut.LUTData, lut.ModalityLUTType = values, kind
    return lut


def test_a_lut_that_begins_at_a_negative_stored_number_is_read_by_the_sign_of_the_pixels():
    pixels = np.array([[-2, -1], [0, 1]], dtype=np.int16)
    lut = lookup(-2, [10, 40, 20, 90], vr="SS")
    slices = [one_slice((0, 0, z), pixels, ModalityLUTSequence=[lut]) for z in (0, 1)]
    assert convert(slices, Quantity.HOUNSFIELD).value.data[:, :, 1].T.tolist() == [[10, 40], [20, 90]]


def test_each_slice_has_a_lut_of_its_own():
    pixels = np.array([[0, 1], [2, 3]], dtype=np.uint16)
    luts = [lookup(0, [5, 6, 7, 8]), lookup(0, [8, 6, 4, 2])]
    slices = [one_slice((0, 0, z), pixels, ModalityLUTSequence=[luts[z]]) for z in (0, 1)]
    data = convert(slices, Quantity.HOUNSFIELD).value.data
    assert data.transpose(2, 1, 0).tolist() == [[[5, 6], [7, 8]], [[8, 6], [4, 2]]]


def test_a_lut_to_another_unit_is_not_hounsfield():
    slices = series(dtype=np.uint16, ModalityLUTSequence=[lookup(0, [1, 2], kind="OD")])
    assert refusal(slices, Quantity.HOUNSFIELD).code == "wrong-units"


def test_a_real_world_table_makes_the_values_of_the_stored_numbers_that_it_holds_for():
    pixels = np.array([[-1, 0], [1, 2]], dtype=np.int16)
    slices = [one_slice((0, 0, z), pixels) for z in (0, 1)]
    table = Lookup(-1, (0.5, 9.0, 2.25, 7.0))
    made = convert(slices, Measure(Quantity.OTHER_QUANTITATIVE, [table, Linear(2, 1, -1, 2)])).value.data
    assert made.transpose(2, 1, 0).tolist() == [[[0.5, 9], [2.25, 7]], [[-1, 1], [3, 5]]]
    for scale in (Lookup(-1, (1.0, 2.0, 3.0)), Linear(2, 1, 0, 2), Linear(2, 1, -1, 1)):
        with pytest.raises(CurationError) as refused:
            convert(slices, Measure(Quantity.OTHER_QUANTITATIVE, [scale, scale]))
        assert refused.value.code == "out-of-range"


PADDING = Padding(becomes=-1024, why="The field of view was round.")


@pytest.mark.parametrize(
    ("marks", "made"),
    [
        ({"PixelPaddingValue": -2000}, [-1024, -1100, -4, 6]),
        ({"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1000}, [-1024, -1024, -4, 6]),
        ({"PixelPaddingValue": -1000, "PixelPaddingRangeLimit": -2000}, [-1024, -1024, -4, 6]),
        ({}, [-2100, -1100, -4, 6]),
    ],
)
def test_padding_is_kept_unless_a_rule_says_what_it_becomes(marks, made):
    pixels = np.array([[-2000, -1000], [96, 106]], dtype=np.int16)
    slices = [one_slice((0, 0, z), pixels, RescaleSlope=1, RescaleIntercept=-100) for z in (0, 1)]
    for dataset in slices:
        for keyword, value in marks.items():
            dataset.add_new(keyword, "SS", value)
    kept = convert(slices, Quantity.HOUNSFIELD)
    ruled = convert(slices, Quantity.HOUNSFIELD, padding=PADDING)

    assert kept.value.data[:, :, 0].T.ravel().tolist() == [-2100, -1100, -4, 6]
    assert "padding" not in kept.note.facts
    assert ruled.value.data[:, :, 0].T.ravel().tolist() == made
    assert ruled.note.facts["padding"]["voxels"] == 2 * made.count(-1024)


# --- Slices that say otherwise than all the others ------------------------------------------------------------------


def alike(count: int = 12, **elements: object) -> list[Dataset]:
    """Slices of 12 bits that change little from one to the next, as those of a body do."""
    j, i = np.ogrid[:4, :5]
    return [
        one_slice(
            (-10, -20, 30 + 2 * k), (1900 + 90 * i + 10 * j + 3 * k).astype(np.uint16), BitsStored=12, HighBit=11,
            RescaleSlope=1, RescaleIntercept=-1024, SliceLocation=2 * k, **elements,
        )
        for k in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("k", [0, 5, 11])
@pytest.mark.parametrize(
    "elements",
    [{"RescaleIntercept": -1025}, {"RescaleSlope": 5}, {"RescaleSlope": 1.1}, {"PixelRepresentation": 1}],
)
def test_a_slice_that_alone_makes_its_values_otherwise_is_refused_by_its_place(k, elements):
    slices = alike()
    slices[k].update(elements)
    error = refusal(slices, Quantity.HOUNSFIELD)
    assert (error.code, error.where) == ("slice-outlier", f"slice {k + 1} along the normal")


def test_a_slice_whose_own_rescale_continues_its_neighbours_is_taken():
    slices, expected = alike(), convert(alike(), Quantity.HOUNSFIELD).value.data
    halved = (np.frombuffer(slices[5].PixelData, np.uint16) // 2).astype(np.uint16)
    slices[5].PixelData, slices[5].RescaleSlope = halved.tobytes(), 2
    made = convert(slices, Quantity.HOUNSFIELD)
    assert np.abs(made.value.data - expected).max() <= 1
    assert made.note.facts["outliers"] == {"slices": [5], "not_borne_out": []}


def test_a_sign_that_no_stored_number_uses_changes_nothing():
    slices = alike()
    for dataset in slices:
        dataset.PixelData = (np.frombuffer(dataset.PixelData, np.uint16) - 1000).tobytes()
    expected = convert(slices, Quantity.HOUNSFIELD).value.data
    slices[3].PixelRepresentation = 1
    np.testing.assert_array_equal(convert(slices, Quantity.HOUNSFIELD).value.data, expected)


def test_a_slice_that_moved_to_the_other_end_is_told_by_its_slice_location():
    slices = alike()
    slices[0].ImagePositionPatient = [-10, -20, 30 + 2 * 12]
    error = refusal(slices, Quantity.HOUNSFIELD)
    assert (error.code, error.where) == ("slice-outlier", "slice 12 along the normal")


@pytest.mark.parametrize(
    "elements", [{"RescaleSlope": "0.00007183341972"}, {"RescaleIntercept": "4.00000000"}]
)
def test_a_slice_of_pet_whose_own_rescale_breaks_the_rule_of_all_others_is_refused(elements):
    slices = alike()
    for k, dataset in enumerate(slices):
        slope = float(np.float32(1 + 7.3 * np.sin(k / 5) ** 2)) / 32767
        dataset.RescaleSlope, dataset.RescaleIntercept = f"{slope:.14f}", "0.00000000"
    whole = convert(slices, Quantity.ACTIVITY)
    assert "outliers" not in whole.note.facts
    slices[3].update(elements)
    error = refusal(slices, Quantity.ACTIVITY)
    assert (error.code, error.where) == ("slice-outlier", "slice 4 along the normal")
    kept = convert(slices, Quantity.ACTIVITY, outliers=Outliers(treatment="keep", why="So it was scanned."))
    assert kept.note.facts["outliers"]["not_borne_out"] == [3]


def test_a_lut_that_one_slice_has_otherwise_is_refused():
    slices = alike()
    for k, dataset in enumerate(slices):
        lut = Dataset()
        lut.LUTDescriptor, lut.ModalityLUTType = [4096, 0, 16], "HU"
        lut["LUTDescriptor"].VR = "US"
        lut.LUTData = (np.arange(4096, dtype=np.uint16) + (k == 7)).tobytes()
        lut["LUTData"].VR = "OW"
        dataset.ModalityLUTSequence = [lut]
    assert refusal(slices, Quantity.HOUNSFIELD).code == "slice-outlier"


def test_a_rule_lets_an_outlier_count_as_it_is_written():
    slices, why = alike(), "The scanner recalibrated in the middle."
    slices[5].RescaleIntercept = -1000
    made = convert(slices, Quantity.HOUNSFIELD, outliers=Outliers(treatment="keep", why=why))
    assert made.value.data[0, 0, 5] == 1900 + 15 - 1000
    assert made.note.facts["outliers"] == {"slices": [5], "not_borne_out": [5], "why": why}


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32])
def test_whole_numbers_of_every_width_stay_what_they_are(dtype):
    ends = np.iinfo(dtype)
    pixels = np.array([[ends.min, ends.max], [0, 1]], dtype=dtype)
    slices = [one_slice((0, 0, z), pixels) for z in (0, 1)]
    data = convert(slices, Quantity.ARBITRARY).value.data
    assert (
        data[:, :, 0].T.astype(np.float64).tolist()
        == pixels.astype(np.float32 if dtype == np.uint32 else np.float64).astype(np.float64).tolist()
    )


def test_unused_bits_below_and_a_sign_not_extended_are_read_as_the_standard_says():
    pixels = np.array([[0x000, 0x7FF], [0x800, 0xFFF]], dtype=np.uint16)
    expected = [[0, 2047], [-2048, -1]]
    low = [one_slice((0, 0, z), pixels, BitsStored=12, HighBit=11, PixelRepresentation=1) for z in (0, 1)]
    high = [
        one_slice((0, 0, z), pixels << 4, BitsStored=12, HighBit=15, PixelRepresentation=1) for z in (0, 1)
    ]
    for slices in (low, high):
        assert convert(slices, Quantity.ARBITRARY).value.data[:, :, 0].T.tolist() == expected


def test_bits_below_the_lowest_are_refused_too():
    pixels = np.array([[16, 32], [48, 65]], dtype=np.uint16)
    slices = [one_slice((0, 0, z), pixels, BitsStored=12, HighBit=15) for z in (0, 1)]
    assert refusal(slices).code == "out-of-range"


def test_an_element_that_does_not_parse_is_refused_and_not_taken_as_absent():
    for keyword, code in (("ImagePositionPatient", "missing-geometry"), ("RescaleSlope", "rescale-missing")):
        slices = series(RescaleSlope=1, RescaleIntercept=0)
        tag = pydicom.tag.Tag(keyword)
        slices[1][tag] = RawDataElement(tag, "ES", 4, b"1\\2 ", 0, False, True)
        assert refusal(slices).code == code


@pytest.mark.parametrize(("value", "signed"), [(0x1000, 0), (0xF830, 0), (0x4800, 1)])
def test_bits_above_the_highest_are_refused_because_each_reading_gives_other_values(value, signed):
    pixels = np.array([[1, 2], [3, value]], dtype=np.uint16)
    slices = [
        one_slice((0, 0, z), pixels, BitsStored=12, HighBit=11, PixelRepresentation=signed) for z in (0, 1)
    ]
    assert refusal(slices).code == "out-of-range"


@pytest.mark.parametrize(
    "elements",
    [
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"},
        {"PhotometricInterpretation": None},
    ],
)
def test_other_pixels_than_gray_are_refused(elements):
    assert refusal(series(**elements)).code == "not-grayscale"


def test_pixel_data_that_do_not_fit_are_refused():
    assert refusal(series(Rows=40)).code == "undecodable"
    assert refusal(series(PixelData=None)).code == "undecodable"
    assert refusal(series(BitsAllocated=12)).code == "undecodable"
    slices = series()
    for dataset in slices:
        del dataset.file_meta
    assert refusal(slices).code == "undecodable"


def test_bytes_behind_the_last_pixel_are_not_read():
    slices = series()
    expected = convert(slices, Quantity.ARBITRARY).value.data
    for dataset in slices:
        dataset.PixelData += b"JOHN DOE"
    np.testing.assert_array_equal(convert(slices, Quantity.ARBITRARY).value.data, expected)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, ExplicitVRBigEndian])
def test_a_transfer_syntax_changes_no_value(syntax):
    pixels = np.arange(64 * 80, dtype=np.uint16).reshape(64, 80)
    slices = [one_slice((0, 0, z), pixels + 10_000 * z) for z in (0, 1, 2)]
    expected = convert(slices, Quantity.ARBITRARY).value.data
    for dataset in slices:
        if syntax == ExplicitVRBigEndian:
            dataset.PixelData = dataset.pixel_array.byteswap().tobytes()
            dataset.file_meta.TransferSyntaxUID = syntax
        else:
            dataset.compress(syntax, encoding_plugin="pylibjpeg" if syntax == JPEG2000Lossless else "pydicom")
    step = convert(slices, Quantity.ARBITRARY)
    np.testing.assert_array_equal(step.value.data, expected)
    assert step.note.facts["transfer_syntaxes"] == [str(syntax)]


def test_a_lossy_source_is_flagged():
    assert convert(series(), Quantity.ARBITRARY).note.facts["lossy"] is False
    assert convert(series(LossyImageCompression="01"), Quantity.ARBITRARY).note.facts["lossy"] is True


# --- Real series ------------------------------------------------------------------------------------------------


def real(folder: str) -> list[Dataset]:
    if not (REAL / folder).is_dir():
        pytest.skip("the real data are not here")
    paths = [path for path in sorted((REAL / folder).iterdir()) if path.is_file() and is_dicom(path)]
    return [dataset for dataset in map(pydicom.dcmread, paths) if "PixelData" in dataset]


def quantity_of(dataset: Dataset) -> Quantity:
    return {"CT": Quantity.HOUNSFIELD, "PT": Quantity.ACTIVITY}.get(dataset.Modality, Quantity.ARBITRARY)


STS = [(s, m) for s in ("002", "003", "008", "012") for m in ("CT", "MR_T1", "PET")]
REFERENCES = {
    **{f"ibsi-sts/dicom/STS_{s}/{m}/image": f"ibsi-sts/nifti/STS_{s}/{m}_image.nii.gz" for s, m in STS},
    **{
        f"miniatures/{folder}": f"miniatures/{folder}_ground_truth.nii.gz"
        for folder in (
            "generic/anatomical/001", "generic/anatomical/001_implicit", "generic/anatomical/002_non_isotropic",
            "generic/compressed/001", "generic/compressed_j2k/001", "generic/compressed_jpeg/001",
            "generic/compressed_jpegls/001", "generic/compressed_rle/001", "failing/slicecount/001",
            "hitachi/anatomical/001", "hitachi/anatomical/001_implicit",
        )
    },
}  # fmt: skip
PLAIN = [
    *REFERENCES, "breast-ser-06/image_dce_ser", "crc-adc-001/adc_image", "crc-adc-001/t2_image", "crlm-ct-1004/image",
    "ct-j2k/example_ct_dicom", "ct-small/dicom", "ibsi2-orientation/dicom", "mr-decubitus-hfdr/2_t1_fl2d_sag",
    "prostatex-0000/complete/07-07-2011/3.000000-t2tsesag-87368",
    "prostatex-0000/complete/07-07-2011/4.000000-t2tsetra-00702",
    "prostatex-0000/complete/07-07-2011/5.000000-t2tsecor-03471",
    "prostatex-0000/complete/07-07-2011/7.000000-ep2ddifftraDYNDISTADC-48780",
    "seg-fixtures/segmentations/24x38x3/image", "seg-fixtures/segmentations/ct-3slice",
]  # fmt: skip
REFUSED = {
    "ct-ge-tilt": "gantry-tilt",
    "miniatures/failing/gantrytilting/001": "gantry-tilt",
    "miniatures/failing/sliceincrement/002": "gantry-tilt",
    "miniatures/failing/notavolume/001": "duplicate-positions",
    "miniatures/failing/sliceincrement/001": "missing-slice",
    "miniatures/failing/sliceorientation/001": "mixed-grids",
    "miniatures/generic/rgb/001": "not-grayscale",
    "miniatures/hyperfine/anatomical/001": "unsupported-multiframe",
    "mr-4d/ge-epi": "duplicate-positions",
    "mr-4d/siemens-mosaic": "duplicate-positions",
    "mr-dual-echo-phase": "duplicate-positions",
    "mr-localizer-3-plane": "mixed-grids",
    "prostatex-0000/complete/07-07-2011/6.000000-ep2ddifftraDYNDIST-69284": "duplicate-positions",
    "prostatex-0000/missing-slice-ProstateX-0000/07-07-2011/8.000000-ep2ddifftraDYNDISTCALCBVAL-83202": "missing-slice",
}


@pytest.mark.parametrize("folder", REFERENCES)
def test_real_series_equal_their_reference_nifti(folder):
    slices = real(folder)
    ours = orient(convert(slices, quantity_of(slices[0])).value).value
    reference = nibabel.as_closest_canonical(nibabel.load(REAL / REFERENCES[folder]))
    np.testing.assert_allclose(ours.affine, reference.affine, atol=1e-3)
    assert np.allclose(ours.data, np.asarray(reference.dataobj), rtol=2e-7, atol=1e-9)


@pytest.mark.parametrize("folder", PLAIN)
def test_real_series_equal_what_simpleitk_reads(folder):
    slices = real(folder)
    ours = convert(slices, quantity_of(slices[0])).value
    normal = np.cross(slices[0].ImageOrientationPatient[:3], slices[0].ImageOrientationPatient[3:])
    slices.sort(key=lambda dataset: float(np.dot(dataset.ImagePositionPatient, normal)))
    theirs = SimpleITK.ReadImage([dataset.filename for dataset in slices])
    assert np.allclose(ours.data, SimpleITK.GetArrayViewFromImage(theirs).T, rtol=2e-7, atol=1e-6)
    for corner in itertools.product(*((0, size - 1) for size in ours.data.shape)):
        x, y, z = theirs.TransformIndexToPhysicalPoint(corner)
        np.testing.assert_allclose((ours.affine @ (*corner, 1))[:3], (-x, -y, z), atol=1e-3)


@pytest.mark.parametrize("folder", REFUSED)
def test_real_series_that_are_no_plain_stack_are_refused_by_name(folder):
    slices = real(folder)
    assert refusal(slices, quantity_of(slices[0])).code == REFUSED[folder]


def test_the_orientation_phantom_equals_its_nifti_which_counts_slices_the_other_way():
    slices = real("ibsi2-orientation/dicom")
    ours = convert(slices, Quantity.ARBITRARY).value
    reference = nibabel.load(REAL / "ibsi2-orientation/nifti/image/orientation.nii.gz")
    # Slice k of the NIfTI is the DICOM slice at z = -2 k mm: the publisher wrote the one of the two mirrored.
    np.testing.assert_array_equal(ours.data[:, :, ::-1], np.asarray(reference.dataobj))
