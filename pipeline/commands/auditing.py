"""The command that checks a release or an export, with its workspace or without."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.options import Writable, json_option
from pipeline.commands.said import AUDIT_FOUND, PRIVACY, SHOWN, end, progress, talk
from pipeline.model.errors import UsageError

if TYPE_CHECKING:
    from pipeline import privacy
    from pipeline.audit import AuditReport
    from pipeline.io.workspace import Workspace


@click.command(epilog="Example: curate audit release")
@click.argument("target", type=click.Path(path_type=Path), metavar="RELEASE")
@click.option(
    "-w", "--workspace", "folder", type=click.Path(path_type=Path), help="Check back to the source files."
)
@click.option(
    "--trust", type=click.Path(path_type=Path), metavar="PUBKEY", help="It must be signed by this key (PEM)."
)
@click.option(
    "--recompute",
    "count",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="With -w: make N cases again from DICOM.",
)
@click.option(
    "--open",
    "opened",
    metavar="TASK/CASE",
    help="With -w, and no audit: print the key that links this one case to its source files.",
)
@click.option(
    "--privacy",
    "report_folder",
    type=Writable(),
    metavar="DIR",
    help="With -w: also write DIR/privacy.html and .json: what stayed, what was done, and why.",
)
@json_option
def audit(
    target: Path,
    folder: Path | None,
    trust: Path | None,
    count: int,
    opened: str | None,
    report_folder: Path | None,
    as_json: bool,
) -> int:
    """Check a release against its manifests; with -w, also the chain back to the sources."""
    from pipeline.io.workspace import open_workspace

    workspace = None if folder is None else open_workspace(folder)
    if (count or opened or report_folder) and workspace is None:
        wanted = "-w with --recompute, --open or --privacy"
        raise UsageError("bad-usage", wanted=wanted, found="no workspace")
    if opened and workspace is not None:
        return _open_case(target, workspace, opened, as_json)
    if workspace is not None and _is_export(target):
        _write_privacy_report(target, workspace, report_folder)
        return _audit_export(target, workspace, as_json)
    report = audit_release(target, folder, trust)
    if workspace is not None:
        _write_privacy_report(target, workspace, report_folder)
        report = _recompute(report, target, workspace, count) if count else report
    return _end_audit(report, target, workspace, as_json)


def _end_audit(report: AuditReport, target: Path, workspace: Workspace | None, as_json: bool) -> int:
    """Look for leaks, where there is a workspace that planned the release, and say what was found."""
    unplanned = () if workspace is None else _unplanned(target, workspace)
    leaks = None if workspace is None or unplanned else _verify(target, workspace)
    line = f"Audited: {len(report.findings)} findings, signature {report.signature}."
    document, code = report.to_json(), AUDIT_FOUND if report.findings else 0
    if unplanned:
        line += f" Nobody looked for leaks: the workspace has no plan of {', '.join(unplanned)}."
    if leaks is not None:
        document, line = {**document, "privacy": leaks.to_json()}, f"{line} {_searched(leaks)}"
        code = PRIVACY if leaks.findings else code
    return end(document, as_json, line + (" Do not use this release." if code else ""), code)


def _unplanned(target: Path, workspace: Workspace) -> Sequence[str]:
    """Return the tasks of a release that were not planned in this workspace; the audit has a finding for each."""
    tasks = [path.name.partition(".")[0] for path in sorted(target.glob("Task*.manifest.jsonl"))]
    return [task for task in tasks if not (workspace.plans / f"{task}.jsonl").is_file()]


def _open_case(target: Path, workspace: Workspace, opened: str, as_json: bool) -> int:
    from pipeline.audit.sources import open_case

    key = open_case(target, workspace.root, opened)
    return end({"case": opened, "key": key}, as_json, f"Key of {opened} and of no other case: {key}", 0)


def _write_privacy_report(target: Path, workspace: Workspace, folder: Path | None) -> None:
    if folder is None:
        return
    from pipeline import privacy, privacyreport

    privacyreport.write_report(workspace, folder, *privacy.made_from(target, workspace))
    talk.print(f"Privacy report: {folder / 'privacy.html'}", markup=False)


def _is_export(target: Path) -> bool:
    from pipeline import privacy

    return privacy.is_export(target)


def _audit_export(target: Path, workspace: Workspace, as_json: bool) -> int:
    leaks = _verify(target, workspace)
    return end({"privacy": leaks.to_json()}, as_json, _searched(leaks), PRIVACY if leaks.findings else 0)


def _verify(target: Path, workspace: Workspace) -> privacy.PrivacyReport:
    from pipeline import privacy

    with progress("verify") as told:
        report = privacy.verify(target, workspace, lambda what: told(f"verify | {what}", 0, 0))
    for leak in report.findings[:SHOWN]:
        talk.print(f"found {leak}", markup=False)
    return report


def _searched(leaks: privacy.PrivacyReport) -> str:
    sought = leaks.counts["texts"] + leaks.counts["uids"] + leaks.counts["words"]
    sources = leaks.counts["sources"]
    return f"Verified: {len(leaks.findings)} leaks; {sought} values of {sources} sources were looked for."


def _recompute(report: AuditReport, target: Path, workspace: Workspace, count: int) -> AuditReport:
    from pipeline.io.workspace import locked
    from pipeline.recompute import recompute

    with locked(workspace), progress("recompute") as told:
        made = recompute(target, workspace, count, tell=lambda what: told(f"recompute | {what}", 0, 0))
    for finding in made.findings[:SHOWN]:
        talk.print(f"found {finding}", markup=False)
    return report.with_recomputed(made.cases, made.findings)


def audit_release(target: Path, folder: Path | None, trust: Path | None = None) -> AuditReport:
    """Check a release against its manifests, with a workspace also against its sources, and show findings."""
    from pipeline.audit import audit as check_release

    with progress("audit") as told:
        report = check_release(
            target, workspace=folder, trust=trust, tell=lambda what: told(f"audit | {what}", 0, 0)
        )
    for finding in report.findings[:SHOWN]:
        talk.print(f"found {finding}", markup=False)
    return report
