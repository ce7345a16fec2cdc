"""What tests of the whole share: the command, the demo release, the real data."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
REAL = ROOT.parent / "shared/data/real"

Curate = Callable[..., "subprocess.CompletedProcess[str]"]
"""`curate("build", "-w", folder, code=3)`: run the command; another exit code than `code` fails the test."""


@dataclass(frozen=True, slots=True)
class Demo:
    """A demo: phantom sources and truth, the workspace that read them, and the release."""

    folder: Path

    @property
    def source(self) -> Path:
        return self.folder / "source"

    @property
    def truth(self) -> Path:
        return self.folder / "truth"

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    @property
    def release(self) -> Path:
        return self.folder / "release"


def run_curate(
    *words: str | Path, code: int = 0, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("curate")), *map(str, words)]
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode == code, f"exit {done.returncode}, wanted {code}\n{done.stdout}\n{done.stderr}"
    return done


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
