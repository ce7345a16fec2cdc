"""Make cases side by side on Dask workers, or one by one beside this process: the only Dask.

What is worth keeping lies in the store, never in Dask. So when a scheduler, a network or all workers are lost,
everything is started anew, asked for what has not ended, and finds finished what has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from types import ModuleType
from typing import Any

import dask
from distributed.system import MEMORY_LIMIT

from pipeline.cluster.places import Grounds, config_of, opened
from pipeline.cluster.window import LOOK_EVERY_S, Item, Lost, StageTold, Window, Work
from pipeline.cluster.work import Bench, Terms
from pipeline.io.workspace import Workspace
from pipeline.model.clusterfile import ClusterFile, LocalGroup, SchedulerGroup, fused
from pipeline.model.errors import UsageError
from pipeline.model.record import Handed, Outcome, Refusal
from pipeline.orders import Request

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
    root = workspace.root.resolve()
    terms = Terms(str(root), str(workspace.crashes.resolve()), str(runs.resolve()), file.case_minutes * 60)
    if not requests:
        return
    if file.workers == LocalGroup(kind="local", workers=1):
        yield from _one_by_one(requests, terms, told)
        return
    grounds = Grounds(workspace.scratch, root / "jobs", root / "tls")
    with dask.config.set(config_of(file)):
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

    @property
    def staging(self) -> str:
        """Where one zone hands over to the other."""
        return self.file.staging or str(Path(self.terms.root) / "staging")

    def job(self, group: str) -> tuple[Work, Terms]:
        """Return what a group does with a case, and its terms: `clean` may not even write below private/."""
        if group == "phi":
            return partial(_open_door, self.staging), self.terms
        if group == "clean":
            crashes = str(Path(self.terms.root) / "crashes")
            return partial(_finish, str(Path(self.terms.root) / "store")), replace(self.terms, logs=crashes)
        return _make, self.terms


def _persistently(requests: Sequence[Request], run: _Run) -> Iterator[Outcome]:
    """Yield every outcome, starting anew what was lost, as long as that helps."""
    open_ = {(request.task, request.case): request for request in requests}
    fruitless, is_again = 0, False
    while open_:
        before = len(open_)
        try:
            for outcome in _once(list(open_.values()), run, is_again=is_again):
                del open_[outcome.task, outcome.case]
                yield outcome
        except Lost:
            is_again = True
            fruitless = 0 if len(open_) < before else fruitless + 1
            if fruitless == _STARTS:
                found = f"none, {_STARTS} times; {len(open_)} cases are open"
                raise UsageError(
                    "cluster-lost", wanted="a scheduler and workers that stay", found=found
                ) from None


def _once(requests: Sequence[Request], run: _Run, *, is_again: bool) -> Iterator[Outcome]:
    """Yield outcomes until all have ended or a group is lost."""
    finished: SimpleQueue[tuple[Window, Any]] = SimpleQueue()
    with ExitStack() as stack:
        windows = []
        for name in run.file.groups:
            place = stack.enter_context(opened(run.file, name, run.grounds, is_again=is_again))
            windows.append(Window(place, *run.job(name), run.told, finished))
            windows[-1].forget(requests)
            windows[-1].open()
        if len(windows) > 1:
            stack.callback(_staging().sweep, Path(run.staging))
        windows[0].ready.extend(Item(request) for request in requests)
        while not all(window.is_idle for window in windows):
            _fill(windows)
            try:
                window, future = finished.get(timeout=LOOK_EVERY_S)
            except Empty:
                continue
            for item, result in window.take(future):
                if isinstance(result, Handed):
                    run.told(item.request.case, "staging")
                    windows[-1].ready.append(Item(item.request, result))
                    continue
                if item.handed is not None:
                    _staging().drop(Path(item.handed.folder))
                yield result


def _staging() -> ModuleType:
    """Return what knows the staging folder, where there are zones: it knows DICOM too, and takes long to import."""
    from pipeline.io import staging

    return staging


def _fill(windows: Sequence[Window]) -> None:
    """Hand over what waits, but open no door for a case as long as enough of them wait behind it."""
    for window, behind in zip(windows, [*windows[1:], None], strict=True):
        window.look()
        if behind is None or behind.backlog < behind.room:
            window.fill()


def _make(bench: Bench, item: Item, tell: Any) -> Outcome:
    return bench.make(item.request, tell)


def _open_door(folder: str, bench: Bench, item: Item, tell: Any) -> Handed | Refusal:
    return bench.open_door(item.request, folder, tell)


def _finish(store: str, bench: Bench, item: Item, tell: Any) -> Outcome:
    return bench.finish(item.handed, store, tell)
