"""Who publishes a release: names and addresses as documents spell them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.model.publication import Creator, Publication

TERMS = {
    "title": "t", "description": "d", "creators": (Creator(name="A hospital"),), "publisher": "p",
    "date": "2026-01-31", "version": "1", "licence": "CC-BY-4.0",
}  # fmt: skip


def test_a_person_is_named_family_first_and_an_organisation_as_it_is() -> None:
    assert Creator(family="Doe", given="Alex").full_name == "Doe, Alex"
    assert Creator(name="A hospital").full_name == "A hospital"


def test_a_doi_goes_before_an_address() -> None:
    assert Publication(**TERMS, url="https://a.example").home == "https://a.example"  # type: ignore[arg-type]
    both = Publication(**TERMS, url="https://a.example", doi="10.1234/x")  # type: ignore[arg-type]
    assert both.home == "https://doi.org/10.1234/x"


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"date": "31.1.2026"}, "pattern"),
        ({"licence": "CC BY-SA 4.0"}, "pattern"),
        ({"url": None}, "doi or a url"),
        ({"creators": []}, "at least 1"),
        ({"creators": [{"name": "x", "family": "y", "given": "z"}]}, "either name"),
        ({"creators": [{"family": "y"}]}, "either name"),
        ({"creators": [{"name": "x", "family": "y"}]}, "either name"),
        ({"subtitle": "x"}, "Extra inputs"),
    ],
)
def test_terms_are_read_strictly(changed: dict[str, Any], why: str) -> None:
    terms = {**TERMS, "creators": [{"name": "n"}], "url": "https://a.example", **changed}
    with pytest.raises(ValueError, match=why):
        Publication.model_validate_json(json.dumps(terms))
