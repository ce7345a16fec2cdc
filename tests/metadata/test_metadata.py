"""A release described: which documents there are, what they hang on, and that audit and pack know them.

The library of each format reads its document where it is installed (extra `export`); writing needs none of them.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from running import Curate, Demo
from sample_release import SPLEEN, write_sums

from pipeline.audit import audit
from pipeline.metadata import NAMES, describe
from pipeline.model.publication import Publication


def test_the_documents_are_those_announced_and_always_the_same(
    release: Path, publication: Publication
) -> None:
    entries = json.loads((release / "release.json").read_bytes())["tasks"]
    made = describe(release, entries, publication)
    assert sorted(made) == list(NAMES)
    assert made == describe(release, entries, publication)


def test_an_audit_knows_the_documents_by_their_sums(release: Path) -> None:
    write_sums(release)
    assert audit(release).holds
    (release / "cases.csv").write_bytes(b"x")
    assert [finding.file for finding in audit(release).findings] == ["cases.csv"]


@pytest.mark.slow
def test_pack_writes_them_when_the_settings_say_who_publishes_and_takes_them_away(
    tmp_path: Path, curate: Curate
) -> None:
    demo = Demo(tmp_path / "demo")
    curate("demo", demo.folder, "--task", SPLEEN, "--cases", "2")
    curate("init", demo.workspace, "--key", demo.truth / "demo.key")
    curate("release", demo.source, "-w", demo.workspace, "-r", demo.release, "--workers", "1")
    bare = {path.name: path.read_bytes() for path in demo.release.iterdir()}
    settings = demo.workspace / "curate.yaml"
    text = settings.read_text()
    commented = text.partition("# publication:")[2].partition("publication: null")[0]
    example = "\n".join(line.removeprefix("# ") for line in commented.splitlines())
    settings.write_text(text.replace("publication: null", f"publication:{example}"))
    curate("pack", "-w", demo.workspace, "-r", demo.release)
    curate("audit", demo.release)
    assert {path.name for path in demo.release.iterdir()} == {*bare, *NAMES}
    curate("rebuild", demo.release, demo.source, "-w", demo.workspace, "--workers", "1")
    settings.write_text(text)
    curate("pack", "-w", demo.workspace, "-r", demo.release)
    assert {path.name: path.read_bytes() for path in demo.release.iterdir()} == bare
