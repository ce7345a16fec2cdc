from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from tiny_source import PERSON, Person, write_series

from pipeline.io.workspace import create
from pipeline.model.series import SourceRef
from pipeline.privacyreport import Tally, page, write_report


def report(folder: Path) -> dict[str, object]:
    paths = write_series(folder / PERSON, Person(), count=3, described="abdomen")
    refs = [
        SourceRef(str(p), None, hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_size) for p in paths
    ]
    write_report(create(folder / "workspace"), folder / "out", [], refs)
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
