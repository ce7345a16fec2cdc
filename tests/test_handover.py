"""A case made in two zones is the case made in one, and the second zone needs neither key nor source."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pipeline import case, facegate, handover
from pipeline.demo import make
from pipeline.handover import finish, open_door
from pipeline.index import index
from pipeline.io.staging import get_document
from pipeline.io.workspace import Workspace, create, open_workspace
from pipeline.model.record import Finished, Handed, Note, Refusal, Step
from pipeline.orders import Order, Request, read_order
from pipeline.plan import plan
from pipeline.planned import planned
from pipeline.stages.face import Sight

TASKS = ("Task04_Hippocampus", "Task05_Prostate", "Task10_Colon")


def quiet(stage: str) -> None:
    """Hear nothing."""


@dataclass(frozen=True)
class Shop:
    """Planned cases, and two stores for them."""

    folder: Path
    requests: list[Request]

    @property
    def staging(self) -> Path:
        return self.folder / "ws/staging"

    def hand_over(self, request: Request) -> Handed:
        handed = open_door(request, str(self.staging), None, quiet)
        assert isinstance(handed, Handed)
        return handed

    def files(self, store: str, entry: str) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.folder / store / entry).iterdir()}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("zones")
    make(folder, tasks=TASKS, cases=3, seed=2, tell=quiet)
    workspace = create(folder / "ws")
    index(workspace, [folder / "source"], None, lambda what, done, total: None)
    plan(workspace, [])
    return Shop(folder, [request for task in planned(workspace, []) for request in task.requests])


@pytest.fixture
def hidden(shop: Shop) -> Iterator[None]:
    """Take sources and everything private away, as they are for the second zone."""
    for name in ("source", "ws/private"):
        (shop.folder / name).rename(shop.folder / f"{name}-away")
    yield
    for name in ("source", "ws/private"):
        (shop.folder / f"{name}-away").rename(shop.folder / name)


@pytest.fixture(scope="module")
def handed(shop: Shop) -> list[Handed]:
    return [shop.hand_over(request) for request in shop.requests]


@pytest.fixture(scope="module")
def fused(shop: Shop) -> list[Finished]:
    outcomes = [case.run(request, quiet) for request in shop.requests]
    return [outcome for outcome in outcomes if isinstance(outcome, Finished)]


def test_two_zones_store_the_same_bytes_as_one(
    shop: Shop, handed: list[Handed], fused: list[Finished], hidden: None
) -> None:
    separate = [finish(one, str(shop.folder / "store"), None, quiet) for one in handed]
    assert separate == fused
    assert len(fused) == len(shop.requests)
    for outcome in fused:
        assert shop.files("store", outcome.entry) == shop.files("ws/store", outcome.entry)


def test_pixels_are_searched_for_text_before_the_door_and_for_faces_behind_it(
    shop: Shop, handed: list[Handed], fused: list[Finished]
) -> None:
    for one, outcome in zip(handed, fused, strict=True):
        passages = get_document(Path(one.folder), one.digest)["passages"].values()
        rooms = {note["stage"] for passage in passages for note in passage["notes"]}
        record = json.loads(shop.files("ws/store", outcome.entry)["record.json"])
        assert ("screen" in rooms, "face" in rooms) == (True, False)
        assert "face" in {note["stage"] for note in record["notes"]}


def test_what_is_handed_over_names_no_source_and_no_person(shop: Shop, handed: list[Handed]) -> None:
    # The hour of the day stays in de-identified DICOM: only the day is moved, so that intervals are kept.
    hours = re.compile(r"\d{6}\.\d{6}")
    planted = (shop.folder / "truth/identities.txt").read_text().splitlines()
    planted = [text for text in planted if len(text) >= 4 and not hours.fullmatch(text)]
    content = b"".join(path.read_bytes() for path in shop.staging.rglob("*") if path.is_file())
    key = (shop.folder / "ws/private/pseudonym.key").read_text().strip()
    assert len(planted) > 10
    assert len(handed) == len(shop.requests)
    assert [word for word in [*planted, str(shop.folder), key] if word.encode() in content] == []


def test_a_fault_at_the_door_refuses_alike_in_both_ways(shop: Shop, tmp_path: Path) -> None:
    request = shop.requests[-1]
    ref = next(iter(read_order(open_workspace(Path(request.workspace)), request).plan.channels.values()))[0]
    source = Path(ref.path)
    shutil.copy(source, tmp_path / "kept")
    entry = case.run(request, quiet)
    assert isinstance(entry, Finished)
    shutil.rmtree(shop.folder / "ws/store" / entry.entry)
    try:
        source.write_bytes(b"other")
        together = case.run(request, quiet)
        apart = finish(shop.hand_over(request), str(shop.folder / "empty"), None, quiet)
    finally:
        shutil.copy(tmp_path / "kept", source)
    assert isinstance(together, Refusal)
    assert (together.stage, together.code) in {
        ("deidentify", "source-changed"),
        ("deidentify", "source-missing"),
    }
    assert apart == together


def test_what_was_spoilt_between_the_zones_is_refused(
    shop: Shop, handed: list[Handed], tmp_path: Path
) -> None:
    one = handed[0]
    shutil.copytree(one.folder, tmp_path / "copy")
    for path in (tmp_path / "copy").iterdir():
        if path.name != one.digest:
            path.write_bytes(path.read_bytes()[:-1])
    outcome = finish(replace(one, folder=str(tmp_path / "copy")), str(tmp_path / "store"), None, quiet)
    assert isinstance(outcome, Refusal)
    assert outcome.code == "staging-damaged"


def test_a_case_that_cannot_fit_is_refused_before_the_door(shop: Shop) -> None:
    outcome = open_door(shop.requests[0], str(shop.staging), 1, quiet)
    assert isinstance(outcome, Refusal)
    assert outcome.code == "case-too-large"


def test_where_a_head_shows_what_crosses_came_past_the_judgement_of_faces(
    shop: Shop, fused: list[Finished], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover, "may_show_face", lambda *_: True)
    handed = shop.hand_over(shop.requests[0])
    document = get_document(Path(handed.folder), handed.digest)
    separate = finish(handed, str(shop.folder / "past"), None, quiet)

    assert "passages" not in document
    assert document["past_face"]["notes"][-1]["stage"] == "face"
    assert separate == fused[0]
    assert shop.files("past", fused[0].entry) == shop.files("ws/store", fused[0].entry)


def test_a_face_that_may_not_be_shown_never_lies_in_staging(
    shop: Shop, fused: list[Finished], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        facegate, "look_for_face", lambda *_: Step(Sight.HEAD, Note("face", {"by": "header"}))
    )
    monkeypatch.setattr(handover, "read_order", without_face_rule)
    monkeypatch.setattr(case, "read_order", without_face_rule)
    written: list[object] = []
    monkeypatch.setattr(handover.staging, "put_value", lambda *value: written.append(value) or {})
    apart = open_door(shop.requests[0], str(shop.staging), None, quiet)
    together = case.run(shop.requests[0], quiet)

    assert isinstance(apart, Refusal)
    assert (apart.stage, apart.code, written) == ("face", "face-visible", [])
    assert not list(shop.staging.glob(f"{apart.task}-{apart.case}"))
    assert apart == together


def without_face_rule(workspace: Workspace, request: Request) -> Order:
    """Return a case's order under rules that say nothing of faces."""
    order = read_order(workspace, request)
    return replace(order, rules=order.rules.model_copy(update={"face": None}))
