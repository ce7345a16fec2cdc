"""Notes that contradict each other or the line are found."""

from __future__ import annotations

from pathlib import Path

import pytest
from sample_release import Task, decimals, oblique
from spoiling import Lies, assert_found, drop_note, in_brain, in_spleen, set_note


def extra_half_turn(task: Task) -> None:
    note = {"stage": "fix", "half_turn": "axial", "why": "because", "evidence": "none.md"}
    task.case("spleen_3")["notes"].append({**note, "channel": "CT"})


def label_told(task: Task) -> None:
    notes = task.case("BRATS_003")["notes"]
    notes.append({"stage": "label", "channel": "label", "classes": {}})


def label_counted(task: Task) -> None:
    task.case("BRATS_003")["notes"][-1]["label"] = {"1": 12}


def half_a_turn(task: Task) -> None:
    line = task.case("BRATS_002")
    line["notes"] = [n for n in line["notes"] if not (n["stage"] == "fix" and n["channel"] == "T1w")]


LIES: Lies = {
    "no note of a room": (in_spleen(drop_note("spleen_2", "deidentify")),
                          {"case": "spleen_2", "stage": "deidentify"}),
    "a slice position too few": (in_spleen(set_note("spleen_2", "convert", "positions_mm", ["0"])),
                                 {"case": "spleen_2", "stage": "convert"}),
    "slice positions of another spacing": (
        in_spleen(set_note("spleen_2", "convert", "positions_mm", [str(3 * k) for k in range(8)])),
        {"case": "spleen_2", "stage": "convert"}),
    "an orientation of another shape": (in_spleen(set_note("spleen_2", "convert", "shape", [9, 11, 8])),
                                        {"case": "spleen_2", "stage": "orient"}),
    "an orientation that moves voxels": (
        in_spleen(set_note("spleen_2", "orient", "affine_before", decimals(oblique()))),
        {"case": "spleen_2", "stage": "orient"}),
    "other axis codes before": (in_spleen(set_note("spleen_2", "orient", "axes_before", "RAS")),
                                {"case": "spleen_2", "stage": "orient", "found": "RAS"}),
    "no axis codes after": (in_spleen(set_note("spleen_2", "orient", "axes_after", "RAX")),
                            {"case": "spleen_2", "stage": "orient", "found": "RAX"}),
    "a source less than was de-identified": (in_spleen(lambda t: t.case("spleen_2")["sources"]["CT"].pop()),
                                             {"case": "spleen_2", "stage": "ingest"}),
    "a half turn of one channel alone": (in_brain(half_a_turn), {"case": "BRATS_002", "stage": "fix"}),
    "a half turn without why": (in_brain(set_note("BRATS_002", "fix", "why", " ")),
                                {"case": "BRATS_002", "stage": "fix", "found": "none"}),
    "a half turn without evidence": (in_brain(set_note("BRATS_002", "fix", "evidence", None)),
                                     {"case": "BRATS_002", "stage": "fix", "found": "none"}),
    "a half turn that no rule knows": (in_spleen(extra_half_turn), {"case": "spleen_3", "stage": "fix"}),
    "a note of a withheld label": (in_brain(label_told), {"case": "BRATS_003", "stage": "label"}),
    "counts of a withheld label": (in_brain(label_counted), {"case": "BRATS_003", "stage": "check"}),
}  # fmt: skip


@pytest.mark.parametrize("what", LIES)
def test_a_sealed_lie_is_found(tmp_path: Path, what: str) -> None:
    assert_found(tmp_path, *LIES[what])
