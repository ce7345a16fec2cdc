"""Commands that hold a release against another: rebuild and compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.options import (
    Writable,
    cases_option,
    json_option,
    rules_option,
    sources_argument,
    tasks_option,
    workers_option,
    workspace_option,
)
from pipeline.commands.said import AUDIT_FOUND, at_work, end, progress

if TYPE_CHECKING:
    from pipeline.rebuild import Rebuilt


@click.command(epilog="Example: curate rebuild release /data/export -w ws")
@click.argument("target", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="RELEASE")
@sources_argument
@workspace_option
@tasks_option
@rules_option
@cases_option
@workers_option
@json_option
def rebuild(
    target: Path,
    sources: tuple[Path, ...],
    folder: Path,
    tasks: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> int:
    """Make a release again from its sources; equal to the byte, or say where not and why."""
    from pipeline.compare.page import in_words as comparison_in_words
    from pipeline.rebuild import Terms
    from pipeline.rebuild import rebuild as rebuild_release

    terms = Terms(tasks, options["rules"], options["cases"], options["workers"])
    with at_work(folder, "rebuild") as workspace, progress("reading") as told:
        made = rebuild_release(target, sources, workspace, terms, told=told)
    if made.comparison is not None and not as_json:
        click.echo(comparison_in_words(made.comparison))
    is_well = made.equal == "bytes" or (made.equal == "voxels" and made.is_explained)
    return end(made.to_json(), as_json, _rebuilt(made), 0 if is_well else AUDIT_FOUND)


def _rebuilt(made: Rebuilt) -> str:
    if made.equal == "bytes":
        return f"Equal to the byte: {len(made.files)} files, {made.made + made.reused} cases made again."
    files = [name for name, state in made.files.items() if state != "same"]
    voxels = "every voxel is equal" if made.equal == "voxels" else "voxels or cases differ"
    why = "" if made.is_explained else ", and nothing in the manifests explains all of it"
    return f"Not equal to the byte, {voxels}{why}. These differ: {', '.join(files)}"


@click.command(epilog="Example: curate compare release-1 release-2 --html compared.html")
@click.argument("first", type=click.Path(exists=True, path_type=Path), metavar="A")
@click.argument("second", type=click.Path(exists=True, path_type=Path), metavar="B")
@click.option("--html", type=Writable(is_file=True), metavar="FILE", help="Also write a page.")
@json_option
def compare(first: Path, second: Path, html: Path | None, as_json: bool) -> int:
    """Compare two releases, TARs or task folders case by case: what changed, by how much, and why."""
    from pipeline.compare import compare as compare_sides
    from pipeline.compare.page import in_words as comparison_in_words
    from pipeline.compare.page import page as comparison_page
    from pipeline.io.durable import write_named

    with progress("compare") as told:
        found = compare_sides(first, second, tell=lambda what: told(f"compare | {what}", 0, 0))
    if html is not None:
        write_named(html, comparison_page(found).encode())
    if not as_json:
        click.echo(comparison_in_words(found))
    count = sum(case.state != "same" for task in found.tasks for case in task.cases)
    line = (
        "Nothing differs."
        if found.is_same
        else f"{count} cases differ, {len(found.unexplained)} unexplained."
    )
    return end(found.to_json(), as_json, line, AUDIT_FOUND if found.unexplained else 0)
