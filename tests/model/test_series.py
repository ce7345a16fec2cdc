"""What the index knows of a file, and of the slices it holds."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from pipeline.model.series import Fate, Kind, SourceFile, SourceRef, Stack

REF = SourceRef("/a", "b", "0" * 64, 7)


def file(**facts: object) -> SourceFile:
    return SourceFile(REF, "a/b", "Task01_A", Kind.IMAGE, None, facts)


def test_a_reference_survives_json() -> None:
    assert SourceRef(*REF.to_json()) == REF


def test_a_fact_is_given_as_text_and_an_absent_one_as_nothing() -> None:
    one = file(EchoTime=0, SeriesDescription="T2", PatientID=None)

    assert [one.text(k) for k in ("EchoTime", "SeriesDescription", "PatientID", "Rows")] == [
        "0",
        "T2",
        "",
        "",
    ]


def test_a_file_of_one_slice_is_itself() -> None:
    one = file(EchoTime=1)

    assert list(one.slices()) == [one]


def test_a_file_of_several_slices_is_one_entry_for_each() -> None:
    several = file(EchoTime=1, Rows=4, frames=[{"EchoTime": 2}, {"Rows": None}])
    first, second = several.slices()

    assert (first.frame, first.facts) == (0, {"EchoTime": 2, "Rows": 4})
    assert (second.frame, second.text("Rows"), second.text("EchoTime")) == (1, "", "1")
    assert {one.ref for one in (first, second)} == {REF}


def test_a_stack_says_whose_it_is() -> None:
    facts = {"SeriesInstanceUID": "1.2", "StudyInstanceUID": "1", "PatientID": "p"}
    stack = Stack((file(),), facts)

    assert (stack.series_uid, stack.study_uid, stack.subject, stack.task) == ("1.2", "1", "p", "Task01_A")
    assert Stack((file(),), {"SeriesInstanceUID": "1.2", "StudyInstanceUID": "1"}).subject == ""


def test_values_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        REF.path = "/b"  # type: ignore[misc]  # that is what must not work


def test_fates_and_kinds_are_written_as_words() -> None:
    assert [fate.value for fate in Fate] == ["used", "ignored", "refused", "pending"]
    assert Kind("seg") is Kind.SEG
