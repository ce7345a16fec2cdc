"""A few cases at a time: how many go to one task, and what a lost worker, scheduler or result means."""

from __future__ import annotations

from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from distributed.scheduler import KilledWorker

from pipeline.cluster.identity import identity
from pipeline.cluster.places import Place
from pipeline.cluster.window import Done, Item, Lost, Window
from pipeline.cluster.work import Terms
from pipeline.model.errors import UsageError
from pipeline.model.record import Refusal
from pipeline.orders import Request


class Future:
    """A task that has ended as it is told to."""

    def __init__(self, key: str, status: str = "finished", brings: Any = None) -> None:
        self.key, self.status, self.brings, self.is_released = key, status, brings, False

    def add_done_callback(self, call: Any) -> None:
        pass

    def result(self, timeout: float) -> Any:
        if isinstance(self.brings, BaseException):
            raise self.brings
        return self.brings

    def exception(self) -> Any:
        return self.brings

    def release(self) -> None:
        self.is_released = True


class Client:
    """Keeps what is handed over."""

    status = "running"

    def __init__(self, workers: int) -> None:
        self.tasks: list[tuple[str, list[Item]]] = []
        self.scheduler, self.workers = self, workers

    def submit(
        self, function: Any, work: Any, items: list[Item], expected: str, *, key: str, pure: bool
    ) -> Future:
        self.tasks.append((key, items))
        return Future(key)

    def identity(self) -> None:
        pass

    def sync(self, function: Any, n_workers: int, callback_timeout: float) -> dict[str, Any]:
        return {"workers": {str(number): {} for number in range(self.workers)}}


def window(count: int, workers: int = 2, root: Path = Path("/none")) -> tuple[Window, Client]:
    client: Any = Client(workers)
    terms = Terms(str(root), str(root / "private/crashes"), str(root / "runs/run"), 10)
    made = Window(
        Place(client, workers, 60, is_ours=True),
        lambda bench, item, tell: None,
        terms,
        lambda c, s: None,
        SimpleQueue(),
    )
    made.ready.extend(Item(Request("", "T", str(number), 0)) for number in range(count))
    made.look()
    return made, client


def end(made: Window, client: Client, *, seconds: float) -> None:
    """Let the oldest task of a window end well."""
    key, items = client.tasks.pop(0)
    made.take(Future(key, brings=Done([0] * len(items), seconds, identity())))


def test_two_tasks_a_worker_are_out_and_no_more() -> None:
    made, client = window(10)
    made.fill()
    assert [len(items) for _, items in client.tasks] == [1, 1, 1, 1]
    end(made, client, seconds=60)
    made.fill()
    assert len(client.tasks) == 4
    assert made.backlog == 9


class Listening(Client):
    """Keeps who wants to hear of a topic."""

    def register_plugin(self, plugin: Any, name: str) -> None:
        pass

    def subscribe_topic(self, topic: str, handler: Any) -> None:
        self.say = handler


def test_where_a_case_is_counts_only_while_it_is_at_work_here() -> None:
    heard: list[tuple[str, str]] = []
    made, _ = window(1)
    client: Any = Listening(1)
    made.place, made.told = Place(client, 1, 60, is_ours=True), lambda *said: heard.append(said)
    made.open()
    made.fill()
    for case in ("0", "another run's"):
        client.say((0.0, (case, "store")))
    end(made, client, seconds=1)
    client.say((1.0, ("0", "store")))

    assert heard == [("0", "store")]


def test_quick_cases_go_many_to_a_task_and_slow_ones_one_by_one() -> None:
    made, client = window(10_000)
    sizes = []
    for _ in range(12):
        made.fill()
        sizes.append(len(client.tasks[-1][1]))
        end(made, client, seconds=0.001)
    assert max(sizes) == 64
    end(made, client, seconds=1000)
    made.fill()
    assert len(client.tasks[-1][1]) == 1


def test_the_last_cases_are_shared_among_the_workers() -> None:
    made, client = window(40)
    made._a_task = 64
    made.fill()
    assert max(len(items) for _, items in client.tasks) <= 10


def dead(key: str, allowed: int = 0) -> Future:
    return Future(key, "error", KilledWorker(key, None, allowed))  # type: ignore[arg-type]


def begun(made: Window, item: Item) -> Path:
    """Leave the log of a case at which a process ended."""
    log = made.terms.log_of(item.request)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.touch()
    return log


def test_a_case_at_which_two_workers_died_is_refused_with_its_log_and_those_beside_it_are_not(
    tmp_path: Path,
) -> None:
    made, client = window(40, root=tmp_path)
    made._a_task = 5
    made.fill()
    key, items = client.tasks[0]
    log = begun(made, items[1])
    assert made.take(dead(key)) == []
    asked = list(made.ready)[-len(items) :]
    assert [(item.request, item.deaths) for item in asked] == [
        (item.request, item.request.case == items[1].request.case) for item in items
    ]
    for item in asked:
        made.running[item.request.case] = [item]
    begun(made, asked[1])
    found = [refused for item in asked for refused in made.take(dead(item.request.case))]
    ((_, refusal),) = found
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.case) == ("worker-lost", items[1].request.case)
    assert (refusal.found, tmp_path / refusal.where) == ("workers that died, 2 times", log)


def test_cases_with_which_a_worker_died_go_alone_and_behind_the_others(tmp_path: Path) -> None:
    made, client = window(40, root=tmp_path)
    made._a_task = 5
    made.fill()
    key, items = client.tasks[0]
    assert len(items) > 1
    made.take(dead(key))
    made._a_task = 64
    while len(made.ready) > len(items):
        assert not any(item.losses for item in made._next_task())
    made._workers = 0
    assert [len(made._next_task()) for _ in items] == [1] * len(items)


def test_a_case_that_no_worker_lives_to_begin_is_refused_in_the_end(tmp_path: Path) -> None:
    made, _ = window(1, root=tmp_path)
    deaths, refused = 0, []
    while not refused:
        made.fill()
        refused, deaths = made.take(dead(next(iter(made.running)))), deaths + 1
    assert deaths == 20


def test_the_log_of_an_earlier_run_blames_nobody(tmp_path: Path) -> None:
    made, _ = window(1, root=tmp_path)
    log = begun(made, made.ready[0])
    made.forget([item.request for item in made.ready])
    assert not log.exists()


@pytest.mark.parametrize("status", ["finished", "pending", "lost"])
def test_a_result_that_went_with_its_worker_is_asked_for_again(status: str) -> None:
    made, client = window(1)
    made.fill()
    future = Future(client.tasks[0][0], status, brings=TimeoutError())
    assert made.take(future) == []
    assert len(made.ready) == 1
    assert future.is_released


def test_a_task_that_went_with_its_scheduler_means_that_it_is_lost() -> None:
    made, client = window(1)
    made.fill()
    with pytest.raises(Lost):
        made.take(Future(client.tasks[0][0], "cancelled"))


def test_a_worker_with_other_code_stops_the_run() -> None:
    made, client = window(1)
    made.fill()
    with pytest.raises(UsageError, match="scheduler-unfit"):
        made.take(Future(client.tasks[0][0], brings=Done((), 0.0, "sha256:other")))


def test_a_group_without_workers_is_lost_after_its_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    made, client = window(1)
    client.workers = 0
    for waited in (30, 29):
        now[0] += waited
        made.look()
    now[0] += 2
    with pytest.raises(Lost):
        made.look()


def test_a_group_that_ends_nothing_for_longer_than_cases_may_take_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    made, _ = window(1)
    made.fill()
    now[0] += 639
    made.look()
    now[0] += 10
    with pytest.raises(Lost):
        made.look()


def test_a_client_that_closed_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.cluster.window.LOOK_EVERY_S", 0)
    made, client = window(1)
    client.status = "closed"
    with pytest.raises(Lost):
        made.look()
