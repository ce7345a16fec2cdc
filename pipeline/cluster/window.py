"""Hand cases to one group of workers, a few at a time, and tell when the group is lost."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field, replace
from itertools import count
from queue import SimpleQueue
from typing import Any

from distributed import get_worker
from distributed.diagnostics.plugin import WorkerPlugin
from distributed.scheduler import KilledWorker

from pipeline.cluster.identity import identity
from pipeline.cluster.places import ANSWER_WITHIN_S, Place
from pipeline.cluster.work import TRIES, Bench, Terms
from pipeline.model.errors import UsageError
from pipeline.model.record import Refusal
from pipeline.orders import Request

TOPIC = "curate-stage"
_PLUGIN = "curate-bench"

_PER_WORKER = 2
"""Tasks handed over at once for each worker: a graph of everything would cost client and scheduler memory."""

_TASK_S = 0.5
"""Seconds of work that are worth a task: cases that take less go several to one."""

_MOST_A_TASK = 64
_GROWTH = 4
"""How many times more cases the next task may hold."""

_MOST_LOSSES = 20
"""How many workers may die before they begin a case that was handed over to them."""

LOOK_EVERY_S = 2.0
"""Seconds between two looks at whether scheduler and workers are there."""

_GRACE_S = 600
"""Seconds beyond the longest that its tasks may take after which a group that ended nothing is lost."""


class Lost(Exception):  # noqa: N818 - not a fault of anybody: all is started anew
    """The group is gone: its scheduler, its network, or all its workers for longer than it may."""


@dataclass(frozen=True, slots=True)
class Item:
    """What one group is asked to do for one case: a case, and what an earlier group handed over."""

    request: Request
    handed: Any = None
    deaths: int = 0
    """How many workers died while they made it, as its log says."""
    losses: int = 0
    """How many workers died to which it had been handed over; then it goes without others."""


@dataclass(frozen=True, slots=True)
class Done:
    """What one task brings home: how each of its cases ended, how long it took, and who did it."""

    results: Sequence[Any]
    seconds: float
    identity: str


class _Runner(WorkerPlugin):
    """The bench of a worker, there as long as the worker is."""

    bench: Bench

    def __init__(self, terms: Terms) -> None:
        self.terms = terms

    def setup(self, worker: Any) -> None:
        """Make the bench, with the worker's memory."""
        self.bench = Bench(self.terms, worker.memory_manager.memory_limit)

    def teardown(self, worker: Any) -> None:
        """End its child."""
        self.bench.close()


StageTold = Callable[[str, str], None]
"""Told (case, stage) whenever a case enters a room."""

Work = Callable[[Bench, Item, Callable[[str], None]], Any]
"""What a group does for one item at a worker's bench; at the top of a module."""


def _on_worker(work: Work, items: Sequence[Item], expected: str) -> Done:
    """Do the work of a task, unless this worker would make other bytes than the client."""
    if identity() != expected:
        return Done((), 0.0, identity())
    worker, start = get_worker(), time.monotonic()
    runner: Any = worker.plugins[_PLUGIN]
    results = []
    for item in items:
        case = item.request.case
        results.append(
            work(runner.bench, item, lambda stage, case=case: worker.log_event(TOPIC, (case, stage)))  # type: ignore[misc]
        )
    return Done(results, time.monotonic() - start, expected)


@dataclass(slots=True)
class Window:
    """One group, what waits for it and what it is at."""

    place: Place
    work: Work
    terms: Terms
    told: StageTold
    finished: SimpleQueue[tuple[Window, Any]]
    ready: deque[Item] = field(default_factory=deque)
    running: dict[str, Sequence[Item]] = field(default_factory=dict)
    _workers: int = 0
    _a_task: int = 1
    _looked: float = 0.0
    _last_worker: float = 0.0
    _last_end: float = 0.0
    _numbers: Any = field(default_factory=count)

    def open(self) -> None:
        """Give every worker its bench, those that come later too."""
        self.place.client.register_plugin(_Runner(self.terms), name=_PLUGIN)
        self.place.client.subscribe_topic(TOPIC, lambda event: self._hear(*event[1]))
        self._last_worker = self._last_end = time.monotonic()
        self.look()

    def _hear(self, case: str, stage: str) -> None:
        """Pass on where a case is, if it is at work here: word may come late, or from another run."""
        # A copy, because words come from another thread than results.
        tasks = list(self.running.values())
        if any(item.request.case == case for items in tasks for item in items):
            self.told(case, stage)

    def forget(self, requests: Sequence[Request]) -> None:
        """Take away what an earlier run wrote at these cases: a log says that a case was begun in this one."""
        for request in requests:
            self.terms.log_of(request).unlink(missing_ok=True)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not self.ready and not self.running

    @property
    def backlog(self) -> int:
        """How many cases wait or run here."""
        return len(self.ready) + sum(map(len, self.running.values()))

    @property
    def room(self) -> int:
        """How many cases it takes to keep its workers at work."""
        return 2 * _PER_WORKER * max(1, self._workers) * self._a_task

    def fill(self) -> None:
        """Hand over what waits, as long as the window has room."""
        while self.ready and len(self.running) < _PER_WORKER * max(1, self._workers):
            items = self._next_task()
            key = f"case-{id(self)}-{next(self._numbers)}"
            self.running[key] = items
            future = self.place.client.submit(_on_worker, self.work, items, identity(), key=key, pure=False)
            future.add_done_callback(lambda future: self.finished.put((self, future)))

    def _next_task(self) -> list[Item]:
        items = [self.ready.popleft()]
        # The last tasks are small, so that all workers end at about the same time.
        share = len(self.ready) // (_PER_WORKER * max(1, self._workers))
        size = 1 if items[0].losses else min(self._a_task, share)
        while self.ready and len(items) < size and not self.ready[0].losses:
            items.append(self.ready.popleft())
        return items

    def take(self, future: Any) -> list[tuple[Item, Any]]:
        """Return how the cases of a task ended; of one whose worker died, each case is asked for again, alone.

        Raises
        ------
        Lost
            If the scheduler went and took the task with it.
        UsageError
            scheduler-unfit, when the worker runs other code.
        """
        items = self.running.pop(future.key)
        self._last_end = time.monotonic()
        if future.status == "finished":
            return self._ended(items, self._fetch(future))
        if future.status in ("pending", "lost"):
            # It had ended, and its result went with its worker before anybody asked.
            future.release()
            return self._ended(items, None)
        if future.status == "error" and isinstance(fault := future.exception(), KilledWorker):
            future.release()
            return self._mourned(items, fault.allowed_failures + 1)
        if future.status == "error" and isinstance(fault, ImportError | AttributeError | KeyError):
            raise _unfit("workers that do not know this code, or forgot it")
        raise Lost

    def _mourned(self, items: Sequence[Item], deaths: int) -> list[tuple[Item, Any]]:
        """Refuse a case at which workers died too often; ask for others again, each alone and behind what waits."""
        refused = []
        for item in items:
            log = self.terms.log_of(item.request)
            blame = deaths if log.exists() else 0
            lost = replace(item, deaths=item.deaths + blame, losses=item.losses + deaths)
            if lost.deaths >= TRIES or lost.losses >= _MOST_LOSSES:
                refused.append((item, self._worker_lost(lost)))
                continue
            log.unlink(missing_ok=True)
            self.ready.append(lost)
        return refused

    def _worker_lost(self, item: Item) -> Refusal:
        asked, wanted = item.request, "a worker that lives"
        found, where = f"workers that died, {max(item.deaths, item.losses)} times", self.terms.said_log(asked)
        return Refusal(asked.task, asked.case, "worker", "worker-lost", wanted, found, where)

    def _fetch(self, future: Any) -> Done | None:
        """Return what a task brought home; None when its worker died before it was fetched."""
        try:
            done: Done = future.result(timeout=ANSWER_WITHIN_S)
        except TimeoutError:
            return None
        except (OSError, CancelledError):
            raise Lost from None
        finally:
            future.release()
        return done

    def _ended(self, items: Sequence[Item], done: Done | None) -> list[tuple[Item, Any]]:
        if done is None:
            self.ready.extend(items)
            return []
        if done.identity != identity():
            raise _unfit("a worker with other code or versions")
        wanted = int(_TASK_S * len(items) / max(done.seconds, 1e-6))
        self._a_task = max(1, min(wanted, _MOST_A_TASK, _GROWTH * self._a_task))
        return list(zip(items, done.results, strict=True))

    def look(self) -> None:
        """See whether scheduler and workers are there; not more often than now and then.

        Raises
        ------
        Lost
            If they are not, or nothing has ended for longer than anything may take.
        """
        now = time.monotonic()
        if now - self._looked < LOOK_EVERY_S:
            return
        self._looked = now
        self._workers = self._count()
        if self._workers:
            self._last_worker = now
        if not (self._workers and self.running):
            self._last_end = now
        if now - self._last_worker > self.place.patience_s or now - self._last_end > self._longest_s():
            raise Lost

    def _count(self) -> int:
        """Ask the scheduler how many workers it has."""
        client: Any = self.place.client
        if client.status != "running" or client.scheduler is None:
            raise Lost
        try:
            found = client.sync(client.scheduler.identity, n_workers=-1, callback_timeout=ANSWER_WITHIN_S)
        except (OSError, TimeoutError):
            raise Lost from None
        return len(found["workers"])

    def _longest_s(self) -> float:
        """Return within how many seconds some task must end: the largest, behind another, each case tried."""
        cases = max(map(len, self.running.values()), default=1)
        return _PER_WORKER * cases * TRIES * self.terms.seconds + _GRACE_S


def _unfit(found: str) -> UsageError:
    return UsageError(
        "scheduler-unfit", wanted="workers with our code and versions", found=found, where="workers"
    )
