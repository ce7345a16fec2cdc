"""Make cases side by side on Dask workers, or one by one beside this process: the only Dask.

What is worth keeping lies in the store, never in Dask. So when a scheduler, a network or all workers are lost,
everything is started anew, asked for what has not ended, and finds finished what has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import dask
from distributed.system import MEMORY_LIMIT

from pipeline.case import Request
from pipeline.cluster.places import CONFIG, Grounds, opened
from pipeline.cluster.window import LOOK_EVERY_S, Item, Lost, StageTold, Window
from pipeline.cluster.work import Bench, Terms
from pipeline.io.workspace import Workspace
from pipeline.model.clusterfile import ClusterFile, LocalGroup, SchedulerGroup, fused
from pipeline.model.errors import UsageError
from pipeline.model.record import Outcome

__all__ = ["StageTold", "run_cases"]

_STARTS = 4
"""How often in a row all is started anew without one case ending in between."""


def run_cases(
    requests: Sequence[Request],
    *,
    workers: int | str | ClusterFile,
    workspace: Workspace,
    runs: Path,
    told: StageTold,
) -> Iterator[Outcome]:
    """Yield the outcome of every request as it ends; order does not matter to what is made.

    Parameters
    ----------
    workers
        1 works beside this process; more start as many processes on this machine; the address of a scheduler
        uses its workers; a cluster file says all else. Workers see the workspace and the sources under the same paths.
    runs
        Folder of the run's log: each process that works writes how its cases ended into a file of its own.

    Raises
    ------
    UsageError
        scheduler-unfit, when nobody answers at the address, or its workers run other code; cluster-lost, when
        scheduler or workers went again and again; and what a cluster file can be refused for.
    """
    file = _file(workers, len(requests))
    terms = Terms(
        str(workspace.root.resolve()), str(workspace.crashes.resolve()), str(runs), file.case_minutes * 60
    )
    if not requests:
        return
    if file.workers == LocalGroup(kind="local", workers=1):
        yield from _one_by_one(requests, terms, told)
        return
    grounds = Grounds(workspace.scratch, workspace.root / "logs", workspace.root / "tls")
    with dask.config.set(CONFIG):
        yield from _persistently(requests, _Run(file, terms, grounds, told))


def _file(workers: int | str | ClusterFile, most: int) -> ClusterFile:
    if isinstance(workers, ClusterFile):
        return workers
    if isinstance(workers, str):
        return fused(SchedulerGroup(kind="scheduler", address=workers))
    return fused(LocalGroup(kind="local", workers=max(1, min(workers, most))))


def _one_by_one(requests: Sequence[Request], terms: Terms, told: StageTold) -> Iterator[Outcome]:
    bench = Bench(terms, MEMORY_LIMIT)
    try:
        for request in requests:
            yield bench.make(request, lambda stage, name=request.case: told(name, stage))  # type: ignore[misc]
    finally:
        bench.close()


@dataclass(frozen=True, slots=True)
class _Run:
    """What stays the same however often all is started anew."""

    file: ClusterFile
    terms: Terms
    grounds: Grounds
    told: StageTold


def _persistently(requests: Sequence[Request], run: _Run) -> Iterator[Outcome]:
    """Yield every outcome, starting anew what was lost, as long as that helps."""
    open_ = {(request.task, request.case): request for request in requests}
    fruitless = 0
    while open_:
        before = len(open_)
        try:
            for outcome in _once(list(open_.values()), run):
                del open_[outcome.task, outcome.case]
                yield outcome
        except Lost:
            fruitless = 0 if len(open_) < before else fruitless + 1
            if fruitless == _STARTS:
                found = f"none, {_STARTS} times; {len(open_)} cases are open"
                raise UsageError(
                    "cluster-lost", wanted="a scheduler and workers that stay", found=found
                ) from None


def _once(requests: Sequence[Request], run: _Run) -> Iterator[Outcome]:
    """Yield outcomes until all have ended or a group is lost."""
    finished: SimpleQueue[tuple[Window, Any]] = SimpleQueue()
    with ExitStack() as stack:
        windows = []
        for name in run.file.groups:
            place = stack.enter_context(opened(run.file, name, run.grounds))
            windows.append(Window(place, make, run.terms, run.told, finished))
            windows[-1].open()
        windows[0].ready.extend(Item(request) for request in requests)
        while not all(window.is_idle for window in windows):
            for window in windows:
                window.look()
                window.fill()
            try:
                window, future = finished.get(timeout=LOOK_EVERY_S)
            except Empty:
                continue
            for _, result in window.take(future):
                yield result


def make(bench: Bench, item: Item, tell: Any) -> Outcome:
    """Make a whole case: what workers of one group do."""
    return bench.make(item.request, tell)
