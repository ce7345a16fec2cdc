"""A plan gives back what was written, sorted by case, and stays what it is while another is written."""

from __future__ import annotations

from pathlib import Path

from pipeline.io.planfile import PlanFile, PlanWriter, read_plan
from pipeline.model.plan import CasePlan
from pipeline.model.record import Refusal
from pipeline.model.series import SourceRef


def planned(case: str) -> CasePlan:
    refs = (SourceRef("/M\udcfcller", None, "0" * 64, 1),)
    return CasePlan("Task01_A", case, "training", "hmac", {"CT": refs}, {}, None, None, ())


def refusal(case: str) -> Refusal:
    return Refusal("Task01_A", case, "plan", "no-label", "a label", "none")


def written(folder: Path, *lines: CasePlan | Refusal) -> PlanFile:
    writer = PlanWriter(folder / "draft")
    for line in lines:
        writer.add(line)
    return writer.write(folder / "plan.jsonl", {"kind": "header", "task": "Task01_A"})


def test_a_plan_is_sorted_and_read_back(tmp_path: Path) -> None:
    lines = [planned("a_3"), refusal("a_4"), planned("a_1"), refusal("a_2")]
    made = written(tmp_path, *lines)
    read = read_plan(tmp_path / "plan.jsonl")

    assert list(made.cases) == list(read.cases) == [planned("a_1"), planned("a_3")]
    assert list(read.names) == ["a_1", "a_3"]
    assert list(read.refusals) == [refusal("a_2"), refusal("a_4")]
    assert read.header["task"] == "Task01_A"
    assert made.cases.offsets == read.cases.offsets
    assert [path.name for path in tmp_path.iterdir()] == ["plan.jsonl"]


def test_cases_are_a_sequence(tmp_path: Path) -> None:
    cases = written(tmp_path, *(planned(f"a_{number}") for number in range(5))).cases

    assert len(cases) == 5
    assert cases[-1] == planned("a_4")
    assert cases[1:3] == [planned("a_1"), planned("a_2")]
    assert cases == [planned(f"a_{number}") for number in range(5)]
    assert cases != [planned("a_0")]


def test_a_new_plan_does_not_change_the_cases_of_the_old_one(tmp_path: Path) -> None:
    before = written(tmp_path, planned("a_1"), planned("a_2")).cases
    written(tmp_path, planned("b_1"))

    assert list(before) == [planned("a_1"), planned("a_2")]


def test_a_plan_is_private(tmp_path: Path) -> None:
    written(tmp_path, planned("a_1"))

    assert (tmp_path / "plan.jsonl").stat().st_mode & 0o777 == 0o600
