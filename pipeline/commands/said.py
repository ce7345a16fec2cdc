"""What every command says, and how: to people on stderr, data on stdout, progress, and exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline.model.errors import FAULTS

if TYPE_CHECKING:
    from pipeline.io.diary import Diary
    from pipeline.io.workspace import Workspace
    from pipeline.model.record import Refusal

BUG, USAGE, REFUSED, INTERRUPTED = 1, 2, 3, 130
PRIVACY, AUDIT_FOUND = 4, 5
SHOWN = 100
"""Most findings or refusals said in words; --json holds all."""


class Talk(Console):
    """What is said to people; what is said while a command works in a workspace also stands in its diary."""

    diary: Diary | None = None

    def print(self, *said: Any, **how: Any) -> None:
        """Say something; a table is for the screen alone."""
        super().print(*said, **how)
        if self.diary is not None and said and isinstance(said[0], str):
            self.diary.say(said[0])

    def close_diary(self, code: int) -> None:
        """Write the exit code down."""
        if self.diary is not None:
            self.diary.end(code)
            self.diary = None


talk = Talk(stderr=True, highlight=False, soft_wrap=True)
"""Everything said to people goes to stderr; stdout is for data."""


def print_json(document: Mapping[str, Any]) -> None:
    """Print the one JSON document of a command on stdout."""
    click.echo(json.dumps(document, indent=1, ensure_ascii=True))


def end(document: Mapping[str, Any], as_json: bool, last_line: str, code: int = 0) -> int:
    """Print the result: one JSON document if asked for, and a last line with counts and what to do next."""
    if as_json:
        print_json({**document, "exit": code})
    talk.print(last_line, markup=False)
    return code


Told = Callable[[str, int, int], None]


@contextmanager
def progress(title: str) -> Iterator[Told]:
    """Yield what tells progress: a bar on a terminal, a plain line at each tenth in a log."""
    if not talk.is_terminal:
        yield _kept(_plain_progress())
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=talk, transient=True) as bars:
        bar = bars.add_task(title, total=None)
        yield _kept(
            lambda what, done, total: bars.update(bar, description=what, completed=done, total=total or None)
        )


def _kept(told: Told) -> Told:
    """Return what also tells the diary."""

    def both(what: str, done: int, total: int) -> None:
        told(what, done, total)
        if talk.diary is not None:
            talk.diary.progress(what.partition(" |")[0], done, total)

    return both


@contextmanager
def at_work(folder: Path, command: str) -> Iterator[Workspace]:
    """Open a workspace, keep others out of it, and write down what is said and done meanwhile."""
    from pipeline.io.diary import Diary
    from pipeline.io.workspace import locked, open_workspace

    workspace = open_workspace(folder)
    with locked(workspace):
        talk.diary = Diary(workspace.runs, command)
        yield workspace


def _plain_progress() -> Told:
    said: set[tuple[str, int]] = set()

    def told(what: str, done: int, total: int) -> None:
        name = what.partition(" |")[0]
        tenth = (name, 10 * done // total if total else 0)
        if tenth not in said:
            said.add(tenth)
            line = f"{name}: {done} of {total}" if total else name
            # The diary is told of each tenth already.
            Console.print(talk, line, markup=False)

    return told


def show_refusals(refusals: Sequence[Refusal]) -> None:
    """Say of each refusal what was wanted and found, where, and what to do."""
    for refusal in refusals:
        place = f", at {refusal.where}" if refusal.where else ""
        talk.print(
            f"refused {refusal.task} {refusal.case or 'all cases'} in {refusal.stage}: {refusal.code}: wanted "
            f"{refusal.wanted}, found {refusal.found}{place}. {FAULTS[refusal.code].advice}",
            markup=False,
        )


def refusal_code(refusals: Sequence[Refusal], allowed: int) -> int:
    """Return the exit code that refusals mean; a bug is never allowed."""
    if any(refusal.code == "bug" for refusal in refusals):
        return BUG
    return REFUSED if len(refusals) > allowed else 0
