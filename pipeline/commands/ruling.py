"""Commands on rules: check, draft, print their schema, say them in words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.options import Writable, json_option, rules_option, tasks_option, workspace_option
from pipeline.commands.said import at_work, end, print_json, progress
from pipeline.model.errors import RulesError, UsageError

if TYPE_CHECKING:
    from pipeline.stages.draft import DraftChannel


@click.group()
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
    return end(document, as_json, "\n".join(f"{item.rules.task}: well" for item in loaded))


@rules.command(
    "new", epilog="Example: curate rules new my-rules/Task11_Kidney.yaml --channel T2=MR:t2 --class kidney"
)
@click.argument("file", type=Writable(is_file=True))
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
    from pipeline.io.durable import write_named
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
    write_named(file, draft(answers).encode())
    loaded = load_task(file)
    document = {"file": str(file), "task": loaded.rules.task, "digest": loaded.digest}
    return end(document, as_json, f"Rules written. Read them, then curate rules explain {file}")


@rules.command("names", epilog="Example: curate rules names -w ws -t Task03_Liver")
@workspace_option
@tasks_option
@rules_option
@json_option
def rules_names(folder: Path, tasks: tuple[str, ...], rules: Path | None, as_json: bool) -> int:
    """List what the experts called their drawings, and what the rules make of each name.

    The list, private/names.csv, is private: people write names of persons into names of drawings.
    """
    from pipeline.drawnnames import TABLE, drawn_names
    from pipeline.io.table import write_table

    with at_work(folder, "names") as workspace, progress("labels") as told:
        made = drawn_names(workspace, tasks, rules=rules, tell=lambda what: told(f"labels | {what}", 0, 0))
        write_table(workspace.private / TABLE, made.rows)
    counts = {
        "names": len(made.rows),
        "unassigned": made.unassigned,
        "files": made.files,
        "unread": made.unread,
    }
    line = f"{len(made.rows)} names in {made.files} label files, {made.unassigned} of no class or of several"
    unread = f"; {made.unread} files could not be read" if made.unread else ""
    return end(counts, as_json, f"{line}{unread}. They are in {folder / 'private' / TABLE}")


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

    print_json(rules_schema())
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
    return end({"explained": texts}, as_json, f"Explained {len(texts)} tasks.")
