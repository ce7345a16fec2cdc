"""Find the finished cases of a plan."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pipeline.io import store
from pipeline.io.workspace import Workspace
from pipeline.orders import Orders, entry_of
from pipeline.planned import Planned


def finished_cases(
    workspace: Workspace, plan: Planned, only: Collection[str] | None = None
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (entry, record) of the planned cases that stand in the store, by number; of all, or of those named."""
    orders = Orders.of(workspace, plan.rules)
    wanted = (case for case in plan.plans if only is None or case.case in only)
    for case in sorted(wanted, key=lambda each: int(each.case.rpartition("_")[2])):
        entry = entry_of(orders.order(case))
        record = store.glance(workspace.store, entry)
        if record is not None:
            yield entry, record
