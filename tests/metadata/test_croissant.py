"""Croissant, as written and as mlcroissant reads it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest


def test_digests_of_files_are_those_of_the_files(release: Path) -> None:
    document = json.loads((release / "croissant.json").read_bytes())
    files = [part for part in document["distribution"] if part["@type"] == "cr:FileObject"]
    assert len(files) == 5
    for part in files:
        content = (release / part["contentUrl"]).read_bytes()
        assert part["sha256"] == hashlib.sha256(content).hexdigest()


@pytest.mark.filterwarnings("ignore")
def test_mlcroissant_validates_it_and_reads_the_cases(release: Path) -> None:
    croissant = pytest.importorskip("mlcroissant", reason="mlcroissant is not installed")
    data = croissant.Dataset(jsonld=release / "croissant.json")
    assert not data.metadata.ctx.issues.errors
    assert not data.metadata.ctx.issues.warnings
    records = list(data.records(record_set="cases"))
    assert len(records) == 6
    assert {record["cases/task"] for record in records} == {b"Task01_BrainTumour", b"Task09_Spleen"}
