"""What would be released, held against its sources, with something planted in each place in turn."""

from __future__ import annotations

import base64
import gzip
import hashlib
from pathlib import Path

import pytest
from tiny_source import PERSON, Person, write_mask, write_series

from pipeline.index import index
from pipeline.io.workspace import Workspace, create
from pipeline.model.errors import SourceError
from pipeline.plan import plan
from pipeline.verify import Part, planned_cases, verify_pack, verify_release

TASK = "Task09_Spleen"
HEADER = bytes(352)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("verify")
    workspace = create(folder / "workspace")
    for number in range(2):
        subject = folder / "source" / TASK / f"{PERSON}{number}"
        write_series(subject / "ct", Person(number), PatientBirthDate="19510203", StudyID="55667")
        write_mask(subject / "label.nii.gz")
    index(workspace, [folder / "source"], None, lambda *_: None)
    (made,) = plan(workspace, [TASK])
    assert made.cases
    return workspace


def found(workspace: Workspace, content: bytes, member: str = "x.nii.gz", case: str = "") -> set[str]:
    report = verify_pack(workspace.root, [TASK], lambda: [Part(f"{TASK}.tar", member, case, content)])
    return {leak.origin for leak in report.findings}


def test_nothing_is_found_in_what_holds_nothing(workspace: Workspace) -> None:
    assert found(workspace, b'{"case":"spleen_1","voxels":55667,"notes":["oriented"]}') == set()


@pytest.mark.parametrize(
    "content",
    [
        PERSON.encode(), base64.b64encode(f"..{PERSON}".encode()), PERSON.encode("utf-16-be"),
        PERSON.encode().hex().encode(),
    ],
)  # fmt: skip
def test_a_name_in_a_document_is_found(workspace: Workspace, content: bytes) -> None:
    assert found(workspace, b'{"text":"' + content + b'"}')


def test_a_uid_and_a_digest_of_a_source_are_found(workspace: Workspace) -> None:
    assert found(workspace, f"instance {Person(1).series_uid(1)}.3".encode())
    source = next(planned_cases(workspace.root, TASK)).sources[0]
    digest = hashlib.sha256(Path(source.path).read_bytes()).hexdigest()
    assert found(workspace, f"sha256:{digest}".encode()) == {"digest of a source file"}


def test_a_number_and_a_date_are_found_in_what_is_of_their_own_case(workspace: Workspace) -> None:
    own = next(planned_cases(workspace.root, TASK)).owner
    for text in (b'"id":"55667"', b"born 1951-02-03"):
        assert found(workspace, text, case=own)
        assert not found(workspace, text, case=f"{TASK}/spleen_none")


def test_a_name_among_voxels_of_a_packed_member_is_found(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "image.nii.gz"
    path.write_bytes(gzip.compress(HEADER + bytes(5000) + PERSON.encode() + bytes(5000)))
    report = verify_pack(workspace.root, [TASK], lambda: [Part("t.tar", "a/x.nii.gz", "", path)])
    assert report.findings


def test_every_file_of_a_release_is_searched_and_its_name(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / f"{TASK}.manifest.jsonl").write_bytes(b"{}\n")
    assert not verify_release(tmp_path, workspace.root).findings
    (tmp_path / f"{PERSON}.txt").write_bytes(b"")
    assert verify_release(tmp_path, workspace.root).findings


def test_a_pseudonym_that_the_key_does_not_give_is_found(tmp_path: Path, workspace: Workspace) -> None:
    plans = workspace.plans / f"{TASK}.jsonl"
    kept = plans.read_bytes()
    (case, *_) = planned_cases(workspace.root, TASK)
    try:
        plans.write_bytes(kept.replace(case.subject.encode(), b"hmac-sha256:" + b"0" * 64))
        assert found(workspace, b"") == {"PatientID"}
    finally:
        plans.write_bytes(kept)


def test_a_release_whose_sources_are_gone_cannot_be_verified(workspace: Workspace) -> None:
    source = Path(next(planned_cases(workspace.root, TASK)).sources[0].path)
    away = source.with_suffix(".away")
    source.rename(away)
    try:
        with pytest.raises(SourceError, match="source-missing"):
            found(workspace, b"")
    finally:
        away.rename(source)
