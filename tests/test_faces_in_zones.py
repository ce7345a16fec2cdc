"""Nothing of a face crosses from the zone that may see it, and two zones make of a head what one makes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import headlike
import nibabel as nib
import numpy as np
import pytest
from file_source import PERSON, rules_of
from placed_source import Source

from pipeline import case, handover
from pipeline.handover import finish, open_door
from pipeline.index import index
from pipeline.io.workspace import Workspace, create
from pipeline.model.record import Finished, Handed
from pipeline.model.volume import Volume
from pipeline.orders import Request
from pipeline.plan import plan
from pipeline.planned import planned

TASK = "Task11_Heads"
WHY = "Made up for this test."
DEFACED = {"face": {"treatment": "deface", "why": WHY}}
STRIPPED = {"brain_mask": {"file": "brainmask"}}
TREATMENTS = pytest.mark.parametrize("rules", [DEFACED, STRIPPED], ids=["deface", "brain mask"])

pytestmark = pytest.mark.slow


def write_head(folder: Path) -> np.ndarray:
    """Write a head as DICOM, a mask of its brain and a label; return its voxels in RAS+."""
    head = headlike.head().data
    # Patients' left and back come first in DICOM.
    stored = head[::-1, ::-1].astype(np.uint16)
    source = Source(stored, orientation=(1, 0, 0, 0, 1, 0), spacing=(3.0, 3.0), step=3.0)
    uids = {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.9"}
    source.write(folder / "image", PatientID=PERSON, BodyPartExamined="HEAD", Modality="MR",
                 SOPClassUID="1.2.840.10008.5.1.4.1.1.4", RescaleIntercept="0", **uids)  # fmt: skip
    shape = (72, 84, 84)
    brain = headlike.ellipsoid(shape, (0, 0, 0), (66, 84, 66))[::-1, ::-1].astype(np.uint8)
    label = np.zeros(shape, np.uint8)
    label[34:38, 40:44, 50:54] = 1
    for name, mask in (("brainmask", brain), ("label", label)):
        nib.save(nib.Nifti1Image(mask, source.affine), folder / f"{name}.nii.gz")
    return head


@dataclass
class Place:
    """A planned case of a head, and what was put into staging."""

    workspace: Workspace
    request: Request
    head: np.ndarray
    crossed: list[Any] = field(default_factory=list)

    def files(self, store: Path, entry: str) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted((store / entry).iterdir())}


def planned_head(folder: Path, rules: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch) -> Place:
    head = write_head(folder / "source" / PERSON)
    scale = {"method": "robust_min_max", "percentiles": [1, 99], "over": "all", "range": [0, 1000]}
    channel = {
        "name": "I",
        "select": {"Modality": {"matches": "MR"}},
        "quantity": "arbitrary",
        "scale": scale,
    }
    label = {**rules_of(TASK)["label"], "file": "label"}
    task = rules_of(TASK, channels=[channel], label=label, **rules)
    del task["source"]
    (folder / "rules").mkdir()
    (folder / "rules" / f"{TASK}.yaml").write_text(json.dumps(task))
    workspace = create(folder / "workspace")
    index(workspace, [folder / "source"], TASK, lambda *_: None)
    plan(workspace, [TASK], rules=folder / "rules", is_proposing=True)
    place = Place(workspace, planned(workspace, [TASK])[0].requests[0], head)
    put = handover.staging.put_value

    def kept(folder: Path, value: Any) -> Any:
        place.crossed.append(value)
        return put(folder, value)

    monkeypatch.setattr(handover.staging, "put_value", kept)
    return place


@TREATMENTS
def test_two_zones_make_of_a_head_what_one_makes_and_its_face_never_crosses(
    rules: Mapping[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if rules is DEFACED:
        pytest.importorskip("pydeface", reason="the extra `deface` is not installed")
    place = planned_head(tmp_path, rules, monkeypatch)
    fused = case.run(place.request, lambda _: None)
    assert isinstance(fused, Finished), fused
    handed = open_door(place.request, str(tmp_path / "staging"), None, lambda _: None)
    assert isinstance(handed, Handed), handed
    for kept in ("source", "rules", "workspace/private"):
        (tmp_path / kept).rename(tmp_path / f"{kept}-away")

    assert finish(handed, str(tmp_path / "second"), None, lambda _: None) == fused
    assert place.files(tmp_path / "second", fused.entry) == place.files(place.workspace.store, fused.entry)
    image, *labels = [value for value in place.crossed if isinstance(value, Volume)]
    assert len(place.crossed) == 1 + len(labels) <= 2
    # The chin and what lies in front of it, where the head has more than air.
    chin = (slice(20, 52), slice(66, 74), slice(8, 24))
    assert place.head[chin].mean() > 500
    assert image.data.shape == place.head.shape
    assert image.data[chin].max() == image.data.min()
