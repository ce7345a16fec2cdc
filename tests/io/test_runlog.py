"""What many processes say of one run is read whole, however one of them ended."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.io.runlog import MERGED, RunLog, merge, read_all


def said(folder: Path) -> list[str]:
    return [line["case"] for line in read_all(folder)]


def written(folder: Path, *cases: str) -> Path:
    """Write the lines of one process; return its file."""
    before = set(folder.glob("*"))
    log = RunLog(folder)
    for case in cases:
        log.append({"case": case, "code": ""})
    log.close()
    (path,) = set(folder.glob("*")) - before
    return path


def test_lines_of_several_processes_are_read_together_by_time(tmp_path: Path) -> None:
    first, second = RunLog(tmp_path), RunLog(tmp_path)
    for log, case in ((first, "a"), (second, "b"), (first, "c")):
        log.append({"case": case})
    assert sorted(said(tmp_path)) == ["a", "b", "c"]
    assert [line["at"] for line in read_all(tmp_path)] == sorted(line["at"] for line in read_all(tmp_path))


def test_slow_lines_are_flushed_one_by_one_and_quick_ones_together_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, flushed = [0.0], []
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("os.fsync", lambda file: flushed.append(os.fstat(file).st_size))
    log, sizes = RunLog(tmp_path), []
    (path,) = tmp_path.iterdir()
    for pause in (0, 2, 0.1, 0.1):
        now[0] += pause
        log.append({"case": "a"})
        sizes.append(path.stat().st_size)
    assert flushed == sizes[:2]
    log.close()
    assert flushed == [*sizes[:2], sizes[-1]]


def test_a_line_torn_at_any_byte_is_left_out_and_the_others_stay(tmp_path: Path) -> None:
    path = written(tmp_path, "a", "b")
    content = path.read_bytes()
    start = content.index(b"\n") + 1
    for end in range(start, len(content) - 1):
        path.write_bytes(content[:end])
        assert said(tmp_path) == ["a"]


def test_a_line_that_was_changed_is_left_out(tmp_path: Path) -> None:
    path = written(tmp_path, "a", "b")
    path.write_bytes(path.read_bytes().replace(b'"case":"b"', b'"case":"x"'))
    assert said(tmp_path) == ["a"]


def test_merging_keeps_every_line_once_even_when_it_was_cut_short(tmp_path: Path) -> None:
    parts = [written(tmp_path, "a", "b"), written(tmp_path, "c")]
    kept = [(path, path.read_bytes()) for path in parts]
    assert merge(tmp_path) == 3
    assert [path.name for path in tmp_path.iterdir()] == [MERGED]
    for path, content in kept:
        path.write_bytes(content)
    assert sorted(said(tmp_path)) == ["a", "b", "c"]
    assert merge(tmp_path) == 3


def test_a_folder_without_lines_says_nothing(tmp_path: Path) -> None:
    assert read_all(tmp_path / "none") == []
