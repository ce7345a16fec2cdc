"""Tasks' plans as they stand in a workspace, and what of them was refused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.io.planfile import read_plan
from pipeline.io.workspace import Workspace
from pipeline.model.errors import UsageError
from pipeline.model.plan import CasePlan
from pipeline.model.record import Refusal
from pipeline.model.rules import PublishedSplit, TaskRules
from pipeline.orders import Request
from pipeline.stages.review import STAGE as REVIEW


@dataclass(frozen=True, slots=True)
class Planned:
    """One task's plan as it stands in the workspace."""

    task: str
    header: Mapping[str, Any]
    requests: Sequence[Request]
    plans: Sequence[CasePlan]
    refusals: Sequence[Refusal]

    @property
    def rules(self) -> TaskRules:
        """The rules it was planned under."""
        return TaskRules.model_validate_json(self.header["rules"])

    @property
    def published(self) -> PublishedSplit | None:
        """The published ids, if the task has them."""
        text = self.header["published"]
        return None if text is None else PublishedSplit.model_validate_json(text)


def planned(workspace: Workspace, tasks: Sequence[str]) -> list[Planned]:
    """Return the plans of the tasks asked for, or of all that are planned.

    Raises
    ------
    UsageError
        nothing-planned, naming the first task without a plan.
    """
    names = sorted(set(tasks)) or sorted(path.stem for path in workspace.plans.glob("*.jsonl"))
    if not names:
        raise UsageError("nothing-planned", wanted="a plan", found="none")
    for name in names:
        if not (workspace.plans / f"{name}.jsonl").exists():
            raise UsageError("nothing-planned", wanted=f"a plan of {name}", found="none")
    return [_read_plan(workspace, name) for name in names]


def _read_plan(workspace: Workspace, task: str) -> Planned:
    made = read_plan(workspace.plans / f"{task}.jsonl")
    root = str(workspace.root.resolve())
    places = zip(made.names, made.cases.offsets, strict=True)
    requests = [Request(root, task, case, offset) for case, offset in places]
    return Planned(task, made.header, requests, made.cases, made.refusals)


def _refusal(document: Mapping[str, Any]) -> Refusal:
    return Refusal(**{name: document[name] for name in Refusal.__slots__})


def read_refusals(workspace: Workspace, task: str) -> list[Refusal]:
    """Return the refusals of a task's last build, plan's and build's."""
    return [refusal for refusal in _recorded(workspace, task) if refusal.stage != REVIEW]


def kept_out(workspace: Workspace, task: str) -> list[Refusal]:
    """Return the finished cases of a task that review kept out of the last pack."""
    return [refusal for refusal in _recorded(workspace, task) if refusal.stage == REVIEW]


def _recorded(workspace: Workspace, task: str) -> list[Refusal]:
    paths = sorted(workspace.refusals.glob(f"{task}-*.json"))
    return [_refusal(json.loads(path.read_bytes())) for path in paths]
