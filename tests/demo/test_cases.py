from __future__ import annotations

import pytest

from pipeline.demo.cases import MASK_KINDS, TASKS, TEST_EVERY, TURNED_CASES, TURNED_TASKS, TaskPlan
from pipeline.io.ruleset import load_rules

RULES = load_rules()
every_task = pytest.mark.parametrize("plan", TASKS, ids=lambda plan: plan.task)


def test_the_phantom_has_the_tasks_that_have_rules() -> None:
    assert [plan.task for plan in TASKS] == sorted(RULES)


@every_task
def test_channels_and_classes_are_those_of_the_rules(plan: TaskPlan) -> None:
    rules = RULES[plan.task].rules

    assert [channel.name for channel in plan.channels] == [channel.name for channel in rules.channels]
    assert list(plan.class_names) == [klass.name for klass in rules.label.classes]


@every_task
def test_every_class_is_an_organ_and_every_organ_has_a_value(plan: TaskPlan) -> None:
    assert {organ.klass for organ in plan.organs} - {0} == set(range(1, len(plan.class_names) + 1))
    for channel in plan.channels:
        assert {"air", "body", "marker", *(organ.tissue for organ in plan.organs)} <= set(channel.values)


@every_task
def test_only_the_subject_for_testing_may_have_no_label(plan: TaskPlan) -> None:
    assert len(plan.labels) == len(plan.planes) == TEST_EVERY
    assert "none" not in plan.labels[:-1]
    # Without a table, only a missing label says who is for testing.
    assert plan.published or plan.labels[-1] == "none"


def test_every_kind_of_label_occurs_and_liver_vessel_and_spleen_have_both_objects() -> None:
    kinds = {plan.task: set(plan.labels) for plan in TASKS}

    assert set().union(*kinds.values()) == {*MASK_KINDS, "seg", "rtstruct", "none"}
    for task in ("Task03_Liver", "Task08_HepaticVessel", "Task09_Spleen"):
        assert {"seg", "rtstruct"} <= kinds[task]


def test_the_rules_turn_the_cases_that_the_phantom_turns() -> None:
    for task in TURNED_TASKS:
        loaded = RULES[task]
        assert loaded.published is not None
        training = sorted(loaded.published.training, key=lambda case: int(case.split("_")[1]))
        # Every fourth subject is for testing, so the sixth is the fifth for training.
        ids = [training[index - index // TEST_EVERY] for index in TURNED_CASES]

        assert [turn.case for turn in loaded.rules.half_turns] == ids
