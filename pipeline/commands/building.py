"""Commands that make cases and releases: build, pack, release."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.auditing import audit_release
from pipeline.commands.beginning import show_plans
from pipeline.commands.options import (
    Writable,
    allow_option,
    cases_option,
    chosen_where,
    json_option,
    release_option,
    rules_option,
    sources_argument,
    tasks_option,
    where_options,
    workspace_option,
)
from pipeline.commands.said import AUDIT_FOUND, at_work, end, progress, refusal_code, show_refusals, talk

if TYPE_CHECKING:
    from pipeline import release as releases
    from pipeline.io.signature import SigningKey
    from pipeline.io.workspace import Workspace
    from pipeline.model.clusterfile import ClusterFile
    from pipeline.model.record import Outcome, Refusal


@click.command(epilog="Example: curate build -w ws --workers 4")
@workspace_option
@tasks_option
@where_options
@allow_option
@json_option
def build(folder: Path, tasks: tuple[str, ...], allow_refusals: int, as_json: bool, **where: Any) -> int:
    """Make every planned case but those that are finished; a build that was killed goes on with the same line."""
    with at_work(folder, "build") as workspace:
        built = build_cases(workspace, tasks, chosen_where(where))
    code = refusal_code(built.refusals, allow_refusals)
    line = f"Made {built.made} cases, {built.reused} were there, refused {len(built.refusals)}."
    return end(built.to_json(), as_json, f"{line} Next: {_next(built, folder)}", code)


def _next(built: releases.Built, folder: Path) -> str:
    if built.made or built.reused:
        return f"curate pack -w {folder} -r RELEASE"
    return "correct sources or rules, then curate plan and curate build again"


def build_cases(
    workspace: Workspace, tasks: Sequence[str], workers: int | ClusterFile | None
) -> releases.Built:
    """Make every planned case of these tasks, and show how far it is and what was refused."""
    from pipeline import release as releases
    from pipeline.planned import planned

    total = sum(len(task.requests) for task in planned(workspace, tasks))
    count = workers or workspace.settings().workers or os.cpu_count() or 1
    done = 0

    def ended(outcome: Outcome) -> None:
        nonlocal done
        done += 1
        if talk.diary is not None:
            talk.diary.leave(outcome.case)
        told("cases", done, total)

    def entered(case: str, stage: str) -> None:
        told(f"cases | {case}: {stage}", done, total)
        if talk.diary is not None:
            talk.diary.enter(case, stage)

    with progress("cases") as told:
        told("cases", done, total)
        built = releases.build(
            workspace,
            tasks,
            workers=count,
            told=entered,
            ended=ended,
        )
    show_refusals(built.refusals)
    return built


@click.command(epilog="Example: curate pack -w ws -r release")
@workspace_option
@release_option
@tasks_option
@click.option(
    "--sign",
    "key_file",
    type=click.Path(path_type=Path),
    metavar="KEY",
    help="Sign with this Ed25519 key (PEM).",
)
@click.option("--bag", type=Writable(), metavar="DIR", help="Also a BagIt bag of it in DIR.")
@allow_option
@json_option
def pack(
    folder: Path,
    target: Path,
    tasks: tuple[str, ...],
    key_file: Path | None,
    bag: Path | None,
    allow_refusals: int,
    as_json: bool,
) -> int:
    """Write dataset.json, TARs and manifests; with --sign, also signatures; with --bag, also a bag of it all."""
    from pipeline.bag import write_bag
    from pipeline.io.signature import load_signing_key

    key = None if key_file is None else load_signing_key(key_file)
    with at_work(folder, "pack") as workspace:
        packed = pack_tasks(workspace, target, tasks, key)
    if bag is not None:
        write_bag(target, bag)
    out = kept_out(workspace, tasks)
    line = f"Packed {len(packed)} tasks, review kept out {len(out)} cases. Next: curate audit {target} -w {folder}"
    document = {"tasks": [task.to_json() for task in packed], "refused": [each.to_json() for each in out]}
    return end(document, as_json, line, refusal_code(out, allow_refusals))


def kept_out(workspace: Workspace, tasks: Sequence[str]) -> list[Refusal]:
    """Say which cases review kept out of what was just packed."""
    from pipeline import planned

    out = [
        each for task in planned.planned(workspace, tasks) for each in planned.kept_out(workspace, task.task)
    ]
    show_refusals(out)
    return out


def pack_tasks(
    workspace: Workspace, target: Path, tasks: Sequence[str], key: SigningKey | None = None
) -> list[releases.Packed]:
    """Write the TARs and manifests of these tasks, and say what a reader of them will miss."""
    from pipeline import release as releases

    packed = releases.pack(
        workspace, target, tasks, told=lambda task: talk.print(f"packing {task}", markup=False), key=key
    )
    if key is not None:
        talk.print(f"Signed by {key.name}", markup=False)
    for task in packed:
        if task.missing:
            talk.print(
                f"{task.task}: {task.missing} published cases are not in this release; its manifest lists them."
            )
        for subset in ("training", "test"):
            if not task.entry[subset]:
                talk.print(
                    f"{task.task}: no {subset} case; some consumers do not load such a task.", markup=False
                )
    return packed


@click.command(epilog="Example: curate release demo/source -w ws -r release")
@sources_argument
@workspace_option
@release_option
@click.option(
    "-t",
    "--task",
    "tasks",
    multiple=True,
    metavar="TASK",
    help="Only this task; one binds the sources to it.",
)
@rules_option
@cases_option
@where_options
@allow_option
@json_option
def release(
    sources: tuple[Path, ...],
    folder: Path,
    target: Path,
    tasks: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> int:
    """Index, plan, build, pack and audit in one go."""
    from pipeline.index import index as index_sources
    from pipeline.plan import plan as plan_tasks

    with at_work(folder, "release") as workspace:
        with progress("reading") as told:
            index_sources(workspace, sources, tasks[0] if len(tasks) == 1 else None, told)
        plans = plan_tasks(workspace, tasks, rules=options["rules"], cases=options["cases"])
        show_plans(plans)
        names = [made.task for made in plans]
        built = build_cases(workspace, names, chosen_where(options))
        packed = pack_tasks(workspace, target, names)
    report = audit_release(target, folder)
    refused = [*built.refusals, *kept_out(workspace, names)]
    code = refusal_code(refused, options["allow_refusals"])
    document = {
        "built": built.to_json(),
        "tasks": [task.to_json() for task in packed],
        "audit": report.to_json(),
    }
    line = (
        f"Released {len(packed)} tasks, refused {len(refused)} cases, audit findings {len(report.findings)}."
    )
    return end(document, as_json, f"{line} They lie in {target}", AUDIT_FOUND if report.findings else code)
