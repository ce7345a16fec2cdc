"""Show every finished case to a person: contact sheets, and a page a task on which they decide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.compare.volumes import read_picture
from pipeline.io import store
from pipeline.io.decisions import last_decisions
from pipeline.io.document import canonical, digest_of
from pipeline.io.durable import sweep, write_bytes
from pipeline.io.workspace import Workspace
from pipeline.model.errors import UsageError
from pipeline.model.record import Json
from pipeline.model.review import FILE_FORMAT, REASONS, Kept, seen_of, standing
from pipeline.model.rules import Channel, TaskRules
from pipeline.model.volume import Quantity
from pipeline.planned import Planned, planned
from pipeline.review import sheet
from pipeline.review.desk import Desk
from pipeline.review.finished import finished_cases
from pipeline.review.opening import opened
from pipeline.review.page import page
from pipeline.review.server import ReviewServer

PAGE = "index.html"
SHEETS = "sheets"

SOFT_TISSUE_HU = (-160.0, 240.0)
"""The usual abdominal window (width 400, level 40); rules name another where the task needs one."""

Told = Callable[[str, int, int], None]
"""Told (what, done, of how many)."""


@dataclass(frozen=True, slots=True)
class TaskPages:
    """One task's page: where, and how many cases are on it, not finished, and newly drawn; and how they stand."""

    task: str
    page: Path
    cases: int
    unfinished: int
    drawn: int
    standing: Mapping[str, int]

    def to_json(self) -> dict[str, Json]:
        """Return the page as one JSON object."""
        return {
            "task": self.task,
            "page": str(self.page),
            "cases": self.cases,
            "unfinished": self.unfinished,
            "drawn": self.drawn,
            "standing": dict(self.standing),
        }


def build_pages(workspace: Workspace, tasks: Sequence[str], *, told: Told) -> list[TaskPages]:
    """Write a page with contact sheets for each planned task; only cases that changed are drawn.

    Raises
    ------
    UsageError
        nothing-planned; nothing-built, when no task has a finished case.
    """
    plans = planned(workspace, tasks)
    total, numbers = sum(len(plan.plans) for plan in plans), count(1)
    made = [
        _build_page(workspace, plan, lambda case: told(f"drawing | {case}", next(numbers), total))
        for plan in plans
    ]
    if not any(page.cases for page in made):
        raise UsageError("nothing-built", wanted="a finished case", found="none")
    return made


def _build_page(workspace: Workspace, plan: Planned, tell: Callable[[str], None]) -> TaskPages:
    folder = workspace.review / plan.task
    (folder / SHEETS).mkdir(parents=True, exist_ok=True)
    for place in (folder, folder / SHEETS):
        sweep(place)
    before = {path.name for path in (folder / SHEETS).iterdir()}
    decisions = last_decisions(workspace, plan.task)
    cases = []
    for entry, record in finished_cases(workspace, plan):
        tell(record["case"])
        files = _Files(workspace.store, entry, record, folder / SHEETS)
        if files.draw(plan.rules):
            cases.append(_told_of(record, decisions.get(record["case"])) | files.to_json(plan.rules))
    write_bytes(folder / PAGE, page(_document(workspace, plan, cases)).encode())
    named = {
        Path(path).name for case in cases for path in (*case["sheets"].values(), *case["pictures"].values())
    }
    # After the page that named them: what no case shows any more.
    for name in before - named:
        (folder / SHEETS / name).unlink()
    states = Counter(str(case["standing"]) for case in cases)
    lacking = len(plan.plans) - len(cases)
    return TaskPages(plan.task, folder / PAGE, len(cases), lacking, len(named - before), states)


@dataclass(frozen=True, slots=True)
class _Files:
    """The pictures of one case: sheets that we draw, and those that lie in its store entry."""

    store: Path
    entry: str
    record: Mapping[str, Any]
    folder: Path

    def draw(self, rules: TaskRules) -> bool:
        """Write what is not there yet; say whether the case can be shown: a damaged one cannot."""
        sheets = self.sheets(rules)
        if not all((self.folder / name).is_file() for name in sheets.values()):
            if store.find(self.store, self.entry) is None:
                return False
            drawn = sheet.draw(self._voxels(), _looks(rules))
            for kind, name in sheets.items():
                write_bytes(self.folder / name, drawn[kind])
        for path, name in self.pictures().items():
            if not (self.folder / name).is_file():
                write_bytes(self.folder / name, path.read_bytes())
        return True

    def sheets(self, rules: TaskRules) -> dict[tuple[str, str], str]:
        """Return (view, style) -> file name, which says all that decides the picture."""
        looks: list[Json] = [[look.name, [str(edge) for edge in look.window or ()]] for look in _looks(rules)]
        decides: list[Json] = [self.entry, sheet.SHEET_VERSION, version("pillow"), looks]
        name = f"{self.record['case']}-{digest_of(canonical(decides))[7:23]}"
        return {
            kind: f"{name}-{'-'.join(kind)}.png" for kind in sheet.kinds(self.record["label"] is not None)
        }

    def pictures(self) -> dict[Path, str]:
        """Return picture of the store entry -> file name."""
        name = f"{self.record['case']}-{digest_of(self.entry.encode())[7:23]}"
        return {path: f"{name}-{path.name}" for path in store.pictures(self.store, self.entry)}

    def to_json(self, rules: TaskRules) -> dict[str, Any]:
        """Return the files as the page names them."""
        return {
            "sheets": {"-".join(kind): f"{SHEETS}/{name}" for kind, name in self.sheets(rules).items()},
            "pictures": {path.stem: f"{SHEETS}/{name}" for path, name in self.pictures().items()},
        }

    def _voxels(self) -> sheet.Case:
        image, label = (
            None if self.record[part] is None else read_picture(store.content(self.store, self.entry, part))
            for part in ("image", "label")
        )
        if image is None:
            raise RuntimeError("a finished case has an image")
        voxels = image.stored if image.stored.ndim == 4 else image.stored[..., np.newaxis]
        across, along, up = (float(step) for step in np.linalg.norm(image.affine[:3, :3], axis=0))
        return sheet.Case(voxels, None if label is None else label.stored, (across, along, up))


def _looks(rules: TaskRules) -> list[sheet.Look]:
    return [sheet.Look(channel.name, _window(channel)) for channel in rules.channels]


def _window(channel: Channel) -> tuple[float, float] | None:
    if channel.window is not None:
        return float(channel.window[0]), float(channel.window[1])
    return SOFT_TISSUE_HU if channel.quantity is Quantity.HOUNSFIELD else None


def _told_of(record: Mapping[str, Any], kept: Kept | None) -> dict[str, Any]:
    """Return what the page says of a case."""
    seen = seen_of(record)
    spacing = np.linalg.norm(np.array(record["image"]["affine"], dtype=np.float64)[:3, :3], axis=0)
    noted = [text for note in record["notes"] for text in note.get("warnings", ())]
    return {
        "case": record["case"],
        "subset": record["subset"],
        "seen": seen.model_dump(mode="json"),
        "shape": record["image"]["shape"],
        "spacing": [f"{step:.3g}" for step in spacing],
        "warnings": [*record["warnings"], *noted],
        "classes": {} if record["label"] is None else record["label"]["classes"],
        "standing": standing(kept, seen),
        "said": None if kept is None else {"decision": kept.decision, "reason": kept.reason},
    }


def _document(workspace: Workspace, plan: Planned, cases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return all that a task's page holds."""
    colours = len(sheet.COLOURS)
    classes = [
        {"value": item.value, "name": item.name, "colour": list(sheet.COLOURS[(item.value - 1) % colours])}
        for item in plan.rules.label.classes
    ]
    return {
        "format": FILE_FORMAT,
        "key": workspace.key().fingerprint,
        "task": plan.task,
        "description": plan.rules.header.description,
        "channels": [channel.name for channel in plan.rules.channels],
        "classes": classes,
        "reasons": {decision: dict(codes) for decision, codes in REASONS.items()},
        "cases": list(cases),
    }


def serve(
    workspace: Workspace, pages: Sequence[TaskPages], *, ready: Callable[[Sequence[str]], None]
) -> None:
    """Serve pages on this machine and keep what is decided on them, until an interruption (Ctrl-C).

    `ready` hears the pages' addresses, each with a secret; the first opens in a browser where there is a screen.
    """
    desk = Desk(workspace)
    with ReviewServer(workspace.review, lambda content: desk.take(content).to_json()) as server:
        addresses = [server.address(made.page.relative_to(workspace.review).as_posix()) for made in pages]
        with opened(addresses[0], workspace.scratch):
            ready(addresses)
            # The way to end it: everything said was kept as it was said.
            with suppress(KeyboardInterrupt):
                server.serve_forever()
