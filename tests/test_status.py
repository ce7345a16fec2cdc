"""What the next build would make, and why; and that it makes that and nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.demo import make
from pipeline.index import index
from pipeline.io.durable import TEMPORARY_PREFIX
from pipeline.io.workspace import Workspace, create, open_workspace
from pipeline.plan import plan
from pipeline.release import Built, build
from pipeline.status import NEW, status

HEART, SPLEEN = "Task02_Heart", "Task09_Spleen"
SHIPPED = Path(__file__).parents[1] / "rules"

Next = dict[str, dict[str, list[str]]]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks of the phantom, built; one subject of the first is held back."""
    folder = tmp_path_factory.mktemp("built")
    make(folder, tasks=[HEART, SPLEEN], cases=3, seed=4, tell=lambda what: None)
    # Numbers come from the table where there is one; here they are to be dealt.
    for table in folder.glob("source/*/cases.csv"):
        table.unlink()
    workspace = create(folder / "ws", folder / "truth/demo.key")
    prepare(workspace, folder / "source")
    run(workspace)
    return folder


@pytest.fixture
def demo(built: Path, tmp_path: Path) -> Path:
    """A copy of the workspace; the sources stay where they are, because plans name them."""
    shutil.copytree(built / "ws", tmp_path / "ws")
    (tmp_path / "source").symlink_to(built / "source")
    return tmp_path


def prepare(workspace: Workspace, source: Path, rules: Path | None = None) -> None:
    index(workspace, [source], None, lambda what, done, total: None)
    plan(workspace, [], rules=rules)


def run(workspace: Workspace) -> Built:
    return build(workspace, [], workers=1, told=lambda case, stage: None, ended=lambda _: None)


def next_build(workspace: Workspace) -> Next:
    tasks: Any = status(workspace)["tasks"]
    return {task["task"]: {case["case"]: case["why"] for case in task["next_build"]} for task in tasks}


def numbers(workspace: Workspace) -> dict[str, Any]:
    return {
        p.name: json.loads(p.read_text())["cases"] for p in (workspace.private / "crosswalk").glob("*.json")
    }


@pytest.fixture
def with_rules(demo: Path) -> Callable[[str, str], Workspace]:
    """Plan with the rules of the first task changed in one place."""

    def change(old: str, new: str) -> Workspace:
        text = (SHIPPED / f"{HEART}.yaml").read_text()
        assert old in text
        (demo / "rules").mkdir()
        (demo / "rules" / f"{HEART}.yaml").write_text(text.replace(old, new))
        workspace = Workspace(demo / "ws")
        plan(workspace, [], rules=demo / "rules")
        return workspace

    return change


def test_after_a_build_nothing_would_be_made(demo: Path) -> None:
    assert next_build(Workspace(demo / "ws")) == {HEART: {}, SPLEEN: {}}


@pytest.mark.slow
def test_a_changed_scale_rule_makes_that_task_anew_and_says_what_changed(
    with_rules: Callable[[str, str], Workspace],
) -> None:
    workspace = with_rules("99.5", "90")
    coming = next_build(workspace)
    assert coming[SPLEEN] == {}
    assert len(coming[HEART]) == 3
    assert {tuple(why) for why in coming[HEART].values()} == {("channels.0.scale.percentiles.1 99.5 -> 90",)}
    made = run(workspace)
    spleens = len((workspace.plans / f"{SPLEEN}.jsonl").read_text().splitlines()) - 1
    assert (made.made, made.reused) == (3, spleens)


def test_a_changed_text_of_the_header_makes_nothing_anew(
    with_rules: Callable[[str, str], Workspace],
) -> None:
    workspace = with_rules("description: ", "description: Another ")
    assert next_build(workspace) == {HEART: {}, SPLEEN: {}}
    tasks: Any = status(workspace)["tasks"]
    assert [task["rules_changed"] for task in tasks] == [True, False]


def test_a_file_that_changed_makes_its_case_anew_and_names_the_channel(demo: Path, built: Path) -> None:
    workspace = Workspace(demo / "ws")
    path = workspace.plans / f"{SPLEEN}.jsonl"
    lines = path.read_text().splitlines()
    line = json.loads(lines[1])
    line["channels"]["CT"][0][2] = "0" * 64
    path.write_text("\n".join([lines[0], json.dumps(line), *lines[2:]]) + "\n")
    coming = next_build(workspace)
    assert list(coming[SPLEEN]) == [line["case"]]
    (why,) = coming[SPLEEN][line["case"]]
    assert why.startswith("sources.CT.0 hmac-sha256:")


def test_a_finished_case_that_is_gone_is_made_anew(demo: Path) -> None:
    workspace = Workspace(demo / "ws")
    record = next(workspace.store.glob("*/*/record.json"))
    document = json.loads(record.read_bytes())
    record.unlink()
    assert next_build(workspace)[document["task"]] == {
        document["case"]: ["the finished case is damaged or gone"]
    }


@pytest.mark.slow
def test_a_new_subject_makes_one_case_and_no_number_moves(tmp_path: Path) -> None:
    make(tmp_path, tasks=[SPLEEN], cases=3, seed=4, tell=lambda what: None)
    for table in tmp_path.glob("source/*/cases.csv"):
        table.unlink()
    source = tmp_path / "source"
    workspace = create(tmp_path / "ws", tmp_path / "truth/demo.key")
    prepare(workspace, source)
    # The first numbers are dealt without one subject: its files are held back by their study's folder.
    held = subject_folder(workspace, source)
    away = tmp_path / "away"
    held.rename(away)
    shutil.rmtree(workspace.root)
    workspace = create(tmp_path / "ws", tmp_path / "truth/demo.key")
    prepare(workspace, source)
    first = run(workspace)
    before = numbers(workspace)
    away.rename(held)
    prepare(workspace, source)
    after = numbers(workspace)
    (coming,) = next_build(workspace).values()
    assert all(after[name].items() >= dealt.items() for name, dealt in before.items())
    assert list(coming.values()) == [[NEW]]
    made = run(workspace)
    assert (made.made, made.reused) == (1, first.made)


def subject_folder(workspace: Workspace, source: Path) -> Path:
    """Return a folder right below the task's that holds a whole case and nothing of another."""
    lines = [json.loads(line) for line in (workspace.plans / f"{SPLEEN}.jsonl").read_text().splitlines()]
    tops: dict[str, set[str]] = {}
    for line in lines[1:]:
        refs = [ref for refs in line["channels"].values() for ref in refs]
        tops[line["case"]] = {Path(ref[0]).relative_to(source.resolve() / SPLEEN).parts[0] for ref in refs}
    alone = [
        name
        for case, names in tops.items()
        for name in names
        if len(names) == 1 and not any(name in others for other, others in tops.items() if other != case)
    ]
    assert alone, tops
    return source / SPLEEN / sorted(alone)[0]


def test_a_worker_killed_as_it_puts_a_case_leaves_nothing_behind_in_a_finished_build(demo: Path) -> None:
    workspace = open_workspace(demo / "ws")
    shutil.rmtree(next(workspace.store.glob("??/[0-9a-f]*")))
    half = next(workspace.store.glob("??")) / f"{TEMPORARY_PREFIX}1-a"

    def kill(case: str, stage: str) -> None:
        half.mkdir(exist_ok=True)
        (half / "image.nii.gz").write_bytes(b"half")

    built = build(workspace, [], workers=1, told=kill, ended=lambda _: None)

    assert built.made == 1
    assert not half.exists()
