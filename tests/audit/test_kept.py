"""A line is held against what the workspace kept of its case."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.audit.kept import Kept
from pipeline.audit.report import Run, Spot

RECORD = {
    "task": "Task09_Spleen",
    "case": "spleen_2",
    "subset": "training",
    "subject": "hmac-sha256:aa",
    "image": {"voxels": "sha256:01"},
    "label": {"voxels": "sha256:02"},
    "sources": {"CT": ["hmac-sha256:bb"]},
    "notes": [{"stage": "convert"}],
    "warnings": [],
}


def keep(workspace: Path, number: int, record: dict[str, Any]) -> None:
    folder = workspace / "store" / "00" / f"00{number}"
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(json.dumps(record))


def compared(workspace: Path, line: dict[str, Any]) -> Run:
    run = Run()
    Kept(workspace).compare(line, run, Spot(run, "Task09_Spleen.manifest.jsonl", "", line["case"]))
    return run


def test_a_line_that_says_what_was_kept_is_well(tmp_path: Path) -> None:
    keep(tmp_path, 1, RECORD)
    run = compared(tmp_path, RECORD)
    assert (run.findings, run.counts["kept"]) == ([], 1)


@pytest.mark.parametrize("part", ["image", "label", "sources", "notes", "subject"])
def test_a_line_changed_in_one_part_is_found_and_the_part_named(tmp_path: Path, part: str) -> None:
    keep(tmp_path, 1, RECORD)
    (finding,) = compared(tmp_path, {**RECORD, part: "another"}).findings
    assert (finding.stage, finding.case, finding.found) == ("package", "spleen_2", f"another {part}")


def test_of_two_records_one_that_fits_is_enough(tmp_path: Path) -> None:
    keep(tmp_path, 1, {**RECORD, "notes": []})
    keep(tmp_path, 2, RECORD)
    assert compared(tmp_path, RECORD).findings == []


def test_a_test_case_is_held_by_its_image_alone(tmp_path: Path) -> None:
    record = {**RECORD, "subset": "test"}
    keep(tmp_path, 1, record)
    public = {**record, "label": None, "notes": [], "sources": {}}
    assert compared(tmp_path, public).findings == []
    assert len(compared(tmp_path, {**public, "image": "another"}).findings) == 1


def test_a_case_that_was_not_kept_is_counted_and_no_finding(tmp_path: Path) -> None:
    keep(tmp_path, 1, {**RECORD, "case": "spleen_3"})
    run = compared(tmp_path, RECORD)
    assert (run.findings, run.counts["not_kept"]) == ([], 1)


def test_a_record_that_is_no_json_is_none(tmp_path: Path) -> None:
    keep(tmp_path, 1, RECORD)
    (tmp_path / "store/00/001/record.json").write_text("{")
    assert compared(tmp_path, RECORD).counts["not_kept"] == 1
