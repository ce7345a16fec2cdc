"""A refusal has a code that is explained, crosses processes whole, and says nothing of its own."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from pipeline.model import errors
from pipeline.model.errors import FAULTS, CurationError, PrivacyError, UsageError, fate_of

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, CurationError)]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_survives_the_way_between_processes(kind: type[CurationError]) -> None:
    error = kind("truncated", wanted="a", found="b", where="c")
    there = pickle.loads(pickle.dumps(error))

    assert type(there) is kind
    assert (there.code, there.wanted, there.found, there.where) == ("truncated", "a", "b", "c")
    assert str(there) == str(error)
    assert there.fault is FAULTS["truncated"]


def test_the_text_says_wanted_found_where_and_what_to_do() -> None:
    error = CurationError("truncated", wanted="pixels", found="none", where="instance 3")

    assert str(error) == f"truncated: wanted pixels, found none, at instance 3. {FAULTS['truncated'].advice}"
    assert ", at" not in str(CurationError("truncated", wanted="pixels", found="none"))


def test_a_code_that_is_not_explained_cannot_be_raised() -> None:
    with pytest.raises(KeyError):
        CurationError("oops", wanted="a", found="b")


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
def test_every_fault_says_what_it_means_and_what_to_do(fault: errors.Fault) -> None:
    assert fault.meaning.endswith(".")
    assert fault.advice.endswith(".")
    assert fault.code == fault.code.lower().replace(" ", "-")
    assert fault.who in {"curator", "operator", "privacy officer", "developer"}


def test_the_page_of_refusals_has_an_example_of_every_code() -> None:
    examples = json.loads((Path(__file__).parents[2] / "docs/refusal_examples.json").read_text("utf-8"))

    assert set(examples) == set(FAULTS)
    assert all(text.strip() and "|" not in text for text in examples.values())


def test_no_code_is_explained_twice() -> None:
    assert len(FAULTS) == len(errors._FAULTS)


def test_harmless_codes_exist_and_all_others_are_refused() -> None:
    assert set(FAULTS) >= errors._HARMLESS
    assert {fate_of(code) for code in FAULTS} == {"ignored", "refused"}
    assert fate_of("truncated") == "refused"
    assert fate_of("localizer") == "ignored"


def test_who_must_act_decides_the_exit_code() -> None:
    codes = {kind.__name__: kind.exit_code for kind in KINDS}

    assert codes["CurationError"] == codes["SourceError"] == 3
    assert codes["UsageError"] == codes["RulesError"] == 2
    assert (codes["PrivacyError"], codes["EvidenceError"]) == (4, 5)
    assert issubclass(errors.RulesError, UsageError)
    assert not issubclass(PrivacyError, UsageError)
