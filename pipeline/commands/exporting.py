"""Commands without task and rules: every series as NIfTI, every instance as de-identified DICOM."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.options import Writable, json_option, sources_argument, workspace_option
from pipeline.commands.said import REFUSED, SHOWN, at_work, end, progress, talk
from pipeline.model.errors import UsageError

if TYPE_CHECKING:
    from pipeline import export


@click.command(epilog="Example: curate convert /data/export -o nifti --labels")
@sources_argument
@click.option("-o", "--output", type=Writable(), metavar="DIR", help="New folder.")
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
    with progress("converting") as told:
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


@click.command(epilog="Example: curate deidentify /data/export -o clean -w ws")
@sources_argument
@click.option("-o", "--output", type=Writable(), required=True, metavar="DIR", help="New folder.")
@workspace_option
@json_option
def deidentify(sources: tuple[Path, ...], output: Path, folder: Path, as_json: bool) -> int:
    """Write every instance as de-identified DICOM."""
    from pipeline import privacy
    from pipeline import release as releases

    with at_work(folder, "deidentify") as workspace, progress("de-identifying") as told:
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
    return end(
        document,
        as_json,
        f"{done}, refused {len(made.refused)}. Files: {fates}.",
        REFUSED if made.is_incomplete else 0,
    )
