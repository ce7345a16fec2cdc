"""A diary tells what goes on while it goes on, keeps few lines for later, and quotes no progress bar."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pipeline.io import diary
from pipeline.io.diary import MOST_LINES, Diary, broken_off, going_on
from pipeline.io.runlog import RunLog


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diary, "_BEAT_S", 0.01)


def lines(runs: Path) -> list[dict[str, object]]:
    (path,) = runs.glob("*.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def told(runs: Path) -> dict[str, object]:
    """Return what goes on, once the heart has beaten again."""
    (runs / "now.json").unlink()
    while not (runs / "now.json").exists():
        pass
    found = going_on(runs, os.getpid())
    assert found is not None
    return found


def test_what_goes_on_is_told_by_task_and_room_with_rate_and_time_left(tmp_path: Path) -> None:
    one = Diary(tmp_path, "build")
    one.progress("cases", 0, 10)
    log = RunLog(tmp_path / f"20260101T000000Z-{os.getpid()}")
    for number, end in enumerate(("made", "made", "reused", "refused")):
        one.enter(f"a_{number}", "convert")
        log.append({"task": "Task01_A", "case": f"a_{number}", "end": end})
    one.enter("a_8", "label")
    found = told(tmp_path)
    log.close()
    one.end(0)

    assert (found["command"], found["total"], found["stages"]) == ("build", 10, {"label": 1})
    assert found["ended"] == [
        {"task": "Task01_A", "end": end, "cases": count} for end, count in (("made", 2), ("refused", 1), ("reused", 1))
    ]  # fmt: skip
    assert isinstance(found["per_minute"], float)
    assert isinstance(found["left_s"], int)
    assert going_on(tmp_path, os.getpid()) is None


def test_a_case_that_has_ended_is_in_no_room_even_where_no_log_of_it_is_seen_yet(tmp_path: Path) -> None:
    one = Diary(tmp_path, "build")
    for number in range(300):
        one.enter(f"a_{number}", "store")
        one.leave(f"a_{number}")
    one.enter("a_300", "label")
    found = told(tmp_path)
    one.end(0)

    assert found["stages"] == {"label": 1}


def test_a_command_that_came_to_no_end_is_named_and_one_that_did_is_not(tmp_path: Path) -> None:
    one = Diary(tmp_path, "build")
    assert broken_off(tmp_path) == "build"
    one.end(3)
    assert broken_off(tmp_path) == ""


def test_reading_files_is_told_too(tmp_path: Path) -> None:
    one = Diary(tmp_path, "index")
    one.progress("files read", 30, 90)
    found = told(tmp_path)
    one.end(0)

    assert (found["what"], found["done"], found["total"], found["ended"]) == ("files read", 30, 90, [])


def test_of_another_process_nothing_is_told(tmp_path: Path) -> None:
    one = Diary(tmp_path, "index")

    assert going_on(tmp_path, os.getpid() + 1) is None
    one.end(0)


def test_a_diary_has_a_line_for_each_tenth_and_one_for_the_end(tmp_path: Path) -> None:
    one = Diary(tmp_path, "index")
    for done in range(1, 1001):
        one.progress("files read", done, 1000)
    one.end(3)
    kinds = [line["kind"] for line in lines(tmp_path)]

    assert kinds == ["began", *["progress"] * 11, "ended"]
    assert lines(tmp_path)[-1]["exit"] == 3
    (text,) = tmp_path.glob("*.log")
    assert len(text.read_text().splitlines()) == len(kinds)


def test_a_thousand_refusals_do_not_fill_the_disk(tmp_path: Path) -> None:
    one = Diary(tmp_path, "plan")
    for number in range(3 * MOST_LINES):
        one.say(f"refused Task09_Spleen spleen_{number}: " + "x" * 100)
    one.end(3)
    sizes = sum(path.stat().st_size for path in tmp_path.iterdir())

    assert len(lines(tmp_path)) == MOST_LINES + 1
    assert lines(tmp_path)[-1]["kind"] == "ended"
    assert sizes < 200_000


def test_only_the_owner_reads_a_diary(tmp_path: Path) -> None:
    one = Diary(tmp_path, "plan")
    one.end(0)

    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
