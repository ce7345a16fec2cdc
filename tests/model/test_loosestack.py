"""Slices that make no even stack are put where their headers say, within a tenth of a millimetre, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.index import look
from pipeline.io.dicom import read_dataset
from pipeline.model.errors import GeometryError
from pipeline.model.evenstack import Place
from pipeline.model.loosestack import LooseStack, loose_stack, straighten
from pipeline.model.rules import Geometry
from pipeline.model.volume import Quantity
from pipeline.stages.convert import convert
from pipeline.stages.ingest import ingest

WHY = "The expert accepts it."
TILT = Geometry(tilt="resample", why=WHY)
SPACING = Geometry(spacing="resample", why=WHY)
MISSING = Geometry(missing=2, why=WHY)
ALL = Geometry(tilt="resample", spacing="resample", missing=2, why=WHY)
REAL = Path(__file__).parents[3] / "shared/data/real"
SHAPE = (12, 9)
SPACINGS = (0.5, 0.8)
GRADIENT = np.array([3.0, -5.0, 7.0])


def field(mm: np.ndarray) -> np.ndarray:
    """A value for every place in RAS+ mm that linear interpolation hits exactly, whatever the direction."""
    values: np.ndarray = 1000 + mm @ GRADIENT
    return values


def sheared(heights: list[float], shear: tuple[float, float], turn: np.ndarray) -> list[Place]:
    row, column, normal = turn.T
    first, way = turn @ np.array([4, 5, 6]), normal + shear[0] * row + shear[1] * column
    return [Place(row, column, first + z * way, *SPACINGS, SHAPE) for z in heights]


def scanned(places: list[Place], stack: LooseStack) -> np.ndarray:
    """What a scanner would measure of the field, slice by slice, each at its own place."""
    i, j = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    slices = []
    for number in stack.order:
        place = places[number]
        lps = (
            place.position
            + i[..., None] * place.between_columns * place.row
            + j[..., None] * place.between_rows * place.column
        )
        slices.append(field(lps * [-1, -1, 1]))
    return np.stack(slices, axis=-1)


def rotation(angles: tuple[float, float]) -> np.ndarray:
    (a, b), c = np.radians(angles), np.cos
    s = np.sin
    around_z = np.array([[c(a), -s(a), 0], [s(a), c(a), 0], [0, 0, 1]])
    turn: np.ndarray = around_z @ np.array([[1, 0, 0], [0, c(b), -s(b)], [0, s(b), c(b)]])
    return turn


def millimetres(stack: LooseStack) -> np.ndarray:
    index = np.stack(np.meshgrid(*map(np.arange, stack.shape), indexing="ij"), axis=-1)
    placed: np.ndarray = index @ stack.affine[:3, :3].T + stack.affine[:3, 3]
    return placed


@settings(max_examples=30, deadline=None)
@given(
    shear=st.tuples(st.floats(-0.6, 0.6), st.floats(-0.6, 0.6)),
    angles=st.tuples(st.floats(-90, 90), st.floats(-90, 90)),
    steps=st.sampled_from([(4.0,) * 5, (4, 4, 4, 7, 7), (2.5, 2.5, 5, 2.5), (3.0, 4.1, 5.2)]),
)
def test_every_measured_voxel_holds_the_value_of_its_millimetre(
    shear: tuple[float, float], angles: tuple[float, float], steps: tuple[float, ...]
) -> None:
    places = sheared([0.0, *np.cumsum(steps)], shear, rotation(angles))
    stack = loose_stack(places[::-1], stated_mm=None, rule=ALL)
    slices = scanned(places[::-1], stack)
    data, measured = straighten(slices, stack)
    off = np.abs(data - field(millimetres(stack)))
    # Half a pixel at the rim repeats its neighbour; elsewhere a voxel is at most 0.1 mm off.
    inner = np.pad(measured, ((1, 1), (1, 1), (0, 0)))
    inner = inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:] & measured
    assert off[measured].max() <= 10 * max(SPACINGS)
    assert off[inner].max(initial=0) < 0.1 * np.linalg.norm(GRADIENT)
    assert np.array_equal(data[~measured], np.full((~measured).sum(), slices.min(), np.float32))


def test_a_slice_moved_by_whole_pixels_keeps_every_value() -> None:
    places = sheared([0, 4, 8], (0, 0.2), np.eye(3))  # 0.8 mm a slice is one row
    stack = loose_stack(places, stated_mm=None, rule=TILT)
    slices = np.random.default_rng(0).integers(-1000, 3000, (*SHAPE, 3)).astype(np.int16)
    data, measured = straighten(slices, stack)
    assert stack.shape == (12, 11, 3)
    for k in range(3):
        assert np.array_equal(data[:, k : k + 9, k], slices[:, :, k])
    assert measured.sum() == slices.size


def test_uneven_steps_become_even_and_both_ends_stay() -> None:
    places = sheared([0, 4, 8, 15, 22], (0, 0), np.eye(3))
    stack = loose_stack(places, stated_mm=None, rule=SPACING)
    assert stack.mended == ("variable-spacing",)
    assert stack.step_mm == pytest.approx(22 / 6)
    assert stack.planes[[0, -1]].tolist() == [0, 6]
    slices = scanned(places, stack)
    data, measured = straighten(slices, stack)
    assert measured.all()
    np.testing.assert_allclose(data, field(millimetres(stack)), atol=1e-3)
    assert np.array_equal(data[:, :, [0, -1]], slices[:, :, [0, -1]].astype(np.float32))


def test_a_missing_slice_is_the_mean_of_its_neighbours_and_the_others_stay() -> None:
    places = sheared([0, 2, 6, 8], (0, 0), np.eye(3))
    stack = loose_stack(places, stated_mm=None, rule=MISSING)
    slices = np.random.default_rng(1).integers(0, 9, (*SHAPE, 4)).astype(np.int16)
    data, _ = straighten(slices, stack)
    assert stack.mended == ("missing-slice",)
    assert np.array_equal(data[:, :, [0, 1, 3, 4]], slices)
    assert np.array_equal(data[:, :, 2], slices[:, :, 1:3].mean(axis=2))


@pytest.mark.parametrize(
    ("heights", "shear", "rule", "code"),
    [
        ([0, 2, 4], 0.3, SPACING, "gantry-tilt"),
        ([0, 2, 4], 1.1, TILT, "gantry-tilt"),
        ([0, 4, 8, 15], 0.3, TILT, "variable-spacing"),
        ([0, 1, 2, 3, 6.3], 0, SPACING, "variable-spacing"),
        ([0, 2, 10, 12], 0, MISSING, "missing-slice"),
        ([0, 2, 6, 8], 0.3, TILT, "missing-slice"),
        ([0, 2, 2, 4], 0.3, ALL, "duplicate-positions"),
    ],
)
def test_what_the_rule_does_not_name_or_goes_too_far_is_refused(
    heights: list[float], shear: float, rule: Geometry, code: str
) -> None:
    with pytest.raises(GeometryError) as refusal:
        loose_stack(sheared(heights, (0, shear), np.eye(3)), stated_mm=None, rule=rule)
    assert refusal.value.code == code


def test_slices_that_wander_are_no_tilt() -> None:
    places = sheared([0, 2, 4, 6], (0, 0.3), np.eye(3))
    places[2].position[1] += 1
    with pytest.raises(GeometryError, match="gantry-tilt"):
        loose_stack(places, stated_mm=None, rule=ALL)


@pytest.mark.parametrize(
    ("folder", "slices", "mended"),
    [
        ("ct-ge-tilt", 28, ("gantry-tilt", "variable-spacing")),
        ("miniatures/failing/gantrytilting", 4, ("gantry-tilt",)),
    ],
)
def test_a_real_tilted_gantry_stands_straight_and_keeps_its_values(
    folder: str, slices: int, mended: tuple[str, ...]
) -> None:
    if not REAL.is_dir():
        pytest.skip("../shared/data/real is not there")
    (stack,) = ingest(look(REAL / folder, lambda *told: None)).stacks
    assert len(stack.files) == slices
    datasets = [read_dataset(Path(file.ref.path).read_bytes()) for file in stack.files]
    step = convert(datasets, Quantity.HOUNSFIELD, geometry=ALL)
    note = step.note.facts["straightened"]
    assert tuple(note["mended"]) == mended  # type: ignore[index,call-overload,arg-type]
    for dataset in (datasets[0], datasets[-1]):
        rows, columns = dataset.Rows - 1, dataset.Columns - 1
        stored = dataset.pixel_array.astype(float) * dataset.RescaleSlope + dataset.RescaleIntercept
        origin = np.array(dataset.ImagePositionPatient, dtype=float)
        row, column = np.split(np.array(dataset.ImageOrientationPatient, dtype=float), 2)
        # Where a corner of the first and last slice's own header lies in the grid that was made.
        for i, j in ((0, 0), (columns, 0), (0, rows), (columns, rows)):
            lps = origin + i * dataset.PixelSpacing[1] * row + j * dataset.PixelSpacing[0] * column
            index = np.linalg.solve(step.value.affine, [*(lps * [-1, -1, 1]), 1])[:3]
            assert abs(index[2] - round(index[2])) * step.value.grid.spacing_mm[2] < 0.1
            # The tilt is around x: along a row nothing moves, along a column two pixels share.
            assert index[0] == pytest.approx(round(index[0]), abs=1e-3)
            near = step.value.data[tuple(np.rint(index).astype(int))]
            wanted = stored[max(j - 1, 0) : j + 2, i]
            assert wanted.min() <= near <= wanted.max()
