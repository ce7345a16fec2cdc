"""Verify what leaves the workspace, and keep what a later verification needs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.audit.sources import readable_lines
from pipeline.export import Exported, choose, deidentify_sources
from pipeline.index import Told
from pipeline.io.document import canonical
from pipeline.io.durable import write_bytes
from pipeline.io.workspace import Workspace
from pipeline.model.errors import UsageError
from pipeline.model.series import SourceRef
from pipeline.verify import Made, PrivacyReport, Source, verify_instances, verify_release

__all__ = ["PrivacyReport", "deidentify", "is_export", "made_from", "verify"]

_RELEASE = "release.json"


def deidentify(
    sources: Sequence[Path], folder: Path, workspace: Workspace, told: Told
) -> tuple[Exported, PrivacyReport]:
    """De-identify every instance and verify the output; when anything is found in it, nothing of it stays.

    What was made from what is kept in WORKSPACE/private/exports, so that the folder can be verified again.
    """
    exported = deidentify_sources(sources, folder, key=workspace.key(), told=told, choices=choose(workspace))
    made = [Made(Source(ref.path, ref.member, ref.digest, ref.size), file) for ref, file in exported.made]
    report = verify_instances(made, folder, workspace.root, _counting(told, 2 * len(made)))
    if report.findings:
        _take_away(folder, made)
    else:
        _record(workspace, made)
    return exported, report


def _counting(told: Told, total: int) -> Callable[[str], None]:
    done = 0

    def tell(_: str) -> None:
        nonlocal done
        done += 1
        told("instances verified", min(done, total), total)

    return tell


def _take_away(folder: Path, made: Sequence[Made]) -> None:
    for one in made:
        (folder / one.file).unlink(missing_ok=True)
    for path in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        if not any(path.iterdir()):
            path.rmdir()


def _record(workspace: Workspace, made: Sequence[Made]) -> None:
    lines = [canonical({"source": list(one.source), "file": one.file}) + b"\n" for one in made]
    if lines:
        name = workspace.key().token("export", "\n".join(one.file for one in made), 16)
        folder = workspace.private / "exports"
        folder.mkdir(mode=0o700, exist_ok=True)
        write_bytes(folder / f"{name}.jsonl", b"".join(lines), 0o600)


def verify(target: Path, workspace: Workspace, tell: Callable[[str], None]) -> PrivacyReport:
    """Verify a release, or a folder that `curate deidentify` wrote under this workspace.

    Raises
    ------
    UsageError
        `export-unknown` for a folder of DICOM that the workspace has no record of.
    """
    if is_export(target):
        return verify_instances(_recorded(target, workspace), target, workspace.root, tell)
    return verify_release(target, workspace.root, tell)


def made_from(target: Path, workspace: Workspace) -> tuple[dict[str, frozenset[str]], list[SourceRef]]:
    """Return what a release or a folder of DICOM was made from: the released cases by task, or the source files."""
    if is_export(target):
        return {}, [SourceRef(*one.source) for one in _recorded(target, workspace)]
    manifests = {path.name: path for path in sorted(target.glob("Task*.manifest.jsonl"))}
    return {
        name.partition(".")[0]: frozenset(
            line["case"] for line in readable_lines(manifests, name) if line["kind"] == "case"
        )
        for name in manifests
    }, []


def is_export(target: Path) -> bool:
    """Whether a folder is one of de-identified DICOM and no release."""
    return target.is_dir() and not (target / _RELEASE).is_file() and any(target.rglob("*.dcm"))


def _recorded(target: Path, workspace: Workspace) -> list[Made]:
    """Return what the workspace knows of a folder: the record that shares a file's name with it."""
    names = {path.relative_to(target).as_posix() for path in target.rglob("*.dcm")}
    for path in sorted((workspace.private / "exports").glob("*.jsonl")):
        lines = [json.loads(line) for line in path.read_bytes().splitlines()]
        if any(line["file"] in names for line in lines):
            return [Made(Source(*line["source"]), line["file"]) for line in lines]
    raise UsageError("export-unknown", wanted="a folder that this workspace wrote", found="another")
