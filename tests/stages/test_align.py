"""A channel comes onto another grid without moving in millimetres and without new extremes."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK

from pipeline.model.errors import GeometryError
from pipeline.model.volume import Grid, Quantity, Volume
from pipeline.stages.align import align


def ramp(shape, affine, slope=(2.0, -3.0, 5.0)) -> np.ndarray:
    """A linear function of the RAS+ millimetres at each voxel: linear interpolation reproduces it."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return (index @ affine[:3, :3].T + affine[:3, 3]) @ np.array(slope)


def affine_of(spacing, origin=(0, 0, 0), turn=0.0) -> np.ndarray:
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) * spacing
    affine[:3, 3] = origin
    return affine


def test_the_same_grid_leaves_the_voxels_untouched_and_gives_the_references_affine():
    affine = affine_of((1, 1, 3))
    nudged = affine.copy()
    nudged[:3, 3] += 1e-4
    volume = Volume(np.arange(24, dtype=np.int16).reshape(2, 3, 4), nudged, Quantity.ADC)
    step = align(volume, Grid((2, 3, 4), affine))
    assert step.note.facts["resampled"] is False
    assert step.value.data.dtype == np.int16
    assert step.value.quantity is Quantity.ADC
    np.testing.assert_array_equal(step.value.data, volume.data)
    np.testing.assert_array_equal(step.value.affine, affine)


@pytest.mark.parametrize("turn", [0, 7])
def test_a_ramp_in_millimetres_stays_that_ramp_on_another_grid(turn):
    source = affine_of((2, 2.5, 4), (-40, -50, -40), turn)
    target = affine_of((0.7, 0.9, 3), (-10, -12, -10))
    volume = Volume(ramp((40, 40, 20), source).astype(np.float32), source)
    onto = Grid((20, 22, 6), target)
    step = align(volume, onto)
    assert step.value.data.dtype == np.float32
    assert step.note.facts["outside_voxels"] == 0
    np.testing.assert_allclose(step.value.data, ramp(onto.shape, target), atol=1e-3)


def test_a_flipped_copy_of_the_grid_gives_the_flipped_voxels():
    data = np.random.default_rng(3).integers(-1000, 1000, (5, 6, 7)).astype(np.int16)
    affine = affine_of((1, 2, 3), (4, 5, 6))
    flipped = affine.copy()
    flipped[:3, 3] += flipped[:3, 0] * 4
    flipped[:3, 0] *= -1
    step = align(Volume(data, affine), Grid((5, 6, 7), flipped))
    np.testing.assert_array_equal(step.value.data, data[::-1])


@pytest.mark.parametrize("origin", [0.1, 1 / 3, -123.456789])
def test_a_finer_grid_with_the_same_faces_has_no_voxel_outside(origin):
    # 4 voxels of 3 mm and 20 of 0.6 mm cover the same 12 mm; centres at the faces must count as inside.
    coarse, fine = affine_of((3, 3, 3), [origin] * 3), affine_of((0.6, 0.6, 0.6), [origin - 1.5 + 0.3] * 3)
    step = align(Volume(np.ones((4, 4, 4), np.int16), coarse), Grid((20, 20, 20), fine))
    assert step.note.facts["outside_voxels"] == 0


def test_a_centre_exactly_on_the_outer_face_is_inside():
    source, target = affine_of((1, 1, 1)), affine_of((0.5, 1, 1), (-0.5, 0, 0))
    data = np.arange(1, 5, dtype=np.float32).reshape(4, 1, 1)
    step = align(Volume(data, source), Grid((9, 1, 1), target))
    assert step.note.facts["outside_voxels"] == 0
    np.testing.assert_allclose(step.value.data.ravel(), [1, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4])


@pytest.mark.parametrize("origin", [0.1, 1 / 3, -123.456789, 77.7])
@pytest.mark.parametrize("spacing", [0.1, 0.7, 1.1])
def test_rounding_puts_no_centre_on_the_outer_face_outside(origin, spacing):
    source = affine_of([spacing] * 3, [origin] * 3)
    target = affine_of([spacing / 2] * 3, [origin - spacing / 2] * 3)
    step = align(Volume(np.ones((7, 7, 7), np.int16), source), Grid((15, 15, 15), target))
    assert step.note.facts["outside_voxels"] == 0


def test_places_outside_the_field_are_counted_and_take_the_smallest_value():
    data = np.full((4, 4, 4), 50, np.int16)
    data[1, 1, 1] = -7
    step = align(Volume(data, affine_of((1, 1, 1))), Grid((5, 4, 4), affine_of((1, 1, 1), (1, 0, 0))))
    assert step.note.facts["outside_voxels"] == 2 * 16
    assert step.note.facts["outside_value"] == "-7"
    assert (step.value.data[3:] == -7).all()


def test_a_channel_of_another_region_is_refused():
    with pytest.raises(GeometryError) as refusal:
        align(
            Volume(np.ones((4, 4, 4)), affine_of((1, 1, 1))),
            Grid((4, 4, 4), affine_of((1, 1, 1), (2.6, 0, 0))),
        )
    assert refusal.value.code == "outside-view"


def test_no_value_leaves_the_range_that_came_in():
    data = np.random.default_rng(5).normal(size=(9, 9, 9)).astype(np.float32)
    onto = Grid((17, 17, 17), affine_of((0.51, 0.49, 0.5), turn=3))
    aligned = align(Volume(data, affine_of((1, 1, 1))), onto).value.data
    assert aligned.min() >= data.min()
    assert aligned.max() <= data.max()


def test_the_bytes_do_not_depend_on_the_number_of_threads():
    data = np.random.default_rng(6).normal(size=(16, 17, 18))
    onto = Grid((31, 29, 33), affine_of((0.5, 0.5, 0.5), (0.2, 0.3, 0.1), 5))
    volume = Volume(data, affine_of((1, 1, 1)))
    threads = SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads()
    results = set()
    try:
        for number in (1, 2, 7):
            SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(number)
            results.add(align(volume, onto).value.data.tobytes())
    finally:
        SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    assert len(results) == 1
