"""The chain back to the sources holds, or says at which slice it does not."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from sample_release import KEY, SPLEEN, refresh, sample, seal, source_of
from spoiling import SPLEEN_LINES, shown, sought

from pipeline.audit import audit
from pipeline.audit.sources import open_case
from pipeline.model.errors import UsageError
from pipeline.model.identified import source_token

SECRET = "DOE_JANE"


def packed_zip(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


def packed_tar(members: dict[str, bytes], mode: str) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as archive:  # type: ignore[call-overload]  # mode is one of two texts
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return content.getvalue()


def place_source(folder: Path, number: int, members: dict[str, bytes]) -> list[list[Any]]:
    """Write one channel's files: plain, .zip, .tar or .tar.gz in turn; return [path, member, sha256, size] each."""
    digests = {name: [hashlib.sha256(data).hexdigest(), len(data)] for name, data in members.items()}
    kind = ("", ".zip", ".tar", ".tar.gz")[number % 4]
    path = folder / f"{SECRET}{number}{kind}"
    if not kind:
        path.mkdir(parents=True)
        for name, data in members.items():
            (path / name).write_bytes(data)
        return [[str(path / name), None, *digests[name]] for name in members]
    mode = {".tar": "w", ".tar.gz": "w:gz"}.get(kind)
    path.write_bytes(packed_zip(members) if mode is None else packed_tar(members, mode))
    return [[str(path), name, *digests[name]] for name in members]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace whose plans name the sample's source files."""
    root, sources, number = tmp_path / "workspace", tmp_path / SECRET, 0
    (root / "private/plan").mkdir(parents=True)
    sources.mkdir()
    (root / "private/pseudonym.key").write_text(KEY.secret.hex() + "\n")
    for name, task in sample().items():
        lines: list[dict[str, Any]] = [{"kind": "header", "task": name}]
        for line in task.cases:
            refs = {}
            for (case, channel), contents in task.sources.items():
                if case == line["case"]:
                    members = {f"{channel}-{n}": content for n, content in enumerate(contents)}
                    refs[channel], number = place_source(sources, number, members), number + 1
            label = refs.pop("label", None)
            lines.append(
                {"kind": "case", "case": line["case"], "subset": line["subset"], "channels": refs,
                 "label": None if label is None else {"kind": "mask", "ref": label[0]}}
            )  # fmt: skip
        lines += [{"kind": "refusal", "case": line["case"]} for line in task.refusals]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (root / "private/plan" / f"{name}.jsonl").write_text(text)
    return root


def test_untouched_sources_lead_back_from_the_release(intact: Path, workspace: Path) -> None:
    report = audit(intact, workspace=workspace)

    assert shown(report) == ""
    assert report.sources == sum(len(c) for task in sample().values() for c in task.sources.values())


def all_sources(workspace: Path) -> list[Path]:
    return sorted(path for path in (workspace.parent / SECRET).rglob("*") if path.is_file())


def test_a_changed_or_missing_source_is_found_and_not_named(intact: Path, workspace: Path) -> None:
    for path in all_sources(workspace):
        content = path.read_bytes()
        for spoil in (lambda p=path, c=content: p.write_bytes(c[:-1] + bytes([c[-1] ^ 1])), path.unlink):
            spoil()
            report = audit(intact, workspace=workspace)
            # The last byte of an archive may lie behind its last member.
            assert report.findings or path.exists(), path.name
            assert all(f.case and f.stage == "ingest" for f in report.findings)
            assert not re.search(f"{SECRET}|{re.escape(str(workspace.parent))}", shown(report))
        path.write_bytes(content)


def test_a_changed_slice_is_named_by_its_number(intact: Path, workspace: Path) -> None:
    path = next(path for path in all_sources(workspace) if path.name == "FLAIR-1")
    path.write_bytes(path.read_bytes() + b"x")

    (finding,) = audit(intact, workspace=workspace).findings
    assert (finding.case, finding.member, finding.found) == ("BRATS_001", "FLAIR slice 2", "a changed one")


def test_a_damaged_archive_is_found(intact: Path, workspace: Path) -> None:
    for path in all_sources(workspace):
        if path.suffix:
            content = path.read_bytes()
            path.write_bytes(content[: len(content) // 20])
            assert audit(intact, workspace=workspace).findings, path.name
            path.write_bytes(content)


def test_a_keyed_digest_of_another_source_is_found(tmp_path: Path, workspace: Path) -> None:
    made = sample()
    made[SPLEEN].case("spleen_2")["sources"]["CT"][1] = source_of(SPLEEN, "spleen_2", b"another")
    report = audit(seal(made, tmp_path / "release"), workspace=workspace)

    assert [(f.case, f.member) for f in report.findings] == [("spleen_2", "CT slice 2")]


def test_sources_in_another_order_are_found(tmp_path: Path, workspace: Path) -> None:
    made = sample()
    made[SPLEEN].case("spleen_2")["sources"]["CT"].reverse()
    report = audit(seal(made, tmp_path / "release"), workspace=workspace)

    assert {(f.case, f.member) for f in report.findings} == {
        ("spleen_2", "CT slice 1"),
        ("spleen_2", "CT slice 3"),
    }


def test_a_planned_case_that_is_neither_there_nor_refused_is_found(tmp_path: Path, workspace: Path) -> None:
    made = sample()
    task = made[SPLEEN]
    gone = task.cases.pop(1)
    for member in gone["members"].values():
        task.files.pop(member, None)
    refresh(task)
    report = audit(seal(made, tmp_path / "release"), workspace=workspace)

    assert [(f.case, f.stage) for f in report.findings] == [("spleen_2", "ingest")]


def test_a_release_of_another_workspace_is_found(intact: Path, workspace: Path) -> None:
    (workspace / "private/pseudonym.key").write_text(64 * "a" + "\n")

    assert sought(audit(intact, workspace=workspace), file="release.json", stage="release")


def test_a_plan_that_is_gone_is_found(intact: Path, workspace: Path) -> None:
    (workspace / "private/plan" / f"{SPLEEN}.jsonl").unlink()

    (finding,) = audit(intact, workspace=workspace).findings
    assert (finding.file, finding.stage) == (SPLEEN_LINES, "ingest")


def test_a_folder_without_a_key_is_no_workspace(intact: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        audit(intact, workspace=tmp_path)
    assert refused.value.code == "workspace-missing"


def test_a_damaged_key_is_refused_without_being_quoted(intact: Path, workspace: Path) -> None:
    (workspace / "private/pseudonym.key").write_text("abc" + 61 * "d" + "x")
    with pytest.raises(UsageError) as refused:
        audit(intact, workspace=workspace)
    assert refused.value.code == "key-invalid"
    assert "abc" not in str(refused.value)


def test_a_case_is_opened_by_its_own_key_alone(intact: Path, workspace: Path) -> None:
    key = bytes.fromhex(open_case(intact, workspace, f"{SPLEEN}/spleen_2"))
    lines = {line["case"]: line for line in sample()[SPLEEN].cases}
    told = {case: {t for tokens in line["sources"].values() for t in tokens} for case, line in lines.items()}
    mine, others = (
        {
            source_token(key, hashlib.sha256(content).hexdigest())
            for (case, _), contents in sample()[SPLEEN].sources.items()
            if (case == "spleen_2") is is_mine
            for content in contents
        }
        for is_mine in (True, False)
    )

    assert mine == told["spleen_2"]
    assert not others & set().union(*told.values())


@pytest.mark.parametrize("name", [f"{SPLEEN}/spleen_99", "spleen_2", "Task99_None/x", ""])
def test_what_is_no_case_of_the_release_is_not_opened(intact: Path, workspace: Path, name: str) -> None:
    with pytest.raises(UsageError):
        open_case(intact, workspace, name)
