"""One case's walk: what it needs, what it leaves, what makes it another case."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import case
from pipeline.demo import make
from pipeline.index import index
from pipeline.io.workspace import Workspace, create
from pipeline.model.record import Finished, Refusal
from pipeline.model.series import Kind
from pipeline.orders import Request
from pipeline.plan import plan
from pipeline.planned import planned

TASK = "Task10_Colon"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("case")
    make(folder, tasks=[TASK], cases=2, seed=1, tell=lambda what: None)
    made = create(folder / "ws")
    index(made, [folder / "source"], None, lambda what, done, total: None)
    plan(made, [])
    return made


@pytest.fixture
def request_(workspace: Workspace) -> Request:
    return planned(workspace, [])[0].requests[0]


def order(workspace: Workspace, request: Request) -> case.Order:
    return case.read_order(workspace, request)


def test_a_case_walks_through_the_rooms_in_order_and_is_found_finished(
    workspace: Workspace, request_: Request
) -> None:
    told: list[str] = []
    first = case.run(request_, told.append)
    again = case.run(request_, told.append)
    assert isinstance(first, Finished)
    assert first.was_made
    assert again == replace(first, was_made=False)
    assert list(dict.fromkeys(told)) == [
        "deidentify", "convert", "screen", "orient", "label", "align", "face", "scale", "check", "store",
    ] or "rasterise" in told  # fmt: skip
    record = json.loads((workspace.store / first.entry / "record.json").read_bytes())
    assert record["case"] == request_.case
    assert [note["stage"] for note in record["notes"]][:4] == ["deidentify", "screen", "convert", "orient"]


def test_the_record_says_of_each_region_what_became_of_its_contours_and_not_its_name(
    workspace: Workspace,
) -> None:
    (drawn,) = [
        request
        for request in planned(workspace, [])[0].requests
        if (label := order(workspace, request).plan.label) is not None and label.kind is Kind.RTSTRUCT
    ]
    outcome = case.run(drawn, lambda stage: None)
    assert isinstance(outcome, Finished)
    notes = json.loads((workspace.store / outcome.entry / "record.json").read_bytes())["notes"]
    (note,) = [note for note in notes if note["stage"] == "rasterise"]
    told = {"number", "contours", "used", "skipped", "off_plane", "outside", "clipped", "gaps", "voxels"}
    assert note["rois"]
    assert all(told <= set(region) for region in note["rois"])
    assert all("name" not in region for region in note["rois"])


def test_a_damaged_entry_is_made_anew(workspace: Workspace, request_: Request) -> None:
    first = case.run(request_, lambda stage: None)
    assert isinstance(first, Finished)
    image = workspace.store / first.entry / "image.nii.gz"
    content = image.read_bytes()
    image.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    again = case.run(request_, lambda stage: None)
    assert isinstance(again, Finished)
    assert again.was_made
    assert image.read_bytes() == content


def test_a_source_that_changed_or_went_refuses_the_case_without_its_path(
    workspace: Workspace, request_: Request
) -> None:
    plan_ = order(workspace, request_).plan
    ref = next(iter(plan_.channels.values()))[0]
    path = Path(ref.path)
    content = path.read_bytes()
    sealed = case.run(request_, lambda stage: None)
    assert isinstance(sealed, Finished)
    for file in sorted((workspace.store / sealed.entry).iterdir()):
        file.unlink()
    try:
        path.write_bytes(content + b"\x00\x00")
        changed = case.run(request_, lambda stage: None)
        path.unlink()
        gone = case.run(request_, lambda stage: None)
    finally:
        path.write_bytes(content)
    assert isinstance(changed, Refusal)
    assert isinstance(gone, Refusal)
    assert (changed.code, gone.code) == ("source-changed", "source-missing")
    assert path.name not in json.dumps([changed.to_json(), gone.to_json()])


def test_a_workspace_that_is_none_refuses(tmp_path: Path) -> None:
    outcome = case.run(Request(str(tmp_path), TASK, "colon_001", 0), lambda stage: None)
    assert isinstance(outcome, Refusal)
    assert (outcome.code, outcome.stage) == ("workspace-missing", "open")


def test_a_bug_met_in_a_case_is_its_outcome_and_says_where_not_what(
    workspace: Workspace, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = "Nobody^Norbert"

    def broken(*_: object) -> None:
        raise ValueError(person)

    monkeypatch.setattr(case, "guarded", broken)
    monkeypatch.setattr(case.store, "find", lambda *_: None)
    outcome = case.run(request_, lambda stage: None)
    assert isinstance(outcome, Refusal)
    assert (outcome.code, outcome.found) == ("bug", "ValueError")
    assert person not in json.dumps(outcome.to_json())


def test_memory_that_is_short_is_no_bug_of_the_case(
    workspace: Workspace, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(case, "read_order", fails)
    with pytest.raises(MemoryError):
        case.run(request_, lambda stage: None)
