"""Make a case in two zones: one that sees sources and key opens the door, one that sees neither does the rest.

The first zone writes what came through the door, each channel and the label with its note, or the refusal that the
door gave instead, and all else that the key decides: the entry's name and the keyed digests. The second walks the same
rooms with that, and meets a refusal where it would have met it at the door itself. So both ways end alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from pipeline import case
from pipeline.door import Doorstep, Journal, LetIn
from pipeline.io import staging
from pipeline.io.workspace import Workspace, open_workspace
from pipeline.model.errors import CurationError
from pipeline.model.plan import CasePlan, LabelSource
from pipeline.model.record import Handed, Json, Outcome, Refusal
from pipeline.model.rules import TaskRules
from pipeline.model.series import SourceRef
from pipeline.orders import LABEL, Order, Request, admit, entry_of, read_order

Tell: TypeAlias = Callable[[str], None]

_FORMAT = "curate-handover/1"
_NOWHERE = SourceRef("", None, "", 0)


def open_door(request: Request, folder: str, memory: int | None, tell: Tell) -> Handed | Refusal:
    """Bring a case's channels and label through the door, into a folder of the staging area."""
    target = staging.folder_of(Path(folder), request.task, request.case)
    try:
        workspace = open_workspace(Path(request.workspace))
        order = read_order(workspace, request)
        admit(order.plan, memory)
        staging.begin(target)
        document: dict[str, Json] = {
            "format": _FORMAT, "entry": entry_of(order), "plan": _without_sources(order.plan),
            "rules": order.rules.model_dump_json(), "links": order.links(), "inputs": order.inputs(),
            "passages": _passages(workspace, order, target, tell),
        }  # fmt: skip
        return Handed(request.task, request.case, str(target), staging.put_document(target, document))
    except CurationError as error:
        return Refusal.of(error, task=request.task, case=request.case, stage="open")


def _passages(workspace: Workspace, order: Order, folder: Path, tell: Tell) -> dict[str, Json]:
    """Return what the second zone needs to know of each channel and the label, up to the first that is refused."""
    beside = [*([] if order.plan.label is None else [LABEL]), *order.plan.given]
    passages: dict[str, Json] = {}
    for about in [*(channel.name for channel in order.rules.channels), *beside]:
        journal = Journal(tell)
        try:
            with case.picturing(workspace, order.plan):
                value = Doorstep(order).let_in(about, journal).value
        except CurationError as error:
            said = {"code": error.code, "wanted": error.wanted, "found": error.found, "where": error.where}
            passages[about] = {"stage": journal.stage, "refused": said}
            break
        passages[about] = {"value": staging.put_value(folder, value), "notes": journal.notes}
    return passages


def _without_sources(plan: CasePlan) -> dict[str, Any]:
    """Return a plan that names no file: not its place, not its digest, not its name in an archive."""
    label = None if plan.label is None else _nowhere(plan.label)
    given = {name: _nowhere(source) for name, source in plan.given.items()}
    channels: dict[str, tuple[SourceRef, ...]] = dict.fromkeys(plan.channels, ())
    return replace(plan, channels=channels, label=label, given=given).to_json()


def _nowhere(source: LabelSource) -> LabelSource:
    return replace(source, ref=_NOWHERE, inside="", data=None, names=None)


@dataclass(frozen=True, slots=True)
class Admitted:
    """A case behind the door: an order that names no source and holds no key."""

    plan: CasePlan
    rules: TaskRules
    folder: Path
    document: Any

    def let_in(self, about: str, journal: Journal) -> LetIn:
        """Return what came through the door with its notes, or refuse as the door did."""
        passage = self.document["passages"][about]
        if "refused" in passage:
            journal.enter(passage["stage"])
            said = passage["refused"]
            raise CurationError(said["code"], wanted=said["wanted"], found=said["found"], where=said["where"])
        journal.notes += passage["notes"]
        return LetIn(staging.get_value(self.folder, passage["value"]))

    def links(self) -> dict[str, Json]:
        """Return the keyed digests of the sources."""
        found: dict[str, Json] = self.document["links"]
        return found

    def inputs(self) -> dict[str, Json]:
        """Return what the entry was made from, in words."""
        found: dict[str, Json] = self.document["inputs"]
        return found


def finish(handed: Handed, store: str, memory: int | None, tell: Tell) -> Outcome:
    """Make a case from what was handed over, in the store named; sources and key are not needed."""
    folder = Path(handed.folder)

    def begin() -> case.Begun:
        document = staging.get_document(folder, handed.digest)
        plan = CasePlan.from_json(document["plan"])
        order = Admitted(plan, TaskRules.model_validate_json(document["rules"]), folder, document)
        return case.Begun(order, Path(store), document["entry"], None)

    return case.conclude(handed, begin, Journal(tell), memory)
