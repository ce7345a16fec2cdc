from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest

from pipeline.model.errors import SourceError
from pipeline.verify.sources import Source, contents, planned_cases


def source(path: Path, member: str | None, content: bytes) -> Source:
    return Source(str(path), member, hashlib.sha256(content).hexdigest(), len(content))


def test_plain_files_and_members_of_archives_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"plain")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("in/b.dcm", b"zipped")
    with tarfile.open(tmp_path / "c.tar.gz", "w:gz") as packed:
        info = tarfile.TarInfo("c.dcm")
        info.size = 6
        packed.addfile(info, io.BytesIO(b"tarred"))
    wanted = [
        source(tmp_path / "a.dcm", None, b"plain"), source(tmp_path / "b.zip", "in/b.dcm", b"zipped"),
        source(tmp_path / "c.tar.gz", "c.dcm", b"tarred"),
    ]  # fmt: skip
    assert [content for _, content in contents(wanted)] == [b"plain", b"zipped", b"tarred"]
    assert wanted[1].names[-3:] == ["b.zip", "in", "b.dcm"]


def test_a_source_that_is_gone_or_another_cannot_be_searched_for(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"another")
    with pytest.raises(SourceError, match="source-changed"):
        list(contents([source(tmp_path / "a.dcm", None, b"plain")]))
    with pytest.raises(SourceError, match="source-missing"):
        list(contents([source(tmp_path / "b.dcm", None, b"plain")]))


def test_a_plan_names_every_file_of_a_case(tmp_path: Path) -> None:
    ref = ["/x/a.dcm", None, "00", 1]
    label = {"ref": ["/x/l.dcm", None, "01", 1], "data": None, "names": None}
    line = {"kind": "case", "task": "Task09_Spleen", "case": "spleen_1", "subset": "test", "subject": "s"}
    plans = tmp_path / "private" / "plan"
    plans.mkdir(parents=True)
    (plans / "Task09_Spleen.jsonl").write_text(
        json.dumps({"kind": "header"})
        + "\n"
        + json.dumps({**line, "channels": {"CT": [ref]}, "label": label})
        + "\n"
    )
    (case,) = planned_cases(tmp_path, "Task09_Spleen")
    assert [one.path for one in case.sources] == ["/x/a.dcm", "/x/l.dcm"]
    assert case.owner == "Task09_Spleen/spleen_1"
