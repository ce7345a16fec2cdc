"""Where cases are made: one group of workers, or two that share neither machine nor rights."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.model.errors import UsageError

MARGIN_S = 60
"""Seconds beyond the longest case that a worker keeps of its job's wall time, to leave in good order."""

_WALLTIME = re.compile(r"(?:(\d+)-)?(\d{1,3}):([0-5]\d)(?::([0-5]\d))?")


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class LocalGroup(_Strict):
    """Processes on this machine."""

    kind: Literal["local"]
    workers: int = Field(ge=1, description="Processes; each makes one case at a time.")
    memory: str | None = Field(None, description="Memory of one process; its share of the machine's without.")
    patience_s: int = Field(120, ge=1, description="Seconds without any worker, until all is started anew.")


class SchedulerGroup(_Strict):
    """The workers of a Dask scheduler that somebody else keeps running."""

    kind: Literal["scheduler"]
    address: str = Field(pattern=r"^(tcp|tls)://[^\s]+:\d+$", description="tls://host:port")
    patience_s: int = Field(
        300, ge=1, description="Seconds without an answer or any worker, until the run ends."
    )

    @property
    def is_plain(self) -> bool:
        """Whether nothing that goes to it is encrypted."""
        return self.address.startswith("tcp://")


class QueueGroup(_Strict):
    """Jobs of a batch system, started by dask-jobqueue; one that has ended is replaced while there is work."""

    kind: Literal["slurm", "pbs", "sge", "lsf"]
    jobs: int = Field(ge=1, description="Jobs at a time.")
    workers_per_job: int = Field(1, ge=1, description="Processes in a job; each makes one case at a time.")
    memory: str = Field(pattern=r"^\d+ ?([KMGT]i?)?B$", description="Memory of one job: 8 GiB.")
    walltime: str = Field(description="Wall time of one job: HH:MM:SS, or D-HH:MM:SS.")
    queue: str | None = Field(None, description="Queue or partition.")
    account: str | None = Field(None, description="Account or project that is charged.")
    interface: str | None = Field(None, description="Network interface of scheduler and workers: ib0.")
    host: str | None = Field(None, description="Address under which workers find the scheduler.")
    directives: tuple[str, ...] = Field(
        (), description="More lines for the job's head, without #SBATCH or the like."
    )
    prologue: tuple[str, ...] = Field(
        (), description="Shell lines before the worker starts: module load ...."
    )
    python: str | None = Field(None, description="Interpreter on the nodes; the one of this command without.")
    local_directory: str | None = Field(None, description="Scratch folder on the nodes.")
    patience_s: int = Field(
        86_400, ge=1, description="Seconds without any worker, the wait in the queue included."
    )

    @property
    def walltime_s(self) -> int:
        """Wall time of a job in seconds."""
        found = _WALLTIME.fullmatch(self.walltime)
        assert found is not None
        days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds

    @model_validator(mode="after")
    def _walltime_is_one(self) -> QueueGroup:
        if _WALLTIME.fullmatch(self.walltime) is None:
            raise ValueError("wanted a walltime like HH:MM:SS or D-HH:MM:SS")
        return self


class KubernetesGroup(_Strict):
    """Pods of a Kubernetes cluster, started by dask-kubernetes and its operator."""

    kind: Literal["kubernetes"]
    workers: int = Field(ge=1, description="Pods; each makes one case at a time.")
    image: str = Field(description="Image that holds this version of curate.")
    memory: str = Field(description="Memory of one pod: 8Gi.")
    namespace: str = "default"
    volumes: dict[str, str] = Field(
        default_factory=dict,
        description="Persistent volume claim -> where it is mounted, as on this machine.",
    )
    patience_s: int = Field(3600, ge=1, description="Seconds without any worker, until all is started anew.")


Group: TypeAlias = Annotated[
    LocalGroup | SchedulerGroup | QueueGroup | KubernetesGroup, Field(discriminator="kind")
]


class Tls(_Strict):
    """Certificates of your own, PEM; relative to the cluster file."""

    ca: str
    certificate: str
    key: str


class ClusterFile(_Strict):
    """What `--cluster FILE` reads; `--workers` and `--scheduler` are short for one group."""

    format: Literal["curate-cluster/1"]
    zones: Literal["fused", "separate"] = Field(
        "fused", description="separate: `deidentify` runs on `phi` alone, everything after it on `clean`."
    )
    workers: Group | None = Field(None, description="The one group of `zones: fused`.")
    phi: Group | None = Field(None, description="The group that sees sources and key.")
    clean: Group | None = Field(
        None, description="The group that sees de-identified instances and the store."
    )
    staging: str | None = Field(
        None, description="Folder by which `phi` hands over to `clean`; WORKSPACE/staging without."
    )
    tls: str | Tls | None = Field(
        None, description="Folder made by `curate cluster certs`, or certificates; made for the run without."
    )
    plain_tcp: bool = Field(False, description="Let anybody on the network read and run what they like.")
    dashboard: str | None = Field(
        None, description="Address of Dask's page, which has no password: 127.0.0.1:8787. None without."
    )
    case_minutes: int = Field(120, ge=1, description="A case that takes longer is refused.")

    @model_validator(mode="after")
    def _groups_fit_zones(self) -> ClusterFile:
        given = {name for name in ("workers", "phi", "clean") if getattr(self, name) is not None}
        wanted = {"workers"} if self.zones == "fused" else {"phi", "clean"}
        if given != wanted:
            raise ValueError(
                f"wanted {' and '.join(sorted(wanted))} with zones: {self.zones}, and no other group"
            )
        if self.zones == "separate" and isinstance(self.phi, SchedulerGroup) and self.phi == self.clean:
            raise ValueError("wanted two addresses, because workers of one scheduler are one group")
        for group in self.groups.values():
            if isinstance(group, QueueGroup) and self.lifetime_s(group) <= 0:
                longest = self.case_minutes * 60 + MARGIN_S
                raise ValueError(f"wanted a walltime of more than the longest case and a minute, {longest} s")
        return self

    @property
    def groups(self) -> dict[str, Group]:
        """The groups by name, in the order in which a case walks through them."""
        named = {"workers": self.workers, "phi": self.phi, "clean": self.clean}
        return {name: group for name, group in named.items() if group is not None}

    def lifetime_s(self, group: QueueGroup) -> int:
        """Return after how many seconds a worker takes no new case: its last one still ends within the wall time."""
        return group.walltime_s - self.case_minutes * 60 - MARGIN_S


def fused(
    group: LocalGroup | SchedulerGroup, tls: str | None = None, *, plain_tcp: bool = False
) -> ClusterFile:
    """Return the cluster that `--workers` or `--scheduler` means."""
    return ClusterFile(format="curate-cluster/1", workers=group, tls=tls, plain_tcp=plain_tcp)


def is_loopback(address: str) -> bool:
    """Whether an address like tcp://host:port is reached from this machine alone."""
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def require_guarded(file: ClusterFile, option: str = "") -> None:
    """Refuse what would let anybody on the network read or run what they like, before anything is sent.

    Parameters
    ----------
    option
        The command line's option that the file stands for; none where it is a file.

    Raises
    ------
    UsageError
        plain-tcp, when a group is neither encrypted nor on this machine; certificates-missing, when none are named
        for an encrypted address.
    """
    for name, group in file.groups.items():
        where = option or f"$.{name}.address"
        if isinstance(group, KubernetesGroup) and not file.plain_tcp:
            wanted = "plain_tcp: true, and a network policy that keeps others out"
            raise UsageError("plain-tcp", wanted=wanted, found="pods without TLS", where="$.plain_tcp")
        if not isinstance(group, SchedulerGroup):
            continue
        if group.is_plain and not is_loopback(group.address) and not file.plain_tcp:
            raise UsageError("plain-tcp", wanted="tls:// to another machine", found="tcp://", where=where)
        if not group.is_plain and file.tls is None:
            raise UsageError(
                "certificates-missing",
                wanted="certificates for a tls:// address",
                found="none",
                where="--tls" if option else "$.tls",
            )
