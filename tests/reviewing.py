"""What tests of the review share: what a reviewer saves, and a pack without talk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.io.workspace import Workspace
from pipeline.model.review import seen_of
from pipeline.planned import planned
from pipeline.release import Packed, pack
from pipeline.review.desk import Applied, Desk
from pipeline.review.finished import finished_cases

Said = dict[str, tuple[str, str]]
"""Case -> decision and reason."""


def records(workspace: Workspace, task: str) -> dict[str, Any]:
    """Case -> record, by number."""
    (plan,) = planned(workspace, [task])
    return {record["case"]: record for _, record in finished_cases(workspace, plan)}


def file_of(workspace: Workspace, task: str, said: Said, **more: Any) -> dict[str, Any]:
    """The document that the page saves; `more` replaces parts of each decision."""
    made = records(workspace, task)
    decisions = [
        {
            "case": case,
            "seen": seen_of(made[case]).model_dump(mode="json"),
            "decision": decision,
            "reason": reason,
            "comment": "",
            "reviewer": "AB",
            **more,
        }
        for case, (decision, reason) in said.items()
    ]
    key = workspace.key().fingerprint
    return {"format": "curate-decisions/1", "key": key, "task": task, "decisions": decisions}


def say(workspace: Workspace, task: str, said: Said, **more: Any) -> Applied:
    return Desk(workspace).take(json.dumps(file_of(workspace, task, said, **more)).encode())


def packed(workspace: Workspace, release: Path) -> list[Packed]:
    return pack(workspace, release, [], told=lambda task: None)


def lines(release: Path, task: str) -> dict[str, dict[str, Any]]:
    """Case -> line of a manifest, and the header under its own name."""
    documents = [json.loads(line) for line in (release / f"{task}.manifest.jsonl").read_text().splitlines()]
    return {line.get("case", "header"): line for line in documents}
