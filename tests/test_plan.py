"""Every input file has one fate, every case its files or its refusal, and nothing that is said names a person."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK
from tiny_source import PERSON, Person, write_mask, write_series, write_structures, write_table, write_task

from pipeline import case
from pipeline.demo import make
from pipeline.index import index
from pipeline.io import ledger, shelf
from pipeline.io.document import read_line_at, read_lines
from pipeline.io.ruleset import load_rules
from pipeline.io.workspace import Workspace, create
from pipeline.model.errors import CurationError
from pipeline.model.plan import CasePlan
from pipeline.model.record import Finished, Outcome
from pipeline.plan import TaskPlan, plan
from pipeline.planned import planned

SPLEEN, LIVER, PROSTATE = "Task09_Spleen", "Task03_Liver", "Task05_Prostate"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "key").write_text("07" * 32)
    return create(tmp_path / "workspace", tmp_path / "key")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / f"{PERSON} source"
    folder.mkdir()
    return folder


def plans_of(
    workspace: Workspace, source: Path, *tasks: str, task: str | None = None, cases: Path | None = None
) -> dict[str, TaskPlan]:
    """Index and plan; check what holds of every plan."""
    index(workspace, [source], task, lambda *_: None)
    made = {one.task: one for one in plan(workspace, tasks, cases=cases)}
    check_fates(workspace, source)
    check_says_nobody(list(made.values()))
    return made


def check_fates(workspace: Workspace, source: Path) -> None:
    rows = ledger.read_fates(workspace.private / "fates.csv")
    on_disk = [path for path in source.rglob("*") if path.is_file()]
    assert Counter(row["path"] for row in rows) == Counter(str(path) for path in on_disk)
    assert {row["fate"] for row in rows} <= {"used", "ignored", "refused", "pending"}
    assert all(row["code"] for row in rows if row["fate"] in ("ignored", "refused"))


def check_says_nobody(made: Sequence[TaskPlan]) -> None:
    """Look for the person in what is told of a plan; refusals also go into the public manifest."""
    said = json.dumps([one.to_json() for one in made])
    assert PERSON not in said
    assert Person().study_uid + "." not in said


def codes(made: TaskPlan) -> list[str]:
    return [refusal.code for refusal in made.refusals]


def tally(workspace: Workspace) -> Counter[tuple[str, str, str]]:
    """Return how many files have each fate, code and role."""
    rows = ledger.read_fates(workspace.private / "fates.csv")
    return Counter((row["fate"], row["code"], row["role"]) for row in rows)


def raised(workspace: Workspace, *tasks: str, cases: Path | None = None) -> CurationError:
    with pytest.raises(CurationError) as refusal:
        plan(workspace, tasks, cases=cases)
    assert PERSON not in str(refusal.value)
    return refusal.value


# The plain case


def test_four_subjects_of_a_bound_task_are_three_and_one(workspace: Workspace, source: Path) -> None:
    (made,) = plans_of(workspace, write_task(source, SPLEEN)).values()

    assert Counter(case.subset for case in made.cases) == {"training": 3, "test": 1}
    assert codes(made) == []
    assert tally(workspace) == {("used", "", "CT"): 40, ("used", "", "label"): 4}
    assert len({case.subject for case in made.cases}) == 4


def test_a_plan_is_written_as_it_was_made(workspace: Workspace, source: Path) -> None:
    (made,) = plans_of(workspace, write_task(source, SPLEEN)).values()
    header, *lines = read_lines(workspace.plans / f"{SPLEEN}.jsonl")

    assert (header["kind"], header["task"]) == ("header", SPLEEN)
    assert [CasePlan.from_json(line) for line in lines] == list(made.cases)
    assert (workspace.plans / f"{SPLEEN}.jsonl").stat().st_mode & 0o777 == 0o600


def test_planning_twice_changes_nothing(workspace: Workspace, source: Path) -> None:
    written = workspace.plans / f"{SPLEEN}.jsonl", workspace.private / "fates.csv"
    plans_of(workspace, write_task(source, SPLEEN))
    before = [path.read_bytes() for path in written]
    plans_of(workspace, source)

    assert [path.read_bytes() for path in written] == before


def test_slices_are_in_the_order_of_the_normal(workspace: Workspace, source: Path) -> None:
    (made,) = plans_of(workspace, write_task(source, SPLEEN, 1)).values()
    names = [Path(ref.path).name for ref in made.cases[0].channels["CT"]]

    assert names == [str(number) for number in range(10)]


def test_a_further_subject_moves_nobody(workspace: Workspace, source: Path) -> None:
    first = plans_of(workspace, write_task(source, SPLEEN, 4))[SPLEEN]
    second = plans_of(workspace, write_task(source, SPLEEN, 7))[SPLEEN]
    before = {case.subject: (case.case, case.subset) for case in first.cases}
    after = {case.subject: (case.case, case.subset) for case in second.cases}

    assert len(after) == 7
    assert {subject: after[subject] for subject in before} == before


def test_an_rtstruct_is_the_label_of_the_series_it_refers_to(workspace: Workspace, source: Path) -> None:
    write_series(source / SPLEEN / "a", Person())
    write_structures(source / SPLEEN / "elsewhere" / "rt", Person())
    plans_of(workspace, source)

    assert tally(workspace)["used", "", "label"] == 1


def test_a_name_that_is_no_utf8_is_planned(workspace: Workspace, source: Path) -> None:
    odd = write_task(source, SPLEEN, 1) / SPLEEN / f"{PERSON}0" / "ct" / "0"
    odd.rename(odd.with_name("M\udcfcller"))

    assert len(plans_of(workspace, source)[SPLEEN].cases) == 1


def test_subjects_on_many_shelves_are_planned_as_on_one(
    workspace: Workspace, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_task(source, SPLEEN, 9)
    # What concerns files of other subjects: a cut slice without a Patient ID, a copy, a mask apart, a lost label.
    cut = write_series(source / SPLEEN / f"{PERSON}3" / "ct", Person(3), count=11)[-1]
    cut.write_bytes(cut.read_bytes()[:40])
    shutil.copy(source / SPLEEN / f"{PERSON}4" / "ct" / "0", source / SPLEEN / "copy")
    (source / SPLEEN / f"{PERSON}5" / "label.nii.gz").rename(source / SPLEEN / f"{PERSON}5.nii.gz")
    write_structures(source / SPLEEN / "rt", Person(100))
    plans_of(workspace, source)
    files = [workspace.plans / f"{SPLEEN}.jsonl", workspace.private / "fates.csv"]
    one = [path.read_bytes() for path in files]
    monkeypatch.setattr(shelf, "FILES_A_SHELF", 12)
    plans_of(workspace, source)

    assert [path.read_bytes() for path in files] == one
    assert list(workspace.scratch.iterdir()) == []


# What is left out


def test_what_no_channel_wants_is_ignored_by_name(workspace: Workspace, source: Path) -> None:
    write_task(source, SPLEEN, 2)
    write_series(source / SPLEEN / "thorax", Person(), series=2, described="thorax", count=2)
    write_series(
        source / SPLEEN / "loc", Person(), series=3, count=1, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]
    )
    write_mask(source / "elsewhere" / "4711.nii.gz")
    (source / "README").write_text("hello")
    plans_of(workspace, source)

    assert tally(workspace) == {
        ("used", "", "CT"): 20, ("used", "", "label"): 2, ("ignored", "no-channel-wants-it", ""): 2,
        ("ignored", "localizer", ""): 1, ("ignored", "not-dicom", ""): 1, ("ignored", "no-case-wants-it", ""): 1,
    }  # fmt: skip


def test_a_series_in_three_planes_has_the_fate_of_an_overview(workspace: Workspace, source: Path) -> None:
    write_task(source, SPLEEN, 1)
    for number, plane in enumerate(([1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1])):
        for path in write_series(
            source / f"{number}", Person(), series=2, count=2, ImageOrientationPatient=plane
        ):
            dataset = pydicom.dcmread(path)
            dataset.SOPInstanceUID += f".{number}"
            dataset.save_as(path)
    plans_of(workspace, source)

    assert tally(workspace)["ignored", "localizer", ""] == 6


def test_a_second_matching_series_refuses_the_case_and_keeps_the_others(
    workspace: Workspace, source: Path
) -> None:
    write_task(source, SPLEEN)
    write_series(source / SPLEEN / f"{PERSON}0" / "again", Person(0), series=5)
    (made,) = plans_of(workspace, source).values()

    assert codes(made) == ["two-series-match"]
    assert made.refusals[0].where == "series number 1, 5"
    assert made.refusals[0].case
    assert len(made.cases) == 3
    assert tally(workspace)["refused", "two-series-match", "image"] == 20


def test_a_training_case_without_label_is_refused(workspace: Workspace, source: Path) -> None:
    write_series(source / SPLEEN / "x", Person(9))
    table = write_table(source / "cases.csv", [f"{SPLEEN},spleen_2,{Person(9).patient_id}"])
    (made,) = plans_of(workspace, source, SPLEEN, cases=table).values()

    assert codes(made) == ["no-label"]


def test_a_subject_without_label_is_a_test_case(workspace: Workspace, source: Path) -> None:
    write_task(source, SPLEEN, 3)
    write_series(source / SPLEEN / "x", Person(9))
    (made,) = plans_of(workspace, source).values()

    assert [case.subset for case in made.cases if case.label is None] == ["test"]
    assert len(made.cases) == 4


def test_a_subject_without_any_wanted_series_is_refused_not_lost(workspace: Workspace, source: Path) -> None:
    write_task(source, SPLEEN)
    write_series(source / SPLEEN / "x", Person(9), count=3)
    (made,) = plans_of(workspace, source).values()

    assert codes(made) == ["no-series-matches"]


@pytest.mark.parametrize("kept", [0, 1, 200, -9])
def test_a_cut_slice_refuses_its_case(workspace: Workspace, source: Path, kept: int) -> None:
    folder = write_task(source, SPLEEN) / SPLEEN / f"{PERSON}0" / "ct"
    # One more than the rules ask for: the series could pass for a shorter one.
    last = write_series(folder, Person(0), count=11)[-1]
    last.write_bytes(last.read_bytes()[:kept])
    (made,) = plans_of(workspace, source).values()

    assert codes(made) == ["truncated"]
    assert len(made.cases) == 3


def test_a_subject_without_patient_id_is_refused(workspace: Workspace, source: Path) -> None:
    write_task(source, SPLEEN, 3)
    write_series(source / SPLEEN / "x", Person(9), PatientID="")
    (made,) = plans_of(workspace, source).values()

    assert codes(made) == ["missing-identifier"]


def test_more_subjects_than_published_numbers_refuse_their_task_alone(
    workspace: Workspace, source: Path
) -> None:
    write_task(source, SPLEEN, 2)
    # Twenty-one without a label are more test cases than the task has.
    for number in range(21):
        write_series(source / SPLEEN / f"x{number}", Person(100 + number))
    write_task(source, LIVER, 1)
    made = plans_of(workspace, source)

    assert set(codes(made[SPLEEN])) == {"more-cases-than-ids"}
    assert made[SPLEEN].cases == []
    assert len(made[LIVER].cases) == 1


# Binding


def test_a_series_that_two_tasks_want_is_refused_for_both(workspace: Workspace, source: Path) -> None:
    write_series(source / "ct", Person())
    write_mask(source / "ct" / "label.nii")
    made = plans_of(workspace, source)

    assert {SPLEEN, LIVER} <= set(made)
    assert {code for one in made.values() for code in codes(one)} == {"two-tasks-want-it"}
    assert all(one.cases == [] for one in made.values())
    assert tally(workspace) == {
        ("refused", "two-tasks-want-it", "image"): 10, ("refused", "two-tasks-want-it", "label"): 1,
    }  # fmt: skip


def test_the_same_series_named_for_one_task_is_a_case(workspace: Workspace, source: Path) -> None:
    write_series(source / "ct", Person())
    write_mask(source / "ct" / "label.nii")

    assert len(plans_of(workspace, source, SPLEEN, task=SPLEEN)[SPLEEN].cases) == 1


def test_a_bound_series_is_offered_to_its_task_alone(workspace: Workspace, source: Path) -> None:
    assert list(plans_of(workspace, write_task(source, SPLEEN))) == [SPLEEN]


def test_what_belongs_to_a_task_that_was_not_asked_for_is_pending(workspace: Workspace, source: Path) -> None:
    write_task(source, SPLEEN, 1)
    write_series(source / LIVER / "y", Person(200))
    plans_of(workspace, source, SPLEEN)

    assert tally(workspace)["pending", "", ""] == 10


def test_a_plan_of_a_task_that_no_source_has_any_more_goes(workspace: Workspace, source: Path) -> None:
    plans_of(workspace, write_task(source, SPLEEN))
    (source / SPLEEN).rename(source / LIVER)
    plans_of(workspace, source)

    assert [path.stem for path in workspace.plans.iterdir()] == [LIVER]


# Two channels


def write_prostate(folder: Path, person: Person, **adc: object) -> None:
    write_series(folder / "t2", person, series=1, described="t2_tse_tra", Modality="MR")
    write_series(folder / "adc", person, series=2, Modality="MR", **{"described": "ep2d_diff_ADC", **adc})
    write_structures(folder / "rt", person, drawn_on=1)


def test_a_case_of_two_channels_has_both(workspace: Workspace, source: Path) -> None:
    write_prostate(source / PROSTATE / "a", Person())
    (made,) = plans_of(workspace, source).values()

    assert tally(workspace) == {("used", "", "T2"): 10, ("used", "", "ADC"): 10, ("used", "", "label"): 1}
    assert list(made.cases[0].channels) == ["T2", "ADC"]


def test_a_case_that_lacks_a_channel_is_refused(workspace: Workspace, source: Path) -> None:
    write_prostate(source / PROSTATE / "a", Person(), described="ep2d_diff_b1000")
    (made,) = plans_of(workspace, source).values()

    assert codes(made) == ["no-series-matches"]
    assert made.refusals[0].wanted == "one series for channel ADC"
    assert tally(workspace) == {
        ("refused", "no-series-matches", "image"): 10, ("refused", "no-series-matches", "label"): 1,
        ("ignored", "no-channel-wants-it", ""): 10,
    }  # fmt: skip


def test_a_label_drawn_on_the_other_channel_is_refused(workspace: Workspace, source: Path) -> None:
    write_prostate(source / PROSTATE / "a", Person())
    write_structures(source / PROSTATE / "a" / "rt", Person(), drawn_on=2)
    (made,) = plans_of(workspace, source).values()

    assert codes(made) == ["label-other-image"]


# Tables


def test_a_table_found_in_the_source_decides(workspace: Workspace, source: Path) -> None:
    write_task(source, SPLEEN, 3)
    split = load_rules()[SPLEEN].published
    assert split is not None
    listed = {split.test[0]: "test", split.training[0]: "training"}
    lines = [f"{SPLEEN},{case},{Person(number).patient_id}" for number, case in enumerate(listed)]
    write_table(source / SPLEEN / "cases.csv", lines)
    (made,) = plans_of(workspace, source).values()

    assert {case.case: case.subset for case in made.cases} == listed
    assert tally(workspace) == {
        ("used", "", "CT"): 20, ("used", "", "label"): 2, ("ignored", "not-in-table", ""): 10,
        ("ignored", "no-case-wants-it", ""): 1, ("ignored", "case-table", ""): 1,
    }  # fmt: skip


def test_a_named_table_wins_over_one_that_is_found(
    workspace: Workspace, source: Path, tmp_path: Path
) -> None:
    write_task(source, SPLEEN, 2)
    write_table(source / SPLEEN / "cases.csv", [f"{SPLEEN},spleen_2,{Person(0).patient_id}"])
    named = write_table(tmp_path / "mine.csv", [f"{SPLEEN},spleen_3,{Person(1).patient_id}"])
    (made,) = plans_of(workspace, source, cases=named).values()

    assert [case.case for case in made.cases] == ["spleen_3"]


def test_a_table_names_series_and_label(workspace: Workspace, source: Path) -> None:
    write_task(source, SPLEEN, 1)
    write_series(source / SPLEEN / f"{PERSON}0" / "again", Person(0), series=5)
    write_mask(source / SPLEEN / "drawings" / "b.nii.gz")
    write_table(
        source / "cases.csv",
        [f"{SPLEEN},spleen_2,{Person(0).patient_id},5,drawings/b.nii.gz,test"],
        head="task,case,subject,CT,label,subset",
    )
    (made,) = plans_of(workspace, source, SPLEEN).values()
    (case,) = made.cases

    assert (case.subset, Path(case.channels["CT"][0].path).parent.name) == ("test", "again")
    assert case.label is not None
    assert case.label.inside.endswith("drawings/b.nii.gz")


@pytest.mark.parametrize(
    "lines",
    [
        [f"{SPLEEN},spleen_2,{PERSON}9"],
        [f"{SPLEEN},spleen_2,{PERSON}0", f"{SPLEEN},spleen_2,{PERSON}1"],
        [f"{SPLEEN},spleen_2,{PERSON}0", f"{SPLEEN},spleen_1,{PERSON}0"],
        [f"{SPLEEN},spleen_999,{PERSON}0"],
    ],
)
def test_a_table_that_does_not_fit_the_sources_is_refused(
    workspace: Workspace, source: Path, lines: list[str]
) -> None:
    write_table(write_task(source, SPLEEN, 2) / "cases.csv", lines)
    (made,) = plans_of(workspace, source, SPLEEN).values()

    assert set(codes(made)) == {"case-table-wrong"}
    assert made.cases == []


@pytest.mark.parametrize("line", [f"Task9_Spleen,spleen_2,{PERSON}0", f"{PERSON},spleen_2,{SPLEEN}"])
def test_a_misspelt_task_is_not_taken_for_no_table(workspace: Workspace, source: Path, line: str) -> None:
    write_table(write_task(source, SPLEEN, 2) / "cases.csv", [line])
    index(workspace, [source], None, lambda *_: None)
    error = raised(workspace)

    assert (error.code, error.where, error.exit_code) == ("case-table-wrong", "row 1, task", 2)


# Usage


def test_nothing_indexed_is_said(workspace: Workspace) -> None:
    assert raised(workspace).code == "nothing-indexed"


def test_a_task_without_rules_is_said(workspace: Workspace, source: Path) -> None:
    index(workspace, [write_task(source, "Task11_Own", 1)], None, lambda *_: None)

    assert raised(workspace).code == "rules-not-found"
    assert raised(workspace, "Task12_None").wanted == "Task12_None.yaml"


def test_a_named_table_that_is_not_there_is_said(workspace: Workspace, source: Path) -> None:
    index(workspace, [write_task(source, SPLEEN, 1)], None, lambda *_: None)

    assert raised(workspace, cases=source / f"{PERSON}.csv").code == "case-table-wrong"


# Labels in several files


DESCRIPTION = """################################################
# ITK-SnAP Label Description File
################################################
    0     0    0    0        0  0  0    "Clear Label"
    1   255    0    0        1  1  1    "{name}"
    6     0  255    0        1  1  1    "Label 6"
"""


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    make(folder, tasks=[SPLEEN], cases=3, seed=0, tell=lambda what: None)
    return folder / "source"


@pytest.fixture
def mask(phantom: Path, tmp_path: Path) -> Path:
    """The NIfTI mask of the one case whose label is one, alone with its image."""
    (found,) = phantom.rglob("segmentation.nii.gz")
    shutil.copytree(found.parent, tmp_path / "source" / SPLEEN / "subject")
    return tmp_path / "source" / SPLEEN / "subject" / found.name


def planned_in(mask: Path, name: str = "ws") -> Workspace:
    source = mask.parents[2]
    workspace = create(source.parent / name)
    index(workspace, [source], None, lambda what, done, total: None)
    plan(workspace, [])
    return workspace


def built(workspace: Workspace) -> tuple[Outcome, dict[str, Any]]:
    (request,) = planned(workspace, [])[0].requests
    outcome = case.run(request, lambda stage: None)
    record = (
        read_line_at(workspace.store / outcome.entry / "record.json", 0)
        if isinstance(outcome, Finished)
        else {}
    )
    return outcome, record


def fates(workspace: Workspace) -> dict[str, tuple[str, str]]:
    """Return file name -> fate and role."""
    rows = ledger.read_fates(workspace.private / "fates.csv")
    return {Path(row["path"]).name: (row["fate"], row["role"]) for row in rows}


def as_pair(path: Path) -> list[str]:
    image = nib.load(path)
    data = np.asanyarray(image.dataobj)
    nib.save(nib.Nifti1Pair(data, image.affine), path.with_name("label.hdr"))
    return ["label.hdr", "label.img"]


def as_metaimage(path: Path) -> list[str]:
    SimpleITK.WriteImage(SimpleITK.ReadImage(path), path.with_name("label.mhd"))
    return ["label.mhd", "label.raw"]


def as_nrrd(path: Path) -> list[str]:
    SimpleITK.WriteImage(SimpleITK.ReadImage(path), path.with_name("label.nhdr"))
    return ["label.nhdr", "label.raw"]


@pytest.mark.parametrize("written", [as_pair, as_metaimage, as_nrrd])
def test_a_mask_in_two_files_gives_the_voxels_of_the_one_in_one(
    mask: Path, written: Callable[[Path], list[str]]
) -> None:
    _, single = built(planned_in(mask))
    names = written(mask)
    mask.unlink()
    workspace = planned_in(mask, "again")
    outcome, record = built(workspace)

    assert isinstance(outcome, Finished)
    assert record["label"]["voxels"] == single["label"]["voxels"]
    assert len(record["sources"]["label"]) == 2
    assert {fates(workspace)[name] for name in names} == {("used", "label")}


def test_a_header_whose_voxels_are_missing_refuses_the_case(mask: Path) -> None:
    header, data = as_metaimage(mask)
    mask.unlink()
    (mask.parent / data).unlink()
    outcome, _ = built(planned_in(mask))

    assert not isinstance(outcome, Finished)
    assert outcome.code == "label-unsupported"
    assert header not in str(outcome)


def test_a_changed_voxel_file_is_another_case_in_the_store(mask: Path) -> None:
    _, data = as_metaimage(mask)
    mask.unlink()
    first, _ = built(planned_in(mask))
    path = mask.parent / data
    content = bytearray(path.read_bytes())
    content[content.index(1)] = 0
    path.write_bytes(content)
    second, _ = built(planned_in(mask, "again"))

    assert isinstance(first, Finished)
    assert isinstance(second, Finished)
    assert first.entry != second.entry


def test_an_itk_snap_description_beside_the_mask_names_its_values(mask: Path) -> None:
    mask.with_name("labels.txt").write_text(DESCRIPTION.format(name="spleen"))
    workspace = planned_in(mask)
    outcome, record = built(workspace)
    (note,) = [note for note in record["notes"] if note["stage"] == "label"]

    assert isinstance(outcome, Finished)
    assert note["classes"]["1"]["masks"] == {"name": 1}
    assert fates(workspace)["labels.txt"] == ("used", "label")
    assert len(record["sources"]["label"]) == 2


def test_a_description_that_names_another_organ_refuses_the_case(mask: Path) -> None:
    mask.with_name("segmentation.txt").write_text(DESCRIPTION.format(name="liver"))
    outcome, _ = built(planned_in(mask))

    assert not isinstance(outcome, Finished)
    assert outcome.code == "label-name-unknown"
