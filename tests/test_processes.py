"""Other processes give what this one would, in order, and the death of one blames its own item alone."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.processes import Asked, Processes


def squares(numbers: Sequence[int]) -> list[int]:
    return [number**2 for number in numbers]


def squares_but_poison(numbers: Sequence[int]) -> list[int]:
    if 13 in numbers:
        os.kill(os.getpid(), signal.SIGKILL)
    return squares(numbers)


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def asked_in_chunks(processes: Processes[int, int], numbers: Sequence[int]) -> list[Asked[int, int]]:
    return [processes.ask(numbers[at : at + 5]) for at in range(0, len(numbers), 5)]


def test_answers_come_in_the_order_asked_and_no_process_stays(capfd: pytest.CaptureFixture[str]) -> None:
    before = children()
    with Processes(squares, lost=lambda _: -1, count=2) as processes:
        asked = [processes.ask([]), *asked_in_chunks(processes, range(20))]
        answers = [number for one in asked for number in processes.answer(one)]

    assert answers == [number**2 for number in range(20)]
    # The one that tells of leaked resources is Python's own.
    assert len(children() - before) <= 1
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_an_item_that_kills_its_process_is_lost_and_its_neighbours_are_not() -> None:
    with Processes(squares_but_poison, lost=lambda _: -1, count=1) as processes:
        asked = asked_in_chunks(processes, range(20))
        answers = [number for one in asked for number in processes.answer(one)]

    assert answers == [-1 if number == 13 else number**2 for number in range(20)]
