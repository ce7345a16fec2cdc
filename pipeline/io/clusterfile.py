"""Read a cluster file strictly; every fault with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.io.plainyaml import SIZE_LIMIT, read_plain
from pipeline.io.strict import held_against, model_keys
from pipeline.model.clusterfile import ClusterFile, SchedulerGroup, Tls, fused, require_guarded
from pipeline.model.errors import UsageError


def load_cluster(path: Path) -> ClusterFile:
    """Return what a cluster file says, its folders and certificates with whole paths.

    Raises
    ------
    UsageError
        cluster-invalid, when it cannot be read, or with every fault and its place; plain-tcp or
        certificates-missing, when it lets others in.
    """
    try:
        content = path.read_bytes()[: SIZE_LIMIT + 1]
    except OSError as fault:
        found = f"error {fault.errno}"
        raise UsageError("cluster-invalid", wanted="a file to read", found=found, where=str(path)) from None
    document = read_plain(content)
    read, faults = held_against(ClusterFile, document, model_keys(ClusterFile))
    if read is None or document.faults:
        said = "\n".join(str(fault) for fault in [*document.faults, *faults])
        raise UsageError("cluster-invalid", wanted="a cluster file", found=said, where=str(path))
    require_guarded(read)
    return read.model_copy(
        update={"tls": _placed(read.tls, path.parent), "staging": _at(read.staging, path.parent)}
    )


def reached(address: str, tls: str | None, *, plain_tcp: bool) -> ClusterFile:
    """Return what `--scheduler` means: the workers of a scheduler that is there.

    Raises
    ------
    UsageError
        scheduler-unfit, when that is no address; plain-tcp or certificates-missing, when it lets others in.
    """
    try:
        file = fused(SchedulerGroup(kind="scheduler", address=address), tls, plain_tcp=plain_tcp)
    except ValidationError:
        raise UsageError(
            "scheduler-unfit", wanted="tls://host:port, or tcp://", found="another text", where="--scheduler"
        ) from None
    require_guarded(file, "--scheduler")
    return file


def cluster_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a cluster file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **ClusterFile.model_json_schema()}


def _at(path: str | None, folder: Path) -> str | None:
    return None if path is None else str((folder / path).resolve())


def _placed(tls: str | Tls | None, folder: Path) -> str | Tls | None:
    if isinstance(tls, Tls):
        return Tls(**{name: str((folder / path).resolve()) for name, path in tls.model_dump().items()})
    return _at(tls, folder)
