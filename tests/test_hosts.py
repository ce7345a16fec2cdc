"""Clusters of several hosts on this machine: SLURM with two nodes, zones that share no rights, two namespaces."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from running import run_curate

SLURM = Path(__file__).parents[2] / "shared/tools/slurm-onebox.sh"
CURATE = str(Path(sys.executable).with_name("curate"))
DASK = (sys.executable, "-m", "dask")
TASK = "Task04_Hippocampus"
CASES = 4

pytestmark = pytest.mark.slow


def need_root(*commands: str) -> None:
    missing = [command for command in commands if shutil.which(command) is None]
    if os.getuid() != 0 or missing:
        pytest.skip(f"needs root and {', '.join(commands)}")


def until(what: Callable[[], object], seconds: float = 90) -> object:
    """Wait until something is true; return it."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "waited for nothing"
        time.sleep(0.1)
    return found


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sources, a planned workspace, and what it makes on one machine."""
    folder = tmp_path_factory.mktemp("hosts")
    run_curate("demo", folder, "--task", TASK, "--cases", str(CASES))
    run_curate("init", folder / "ws", "--key", folder / "truth/demo.key")
    settings = folder / "ws/curate.yaml"
    unscreened = "burned_in: {unscreened: a phantom without text}"
    settings.write_text(settings.read_text().replace("burned_in: screen", unscreened))
    run_curate("index", folder / "source", "-w", folder / "ws")
    run_curate("plan", "-w", folder / "ws")
    shutil.copytree(folder / "ws", folder / "alone")
    run_curate("build", "-w", folder / "alone", "--workers", "1")
    return folder


@pytest.fixture
def workspace(planned: Path) -> Iterator[Path]:
    """A planned workspace in which nothing is built, below the sources' folder."""
    shutil.copytree(planned / "ws", planned / "run")
    yield planned / "run"
    shutil.rmtree(planned / "run")


def stored(workspace: Path) -> dict[str, bytes]:
    store = workspace / "store"
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}


@pytest.fixture
def begin() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start processes that are ended after the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            env={**os.environ, **(env or {})},
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def ends_well(process: subprocess.Popen[str], seconds: float = 240) -> None:
    said, _ = process.communicate(timeout=seconds)
    assert process.returncode == 0, said


def is_at_a_case(workspace: Path) -> bool:
    """Whether some case is being made: its log lies there meanwhile."""
    return any((workspace / "private/crashes").glob("*.log"))


def scheduler_of(address: str, tls: Path) -> list[str]:
    """Return the command of a scheduler, as the page on clusters says it."""
    host, port = address.removeprefix("tls://").split(":")
    return [
        *DASK, "scheduler", "--host", host, "--port", port, "--protocol", "tls", "--no-dashboard",
        "--dashboard-address", "127.0.0.1:0",
        "--tls-ca-file", f"{tls}/ca.pem", "--tls-cert", f"{tls}/scheduler.pem", "--tls-key", f"{tls}/scheduler.key",
    ]  # fmt: skip


def worker_of(address: str, tls: Path, scratch: Path) -> list[str]:
    """Return the command of a worker."""
    return [
        *DASK, "worker", address, "--nthreads", "1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0",
        "--local-directory", str(scratch),
        "--tls-ca-file", f"{tls}/ca.pem", "--tls-cert", f"{tls}/worker.pem", "--tls-key", f"{tls}/worker.key",
    ]  # fmt: skip


# A batch system


@pytest.fixture
def slurm(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    need_root("slurmctld", "slurmd", "munged")
    if not SLURM.is_file():
        pytest.skip("../shared/tools/slurm-onebox.sh is not there")
    folder = tmp_path_factory.mktemp("slurm")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = min(free.getsockname()[1], 60_000)
    command = ["bash", str(SLURM)]
    started = subprocess.run(
        [*command, "start", str(folder)], env={**os.environ, "SLURM_ONEBOX_PORT": str(port)}, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    if "idle" not in started.stdout:
        pytest.skip(f"SLURM does not start here: {started.stdout[-300:]}")
    monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    yield
    subprocess.run(["scancel", "--user=root"], check=False)
    subprocess.run([*command, "stop", str(folder)], check=True)


def jobs(state: str) -> list[str]:
    said = subprocess.run(
        ["squeue", "-h", "-o", "%i", "-t", state], capture_output=True, text=True, check=True
    )
    return said.stdout.split()


def freeze(job: str) -> int:
    """Stop all processes of a job where they are; return how many."""
    frozen = 0
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            is_of_job = f"SLURM_JOB_ID={job}\0".encode() in environment.read_bytes()
        except OSError:
            continue
        if is_of_job:
            os.kill(int(environment.parent.name), signal.SIGSTOP)
            frozen += 1
    return frozen


def test_jobs_that_hit_their_wall_time_in_the_middle_of_a_case_lose_nothing(
    slurm: None, planned: Path, workspace: Path, begin: Callable[..., subprocess.Popen[str]]
) -> None:
    (planned / "slurm.yaml").write_text(
        "format: curate-cluster/1\ncase_minutes: 1\n"
        "workers: {kind: slurm, jobs: 2, memory: 2 GiB, walltime: '00:10:00', queue: short, host: 127.0.0.1}\n"
    )
    build = begin(CURATE, "build", "-w", str(workspace), "--cluster", str(planned / "slurm.yaml"))
    until(lambda: is_at_a_case(workspace) and len(jobs("RUNNING")) == 2)
    hit = jobs("RUNNING")
    assert all(freeze(job) for job in hit)
    for job in hit:
        subprocess.run(["scontrol", "update", f"JobId={job}", "EndTime=now"], check=True)
    until(lambda: sorted(jobs("TIMEOUT")) == sorted(hit))
    ends_well(build)
    assert stored(workspace) == stored(planned / "alone")


# Zones


def test_the_clean_group_makes_the_same_bytes_without_a_way_to_sources_and_key(
    planned: Path, workspace: Path, begin: Callable[..., subprocess.Popen[str]]
) -> None:
    need_root("unshare", "mount")
    certificates = planned / "tls-clean"
    run_curate("cluster", "certs", certificates)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tls://127.0.0.1:{free.getsockname()[1]}"
    begin(*scheduler_of(address, certificates))
    worker = worker_of(address, certificates, planned / "scratch")
    hidden = [planned / "source", workspace / "private"]
    hide = " && ".join(f"mount -t tmpfs none {folder} && ! ls -A {folder} | grep -q ." for folder in hidden)
    begin("unshare", "--mount", "sh", "-c", f'{hide} && exec "$@"', "sh", *worker)
    (planned / "zones.yaml").write_text(
        f"format: curate-cluster/1\nzones: separate\ntls: {certificates}\nphi: {{kind: local, workers: 1}}\n"
        f"clean: {{kind: scheduler, address: '{address}'}}\n"
    )
    run_curate("build", "-w", workspace, "--cluster", planned / "zones.yaml")
    assert stored(workspace) == stored(planned / "alone")
    assert not list((workspace / "staging").iterdir())


# Two hosts


HOSTS = ("10.77.0.1", "10.77.0.2")


@pytest.fixture
def hosts() -> Iterator[list[list[str]]]:
    """Two network namespaces joined by a cable; what to put before a command that is to run in each."""
    need_root("ip", "nsenter")
    names = [f"curate{os.getpid()}{end}" for end in "ab"]
    ends = [f"veth{os.getpid() % 100_000}{end}" for end in "ab"]
    made = subprocess.run(["ip", "netns", "add", names[0]], check=False, capture_output=True)
    if made.returncode != 0:
        pytest.skip("needs network namespaces")
    subprocess.run(["ip", "netns", "add", names[1]], check=True)
    subprocess.run(["ip", "link", "add", ends[0], "type", "veth", "peer", "name", ends[1]], check=True)
    enter = [["nsenter", f"--net=/run/netns/{name}"] for name in names]
    for name, end, host, prefix in zip(names, ends, HOSTS, enter, strict=True):
        subprocess.run(["ip", "link", "set", end, "netns", name, "name", "cable"], check=True)
        subprocess.run([*prefix, "ip", "addr", "add", f"{host}/24", "dev", "cable"], check=True)
        for device in ("lo", "cable"):
            subprocess.run([*prefix, "ip", "link", "set", device, "up"], check=True)
    yield enter
    for name in names:
        subprocess.run(["ip", "netns", "del", name], check=True)


def kept_up(*words: str) -> tuple[str, ...]:
    """Return a command that starts another again whenever it ends, as a service manager does."""
    return ("sh", "-c", 'while true; do "$@"; sleep 1; done', "sh", *words)


def test_a_cable_cut_between_two_hosts_with_tls_delays_a_build_and_no_more(
    hosts: list[list[str]], planned: Path, workspace: Path, begin: Callable[..., subprocess.Popen[str]]
) -> None:
    tls, address = planned / "tls-hosts", f"tls://{HOSTS[0]}:8786"
    run_curate("cluster", "certs", tls)
    quick = {
        "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "12s",
        "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s",
    }
    near, far = hosts
    begin(*near, *kept_up(*scheduler_of(address, tls)), env=quick)
    begin(*far, *kept_up(*worker_of(address, tls, planned / "far"), "--death-timeout", "10"), env=quick)
    words = [*near, CURATE, "build", "-w", str(workspace), "--scheduler", address, "--tls", str(tls)]
    build = begin(*words, env=quick)
    until(lambda: is_at_a_case(workspace))
    subprocess.run([*near, "ip", "link", "set", "cable", "down"], check=True)
    time.sleep(16)
    subprocess.run([*near, "ip", "link", "set", "cable", "up"], check=True)
    ends_well(build)
    assert stored(workspace) == stored(planned / "alone")
    run_curate("cluster", "certs", planned / "tls-other")
    foreign = ("--tls", str(planned / "tls-other"))
    stranger = subprocess.run(
        [*near, CURATE, "build", "-w", str(planned / "ws"), "--scheduler", address, *foreign],
        capture_output=True, text=True, check=False, env={**os.environ, **quick}, timeout=400,
    )  # fmt: skip
    assert (stranger.returncode, "scheduler-unfit" in stranger.stderr) == (2, True), stranger.stderr
    plain = run_curate("build", "-w", planned / "ws", "--scheduler", f"tcp://{HOSTS[0]}:8786", code=2)
    assert "plain-tcp" in plain.stderr
