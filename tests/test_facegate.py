from __future__ import annotations

from typing import Literal

import headlike
import numpy as np
import pytest

from pipeline import facegate
from pipeline.facegate import guard_faces, require_template
from pipeline.io import template
from pipeline.model.errors import CurationError, UsageError
from pipeline.model.record import Note, Step
from pipeline.model.rules import Face
from pipeline.model.volume import Quantity, Volume
from pipeline.stages.face import Part

WHY = "Made up for this test."


def rule(treatment: Literal["removed upstream", "deface", "keep"]) -> Face:
    return Face(treatment=treatment, why=WHY)


def code(volume: Volume, said: Face | None, part: Part = Part.HEAD) -> str:
    try:
        guard_faces({"T1": volume}, {"T1": part}, said)
    except CurationError as error:
        return error.code
    return ""


def test_a_head_stops_a_case_whose_rules_say_nothing() -> None:
    assert code(headlike.head(), None) == "face-visible"
    assert code(headlike.head(face=False), None) == "face-visible"


def test_brains_and_other_parts_pass_without_any_rule() -> None:
    assert code(headlike.brain(), None) == ""
    assert code(headlike.abdomen(), None, Part.OTHER) == ""


def test_what_was_removed_upstream_must_be_gone() -> None:
    assert code(headlike.head(), rule("removed upstream")) == "face-visible"
    assert code(headlike.head(face=False), rule("removed upstream")) == ""
    assert code(headlike.brain(), rule("removed upstream")) == ""


def test_a_head_that_only_its_header_knows_is_believed_to_be_without_face() -> None:
    noise = Volume(np.random.default_rng(8).normal(100, 30, (64, 64, 32)), np.diag([4.0, 4, 4, 1]))

    assert code(noise, rule("removed upstream")) == ""
    assert code(noise, None) == "face-visible"


def test_a_face_that_is_kept_is_noted_with_its_reason() -> None:
    step = guard_faces({"T1": headlike.head()}, {"T1": Part.HEAD}, rule("keep"))

    assert (step.note.facts["treatment"], step.note.facts["why"]) == ("keep", WHY)


def test_one_head_among_the_channels_is_enough_and_is_named() -> None:
    with pytest.raises(CurationError) as refused:
        guard_faces({"a": headlike.brain(), "b": headlike.head()}, {"a": Part.HEAD, "b": Part.HEAD}, None)

    assert refused.value.where == "b"


def test_pet_is_not_looked_at() -> None:
    head = headlike.head()
    pet = Volume(head.data, head.affine, Quantity.SUV)

    assert code(pet, None) == ""


def test_deface_hands_on_what_its_room_made(monkeypatch: pytest.MonkeyPatch) -> None:
    head, emptied = headlike.head(), headlike.cut_out()
    monkeypatch.setattr(template, "read_template", lambda: None)
    monkeypatch.setattr(
        facegate, "deface", lambda volumes, template: Step((emptied,), Note("deface", {"removed_voxels": 7}))
    )
    step = guard_faces({"T1": head}, {"T1": Part.HEAD}, rule("deface"))

    assert step.value["T1"] is emptied
    assert (step.note.facts["removed_voxels"], step.note.facts["treatment"]) == (7, "deface")


def test_a_run_that_is_to_deface_does_not_begin_without_a_template(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "is_ready", lambda: False)

    with pytest.raises(UsageError):
        require_template(rule("deface"))
    require_template(rule("keep"))
    require_template(None)
