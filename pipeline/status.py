"""Say what stands in a workspace, and what the next build would make, and why."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.io import ledger, store
from pipeline.io.decisions import last_decisions
from pipeline.io.diary import broken_off, going_on
from pipeline.io.ruleset import load_rules
from pipeline.io.workspace import Workspace, holder
from pipeline.model.difference import changes
from pipeline.model.record import Json
from pipeline.model.review import NOT_REVIEWED, STANDINGS, seen_of, standing
from pipeline.orders import Orders, entry_of
from pipeline.planned import Planned, planned, read_refusals

NEW = "no earlier build of this case is in the store"
_MOST = 8
"""How many changed inputs of one case are named."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A case that the next build would make: what changed since it was made last, or that it never was."""

    case: str
    why: Sequence[str]

    def to_json(self) -> dict[str, Json]:
        """Return the case as one JSON object."""
        return {"case": self.case, "why": list(self.why)}


def status(workspace: Workspace) -> dict[str, Json]:
    """Return what is indexed, planned, finished and refused, what would be made and why, and files' fates in counts.

    Also what is at work now: `running`, None when nothing is; and `killed`, the last command if it came to no end.
    The store is looked through for earlier builds only where a planned case is not in it.
    """
    fates = ledger.read_fates(workspace.private / "fates.csv")
    codes = Counter((row["fate"], row["code"]) for row in fates)
    counts: Counter[str] = Counter()
    for (fate, _), number in codes.items():
        counts[fate] += number
    plans = planned(workspace, []) if any(workspace.plans.glob("*.jsonl")) else []
    process = holder(workspace)
    return {
        "running": None if process is None else going_on(workspace.runs, process),
        "killed": broken_off(workspace.runs) if process is None else "",
        "files": codes.total(),
        "fates": dict(sorted(counts.items())),
        "codes": {f"{fate}: {code}": n for (fate, code), n in sorted(codes.items()) if code},
        "tasks": _tasks(workspace, plans),
    }


def _tasks(workspace: Workspace, plans: Sequence[Planned]) -> list[Json]:
    now = load_rules(workspace.own_rules) if plans else {}
    waiting = {plan.task: _waiting(workspace, plan) for plan in plans}
    wanted = {(task, name) for task, inputs in waiting.items() for name in inputs}
    earlier = _earlier(workspace.store, wanted) if wanted else {}
    return [
        _counts(workspace, plan, waiting[plan.task], earlier)
        # Nobody knows where rules are now that were given to `plan` alone.
        | {"rules_changed": plan.task in now and now[plan.task].digest != plan.header["digest"]}
        for plan in plans
    ]


def _waiting(workspace: Workspace, plan: Planned) -> dict[str, Mapping[str, Any]]:
    """Return case -> inputs of the planned cases that are not in the store."""
    orders = Orders.of(workspace, plan.rules)
    found = (orders.order(case) for case in plan.plans)
    return {
        order.plan.case: order.inputs()
        for order in found
        if not store.is_there(workspace.store, entry_of(order))
    }


def _earlier(folder: Path, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], list[Mapping[str, Any]]]:
    """Return (task, case) -> what the entries of the store that hold it were made from."""
    found = defaultdict(list)
    for _, action in store.actions(folder):
        name = (str(action.get("task")), str(action.get("case")))
        if name in wanted:
            found[name].append(action)
    return found


def _counts(
    workspace: Workspace,
    plan: Planned,
    waiting: Mapping[str, Mapping[str, Any]],
    earlier: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]],
) -> dict[str, Json]:
    refused = {refusal.case for refusal in read_refusals(workspace, plan.task)}
    pending = [Pending(name, _why(now, earlier.get((plan.task, name), ()))) for name, now in waiting.items()]
    return {
        "task": plan.task,
        "planned": len(plan.plans),
        "finished": len(plan.plans) - len(waiting),
        "refused": len(plan.refusals) + sum(name in refused for name in waiting),
        "pending": sum(name not in refused for name in waiting),
        "next_build": [case.to_json() for case in pending],
        "review": _review(workspace, plan, waiting),
    }


def _review(workspace: Workspace, plan: Planned, waiting: Container[str]) -> dict[str, Json]:
    """Return how many finished cases stand how in review; only of decided cases are the records read."""
    decisions, orders = last_decisions(workspace, plan.task), Orders.of(workspace, plan.rules)
    counts = Counter(dict.fromkeys(STANDINGS, 0))
    for case in plan.plans:
        if case.case not in waiting:
            kept = decisions.get(case.case)
            record = None if kept is None else store.glance(workspace.store, entry_of(orders.order(case)))
            counts[NOT_REVIEWED if record is None else standing(kept, seen_of(record))] += 1
    return dict(counts)


def _why(now: Mapping[str, Any], before: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what differs from the most similar earlier build."""
    told = [[f"{'.'.join(path)} {one} -> {other}" for path, (one, other) in changes(e, now)] for e in before]
    nearest = min(told, key=len, default=[NEW])
    if not nearest:
        return ["the finished case is damaged or gone"]
    return nearest if len(nearest) <= _MOST else [*nearest[:_MOST], f"and {len(nearest) - _MOST} more"]
