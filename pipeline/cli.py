"""Words in, exit code out.

Every command imports what it works with when it runs: saying how to write a line, or how far another terminal is,
is not to wait for Dask and SimpleITK.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from pipeline.io.quiet import hush
from pipeline.model.errors import FAULTS, CurationError, RulesError, UsageError

if TYPE_CHECKING:
    from pipeline import export, privacy
    from pipeline import release as releases
    from pipeline.audit import AuditReport
    from pipeline.io.diary import Diary
    from pipeline.io.signature import SigningKey
    from pipeline.io.workspace import Workspace
    from pipeline.model.clusterfile import ClusterFile
    from pipeline.model.record import Refusal
    from pipeline.plan import TaskPlan
    from pipeline.rebuild import Rebuilt
    from pipeline.review import TaskPages
    from pipeline.stages.draft import DraftChannel

BUG, USAGE, REFUSED, INTERRUPTED = 1, 2, 3, 130
PRIVACY, AUDIT_FOUND = 4, 5
SHOWN = 100
"""Most findings or refusals said in words; --json holds all."""


class _Talk(Console):
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


talk = _Talk(stderr=True, highlight=False, soft_wrap=True)
"""Everything said to people goes to stderr; stdout is for data."""


def main() -> None:
    """Run the command line; end with the exit codes of the design."""
    sys.exit(run(sys.argv[1:]))


def run(words: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    code = _run(words)
    talk.close_diary(code)
    return code


def _run(words: Sequence[str]) -> int:
    hush()
    try:
        result = curate.main(list(words), prog_name="curate", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Abort:
        return _interrupted()
    except KeyboardInterrupt:
        return _interrupted()
    except click.ClickException as fault:
        fault.show(sys.stderr)
        return fault.exit_code
    except CurationError as error:
        return _refused(error, "--json" in words)
    except BaseException as fault:  # noqa: BLE001 - the last door: a bug must not quote what it was handling
        return _bug(fault)


def _interrupted() -> int:
    talk.print("Interrupted. What was finished is kept: run the same line to go on.", markup=False)
    return INTERRUPTED


def _refused(error: CurationError, as_json: bool) -> int:
    talk.print(f"curate: {error}", markup=False)
    talk.print(f"`curate explain {error.code}` says more.", markup=False)
    if as_json:
        document = {"code": error.code, "wanted": error.wanted, "found": error.found, "where": error.where}
        _print_json({"error": {**document, "advice": error.fault.advice}, "exit": error.exit_code})
    return error.exit_code


def _bug(fault: BaseException) -> int:
    """Print where a bug is, not what it says: the text of a foreign exception may quote a person."""
    talk.print("".join(traceback.format_tb(fault.__traceback__)), markup=False)
    talk.print(
        f"{type(fault).__name__}: this is a bug in curate. Its text is not shown: it may hold identity."
    )
    return BUG


def _print_json(document: Mapping[str, Any]) -> None:
    click.echo(json.dumps(document, indent=1, ensure_ascii=True))


def _end(document: Mapping[str, Any], as_json: bool, last_line: str, code: int = 0) -> int:
    """Print the result: one JSON document if asked for, and a last line with counts and what to do next."""
    if as_json:
        _print_json({**document, "exit": code})
    talk.print(last_line, markup=False)
    return code


Told = Callable[[str, int, int], None]


@contextmanager
def _progress(title: str) -> Iterator[Told]:
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
def _at_work(folder: Path, command: str) -> Iterator[Workspace]:
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


workspace_option = click.option(
    "-w",
    "--workspace",
    "folder",
    type=click.Path(path_type=Path),
    required=True,
    help="The workspace folder.",
)
workspace_here_option = click.option(
    "-w",
    "--workspace",
    "folder",
    type=click.Path(path_type=Path),
    default=Path(),
    help="The workspace folder.  [default: this folder]",
)
tasks_option = click.option(
    "-t", "--task", "tasks", multiple=True, metavar="TASK", help="Only this task; repeatable."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
sources_argument = click.argument(
    "sources", nargs=-1, required=True, metavar="SOURCE...", type=click.Path(exists=False, path_type=Path)
)
workers_option = click.option(
    "--workers",
    type=click.IntRange(1),
    default=None,
    help="Processes; 1 works in this one. Default: one a processor.",
)
scheduler_option = click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Use the workers of this Dask scheduler, tls://host:port, instead.",
)
cluster_option = click.option(
    "--cluster",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Start workers as this file says: SLURM, PBS, SGE, LSF, Kubernetes, two zones.",
)
tls_option = click.option(
    "--tls",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Certificates for --scheduler, from curate cluster certs.",
)
plain_tcp_option = click.option(
    "--plain-tcp",
    is_flag=True,
    help="Let --scheduler go without TLS to another machine: anybody can listen in.",
)


def where_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say where cases are made; `_where` reads them."""
    for option in (plain_tcp_option, tls_option, cluster_option, scheduler_option, workers_option):
        command = option(command)
    return command


allow_option = click.option(
    "--allow-refusals",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="End with 0 up to N refused cases.",
)
rules_option = click.option(
    "--rules", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder with own rules."
)
cases_option = click.option(
    "--cases", type=click.Path(path_type=Path), help="Case table (CSV): task, case, subject, ...."
)
release_option = click.option(
    "-r", "--release", "target", type=click.Path(path_type=Path), required=True, help="The release folder."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="curate-releases")
def curate() -> None:
    """Turn clinical DICOM and expert labels into labelled image releases that people can trust."""


@curate.command(epilog="Example: curate demo demo --task Task09_Spleen --cases 4")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@tasks_option
@click.option("--cases", type=click.IntRange(2, 999), default=4, show_default=True, help="Subjects a task.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed, other voxels and names.")
@json_option
def demo(folder: Path, tasks: tuple[str, ...], cases: int, seed: int, as_json: bool) -> int:
    """Write phantom DICOM and labels to DIR/source, and the truth to DIR/truth."""
    from pipeline import demo as phantom

    with _progress("phantom") as told:
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
    return _end(document, as_json, f"{line}, then curate release {made.source} -w WORKSPACE -r RELEASE")


@curate.command(epilog="Example: curate init ws")
@click.argument("folder", type=click.Path(path_type=Path), metavar="WORKSPACE")
@click.option(
    "--key", "key_file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Take this key."
)
@json_option
def init(folder: Path, key_file: Path | None, as_json: bool) -> int:
    """Make a workspace with a new key and commented settings."""
    from pipeline.io.workspace import create

    workspace = create(folder, key_file)
    document = {"workspace": str(folder), "key": workspace.key().fingerprint}
    return _end(
        document, as_json, f"Workspace made, key {document['key']}. Next: curate index SOURCE... -w {folder}"
    )


@curate.command(epilog="Example: curate index /data/export -w ws -t Task03_Liver")
@sources_argument
@workspace_option
@click.option("-t", "--task", "task", metavar="TASK", help="Bind the sources to this task.")
@json_option
def index(sources: tuple[Path, ...], folder: Path, task: str | None, as_json: bool) -> int:
    """Read every file (folders, .zip, .tar, .tar.gz) and what its header says."""
    from pipeline.index import index as index_sources

    with _at_work(folder, "index") as workspace, _progress("reading") as told:
        counts = index_sources(workspace, sources, task, told)
    line = ", ".join(f"{count} {name}" for name, count in counts.items())
    return _end(counts, as_json, f"Indexed: {line}. Next: curate plan -w {folder}")


@curate.command(epilog="Example: curate plan -w ws -t Task03_Liver --cases cases.csv")
@workspace_option
@tasks_option
@rules_option
@cases_option
@click.option(
    "--proposal",
    type=click.Path(dir_okay=False, path_type=Path),
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

    with _at_work(folder, "plan") as workspace:
        plans = plan_tasks(workspace, tasks, rules=rules, cases=cases, is_proposing=proposal is not None)
    if proposal is not None:
        write_table(proposal, [row for made in plans for row in made.proposal])
    _show_plans(plans)
    refused = sum(len(made.refusals) for made in plans)
    count = sum(len(made.cases) for made in plans)
    line = (
        f"Planned {count} cases, refused {refused}. Fates: private/fates.csv. Next: curate build -w {folder}"
    )
    return _end(
        {"tasks": [made.to_json() for made in plans]}, as_json, line, REFUSED if refused or not count else 0
    )


def _show_plans(plans: Sequence[TaskPlan]) -> None:
    table = Table("task", "training", "test", "refused", "warnings")
    for made in plans:
        training, test = (str(made.subsets.get(name, 0)) for name in ("training", "test"))
        table.add_row(made.task, training, test, str(len(made.refusals)), str(len(made.warnings)))
    talk.print(table)
    _show_refusals([refusal for made in plans for refusal in made.refusals])


def _show_refusals(refusals: Sequence[Refusal]) -> None:
    for refusal in refusals:
        place = f", at {refusal.where}" if refusal.where else ""
        talk.print(
            f"refused {refusal.task} {refusal.case or 'all cases'} in {refusal.stage}: {refusal.code}: wanted "
            f"{refusal.wanted}, found {refusal.found}{place}. {FAULTS[refusal.code].advice}",
            markup=False,
        )


@curate.command(epilog="Example: curate build -w ws --workers 4")
@workspace_option
@tasks_option
@where_options
@allow_option
@json_option
def build(folder: Path, tasks: tuple[str, ...], allow_refusals: int, as_json: bool, **where: Any) -> int:
    """Make every planned case; what is finished already is not made again."""
    with _at_work(folder, "build") as workspace:
        built = _build(workspace, tasks, _where(where))
    code = _refusal_code(built.refusals, allow_refusals)
    line = f"Made {built.made} cases, {built.reused} were there, refused {len(built.refusals)}. Next: curate pack"
    return _end(built.to_json(), as_json, f"{line} -w {folder} -r RELEASE", code)


def _refusal_code(refusals: Sequence[Refusal], allowed: int) -> int:
    """Return the exit code that refusals mean; a bug is never allowed."""
    if any(refusal.code == "bug" for refusal in refusals):
        return BUG
    return REFUSED if len(refusals) > allowed else 0


def _where(options: Mapping[str, Any]) -> int | ClusterFile | None:
    """Return what the options of `where_options` say; None leaves it to the settings."""
    from pipeline.io.clusterfile import load_cluster, reached

    named = [name for name in ("workers", "scheduler", "cluster") if options[name] is not None]
    if len(named) > 1:
        raise UsageError(
            "bad-usage", wanted="one of --workers, --scheduler, --cluster", found=" and ".join(named)
        )
    if options["cluster"] is not None:
        return load_cluster(options["cluster"])
    if options["scheduler"] is not None:
        tls = None if options["tls"] is None else str(options["tls"].resolve())
        return reached(options["scheduler"], tls, plain_tcp=options["plain_tcp"])
    workers: int | None = options["workers"]
    return workers


def _build(workspace: Workspace, tasks: Sequence[str], workers: int | ClusterFile | None) -> releases.Built:
    from pipeline import release as releases

    total = sum(len(task.requests) for task in releases.planned(workspace, tasks))
    count = workers or workspace.settings().workers or os.cpu_count() or 1
    done = 0

    def ended() -> None:
        nonlocal done
        done += 1
        told("cases", done, total)

    def entered(case: str, stage: str) -> None:
        told(f"cases | {case}: {stage}", done, total)
        if talk.diary is not None:
            talk.diary.enter(case, stage)

    with _progress("cases") as told:
        told("cases", done, total)
        built = releases.build(
            workspace,
            tasks,
            workers=count,
            told=entered,
            ended=ended,
        )
    _show_refusals(built.refusals)
    return built


@curate.group(invoke_without_command=True, epilog="Example: curate review -w ws --serve")
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
    from pipeline import release as releases
    from pipeline.io.workspace import open_workspace
    from pipeline.review import build_pages, serve
    from pipeline.review.stopped import write_stopped

    context.obj = folder
    if context.invoked_subcommand is not None:
        return None
    workspace = open_workspace(folder)
    stopped = write_stopped(workspace, [task.task for task in releases.planned(workspace, tasks)])
    if stopped is not None:
        talk.print(f"Pictures that stopped cases, for you alone: {stopped}", markup=False)
    with _progress("drawing") as told:
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
    return _end(document, as_json, line)


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
        _print_json({"addresses": list(addresses), "exit": 0})
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
    return _end(applied.to_json(), as_json, f"{line} -w {folder or context.obj} -r RELEASE")


@curate.command(epilog="Example: curate pack -w ws -r release")
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
@click.option("--bag", type=click.Path(path_type=Path), metavar="DIR", help="Also a BagIt bag of it in DIR.")
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
    with _at_work(folder, "pack") as workspace:
        packed = _pack(workspace, target, tasks, key)
    if bag is not None:
        write_bag(target, bag)
    out = _kept_out(workspace, tasks)
    line = f"Packed {len(packed)} tasks, review kept out {len(out)} cases. Next: curate audit {target} -w {folder}"
    document = {"tasks": [task.to_json() for task in packed], "refused": [each.to_json() for each in out]}
    return _end(document, as_json, line, _refusal_code(out, allow_refusals))


def _kept_out(workspace: Workspace, tasks: Sequence[str]) -> list[Refusal]:
    """Say which cases review kept out of what was just packed."""
    from pipeline import release as releases

    out = [
        each
        for task in releases.planned(workspace, tasks)
        for each in releases.kept_out(workspace, task.task)
    ]
    _show_refusals(out)
    return out


def _pack(
    workspace: Workspace, target: Path, tasks: Sequence[str], key: SigningKey | None = None
) -> list[releases.Packed]:
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


@curate.command(epilog="Example: curate release demo/source -w ws -r release")
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

    with _at_work(folder, "release") as workspace:
        with _progress("reading") as told:
            index_sources(workspace, sources, tasks[0] if len(tasks) == 1 else None, told)
        plans = plan_tasks(workspace, tasks, rules=options["rules"], cases=options["cases"])
        _show_plans(plans)
        names = [made.task for made in plans]
        built = _build(workspace, names, _where(options))
        packed = _pack(workspace, target, names)
    report = _audit(target, folder)
    refused = [*built.refusals, *_kept_out(workspace, names)]
    code = _refusal_code(refused, options["allow_refusals"])
    document = {
        "built": built.to_json(),
        "tasks": [task.to_json() for task in packed],
        "audit": report.to_json(),
    }
    line = (
        f"Released {len(packed)} tasks, refused {len(refused)} cases, audit findings {len(report.findings)}."
    )
    return _end(document, as_json, f"{line} They lie in {target}", AUDIT_FOUND if report.findings else code)


@curate.command(epilog="Example: curate audit release")
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
    type=click.Path(path_type=Path),
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
    if report_folder is not None and workspace is not None:
        _write_privacy_report(target, workspace, report_folder)
    if workspace is not None and _is_export(target):
        return _audit_export(target, workspace, as_json)
    report = _audit(target, folder, trust)
    if count and workspace is not None:
        report = _recompute(report, target, workspace, count)
    leaks = None if workspace is None else _verify(target, workspace)
    line = f"Audited: {len(report.findings)} findings, signature {report.signature}."
    document, code = report.to_json(), AUDIT_FOUND if report.findings else 0
    if leaks is not None:
        document, line = {**document, "privacy": leaks.to_json()}, f"{line} {_searched(leaks)}"
        code = PRIVACY if leaks.findings else code
    return _end(document, as_json, line + (" Do not use this release." if code else ""), code)


def _open_case(target: Path, workspace: Workspace, opened: str, as_json: bool) -> int:
    from pipeline.audit.sources import open_case

    key = open_case(target, workspace.root, opened)
    return _end({"case": opened, "key": key}, as_json, f"Key of {opened} and of no other case: {key}", 0)


def _write_privacy_report(target: Path, workspace: Workspace, folder: Path) -> None:
    from pipeline import privacy, privacyreport

    privacyreport.write_report(workspace, folder, *privacy.made_from(target, workspace))
    talk.print(f"Privacy report: {folder / 'privacy.html'}", markup=False)


def _is_export(target: Path) -> bool:
    from pipeline import privacy

    return privacy.is_export(target)


def _audit_export(target: Path, workspace: Workspace, as_json: bool) -> int:
    leaks = _verify(target, workspace)
    return _end({"privacy": leaks.to_json()}, as_json, _searched(leaks), PRIVACY if leaks.findings else 0)


def _verify(target: Path, workspace: Workspace) -> privacy.PrivacyReport:
    from pipeline import privacy

    with _progress("verify") as told:
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

    with locked(workspace), _progress("recompute") as told:
        made = recompute(target, workspace, count, tell=lambda what: told(f"recompute | {what}", 0, 0))
    for finding in made.findings[:SHOWN]:
        talk.print(f"found {finding}", markup=False)
    return report.with_recomputed(made.cases, made.findings)


def _audit(target: Path, folder: Path | None, trust: Path | None = None) -> AuditReport:
    from pipeline.audit import audit as audit_release

    with _progress("audit") as told:
        report = audit_release(
            target, workspace=folder, trust=trust, tell=lambda what: told(f"audit | {what}", 0, 0)
        )
    for finding in report.findings[:SHOWN]:
        talk.print(f"found {finding}", markup=False)
    return report


@curate.command(epilog="Example: curate rebuild release /data/export -w ws")
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
    with _at_work(folder, "rebuild") as workspace, _progress("reading") as told:
        made = rebuild_release(target, sources, workspace, terms, told=told)
    if made.comparison is not None and not as_json:
        click.echo(comparison_in_words(made.comparison))
    is_well = made.equal == "bytes" or (made.equal == "voxels" and made.is_explained)
    return _end(made.to_json(), as_json, _rebuilt(made), 0 if is_well else AUDIT_FOUND)


def _rebuilt(made: Rebuilt) -> str:
    if made.equal == "bytes":
        return f"Equal to the byte: {len(made.files)} files, {made.made + made.reused} cases made again."
    files = [name for name, state in made.files.items() if state != "same"]
    voxels = "every voxel is equal" if made.equal == "voxels" else "voxels or cases differ"
    why = "" if made.is_explained else ", and nothing in the manifests explains all of it"
    return f"Not equal to the byte, {voxels}{why}. These differ: {', '.join(files)}"


@curate.command(epilog="Example: curate compare release-1 release-2 --html compared.html")
@click.argument("first", type=click.Path(exists=True, path_type=Path), metavar="A")
@click.argument("second", type=click.Path(exists=True, path_type=Path), metavar="B")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Also write a page.")
@json_option
def compare(first: Path, second: Path, html: Path | None, as_json: bool) -> int:
    """Compare two releases, TARs or task folders case by case: what changed, by how much, and why."""
    from pipeline.compare import compare as compare_sides
    from pipeline.compare.page import in_words as comparison_in_words
    from pipeline.compare.page import page as comparison_page
    from pipeline.io.durable import write_bytes

    with _progress("compare") as told:
        found = compare_sides(first, second, tell=lambda what: told(f"compare | {what}", 0, 0))
    if html is not None:
        write_bytes(html, comparison_page(found).encode())
    if not as_json:
        click.echo(comparison_in_words(found))
    count = sum(case.state != "same" for task in found.tasks for case in task.cases)
    line = (
        "Nothing differs."
        if found.is_same
        else f"{count} cases differ, {len(found.unexplained)} unexplained."
    )
    return _end(found.to_json(), as_json, line, AUDIT_FOUND if found.unexplained else 0)


@curate.command(epilog="Example: curate convert /data/export -o nifti --labels")
@sources_argument
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="New folder.")
@click.option(
    "--labels", "with_labels", is_flag=True, help="Also each RTSTRUCT ROI and SEG segment as a mask."
)
@click.option(
    "--resample", is_flag=True, help="Interpolate tilted and uneven slices, which are refused otherwise."
)
@click.option(
    "--face",
    type=click.Choice(["keep", "deface", "refuse"]),
    default="keep",
    show_default=True,
    help="What is done where a head may show its face.",
)
@click.option("--unscreened", metavar="WHY", help="Do not search pixels for burned-in text, and say why.")
@click.option(
    "--dry-run", is_flag=True, help="Say what would become of each series; write nothing, need no -o."
)
@click.option(
    "-w", "--workspace", "folder", type=click.Path(path_type=Path), help="Use this workspace's key."
)
@json_option
def convert(
    sources: tuple[Path, ...],
    output: Path | None,
    with_labels: bool,
    resample: bool,
    face: str,
    unscreened: str | None,
    dry_run: bool,
    folder: Path | None,
    as_json: bool,
) -> int:
    """Write every series as de-identified RAS NIfTI with a JSON sidecar; no task, no rules."""
    from pipeline import export
    from pipeline.io.workspace import open_workspace
    from pipeline.model.identified import Key

    workspace = None if folder is None else open_workspace(folder)
    key = Key(secrets.token_bytes(32)) if workspace is None else workspace.key()
    choices = export.choose(workspace, resample=resample, unscreened=unscreened, face=face)
    if output is None and not dry_run:
        raise UsageError("bad-usage", wanted="-o DIR, or --dry-run", found="neither")
    with _progress("converting") as told:
        if output is None or dry_run:
            made = export.preview_sources(sources, key=key, told=told, choices=choices)
        else:
            made = export.convert_sources(
                sources, output, key=key, with_labels=with_labels, told=told, choices=choices
            )
    if dry_run and not as_json:
        click.echo(export.in_words(made))
    verb = "Would convert" if dry_run else "Converted"
    return _exported(made, as_json, f"{verb} {len(made.written)} volumes")


@curate.command(epilog="Example: curate deidentify /data/export -o clean -w ws")
@sources_argument
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, metavar="DIR", help="New folder."
)
@workspace_option
@json_option
def deidentify(sources: tuple[Path, ...], output: Path, folder: Path, as_json: bool) -> int:
    """Write every instance as de-identified DICOM."""
    from pipeline import privacy
    from pipeline import release as releases
    from pipeline.io.workspace import locked, open_workspace

    workspace = open_workspace(folder)
    with locked(workspace), _progress("de-identifying") as told:
        made, report = privacy.deidentify(sources, output, workspace, told)
    releases.refuse_leaks(report)
    return _exported(made, as_json, f"De-identified and verified {made.used} instances")


def _exported(made: export.Exported, as_json: bool, done: str) -> int:
    for refusal in made.refused[:SHOWN]:
        talk.print(
            f"refused {refusal['name']}: {refusal['code']}: wanted {refusal['wanted']}, found {refusal['found']}"
        )
    if faces := sum(one.get("face") == "keep" for one in made.written):
        talk.print(f"{faces} volumes may show a face: this is no release. See --face.", markup=False)
    document = made.to_json()
    fates = ", ".join(f"{count} {code}" for code, count in document["fates"].items())  # type: ignore[union-attr]
    return _end(
        document,
        as_json,
        f"{done}, refused {len(made.refused)}. Files: {fates}.",
        REFUSED if made.is_incomplete else 0,
    )


@curate.group()
def cluster() -> None:
    """Check cluster files, print their JSON Schema, make the certificates of a cluster."""


@cluster.command("check", epilog="Example: curate cluster check cluster.yaml")
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def cluster_check(file: Path, as_json: bool) -> int:
    """Read a cluster file strictly; every fault with its place."""
    from pipeline.io.clusterfile import load_cluster

    read = load_cluster(file)
    document = {"zones": read.zones, "groups": {name: group.kind for name, group in read.groups.items()}}
    return _end(document, as_json, f"{file.name}: well. Next: curate build -w WORKSPACE --cluster {file}")


@cluster.command("schema", epilog="Example: curate cluster schema > cluster.schema.json")
@json_option
def cluster_schema_command(as_json: bool) -> int:
    """Print the JSON Schema of a cluster file."""
    from pipeline.io.clusterfile import cluster_schema

    _print_json(cluster_schema())
    return 0


@cluster.command("certs", epilog="Example: curate cluster certs tls")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@json_option
def cluster_certs(folder: Path, as_json: bool) -> int:
    """Make a CA and the certificates by which client, scheduler and workers know each other."""
    from pipeline.io.certificates import DAYS, make_certificates

    made = make_certificates(folder)
    line = f"Certificates written, for {DAYS} days; whoever reads {folder} can run code on the cluster."
    return _end({"ca": str(made.ca), "days": DAYS}, as_json, line)


@curate.group()
def rules() -> None:
    """Validate rules, print their JSON Schema, say in words what they do."""


@rules.command("check", epilog="Example: curate rules check my-rules/Task11_Kidney.yaml")
@click.argument("files", nargs=-1, metavar="[FILE]...", type=click.Path(exists=True, path_type=Path))
@json_option
def rules_check(files: tuple[Path, ...], as_json: bool) -> int:
    """Read rules strictly; every fault with its place. Without FILE, the shipped ones."""
    from pipeline.io.ruleset import load_rules, load_task

    loaded = [load_task(path) for path in files] or list(load_rules(None).values())
    document = {"rules": [{"task": item.rules.task, "digest": item.digest} for item in loaded]}
    return _end(document, as_json, "\n".join(f"{item.rules.task}: well" for item in loaded))


@rules.command(
    "new", epilog="Example: curate rules new my-rules/Task11_Kidney.yaml --channel T2=MR:t2 --class kidney"
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--description", help="One line on the task; asked for if it is not given.")
@click.option("--reference", help="Whom the data come from.")
@click.option(
    "--channel",
    "channels",
    multiple=True,
    metavar="NAME=MODALITY[:WORDS]",
    help="A channel, such as T2=MR:t2; repeatable, in order.",
)
@click.option("--class", "classes", multiple=True, metavar="NAME", help="A class of the label; repeatable.")
@click.option("--shares", type=(click.IntRange(0), click.IntRange(0)), default=(3, 1), show_default=True,
              metavar="TRAINING TEST", help="How subjects are dealt.")  # fmt: skip
@click.option(
    "--from-plan",
    "table",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Learn the channels from the series that this case table names; with -w.",
)
@click.option("-w", "--workspace", "folder", type=click.Path(path_type=Path), help="Where they are indexed.")
@json_option
def rules_new(file: Path, as_json: bool, **said: Any) -> int:
    """Ask a few questions and write commented rules for a task of your own."""
    from pipeline.io.durable import write_bytes
    from pipeline.io.ruleset import load_task
    from pipeline.stages.draft import Answers, draft

    if re.fullmatch(r"Task[0-9]{2}_[A-Za-z][A-Za-z0-9]*\.ya?ml", file.name) is None:
        raise UsageError("bad-usage", wanted="a file called TaskNN_Name.yaml", found="another name")
    if file.exists():
        raise UsageError("output-exists", wanted="a new file", found="one that is there", where=file.name)
    answers = Answers(
        task=file.stem,
        description=said["description"] or click.prompt("What is segmented, in one line", err=True),
        reference=said["reference"] or click.prompt("Whom do the data come from", err=True),
        channels=_channels_said(file.stem, said),
        classes=said["classes"] or _asked("Class of the label"),
        shares=said["shares"],
    )
    write_bytes(file, draft(answers).encode())
    loaded = load_task(file)
    document = {"file": str(file), "task": loaded.rules.task, "digest": loaded.digest}
    return _end(document, as_json, f"Rules written. Read them, then curate rules explain {file}")


def _channels_said(task: str, said: Mapping[str, Any]) -> Sequence[DraftChannel]:
    """Return the channels: as learnt from a table, as given, or as asked for."""
    from pipeline.io.workspace import open_workspace
    from pipeline.plan import learn_channels
    from pipeline.stages.draft import spoken

    if said["table"] is not None:
        if said["folder"] is None:
            raise UsageError("bad-usage", wanted="-w WORKSPACE with --from-plan", found="none")
        return learn_channels(open_workspace(said["folder"]), said["table"], task)
    try:
        return [spoken(text) for text in said["channels"] or _asked("Channel, NAME=MODALITY:WORDS")]
    except ValueError as fault:
        raise UsageError(
            "bad-usage", wanted=str(fault).removeprefix("wanted "), found="another form"
        ) from None


def _asked(what: str) -> list[str]:
    """Ask until an empty answer; at least one is wanted."""
    found = [click.prompt(what, err=True)]
    while more := click.prompt("Another one (empty: no more)", default="", show_default=False, err=True):
        found.append(more)
    return found


@rules.command("schema", epilog="Example: curate rules schema > rules.schema.json")
@json_option
def rules_schema_command(as_json: bool) -> int:
    """Print the JSON Schema of a rules file."""
    from pipeline.io.ruleset import rules_schema

    _print_json(rules_schema())
    return 0


@rules.command("explain", epilog="Example: curate rules explain Task05_Prostate")
@click.argument("names", nargs=-1, required=True, metavar="FILE|TASK|deid...")
@rules_option
@json_option
def rules_explain(names: tuple[str, ...], rules: Path | None, as_json: bool) -> int:
    """Say in words what a task's rules do; `deid`: what de-identification does, and why."""
    from pipeline.io.policy import load_policy, load_reasons
    from pipeline.io.ruleset import load_rules, load_task
    from pipeline.stages.explain import explain as in_words
    from pipeline.stages.policywords import describe

    known = {} if all(name == "deid" or Path(name).is_file() for name in names) else load_rules(rules)
    texts = {}
    for name in names:
        if name == "deid":
            texts[name] = describe(load_policy(), *load_reasons())
            continue
        if not Path(name).is_file() and name not in known:
            raise RulesError("rules-not-found", wanted=name, found="rules for " + ", ".join(sorted(known)))
        loaded = load_task(Path(name)) if Path(name).is_file() else known[name]
        texts[loaded.rules.task] = in_words(loaded.rules, loaded.published)
    if not as_json:
        click.echo("\n\n".join(texts.values()))
    return _end({"explained": texts}, as_json, f"Explained {len(texts)} tasks.")


@curate.command(epilog="Example: curate status -w ws")
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
    for task in document["tasks"]:  # type: ignore[union-attr]
        _show_next_build(task)  # type: ignore[arg-type]
    for name, count in {**document["fates"], **document["codes"]}.items():  # type: ignore[dict-item]
        talk.print(f"{count} files {name}", markup=False)
    return _end(document, as_json, f"{document['files']} files; each one's fate is in private/fates.csv")


def _reviewed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {standing}" for standing, count in counts.items() if count)


def _show_running(running: Mapping[str, Any] | None) -> None:
    if running is None:
        return
    left = "" if running["left_s"] is None else f", about {running['left_s']} s left"
    talk.print(
        f"`curate {running['command']}` is at work: {running.get('what', '')} {running.get('done', 0)} of "
        f"{running.get('total', 0)}, {running['per_minute']} a minute{left}; process {running['process']} on "
        f"{running['host']}",
        markup=False,
    )
    for ended in running["ended"]:
        talk.print(f"{ended['task']}: {ended['cases']} {ended['end']}", markup=False)
    for room, count in running["stages"].items():
        talk.print(f"{count} cases in {room}", markup=False)


def _show_next_build(task: Mapping[str, Any]) -> None:
    if task["rules_changed"]:
        talk.print(f"{task['task']}: planned under other rules than those now; `curate plan` takes them up.")
    for case in task["next_build"][:SHOWN]:
        talk.print(f"{task['task']} {case['case']} would be made: {'; '.join(case['why'])}", markup=False)


@curate.command(epilog="Example: curate doctor -w ws")
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
    return _end(
        document, as_json, "All is well." if not ill else f"{ill} things want attention.", USAGE if ill else 0
    )


@curate.command(epilog="Example: curate explain missing-slice")
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
    return _end(document, as_json, "See docs/refusals.md for all codes.")
