"""A plan is told as a table with its reasons, and the table read back is the same plan."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.demo import make
from pipeline.index import index
from pipeline.io.ruleset import load_rules
from pipeline.io.table import write_table
from pipeline.io.workspace import Workspace, create
from pipeline.model.errors import CurationError
from pipeline.model.plan import Candidate
from pipeline.model.rules import TaskRules
from pipeline.model.series import Kind, SourceFile, SourceRef, Stack
from pipeline.plan import plan
from pipeline.stages.match import match, unmet
from pipeline.stages.propose import MOST_REFUSED, WHY, WHY_NOT, Finding, bearers_of, propose

SPLEEN, PROSTATE = "Task09_Spleen", "Task05_Prostate"
RULES: TaskRules = load_rules(None)[PROSTATE].rules


def stack(description: str, uid: str, number: int = 1, plane: str = "axial") -> Stack:
    facts = {
        "Modality": "MR",
        "SeriesDescription": description,
        "SeriesInstanceUID": uid,
        "StudyInstanceUID": "1.2",
        "PatientID": "P1",
        "SeriesNumber": number,
        "plane": plane,
        "slices": 20,
    }
    ref = SourceRef(f"/in/{uid}/{description}", None, "", 0)
    return Stack((SourceFile(ref, f"{uid}/{description}", None, Kind.IMAGE, None, facts),), facts)


T2, ADC, SAGITTAL = (
    stack("t2 tra", "1.2.3", 3),
    stack("adc", "1.2.4", 4),
    stack("t2 sag", "1.2.5", 5, "sagittal"),
)
MASK = SourceFile(SourceRef("/in/m.nii", None, "", 0), "m.nii", None, Kind.MASK)


def finding(candidate: Candidate) -> Finding:
    try:
        return Finding(candidate, match(RULES, candidate), "prostate_00", "training", "")
    except CurationError as error:
        return Finding(candidate, None, "prostate_00", "training", error.code)


def line(*stacks: Stack, labels: tuple[SourceFile, ...] = (MASK,), **row: str) -> dict[str, str]:
    candidate = Candidate("name", "P1", stacks, labels, row)
    return propose(RULES, finding(candidate), bearers=bearers_of(labels), unmet=unmet)


def test_a_line_names_subject_study_series_and_label() -> None:
    cells = line(T2, ADC, SAGITTAL)
    assert {k: v for k, v in cells.items() if k not in (WHY, WHY_NOT)} == {
        "task": PROSTATE, "case": "prostate_00", "subject": "P1", "subset": "training", "study": "1.2",
        "T2": "1.2.3", "ADC": "1.2.4", "label": "m.nii",
    }  # fmt: skip


def test_a_line_says_what_a_series_meets_and_what_another_does_not() -> None:
    cells = line(T2, ADC, SAGITTAL)
    assert "T2: series 3 (t2 tra, axial, 1 slices) meets Modality, plane" in cells[WHY]
    assert (
        "series 5 (t2 sag, sagittal, 1 slices): T2: plane is sagittal; ADC: plane is sagittal"
        in cells[WHY_NOT]
    )


def test_of_two_series_that_fit_neither_is_named_and_both_are_told() -> None:
    cells = line(T2, stack("t2 tra again", "1.2.6", 6), ADC)
    assert (cells["T2"], cells["ADC"]) == ("", "1.2.4")
    assert cells[WHY].startswith("refused: two-series-match")
    assert "series 3" in cells[WHY]
    assert "series 6" in cells[WHY]


def placed(one: Stack, volume: int) -> Stack:
    """Return a stack as grouping numbers those of a series of two volumes."""
    return replace(one, facts={**one.facts, "volume": volume, "volumes": 2})


def test_one_of_several_volumes_of_a_series_is_named_by_its_number_and_found_by_it() -> None:
    other = placed(stack("localizer", "1.2.3", 3), 0)
    chosen = placed(T2, 1)
    cells = line(other, chosen, ADC)
    assert cells["T2"] == "1.2.3#2"
    again = Candidate("name", "P1", (other, chosen, ADC), (MASK,), {"T2": cells["T2"]})
    assert match(RULES, again).channels["T2"] is chosen
    first = replace(again, row={"T2": "1.2.3#1"})
    assert match(RULES, first).channels["T2"] is other


@pytest.mark.parametrize("cell", ["1.2.3#0", "1.2.3#3", "1.2.3#x", "1.2.9#1"])
def test_a_volume_that_is_not_there_is_no_series(cell: str) -> None:
    candidate = Candidate("name", "P1", (stack("localizer", "1.2.3"), T2, ADC), (MASK,), {"T2": cell})
    with pytest.raises(CurationError, match="no-series-matches"):
        match(RULES, candidate)


def test_cells_of_a_table_stay_as_they_were_written() -> None:
    cells = line(T2, ADC, SAGITTAL, T2="5", study="1.2")
    assert (cells["T2"], cells["study"]) == ("5", "1.2")
    assert "T2: series 5 (t2 sag, sagittal, 1 slices) named in the table" in cells[WHY]
    assert "series 3 (t2 tra, axial, 1 slices): T2: meets all, and another was named" in cells[WHY_NOT]


def test_a_label_whose_place_is_another_s_too_is_not_named_by_it() -> None:
    twin = replace(MASK, ref=SourceRef("/in/again/m.nii", None, "", 0), inside="again/m.nii")
    candidate = Candidate("name", "P1", (T2, ADC), (MASK,))
    assert propose(RULES, finding(candidate), bearers=bearers_of((MASK, twin)), unmet=unmet)["label"] == ""
    own = Candidate("name", "P1", (T2, ADC), (twin,))
    assert (
        propose(RULES, finding(own), bearers=bearers_of((MASK, twin)), unmet=unmet)["label"] == "again/m.nii"
    )


def test_a_long_study_is_told_in_part() -> None:
    others = [stack("dwi", f"1.3.{number}", number) for number in range(MOST_REFUSED + 5)]
    assert line(T2, ADC, *others)[WHY_NOT].endswith("and 5 more")


# Round trip


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Two tasks of the phantom, without the phantom's tables; one case lacks its label, and two series of one fit."""
    folder = tmp_path_factory.mktemp("proposal")
    make(folder, tasks=[PROSTATE, SPLEEN], cases=3, seed=0, tell=lambda what: None)
    for table in (folder / "source").rglob("cases.csv"):
        table.unlink()
    for mask in (folder / "source" / SPLEEN).rglob("segmentation.nii.gz"):
        mask.unlink()
    (folder / "key").write_text("07" * 32)
    made = create(folder / "ws", folder / "key")
    index(made, [folder / "source"], None, lambda what, done, total: None)
    return made


def plans_in(workspace: Workspace) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(workspace.plans.glob("*.jsonl"))}


def test_a_proposal_reads_back_as_the_same_plan(workspace: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "proposal.csv"
    made = plan(workspace, [], is_proposing=True)
    before = plans_in(workspace)
    write_table(file, [row for task in made for row in task.proposal])
    plan(workspace, [], cases=file)

    assert len(before) == 2
    assert plans_in(workspace) == before
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_corrected_proposal_is_followed(workspace: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "proposal.csv"
    (task,) = plan(workspace, [PROSTATE], is_proposing=True)
    rows = [dict(row) for row in task.proposal]
    (refused,) = (row for row in rows if not row["T2"])
    refused["T2"] = re.findall(r"T2: series (\d+)", refused[WHY])[0]
    write_table(file, rows)
    (corrected,) = plan(workspace, [PROSTATE], cases=file)

    assert [refusal.case for refusal in task.refusals] == [refused["case"]]
    assert {case.case for case in corrected.cases} == {row["case"] for row in rows}
    assert {case.case: case.channels for case in task.cases}.items() <= {
        case.case: case.channels for case in corrected.cases
    }.items()
