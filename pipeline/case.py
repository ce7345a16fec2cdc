"""One case's walk through the rooms."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from pipeline.door import Admissible, Doorstep, Journal, converted, part_facts
from pipeline.facegate import guard_faces
from pipeline.io import annotation, nifti, store
from pipeline.io.document import canonical
from pipeline.io.picture import png
from pipeline.io.workspace import Workspace, keep_pictures, open_workspace
from pipeline.model.errors import CurationError, ExposureError, LabelError
from pipeline.model.plan import CasePlan
from pipeline.model.record import Finished, Json, Note, Outcome, Refusal, Step, decimals
from pipeline.model.rules import Channel, Label, LabelClass, TaskRules
from pipeline.model.series import Kind
from pipeline.model.volume import Annotation, Grid, Move, Volume, value_name
from pipeline.orders import ATLAS, BRAIN_MASK, LABEL, Named, Request, admit, entry_of, read_order
from pipeline.stages.align import align
from pipeline.stages.check import check
from pipeline.stages.face import Part, said_part
from pipeline.stages.fix import half_turn
from pipeline.stages.label import label
from pipeline.stages.orient import orient
from pipeline.stages.rasterise import rasterise
from pipeline.stages.register import register
from pipeline.stages.scale import scale
from pipeline.stages.strip import strip

Guarded: TypeAlias = tuple[dict[str, Volume], Volume | None]
"""Channels and label on one RAS+ grid, of which none shows a face that may not be shown."""


def guarded(order: Admissible, journal: Journal) -> Guarded:
    """Take one case from its source files to where faces are judged."""
    channels: dict[str, Volume] = {}
    acquired: dict[str, tuple[Grid, str]] = {}
    parts: dict[str, Part] = {}
    for channel in order.rules.channels:
        volume, frame, parts[channel.name] = _acquire(order, channel, journal)
        acquired[channel.name] = (volume.grid, frame)
        journal.enter("orient")
        channels[channel.name] = journal.keep(orient(volume), channel.name)
    drawn_on = order.rules.label.channel or order.rules.channels[0].name
    drawing = _draw(order, acquired[drawn_on], journal)
    frames = {name: frame for name, (_, frame) in acquired.items()}
    moves, reference = _moves(order, channels, frames, journal)
    journal.enter("align")
    for name, volume in channels.items():
        channels[name] = journal.keep(align(moves[name].volume(volume), reference), name)
    labelled = None
    if drawing is not None:
        journal.enter("label")
        moved = moves[drawn_on].annotation(drawing)
        labelled = journal.keep(label(moved, reference, order.rules.label), "label")
    if BRAIN_MASK in order.plan.given:
        channels = _stripped(order, channels, moves, reference, journal)
    if order.plan.half_turn is not None:
        journal.enter("fix")
        channels = {
            name: journal.keep(_turned(v, order.plan.half_turn), name) for name, v in channels.items()
        }
        if labelled is not None:
            labelled = journal.keep(_turned(labelled, order.plan.half_turn), "label")
    journal.enter("face")
    return journal.keep(guard_faces(channels, parts, order.rules.face), "image"), labelled


def finished(order: Admissible, come: Guarded, journal: Journal) -> tuple[tuple[Volume, ...], Volume | None]:
    """Take channels and label from where faces were judged to their end."""
    channels, labelled = come
    journal.enter("scale")
    image = tuple(journal.keep(scale(channels[c.name], c.scale), c.name) for c in order.rules.channels)
    journal.enter("check")
    rules = order.rules
    note = check(image, labelled, channels=rules.channels, classes=rules.label.classes)
    journal.keep_note(note, "image")
    return image, labelled


def _moves(
    order: Admissible, channels: Mapping[str, Volume], frames: Mapping[str, str], journal: Journal
) -> tuple[dict[str, Move], Grid]:
    """Return how each channel is moved, and the grid that all are brought onto."""
    first, *others = order.rules.channels
    reference = channels[first.name]
    moves = {first.name: Move()}
    for channel in others:
        rule, is_other = channel.registration, _is_other(frames[channel.name], frames[first.name])
        if rule is not None and (is_other or rule.when == "always"):
            moves[channel.name] = _registered(channels[channel.name], reference, channel.name, journal)
        else:
            _same_frame(frames[channel.name], frames[first.name], channel.name)
            moves[channel.name] = Move()
    if ATLAS not in order.plan.given:
        return moves, reference.grid
    journal.enter("register")
    atlas: Volume = order.let_in(ATLAS, journal).value
    onto = _registered(reference, atlas, first.name, journal, facts={"atlas_affine": decimals(atlas.affine)})
    return {name: onto.after(move) for name, move in moves.items()}, atlas.grid


def _registered(
    moving: Volume, fixed: Volume, name: str, journal: Journal, *, facts: Mapping[str, Json] | None = None
) -> Move:
    """Return the move of a channel onto an image, having shown and noted it."""
    journal.enter("register")
    step = register(moving, fixed)
    picture = png(step.value.picture)
    journal.pictures[f"register-{re.sub('[^A-Za-z0-9]+', '-', name)}.png"] = picture
    journal.keep_note(Note(step.note.stage, {**step.note.facts, **(facts or {})}), name)
    return step.value.move


def _stripped(
    order: Admissible, channels: Mapping[str, Volume], moves: Mapping[str, Move], onto: Grid, journal: Journal
) -> dict[str, Volume]:
    """Return the channels with 0 outside of the brain mask."""
    rule = order.rules.brain_mask
    if rule is None:
        raise RuntimeError("a brain mask was planned that no rule wants")
    journal.enter("strip")
    drawn: Annotation = order.let_in(BRAIN_MASK, journal).value
    inside = np.logical_or.reduce(list(drawn.masks.values()) or [np.zeros(drawn.grid.shape, np.bool_)])
    whole = Annotation({value_name(1): inside}, drawn.grid)
    brain = Label(classes=(LabelClass(value=1, name="brain", from_names=()),), resample=rule.resample)
    moved = moves[rule.channel or order.rules.channels[0].name].annotation(whole)
    mask = label(moved, onto, brain)
    journal.keep_note(Note("strip", mask.note.facts), BRAIN_MASK)
    return {name: journal.keep(strip(volume, mask.value), name) for name, volume in channels.items()}


def _turned(volume: Volume, turn: Mapping[str, str]) -> Step[Volume]:
    """Turn a volume as the rules say; the note also holds the digest of the evidence."""
    step = half_turn(volume, why=turn["why"], evidence=turn["evidence"])
    return Step(step.value, Note(step.note.stage, {**step.note.facts, "evidence_digest": turn["digest"]}))


def _acquire(order: Admissible, channel: Channel, journal: Journal) -> tuple[Volume, str, Part]:
    """Return a channel as it was acquired, its (pseudonymous) frame of reference, and the part that its header says."""
    came = order.let_in(channel.name, journal)
    if order.rules.source is not None:
        return came.value, "", Part.UNSAID
    journal.enter("convert")
    volume: Volume = journal.keep(came.converted or converted(came.value, channel), channel.name)
    frame = str(came.value[0].get("FrameOfReferenceUID", ""))
    return volume, frame, said_part(part_facts(came.value[0]))


def _draw(order: Admissible, drawn_on: tuple[Grid, str], journal: Journal) -> Annotation | None:
    """Return the expert's drawing as masks, on the grid of the image it was drawn on or on its own."""
    source = order.plan.label
    if source is None:
        return None
    grid, frame = drawn_on
    journal.enter("label")
    if source.kind is Kind.MASK:
        drawing: Annotation = order.let_in(LABEL, journal).value
        return drawing
    if order.rules.source is not None:
        # A drawing in millimetres of a frame of reference says nothing about a file that names none.
        raise LabelError(
            "frame-of-reference", wanted="a mask, because the images are no DICOM", found=source.kind.value
        )
    (dataset,) = order.let_in(LABEL, journal).value
    if source.kind is Kind.SEG:
        journal.enter("label")
        _same_frame(str(dataset.get("FrameOfReferenceUID", "")), frame, "label")
        segments: Annotation = journal.keep(
            annotation.read_seg(dataset, grid, threshold=order.rules.label.threshold), "label"
        )
        return segments
    journal.enter("rasterise")
    contours = annotation.read_rtstruct(dataset)
    for roi in contours.rois:
        _same_frame(roi.frame_of_reference_uid, frame, "label")
    drawn: Annotation = journal.keep(rasterise(contours.rois, grid), "label")
    return drawn


def _is_other(first: str, second: str) -> bool:
    """Whether two frames of reference are said and differ."""
    return bool(first and second and first != second)


def _same_frame(first: str, second: str, what: str) -> None:
    """Refuse two frames of reference: the same millimetres are then not the same place (PS3.3 C.7.4.1)."""
    if _is_other(first, second):
        raise LabelError("frame-of-reference", wanted="one frame of reference", found="two", where=what)


def encode(image: Sequence[Volume], labelled: Volume | None) -> dict[str, nifti.NiftiFile]:
    """Return the files of a finished case: `image` (channels last) and `label`, if there is one."""
    data = image[0].data if len(image) == 1 else np.stack([volume.data for volume in image], axis=-1)
    if data.dtype not in (np.int16, np.float32):
        data = data.astype(np.float32)
    files = {"image": nifti.encode(data, image[0].affine)}
    if labelled is not None:
        files["label"] = nifti.encode(labelled.data, labelled.affine)
    return files


def _record(
    order: Admissible, journal: Journal, labelled: Volume | None, files: Mapping[str, nifti.NiftiFile]
) -> dict[str, Json]:
    plan = order.plan
    drawn: dict[str, Json] | None = None
    if labelled is not None:
        drawn = {**files["label"].facts, "classes": _classes(order.rules, labelled)}
    return {
        "format": "curate-case/1", "task": plan.task, "case": plan.case, "subset": plan.subset,
        "subject": plan.subject, "sources": order.links(), "notes": journal.notes, "image": files["image"].facts,
        "label": drawn, "warnings": list(plan.warnings),
    }  # fmt: skip


def _classes(rules: TaskRules, labelled: Volume) -> dict[str, Json]:
    counts = np.bincount(labelled.data.ravel(), minlength=len(rules.label.classes) + 1)
    ml = labelled.grid.voxel_ml
    return {
        str(item.value): {
            "name": item.name,
            "voxels": int(counts[item.value]),
            "ml": f"{counts[item.value] * ml:.6f}",
        }
        for item in rules.label.classes
    }


def _place(bug: Exception) -> str:
    """Return where a bug came up, without its text, which may quote what was being handled."""
    frame = traceback.extract_tb(bug.__traceback__)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"


def run(request: Request, tell: Callable[[str], None], memory: int | None = None) -> Outcome:
    """Make one case, or find it finished; whatever is wrong with it becomes a refusal.

    Nothing a case leaves in memory outlives it, and nothing of its identity is in the outcome. One that by its
    number of voxels needs more than `memory` bytes is not begun; None means that there is no such limit.
    """

    def begin() -> Begun:
        workspace = open_workspace(Path(request.workspace))
        order = read_order(workspace, request)
        return Begun(Doorstep(order), workspace.store, entry_of(order), workspace)

    return conclude(request, begin, Journal(tell), memory)


@dataclass(frozen=True, slots=True)
class Begun:
    """A case with the place where it will stand, and the workspace that keeps pictures of what must be looked at."""

    order: Admissible
    store: Path
    entry: str
    workspace: Workspace | None
    handed: Callable[[Journal], Guarded] | None = None
    """What hands on what another zone brought past the judgement of faces; None where all is still to be done."""


def conclude(request: Named, begin: Callable[[], Begun], journal: Journal, memory: int | None) -> Outcome:
    """Return how a case ended that `begin` reads; see `run`."""
    try:
        begun = begin()
        order = begun.order
        was_made = store.find(begun.store, begun.entry) is None
        if was_made:
            admit(order.plan, memory)
            _make(begun, journal)
    except CurationError as error:
        return Refusal.of(error, task=request.task, case=request.case, stage=journal.stage)
    except MemoryError:
        # No bug, and nothing that can be told from here: who set the limit says what it means.
        raise
    except Exception as bug:  # noqa: BLE001 - a bug met in one case is an outcome of it, and the others go on
        return Refusal(
            request.task,
            request.case,
            journal.stage,
            "bug",
            "a room that works",
            type(bug).__name__,
            _place(bug),
        )
    return Finished(request.task, request.case, begun.entry, was_made, tuple(order.plan.warnings))


def _make(begun: Begun, journal: Journal) -> None:
    """Take a case through its rooms and into the store."""
    order = begun.order
    with picturing(begun.workspace, order.plan):
        come = guarded(order, journal) if begun.handed is None else begun.handed(journal)
        image, labelled = finished(order, come, journal)
    journal.enter("store")
    files = encode(image, labelled)
    record = _record(order, journal, labelled, files)
    contents = {name: file.content for name, file in files.items()}
    contents |= {"action": canonical(order.inputs()), **journal.pictures}
    store.put(begun.store, begun.entry, record, contents)


@contextmanager
def picturing(workspace: Workspace | None, plan: CasePlan) -> Iterator[None]:
    """Keep the pictures of a case that shows text, for a person to look at; those of an earlier try go."""
    if workspace is None:
        yield
        return
    name = f"{plan.task}-{plan.case}"
    keep_pictures(workspace, name, ())
    try:
        yield
    except ExposureError as error:
        keep_pictures(workspace, name, error.pictures)
        raise
