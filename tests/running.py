"""The command as people run it, and the places of a demo."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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
