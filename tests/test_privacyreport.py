from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
from tiny_source import PERSON, Person, write_series

from pipeline.demo import make
from pipeline.index import index
from pipeline.io.workspace import create
from pipeline.model.errors import SourceError
from pipeline.model.series import SourceRef
from pipeline.plan import plan
from pipeline.planned import planned
from pipeline.privacyreport import Tally, page, write_report

TASK = "Task10_Colon"


def report(folder: Path) -> dict[str, object]:
    paths = write_series(folder / PERSON, Person(), count=3, described="abdomen")
    refs = [
        SourceRef(str(p), None, hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_size) for p in paths
    ]
    write_report(create(folder / "workspace"), folder / "out", {}, refs)
    made: dict[str, object] = json.loads((folder / "out" / "privacy.json").read_bytes())
    return made


def test_it_counts_every_text_that_stayed_and_every_act(tmp_path: Path) -> None:
    made = report(tmp_path)
    assert made["objects"] == 3
    assert made["texts"]["SeriesDescription"] == {"abdomen": 3}  # type: ignore[index]
    assert made["actions"]["remapped"]["SOPInstanceUID"] == 3  # type: ignore[index]
    assert "clean_descriptors" in made["options"]  # type: ignore[operator]
    assert PERSON not in json.dumps(made)


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    report(tmp_path)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()} == {0o600}


def test_the_page_loads_nothing_and_quotes_what_it_shows() -> None:
    tally = Tally()
    tally.texts["SeriesDescription", "<script>alert(1)</script>"] = 1
    shown = page(tally)
    assert "<script" not in shown
    assert not re.search(r"(src|href)\s*=|@import|url\(", shown)


def test_only_the_cases_named_go_through_the_door(tmp_path: Path) -> None:
    make(tmp_path, tasks=[TASK], cases=2, seed=1, tell=lambda what: None)
    workspace = create(tmp_path / "ws")
    index(workspace, [tmp_path / "source"], None, lambda what, done, total: None)
    plan(workspace, [])
    refused, sound = planned(workspace, [])[0].plans
    Path(next(iter(refused.channels.values()))[0].path).unlink()

    tally = write_report(workspace, tmp_path / "out", {TASK: {sound.case}}, [])

    images = sum(len(refs) for refs in sound.channels.values())
    # A label that is a mask is no object of DICOM.
    assert tally.objects - images in (0, 1)
    with pytest.raises(SourceError):
        write_report(workspace, tmp_path / "out", {TASK: {sound.case, refused.case}}, [])
