from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from phantom_reading import Phantom

from pipeline.demo.cases import TASKS
from pipeline.demo.sites import SITES
from pipeline.demo.subject import CasePlan, build, channel_acquisition, reference_acquisition

BY_NAME = {plan.task: plan for plan in TASKS}
PLANS = [CasePlan(plan, index, 0, None, None, False) for plan in TASKS for index in range(8)]


def plan_of(task: str, index: int, *, is_turned: bool = False) -> CasePlan:
    return CasePlan(BY_NAME[task], index, 0, None, None, is_turned)


def test_the_demo_meets_every_site_plane_and_position() -> None:
    default = [plan for plan in PLANS if plan.index < 4]

    assert {plan.site for plan in default} == set(SITES)
    assert {plan.plane for plan in default} == {"axial", "axial-tilted", "sagittal", "coronal", "oblique"}
    assert {plan.position for plan in default} == {"HFS", "FFS"}


@pytest.mark.parametrize("task", sorted(BY_NAME))
def test_a_tasks_first_subjects_come_from_four_vendors(task: str) -> None:
    assert len({plan_of(task, index).site.vendor for index in range(4)}) == 4


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: f"{plan.task.task} {plan.index}")
def test_no_axis_is_like_another(plan: CasePlan) -> None:
    for channel in plan.task.channels:
        place = channel_acquisition(plan, channel)
        assert len(set(place.shape)) == 3
        assert len({place.row_mm, place.column_mm, place.slice_mm}) == 3


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: f"{plan.task.task} {plan.index}")
def test_a_slice_spacing_is_not_round_when_slices_are_miscounted(plan: CasePlan) -> None:
    place = reference_acquisition(plan)
    miscounted = place.slice_mm * place.shape[2] / (place.shape[2] - 1)

    assert abs(miscounted - round(miscounted, 2)) > 1e-6


@pytest.mark.parametrize("index", range(8))
def test_the_adc_map_is_coarser_and_covers_the_whole_t2(index: int) -> None:
    plan = plan_of("Task05_Prostate", index)
    t2, adc = (channel_acquisition(plan, channel).grid for channel in plan.task.channels)
    ends = np.array([(i, j, k, 1) for i in (0, 1) for j in (0, 1) for k in (0, 1)]) * [
        *(n - 1 for n in t2.shape),
        1,
    ]
    indices = (np.linalg.inv(adc.affine) @ t2.affine @ ends.T)[:3].T

    assert (indices > 0).all()
    assert (indices < np.array(adc.shape) - 1).all()
    assert adc.voxel_ml > t2.voxel_ml


def test_rescale_of_magnitude_images_is_missing_right_or_odd(phantom: Phantom) -> None:
    slopes = {
        str(phantom.series[channel["series"]][0].get("RescaleSlope", "none"))
        for _, subject in phantom.subjects()
        for channel in subject["channels"].values()
        if channel["quantity"] == "arbitrary"
    }

    assert {"none", "1"} < slopes
    assert len(slopes) >= 4


def test_ct_is_stored_signed_unsigned_and_padded(phantom: Phantom) -> None:
    kinds = {
        (image.PixelRepresentation, float(image.RescaleIntercept), "PixelPaddingValue" in image)
        for _, subject in phantom.subjects()
        for channel in subject["channels"].values()
        if channel["quantity"] == "hounsfield"
        for image in phantom.series[channel["series"]]
    }

    assert kinds == {(0, -1024.0, False), (1, 0.0, False), (1, -1024.0, True)}


def test_turning_changes_what_is_stored_and_not_the_truth() -> None:
    straight, turned = (build(plan_of("Task02_Heart", 1, is_turned=is_turned)) for is_turned in (False, True))
    first, second = (made.truth.channels["MRI"][0] for made in (straight, turned))

    assert np.array_equal(first, second)
    assert straight.truth.label is not None
    assert turned.truth.label is not None
    assert np.array_equal(straight.truth.label[0], turned.truth.label[0])
    assert straight.files.keys() == turned.files.keys()
    assert straight.files != turned.files


def test_only_rows_that_rules_cannot_decide_name_a_series_or_a_study() -> None:
    rows = {
        (task, index): build(plan_of(task, index)).row
        for task, index in (
            ("Task05_Prostate", 0),
            ("Task05_Prostate", 2),
            ("Task09_Spleen", 0),
            ("Task09_Spleen", 1),
        )
    }

    assert [bool(row.get("T2")) for row in rows.values()] == [False, True, False, False]
    assert [bool(row["study"]) for row in rows.values()] == [False, False, False, True]


@pytest.mark.slow
@pytest.mark.parametrize(
    "plan", [plan for plan in PLANS if plan.index >= 4], ids=lambda plan: f"{plan.task.task} {plan.index}"
)
def test_longer_demos_can_be_made_with_other_people(plan: CasePlan) -> None:
    made = build(replace(plan, seed=7))

    assert made.files
    assert (made.truth.label is None) == (plan.label_kind == "none")
