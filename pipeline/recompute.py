"""Make some cases of a release again from their sources, and compare them with what the release says of them.

Which cases is decided by the workspace's key and release.json together: nobody who made the release could know, and the
same release always gives the same sample.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.audit import Finding
from pipeline.audit.files import release_files
from pipeline.audit.report import Run, Spot
from pipeline.audit.sources import readable_lines
from pipeline.case import run
from pipeline.io import store
from pipeline.io.workspace import Workspace, create
from pipeline.model.errors import UsageError
from pipeline.model.record import Refusal
from pipeline.orders import software
from pipeline.planned import Planned, planned
from pipeline.stages.package import package


@dataclass(frozen=True, slots=True)
class Recomputed:
    """Which cases were made again, as (task, case), and where they are not those of the release."""

    cases: Sequence[tuple[str, str]]
    findings: Sequence[Finding]


def recompute(
    release: Path, workspace: Workspace, count: int, *, tell: Callable[[str], None] = lambda _: None
) -> Recomputed:
    """Make `count` cases of a release again, in a store that is thrown away, and compare notes and digests.

    Every case goes from its source files through all rooms, as it is planned in the workspace. `tell` hears
    task, case and room.

    Raises
    ------
    UsageError
        If `release` is no release.
    """
    files = release_files(release)
    chosen = _sample(files, workspace, count)
    gathered = Run()
    with tempfile.TemporaryDirectory(dir=workspace.scratch) as folder:
        shop = create(Path(folder) / "workspace", workspace.key_file)
        for name in sorted({f"{task}.manifest.jsonl" for task, _ in chosen}):
            task = name.partition(".")[0]
            made = _Shop(shop, _plan(workspace, shop, task), _header(files[name]), tell)
            for line in _case_lines(files, name):
                if (task, line["case"]) in chosen:
                    _compare_case(line, made, Spot(gathered, name, case=line["case"]))
    return Recomputed(chosen, tuple(gathered.findings))


def _sample(files: Mapping[str, Path], workspace: Workspace, count: int) -> list[tuple[str, str]]:
    """Return the cases that the key chooses, in its order."""
    document = files.get("release.json")
    digest = hashlib.sha256(document.read_bytes() if document is not None else b"").hexdigest()
    manifests = [name for name in files if name.endswith(".manifest.jsonl")]
    cases = {
        (name.partition(".")[0], line["case"]) for name in manifests for line in _case_lines(files, name)
    }
    key = workspace.key()
    return sorted(cases, key=lambda case: key.token("recompute", "\x00".join((digest, *case))))[:count]


def _case_lines(files: Mapping[str, Path], name: str) -> Iterator[Mapping[str, Any]]:
    task = name.partition(".")[0]
    return (line for line in readable_lines(files, name) if line["kind"] == "case" and line["task"] == task)


def _plan(workspace: Workspace, shop: Workspace, task: str) -> Planned | None:
    """Return the task's plan, after giving it to the shop; None when the workspace has none."""
    try:
        plan = planned(workspace, [task])[0]
    except UsageError:
        return None
    shutil.copyfile(workspace.plans / f"{task}.jsonl", shop.plans / f"{task}.jsonl")
    return plan


def _header(manifest: Path) -> Mapping[str, Any]:
    """Return a manifest's first line, nothing when it cannot be read: the audit says so."""
    with manifest.open("rb") as stream:
        try:
            return {**json.loads(stream.readline())}
        except (ValueError, TypeError):
            return {}


@dataclass(frozen=True, slots=True)
class _Shop:
    """Where the cases of a task are made again: a workspace of its own, the plan, the release's header."""

    workspace: Workspace
    plan: Planned | None
    header: Mapping[str, Any]
    tell: Callable[[str], None]

    @property
    def changed(self) -> str:
        """What is not as it was when the release was made: rules, or versions of what computes."""
        told = self.header.get("software")
        then, now = told if isinstance(told, dict) else {}, software()
        names = [name for name in sorted({*then, *now}) if then.get(name) != now.get(name)]
        rules = self.header.get("rules")
        if (
            self.plan is not None
            and isinstance(rules, dict)
            and rules.get("digest") != self.plan.header["digest"]
        ):
            names.insert(0, "rules")
        return f"; not as they were: {', '.join(names)}" if names else ""


def _compare_case(line: Mapping[str, Any], shop: _Shop, spot: Spot) -> None:
    """Make one case again and report where it is not what the line says."""
    request = (
        next((r for r in shop.plan.requests if r.case == spot.case), None) if shop.plan is not None else None
    )
    if shop.plan is None or request is None:
        spot.report("ingest", wanted="a plan of the case in the workspace", found="none")
        return
    place = replace(request, workspace=str(shop.workspace.root))
    outcome = run(place, lambda room: shop.tell(f"{request.task}: {request.case} again, {room}"))
    if isinstance(outcome, Refusal):
        found = f"refused, {outcome.code}: wanted {outcome.wanted}, found {outcome.found}{shop.changed}"
        spot.report(outcome.stage, wanted="the case made again", found=found)
        return
    _compare_lines(line, _line_again(shop, outcome.entry), shop.changed, spot)
    shutil.rmtree(shop.workspace.store / outcome.entry)


def _line_again(shop: _Shop, entry: str) -> Mapping[str, Any]:
    """Return the public line of the case that was just made."""
    record = store.find(shop.workspace.store, entry)
    if record is None or shop.plan is None:
        raise RuntimeError("a case that was just made is not in its store")
    return package(shop.plan.rules, {entry: record}, [], None).lines[0]


def _compare_lines(line: Mapping[str, Any], again: Mapping[str, Any], changed: str, spot: Spot) -> None:
    """Report by stage what of a line is not so when the case is made again."""
    for stage, names in (("split", ("subset", "subject", "warnings", "members")), ("ingest", ("sources",))):
        for name in _different(line, again, names):
            spot.report(stage, wanted=f"{name} {line[name]}", found=f"{again[name]}{changed}")
    first = _compare_notes(line["notes"], again["notes"], changed, spot)
    for part in ("image", "label"):
        told, found = line[part] or {}, again[part] or {}
        here = spot.at(line["members"][part] or "")
        stage = first or ("label" if part == "label" else "convert")
        for name in _different(told, found, sorted(set(told) | set(found) - {"file", "size"})):
            if name not in ("file", "size"):
                here.report(stage, wanted=f"{name} {told.get(name)}", found=f"{found.get(name)}{changed}")
        if told.get("voxels") == found.get("voxels") and told.get("file") != found.get("file"):
            here.report(
                "package", wanted=f"file {told.get('file')}", found=f"the same voxels in other bytes{changed}"
            )


def _compare_notes(
    told: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]], changed: str, spot: Spot
) -> str:
    """Report each note that is another one; return the first room that did otherwise, nothing when none did."""
    first = ""
    for place in range(max(len(told), len(found))):
        then = told[place] if place < len(told) else {}
        now = found[place] if place < len(found) else {}
        stage = str(then.get("stage") or now.get("stage"))
        for name in _different(then, now, sorted({*then, *now})):
            first = first or stage
            what = f"{then.get('channel', now.get('channel'))}: {name}"
            spot.report(stage, wanted=f"{what} {then.get(name)}", found=f"{now.get(name)}{changed}")
    return first


def _different(told: Mapping[str, Any], found: Mapping[str, Any], names: Collection[str]) -> list[str]:
    return [name for name in names if told.get(name) != found.get(name)]
