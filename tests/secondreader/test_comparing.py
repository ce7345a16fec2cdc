"""Released channels against their source files: the same, another, or out of the second reader's reach."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from placed_source import Source, ramp

from pipeline.secondreader import Opinion, Reason, Released, compare

SOURCE = Source(ramp())
KEEP = {"stage": "scale", "method": "keep"}


def to_ras(data: npt.NDArray[Any], affine: npt.NDArray[np.float64]) -> Released:
    """Return the oblique source's voxels with i, j, k towards R, A, S: rows go left, columns down, slices forth."""
    turned = data[::-1, ::-1, :].transpose(0, 2, 1)
    moved = affine @ [
        [-1, 0, 0, data.shape[0] - 1],
        [0, 0, -1, data.shape[1] - 1],
        [0, 1, 0, 0],
        [0, 0, 0, 1],
    ]
    return Released(turned, moved)


def opinion(
    released: Released, folder: Path, *notes: dict[str, Any], source: Source = SOURCE, **elements: Any
) -> Opinion:
    files = source.write(folder / "source", **elements)
    return compare(released, files, notes=notes, scratch=folder)


def stages(found: Opinion) -> Sequence[str]:
    return [difference.stage for difference in found.differences]


@pytest.fixture
def released() -> Released:
    return to_ras(SOURCE.values.astype(np.int16), SOURCE.affine)


def test_the_same_voxels_in_another_order_of_axes_are_no_difference(
    released: Released, tmp_path: Path
) -> None:
    assert opinion(released, tmp_path, KEEP) == Opinion()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_mirrored_axis_is_found(released: Released, tmp_path: Path, axis: int) -> None:
    assert stages(opinion(Released(np.flip(released.voxels, axis), released.affine), tmp_path, KEEP)) == [
        "convert"
    ]


def test_one_voxel_of_another_value_is_found(released: Released, tmp_path: Path) -> None:
    voxels = released.voxels.copy()
    voxels[2, 1, 3] += 1
    assert stages(opinion(Released(voxels, released.affine), tmp_path, KEEP)) == ["convert"]


@pytest.mark.parametrize(("shift_mm", "found"), [(0.05, []), (0.2, ["convert"])])
def test_a_place_is_held_to_a_tenth_of_a_millimetre(
    released: Released, tmp_path: Path, shift_mm: float, found: list[str]
) -> None:
    affine = released.affine.copy()
    affine[2, 3] += shift_mm
    assert stages(opinion(Released(released.voxels, affine), tmp_path, KEEP)) == found


def test_a_slice_that_is_not_where_the_stack_has_it_is_found(released: Released, tmp_path: Path) -> None:
    files = SOURCE.write(tmp_path / "source")
    other = Source(ramp(), step=2.5).write(tmp_path / "other")
    found = compare(released, [files[0], files[1], other[2]], notes=[KEEP], scratch=tmp_path)
    assert stages(found) == ["convert"]


def test_a_missing_slice_is_found(released: Released, tmp_path: Path) -> None:
    assert compare(released, SOURCE.write(tmp_path)[:2], notes=[KEEP], scratch=tmp_path).differences


def scaled(low: float, high: float) -> tuple[Released, dict[str, Any]]:
    values = np.clip((SOURCE.values - low) / (high - low) * 1000, 0, 1000).astype(np.float32)
    note = {
        "stage": "scale", "method": "robust_min_max", "percentiles": ["2", "98"], "over": "all",
        "low": str(low), "high": str(high), "range": ["0", "1000"],
    }  # fmt: skip
    return to_ras(values, SOURCE.affine), note


def test_a_scaled_channel_is_held_to_its_noted_cut_offs(tmp_path: Path) -> None:
    low, high = np.percentile(SOURCE.values, [2, 98]).tolist()
    assert opinion(*scaled(low, high)[:1], tmp_path, scaled(low, high)[1]) == Opinion()
    assert stages(opinion(scaled(low, high)[0], tmp_path, scaled(low, high + 1)[1])) == ["scale", "convert"]


def test_cut_offs_that_are_not_the_percentiles_are_found(tmp_path: Path) -> None:
    low, high = np.percentile(SOURCE.values, [5, 95]).tolist()
    assert stages(opinion(scaled(low, high)[0], tmp_path, scaled(low, high)[1])) == ["scale"]


def test_a_turned_channel_is_compared_as_it_was(released: Released, tmp_path: Path) -> None:
    turned = Released(released.voxels[::-1, ::-1], released.affine)
    assert opinion(turned, tmp_path, KEEP, {"stage": "fix", "half_turn": "axial"}) == Opinion()
    assert opinion(turned, tmp_path / "2", KEEP).differences


@pytest.mark.parametrize("wrong", [0.0, 3.0])
def test_a_resampled_channel_is_compared_within_its_own_voxels(
    released: Released, tmp_path: Path, wrong: float
) -> None:
    # The ramp is linear, so that half a voxel further each value is half a step more.
    affine = released.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [0.5, 0.5, 0.5]
    halfway = released.voxels + (np.diff(released.voxels, axis=0)[0, 0, 0] + np.diff(released.voxels, axis=1)[0, 0, 0]
                                 + np.diff(released.voxels, axis=2)[0, 0, 0]) / 2  # fmt: skip
    note = {"stage": "align", "resampled": True, "shape_before": list(released.voxels.shape),
            "affine_before": [[str(x) for x in row] for row in released.affine]}  # fmt: skip
    found = opinion(Released((halfway + wrong).astype(np.float32), affine), tmp_path, KEEP, note)
    assert stages(found) == (["align"] if wrong else [])


@pytest.mark.parametrize(
    ("note", "reason"),
    [
        ({"stage": "convert", "straightened": {}}, Reason.INTERPOLATED),
        ({"stage": "convert", "values": "rwvm"}, Reason.REAL_WORLD_VALUES),
        ({"stage": "convert", "rescale": [{"lut": True, "slices": 3}]}, Reason.MODALITY_LUT),
        ({"stage": "convert", "values": "as stored"}, Reason.FILE),
        ({"stage": "register"}, Reason.MOVED),
        ({"stage": "strip"}, Reason.MASKED),
    ],
)
def test_what_the_second_reader_is_known_not_to_do_is_a_reason_and_no_difference(
    released: Released, tmp_path: Path, note: dict[str, Any], reason: Reason
) -> None:
    other = Released(released.voxels * 0, released.affine)
    assert opinion(other, tmp_path, KEEP, note) == Opinion(reason=reason, reader="none")


def test_suv_is_compared_in_its_own_unit(tmp_path: Path) -> None:
    suv = to_ras((SOURCE.values * 0.125).astype(np.float32), SOURCE.affine)
    assert opinion(suv, tmp_path, KEEP, {"stage": "convert", "suv_g_per_bq": "0.125"}) == Opinion()


def test_frames_of_one_file_are_compared_as_the_plan_takes_them(released: Released, tmp_path: Path) -> None:
    path = SOURCE.write_enhanced(tmp_path / "enhanced")
    frames = [(0, frame) for frame in range(3)]
    assert compare(released, [path], frames=frames, notes=[KEEP], scratch=tmp_path) == Opinion()
    assert compare(released, [path], frames=frames[:2], notes=[KEEP], scratch=tmp_path).differences


@pytest.mark.parametrize(("noted", "found"), [(2, []), (1, ["convert"])])
def test_padding_that_a_rule_changed_is_excused_as_often_as_noted(
    released: Released, tmp_path: Path, noted: int, found: list[str]
) -> None:
    voxels = released.voxels.copy()
    voxels[0, 0, 0] = voxels[1, 1, 1] = -3000
    note = {"stage": "convert", "padding": {"becomes": "-3000", "voxels": noted}}
    assert stages(opinion(Released(voxels, released.affine), tmp_path, KEEP, note)) == found


FACE = {"stage": "face", "treatment": "deface", "removed_voxels": 2}


@pytest.mark.parametrize(("emptied", "found"), [(2, []), (3, ["convert"])])
def test_a_defaced_channel_may_differ_in_as_many_smallest_values_as_were_noted(
    released: Released, tmp_path: Path, emptied: int, found: list[str]
) -> None:
    voxels = released.voxels.copy()
    voxels.ravel()[np.argsort(voxels, axis=None)[-emptied:]] = voxels.min()
    opinion_of = opinion(Released(voxels, released.affine), tmp_path, KEEP, FACE)

    assert (stages(opinion_of), opinion_of.reason) == (found, Reason.DEFACED)


def test_a_defaced_channel_with_any_other_value_elsewhere_is_found(
    released: Released, tmp_path: Path
) -> None:
    voxels = released.voxels.copy()
    voxels[2, 1, 3] += 1
    assert stages(opinion(Released(voxels, released.affine), tmp_path, KEEP, FACE)) == ["convert"]


@pytest.mark.parametrize(("columns", "found"), [((1, 3), []), ((1, 2), ["convert"])])
def test_a_covered_channel_is_compared_with_the_noted_places_covered(
    tmp_path: Path, columns: tuple[int, int], found: list[str]
) -> None:
    values = SOURCE.values.astype(np.int16)
    values[1:3, 0:2, :] = values.min(axis=(0, 1))
    place = {"rows": [0, 2], "columns": list(columns), "slices": "all"}
    note = {"stage": "screen", "covered": {"places": [place]}}
    opinion_of = opinion(to_ras(values, SOURCE.affine), tmp_path, KEEP, note)

    assert (stages(opinion_of), opinion_of.reason) == (found, Reason.COVERED)
