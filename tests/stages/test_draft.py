"""A drafted rules file reads strictly and selects the series it was learnt from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.demo import make
from pipeline.index import index
from pipeline.io.ruleset import load_task
from pipeline.io.table import write_table
from pipeline.io.workspace import Workspace, create
from pipeline.model.errors import UsageError
from pipeline.model.rules import TaskRules
from pipeline.model.series import Kind, SourceFile, SourceRef, Stack
from pipeline.model.volume import Quantity
from pipeline.plan import learn_channels, plan
from pipeline.stages.draft import Answers, draft, learn, spoken
from pipeline.stages.match import selects

PROSTATE = "Task05_Prostate"
HOSTILE = 'no: [x] # "quoted" \\ {y} é\n- z'


def answers(*channels: str, classes: tuple[str, ...] = ("kidney", "cyst")) -> Answers:
    return Answers("Task11_Kidney", "Kidneys", "A hospital", tuple(map(spoken, channels)), classes)


def read(tmp_path: Path, said: Answers) -> TaskRules:
    path = tmp_path / f"{said.task}.yaml"
    path.write_text(draft(said), encoding="utf-8")
    return load_task(path).rules


def stack(**facts: object) -> Stack:
    file = SourceFile(SourceRef("/in/x", None, "", 0), "x", None, Kind.IMAGE, None, facts)
    return Stack((file,), facts)


def test_a_draft_reads_strictly_and_says_what_was_answered(tmp_path: Path) -> None:
    rules = read(tmp_path, answers("T2=MR:t2", "ADC=MR:adc", "CT=ct"))
    assert rules.task == "Task11_Kidney"
    assert [(channel.name, channel.quantity) for channel in rules.channels] == [
        ("T2", Quantity.ARBITRARY),
        ("ADC", Quantity.ADC),
        ("CT", Quantity.HOUNSFIELD),
    ]
    assert [item.name for item in rules.label.classes] == ["kidney", "cyst"]
    assert (rules.cases.id, rules.cases.split.training, rules.cases.split.test) == ("kidney_{:03d}", 3, 1)


def test_any_text_reads_back_as_it_was_said(tmp_path: Path) -> None:
    said = Answers("Task11_Kidney2", HOSTILE, HOSTILE, (spoken(f"{HOSTILE}=MR:{HOSTILE}"),), (HOSTILE,))
    rules = read(tmp_path, said)
    assert rules.header.description == HOSTILE
    assert rules.channels[0].name == HOSTILE
    assert rules.label.classes[0].name == HOSTILE
    assert rules.cases.id == "kidney_{:03d}"


def test_every_part_that_a_curator_must_decide_has_a_comment() -> None:
    text = draft(answers("T2=MR:t2"))
    assert text.count("#") >= 8
    assert "precedence" in text


@pytest.mark.parametrize("text", ["", "T2", "=MR", "T2=", "T2=:t2"])
def test_a_channel_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="NAME=MODALITY"):
        spoken(text)


def test_a_learnt_channel_selects_its_own_series_and_no_other(tmp_path: Path) -> None:
    own = [
        stack(Modality="MR", plane="axial", SeriesDescription=text, slices=20)
        for text in ("T2 (tra)", "t2_tse")
    ]
    others = [
        stack(Modality="MR", plane="sagittal", SeriesDescription="t2_tse"),
        stack(Modality="MR", plane="axial", SeriesDescription="t2_tse_flair"),
        stack(Modality="CT", plane="axial", SeriesDescription="t2_tse"),
    ]
    said = Answers("Task11_Kidney", "d", "r", (learn("T2", own),), ("kidney",))
    (channel,) = read(tmp_path, said).channels
    assert [selects(channel, each.facts) for each in (*own, *others)] == [True, True, False, False, False]


def test_what_differs_between_the_named_series_is_no_criterion() -> None:
    learnt = learn("CT", [stack(Modality="CT", plane="axial"), stack(Modality="CT", plane="coronal")])
    assert learnt.select == {"Modality": ("equals", "CT")}
    assert learnt.quantity is Quantity.HOUNSFIELD


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("learnt")
    make(folder, tasks=[PROSTATE], cases=3, seed=0, tell=lambda what: None)
    made = create(folder / "ws")
    index(made, [folder / "source"], None, lambda what, done, total: None)
    return made


def test_rules_learnt_from_a_plan_choose_the_series_of_that_plan(
    workspace: Workspace, tmp_path: Path
) -> None:
    (made,) = plan(workspace, [PROSTATE], is_proposing=True)
    table = tmp_path / "cases.csv"
    write_table(table, made.proposal)
    channels = learn_channels(workspace, table, PROSTATE)
    said = Answers("Task05_Prostate", "d", "r", channels, ("PZ", "TZ"))
    rules = read(tmp_path, said)
    (tmp_path / "own").mkdir()
    shutil.copy(tmp_path / f"{PROSTATE}.yaml", tmp_path / "own")
    assert [(c.name, c.quantity) for c in rules.channels] == [
        ("T2", Quantity.ARBITRARY),
        ("ADC", Quantity.ADC),
    ]
    (again,) = plan(workspace, [PROSTATE], rules=tmp_path / "own", cases=table)
    assert {c.case: c.channels for c in again.cases} == {c.case: c.channels for c in made.cases}


@pytest.mark.parametrize(("cell", "found"), [("1.2.3.4", "found 0"), ("", "found none")])
def test_a_table_that_names_no_series_teaches_nothing(
    workspace: Workspace, tmp_path: Path, cell: str, found: str
) -> None:
    table = tmp_path / "cases.csv"
    table.write_text(f"task,case,subject,T2\n{PROSTATE},prostate_00,P,{cell}\n")
    with pytest.raises(UsageError, match=found):
        learn_channels(workspace, table, PROSTATE)
