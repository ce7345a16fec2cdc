"""Plans are read back as they were written, and a task without one is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.demo import make
from pipeline.index import index
from pipeline.io.document import canonical
from pipeline.io.workspace import create
from pipeline.model.errors import UsageError
from pipeline.model.record import Refusal
from pipeline.orders import read_order
from pipeline.plan import plan
from pipeline.planned import kept_out, planned, read_refusals

TASK = "Task09_Spleen"


def test_each_request_leads_to_its_planned_case(tmp_path: Path) -> None:
    make(tmp_path, tasks=[TASK], cases=2, seed=1, tell=lambda what: None)
    workspace = create(tmp_path / "ws")
    index(workspace, [tmp_path / "source"], None, lambda what, done, total: None)
    plan(workspace, [])
    (task,) = planned(workspace, [TASK])
    assert [read_order(workspace, request).plan for request in task.requests] == list(task.plans)
    assert task.published is not None


def test_a_task_without_a_plan_is_refused(tmp_path: Path) -> None:
    workspace = create(tmp_path / "ws")
    for tasks in ([], [TASK]):
        with pytest.raises(UsageError) as refused:
            planned(workspace, tasks)
        assert refused.value.code == "nothing-planned"


def test_what_review_keeps_out_is_no_refusal_of_a_build(tmp_path: Path) -> None:
    workspace = create(tmp_path / "ws")
    for case, stage in (("spleen_1", "convert"), ("spleen_2", "review")):
        refusal = Refusal(TASK, case, stage, "missing-slice", "all slices", "one less", "")
        (workspace.refusals / f"{TASK}-{case}.json").write_bytes(canonical(refusal.to_json()))
    assert [refusal.case for refusal in read_refusals(workspace, TASK)] == ["spleen_1"]
    assert [refusal.case for refusal in kept_out(workspace, TASK)] == ["spleen_2"]
