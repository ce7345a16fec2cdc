"""A small release with its metadata beside the TARs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sample_release import sample, seal

from pipeline.metadata import describe
from pipeline.metadata.facts import Facts, gather
from pipeline.model.publication import Creator, Publication


@pytest.fixture
def publication() -> Publication:
    return Publication(
        title='Two "organs" | <b>',
        description="Made-up volumes\n---\nof two organs: äöü.",
        creators=(
            Creator(family="Doe", given="Alex", orcid="0000-0002-1825-0097", affiliation="A hospital"),
            Creator(name="The consortium"),
        ),
        publisher="The hospital",
        date="2026-01-31",
        version="1.0",
        licence="CC-BY-SA-4.0",
        doi="10.1234/two-organs",
        url="https://hospital.example/organs",
    )


@pytest.fixture
def release(tmp_path: Path, publication: Publication) -> Path:
    folder = seal(sample(), tmp_path / "release")
    entries = json.loads((folder / "release.json").read_bytes())["tasks"]
    for name, content in describe(folder, entries, publication).items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def facts(release: Path, publication: Publication) -> Facts:
    return gather(release, json.loads((release / "release.json").read_bytes())["tasks"], publication)
