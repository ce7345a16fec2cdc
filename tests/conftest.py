"""What tests of the whole share: the command, the demo release, the real data."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from pathlib import Path

import pytest
from running import Curate, Demo, run_curate

# A shell starts background jobs with interruptions ignored, and so would every command that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

_set_preload = forkserver.set_forkserver_preload
"""One fork server serves all that is called in one process: it imports what any of them needs, once."""
forkserver.set_forkserver_preload = lambda names: _set_preload(  # type: ignore[assignment]
    [*names, "pipeline.handover", "pipeline.cluster.work", "pipeline.index", "pipeline.export"]
)

REAL = Path(__file__).parents[2] / "shared/data/real"


@pytest.fixture(scope="session")
def curate() -> Curate:
    """The installed command, in a process of its own."""
    return run_curate


@pytest.fixture(scope="session")
def demo_release(tmp_path_factory: pytest.TempPathFactory, curate: Curate) -> Demo:
    """The whole demo, all ten tasks, as `make demo` builds it; tests that use it are slow and only read it."""
    shared = _shared_by_all_processes(tmp_path_factory)
    demo, whole = Demo(shared / "demo"), shared / "demo-is-whole"
    with _one_process_at_a_time(shared / "demo.lock"):
        if not whole.exists():
            curate("demo", demo.folder)
            curate("init", demo.workspace, "--key", demo.truth / "demo.key")
            curate("release", demo.source, "-w", demo.workspace, "-r", demo.release)
            whole.touch()
    return demo


def _shared_by_all_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return this run's temporary folder; pytest-xdist gives each of its processes one of its own below it."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if os.environ.get("PYTEST_XDIST_WORKER") else own


@contextmanager
def _one_process_at_a_time(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of real DICOM and labels beside the repo; without it the test is skipped."""
    if not REAL.is_dir():
        pytest.skip("../shared/data/real is not there")
    return REAL


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes by their length: what gzip wrote holds a time, and all processes must name the tests alike."""
    return f"{argname}-of-{len(val)}-bytes" if isinstance(val, bytes) else None
