"""Only what stands in the store is finished."""

from __future__ import annotations

import shutil

from pipeline.io.workspace import Workspace
from pipeline.planned import planned
from pipeline.review.finished import finished_cases

SPLEEN = "Task09_Spleen"


def cases(workspace: Workspace, only: set[str] | None = None) -> list[str]:
    (plan,) = planned(workspace, [SPLEEN])
    return [record["case"] for _, record in finished_cases(workspace, plan, only)]


def test_finished_cases_come_by_number(workspace: Workspace) -> None:
    found = cases(workspace)

    assert len(found) == 4
    assert found == sorted(found, key=lambda case: int(case.rpartition("_")[2]))


def test_only_the_cases_that_are_named_are_looked_for(workspace: Workspace) -> None:
    first, *_ = cases(workspace)

    assert cases(workspace, {first, "spleen_999"}) == [first]


def test_a_case_that_is_gone_from_the_store_is_not_finished(workspace: Workspace) -> None:
    shutil.rmtree(workspace.store)

    assert cases(workspace) == []
