"""The pages of a workspace: every finished case on them, drawn once, and nobody's name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from reviewing import file_of, records, say
from running import run_curate

from pipeline import cli
from pipeline.io.workspace import Workspace, create
from pipeline.model.errors import UsageError
from pipeline.release import pack
from pipeline.review import TaskPages, build_pages

PROSTATE, SPLEEN = "Task05_Prostate", "Task09_Spleen"


def pages(workspace: Workspace, *tasks: str) -> dict[str, TaskPages]:
    return {made.task: made for made in build_pages(workspace, tasks, told=lambda *_: None)}


def document(made: TaskPages) -> dict[str, Any]:
    found = re.search(r'id="document">(.*?)</script>', made.page.read_text())
    assert found is not None
    whole: dict[str, Any] = json.loads(found[1])
    return whole


def sheets(made: TaskPages) -> dict[str, int]:
    """Name -> when it was written."""
    return {path.name: path.stat().st_mtime_ns for path in (made.page.parent / "sheets").iterdir()}


def test_every_finished_case_is_on_its_page_and_every_picture_is_there(workspace: Workspace) -> None:
    for task, made in pages(workspace).items():
        shown = document(made)["cases"]
        assert [each["case"] for each in shown] == list(records(workspace, task))
        for each in shown:
            for name in each["sheets"].values():
                with Image.open(made.page.parent / name) as picture:
                    picture.verify()


def test_what_did_not_change_is_not_drawn_again(workspace: Workspace) -> None:
    before = sheets(pages(workspace, SPLEEN)[SPLEEN])
    made = pages(workspace, SPLEEN)[SPLEEN]

    assert made.drawn == 0
    assert sheets(made) == before


def test_a_sheet_that_no_case_shows_any_more_goes(workspace: Workspace) -> None:
    made = pages(workspace, SPLEEN)[SPLEEN]
    old = made.page.parent / "sheets/spleen_999-0-whole-plain.png"
    old.write_bytes(b"")
    pages(workspace, SPLEEN)

    assert not old.exists()


def test_the_page_tells_how_cases_stand(workspace: Workspace) -> None:
    first, *_ = records(workspace, SPLEEN)
    say(workspace, SPLEEN, {first: ("correct", "half-turn")}, comment="Ms Doe")
    made = pages(workspace, SPLEEN)[SPLEEN]

    assert made.standing == {"correct": 1, "not-reviewed": 3}
    assert document(made)["cases"][0]["said"] == {"decision": "correct", "reason": "half-turn"}
    assert "Doe" not in made.page.read_text()


def test_pictures_that_lie_in_a_store_entry_are_shown(workspace: Workspace) -> None:
    entry = next(
        path.parent for path in workspace.store.glob("*/*/record.json") if SPLEEN in path.read_text()
    )
    Image.new("L", (4, 4)).save(entry / "registration.png")
    made = pages(workspace, SPLEEN)[SPLEEN]

    (shown,) = [each["pictures"] for each in document(made)["cases"] if each["pictures"]]
    assert list(shown) == ["registration"]
    assert (made.page.parent / shown["registration"]).read_bytes() == (
        entry / "registration.png"
    ).read_bytes()


def test_a_damaged_case_is_not_shown_but_counted(workspace: Workspace) -> None:
    entry = next(
        path.parent for path in workspace.store.glob("*/*/record.json") if SPLEEN in path.read_text()
    )
    (entry / "image.nii.gz").write_bytes(b"")

    made = pages(workspace, SPLEEN)[SPLEEN]
    assert (made.cases, made.unfinished) == (3, 1)


def test_what_the_build_warned_of_and_the_volumes_are_on_the_page(workspace: Workspace) -> None:
    shown = document(pages(workspace, SPLEEN)[SPLEEN])["cases"]
    kept = records(workspace, SPLEEN)

    for each in shown:
        assert set(kept[each["case"]]["warnings"]) <= set(each["warnings"])
        assert each["classes"] == (kept[each["case"]]["label"] or {"classes": {}})["classes"]


def test_no_page_and_no_name_of_a_picture_holds_identity(workspace: Workspace, built: Path) -> None:
    names = (built.parent / "truth/identities.txt").read_text().splitlines()
    shown = " ".join(
        made.page.read_text() + " ".join(sheets(made)) for made in pages(workspace).values()
    ).casefold()

    assert len(names) > 10
    assert [name for name in names if len(name) > 4 and name.casefold() in shown] == []
    assert str(built.parent / "source") not in shown


def test_without_a_finished_case_there_is_nothing_to_show(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing-planned"):
        pages(create(tmp_path / "ws"))


Curate = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def curate(capsys: pytest.CaptureFixture[str]) -> Curate:
    """Run a command line in this process; return exit code and what it prints as JSON."""

    def run(*words: object) -> tuple[int, dict[str, Any]]:
        code = cli.run([str(word) for word in (*words, "--json")])
        return code, json.loads(capsys.readouterr().out)

    return run


def test_pages_decisions_and_pack_follow_each_other_on_the_command_line(
    workspace: Workspace, tmp_path: Path, curate: Curate
) -> None:
    first, *_ = records(workspace, SPLEEN)
    file = tmp_path / "decisions.json"
    file.write_text(json.dumps(file_of(workspace, SPLEEN, {first: ("reject", "wrong-label")})))

    code, shown = curate("review", "-w", workspace.root, "-t", SPLEEN)
    assert (code, [task["cases"] for task in shown["tasks"]]) == (0, [4])
    assert Path(shown["tasks"][0]["page"]).is_file()
    code, applied = curate("review", "apply", file, "-w", workspace.root)
    assert (code, applied["kept"]) == (0, 1)
    code, made = curate("pack", "-w", workspace.root, "-r", tmp_path / "release")
    assert (code, [refusal["code"] for refusal in made["refused"]]) == (3, ["rejected-in-review"])
    code, _ = curate("pack", "-w", workspace.root, "-r", tmp_path / "release", "--allow-refusals", 1)
    assert code == 0


def test_the_workspace_may_stand_before_apply_or_be_this_folder(
    workspace: Workspace, tmp_path: Path, curate: Curate, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *_ = records(workspace, SPLEEN)
    file = tmp_path / "decisions.json"
    file.write_text(json.dumps(file_of(workspace, SPLEEN, {first: ("accept", "fit")})))

    assert curate("review", "-w", workspace.root, "apply", file)[1]["kept"] == 1
    monkeypatch.chdir(workspace.root)
    assert curate("review", "apply", file)[1]["known"] == 1


def test_a_file_that_does_not_fit_is_a_fault_of_the_command_line(
    workspace: Workspace, tmp_path: Path, curate: Curate
) -> None:
    (tmp_path / "decisions.json").write_text("{}")

    code, said = curate("review", "apply", tmp_path / "decisions.json", "-w", workspace.root)
    assert (code, said["error"]["code"]) == (2, "decisions-unfit")


@pytest.mark.slow
def test_what_reviewers_decided_holds_when_a_release_is_made_again(
    workspace: Workspace, built: Path, tmp_path: Path
) -> None:
    first, second, *_ = records(workspace, SPLEEN)
    say(workspace, SPLEEN, {first: ("accept", "fit"), second: ("reject", "wrong-label")})
    pack(workspace, tmp_path / "release", [SPLEEN], told=lambda task: None)

    words = (
        tmp_path / "release",
        built.parent / "source",
        "-w",
        workspace.root,
        "-t",
        SPLEEN,
        "--workers",
        "1",
    )
    made = json.loads(run_curate("rebuild", *words, "--json").stdout)
    assert made["equal"] == "bytes"
