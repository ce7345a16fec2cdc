"""Evidence holds numbers that read back as they were, and no floats."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.model.errors import FAULTS, SourceError
from pipeline.model.record import Note, Refusal, decimal, decimals

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=200, deadline=None)
@given(FINITE)
def test_every_double_reads_back_as_itself(number: float) -> None:
    assert float(decimal(number)) == number


@settings(max_examples=200, deadline=None)
@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_every_single_reads_back_as_itself(number: float) -> None:
    assert np.float32(decimal(np.float32(number))) == np.float32(number)


@settings(max_examples=100, deadline=None)
@given(st.integers(-(2**70), 2**70))
def test_a_whole_number_has_no_point_and_loses_nothing(number: int) -> None:
    assert decimal(number) == str(number)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.0, "0"), (-0.0, "0"), (1.0, "1"), (0.1, "0.1"), (-2.5, "-2.5"), (np.int16(-1024), "-1024"), (1e300, "1e+300"),
     (np.uint64(2**64 - 1), "18446744073709551615"), (True, "1")],
)  # fmt: skip
def test_a_number_has_one_text(number: float, text: str) -> None:
    assert decimal(number) == text


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), np.float32("nan")])
def test_what_is_no_number_is_no_evidence(number: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        decimal(number)


def test_an_array_becomes_nested_texts() -> None:
    affine = np.float32([[0.7, 0], [0, -1]])

    assert decimals(affine) == [[decimal(affine[0, 0]), "0"], ["0", "-1"]]
    assert np.float32(decimals(affine)).tobytes() == affine.tobytes()
    assert decimals([]) == []


def test_a_note_is_its_stage_and_its_facts() -> None:
    assert Note("scale", {"low": "1"}).to_json() == {"stage": "scale", "low": "1"}


def test_a_refusal_says_what_its_error_said_and_who_acts() -> None:
    error = SourceError("truncated", wanted="a", found="b", where="c")
    refusal = Refusal.of(error, task="Task01_A", case="a_1", stage="convert").to_json()

    assert refusal == {
        "task": "Task01_A", "case": "a_1", "stage": "convert", "code": "truncated", "wanted": "a", "found": "b",
        "where": "c", "advice": FAULTS["truncated"].advice, "who": "curator",
    }  # fmt: skip
    assert json.loads(json.dumps(refusal)) == refusal


def test_the_text_of_a_double_is_the_shortest() -> None:
    assert decimal(struct.unpack("<d", struct.pack("<d", 1 / 3))[0]) == "0.3333333333333333"
