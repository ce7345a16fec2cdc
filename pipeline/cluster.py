"""Run cases side by side on Dask workers, or one by one in this process: the only Dask."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path
from typing import Any

import dask
from distributed import Client, LocalCluster, as_completed, get_worker
from distributed.scheduler import KilledWorker

from pipeline import case
from pipeline.case import Request
from pipeline.io.dicom import hush
from pipeline.model.errors import UsageError
from pipeline.model.record import Outcome, Refusal

_TOPIC = "curate-stage"
_WINDOW_PER_WORKER = 2
"""Cases handed to Dask at once: a graph of everything would cost the scheduler memory for each of them."""

_CONFIG = {
    # One case at a time a worker makes the blame exact when one dies.
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.allowed-failures": 1,
    "distributed.worker.profile.enabled": False,
    "distributed.admin.log-format": "%(message)s",
}

_ANSWER_WITHIN = "10 s"

StageTold = Callable[[str, str], None]
"""Told (case, stage) whenever a case enters a room."""


def run_cases(
    requests: Sequence[Request], *, workers: int | str, scratch: Path, told: StageTold
) -> Iterator[Outcome]:
    """Yield the outcome of every request as it ends; order does not matter to what is made.

    `workers` 1 works in this process; more start a LocalCluster of that many processes with one thread
    each; the address of a scheduler uses its workers, which see the workspace and the sources under the same
    paths. Only names go to a worker and only outcomes come back.

    Raises
    ------
    UsageError
        scheduler-unfit, when nobody answers at the address, or its workers run other code.
    """
    if workers == 1 or not requests:
        for request in requests:
            yield case.run(request, lambda stage, name=request.case: told(name, stage))  # type: ignore[misc]
        return
    place = _remote(workers) if isinstance(workers, str) else _local(min(workers, len(requests)), scratch)
    with dask.config.set(_CONFIG), place as client:
        client.subscribe_topic(_TOPIC, lambda event: told(*event[1]))
        yield from _windowed(client, requests, len(client.scheduler_info(n_workers=-1)["workers"]))


@contextmanager
def _local(workers: int, scratch: Path) -> Iterator[Client]:
    """Start workers on this machine, without dashboard and silent, because logs may quote."""
    cluster = LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        local_directory=str(scratch),
        silence_logs=logging.CRITICAL,
        host="127.0.0.1",
    )
    with cluster, Client(cluster) as client:
        yield client


@contextmanager
def _remote(address: str) -> Iterator[Client]:
    """Use the workers of a scheduler that is there, if they would make the same bytes as we."""
    try:
        client = Client(address, timeout=_ANSWER_WITHIN)
    except (OSError, ValueError):
        raise UsageError(
            "scheduler-unfit", wanted="a Dask scheduler", found="no answer", where="--scheduler"
        ) from None
    with client:
        found = client.run(case.software)
        others = sum(software != case.software() for software in found.values())
        if others or not found:
            what = f"{others} of {len(found)} with other versions" if found else "none"
            raise UsageError(
                "scheduler-unfit", wanted="workers with our versions", found=what, where="--scheduler"
            )
        yield client


def _on_worker(request: Request) -> Outcome:
    hush()
    worker = get_worker()
    return case.run(request, lambda stage: worker.log_event(_TOPIC, (request.case, stage)))


def _windowed(client: Client, requests: Sequence[Request], workers: int) -> Iterator[Outcome]:
    waiting, numbers = iter(requests), count()
    asked: dict[Any, Request] = {}

    def submit(request: Request) -> Any:
        future = client.submit(_on_worker, request, key=f"case-{next(numbers)}", pure=False)
        asked[future.key] = request
        return future

    running = as_completed([submit(request) for request in islice(waiting, workers * _WINDOW_PER_WORKER)])
    for future in running:
        yield _outcome(future, asked.pop(future.key))
        future.release()
        for request in islice(waiting, 1):
            running.add(submit(request))


def _outcome(future: Any, request: Request) -> Outcome:
    """Return what a task returned; a worker that died at it is an outcome of the case, not of the run."""
    try:
        outcome: Outcome = future.result()
    except KilledWorker:
        return Refusal(
            request.task, request.case, "worker", "worker-lost", "a worker that lives", "one that died"
        )
    return outcome
