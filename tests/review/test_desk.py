"""Decisions are taken in whole and strictly, bound to what was seen, and decide what is packed."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from reviewing import file_of, lines, packed, records, say

from pipeline.audit import audit
from pipeline.compare import compare
from pipeline.io.decisions import last_decisions
from pipeline.io.workspace import Workspace
from pipeline.model.errors import UsageError
from pipeline.planned import kept_out
from pipeline.review.desk import Desk
from pipeline.status import status

PROSTATE, SPLEEN = "Task05_Prostate", "Task09_Spleen"
ACCEPT, REJECT, TURN = ("accept", "fit"), ("reject", "image-quality"), ("correct", "half-turn")


def cases(workspace: Workspace, task: str = SPLEEN) -> list[str]:
    return list(records(workspace, task))


def fates(workspace: Workspace, case: str) -> set[tuple[str, str, str]]:
    with (workspace.private / "fates.csv").open() as stream:
        return {
            (r["fate"], r["code"], r["stage"])
            for r in csv.DictReader(stream)
            if r["case"] == case and r["role"]
        }


def change_voxels(workspace: Workspace, case: str) -> None:
    """Let a decision speak of other voxels, as after a rebuild under other rules."""
    path = workspace.review / f"decisions/{SPLEEN}.jsonl"
    said = [json.loads(line) for line in path.read_text().splitlines()]
    for line in said:
        if line["case"] == case:
            line["seen"]["image"] = "sha256:" + 64 * "0"
    path.write_text("".join(json.dumps(line) + "\n" for line in said))


def require_review(workspace: Workspace) -> None:
    text = workspace.settings_file.read_text()
    workspace.settings_file.write_text(text.replace("review: optional", "review: required"))


def test_an_accepted_case_is_released_with_who_accepted_what(workspace: Workspace, tmp_path: Path) -> None:
    first, second, *_ = cases(workspace)
    say(workspace, SPLEEN, {first: ACCEPT}, comment="Ms Doe, room 7")
    packed(workspace, tmp_path / "release")

    told = lines(tmp_path / "release", SPLEEN)
    assert told[first]["review"]["decision"] == "accept"
    assert told[first]["review"]["reviewer"].startswith("hmac-sha256:")
    assert told[second]["review"] == {"decision": "not-reviewed"}
    assert audit(tmp_path / "release").findings == ()


def test_of_a_test_case_the_review_tells_nothing_of_the_label(workspace: Workspace, tmp_path: Path) -> None:
    (case,) = [name for name, record in records(workspace, SPLEEN).items() if record["subset"] == "test"]
    say(workspace, SPLEEN, {case: ACCEPT})
    packed(workspace, tmp_path / "release")

    assert lines(tmp_path / "release", SPLEEN)[case]["review"]["seen"]["label"] is None
    assert audit(tmp_path / "release").findings == ()


@pytest.mark.parametrize(("said", "code"), [(REJECT, "rejected-in-review"), (TURN, "correction-wanted")])
def test_a_case_that_is_not_accepted_is_kept_out(
    workspace: Workspace, tmp_path: Path, said: tuple[str, str], code: str
) -> None:
    first, *others = cases(workspace)
    say(workspace, SPLEEN, {first: said})
    packed(workspace, tmp_path / "release")

    line = lines(tmp_path / "release", SPLEEN)[first]
    assert (line["kind"], line["stage"], line["code"]) == ("refusal", "review", code)
    assert [r.code for r in kept_out(workspace, SPLEEN)] == [code]
    assert fates(workspace, first) == {("refused", code, "review")}
    assert fates(workspace, others[0]) == {("used", "", "plan")}
    assert audit(tmp_path / "release").findings == ()


def test_the_last_decision_on_a_case_counts(workspace: Workspace, tmp_path: Path) -> None:
    first, *_ = cases(workspace)
    say(workspace, SPLEEN, {first: REJECT})
    packed(workspace, tmp_path / "release")
    say(workspace, SPLEEN, {first: ACCEPT}, reviewer="CD")
    packed(workspace, tmp_path / "release")

    assert lines(tmp_path / "release", SPLEEN)[first]["review"]["decision"] == "accept"
    assert kept_out(workspace, SPLEEN) == []
    assert fates(workspace, first) == {("used", "", "plan")}


def test_an_acceptance_of_other_voxels_is_stale_and_told_as_such(
    workspace: Workspace, tmp_path: Path
) -> None:
    first, *_ = cases(workspace)
    say(workspace, SPLEEN, {first: ACCEPT})
    change_voxels(workspace, first)
    packed(workspace, tmp_path / "release")

    assert lines(tmp_path / "release", SPLEEN)[first]["review"] == {"decision": "stale"}


def test_a_rejected_case_stays_out_when_its_voxels_change(workspace: Workspace, tmp_path: Path) -> None:
    first, *_ = cases(workspace)
    say(workspace, SPLEEN, {first: REJECT})
    change_voxels(workspace, first)
    packed(workspace, tmp_path / "release")

    assert lines(tmp_path / "release", SPLEEN)[first]["code"] == "review-stale"


def test_where_review_is_required_only_accepted_cases_are_released(
    workspace: Workspace, tmp_path: Path
) -> None:
    first, second, third, *_ = cases(workspace)
    require_review(workspace)
    say(workspace, SPLEEN, {first: ACCEPT, second: ACCEPT})
    change_voxels(workspace, second)
    packed(workspace, tmp_path / "release")

    told = lines(tmp_path / "release", SPLEEN)
    assert told["header"]["review"] == "required"
    assert [told[name].get("code") for name in (first, second, third)] == [
        None,
        "review-stale",
        "not-reviewed",
    ]
    assert [path.name for path in (tmp_path / "release").glob("*.tar")] == [f"{SPLEEN}.tar"]
    assert audit(tmp_path / "release").findings == ()


def test_a_task_of_which_nothing_is_accepted_any_more_leaves_the_release(
    workspace: Workspace, tmp_path: Path
) -> None:
    packed(workspace, tmp_path / "release")
    say(workspace, SPLEEN, dict.fromkeys(cases(workspace), REJECT))
    packed(workspace, tmp_path / "release")

    assert not (tmp_path / f"release/{SPLEEN}.tar").exists()
    assert audit(tmp_path / "release").findings == ()


def test_a_pack_without_any_accepted_case_says_so(workspace: Workspace, tmp_path: Path) -> None:
    require_review(workspace)

    with pytest.raises(UsageError, match="nothing-accepted"):
        packed(workspace, tmp_path / "release")
    assert len(kept_out(workspace, SPLEEN)) == 4


def test_comparing_names_the_reviewer(workspace: Workspace, tmp_path: Path) -> None:
    first, second, *_ = cases(workspace)
    packed(workspace, tmp_path / "one")
    say(workspace, SPLEEN, {first: ACCEPT, second: REJECT})
    packed(workspace, tmp_path / "two")

    compared = compare(tmp_path / "one", tmp_path / "two")
    found = {case.case: case for task in compared.tasks for case in task.cases if case.state != "same"}
    assert {reason.kind for case in found.values() for reason in case.why} == {"reviewer"}
    assert str(found[first].why[0]) == "reviewer (review): not-reviewed -> accept fit"
    assert set(found) == {first, second}
    assert compared.unexplained == []


def test_the_same_file_twice_says_nothing_new(workspace: Workspace) -> None:
    first, *_ = cases(workspace)
    applied = [say(workspace, SPLEEN, {first: ACCEPT}), say(workspace, SPLEEN, {first: ACCEPT})]

    assert [(each.kept, each.known) for each in applied] == [(1, 0), (0, 1)]


def test_a_decision_on_voxels_that_are_gone_is_kept_and_named(workspace: Workspace) -> None:
    first, *_ = cases(workspace)
    gone = {"image": "sha256:" + 64 * "0", "label": None}

    assert say(workspace, SPLEEN, {first: ACCEPT}, seen=gone).stale == [first]


def test_status_counts_how_the_finished_cases_stand(workspace: Workspace) -> None:
    first, second, *_ = cases(workspace)
    say(workspace, SPLEEN, {first: ACCEPT, second: TURN})

    tasks: Any = status(workspace)["tasks"]
    counts = {task["task"]: task["review"] for task in tasks}
    assert counts[SPLEEN] == {"accept": 1, "reject": 0, "correct": 1, "stale": 0, "not-reviewed": 2}
    assert counts[PROSTATE]["not-reviewed"] == 4


SPOILT = {
    "another key": {"key": 16 * "0"},
    "a task without a plan": {"task": "Task03_Liver"},
    "another task's cases": {"task": PROSTATE},
    "another format": {"format": "curate-decisions/2"},
    "an unknown key": {"clock": "12:00"},
    "no decision": {"decisions": []},
}


@pytest.mark.parametrize("what", SPOILT)
def test_a_file_that_does_not_fit_is_refused_whole(workspace: Workspace, what: str) -> None:
    document = file_of(workspace, SPLEEN, dict.fromkeys(cases(workspace), ACCEPT)) | SPOILT[what]

    with pytest.raises(UsageError, match=r"decisions-unfit|nothing-planned"):
        Desk(workspace).take(json.dumps(document).encode())
    assert last_decisions(workspace, SPLEEN) == {}
