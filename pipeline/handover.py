"""Make a case in two zones: one that sees sources and key opens the door, one that sees neither does the rest.

The first zone writes what came through the door, each channel and the label with its note, or the refusal that the
door gave instead, and all else that the key decides: the entry's name and the keyed digests. The second walks the same
rooms with that, and meets a refusal where it would have met it at the door itself. So both ways end alike.

A face is identity. Where a channel shows a head, and the rules do not say that its face may stay, the first zone walks
on to where faces are judged, and what crosses is what came past that: stripped, defaced, or refused and not there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from pipeline import case
from pipeline.door import Doorstep, Journal, LetIn, part_facts
from pipeline.facegate import may_show_face
from pipeline.io import staging
from pipeline.io.workspace import Workspace, open_workspace
from pipeline.model.errors import CurationError
from pipeline.model.plan import CasePlan, LabelSource
from pipeline.model.record import Handed, Json, Outcome, Refusal
from pipeline.model.rules import TaskRules
from pipeline.model.series import SourceRef
from pipeline.orders import LABEL, Order, Request, admit, entry_of, read_order
from pipeline.stages.face import Part, said_part
from pipeline.stages.orient import orient

Tell: TypeAlias = Callable[[str], None]

_FORMAT = "curate-handover/1"
_NOWHERE = SourceRef("", None, "", 0)


def open_door(request: Request, folder: str, memory: int | None, tell: Tell) -> Handed | Refusal:
    """Bring a case's channels and label through the door, into a folder of the staging area."""
    target, journal = staging.folder_of(Path(folder), request.task, request.case), Journal(tell)
    try:
        workspace = open_workspace(Path(request.workspace))
        order = read_order(workspace, request)
        admit(order.plan, memory)
        staging.begin(target)
        document: dict[str, Json] = {
            "format": _FORMAT, "entry": entry_of(order), "plan": _without_sources(order.plan),
            "rules": order.rules.model_dump_json(), "links": order.links(), "inputs": order.inputs(),
            **_crossing(workspace, order, target, journal),
        }  # fmt: skip
        return Handed(request.task, request.case, str(target), staging.put_document(target, document))
    except CurationError as error:
        staging.drop(target)
        return Refusal.of(error, task=request.task, case=request.case, stage=journal.stage)


class _HeadSeenError(Exception):
    """A channel shows a head: nothing of the case crosses before its face is judged."""


def _crossing(workspace: Workspace, order: Order, folder: Path, journal: Journal) -> dict[str, Json]:
    """Return what crosses: what came through the door, or, where a head was seen, what came past its judgement."""
    try:
        return {"passages": _passages(workspace, order, folder, journal.tell)}
    except _HeadSeenError:
        staging.begin(folder)
    with case.picturing(workspace, order.plan):
        channels, labelled = case.guarded(Doorstep(order), journal)
    past: dict[str, Json] = {
        "channels": {name: staging.put_value(folder, volume) for name, volume in channels.items()},
        "label": None if labelled is None else staging.put_value(folder, labelled),
        "notes": list(journal.notes),
        "pictures": {name: staging.put(folder, picture) for name, picture in journal.pictures.items()},
    }
    return {"past_face": past}


def _refuse_head(came: LetIn, order: Order) -> None:
    """Stop a channel that shows a head on its own grid, before it is written anywhere."""
    volume = came.value if came.converted is None else came.converted.value
    part = Part.UNSAID if came.converted is None else said_part(part_facts(came.value[0]))
    if may_show_face(orient(volume).value, part, order.rules.face):
        raise _HeadSeenError


def _passages(workspace: Workspace, order: Order, folder: Path, tell: Tell) -> dict[str, Json]:
    """Return what the second zone needs to know of each channel and the label, up to the first that is refused."""
    channels = {channel.name for channel in order.rules.channels}
    beside = [*([] if order.plan.label is None else [LABEL]), *order.plan.given]
    passages: dict[str, Json] = {}
    for about in [*(channel.name for channel in order.rules.channels), *beside]:
        journal = Journal(tell)
        try:
            with case.picturing(workspace, order.plan):
                came = Doorstep(order).let_in(about, journal)
        except CurationError as error:
            said = {"code": error.code, "wanted": error.wanted, "found": error.found, "where": error.where}
            passages[about] = {"stage": journal.stage, "refused": said}
            break
        if about in channels:
            _refuse_head(came, order)
        passages[about] = {"value": staging.put_value(folder, came.value), "notes": journal.notes}
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

    def past_face(self, journal: Journal) -> case.Guarded:
        """Return channels and label that came past the judgement of faces, with their notes and pictures."""
        past = self.document["past_face"]
        journal.notes += past["notes"]
        journal.pictures |= {
            name: staging.get(self.folder, digest) for name, digest in past["pictures"].items()
        }
        volumes: dict[str, Any] = {
            name: staging.get_value(self.folder, told) for name, told in past["channels"].items()
        }
        labelled: Any = None if past["label"] is None else staging.get_value(self.folder, past["label"])
        return volumes, labelled

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
        hand_on = order.past_face if "past_face" in document else None
        return case.Begun(order, Path(store), document["entry"], None, hand_on)

    return case.conclude(handed, begin, Journal(tell), memory)
