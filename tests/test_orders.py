"""What makes a case another one, and whether it fits, is said without making it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from pipeline.demo import make
from pipeline.index import index
from pipeline.io.document import read_line_at
from pipeline.io.policy import load_policy
from pipeline.io.workspace import Workspace, create
from pipeline.model.errors import SourceError
from pipeline.model.plan import CasePlan
from pipeline.model.rules import TaskRules
from pipeline.orders import Order, Orders, Request, admit, entry_of, read_order
from pipeline.plan import plan
from pipeline.planned import planned

TASK = "Task10_Colon"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("orders")
    make(folder, tasks=[TASK], cases=2, seed=1, tell=lambda what: None)
    made = create(folder / "ws")
    index(made, [folder / "source"], None, lambda what, done, total: None)
    plan(made, [])
    return made


@pytest.fixture
def request_(workspace: Workspace) -> Request:
    return planned(workspace, [])[0].requests[0]


def order(workspace: Workspace, request: Request) -> Order:
    return read_order(workspace, request)


def changed_rules(rules: TaskRules, **changes: object) -> TaskRules:
    return TaskRules.model_validate_json(json.dumps(json.loads(rules.model_dump_json()) | changes))


def test_what_decides_the_voxels_names_the_entry_and_nothing_else_does(
    workspace: Workspace, request_: Request
) -> None:
    made = order(workspace, request_)
    header = {**json.loads(made.rules.header.model_dump_json()), "description": "another text"}
    same = replace(made, rules=changed_rules(made.rules, header=header))
    turned = replace(made, plan=replace(made.plan, half_turn={"why": "w", "evidence": "e", "digest": ""}))
    label = json.loads(made.rules.label.model_dump_json())
    label["classes"][0]["from_names"] = ["another"]
    relabelled = replace(made, rules=changed_rules(made.rules, label=label))
    assert entry_of(same) == entry_of(made)
    assert len({entry_of(made), entry_of(turned), entry_of(relabelled)}) == 3
    bare = replace(made.plan, label=None)
    assert entry_of(replace(made, plan=bare)) == entry_of(replace(relabelled, plan=bare))


def test_the_order_holds_the_rules_that_were_planned(workspace: Workspace, request_: Request) -> None:
    line = read_line_at(workspace.plans / f"{TASK}.jsonl", request_.offset)
    assert (
        Orders.of(workspace, order(workspace, request_).rules).order(CasePlan.from_json(line)).plan.case
        == request_.case
    )


def test_a_case_that_cannot_fit_is_not_begun_and_says_what_it_needs(
    workspace: Workspace, request_: Request
) -> None:
    made = order(workspace, request_)
    need = made.plan.memory_need()
    rows_columns_slices = max(made.plan.voxels.values())
    assert need > 40 * rows_columns_slices > 0
    admit(made.plan, need)
    admit(made.plan, None)
    with pytest.raises(SourceError, match=f"a worker with {-(-need // 2**20)} MiB") as refused:
        admit(made.plan, need - 1)
    assert refused.value.code == "case-too-large"


def test_an_order_names_the_policy_that_the_door_goes_by(workspace: Workspace, request_: Request) -> None:
    assert order(workspace, request_).policy == load_policy(None).digest


def test_who_looks_at_a_workspace_or_hands_cases_out_loads_nothing_that_makes_voxels() -> None:
    script = "import sys, pipeline.status, pipeline.release; print({'SimpleITK', 'pydicom', 'dask'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    also = "import sys, pipeline.cluster.work; print({'SimpleITK', 'pydicom'} & set(sys.modules))"
    more = subprocess.run([sys.executable, "-c", also], check=True, capture_output=True, text=True).stdout
    assert (said, more) == ("set()\n", "set()\n")
