"""De-identified folders are verified when they are written and whenever asked, and keep nothing that leaks."""

from __future__ import annotations

import json
from pathlib import Path

import pydicom
import pytest
from tiny_source import PERSON, Person, write_series

from pipeline import privacy
from pipeline.io.workspace import Workspace, create
from pipeline.model.errors import UsageError


def quiet(what: str, done: int = 0, total: int = 0) -> None:
    """Tell nobody."""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    write_series(tmp_path / "source" / PERSON, Person(), count=3, StudyDate="20190304")
    return create(tmp_path / "workspace")


def deidentified(workspace: Workspace) -> Path:
    folder = workspace.root.parent / "clean"
    _, report = privacy.deidentify([workspace.root.parent / "source"], folder, workspace, quiet)
    assert not report.findings
    return folder


def test_what_was_written_can_be_verified_again(workspace: Workspace) -> None:
    folder = deidentified(workspace)
    assert privacy.is_export(folder)
    report = privacy.verify(folder, workspace, quiet)
    assert report.findings == ()
    assert report.counts["sources"] == report.counts["files"] == 3


def test_what_was_put_into_a_written_file_is_found(workspace: Workspace) -> None:
    folder = deidentified(workspace)
    path = next(folder.rglob("*.dcm"))
    dataset = pydicom.dcmread(path)
    dataset.ImageComments = f"of {PERSON}"
    dataset.save_as(path)
    assert {leak.file for leak in privacy.verify(folder, workspace, quiet).findings} == {
        path.relative_to(folder).as_posix()
    }


def test_a_file_that_came_from_elsewhere_and_one_that_is_gone_are_found(workspace: Workspace) -> None:
    folder = deidentified(workspace)
    path = next(folder.rglob("*.dcm"))
    path.rename(path.with_name("1.dcm"))
    found = {leak.found for leak in privacy.verify(folder, workspace, quiet).findings}
    assert found == {"it is gone", "no source is known that it was made from"}


def test_a_folder_that_the_workspace_did_not_write_is_unknown_to_it(
    workspace: Workspace, tmp_path: Path
) -> None:
    folder = deidentified(workspace)
    with pytest.raises(UsageError, match="export-unknown"):
        privacy.verify(folder, create(tmp_path / "other"), quiet)


def test_nothing_stays_of_an_output_in_which_something_is_found(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.verify.faults", lambda *_: [("PatientName", "a leak")])
    folder = workspace.root.parent / "clean"
    _, report = privacy.deidentify([workspace.root.parent / "source"], folder, workspace, quiet)
    assert report.findings
    assert not any(folder.iterdir())


def test_a_release_was_made_from_its_cases_and_not_from_what_was_refused(
    workspace: Workspace, tmp_path: Path
) -> None:
    golden = Path(__file__).parents[1] / "manifests" / "golden" / "Task10_Colon.manifest.jsonl"
    lines = golden.read_text().splitlines()
    refusal = {
        "kind": "refusal", "task": "Task10_Colon", "case": "colon_999", "stage": "convert", "code": "missing-slice",
        "wanted": "a slice", "found": "none", "where": "", "advice": "Fetch it.", "who": "curator",
    }  # fmt: skip
    folder = tmp_path / "release"
    folder.mkdir()
    lines.append(json.dumps(refusal, sort_keys=True, separators=(",", ":")))
    (folder / golden.name).write_text("\n".join([*lines, ""]))

    cases, refs = privacy.made_from(folder, workspace)

    wanted = {line["case"] for line in map(json.loads, lines) if line["kind"] == "case"}
    assert wanted
    assert (cases, refs) == ({"Task10_Colon": wanted}, [])
