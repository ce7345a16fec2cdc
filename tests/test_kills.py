"""A build that is killed again and again ends as one that was left alone."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = Path(__file__).parents[1] / "benchmarks/cluster/kills.py"


@pytest.mark.slow
def test_kills_at_random_lose_nothing_and_make_nothing_twice() -> None:
    words = ("--kills", "4", "--a-build", "4", "--cases", "30", "--seed", "3")
    done = subprocess.run(
        [sys.executable, KILLS, *words], capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "missing files 0, other bytes 0, leftovers 0" in done.stdout
    assert re.search(r"^kills while a case was being made: [1-9]", done.stdout, flags=re.MULTILINE)
    assert re.search(r"made again after they stood in the store: 0$", done.stdout, flags=re.MULTILINE)
