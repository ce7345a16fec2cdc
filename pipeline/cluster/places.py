"""Open the groups of workers that a cluster file names, each with its client, and close them again."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from distributed import Client, LocalCluster
from distributed.security import Security

from pipeline.io.certificates import ROLES, Certificates, checked, find_certificates, make_certificates
from pipeline.model.clusterfile import (
    ClusterFile,
    KubernetesGroup,
    LocalGroup,
    QueueGroup,
    SchedulerGroup,
    Tls,
    require_guarded,
)
from pipeline.model.errors import UsageError

CONFIG = {
    # One case at a time a worker makes the blame exact when one dies.
    "distributed.scheduler.worker-saturation": 1.0,
    # A worker that died is told at once; the window counts how often a case was with one.
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.unknown-task-duration": "1m",
    "distributed.scheduler.work-stealing": False,
    "distributed.worker.profile.enabled": False,
    "distributed.admin.log-format": "%(message)s",
}
"""What schedulers and workers of ours go by."""

_NO_PAGES: dict[str, Any] = {"distributed.scheduler.http.routes": [], "distributed.worker.http.routes": []}
"""Without its dashboard Dask still serves pages of workers, tasks and logs, in plain HTTP and without a password."""

_HERE_ALONE = "127.0.0.1:0"
"""Where what would serve such pages listens, because it always listens: everywhere, unless told otherwise."""

ANSWER_WITHIN_S = 10

_QUEUES = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "sge": "SGECluster", "lsf": "LSFCluster"}


@dataclass(frozen=True, slots=True)
class Place:
    """One group that is up: its client, how many workers it is to have, and how long it may have none."""

    client: Client
    wanted: int
    patience_s: int
    is_ours: bool
    """Whether we started it, and may start it anew."""


@dataclass(frozen=True, slots=True)
class Grounds:
    """Folders of the run: scratch for workers on this machine, logs of jobs, certificates made for it."""

    scratch: Path
    logs: Path
    tls: Path


def config_of(file: ClusterFile) -> dict[str, Any]:
    """Return what schedulers and workers of ours go by: without pages, unless the file asks for them."""
    return {**CONFIG, **({} if file.dashboard else _NO_PAGES)}


@contextmanager
def opened(file: ClusterFile, name: str, grounds: Grounds, *, is_again: bool = False) -> Iterator[Place]:
    """Open one group of a cluster file; `is_again` waits for a scheduler that was there to come back.

    Raises
    ------
    UsageError
        scheduler-unfit, when nobody answers at an address; plain-tcp, when it is neither encrypted nor on this
        machine; extra-missing, when what starts such a group is not installed.
    """
    require_guarded(file)
    group = file.groups[name]
    with ExitStack() as stack:
        if isinstance(group, LocalGroup):
            cluster = stack.enter_context(_local(file, group, grounds))
            client = stack.enter_context(Client(cluster))
            yield Place(client, group.workers, group.patience_s, is_ours=True)
        elif isinstance(group, SchedulerGroup):
            client = stack.enter_context(_connected(file, group, group.patience_s if is_again else 0))
            yield Place(client, 1, group.patience_s, is_ours=False)
        else:
            cluster = stack.enter_context(_started(file, group, name, grounds))
            client = stack.enter_context(Client(cluster))
            yield Place(client, _workers(group), group.patience_s, is_ours=True)


def _workers(group: QueueGroup | KubernetesGroup) -> int:
    return group.jobs * group.workers_per_job if isinstance(group, QueueGroup) else group.workers


def _local(file: ClusterFile, group: LocalGroup, grounds: Grounds) -> LocalCluster:
    """Start workers on this machine, silent because logs may quote; encrypted, so no other user can join them."""
    return LocalCluster(
        n_workers=group.workers,
        threads_per_worker=1,
        processes=True,
        memory_limit=group.memory or "auto",
        dashboard_address=file.dashboard,
        local_directory=str(grounds.scratch),
        silence_logs=logging.CRITICAL,
        host="127.0.0.1",
        protocol="tls://",
        security=Security.temporary(),
    )


def _connected(file: ClusterFile, group: SchedulerGroup, patience_s: int) -> Client:
    """Return a client of a scheduler that somebody keeps running, asking again as long as patience says."""
    security = None if group.is_plain else _security(_given(file.tls))
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return Client(group.address, timeout=ANSWER_WITHIN_S, security=security)
        except (OSError, ValueError):
            if time.monotonic() > deadline:
                raise UsageError(
                    "scheduler-unfit", wanted="a Dask scheduler", found="no answer", where="--scheduler"
                ) from None
            time.sleep(1)


def _started(file: ClusterFile, group: QueueGroup | KubernetesGroup, name: str, grounds: Grounds) -> Any:
    if isinstance(group, QueueGroup):
        return _queue(file, group, name, grounds)
    return _kubernetes(file, group, name)


def _queue(file: ClusterFile, group: QueueGroup, name: str, grounds: Grounds) -> Any:
    """Start a scheduler here and jobs of a batch system; one that has ended is replaced."""
    kind = getattr(_extra("dask_jobqueue", "cluster"), _QUEUES[group.kind])
    security = None if file.plain_tcp else _security(_own(file, grounds.tls / name))
    lifetime = file.lifetime_s(group)
    scheduler: dict[str, Any] = {
        "dashboard_address": file.dashboard or _HERE_ALONE,
        "dashboard": bool(file.dashboard),
    }
    logs = grounds.logs / name
    logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    named: dict[str, str | None] = (
        {"project": group.account} if group.kind in ("sge", "lsf") else {"account": group.account}
    )
    cluster = kind(
        cores=group.workers_per_job,
        processes=group.workers_per_job,
        memory=group.memory,
        walltime=_spelt(group),
        queue=group.queue,
        interface=group.interface,
        scheduler_options=scheduler if group.host is None else {**scheduler, "host": group.host},
        job_extra_directives=list(group.directives),
        job_script_prologue=["umask 077", *group.prologue],
        python=group.python,
        local_directory=group.local_directory,
        log_directory=str(logs),
        security=security,
        protocol="tcp://" if security is None else "tls://",
        worker_extra_args=[
            *("--lifetime", f"{lifetime}s", "--lifetime-stagger", f"{max(1, lifetime // 10)}s"),
            *("--no-dashboard", "--dashboard-address", _HERE_ALONE),
        ],
        silence_logs=logging.CRITICAL,
        **named,
    )
    cluster.adapt(minimum_jobs=group.jobs, maximum_jobs=group.jobs, interval="2s")
    return cluster


def _spelt(group: QueueGroup) -> str:
    """Return the wall time as the group's batch system wants it: LSF knows no seconds."""
    minutes, seconds = divmod(group.walltime_s, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}" if group.kind == "lsf" else f"{hours:02}:{minutes:02}:{seconds:02}"


def _kubernetes(file: ClusterFile, group: KubernetesGroup, name: str) -> Any:
    """Start a scheduler and workers as pods, with the certificates of their image or of mounted secrets."""
    operator = _extra("dask_kubernetes.operator", "kubernetes")
    resources = {
        "limits": {"memory": group.memory, "cpu": "1"},
        "requests": {"memory": group.memory, "cpu": "1"},
    }
    spec = operator.make_cluster_spec(
        name=f"curate-{name}-{socket.gethostname().lower()[:20]}",
        image=group.image,
        n_workers=group.workers,
        resources=resources,
        worker_command="dask-worker",
    )
    for part in ("worker", "scheduler"):
        pod = spec["spec"][part]["spec"]
        pod["volumes"] = [
            {"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in group.volumes
        ]
        pod["containers"][0]["volumeMounts"] = [
            {"name": claim, "mountPath": path} for claim, path in group.volumes.items()
        ]
    return operator.KubeCluster(custom_cluster_spec=spec, namespace=group.namespace)


def _extra(module: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise UsageError(
            "extra-missing",
            wanted=f"{module.partition('.')[0].replace('_', '-')}, which pip install 'curate-releases[{extra}]' brings",
            found="none",
            where="--cluster",
        ) from None


def _given(tls: str | Tls | None) -> Certificates:
    """Return the certificates that the file or the command line names."""
    if isinstance(tls, Tls):
        own, key = Path(tls.certificate), Path(tls.key)
        return checked(Certificates(Path(tls.ca), dict.fromkeys(ROLES, own), dict.fromkeys(ROLES, key)))
    return find_certificates(Path(tls or ""))


def _own(file: ClusterFile, folder: Path) -> Certificates:
    """Return the certificates that are named, or those made for this workspace and group."""
    if file.tls is not None:
        return _given(file.tls)
    return find_certificates(folder) if folder.exists() else make_certificates(folder)


def _security(found: Certificates) -> Security:
    return Security(
        require_encryption=True,
        tls_ca_file=str(found.ca),
        tls_client_cert=str(found.certificate["client"]),
        tls_client_key=str(found.key["client"]),
        tls_scheduler_cert=str(found.certificate["scheduler"]),
        tls_scheduler_key=str(found.key["scheduler"]),
        tls_worker_cert=str(found.certificate["worker"]),
        tls_worker_key=str(found.key["worker"]),
    )
