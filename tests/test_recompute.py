"""Cases of a small release of the phantom, made again from DICOM: the same, or where they are not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import Curate, Demo

from pipeline.io.workspace import Workspace, open_workspace
from pipeline.recompute import Recomputed, recompute

TASK = "Task05_Prostate"
MANIFEST = f"{TASK}.manifest.jsonl"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def prostate(tmp_path_factory: pytest.TempPathFactory, curate: Curate) -> Demo:
    demo = Demo(tmp_path_factory.mktemp("prostate") / "demo")
    curate("demo", demo.folder, "--task", TASK)
    curate("init", demo.workspace, "--key", demo.truth / "demo.key")
    curate("release", demo.source, "-w", demo.workspace, "-r", demo.release, "--workers", "1")
    return demo


@pytest.fixture
def workspace(prostate: Demo) -> Workspace:
    return open_workspace(prostate.workspace)


@pytest.fixture
def told(prostate: Demo, workspace: Workspace, tmp_path: Path) -> Callable[..., Recomputed]:
    """Change what the manifest says of one case, and make every case again."""

    def run(change: Callable[[dict[str, Any]], object], kind: str = "case") -> Recomputed:
        release = Path(shutil.copytree(prostate.release, tmp_path / "release"))
        lines = [json.loads(line) for line in (release / MANIFEST).read_bytes().splitlines()]
        change(next(line for line in lines if line["kind"] == kind))
        (release / MANIFEST).write_text("".join(json.dumps(line) + "\n" for line in lines))
        return recompute(release, workspace, 99)

    return run


def state(folder: Path) -> dict[str, int]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in files}


def test_an_untouched_release_is_made_again_to_the_bit_and_nothing_is_left(
    prostate: Demo, workspace: Workspace
) -> None:
    before = state(prostate.folder)
    made = recompute(prostate.release, workspace, 99)

    assert [str(finding) for finding in made.findings] == []
    cases = [
        line for line in (prostate.release / MANIFEST).read_text().splitlines() if '"kind":"case"' in line
    ]
    assert len(set(made.cases)) == len(cases) > 2
    assert state(prostate.folder) == before


def test_the_sample_is_that_of_key_and_release(prostate: Demo, workspace: Workspace, tmp_path: Path) -> None:
    def chosen(release: Path) -> list[tuple[str, str]]:
        return list(recompute(release, workspace, 1).cases)

    samples = set()
    for number in range(8):
        other = Path(shutil.copytree(prostate.release, tmp_path / str(number)))
        document = json.loads((other / "release.json").read_bytes())
        (other / "release.json").write_text(json.dumps({**document, "x": number}))
        samples |= set(chosen(other))

    assert chosen(prostate.release) == chosen(prostate.release)
    assert len(samples) > 1


def test_voxels_that_the_sources_do_not_give_are_found_in_their_member(
    told: Callable[..., Recomputed],
) -> None:
    made = told(lambda line: line["image"].update(voxels="sha256:" + 64 * "0"))

    (finding,) = made.findings
    assert finding.member.endswith(".nii.gz")
    assert finding.wanted.startswith("voxels sha256:000")
    assert finding.case


def test_a_note_that_the_room_does_not_write_is_found_at_the_room(told: Callable[..., Recomputed]) -> None:
    def change(line: dict[str, Any]) -> None:
        note = next(note for note in line["notes"] if note["stage"] == "scale")
        note["low"] = "12.5"

    (finding,) = told(change).findings
    assert (finding.stage, finding.file) == ("scale", MANIFEST)
    assert "low 12.5" in finding.wanted


def test_other_bytes_of_the_same_voxels_are_told_from_other_voxels(told: Callable[..., Recomputed]) -> None:
    (finding,) = told(lambda line: line["image"].update(file="sha256:" + 64 * "0")).findings

    assert (finding.stage, finding.found) == ("package", "the same voxels in other bytes")


def test_a_source_of_another_case_is_found(told: Callable[..., Recomputed]) -> None:
    made = told(lambda line: line["sources"]["T2"].reverse())

    assert [finding.stage for finding in made.findings] == ["ingest"]


def test_a_subject_of_another_case_is_found(told: Callable[..., Recomputed]) -> None:
    made = told(lambda line: line.update(subject="hmac-sha256:" + 64 * "0"))

    assert [finding.stage for finding in made.findings] == ["split"]


def test_other_versions_are_named_where_something_differs(
    prostate: Demo, workspace: Workspace, tmp_path: Path
) -> None:
    release = Path(shutil.copytree(prostate.release, tmp_path / "release"))
    lines = [json.loads(line) for line in (release / MANIFEST).read_bytes().splitlines()]
    lines[0]["software"]["numpy"] = "1.0"
    lines[1]["image"]["voxels"] = "sha256:" + 64 * "0"
    (release / MANIFEST).write_text("".join(json.dumps(line) + "\n" for line in lines))

    (finding,) = recompute(release, workspace, 99).findings
    assert finding.found.endswith("; not as they were: numpy")


def test_a_source_that_is_gone_is_a_finding_without_its_path(
    prostate: Demo, curate: Curate, tmp_path: Path
) -> None:
    moved = Demo(Path(shutil.copytree(prostate.folder, tmp_path / "moved")))
    plan = moved.workspace / "private/plan" / f"{TASK}.jsonl"
    text = plan.read_text().replace(str(prostate.folder), str(moved.folder / "nowhere"))
    plan.write_text(text)
    made = recompute(moved.release, open_workspace(moved.workspace), 1)

    (finding,) = made.findings
    assert finding.found.startswith("refused, ")
    assert "nowhere" not in str(finding)


def test_a_plan_that_is_gone_is_a_finding(prostate: Demo, tmp_path: Path) -> None:
    workspace = Path(shutil.copytree(prostate.workspace, tmp_path / "workspace"))
    (workspace / "private/plan" / f"{TASK}.jsonl").unlink()
    made = recompute(prostate.release, open_workspace(workspace), 1)

    assert [(f.stage, f.found) for f in made.findings] == [("ingest", "none")]


def test_the_command_counts_what_was_made_again(prostate: Demo, curate: Curate) -> None:
    said = curate("audit", prostate.release, "-w", prostate.workspace, "--recompute", "2", "--json")

    document = json.loads(said.stdout)
    assert document["holds"]
    assert len(document["recomputed"]) == 2


def test_the_command_wants_the_workspace(prostate: Demo, curate: Curate) -> None:
    curate("audit", prostate.release, "--recompute", "2", code=2)
