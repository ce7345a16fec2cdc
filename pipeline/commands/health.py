"""Commands that say how things stand: the workspace, the machine, a code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from pipeline.commands.options import json_option, workspace_option
from pipeline.commands.said import SHOWN, USAGE, end, talk
from pipeline.model.errors import FAULTS, UsageError


@click.command(epilog="Example: curate status -w ws")
@workspace_option
@json_option
def status(folder: Path, as_json: bool) -> int:
    """Say what is indexed, planned, finished, refused and pending, and every file's fate in counts."""
    from pipeline.io.workspace import open_workspace
    from pipeline.status import status as workspace_status

    document = workspace_status(open_workspace(folder))
    _show_running(document["running"])  # type: ignore[arg-type]
    table = Table("task", "planned", "finished", "refused", "pending", "reviewed")
    for task in document["tasks"]:  # type: ignore[union-attr]
        counts = [str(task[column.header]) for column in table.columns[:-1]]  # type: ignore[index,call-overload]
        table.add_row(*counts, _reviewed(task["review"]))  # type: ignore[index,call-overload,arg-type]
    talk.print(table)
    for task in document["tasks"] if document["running"] is None else ():  # type: ignore[union-attr]
        _show_next_build(task)  # type: ignore[arg-type]
    for name, count in {**document["fates"], **document["codes"]}.items():  # type: ignore[dict-item]
        talk.print(f"{count} files {name}", markup=False)
    line = f"{document['files']} files; each one's fate is in private/fates.csv."
    return end(document, as_json, f"{line} {_next_step(document, folder)}")


def _next_step(document: Mapping[str, Any], folder: Path) -> str:
    if document["running"] is not None:
        return "Wait for what is at work, or look again"
    if document["killed"]:
        return f"`curate {document['killed']}` was killed. Next: the same line again"
    if not document["files"]:
        return f"Next: curate index SOURCE... -w {folder}"
    if not document["tasks"]:
        return f"Next: curate plan -w {folder}"
    if any(task["pending"] for task in document["tasks"]):
        return f"Next: curate build -w {folder}"
    refused = sum(task["refused"] for task in document["tasks"])
    why = f"{refused} cases are refused: curate explain CODE. " if refused else ""
    return f"{why}Next: curate pack -w {folder} -r RELEASE"


def _reviewed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {standing}" for standing, count in counts.items() if count)


def _show_running(running: Mapping[str, Any] | None) -> None:
    if running is None:
        return
    left = "" if running["left_s"] is None else f", about {running['left_s']} s left"
    far = f"for {running['seconds']} s"
    if running.get("total"):
        far = f"{running['what']} {running['done']} of {running['total']}, {running['per_minute']} a minute{left}"
    who = f"process {running['process']} on {running['host']}"
    talk.print(f"`curate {running['command']}` is at work: {far}; {who}", markup=False)
    for ended in running["ended"]:
        talk.print(f"{ended['task']}: {ended['cases']} {ended['end']}", markup=False)
    for room, count in running["stages"].items():
        talk.print(f"{count} {'case' if count == 1 else 'cases'} in {room}", markup=False)


def _show_next_build(task: Mapping[str, Any]) -> None:
    if task["rules_changed"]:
        talk.print(f"{task['task']}: planned under other rules than those now; `curate plan` takes them up.")
    alike: dict[str, list[str]] = {}
    for case in task["next_build"]:
        alike.setdefault("; ".join(case["why"]), []).append(case["case"])
    for why, cases in list(alike.items())[:SHOWN]:
        more = f" and {len(cases) - 1} more" if len(cases) > 1 else ""
        talk.print(f"{task['task']} {cases[0]}{more} would be made: {why}", markup=False)


@click.command(epilog="Example: curate doctor -w ws")
@click.option(
    "-w", "--workspace", "folder", type=click.Path(path_type=Path), help="Look at this workspace too."
)
@json_option
def doctor(folder: Path | None, as_json: bool) -> int:
    """Look whether this machine and workspace can do the work."""
    from pipeline import doctor as health

    findings = health.doctor(folder)
    table = Table("what", "found", "well", "what to do")
    for finding in findings:
        table.add_row(
            finding.what,
            finding.found,
            "yes" if finding.is_well else "NO",
            "" if finding.is_well else finding.advice,
        )
    talk.print(table)
    ill = sum(not finding.is_well for finding in findings)
    document = {"findings": [finding.to_json() for finding in findings]}
    return end(
        document, as_json, "All is well." if not ill else f"{ill} things want attention.", USAGE if ill else 0
    )


@click.command(epilog="Example: curate explain missing-slice")
@click.argument("code")
@json_option
def explain(code: str, as_json: bool) -> int:
    """Say what a refusal code means and what to do about it."""
    if code not in FAULTS:
        raise UsageError("bad-usage", wanted="a code: " + ", ".join(sorted(FAULTS)), found="another word")
    fault = FAULTS[code]
    document = {"code": code, "meaning": fault.meaning, "advice": fault.advice, "who": fault.who}
    if not as_json:
        click.echo(f"{code}: {fault.meaning}\nWhat to do: {fault.advice}\nWho acts: {fault.who}")
    return end(document, as_json, "See docs/refusals.md for all codes.")
