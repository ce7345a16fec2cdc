"""Commands that begin: the phantom, a workspace, the index of the sources, the plan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from pipeline.commands.options import (
    Writable,
    cases_option,
    json_option,
    rules_option,
    sources_argument,
    tasks_option,
    workspace_option,
)
from pipeline.commands.said import REFUSED, at_work, end, progress, show_refusals, talk

if TYPE_CHECKING:
    from pipeline.plan import TaskPlan


@click.command(epilog="Example: curate demo demo --task Task09_Spleen --cases 4")
@click.argument("folder", type=Writable(), metavar="DIR")
@tasks_option
@click.option("--cases", type=click.IntRange(2, 999), default=4, show_default=True, help="Subjects a task.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed, other voxels and names.")
@json_option
def demo(folder: Path, tasks: tuple[str, ...], cases: int, seed: int, as_json: bool) -> int:
    """Write phantom DICOM and labels to DIR/source, and the truth to DIR/truth."""
    from pipeline import demo as phantom

    with progress("phantom") as told:
        made = phantom.make(
            folder, tasks=tasks or None, cases=cases, seed=seed, tell=lambda what: told(what, 0, 0)
        )
    document = {
        "source": str(made.source),
        "truth": str(made.truth),
        "subjects": made.subjects,
        "files": made.files,
    }
    line = f"Phantom written: {made.subjects} subjects, {made.files} files. Next: curate init WORKSPACE"
    return end(document, as_json, f"{line}, then curate release {made.source} -w WORKSPACE -r RELEASE")


@click.command(epilog="Example: curate init ws")
@click.argument("folder", type=Writable(), metavar="WORKSPACE")
@click.option(
    "--key", "key_file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Take this key."
)
@json_option
def init(folder: Path, key_file: Path | None, as_json: bool) -> int:
    """Make a workspace with a new key and commented settings."""
    from pipeline.io.workspace import create

    workspace = create(folder, key_file)
    document = {"workspace": str(folder), "key": workspace.key().fingerprint}
    return end(
        document, as_json, f"Workspace made, key {document['key']}. Next: curate index SOURCE... -w {folder}"
    )


@click.command(epilog="Example: curate index /data/export -w ws -t Task03_Liver")
@sources_argument
@workspace_option
@click.option("-t", "--task", "task", metavar="TASK", help="Bind the sources to this task.")
@json_option
def index(sources: tuple[Path, ...], folder: Path, task: str | None, as_json: bool) -> int:
    """Read every file (folders, .zip, .tar, .tar.gz) and what its header says."""
    from pipeline.index import index as index_sources

    with at_work(folder, "index") as workspace, progress("reading") as told:
        counts = index_sources(workspace, sources, task, told)
    line = ", ".join(f"{count} {name}" for name, count in counts.items())
    return end(counts, as_json, f"Indexed: {line}. Next: curate plan -w {folder}")


@click.command(epilog="Example: curate plan -w ws -t Task03_Liver --cases cases.csv")
@workspace_option
@tasks_option
@rules_option
@cases_option
@click.option(
    "--proposal",
    type=Writable(is_file=True),
    metavar="FILE",
    help="Also write the plan as a case table (CSV, private): correct it, and give it back with --cases.",
)
@json_option
def plan(
    folder: Path,
    tasks: tuple[str, ...],
    rules: Path | None,
    cases: Path | None,
    proposal: Path | None,
    as_json: bool,
) -> int:
    """Say which series and labels make which case; every input's fate and why."""
    from pipeline.io.table import write_table
    from pipeline.plan import plan as plan_tasks

    with at_work(folder, "plan") as workspace, progress("plan") as told:
        plans = plan_tasks(
            workspace, tasks, rules=rules, cases=cases, is_proposing=proposal is not None,
            told=lambda done, total: told("files planned", done, total),
        )  # fmt: skip
    if proposal is not None:
        write_table(proposal, [row for made in plans for row in made.proposal])
    show_plans(plans)
    refused = sum(len(made.refusals) for made in plans)
    count = sum(len(made.cases) for made in plans)
    line = f"Planned {count} cases, refused {refused}. Fates: private/fates.csv. Next: {_next(count, folder)}"
    return end(
        {"tasks": [made.to_json() for made in plans]}, as_json, line, REFUSED if refused or not count else 0
    )


def _next(cases: int, folder: Path) -> str:
    if cases:
        return f"curate build -w {folder}"
    return "look there why no file makes a case; curate rules new FILE writes rules for a task of your own"


def show_plans(plans: Sequence[TaskPlan]) -> None:
    """Show the counts of each plan, then its refusals."""
    table = Table("task", "training", "test", "refused", "warnings")
    for made in plans:
        training, test = (str(made.subsets.get(name, 0)) for name in ("training", "test"))
        table.add_row(made.task, training, test, str(len(made.refusals)), str(len(made.warnings)))
    talk.print(table)
    show_refusals([refusal for made in plans for refusal in made.refusals])
