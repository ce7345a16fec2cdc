from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.demo import make
from pipeline.drawnnames import Names, drawn_names
from pipeline.index import index
from pipeline.io.workspace import Workspace, create
from pipeline.plan import plan

TASK = "Task03_Liver"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("names")
    make(folder, tasks=[TASK], cases=4, seed=0, tell=lambda what: None)
    made = create(folder / "workspace")
    index(made, [folder / "source"], None, told=lambda what, done, total: None)
    plan(made, [TASK])
    return made


def names(workspace: Workspace, rules: Path | None = None) -> Names:
    return drawn_names(workspace, [TASK], rules=rules, tell=lambda what: None)


def test_each_name_of_contours_segments_and_values_stands_once_with_its_class(workspace: Workspace) -> None:
    found = names(workspace)
    becomes = {row["name"]: (row["codes"], row["becomes"]) for row in found.rows}
    assert len(becomes) == len(found.rows)
    assert becomes["GTV"] == ("", "cancer")
    assert becomes["BODY"] == ("", "ignored")
    assert becomes["Liver"] == ("SCT:10200004", "liver")
    assert becomes["value 1"] == ("", "liver")
    assert (found.files, found.unread, found.unassigned) == (3, 0, 0)


def test_rules_are_those_of_now_and_what_they_do_not_know_comes_first(
    workspace: Workspace, tmp_path: Path
) -> None:
    shipped = Path("rules") / f"{TASK}.yaml"
    text = shipped.read_text().replace("gtv", "nothing").replace("GTV", "nothing")
    assert text != shipped.read_text()
    (tmp_path / shipped.name).write_text(text)
    found = names(workspace, tmp_path)
    assert found.rows[0]["name"] == "GTV"
    assert found.rows[0]["becomes"].startswith("refused: ")
    assert found.unassigned == 1


def test_a_label_file_that_is_gone_is_counted_and_the_others_are_listed(
    workspace: Workspace, tmp_path: Path
) -> None:
    drawing = next(workspace.root.parent.joinpath("source").rglob("*.nii.gz"))
    drawing.rename(tmp_path / "away")
    try:
        found = names(workspace)
    finally:
        (tmp_path / "away").rename(drawing)
    assert (found.files, found.unread) == (2, 1)
