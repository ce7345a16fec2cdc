"""The case table: which subject is which case, as a curator wrote it down (CSV)."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from pipeline.io.durable import write_named
from pipeline.io.source import read_refs
from pipeline.model.errors import UsageError
from pipeline.model.plan import TEST, TRAINING, Candidate
from pipeline.model.rules import TaskRules
from pipeline.model.series import SourceFile

_REQUIRED = ("task", "case", "subject")
_OPTIONAL = ("study", "label", "brain_mask", "subset", "why", "why_not")
"""`why` and `why_not` stand in a proposal, for its reader."""
NOT_CHANNELS = frozenset({*_REQUIRED, *_OPTIONAL})
"""Columns that name no series."""

_FORMULA = re.compile("'*[=+@\t\r-]")
"""How a cell begins that spreadsheets compute (also after the `'` that says it is text)."""


@dataclass(frozen=True, slots=True, repr=False)
class TableRow:
    """One line of a case table; it names a person, so it shows nothing when printed."""

    task: str
    case: str
    subject: str
    study: str
    cells: Mapping[str, str]

    def means(self, study: Candidate) -> bool:
        """Whether the line speaks of a study: its subject, and its study if one is named."""
        return study.subject == self.subject and self.study in ("", study.stacks[0].study_uid)


@dataclass(frozen=True, slots=True, repr=False)
class CaseTable:
    """All lines of one table."""

    columns: Sequence[str]
    rows: Sequence[TableRow]

    @property
    def channels(self) -> list[str]:
        """The columns that name series, whatever the task."""
        return [column for column in self.columns if column not in NOT_CHANNELS]

    def rows_of(self, rules: TaskRules) -> list[TableRow]:
        """Return a task's lines, having checked what only its rules can tell.

        Raises
        ------
        UsageError
            case-table-wrong: a case id that is not the task's, an unknown column, an unknown subset.
        """
        rows = [row for row in self.rows if row.task == rules.task]
        known = {*_REQUIRED, *_OPTIONAL, *(channel.name for channel in rules.channels)}
        strata = rules.cases.split.strata
        known |= {strata.table_column} if strata is not None and strata.table_column is not None else set()
        odd = sorted(set(self.columns) - known) if rows and len({row.task for row in self.rows}) == 1 else []
        if odd:
            raise _wrong(f"the columns {', '.join(sorted(known))}", f"also {', '.join(odd)}", rules.task)
        prefix = rules.cases.id.partition("{")[0]
        for row in rows:
            if not re.fullmatch(rf"{prefix}[0-9]+", row.case):
                raise _wrong(
                    f"case ids like {rules.cases.id.format(1)}", "another", f"{rules.task}, case column"
                )
            if row.cells.get("subset", "") not in ("", TRAINING, TEST):
                raise _wrong(f"subset {TRAINING} or {TEST}", "another word", row.case)
        return rows


def _wrong(wanted: str, found: str, where: str) -> UsageError:
    return UsageError("case-table-wrong", wanted=wanted, found=found, where=where)


def read_table(path: Path, file: SourceFile | None) -> CaseTable:
    """Read a case table from a path, or from the index's file (which may lie in an archive).

    Raises
    ------
    UsageError
        case-table-wrong, when it is no CSV in UTF-8 with the columns task, case and subject.
    """
    if file is not None:
        (content,) = read_refs([file.ref])
    elif path.is_file():
        content = path.read_bytes()
    else:
        raise _wrong("a case table", "no such file", "--cases")
    try:
        text = content.decode("utf-8-sig")
        reader = csv.DictReader(StringIO(text, newline=""), strict=True)
        columns = [(name or "").strip() for name in reader.fieldnames or ()]
        # Blank lines and cells of several lines count as in an editor.
        lines = [(reader.line_num, line) for line in reader]
    except (UnicodeDecodeError, csv.Error):
        raise _wrong("a CSV table in UTF-8", "something else", "the case table") from None
    missing = [name for name in _REQUIRED if name not in columns]
    if missing or len(set(columns)) != len(columns):
        raise _wrong(
            f"the columns {', '.join(_REQUIRED)}, each column once", "other columns", "its first line"
        )
    return CaseTable(columns, [_row(line, number) for number, line in lines])


def write_table(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write lines as a case table that only its owner may read; a column for every key, in the order met."""
    columns = dict.fromkeys(column for row in rows for column in row)
    text = StringIO(newline="")
    writer = csv.DictWriter(text, [*columns] or _REQUIRED, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({column: _as_text(cell) for column, cell in row.items()} for row in rows)
    write_named(path, text.getvalue().encode("utf-8"), 0o600)


def _as_text(cell: str) -> str:
    """Return a cell that a spreadsheet takes for no formula: with `'` before what would begin one."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def _as_meant(cell: str) -> str:
    """Return what `_as_text` was given."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:]) else cell


def _row(line: Mapping[str | None, str | list[str] | None], number: int) -> TableRow:
    if None in line or None in line.values():
        raise _wrong("as many cells as columns", "more or fewer", f"line {number}")
    cells = {str(name).strip(): _as_meant(str(value).strip()) for name, value in line.items()}
    # Images without a Patient ID are named by their study.
    if not (cells["task"] and cells["case"] and (cells["subject"] or cells.get("study"))):
        raise _wrong("task, case and subject", "an empty cell", f"line {number}")
    return TableRow(cells["task"], cells["case"], cells["subject"], cells.get("study", ""), cells)
