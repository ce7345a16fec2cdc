"""The audit finds an acceptance of something else than what is released."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sample_release import Task
from spoiling import SPLEEN_LINES, Lies, assert_found, in_spleen, resealed, set_line

from pipeline.model.review import seen_of


def accepted(task: Task, case: str) -> dict[str, Any]:
    review = {"decision": "accept", "reason": "fit", "reviewer": "hmac-sha256:" + 64 * "0"}
    return review | {"seen": seen_of(task.case(case)).model_dump()}


def accept(task: Task) -> None:
    """Both kinds of case, as a reviewer who saw what is released accepts them."""
    for case in ("spleen_2", "spleen_3"):
        task.case(case)["review"] = accepted(task, case)


def accept_another(task: Task) -> None:
    task.case("spleen_2")["review"] = accepted(task, "spleen_10")


def accept_another_label(task: Task) -> None:
    review = accepted(task, "spleen_2")
    review["seen"]["label"] = None
    task.case("spleen_2")["review"] = review


def require(task: Task) -> None:
    for case in ("spleen_2", "spleen_3"):
        task.case(case)["review"] = accepted(task, case)
    task.header["review"] = "required"


def test_an_acceptance_of_what_is_released_is_no_finding(tmp_path: Path) -> None:
    assert resealed(tmp_path, in_spleen(accept)).findings == ()


LIES: Lies = {
    "another image was accepted": (
        in_spleen(accept_another), {"file": SPLEEN_LINES, "case": "spleen_2", "stage": "review"}),
    "another label was accepted": (in_spleen(accept_another_label), {"case": "spleen_2", "stage": "review"}),
    "a case that nobody accepted, where all must be": (
        in_spleen(require), {"case": "spleen_10", "stage": "review"}),
    "a rejected case": (
        in_spleen(set_line("spleen_2", "review", {"decision": "reject"})), {"case": "spleen_2"}),
}  # fmt: skip


@pytest.mark.parametrize("what", LIES)
def test_a_sealed_lie_is_found(tmp_path: Path, what: str) -> None:
    assert_found(tmp_path, *LIES[what])
