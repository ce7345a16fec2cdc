"""RO-Crate, as written and as rocrate reads it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from pipeline.model.publication import Publication


def test_everything_that_is_named_is_described_once(release: Path) -> None:
    graph = json.loads((release / "ro-crate-metadata.json").read_bytes())["@graph"]
    ids = [entity["@id"] for entity in graph]
    assert len(ids) == len(set(ids))
    named = {
        part["@id"]
        for entity in graph
        for value in entity.values()
        for part in (value if isinstance(value, list) else [value])
        if isinstance(part, dict)
    }
    assert named - set(ids) == {"https://w3id.org/ro/crate/1.1"}


def test_digests_of_files_are_those_of_the_files(release: Path) -> None:
    graph = json.loads((release / "ro-crate-metadata.json").read_bytes())["@graph"]
    summed = {entity["@id"]: entity["sha256"] for entity in graph if "sha256" in entity}
    assert len(summed) == 4
    for name, digest in summed.items():
        assert digest == hashlib.sha256((release / name).read_bytes()).hexdigest()


@pytest.mark.filterwarnings("ignore")
def test_rocrate_reads_the_crate_and_the_run(release: Path, publication: Publication) -> None:
    rocrate = pytest.importorskip("rocrate.rocrate", reason="rocrate is not installed")
    crate = rocrate.ROCrate(str(release))
    assert crate.name == publication.title
    (run,) = crate.get_by_type("CreateAction")
    assert {entity.id for entity in run["result"]} >= {path.name for path in release.glob("*.tar")}
    assert run["instrument"].type == "SoftwareApplication"
