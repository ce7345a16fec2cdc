"""The case table: which subject is which case, as a curator wrote it down (CSV)."""

from __future__ import annotations

import codecs
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

_SEPARATORS = ",;\t"
"""Between cells: a spreadsheet writes semicolons where the decimal sign is a comma."""

_SEPARATOR_SAID = re.compile("sep=[,;\t]", re.IGNORECASE)

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
        case-table-wrong, when it is no CSV (with commas, semicolons or tabs) in UTF-8 with the columns task, case and
        subject, each once.
    """
    if file is not None:
        (content,) = read_refs([file.ref])
    elif path.is_file():
        content = path.read_bytes()
    else:
        raise _wrong("a case table", "no such file", "--cases")
    text = _decoded(content)
    # Excel may say the separator in a line before the others.
    first, _, rest = text.partition("\n")
    said = _SEPARATOR_SAID.fullmatch(first.rstrip("\r"))
    try:
        return _parsed(rest if said else text, lines_before=1 if said else 0)
    except csv.Error:
        raise _wrong("a CSV table", "something else", "the case table") from None


def _decoded(content: bytes) -> str:
    """Return the text: UTF-8, or UTF-16 where it begins with a mark that says so, as Excel's "Unicode text" does."""
    is_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if is_16 else "utf-8-sig")
    except UnicodeDecodeError:
        raise _wrong("a CSV table in UTF-8", "something else", "the case table") from None


def _parsed(text: str, lines_before: int) -> CaseTable:
    """Return the table; its cells are separated by what makes the required columns of the first line."""
    for mark in _SEPARATORS:
        reader = csv.DictReader(StringIO(text, newline=""), delimiter=mark, strict=True)
        columns = _columns(reader)
        if set(_REQUIRED) <= set(columns) and len(set(columns)) == len(columns):
            # Blank lines and cells of several lines count as in an editor.
            lines = [(lines_before + reader.line_num, line) for line in reader]
            return CaseTable(columns, [_row(line, number) for number, line in lines if not _is_blank(line)])
    raise _wrong(f"the columns {', '.join(_REQUIRED)}, each column once", "other columns", "its first line")


def _columns(reader: csv.DictReader[str]) -> list[str]:
    try:
        return [(name or "").strip() for name in reader.fieldnames or ()]
    except csv.Error:
        # Cells in quotes that another mark separates.
        return []


def _is_blank(line: Mapping[str | None, str | list[str] | None]) -> bool:
    """Whether a line has no text: a spreadsheet writes the separators of an emptied line."""
    return not any("".join(cell).strip() for cell in line.values() if cell)


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
