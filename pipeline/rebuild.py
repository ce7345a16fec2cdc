"""Make a release again from its sources, in a workshop of its own, and say where the two differ.

The workshop stands in the workspace's private zone: the same key, the numbers dealt before, and an empty store, so
that every case walks again. A rebuild that was killed leaves it, and the next one goes on with what is finished.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import release as releases
from pipeline.compare import Comparison, compare
from pipeline.index import index
from pipeline.io.durable import temporary_name, write_bytes
from pipeline.io.workspace import Workspace, create, open_workspace
from pipeline.model.errors import UsageError
from pipeline.model.record import Json
from pipeline.plan import plan
from pipeline.planned import planned

Told = Callable[[str, int, int], None]
"""Told (what, done, of how many); 0 when the whole is not known."""

_CHUNK = 2**20
_SUMS = "SHA256SUMS"


@dataclass(frozen=True, slots=True)
class Terms:
    """How the release was asked for: tasks, rules and case table as they were given then."""

    tasks: Sequence[str] = ()
    rules: Path | None = None
    cases: Path | None = None
    workers: int | None = None


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """How a rebuild ended: what was made anew, and every file's fate.

    `files` maps a file of either release to `same`, `differs`, `missing` (not made again) or `new`. Where
    one differs, `comparison` says which case, member and stage, and why.
    """

    made: int
    reused: int
    files: Mapping[str, str]
    comparison: Comparison | None

    @property
    def equal(self) -> str:
        """`bytes`, or `voxels` where every image and label is there with the same voxels and place, else `no`."""
        if self.comparison is None:
            return "bytes"
        whole = not (self.comparison.only_first or self.comparison.only_second)
        states = {case.state for task in self.comparison.tasks for case in task.cases}
        return "voxels" if whole and states <= {"same", "evidence", "repacked", "header"} else "no"

    @property
    def is_explained(self) -> bool:
        """Whether rules, versions or sources that are not the same account for every case that differs."""
        return self.comparison is None or not self.comparison.unexplained

    def to_json(self) -> dict[str, Json]:
        """Return the rebuild as one JSON object."""
        return {
            "format": "curate-rebuild/1",
            "equal": self.equal,
            "explained": self.is_explained,
            "made": self.made,
            "reused": self.reused,
            "files": dict(self.files),
            "comparison": None if self.comparison is None else self.comparison.to_json(),
        }


def rebuild(
    release: Path, sources: Sequence[Path], workspace: Workspace, terms: Terms, *, told: Told
) -> Rebuilt:
    """Index, plan, build and pack the sources again beside a release, compare, and take the copy away.

    Raises
    ------
    UsageError
        not-a-release; other-key, when the workspace is not the one that made it; and whatever index, plan,
        build and pack refuse.
    """
    names = _released(release, workspace)
    shop = _workshop(workspace)
    index(shop, sources, terms.tasks[0] if len(terms.tasks) == 1 else None, told)
    plans = plan(shop, terms.tasks, rules=terms.rules or workspace.own_rules, cases=terms.cases)
    wanted = [made.task for made in plans if made.task in names] or names
    built = _build(shop, wanted, terms.workers or workspace.settings().workers, told)
    copy = temporary_name(release.resolve().parent)
    try:
        releases.pack(shop, copy, wanted, told=lambda task: told(f"packing | {task}", 0, 0))
        files = _compare_files(release, copy)
        is_same = set(files.values()) <= {"same"}
        comparison = None if is_same else compare(release, copy, tell=lambda what: told(what, 0, 0))
    finally:
        shutil.rmtree(copy, ignore_errors=True)
    shutil.rmtree(shop.root)
    return Rebuilt(built.made, built.reused, files, comparison)


def _released(release: Path, workspace: Workspace) -> list[str]:
    """Return the tasks of a release that was made under the workspace's key."""
    try:
        document: dict[str, Any] = json.loads((release / "release.json").read_bytes())
        names, key = [str(entry["task"]) for entry in document["tasks"]], document["key"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError("not-a-release", wanted="a release with release.json", found="none") from None
    if key != workspace.key().fingerprint:
        raise UsageError(
            "other-key", wanted="the workspace that made the release", found="one with another key"
        )
    return names


def _workshop(workspace: Workspace) -> Workspace:
    """Return a workspace without index and plans, that deals the same numbers under the same key."""
    root = workspace.private / "rebuild"
    is_ours = (root / "curate.yaml").is_file() and _has_key(root, workspace)
    if not is_ours:
        shutil.rmtree(root, ignore_errors=True)
        create(root, workspace.key_file)
    shop = open_workspace(root)
    for folder in (shop.index, shop.plans, shop.refusals):
        for path in folder.iterdir():
            path.unlink()
    shutil.rmtree(shop.private / "crosswalk", ignore_errors=True)
    if (workspace.private / "crosswalk").is_dir():
        shutil.copytree(workspace.private / "crosswalk", shop.private / "crosswalk")
    _take_review(workspace, shop)
    return shop


def _take_review(workspace: Workspace, shop: Workspace) -> None:
    """Let what reviewers decided, and whether they must, hold in the shop too."""
    settings = f"format: curate-workspace/1\nreview: {workspace.settings().review}\n"
    write_bytes(shop.settings_file, settings.encode())
    shutil.rmtree(shop.review)
    shop.review.mkdir()
    if (workspace.review / "decisions").is_dir():
        shutil.copytree(workspace.review / "decisions", shop.review / "decisions")


def _has_key(root: Path, workspace: Workspace) -> bool:
    return open_workspace(root).key().fingerprint == workspace.key().fingerprint


def _build(shop: Workspace, tasks: Sequence[str], workers: int | None, told: Told) -> releases.Built:
    total = sum(len(task.requests) for task in planned(shop, tasks))
    done = 0

    def ended(_: object) -> None:
        nonlocal done
        done += 1
        told("cases", done, total)

    return releases.build(
        shop,
        tasks,
        workers=workers or os.cpu_count() or 1,
        told=lambda case, stage: told(f"cases | {case}: {stage}", done, total),
        ended=ended,
    )


def _compare_files(release: Path, copy: Path) -> dict[str, str]:
    """Return the fate of each file that was made again, and of each TAR and manifest that was not.

    SHA256SUMS only repeats the others, and also names what was laid beside them, such as a signature.
    """
    made = {path.name for path in copy.iterdir()} - {_SUMS}
    gone = {p.name for kind in ("*.tar", "*.manifest.jsonl") for p in release.glob(kind)} - made
    return {
        name: "missing" if name in gone else _fate(release / name, copy / name)
        for name in sorted(made | gone)
    }


def _fate(released: Path, copy: Path) -> str:
    if not released.is_file():
        return "new"
    return "same" if _digest(released) == _digest(copy) else "differs"


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()
