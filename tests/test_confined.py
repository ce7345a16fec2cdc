"""Whatever a function does to its process, the one that asked lives and hears how it ended."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from pathlib import Path

import pytest

from pipeline import confined as room
from pipeline.confined import Confined, End, Ended, Limits
from pipeline.model.errors import SourceError

Tell = Callable[[str], None]
MEMORY = 256 * 2**20


def has_ended(process: int) -> bool:
    """Wait some seconds for a process to end."""
    deadline = time.monotonic() + 10
    while Path(f"/proc/{process}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not Path(f"/proc/{process}").exists()


def double(number: int, tell: Tell) -> int:
    tell("doubling")
    return 2 * number


def refuse(tell: Tell) -> None:
    raise SourceError("truncated", wanted="all", found="half", where="file 1 of 2")


def die(how: int, tell: Tell) -> None:
    os.kill(os.getpid(), how)


def leave(tell: Tell) -> None:
    os._exit(0)


def reach_nowhere(tell: Tell) -> None:
    ctypes.string_at(0)


def grow(count: int, tell: Tell) -> int:
    return len(bytearray(count))


def sleep(tell: Tell) -> None:
    time.sleep(60)


def limits(tell: Tell) -> tuple[int, int]:
    return os.getpid(), resource.getrlimit(resource.RLIMIT_CORE)[1]


def fail(tell: Tell) -> None:
    raise ValueError("of DOE_JANE")


@pytest.fixture(scope="module")
def confined() -> Iterator[Confined]:
    made = Confined(Limits(MEMORY, seconds=20, calls=3))
    yield made
    made.close()


@pytest.fixture
def call(confined: Confined, tmp_path: Path) -> Callable[..., Ended]:
    return lambda function, *arguments: confined.call(
        function, *arguments, tell=lambda said: None, log=tmp_path / "logs/case.log"
    )


def test_a_value_comes_back_and_what_is_told_meanwhile(confined: Confined, tmp_path: Path) -> None:
    told: list[str] = []
    ended = confined.call(double, 21, tell=told.append, log=tmp_path / "log")
    assert (ended.how, ended.value, told) == (End.DONE, 42, ["doubling"])
    assert not list(tmp_path.iterdir())


def test_a_refusal_comes_back_as_it_was(call: Callable[..., Ended]) -> None:
    ended = call(refuse)
    assert (ended.how, ended.value.code, ended.value.where) == (End.REFUSED, "truncated", "file 1 of 2")


@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT])
def test_a_signal_ends_the_call_and_not_the_caller(call: Callable[..., Ended], how: signal.Signals) -> None:
    assert call(die, how) == Ended(End.CRASH, words=f"signal {how.name}")
    assert call(double, 1).value == 2


def test_an_exit_without_an_answer_is_a_crash_even_with_code_0(call: Callable[..., Ended]) -> None:
    assert call(leave) == Ended(End.CRASH, words="exit 0")


def test_a_crash_leaves_its_place_in_a_log_that_only_its_owner_reads(
    call: Callable[..., Ended], tmp_path: Path
) -> None:
    assert call(reach_nowhere).words == "signal SIGSEGV"
    log = tmp_path / "logs/case.log"
    assert "reach_nowhere" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600
    assert log.parent.stat().st_mode & 0o777 == 0o700


def test_a_bug_in_what_is_called_is_a_crash_whose_log_says_where(
    call: Callable[..., Ended], tmp_path: Path
) -> None:
    assert call(fail).words == "exit 1"
    assert "in fail" in (tmp_path / "logs/case.log").read_text()


def test_more_memory_than_allowed_is_an_outcome_and_what_fits_is_not(call: Callable[..., Ended]) -> None:
    assert call(grow, MEMORY // 2).value == MEMORY // 2
    too_much = MEMORY + 2**30 + (os.cpu_count() or 1) * 72 * 2**20 + 1
    assert call(grow, too_much).how is End.MEMORY
    assert call(double, 4).value == 8


def test_a_call_without_end_is_ended(tmp_path: Path) -> None:
    confined = Confined(Limits(None, seconds=0.2))
    ended = confined.call(sleep, tell=lambda said: None, log=tmp_path / "log")
    confined.close()
    assert ended == Ended(End.TIMEOUT, words="more than 0.2 s")


def test_a_child_leaves_no_core_and_is_replaced_after_its_calls(confined: Confined, tmp_path: Path) -> None:
    ends = [confined.call(limits, tell=lambda said: None, log=tmp_path / "log").value for _ in range(7)]
    assert {core for _, core in ends} == {0}
    assert 3 <= len({process for process, _ in ends}) <= 4
    assert os.getpid() not in {process for process, _ in ends}


def test_a_child_killed_while_it_waits_is_replaced_without_blame(tmp_path: Path) -> None:
    confined = Confined(Limits(None, seconds=20))
    process, _ = confined.call(limits, tell=lambda said: None, log=tmp_path / "log").value
    os.kill(process, signal.SIGKILL)
    assert has_ended(process)
    ended = confined.call(double, 3, tell=lambda said: None, log=tmp_path / "log")
    confined.close()
    assert ended.value == 6


def leave_one_behind(tell: Tell) -> None:
    if os.fork() == 0:
        time.sleep(20)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


def test_an_end_is_noticed_though_the_fork_server_stands_still_and_another_process_holds_the_pipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_LAST_WORDS_WITHIN", 0.1)
    confined = Confined(Limits(None, seconds=20))
    confined.call(double, 1, tell=lambda said: None, log=tmp_path / "log")
    server = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    os.kill(server, signal.SIGSTOP)
    try:
        ended = confined.call(leave_one_behind, tell=lambda said: None, log=tmp_path / "log")
    finally:
        os.kill(server, signal.SIGCONT)
    assert ended == Ended(End.CRASH, words="an end that nobody saw")
    assert confined.call(double, 2, tell=lambda said: None, log=tmp_path / "log").value == 4
    confined.close()


def test_a_child_that_is_killed_after_it_was_handed_a_call_and_before_it_took_it_blames_nobody(
    tmp_path: Path,
) -> None:
    confined = Confined(Limits(None, seconds=20))
    process, _ = confined.call(limits, tell=lambda said: None, log=tmp_path / "log").value
    os.kill(process, signal.SIGSTOP)
    killing = threading.Timer(0.2, os.kill, (process, signal.SIGKILL))
    killing.start()
    ended = confined.call(double, 3, tell=lambda said: None, log=tmp_path / "log")
    confined.close()
    assert (ended.how, ended.value) == (End.DONE, 6)


def speak_then_sleep(tell: Tell) -> None:
    for _ in range(3):
        time.sleep(0.1)
        tell("going on")
    time.sleep(60)


def test_a_call_that_goes_silent_is_ended_though_it_had_time_left(tmp_path: Path) -> None:
    told: list[str] = []
    confined = Confined(Limits(None, seconds=60, silence=0.3))
    ended = confined.call(speak_then_sleep, tell=told.append, log=tmp_path / "log")
    confined.close()
    assert (ended, len(told)) == (Ended(End.TIMEOUT, words="more than 0.3 s"), 3)


_OWNER = """
import os, sys
from pathlib import Path
from pipeline.confined import Confined, Limits
import time
def told(said):
    print(said, flush=True)
Confined(Limits(None, 60)).call(time_out, tell=told, log=Path(sys.argv[1]))
"""


def say_and_wait(tell: Tell) -> None:
    tell(str(os.getpid()))
    time.sleep(60)


def test_a_child_ends_when_its_owner_is_killed(tmp_path: Path) -> None:
    folder = Path(__file__).parent
    script = _OWNER.replace("import time\n", "from test_confined import say_and_wait as time_out\n")
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "log")], cwd=folder, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        child = int(owner.stdout.readline())
        owner.kill()
    assert has_ended(child)
