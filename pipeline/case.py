"""One case's walk through the rooms."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from pydicom.dataset import Dataset

from pipeline.facegate import guard_faces
from pipeline.io import annotation, nifti, store
from pipeline.io.dicom import read_dataset
from pipeline.io.document import canonical, read_line_at
from pipeline.io.imagefile import read_image
from pipeline.io.picture import png
from pipeline.io.policy import load_policy
from pipeline.io.ruleset import canonical_form
from pipeline.io.source import read_refs
from pipeline.io.workspace import Workspace, keep_pictures, open_workspace
from pipeline.model.deid import Policy
from pipeline.model.errors import CurationError, ExposureError, GeometryError, LabelError, SourceError
from pipeline.model.exposure import Screening
from pipeline.model.identified import Identified, Key, source_token
from pipeline.model.plan import CasePlan, LabelSource
from pipeline.model.record import Finished, Json, Note, Outcome, Refusal, Step, decimals
from pipeline.model.rules import Channel, Label, LabelClass, TaskRules
from pipeline.model.series import Kind, SourceRef
from pipeline.model.volume import Annotation, Grid, Move, Quantity, Volume, value_name
from pipeline.pixelgate import Gate, screen_slices, screen_volume
from pipeline.stages.accept import accept
from pipeline.stages.align import align
from pipeline.stages.check import check
from pipeline.stages.convert import convert
from pipeline.stages.deidentify import claims_text, deidentify
from pipeline.stages.face import PART_KEYWORDS, Part, said_part
from pipeline.stages.fix import half_turn
from pipeline.stages.label import label
from pipeline.stages.orient import orient
from pipeline.stages.quantify import quantify
from pipeline.stages.rasterise import rasterise
from pipeline.stages.register import register
from pipeline.stages.scale import scale
from pipeline.stages.strip import strip
from pipeline.stages.unfold import unfold

ROOMS = {
    "deidentify": 1, "accept": 1, "screen": 2, "convert": 3, "orient": 1, "align": 1, "fix": 1, "scale": 1,
    "rasterise": 1, "label": 1, "check": 1, "register": 1, "strip": 1, "face": 1, "deface": 1,
}  # fmt: skip
"""Version of what each room does to voxels or notes: raise it when its golden bytes change."""

_RECORD = 2
"""Version of what a record says beside the notes: raise it when the same case gets another line."""

LABEL = "label"
"""What notes, links and the door call the label, beside the channels by name."""

BRAIN_MASK, ATLAS = "brain_mask", "atlas"
"""What they call what a curator gives where the rules ask for it."""

_DECIDES = ("name", "quantity", "values", "scale", "geometry", "padding", "outliers", "registration")
"""What of a channel's rules decides its voxels, once its series is chosen."""

_EXTRAS = ("rapidocr", "onnxruntime", "pydeface")
"""What reads pictures and takes faces away; where it is not installed, neither is done."""

_COMPUTES = ("numpy", "SimpleITK", "pydicom", "nibabel", "python-gdcm", "pylibjpeg-openjpeg", "pyjpegls")


@cache
def software() -> dict[str, Json]:
    """Return the versions of all that computes a released byte."""
    versions: dict[str, Json] = {name: version(name) for name in _COMPUTES}
    return {
        "curate": version("curate-releases"),
        **versions,
        **{name: _version_or_none(name) for name in _EXTRAS},
        "compressor": nifti.compressor(),
        "rooms": dict(ROOMS),
    }


def _version_or_none(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


@dataclass(frozen=True, slots=True)
class Request:
    """Which case to make: opaque names and a place in a plan, because it crosses the network."""

    workspace: str
    task: str
    case: str
    offset: int


@dataclass(frozen=True, slots=True)
class LetIn:
    """What came through the door: instances, a volume or a drawing; of a channel also its volume, if it was made."""

    value: Any
    converted: Step[Volume] | None = None


class Admissible(Protocol):
    """What a walk knows of its case: what is planned, and how its channels and label come through the door."""

    @property
    def plan(self) -> CasePlan:
        """The case's line of the plan."""

    @property
    def rules(self) -> TaskRules:
        """Its task's rules."""

    def let_in(self, about: str, journal: Journal) -> LetIn:
        """Bring a channel or the label through the door."""

    def links(self) -> dict[str, Json]:
        """Return the keyed digests of the sources of each channel and the label."""

    def inputs(self) -> dict[str, Json]:
        """Return what the case is made from, as people can read and the store may keep it."""


@dataclass(frozen=True, slots=True)
class Order:
    """Everything a walk needs to know of a case beside its sources."""

    plan: CasePlan
    rules: TaskRules
    policy: Policy
    key: Key
    screening: Screening

    @property
    def gate(self) -> Gate:
        """What is done about text in the pixels."""
        return Gate(self.screening, self.rules.burned_in)

    @property
    def vocabulary(self) -> tuple[re.Pattern[str], ...]:
        """Names of contours and segments that the rules know; others do not pass the door."""
        rule = self.rules.label
        names = [*rule.ignore, *(pattern for item in rule.classes for pattern in item.from_names)]
        return tuple(re.compile(name, re.IGNORECASE) for name in names)

    def action(self) -> dict[str, Json]:
        """Return all that decides the case's bytes; its keyed digest names the case in the store."""
        rules = self.rules
        return {
            "record": _RECORD, "task": self.plan.task, "case": self.plan.case, "subset": self.plan.subset,
            "subject": self.plan.subject, "warnings": list(self.plan.warnings),
            "half_turn": None if self.plan.half_turn is None else dict(self.plan.half_turn),
            "channels": [c.model_dump_json(include={*_DECIDES}, exclude_none=True) for c in rules.channels],
            "label": None if self.plan.label is None else rules.label.model_dump_json(),
            **self._pixels(), "policy": self.policy.digest, "software": software(),
            "sources": {name: [ref.digest for ref in refs] for name, refs in self.plan.channels.items()},
            "frames": {name: [list(slice_) for slice_ in found] for name, found in self.plan.frames.items()},
            "label_source": None if self.plan.label is None else dict(self.plan.label.digests()),
            "given": {name: dict(source.digests()) for name, source in self.plan.given.items()},
            "brain_mask": None if rules.brain_mask is None else rules.brain_mask.model_dump_json(),
        }  # fmt: skip

    def _pixels(self) -> dict[str, Json]:
        """Return what is done about what the pixels show."""
        rule, face = self.rules.burned_in, self.rules.face
        return {
            "unscreened": self.screening.unscreened,
            "burned_in": None if rule is None else rule.model_dump(),
            "face": None if face is None else face.model_dump(),
        }

    def inputs(self) -> dict[str, Json]:
        """Return what `action` holds as people can read and the store may keep it: source digests are keyed."""
        rules = canonical_form(self.rules)
        channels: list[Any] = rules["channels"]  # type: ignore[index,call-overload,assignment]  # rules are an object
        plan = self.plan
        given = (ATLAS, BRAIN_MASK)
        return {
            "format": "curate-action/1", "record": _RECORD, "task": plan.task, "case": plan.case,
            "subset": plan.subset,
            "subject": plan.subject, "warnings": list(plan.warnings),
            "half_turn": None if plan.half_turn is None else dict(plan.half_turn),
            "channels": [{k: c[k] for k in _DECIDES if k in c} for c in channels],
            "label": None if plan.label is None else rules["label"],  # type: ignore[index,call-overload]
            **self._pixels(),
            "policy": self.policy.digest, "software": software(), "sources": self.links(),
            "frames": {name: [list(slice_) for slice_ in found] for name, found in plan.frames.items()},
            **{name: rules[name] for name in given if name in rules},  # type: ignore[index,operator,call-overload]
        }  # fmt: skip

    def links(self) -> dict[str, Json]:
        """Return the keyed digests of the sources of each channel, the label, and what else was given."""
        given = {name: source.refs for name, source in self.plan.given.items()}
        files = {**self.plan.channels, **given}
        found: dict[str, Json] = {name: _keyed(self, refs) for name, refs in files.items()}
        if self.plan.label is not None:
            found[LABEL] = _keyed(self, self.plan.label.refs)
        return found

    def let_in(self, about: str, journal: Journal) -> LetIn:
        """Read the sources of a channel or the label, and bring them through the door."""
        source = self.plan.label
        if about == LABEL and source is not None:
            return _let_label_in(self, source, journal)
        if about == BRAIN_MASK:
            return LetIn(journal.keep(_read_mask(self.plan.given[about]), about))
        if about == ATLAS:
            return LetIn(_read_atlas(self.plan.given[about]))
        channel = next(channel for channel in self.rules.channels if channel.name == about)
        journal.enter("deidentify")
        if self.rules.source is not None:
            return LetIn(_read_file(self, channel, journal))
        return _let_slices_in(self, channel, journal)


class Journal:
    """The notes of one case in the order of its rooms, and the room it is in."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self.stage = "open"
        self.notes: list[dict[str, Json]] = []
        self.pictures: dict[str, bytes] = {}
        """What a room shows to whoever reviews the case: file name -> PNG."""

    def enter(self, stage: str) -> None:
        """Say which room comes now; a refusal will name it."""
        self.stage = stage
        self._tell(stage)

    def keep(self, step: Step[Any], about: str) -> Any:
        """Write a room's note down, saying what it is about (a channel, or `label`); hand on its value."""
        self.keep_note(step.note, about)
        return step.value

    def keep_note(self, note: Note, about: str) -> None:
        """Write a note down."""
        self.notes.append({"channel": about, **note.to_json()})


def walk(order: Admissible, journal: Journal) -> tuple[tuple[Volume, ...], Volume | None]:
    """Take one case from its source files to finished channels and label, all on one RAS+ grid."""
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
    channels = journal.keep(guard_faces(channels, parts, order.rules.face), "image")
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


def _read_atlas(source: LabelSource) -> Volume:
    """Return the reference image that the curator gave, in RAS+."""
    blob, *others = read_refs(source.refs)
    name = source.ref.member or source.ref.path
    stored = read_image(blob, name, companion=others[0] if others else None)
    return orient(accept(stored.value, Quantity.ARBITRARY).value).value


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
    volume: Volume = journal.keep(came.converted or _convert(came.value, channel), channel.name)
    frame = str(came.value[0].get("FrameOfReferenceUID", ""))
    return volume, frame, said_part(part_facts(came.value[0]))


def _let_slices_in(order: Order, channel: Channel, journal: Journal) -> LetIn:
    """Return a channel's slices without a person in header or pixels, and their volume."""
    identified = Identified(_read(order.plan.channels[channel.name]))
    clean = _clean(order, identified, channel.name, journal)
    journal.enter("convert")
    slices = wanted_slices(clean, order.plan.frames.get(channel.name, ()))
    converted = _convert(slices, channel)
    journal.enter("screen")
    screened = screen_slices(slices, order.gate, is_claimed=claims_text(identified))
    if "covered" in screened.note.facts:
        converted = _convert(screened.value, channel)
    return LetIn(journal.keep(screened, channel.name), converted)


def _convert(slices: Sequence[Dataset], channel: Channel) -> Step[Volume]:
    measure = quantify(slices, channel.quantity, values=channel.values or "rescale")
    return convert(
        slices, measure, geometry=channel.geometry, padding=channel.padding, outliers=channel.outliers
    )


def _let_label_in(order: Order, source: LabelSource, journal: Journal) -> LetIn:
    """Return a mask's drawing, or the de-identified object that holds one."""
    if source.kind is Kind.MASK:
        journal.enter(LABEL)
        return LetIn(journal.keep(_read_mask(source), LABEL))
    journal.enter("deidentify")
    return LetIn(_clean(order, Identified(_read([source.ref])), LABEL, journal))


def part_facts(dataset: Dataset) -> dict[str, Any]:
    """Return what the header says of the part of the body."""
    return {keyword: dataset.get(keyword) for keyword in PART_KEYWORDS}


def _read_file(order: Order, channel: Channel, journal: Journal) -> Volume:
    """Return a channel that is no longer DICOM, on its file's grid; no text of its header comes through."""
    refs, ((_, number),) = order.plan.channels[channel.name], order.plan.frames[channel.name]
    blob, *others = read_refs(refs)
    name = refs[0].member or refs[0].path
    stored = read_image(blob, name, companion=others[0] if others else None, volume=number)
    voxels: Volume = journal.keep(stored, channel.name)
    journal.enter("convert")
    accepted = accept(voxels, channel.quantity)
    journal.enter("screen")
    screened: Volume = journal.keep(screen_volume(accepted.value, order.gate), channel.name)
    journal.keep_note(accepted.note, channel.name)
    return screened


def wanted_slices(datasets: Sequence[Dataset], frames: Sequence[tuple[int, int]]) -> Sequence[Dataset]:
    """Return the slices of a volume: the datasets, or the named frames of those that hold several.

    Raises
    ------
    GeometryError
        layout-missing, where an image holds fewer slices than before the door: what tells of them did not pass it.
    """
    if not frames:
        return datasets
    unfolded = [unfold(dataset) for dataset in datasets]
    if any(frame >= len(unfolded[file]) for file, frame in frames):
        raise GeometryError(
            "layout-missing",
            wanted="the slices that were indexed",
            found="fewer, de-identified",
            where="unfold",
        )
    return [unfolded[file][frame] for file, frame in frames]


def _read(refs: Sequence[SourceRef]) -> list[Dataset]:
    return [read_dataset(content) for content in read_refs(refs)]


def _clean(
    order: Order, identified: Identified[Sequence[Dataset]], about: str, journal: Journal
) -> tuple[Dataset, ...]:
    """Let datasets through the door; the pixels of images are looked at afterwards."""
    step = deidentify(
        identified,
        policy=order.policy,
        key=order.key,
        vocabulary=order.vocabulary,
        admits_text=about != LABEL,
    )
    clean: tuple[Dataset, ...] = journal.keep(step, about)
    return clean


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


def _read_mask(source: LabelSource) -> Step[Annotation]:
    """Read a mask with what belongs to it."""
    content = dict(zip(source.refs, read_refs(source.refs), strict=True))
    names = None
    if source.names is not None:
        names = annotation.read_label_names(content[source.names].decode("utf-8", errors="replace"))
    companion = None if source.data is None else content[source.data]
    return annotation.read_mask(content[source.ref], source.inside, companion=companion, names=names)


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


def _keyed(order: Order, refs: Sequence[SourceRef]) -> list[str]:
    case_key = order.key.of_case(order.plan.task, order.plan.case)
    return [source_token(case_key, ref.digest) for ref in refs]


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


def entry_of(order: Order) -> str:
    """Return where the finished case stands in the store: its name is the keyed digest of all that makes it."""
    return store.entry_name(order.key, order.action())


def found_finished(workspace: Workspace, order: Order) -> Finished | None:
    """Return a case that stands in the store, whole by its digests; None when it must be made."""
    entry = entry_of(order)
    if store.find(workspace.store, entry) is None:
        return None
    return Finished(order.plan.task, order.plan.case, entry, False, tuple(order.plan.warnings))


@dataclass(frozen=True, slots=True)
class Orders:
    """What all cases of a task have in common."""

    rules: TaskRules
    policy: Policy
    key: Key
    screening: Screening

    @classmethod
    def of(cls, workspace: Workspace, rules: TaskRules) -> Orders:
        """Return what a workspace adds to a task's rules: the policy, the key, and what its settings say of pixels."""
        return cls(rules, load_policy(None), workspace.key(), workspace.settings().screening)

    def order(self, plan: CasePlan) -> Order:
        """Return one case's order."""
        return Order(plan, self.rules, self.policy, self.key, self.screening)


def read_order(workspace: Workspace, request: Request) -> Order:
    """Return the planned case with the rules it was planned under."""
    path = workspace.plans / f"{request.task}.jsonl"
    rules = TaskRules.model_validate_json(read_line_at(path, 0)["rules"])
    return Orders.of(workspace, rules).order(CasePlan.from_json(read_line_at(path, request.offset)))


def admit(plan: CasePlan, memory: int | None) -> None:
    """Refuse a case that cannot fit, with the number it needs."""
    need = plan.memory_need()
    if memory is not None and need > memory:
        raise SourceError(
            "case-too-large", wanted=f"a worker with {_mib(need)} MiB for a case", found=f"{_mib(memory)} MiB"
        )


def _mib(count: int) -> int:
    return -(-count // 2**20)


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
        return Begun(order, workspace.store, entry_of(order), workspace)

    return conclude(request, begin, Journal(tell), memory)


@dataclass(frozen=True, slots=True)
class Begun:
    """A case with the place where it will stand, and the workspace that keeps pictures of what must be looked at."""

    order: Admissible
    store: Path
    entry: str
    workspace: Workspace | None


class Named(Protocol):
    """What is asked for, by task and case."""

    @property
    def task(self) -> str:
        """Its task."""

    @property
    def case(self) -> str:
        """Its name in the task."""


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
        image, labelled = walk(order, journal)
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
