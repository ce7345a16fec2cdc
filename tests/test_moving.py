"""Channels that are registered, moved onto an atlas and masked: from the source to the audit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from file_source import PERSON, rules_of, write_nifti
from heads import AFFINE, MOVED, SHAPE, head, placed, rigid

from pipeline import case
from pipeline.audit import audit
from pipeline.door import Journal
from pipeline.handover import Handed, finish, open_door
from pipeline.index import index
from pipeline.io import store
from pipeline.io.ruleset import load_rules
from pipeline.io.workspace import Workspace, create
from pipeline.model.errors import CurationError
from pipeline.model.record import Finished, Refusal
from pipeline.plan import TaskPlan, plan
from pipeline.planned import planned
from pipeline.release import build, pack

TASK = "Task12_Moved"
MAGNITUDE = {"method": "robust_min_max", "percentiles": [0.5, 99.5], "over": "nonzero"}
ALWAYS = {"when": "always", "why": "The sequences were taken on two days."}


def channel(name: str, **more: Any) -> dict[str, Any]:
    select = {"file": {"matches": f"{name}[.]nii"}}
    return {"name": name, "quantity": "arbitrary", "select": select, "scale": MAGNITUDE} | more


LABEL = rules_of(TASK)["label"] | {"file": "label"}


@dataclass(frozen=True)
class Place:
    folder: Path

    @property
    def source(self) -> Path:
        return self.folder / PERSON / "a001"

    @property
    def rules(self) -> Path:
        return self.folder / "rules"

    def write(self, name: str, data: np.ndarray, move: np.ndarray | None = None) -> None:
        write_nifti(self.source / f"{name}.nii", data, placed(data, move).affine)

    def planned(self, **changes: Any) -> tuple[Workspace, TaskPlan]:
        self.rules.mkdir(exist_ok=True)
        (self.rules / f"{TASK}.yaml").write_text(json.dumps(rules_of(TASK, **changes)))
        (self.folder / "key").write_text("07" * 32)
        workspace = create(self.folder / "workspace", self.folder / "key")
        index(workspace, [self.folder / PERSON], TASK, lambda *_: None)
        (made,) = plan(workspace, [TASK], rules=self.rules)
        return workspace, made


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A head as FLAIR, the same inverted as T1w, which lies in another frame; a label and a brain mask on FLAIR."""
    made = Place(tmp_path)
    made.write("FLAIR", head())
    made.write("T1w", head(inverted=True), MOVED)
    made.write("label", (head() > 150).astype(np.uint8))
    return made


def entry(workspace: Workspace) -> tuple[np.ndarray, nib.Nifti1Image, Mapping[str, Any], Path]:
    (request,) = planned(workspace, [TASK])[0].requests
    outcome = case.run(request, lambda _: None)
    assert isinstance(outcome, Finished), outcome
    folder = workspace.store / outcome.entry
    record = store.find(workspace.store, outcome.entry)
    assert record is not None
    return (
        nib.load(folder / "image.nii.gz").get_fdata(), nib.load(folder / "label.nii.gz"), record, folder,
    )  # fmt: skip


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return float(2 * np.count_nonzero(first & second) / (np.count_nonzero(first) + np.count_nonzero(second)))


def test_a_channel_is_moved_onto_the_first_whose_label_stays_to_the_voxel(place: Place) -> None:
    workspace, _ = place.planned(channels=[channel("FLAIR"), channel("T1w", registration=ALWAYS)])
    image, label, record, folder = entry(workspace)
    assert np.array_equal(np.asanyarray(label.dataobj), head() > 150)
    inside = (head() > 0) & (image[..., 1] > 0)
    assert np.corrcoef(image[..., 1][inside], head(inverted=True)[inside])[0, 1] > 0.95
    notes = {(note["channel"], note["stage"]): note for note in record["notes"]}
    assert notes["T1w", "align"]["interpolation"] == "linear"
    assert ("FLAIR", "register") not in notes
    assert (folder / "register-T1w.png").read_bytes().startswith(b"\x89PNG")


def test_two_zones_make_the_same_of_registration_atlas_and_brain_mask(place: Place) -> None:
    place.rules.mkdir()
    write_nifti(place.rules / "atlas.nii", head(), rigid((3, 2, -5), (2, 3, -4)) @ AFFINE)
    place.write("brainmask", (head() > 60).astype(np.uint8))
    workspace, _ = place.planned(
        channels=[channel("FLAIR"), channel("T1w", registration=ALWAYS)],
        atlas={"file": "atlas.nii", "why": "The task lies in the atlas' frame."},
        brain_mask={"file": "brainmask", "resample": {"why": "The mask moves with its image."}},
        label=LABEL | {"resample": {"why": "The label moves with its image."}},
    )
    (request,) = planned(workspace, [TASK])[0].requests
    outcome = case.run(request, lambda _: None)
    assert isinstance(outcome, Finished), outcome
    handed = open_door(request, str(place.folder / "staging"), None, lambda _: None)
    assert isinstance(handed, Handed), handed
    for kept in (place.folder / PERSON, place.rules, workspace.store.parent / "private"):
        kept.rename(kept.with_name(kept.name + "-away"))
    store_of_second = place.folder / "second"
    assert finish(handed, str(store_of_second), None, lambda _: None) == outcome
    one, other = (
        {path.name: path.read_bytes() for path in (folder / outcome.entry).iterdir()}
        for folder in (workspace.store, store_of_second)
    )
    assert one == other
    assert {"register-FLAIR.png", "register-T1w.png"} <= set(one)


def test_an_atlas_gives_the_grid_and_the_label_moves_along(place: Place) -> None:
    place.rules.mkdir()
    onto = rigid((3, 2, -5), (2, 3, -4))
    write_nifti(place.rules / "atlas.nii", head(), onto @ AFFINE)
    workspace, made = place.planned(
        channels=[channel("FLAIR"), channel("T1w", registration=ALWAYS)],
        atlas={"file": "atlas.nii", "why": "The task lies in the atlas' frame."},
        label=rules_of(TASK)["label"] | {"resample": {"why": "The label moves with its image."}},
    )
    assert set(made.cases[0].given) == {"atlas"}
    image, label, record, folder = entry(workspace)
    assert image.shape == (*SHAPE, 2)
    assert dice(np.asanyarray(label.dataobj) > 0, head() > 150) > 0.9
    inside = head() > 0
    assert np.corrcoef(image[..., 0][inside], head()[inside])[0, 1] > 0.95
    assert sorted(path.name for path in folder.glob("*.png")) == ["register-FLAIR.png", "register-T1w.png"]
    change = next(note for note in record["notes"] if note["stage"] == "label")["classes"]["1"]
    assert "change_percent" in change
    build(workspace, [TASK], workers=1, told=lambda *_: None, ended=lambda _: None)
    pack(workspace, place.folder / "release", [TASK], told=lambda _: None)
    assert audit(place.folder / "release", workspace=workspace.root).findings == ()


def test_outside_of_the_brain_mask_is_nothing(place: Place) -> None:
    place.write("skull", (head() > 50).astype(np.uint8))
    workspace, made = place.planned(
        channels=[channel("FLAIR")], brain_mask={"file": r"skull\.nii"}, label=LABEL
    )
    assert made.refusals == []
    image, label, record, _ = entry(workspace)
    assert np.array_equal(image > 0, (head() > 50) & (image > 0))
    assert not image[head() <= 50].any()
    assert np.array_equal(np.asanyarray(label.dataobj), head() > 150)
    note = next(note for note in record["notes"] if (note["stage"], note["channel"]) == ("strip", "FLAIR"))
    assert note["removed_voxels"] == np.count_nonzero(head() <= 50)
    build(workspace, [TASK], workers=1, told=lambda *_: None, ended=lambda _: None)
    pack(workspace, place.folder / "release", [TASK], told=lambda _: None)
    assert audit(place.folder / "release", workspace=workspace.root).findings == ()


def test_a_case_without_its_brain_mask_is_refused(place: Place) -> None:
    _, made = place.planned(channels=[channel("FLAIR")], brain_mask={"file": r"skull\.nii"}, label=LABEL)
    assert [refusal.code for refusal in made.refusals] == ["brain-mask-missing"]


def test_a_brain_mask_on_another_grid_is_refused_unless_the_rules_let_it_be_resampled(place: Place) -> None:
    mask = np.ones((16, 18, 14), np.uint8)
    write_nifti(place.source / "skull.nii", mask, AFFINE @ np.diag([2, 2, 2, 1]))
    workspace, _ = place.planned(channels=[channel("FLAIR")], brain_mask={"file": r"skull\.nii"}, label=LABEL)
    (request,) = planned(workspace, [TASK])[0].requests
    outcome = case.run(request, lambda _: None)
    assert isinstance(outcome, Refusal)
    assert (outcome.stage, outcome.code) == ("strip", "label-off-grid")


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"channels": [channel("FLAIR", registration=ALWAYS)]}, "no registration of the first channel"),
        ({"channels": [channel("FLAIR"), channel("T1w", registration=ALWAYS)],
          "label": rules_of(TASK)["label"] | {"channel": "T1w"}}, "label.resample"),
        ({"atlas": {"file": "a.nii", "why": "because it is so"}}, "label.resample"),
        ({"channels": [channel("FLAIR"), channel("T1w", registration={"why": "because it is so"})]}, "always"),
        ({"brain_mask": {"file": "skull"}}, "arbitrary units only"),
        ({"channels": [channel("FLAIR")], "brain_mask": {"file": "skull", "channel": "x"}}, "name a channel"),
    ],
)  # fmt: skip
def test_rules_that_would_move_or_mask_what_may_not_be_are_none(
    tmp_path: Path, changes: Mapping[str, Any], wanted: str
) -> None:
    (tmp_path / f"{TASK}.yaml").write_text(json.dumps(rules_of(TASK, **changes)))
    with pytest.raises(CurationError, match=wanted):
        load_rules(tmp_path)


def test_frames_that_are_one_move_nothing_and_others_need_the_rule(place: Place) -> None:
    place.rules.mkdir()
    document = rules_of(TASK, channels=[channel("FLAIR"), channel("T1w")])
    del document["source"]
    for part in document["channels"]:
        part["select"] = {"Modality": {"equals": "MR"}}
    volumes = {"FLAIR": placed(head()), "T1w": placed(head(inverted=True), MOVED)}

    def moves(first: str, second: str, **rule: Any) -> np.ndarray:
        document["channels"][1] |= rule
        (place.rules / f"{TASK}.yaml").write_text(json.dumps(document))
        order = type("Order", (), {
            "rules": load_rules(place.rules)[TASK].rules, "plan": type("Plan", (), {"given": {}}),
        })  # fmt: skip
        journal = Journal(lambda _: None)
        found, _ = case._moves(order, volumes, {"FLAIR": first, "T1w": second}, journal)  # type: ignore[arg-type]
        return found["T1w"].affine

    assert np.array_equal(moves("1.2", "1.2"), np.eye(4))
    with pytest.raises(CurationError) as refusal:
        moves("1.2", "1.3")
    assert refusal.value.code == "frame-of-reference"
    when = {"registration": {"why": "The patient was scanned twice."}}
    assert np.array_equal(moves("1.2", "1.2", **when), np.eye(4))
    assert not np.array_equal(moves("1.2", "1.3", **when), np.eye(4))
