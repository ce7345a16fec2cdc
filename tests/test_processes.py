"""Other processes give what this one would, in order, and what ends one badly is refused by itself alone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline import processes as room
from pipeline.confined import Ended
from pipeline.model.errors import CurationError, SourceError
from pipeline.processes import Asked, Begun, OneByOne, Processes, refusal_of

Tell = Callable[[Any], None]


def squares(numbers: Sequence[int]) -> list[int]:
    return [square(number) for number in numbers]


def square(number: int) -> int:
    """13 kills its process, 17 never ends, 19 wants all memory."""
    if number == 13:
        os.kill(os.getpid(), signal.SIGSEGV)
    if number == 17:
        time.sleep(60)
    if number == 19:
        bytearray(2**46)
    return number**2


def squares_told(numbers: Sequence[int], skip: int, tell: Tell) -> None:
    for number in numbers[skip:]:
        tell(Begun(f"number {number}"))
        tell(square(number))


def square_alone(number: int, tell: Tell) -> int:
    if number == 0:
        raise SourceError("truncated", wanted="a number", found="none")
    return square(number)


def once(place: str, tell: Tell) -> str:
    """Crash the first time."""
    if not Path(place).exists():
        Path(place).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "whole"


def lost(item: object, begun: str, ended: Ended) -> str:
    return f"{refusal_of(ended).code} {begun}".strip()


def opened(count: int = 1, logs: Path | None = None) -> Processes[int, Any]:
    return Processes(squares, lost=lost, count=count, logs=logs, preload=__name__)


def asked_in_chunks(processes: Processes[int, Any], numbers: Sequence[int]) -> list[Asked[int, Any]]:
    return [processes.ask(numbers[at : at + 5]) for at in range(0, len(numbers), 5)]


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(room, "_SILENCE_S", 1.0)
    monkeypatch.setattr(room, "_SERIES_S", 1.0)
    yield


def test_answers_come_in_the_order_asked_and_nothing_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    with opened(count=2) as processes:
        asked = [processes.ask([]), *asked_in_chunks(processes, range(12))]
        answers = [number for one in asked for number in processes.answer(one)]

    assert answers == [number**2 for number in range(12)]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("poison", "code"), [(13, "input-crashed"), (17, "input-timeout"), (19, "memory-short")]
)
def test_what_ends_its_process_is_lost_and_its_neighbours_are_not(
    poison: int, code: str, hasty: None
) -> None:
    with opened() as processes:
        asked = asked_in_chunks(processes, [1, 2, poison, 4, 5, 6])
        answers = [number for one in asked for number in processes.answer(one)]

    assert answers == [1, 4, code, 16, 25, 36]


def test_the_log_of_what_was_lost_stays_and_no_other(tmp_path: Path) -> None:
    with opened(logs=tmp_path) as processes:
        processes.answer(processes.ask([1, 13, 3]))

    (log,) = tmp_path.iterdir()
    assert "in square" in log.read_text()


def test_what_is_told_comes_as_it_is_told_and_a_part_that_ends_the_process_is_named_and_skipped() -> None:
    numbers: Any = [2, 3, 13, 4, 13, 13, 5]
    with opened() as processes:
        told = list(processes.follow(squares_told, numbers))

    assert told == [4, 9, "input-crashed number 13", 16, *["input-crashed number 13"] * 2, 25]


def never_begins(number: int, skip: int, tell: Tell) -> None:
    square(13)


def test_what_ends_its_process_before_it_comes_to_a_part_is_lost_once() -> None:
    with opened() as processes:
        assert list(processes.follow(never_begins, 1)) == ["input-crashed"]


def test_one_thing_after_the_other_is_done_or_refused(hasty: None) -> None:
    codes = []
    with OneByOne(None, __name__) as child:
        for number in (0, 13, 17, 19):
            with pytest.raises(CurationError) as refused:
                child.done(square_alone, number)
            codes.append(refused.value.code)
        assert child.done(square_alone, 3) == 9

    assert codes == ["truncated", "input-crashed", "input-timeout", "memory-short"]


def test_a_process_that_was_killed_once_blames_nobody(tmp_path: Path) -> None:
    with OneByOne(None, __name__) as child:
        assert child.done(once, str(tmp_path / "tried")) == "whole"
