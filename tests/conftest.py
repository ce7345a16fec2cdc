"""What tests of the whole share: the command, the demo release, the real data."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import Curate, Demo, run_curate

REAL = Path(__file__).parents[2] / "shared/data/real"


@pytest.fixture(scope="session")
def curate() -> Curate:
    """The installed command, in a process of its own."""
    return run_curate


@pytest.fixture(scope="session")
def demo_release(tmp_path_factory: pytest.TempPathFactory, curate: Curate) -> Demo:
    """The whole demo, all ten tasks, as `make demo` builds it; tests that use it are slow."""
    demo = Demo(tmp_path_factory.mktemp("demo"))
    curate("demo", demo.folder)
    curate("init", demo.workspace, "--key", demo.truth / "demo.key")
    curate("release", demo.source, "-w", demo.workspace, "-r", demo.release)
    return demo


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of real DICOM and labels beside the repo; without it the test is skipped."""
    if not REAL.is_dir():
        pytest.skip("../shared/data/real is not there")
    return REAL
