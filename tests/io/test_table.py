"""A case table is read as it was written, or refused with its line; it shows nobody's name."""

from __future__ import annotations

import csv
import hashlib
import io
import tarfile
from pathlib import Path
from typing import Literal

import pytest

from pipeline.io.ruleset import load_rules
from pipeline.io.table import CaseTable, TableRow, read_table, write_table
from pipeline.model.errors import CurationError, UsageError
from pipeline.model.plan import Candidate
from pipeline.model.rules import TaskRules
from pipeline.model.series import Kind, SourceFile, SourceRef, Stack

TASK = "Task05_Prostate"
PERSON = "DOE^JANE 4711"
HEAD = "task,case,subject"


@pytest.fixture(scope="module")
def rules() -> TaskRules:
    return load_rules()[TASK].rules


def table(folder: Path, text: str | bytes) -> CaseTable:
    path = folder / "cases.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(path, None)


def refused(folder: Path, text: str | bytes, rules: TaskRules | None = None) -> UsageError:
    with pytest.raises(UsageError) as refusal:
        read = table(folder, text)
        if rules is not None:
            read.rows_of(rules)
    assert refusal.value.code == "case-table-wrong"
    assert PERSON not in str(refusal.value)
    return refusal.value


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_table_is_read_as_spreadsheets_write_it(tmp_path: Path, mark: str, end: str) -> None:
    lines = [
        HEAD + ",T2,subset",
        f'{TASK},prostate_00,"Doe, Jane",5,',
        f"{TASK}, prostate_01 ,4712,,test",
        "",
    ]
    read = table(tmp_path, mark + end.join(lines))

    assert [(row.case, row.subject, row.cells["T2"], row.cells["subset"]) for row in read.rows] == [
        ("prostate_00", "Doe, Jane", "5", ""),
        ("prostate_01", "4712", "", "test"),
    ]


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("said", ["", "sep={}\r\n"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_a_table_is_read_whatever_separates_its_cells(
    tmp_path: Path, mark: str, encoding: str, said: str, quoting: Literal[0, 1]
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=mark, quoting=quoting)
    writer.writerows([["task", "case", "subject", "T2"], [TASK, "prostate_00", "Doe, J; x\ty", "5"]])
    text.write(mark * 3 + "\r\n" + mark * 7 + "\r\n")
    writer.writerow([TASK, "prostate_01", "Łydia", ""])
    read = table(tmp_path, (said.format(mark) + text.getvalue()).encode(encoding))

    assert [(row.case, row.subject, row.cells["T2"]) for row in read.rows] == [
        ("prostate_00", "Doe, J; x\ty", "5"),
        ("prostate_01", "Łydia", ""),
    ]


def test_a_line_is_counted_also_below_one_that_says_the_separator(tmp_path: Path) -> None:
    assert refused(tmp_path, f"sep=;\n{HEAD.replace(',', ';')}\n\n{TASK};;").where == "line 4"


def test_a_table_in_an_archive_is_read(tmp_path: Path) -> None:
    content = f"{HEAD}\n{TASK},prostate_00,4711\n".encode()
    info = tarfile.TarInfo("in/cases.csv")
    info.size = len(content)
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.addfile(info, io.BytesIO(content))
    ref = SourceRef(
        str(tmp_path / "a.tar"), "in/cases.csv", hashlib.sha256(content).hexdigest(), len(content)
    )
    read = read_table(Path(ref.path), SourceFile(ref, "in/cases.csv", None, Kind.TABLE))

    assert [row.case for row in read.rows] == ["prostate_00"]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "its first line"),
        ("task|case|subject\n", "its first line"),
        ("task,case\nTask05_Prostate,prostate_00\n", "its first line"),
        ("task,case,subject,case\n", "its first line"),
        (f"{HEAD}\n{TASK},prostate_00,{PERSON},more\n", "line 2"),
        (f"{HEAD}\n{TASK},prostate_00,{PERSON}\n{TASK},prostate_01\n", "line 3"),
        (f"{HEAD}\n{TASK},,{PERSON}\n", "line 2"),
        (f'{HEAD}\n{TASK},prostate_00,"{PERSON}\n', "the case table"),
        (f"{HEAD}\n{TASK},prostate_00,{PERSON}".encode("utf-16-le"), "its first line"),
        (f"{HEAD}\n{TASK},prostate_00,M\xfcller {PERSON}".encode("latin-1"), "the case table"),
    ],
)
def test_a_table_that_is_none_is_refused_with_its_place(
    tmp_path: Path, text: str | bytes, where: str
) -> None:
    assert refused(tmp_path, text).where == where


def test_a_line_is_counted_as_an_editor_counts_it(tmp_path: Path) -> None:
    assert refused(tmp_path, f'{HEAD}\n\n{TASK},prostate_00,"two\nlines"\n{TASK},,x\n').where == "line 5"


def test_a_table_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refusal:
        read_table(tmp_path / PERSON, None)
    assert refusal.value.code == "case-table-wrong"
    assert PERSON not in str(refusal.value)


@pytest.mark.parametrize(
    ("head", "line"),
    [
        (HEAD, f"{TASK},prostate,{PERSON}"),
        (HEAD, f"{TASK},prostate_x,{PERSON}"),
        (HEAD, f"{TASK},liver_0,{PERSON}"),
        (HEAD, f"{TASK},prostate_00 {PERSON},4711"),
        (HEAD, f"{TASK},prostate_\u0663,4711"),
        (HEAD + ",subset", f"{TASK},prostate_00,{PERSON},Training"),
        (HEAD + ",t2", f"{TASK},prostate_00,{PERSON},5"),
    ],
)
def test_what_only_the_rules_can_tell_is_refused(
    tmp_path: Path, rules: TaskRules, head: str, line: str
) -> None:
    refused(tmp_path, f"{head}\n{line}\n", rules)


def test_a_table_of_several_tasks_may_have_columns_of_each(tmp_path: Path, rules: TaskRules) -> None:
    text = f"{HEAD},T2,CT\n{TASK},prostate_00,a,5,\nTask03_Liver,liver_0,b,,7\n"

    assert [row.case for row in table(tmp_path, text).rows_of(rules)] == ["prostate_00"]


def test_a_table_shows_nobody_when_printed(tmp_path: Path) -> None:
    read = table(tmp_path, f"{HEAD}\n{TASK},prostate_00,{PERSON}\n")

    assert PERSON not in f"{read} {read!r} {read.rows[0]} {read.rows!r}"


def study(subject: str, uid: str) -> Candidate:
    file = SourceFile(SourceRef("/x", None, "", 0), "x", None, Kind.IMAGE)
    stack = Stack((file,), {"StudyInstanceUID": uid, "SeriesInstanceUID": "1", "PatientID": subject})
    return Candidate("token", subject, (stack,), ())


@pytest.mark.parametrize(
    ("subject", "named", "means"),
    [("a", "", True), ("a", "1.2", True), ("a", "1.3", False), ("b", "", False)],
)
def test_a_line_means_its_subjects_studies_or_the_one_named(subject: str, named: str, *, means: bool) -> None:
    assert TableRow(TASK, "prostate_00", subject, named, {}).means(study("a", "1.2")) is means


def test_every_refusal_is_one_of_ours(tmp_path: Path) -> None:
    for text in (b"\x00", b'"', b"a" * 200_000):
        with pytest.raises(CurationError):
            table(tmp_path, text)


@pytest.mark.parametrize("cell", ["=1+1", "+49", "-1", "@x", "'=x", "''-1", "'quoted", "plain", "a=b", ""])
def test_no_cell_is_a_formula_and_each_comes_back_as_it_was(tmp_path: Path, cell: str) -> None:
    path = tmp_path / "cases.csv"
    write_table(path, [{"task": TASK, "case": "prostate_00", "subject": f"{cell}", "study": "1.2"}])
    written = path.read_text().splitlines()[1].split(",")[2]
    assert written[:1] not in ("=", "+", "-", "@")
    assert read_table(path, None).rows[0].subject == cell
