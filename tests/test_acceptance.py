"""Do the programs that people train with take the demo's TARs? MONAI, nnU-Net v2 and SimpleITK say so."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from running import Demo

ROOT = Path(__file__).parents[1]
TOOL = ROOT.parent / "shared/tools/accept_msd.py"
PYTHON = ROOT / ".venv-accept/bin/python"
TASKS = tuple(sorted(path.stem for path in (ROOT / "rules").glob("Task*.yaml")))
AT_ONCE = 2
"""Consumers are mostly start-up time; two at once halve the wait on two cores."""

pytestmark = pytest.mark.slow


def ask_consumers(tar: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PYTHON, TOOL, tar], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def verdicts(request: pytest.FixtureRequest) -> Mapping[str, subprocess.CompletedProcess[str]]:
    """What the consumers say of each task's TAR."""
    for needed, advice in (
        (TOOL, "the acceptance tool is not there"),
        (PYTHON, "run `make accept-venv` first"),
    ):
        if not needed.exists():
            pytest.skip(f"{needed.name}: {advice}")
    demo: Demo = request.getfixturevalue("demo_release")  # only now: a skip must not build the demo
    tars = sorted(demo.release.glob("*.tar"))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip((tar.stem for tar in tars), pool.map(ask_consumers, tars), strict=True))


def test_the_release_has_a_tar_for_each_task(
    verdicts: Mapping[str, subprocess.CompletedProcess[str]],
) -> None:
    assert tuple(verdicts) == TASKS


@pytest.mark.parametrize("task", TASKS)
def test_consumers_accept_the_tar(
    verdicts: Mapping[str, subprocess.CompletedProcess[str]], task: str
) -> None:
    said = verdicts[task]

    assert said.returncode == 0, said.stderr[-2000:]
    assert said.stdout.splitlines()[-1].startswith(f"ACCEPTED {task}.tar")
    assert "FAILED" not in said.stdout.splitlines()[-1]
