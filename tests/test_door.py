"""What comes through the door is what was indexed, and the journal says of which room it came last."""

from __future__ import annotations

import pytest
from scanned import Scan, mosaic

from pipeline.door import Journal, wanted_slices
from pipeline.model.errors import GeometryError
from pipeline.model.record import Note


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
