from __future__ import annotations

import json

import pytest
from pydantic import BaseModel, ConfigDict

from pipeline.io.plainyaml import read_plain
from pipeline.io.strict import at, held_against, model_keys, quoted, suggest


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    size: int | float
    word: str = ""


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    inner: tuple[Inner, ...] = ()
    pair: tuple[int, int] = (0, 1)


def said(document: object) -> list[str]:
    value, faults = held_against(Outer, read_plain(json.dumps(document).encode()), model_keys(Outer))
    assert (value is None) is bool(faults)
    return [str(fault).removesuffix(" (line 1)") for fault in faults]


def test_a_document_that_fits_has_no_faults() -> None:
    assert said({"name": "a", "inner": [{"size": 1.5}], "pair": [2, 3]}) == []


def test_all_faults_are_said_each_with_its_place() -> None:
    document = {"nmae": "a", "inner": [{"size": 1}, {"size": "big", "wrod": "x"}], "pair": [1]}

    assert said(document) == [
        "$.name: wanted this key, found nothing",
        '$.inner[1].size: wanted a number, found "big"',
        "$.inner[1].wrod: wanted known keys only, found an unknown key, perhaps meant as word",
        "$.pair[1]: wanted this key, found nothing",
        "$.nmae: wanted known keys only, found an unknown key, perhaps meant as name",
    ]


@pytest.mark.parametrize("document", [None, 1, "text", []])
def test_what_is_no_mapping_is_one_fault(document: object) -> None:
    assert said(document) == [f"$: wanted a mapping, found {json.dumps(document)}"]


def test_true_is_no_number_and_a_number_no_text() -> None:
    assert said({"name": 3, "inner": [{"size": True}]}) == [
        "$.name: wanted text, found 3",
        "$.inner[0].size: wanted a number, found true",
    ]


def test_the_nearest_name_is_suggested_without_regard_to_case() -> None:
    names = ("Modality", "SeriesDescription")

    assert suggest("modallity", names) == "Modality"
    assert suggest("Seriesdescription", names) == "SeriesDescription"
    assert suggest("KVP", names) == ""


def test_a_long_value_is_cut_short() -> None:
    assert quoted("x" * 100) == '"' + "x" * 56 + "..."


def test_a_place_that_is_not_there_says_nothing() -> None:
    assert at({"a": [1]}, ("a", 0)) == 1
    assert at({"a": [1]}, ("a", 1)) is None
    assert at({"a": [1]}, ("a", "b")) is None
