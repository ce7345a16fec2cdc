"""Cases side by side: only names go out, only outcomes come back, and a dead worker is one of them."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from distributed import LocalCluster
from distributed.scheduler import KilledWorker

from pipeline import cluster
from pipeline.case import Request
from pipeline.model.errors import UsageError
from pipeline.model.record import Refusal


def requests(folder: Path, count: int) -> list[Request]:
    return [
        Request(str(folder / "no-workspace"), "Task99_None", f"none_{number}", 0) for number in range(count)
    ]


def test_one_worker_works_in_this_process_and_yields_every_outcome(tmp_path: Path) -> None:
    asked = requests(tmp_path, 3)
    outcomes = list(cluster.run_cases(asked, workers=1, scratch=tmp_path, told=lambda case, stage: None))
    assert [outcome.case for outcome in outcomes] == [request.case for request in asked]
    assert all(isinstance(outcome, Refusal) and outcome.code == "workspace-missing" for outcome in outcomes)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_several_workers_yield_every_outcome_once(tmp_path: Path) -> None:
    asked = requests(tmp_path, 9)
    outcomes = list(cluster.run_cases(asked, workers=2, scratch=tmp_path, told=lambda case, stage: None))
    assert sorted(outcome.case for outcome in outcomes) == [request.case for request in asked]
    assert not list((tmp_path / "no-workspace").glob("*"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_scheduler_that_is_there_is_used_by_its_address(tmp_path: Path) -> None:
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None, host="127.0.0.1") as there:
        asked, address = requests(tmp_path, 3), there.scheduler_address
        outcomes = list(
            cluster.run_cases(asked, workers=address, scratch=tmp_path, told=lambda case, stage: None)
        )
    assert sorted(outcome.case for outcome in outcomes) == [request.case for request in asked]


@pytest.mark.filterwarnings("ignore")
def test_an_address_where_nobody_answers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_ANSWER_WITHIN", "0.2 s")
    with pytest.raises(UsageError, match="scheduler-unfit"):
        list(
            cluster.run_cases(
                requests(tmp_path, 1),
                workers="tcp://127.0.0.1:9",
                scratch=tmp_path,
                told=lambda case, stage: None,
            )
        )


def test_what_crosses_the_network_is_small(tmp_path: Path) -> None:
    (request,) = requests(tmp_path, 1)
    refusal = Refusal("Task99_None", "none_0", "convert", "missing-slice", "all", "not all")
    assert len(pickle.dumps(request)) < 500
    assert len(pickle.dumps(refusal)) < 500


def test_a_dead_worker_is_an_outcome_of_its_case(tmp_path: Path) -> None:
    class Lost:
        def result(self) -> None:
            raise KilledWorker("case-0", None, 2)

    (request,) = requests(tmp_path, 1)
    outcome = cluster._outcome(Lost(), request)
    assert isinstance(outcome, Refusal)
    assert (outcome.case, outcome.code) == ("none_0", "worker-lost")
