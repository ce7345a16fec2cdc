"""What comes through the door is what was indexed, and the journal says of which room it came last."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scanned import Scan, mosaic

from pipeline import door
from pipeline.door import Journal, _let_label_in, wanted_slices
from pipeline.model.errors import GeometryError
from pipeline.model.record import Note, Step
from pipeline.model.rules import Label, LabelClass
from pipeline.model.series import Kind
from pipeline.model.volume import Annotation, Grid


def test_an_image_that_holds_fewer_slices_behind_the_door_is_refused() -> None:
    tiled = mosaic(Scan(modality="MR", intercept=0))
    assert len(wanted_slices([tiled], [(0, 9), (0, 0)])) == 2
    del tiled.ImageType
    with pytest.raises(GeometryError) as refusal:
        wanted_slices([tiled], [(0, 0), (0, 9)])
    assert refusal.value.code == "layout-missing"


def test_a_journal_tells_each_room_and_keeps_notes_in_their_order() -> None:
    told: list[str] = []
    journal = Journal(told.append)
    assert journal.stage == "open"
    for room in ("deidentify", "convert"):
        journal.enter(room)
        journal.keep_note(Note(room, {}), "CT")
    assert (told, journal.stage) == (["deidentify", "convert"], "convert")
    assert [(note["channel"], note["stage"]) for note in journal.notes] == [
        ("CT", "deidentify"),
        ("CT", "convert"),
    ]


def test_a_mask_keeps_no_name_that_the_task_does_not_want(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = np.ones((2, 2, 2), dtype=bool)
    mask = Annotation({"liver": drawn, "Naxgorpyl": drawn}, Grid((2, 2, 2), np.eye(4)))
    monkeypatch.setattr(door, "read_mask_source", lambda source: Step(mask, Note("rasterise", {})))
    label = Label(classes=(LabelClass(value=1, name="liver", from_names=("liver",)),))
    order: Any = SimpleNamespace(rules=SimpleNamespace(label=label))
    source: Any = SimpleNamespace(kind=Kind.MASK)
    found = _let_label_in(order, source, Journal(lambda room: None)).value
    assert isinstance(found, Annotation)
    assert [*found.masks] == ["liver", "unnamed-2"]
