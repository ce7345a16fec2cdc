"""Commands for the person who looks: pages of finished cases, and the decisions on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from pipeline.commands.options import json_option, tasks_option, workspace_here_option
from pipeline.commands.said import end, print_json, progress, talk

if TYPE_CHECKING:
    from pipeline.review import TaskPages


@click.group(invoke_without_command=True, epilog="Example: curate review -w ws --serve")
@workspace_here_option
@tasks_option
@click.option(
    "--serve", "is_served", is_flag=True, help="Open them, and keep decisions at once; Ctrl-C ends it."
)
@json_option
@click.pass_context
def review(
    context: click.Context, folder: Path, tasks: tuple[str, ...], is_served: bool, as_json: bool
) -> int | None:
    """Draw every finished case and write a page a task, on which a person decides on each."""
    from pipeline.io.workspace import open_workspace
    from pipeline.planned import planned
    from pipeline.review import build_pages, serve
    from pipeline.review.stopped import write_stopped

    context.obj = folder
    if context.invoked_subcommand is not None:
        return None
    workspace = open_workspace(folder)
    stopped = write_stopped(workspace, [task.task for task in planned(workspace, tasks)])
    if stopped is not None:
        talk.print(f"Pictures that stopped cases, for you alone: {stopped}", markup=False)
    with progress("drawing") as told:
        pages = build_pages(workspace, tasks, told=told)
    _show_pages(pages)
    if is_served:
        serve(workspace, pages, ready=lambda addresses: _show_addresses(addresses, as_json))
        talk.print(f"Kept what was decided. Next: curate pack -w {folder} -r RELEASE", markup=False)
        return 0
    line = f"Next: open a page in a browser, save, then curate review apply FILE -w {folder}"
    document = {
        "tasks": [made.to_json() for made in pages],
        "stopped": None if stopped is None else str(stopped),
    }
    return end(document, as_json, line)


def _show_pages(pages: Sequence[TaskPages]) -> None:
    from pipeline.model.review import NOT_REVIEWED, STALE

    table = Table("task", "cases", "looked at", "to look at", "not finished")
    for made in pages:
        waiting = made.standing.get(NOT_REVIEWED, 0) + made.standing.get(STALE, 0)
        counts = (made.cases, made.cases - waiting, waiting, made.unfinished)
        table.add_row(made.task, *map(str, counts))
    talk.print(table)
    for made in pages:
        talk.print(str(made.page), markup=False)


def _show_addresses(addresses: Sequence[str], as_json: bool) -> None:
    if as_json:
        print_json({"addresses": list(addresses), "exit": 0})
    for address in addresses:
        talk.print(address, markup=False)
    talk.print("These addresses are for you alone. Ctrl-C ends it.")


@review.command("apply", epilog="Example: curate review apply Task09_Spleen-AB.decisions.json -w ws")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-w", "--workspace", "folder", type=click.Path(path_type=Path), help="As given to review.")
@json_option
@click.pass_context
def review_apply(context: click.Context, file: Path, folder: Path | None, as_json: bool) -> int:
    """Keep the decisions that a review page saved; the last one on a case counts."""
    from pipeline.io.workspace import open_workspace
    from pipeline.review.desk import Desk

    applied = Desk(open_workspace(folder or context.obj)).take(file.read_bytes())
    stale = f", {len(applied.stale)} on voxels that are no longer these" if applied.stale else ""
    line = f"Kept {applied.kept} decisions, {applied.known} were known{stale}. Next: curate pack"
    return end(applied.to_json(), as_json, f"{line} -w {folder or context.obj} -r RELEASE")
