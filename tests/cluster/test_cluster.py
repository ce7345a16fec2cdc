"""Cases side by side: only names go out, only outcomes come back, and what is lost is asked for again."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest

from pipeline import cluster
from pipeline.cluster.window import Item
from pipeline.cluster.work import Bench
from pipeline.io.runlog import read_all
from pipeline.io.workspace import Workspace, create
from pipeline.model.clusterfile import ClusterFile, LocalGroup, SchedulerGroup, fused
from pipeline.model.errors import UsageError
from pipeline.model.record import Outcome, Refusal
from pipeline.orders import Request

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return create(tmp_path / "ws")


def requests(workspace: Workspace, count: int) -> list[Request]:
    """Cases of no workspace at all: each is refused at once."""
    folder = workspace.root / "none"
    return [Request(str(folder), "Task99_None", f"none_{number}", 0) for number in range(count)]


def run(workspace: Workspace, count: int, workers: int | str | ClusterFile) -> Iterator[Outcome]:
    return cluster.run_cases(
        requests(workspace, count),
        workers=workers,
        workspace=workspace,
        runs=workspace.runs / "run",
        told=lambda case, stage: None,
    )


def names(count: int) -> list[str]:
    return sorted(f"none_{number}" for number in range(count))


def test_one_worker_yields_every_outcome_in_turn_and_says_so_in_the_run_log(workspace: Workspace) -> None:
    outcomes = list(run(workspace, 3, 1))
    assert [outcome.case for outcome in outcomes] == names(3)
    assert all(isinstance(outcome, Refusal) and outcome.code == "workspace-missing" for outcome in outcomes)
    lines = read_all(workspace.runs / "run")
    assert [(line["case"], line["code"]) for line in lines] == [(n, "workspace-missing") for n in names(3)]


@pytest.mark.slow
def test_several_workers_yield_every_outcome_once(workspace: Workspace) -> None:
    outcomes = list(run(workspace, 200, 2))
    assert sorted(outcome.case for outcome in outcomes) == names(200)
    assert sorted(line["case"] for line in read_all(workspace.runs / "run")) == names(200)
    assert len(list((workspace.runs / "run").iterdir())) == 2


def dask(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dask", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `dask scheduler` or `dask worker` as an operator does; all are ended after the test."""
    started: list[subprocess.Popen[str]] = []

    def begin(*words: str) -> subprocess.Popen[str]:
        started.append(dask(*words))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def address_of(scheduler: subprocess.Popen[str]) -> str:
    assert scheduler.stdout is not None
    for line in scheduler.stdout:
        if "Scheduler at:" in line:
            return line.split()[-1]
    raise AssertionError("no scheduler")


@pytest.mark.slow
def test_a_scheduler_that_dies_and_comes_back_is_used_again(
    workspace: Workspace, start: Callable[..., subprocess.Popen[str]]
) -> None:
    words = ("scheduler", "--host", "127.0.0.1", "--no-dashboard")
    first = start(*words, "--port", "0")
    address = address_of(first)
    start("worker", address, "--no-dashboard", "--nthreads", "1")
    outcomes = run(workspace, 400, fused(SchedulerGroup(kind="scheduler", address=address)))
    ended = [next(outcomes)]
    first.send_signal(signal.SIGKILL)

    def come_back() -> None:
        time.sleep(1)
        start(*words, "--port", address.rpartition(":")[2])
        start("worker", address, "--no-dashboard", "--nthreads", "1")

    Thread(target=come_back).start()
    ended += outcomes
    assert sorted(outcome.case for outcome in ended) == names(400)


@pytest.mark.slow
def test_a_scheduler_without_workers_ends_the_run_with_what_is_open(
    workspace: Workspace, start: Callable[..., subprocess.Popen[str]]
) -> None:
    scheduler = start("scheduler", "--host", "127.0.0.1", "--no-dashboard", "--port", "0")
    group = SchedulerGroup(kind="scheduler", address=address_of(scheduler), patience_s=1)
    with pytest.raises(UsageError, match="3 cases are open") as refused:
        list(run(workspace, 3, fused(group)))
    assert refused.value.code == "cluster-lost"


def test_an_address_where_nobody_answers_is_refused(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.cluster.places.ANSWER_WITHIN_S", 0.3)
    group = SchedulerGroup(kind="scheduler", address="tcp://127.0.0.1:9", patience_s=1)
    with pytest.raises(UsageError, match="scheduler-unfit"):
        list(run(workspace, 1, fused(group)))


@pytest.mark.slow
def test_workers_that_are_killed_come_back_and_every_case_ends(workspace: Workspace) -> None:
    ended = []
    for outcome in run(workspace, 300, fused(LocalGroup(kind="local", workers=2))):
        ended.append(outcome.case)
        if len(ended) in (20, 100):
            for worker in workers_of(os.getpid()):
                os.kill(worker, signal.SIGKILL)
    assert sorted(ended) == names(300)


def workers_of(process: int) -> list[int]:
    """Return the Dask workers that a process started: they were spawned, fork servers and the like were not."""
    found = []
    for child in Path(f"/proc/{process}/task/{process}").parent.glob("*/children"):
        for number in child.read_text().split():
            if b"spawn_main" in Path(f"/proc/{number}/cmdline").read_bytes():
                found.append(int(number))
    return found


def test_what_crosses_the_network_is_small(workspace: Workspace) -> None:
    (request,) = requests(workspace, 1)
    refusal = Refusal("Task99_None", "none_0", "convert", "missing-slice", "all", "not all")
    assert len(pickle.dumps(request)) < 500
    assert len(pickle.dumps(refusal)) < 500


def end_worker(bench: Bench, item: Item, tell: Callable[[str], None]) -> Outcome:
    """Leave a case's log, and end the worker itself at one of the cases."""
    log = bench.terms.log_of(item.request)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as stream:
        stream.write("begun\n")
    if item.request.case == "none_1":
        with (log.parent / "deaths").open("a") as stream:
            stream.write("died\n")
        os.kill(os.getpid(), signal.SIGKILL)
    log.unlink()
    return Refusal(item.request.task, item.request.case, "open", "workspace-missing", "", "")


@pytest.mark.slow
def test_a_case_that_kills_its_worker_is_refused_after_the_second_with_its_log_and_the_others_end(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.cluster._make", end_worker)
    ended = {
        outcome.case: outcome for outcome in run(workspace, 6, fused(LocalGroup(kind="local", workers=2)))
    }
    assert sorted(ended) == names(6)
    codes = [outcome.code for outcome in ended.values() if isinstance(outcome, Refusal)]
    assert sorted(codes) == ["worker-lost", *["workspace-missing"] * 5]
    poison = ended["none_1"]
    assert isinstance(poison, Refusal)
    assert (poison.code, (workspace.root / poison.where).is_file()) == ("worker-lost", True)
    assert (workspace.crashes / "deaths").read_text().split() == ["died", "died"]
