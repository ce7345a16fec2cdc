"""Decisions are read strictly and kept in two logs, of which only one may be seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.io.decisions import keep, last_decisions, parse
from pipeline.io.workspace import Workspace, create
from pipeline.model.errors import UsageError
from pipeline.model.review import Decision

TASK = "Task09_Spleen"
SAID = {
    "case": "spleen_1", "seen": {"image": "sha256:" + 64 * "1", "label": None}, "decision": "accept", "reason": "fit",
    "comment": "as Ms Doe said", "reviewer": "JD",
}  # fmt: skip


def decision(**more: Any) -> Decision:
    return Decision.model_validate(SAID | more)


def file(**more: Any) -> bytes:
    document = {"format": "curate-decisions/1", "key": 16 * "0", "task": TASK, "decisions": [SAID | more]}
    return json.dumps(document).encode()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return create(tmp_path / "ws")


FAULTS = {
    "no JSON": b"accept all",
    "no text": b"\xff\xfe",
    "a key twice": file().replace(b'"reason"', b'"reason": "usable", "reason"'),
    "an unknown decision": file(decision="perhaps"),
    "a reason of another decision": file(reason="half-turn"),
    "an unknown key": file(clock="12:00"),
    "no initials": file(reviewer=""),
    "initials that are a name": file(reviewer="Jane Doe"),
    "a newline behind initials": file(reviewer="JD\n"),
    "no digest": file(seen={"image": "1", "label": None}),
    "a case that leads elsewhere": file(case="../spleen_1"),
    "a comment without end": file(comment="x" * 2001),
    "a number for a text": file(comment=1),
    "depth": b"[" * 100_000,
}


def test_a_file_as_the_page_saves_it_is_read() -> None:
    assert parse(file()).decisions[0] == decision()


@pytest.mark.parametrize("what", FAULTS)
def test_any_other_file_is_refused_without_being_quoted(what: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse(FAULTS[what])
    assert raised.value.code == "decisions-unfit"
    assert "Doe" not in str(raised.value)


def test_comment_and_initials_are_kept_in_private_alone(workspace: Workspace) -> None:
    keep(workspace, TASK, [decision()])

    told = {p: p.read_text() for p in workspace.root.rglob(f"{TASK}.jsonl")}
    assert [p.parent for p, text in told.items() if "Doe" in text or '"JD"' in text] == [
        workspace.private / "review"
    ]
    assert len(told) == 2
    assert (workspace.private / f"review/{TASK}.jsonl").stat().st_mode & 0o077 == 0


def test_the_log_grows_and_its_last_word_counts(workspace: Workspace) -> None:
    keep(workspace, TASK, [decision()])
    before = (workspace.review / f"decisions/{TASK}.jsonl").read_bytes()
    keep(workspace, TASK, [decision(decision="reject", reason="other")])

    assert (workspace.review / f"decisions/{TASK}.jsonl").read_bytes().startswith(before)
    assert last_decisions(workspace, TASK)["spleen_1"].decision == "reject"


def test_only_what_is_new_is_kept(workspace: Workspace) -> None:
    kept = [len(keep(workspace, TASK, [said])) for said in (decision(), decision(), decision(comment="well"))]

    assert kept == [1, 0, 1]


def test_a_kill_between_the_two_logs_loses_nothing(workspace: Workspace) -> None:
    keep(workspace, TASK, [decision()])
    (workspace.private / f"review/{TASK}.jsonl").unlink()

    assert len(keep(workspace, TASK, [decision()])) == 1
    assert (workspace.private / f"review/{TASK}.jsonl").exists()
    assert last_decisions(workspace, TASK)["spleen_1"].decision == "accept"


def test_a_log_that_somebody_changed_is_refused(workspace: Workspace) -> None:
    keep(workspace, TASK, [decision()])
    path = workspace.review / f"decisions/{TASK}.jsonl"
    path.write_text(path.read_text().replace("accept", "agreed"))

    with pytest.raises(UsageError, match="review-log-damaged"):
        last_decisions(workspace, TASK)


def test_one_person_has_one_pseudonym_and_two_have_two(workspace: Workspace) -> None:
    kept = keep(
        workspace, TASK, [decision(), decision(case="spleen_2"), decision(case="spleen_3", reviewer="AB")]
    )

    assert len({line.reviewer for line in kept}) == 2
