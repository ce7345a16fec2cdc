"""What a cluster file may say, and what it may not."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.model.clusterfile import ClusterFile, QueueGroup, is_loopback

SLURM = {"kind": "slurm", "jobs": 2, "memory": "4 GiB", "walltime": "03:00:00"}
LOCAL = {"kind": "local", "workers": 2}


def read(**said: Any) -> ClusterFile:
    return ClusterFile.model_validate({"format": "curate-cluster/1", **said})


def test_a_worker_leaves_its_longest_case_and_a_minute_before_the_wall_time() -> None:
    file = read(workers=SLURM, case_minutes=60)
    (group,) = file.groups.values()
    assert isinstance(group, QueueGroup)
    assert file.lifetime_s(group) == 3 * 3600 - 3600 - 60


@pytest.mark.parametrize("walltime", ["00:31:00", "00:30:00", "half an hour", "00:99:00"])
def test_a_wall_time_that_no_case_fits_into_is_refused(walltime: str) -> None:
    with pytest.raises(ValidationError, match="walltime"):
        read(workers={**SLURM, "walltime": walltime}, case_minutes=30)


@pytest.mark.parametrize(
    ("walltime", "seconds"), [("1-00:00:00", 86_400), ("04:30", 16_200), ("00:00:90", None)]
)
def test_a_wall_time_is_read_as_batch_systems_do(walltime: str, seconds: int | None) -> None:
    if seconds is None:
        with pytest.raises(ValidationError):
            read(workers={**SLURM, "walltime": walltime}, case_minutes=1)
    else:
        (group,) = read(workers={**SLURM, "walltime": walltime}, case_minutes=1).groups.values()
        assert isinstance(group, QueueGroup)
        assert group.walltime_s == seconds


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"workers": LOCAL, "phi": LOCAL},
        {"zones": "separate", "workers": LOCAL},
        {"zones": "separate", "phi": LOCAL},
        {"zones": "separate", "phi": LOCAL, "clean": LOCAL, "workers": LOCAL},
    ],
)
def test_groups_other_than_those_of_the_zones_are_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="zones"):
        read(**said)


def test_one_scheduler_is_not_two_zones() -> None:
    one = {"kind": "scheduler", "address": "tls://head:8786"}
    with pytest.raises(ValidationError, match="two addresses"):
        read(zones="separate", phi=one, clean=one)


def test_groups_come_in_the_order_in_which_a_case_walks() -> None:
    assert list(read(zones="separate", clean=LOCAL, phi=LOCAL).groups) == ["phi", "clean"]


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:1", "tcp://127.9.9.9:1", "tls://[::1]:1", "tcp://localhost:1"]
)
def test_an_address_of_this_machine_is_loopback(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize(
    "address", ["tcp://10.0.0.1:1", "tcp://head:1", "tcp://127.0.0.1.example.org:1", "tcp://[::]:1"]
)
def test_any_other_address_is_not(address: str) -> None:
    assert not is_loopback(address)
