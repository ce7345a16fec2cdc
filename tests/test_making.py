"""Asking for a case says of it what making it here says, and a process that asks imports nothing for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pipeline.making import PRELOAD, make, open_door
from pipeline.model.record import Refusal
from pipeline.orders import Request


def test_a_case_of_no_workspace_is_refused_either_way(tmp_path: Path) -> None:
    request = Request(str(tmp_path), "Task10_Colon", "colon_001", 0)
    for outcome in (make(request, None, print), open_door(request, str(tmp_path / "staging"), None, print)):
        assert isinstance(outcome, Refusal)
        assert (outcome.code, outcome.stage) == ("workspace-missing", "open")


def test_who_asks_imports_little_and_a_fork_server_all_that_is_needed() -> None:
    script = "import sys, importlib; [importlib.import_module(name) for name in {}]; print('SimpleITK' in sys.modules)"
    for names, has in (([PRELOAD[0]], "False"), (list(PRELOAD), "True")):
        line = [sys.executable, "-c", script.format(names)]
        assert subprocess.run(line, check=True, capture_output=True, text=True).stdout.strip() == has
