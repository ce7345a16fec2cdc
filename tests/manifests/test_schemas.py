"""The schemas describe what is written, and the audit reads them as a full validator does."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import pytest
from sample_release import BRAIN, SPLEEN, canonical, sample, seal, spoilt
from signing import signed, statement_of

from pipeline.audit.schema import schema_faults
from pipeline.model.volume import Quantity

SCHEMAS = Path(__file__).parents[2] / "manifests/schema"
NAMES = (
    "manifest-header",
    "manifest-case",
    "manifest-refusal",
    "release",
    "dataset",
    "envelope",
    "statement",
    "decisions",
    "decision",
)


def schema_of(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    return schema


def validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema_of(name))


def test_every_quantity_that_rules_may_name_may_stand_in_a_manifest() -> None:
    channel = schema_of("manifest-header")["properties"]["channels"]["items"]["properties"]
    assert set(channel["quantity"]["enum"]) == {quantity.value for quantity in Quantity}


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, dict[str, Any]]]:
    """Schema name and document, for each kind that a release holds."""
    made = sample()
    release = seal(made, tmp_path_factory.mktemp("schemas") / "release")
    found = [("release", json.loads((release / "release.json").read_bytes()))]
    envelope = (signed(release) / "release.intoto.jsonl").read_bytes()
    found += [
        ("envelope", json.loads(envelope)),
        ("statement", json.loads(statement_of((release / "release.json").read_bytes()))),
    ]
    found += review_documents(made[SPLEEN].cases[0])
    for name in (BRAIN, SPLEEN):
        found.append(("dataset", made[name].dataset))
        for line in (release / f"{name}.manifest.jsonl").read_bytes().splitlines():
            document = json.loads(line)
            found.append((f"manifest-{document['kind']}", document))
    return found


def review_documents(line: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """What is written of a review: the file, a kept line, and a case line that tells of it."""
    seen = {"image": "sha256:" + 64 * "0", "label": None}
    said = {"case": "spleen_10", "seen": seen, "decision": "accept", "reason": "fit"}
    told = {"reviewer": "hmac-sha256:" + 64 * "0"}
    private = {"comment": "fine", "reviewer": "AB"}
    line = {**line, "review": {"decision": "accept", "reason": "fit", "seen": seen, **told}}
    file = {
        "format": "curate-decisions/1",
        "key": 16 * "0",
        "task": SPLEEN,
        "decisions": [{**said, **private}],
    }
    kept = {"format": "curate-decision/1", "task": SPLEEN, **said, **told}
    return [("decisions", file), ("decision", kept), ("manifest-case", line)]


def test_there_is_a_schema_for_each_kind_of_document() -> None:
    assert {path.name.removesuffix(".schema.json") for path in SCHEMAS.iterdir()} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_one_and_says_what_it_is_for(name: str) -> None:
    schema = schema_of(name)

    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["title"]
    assert len(schema["description"]) > 20


def objects_in(schema: Any, place: str = "$") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        if "properties" in schema and isinstance(schema["properties"], dict):
            yield place, schema
        for key, part in schema.items():
            yield from objects_in(part, f"{place}.{key}")
    elif isinstance(schema, list):
        for number, part in enumerate(schema):
            yield from objects_in(part, f"{place}[{number}]")


@pytest.mark.parametrize("name", NAMES)
def test_every_object_says_what_other_keys_it_may_have(name: str) -> None:
    for place, part in objects_in(schema_of(name)):
        assert "additionalProperties" in part, place


def test_every_document_of_a_release_keeps_to_its_schema(documents: list[tuple[str, dict[str, Any]]]) -> None:
    assert {name for name, _ in documents} == set(NAMES)
    for name, document in documents:
        assert [error.message for error in validator(name).iter_errors(document)] == []
        assert list(schema_faults(document, name)) == []


def test_the_audit_finds_what_a_full_validator_finds(documents: list[tuple[str, dict[str, Any]]]) -> None:
    chance = random.Random(1)
    validators = {name: validator(name) for name in NAMES}
    refused = 0
    for _ in range(1500):
        name, document = chance.choice(documents)
        other = spoilt(document, chance)
        # A JSON round trip, as in a file.
        other = json.loads(json.dumps(other))
        by_the_book = not validators[name].is_valid(other)
        # Python's $ lets a last newline pass; ours does not.
        if not any(text.endswith("\n") for text in texts(other)):
            assert any(True for _ in schema_faults(other, name)) == by_the_book, canonical(other)
        refused += by_the_book
    assert refused > 500


def texts(document: Any) -> Iterator[str]:
    if isinstance(document, str):
        yield document
    elif isinstance(document, dict | list):
        for part in document.values() if isinstance(document, dict) else document:
            yield from texts(part)


def test_a_newline_behind_a_digest_is_a_fault(documents: list[tuple[str, dict[str, Any]]]) -> None:
    document = copy.deepcopy(next(document for name, document in documents if name == "release"))
    document["tasks"][0]["tar"]["digest"] += "\n"

    assert len(list(schema_faults(document, "release"))) == 1


def test_a_fault_is_named_with_its_place(documents: list[tuple[str, dict[str, Any]]]) -> None:
    document = copy.deepcopy(next(document for name, document in documents if name == "manifest-case"))
    document["image"]["size"] = "large"
    document["subset"] = "validation"
    document["patient"] = "x"

    faults = list(schema_faults(document, "manifest-case"))
    assert sorted(fault.split(":")[0] for fault in faults) == ["$", "$.image.size", "$.subset"]
