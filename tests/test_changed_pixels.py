"""A task whose rules cover text or take faces away goes from DICOM to an audit that reads the sources again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import headlike
import nibabel as nib
import numpy as np
import pytest
from file_source import PERSON, rules_of
from lettered import burned, tissue
from placed_source import Source

from pipeline.audit import AuditReport, audit
from pipeline.index import index
from pipeline.io.workspace import create
from pipeline.plan import plan
from pipeline.release import build, pack

TASK = "Task11_Changed"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
WHY = "Made up for this test."

pytestmark = pytest.mark.slow


def written(folder: Path, stored: np.ndarray, **said: Any) -> None:
    """Write a series and a mask beside it; voxels are (columns, rows, slices)."""
    source = Source(stored.astype(np.uint16), orientation=AXIAL, spacing=(3.0, 3.0), step=3.0)
    uids = {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.9"}
    source.write(folder / "image", PatientID=PERSON, **uids, **said)
    label = np.zeros(stored.shape, np.uint8)
    label[5:9, -9:-5, 4:6] = 1
    nib.save(nib.Nifti1Image(label, source.affine), folder / "label.nii.gz")


def audited(
    folder: Path, channel: Mapping[str, Any], **rules: Any
) -> tuple[AuditReport, list[dict[str, Any]]]:
    """Release what lies below `source`; return what its audit says, and the notes of its case."""
    select = {"Modality": {"matches": "CT|MR"}}
    task = rules_of(TASK, channels=[{"name": "I", "select": select, **channel}], **rules)
    del task["source"]
    (folder / "rules").mkdir()
    (folder / "rules" / f"{TASK}.yaml").write_text(json.dumps(task))
    workspace, release = create(folder / "workspace"), folder / "release"
    index(workspace, [folder / "source"], TASK, lambda *_: None)
    plan(workspace, [TASK], rules=folder / "rules", is_proposing=True)
    build(workspace, [TASK], workers=1, told=lambda *_: None, ended=lambda _: None)
    pack(workspace, release, [TASK], told=lambda _: None)
    lines = [json.loads(line) for line in (release / f"{TASK}.manifest.jsonl").read_bytes().splitlines()]
    return audit(release, workspace=workspace.root), next(x for x in lines if x["kind"] == "case")["notes"]


def test_text_that_was_covered_is_named_and_every_voxel_is_compared(tmp_path: Path) -> None:
    pytest.importorskip("rapidocr", reason="the extra `ocr` is not installed")
    frames, _ = burned(tissue())
    written(tmp_path / "source" / PERSON, frames.transpose(2, 1, 0), BodyPartExamined="ABDOMEN")
    report, notes = audited(
        tmp_path,
        {"quantity": "hounsfield", "scale": {"method": "keep"}},
        burned_in={"treatment": "mask", "why": WHY},
    )

    assert (report.findings, dict(report.second_reader)) == ((), {"covered": 1})
    (screen,) = [note for note in notes if note["stage"] == "screen"]
    assert screen["covered"]["voxels"] > 1000
    assert screen["covered"]["places"]


def test_a_face_that_was_taken_away_is_named_and_the_rest_is_compared(tmp_path: Path) -> None:
    pytest.importorskip("pydeface", reason="the extra `deface` is not installed")
    # Patients' left and back come first in DICOM.
    head = headlike.head().data[::-1, ::-1]
    written(tmp_path / "source" / PERSON, head, BodyPartExamined="HEAD", Modality="MR",
            SOPClassUID="1.2.840.10008.5.1.4.1.1.4")  # fmt: skip
    report, notes = audited(
        tmp_path,
        {
            "quantity": "arbitrary",
            "scale": {"method": "robust_min_max", "percentiles": [1, 99], "over": "all", "range": [0, 1000]},
        },
        face={"treatment": "deface", "why": WHY},
    )

    assert (report.findings, dict(report.second_reader)) == ((), {"defaced": 1})
    (face,) = [note for note in notes if note["stage"] == "face"]
    assert face["removed_voxels"] > 1000
