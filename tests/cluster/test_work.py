"""What becomes of a case whose process dies, grows or does not end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.cluster.work import Bench, Terms
from pipeline.io.runlog import read_all
from pipeline.model.errors import SourceError
from pipeline.model.record import Finished, Refusal
from pipeline.orders import Request

Tell = Callable[[str], None]


def crash(notes: str, tell: Tell) -> None:
    tell("convert")
    with Path(notes).open("a") as stream:
        stream.write("tried\n")
    os.kill(os.getpid(), signal.SIGSEGV)


def crash_once(notes: str, tell: Tell) -> str:
    if not Path(notes).exists():
        crash(notes, tell)
    return "well"


def grow(tell: Tell) -> int:
    tell("scale")
    return len(bytearray(2**40))


def sleep(tell: Tell) -> None:
    time.sleep(60)


def refuse(tell: Tell) -> None:
    raise SourceError("truncated", wanted="all", found="half")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(Terms(str(tmp_path), str(tmp_path / "private/crashes"), str(tmp_path / "runs"), 20), 2**30)
    yield made
    made.close()


@pytest.fixture
def attempt(bench: Bench) -> Callable[..., Any]:
    request = Request("none", "Task09_Spleen", "spleen_1", 0)
    return lambda function, *arguments: bench.attempt(function, arguments, request, lambda stage: None)


def test_a_case_that_crashes_twice_is_refused_with_its_room_and_its_logs_place(
    attempt: Callable[..., Any], tmp_path: Path
) -> None:
    refusal = attempt(crash, str(tmp_path / "notes"))
    assert refusal == Refusal(
        "Task09_Spleen", "spleen_1", "convert", "case-crashed", "a case that does not end its process",
        "signal SIGSEGV, 2 times", "private/crashes/Task09_Spleen-spleen_1.log",
    )  # fmt: skip
    assert (tmp_path / "notes").read_text() == "tried\n" * 2
    assert (tmp_path / refusal.where).exists()


def test_a_case_that_crashes_once_is_made(attempt: Callable[..., Any], tmp_path: Path) -> None:
    assert attempt(crash_once, str(tmp_path / "notes")) == "well"
    assert not list((tmp_path / "private/crashes").iterdir())


def test_a_case_that_wants_too_much_memory_is_refused_at_once(attempt: Callable[..., Any]) -> None:
    refusal = attempt(grow)
    assert (refusal.code, refusal.stage) == ("memory-short", "scale")


def test_a_case_that_does_not_end_is_refused(tmp_path: Path) -> None:
    bench = Bench(Terms(str(tmp_path), str(tmp_path / "crashes"), str(tmp_path / "runs"), 0.2), None)
    refusal = bench.attempt(sleep, (), Request("none", "T", "c", 0), lambda stage: None)
    bench.close()
    assert (refusal.code, refusal.found) == ("case-timeout", "more than 0.2 s")


def test_a_refusal_in_the_child_is_the_cases(attempt: Callable[..., Any]) -> None:
    assert attempt(refuse).code == "truncated"


def test_outcomes_stand_in_the_runs_log(bench: Bench, tmp_path: Path) -> None:
    bench.note(Finished("T", "a", "ee", was_made=True))
    bench.note(Finished("T", "b", "ff", was_made=False))
    bench.note(Refusal("T", "c", "scale", "not-finite", "", ""))
    told = [(line["case"], line["end"], line.get("code")) for line in read_all(tmp_path / "runs")]
    assert sorted(told) == [("a", "made", None), ("b", "reused", None), ("c", "refused", "not-finite")]
