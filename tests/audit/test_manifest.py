"""Lines that contradict each other, the rules or release.json are found."""

from __future__ import annotations

from pathlib import Path

import pytest
from sample_release import BRAIN, SPLEEN, Task, canonical, sha256
from spoiling import (
    BRAIN_LINES,
    SPLEEN_LINES,
    Lies,
    assert_found,
    flip,
    in_brain,
    in_spleen,
    set_header,
    set_line,
    sought,
)

from pipeline.audit import audit


def test_a_flipped_bit_of_a_manifest_line_is_located_to_line_and_case(release: Path) -> None:
    content = (release / SPLEEN_LINES).read_bytes()
    second = content.index(b"\n") + 1
    flip(release / SPLEEN_LINES, content.index(b'"size":', second) + 1, 0)

    (finding,) = sought(audit(release), file=SPLEEN_LINES, member="line 2", case="spleen_10")
    assert "manifest-case.schema.json" in finding.wanted


def both_subsets(task: Task) -> None:
    task.case("BRATS_003")["subject"] = task.case("BRATS_001")["subject"]


def refused_and_there(task: Task) -> None:
    task.refusals[0]["case"] = "BRATS_003"


def other_rules(task: Task) -> None:
    task.header["rules"]["document"]["channels"] = [
        {"name": "CT", "quantity": "hounsfield", "scale": {"method": "keep"}},
        {"name": "PET", "quantity": "activity", "scale": {"method": "keep"}},
    ]
    task.header["rules"]["digest"] = sha256(canonical(task.header["rules"]["document"]))


LIES: Lies = {
    "a subject in both subsets": (in_brain(both_subsets), {"file": BRAIN_LINES, "stage": "split"}),
    "a refused case that is there": (in_brain(refused_and_there), {"file": BRAIN_LINES, "case": "BRATS_003"}),
    "a missing case that is there": (in_brain(set_header("missing", ["BRATS_001"])),
                                     {"file": BRAIN_LINES, "member": "line 1"}),
    "other counts": (in_brain(lambda t: t.header["counts"].update(training=3)), {"member": "line 1"}),
    "an id of another form": (in_brain(set_header("missing", ["BRATS_4"])), {"stage": "split"}),
    "lines in another order": (in_spleen(lambda t: t.cases.reverse()), {"file": SPLEEN_LINES}),
    "a case twice": (in_spleen(lambda t: t.cases.insert(1, t.cases[0])), {"file": SPLEEN_LINES}),
    "a header of another task": (in_spleen(set_header("task", BRAIN)), {"file": SPLEEN_LINES}),
    "another key": (in_spleen(set_header("key", 16 * "0")), {"file": SPLEEN_LINES}),
    "rules with another digest": (
        in_spleen(lambda t: t.header["rules"]["document"].update(task=BRAIN)), {"member": "line 1"}),
    "rules replaced": (in_spleen(other_rules), {"member": "line 1", "stage": "scale"}),
    "sources of another channel": (
        in_spleen(lambda t: t.case("spleen_2")["sources"].update(PET=["hmac-sha256:" + 64 * "0"])),
        {"case": "spleen_2", "stage": "ingest"}),
    "a member of another name": (
        in_spleen(set_line("spleen_2", "members.image", f"{SPLEEN}/imagesTr/spleen_4.nii.gz")),
        {"case": "spleen_2", "stage": "package"}),
    "a test case among the training": (in_spleen(set_line("spleen_3", "subset", "training")),
                                       {"case": "spleen_3", "stage": "label"}),
}  # fmt: skip


@pytest.mark.parametrize("what", LIES)
def test_a_sealed_lie_is_found(tmp_path: Path, what: str) -> None:
    assert_found(tmp_path, *LIES[what])
