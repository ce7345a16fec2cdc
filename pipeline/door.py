"""How the sources of a case come through the door: read, de-identified, looked at, noted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pydicom.dataset import Dataset

from pipeline.io import annotation
from pipeline.io.dicom import read_dataset
from pipeline.io.imagefile import read_image
from pipeline.io.policy import load_policy
from pipeline.io.source import read_refs
from pipeline.model.errors import GeometryError
from pipeline.model.identified import Identified
from pipeline.model.plan import CasePlan, LabelSource
from pipeline.model.record import Json, Note, Step
from pipeline.model.rules import Channel, TaskRules
from pipeline.model.series import Kind, SourceRef
from pipeline.model.volume import Annotation, Quantity, Volume
from pipeline.orders import ATLAS, BRAIN_MASK, LABEL, Order
from pipeline.pixelgate import Gate, screen_slices, screen_volume
from pipeline.stages.accept import accept
from pipeline.stages.convert import convert
from pipeline.stages.deidentify import claims_text, deidentify
from pipeline.stages.face import PART_KEYWORDS
from pipeline.stages.label import known_names
from pipeline.stages.orient import orient
from pipeline.stages.quantify import quantify
from pipeline.stages.unfold import unfold


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


class Journal:
    """The notes of one case in the order of its rooms, and the room it is in."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.tell = tell
        self.stage = "open"
        self.notes: list[dict[str, Json]] = []
        self.pictures: dict[str, bytes] = {}
        """What a room shows to whoever reviews the case: file name -> PNG."""

    def enter(self, stage: str) -> None:
        """Say which room comes now; a refusal will name it."""
        self.stage = stage
        self.tell(stage)

    def keep(self, step: Step[Any], about: str) -> Any:
        """Write a room's note down, saying what it is about (a channel, or `label`); hand on its value."""
        self.keep_note(step.note, about)
        return step.value

    def keep_note(self, note: Note, about: str) -> None:
        """Write a note down."""
        self.notes.append({"channel": about, **note.to_json()})


@dataclass(frozen=True, slots=True)
class Doorstep:
    """A case before the door: its order, and its sources where the plan says."""

    order: Order

    @property
    def plan(self) -> CasePlan:
        """The case's line of the plan."""
        return self.order.plan

    @property
    def rules(self) -> TaskRules:
        """Its task's rules."""
        return self.order.rules

    def links(self) -> dict[str, Json]:
        """Return the keyed digests of the sources of each channel and the label."""
        return self.order.links()

    def inputs(self) -> dict[str, Json]:
        """Return what the case is made from, as people can read and the store may keep it."""
        return self.order.inputs()

    def let_in(self, about: str, journal: Journal) -> LetIn:
        """Read the sources of a channel or the label, and bring them through the door."""
        order = self.order
        source = order.plan.label
        if about == LABEL and source is not None:
            return _let_label_in(order, source, journal)
        if about == BRAIN_MASK:
            return LetIn(journal.keep(_mask_let_in(order, order.plan.given[about]), about))
        if about == ATLAS:
            return LetIn(_read_atlas(order.plan.given[about]))
        channel = next(channel for channel in order.rules.channels if channel.name == about)
        journal.enter("deidentify")
        if order.rules.source is not None:
            return LetIn(_read_file(order, channel, journal))
        return _let_slices_in(order, channel, journal)


def _let_slices_in(order: Order, channel: Channel, journal: Journal) -> LetIn:
    """Return a channel's slices without a person in header or pixels, and their volume."""
    identified = Identified(_read(order.plan.channels[channel.name]))
    clean = _clean(order, identified, channel.name, journal)
    journal.enter("convert")
    slices = wanted_slices(clean, order.plan.frames.get(channel.name, ()))
    made = converted(slices, channel)
    journal.enter("screen")
    screened = screen_slices(slices, _gate(order), is_claimed=claims_text(identified))
    if "covered" in screened.note.facts:
        made = converted(screened.value, channel)
    return LetIn(journal.keep(screened, channel.name), made)


def converted(slices: Sequence[Dataset], channel: Channel) -> Step[Volume]:
    """Return the volume of a channel's slices, measured as its rules say."""
    measure = quantify(slices, channel.quantity, values=channel.values or "rescale")
    return convert(
        slices, measure, geometry=channel.geometry, padding=channel.padding, outliers=channel.outliers
    )


def _let_label_in(order: Order, source: LabelSource, journal: Journal) -> LetIn:
    """Return a mask's drawing, or the de-identified object that holds one."""
    if source.kind is Kind.MASK:
        journal.enter(LABEL)
        return LetIn(journal.keep(_mask_let_in(order, source), LABEL))
    journal.enter("deidentify")
    return LetIn(_clean(order, Identified(_read([source.ref])), LABEL, journal))


def _mask_let_in(order: Order, source: LabelSource) -> Step[Annotation]:
    """Return a mask with the names that its author gave to what the task wants, and no other."""
    step = read_mask_source(source)
    return replace(step, value=known_names(step.value, order.rules.label))


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
    screened: Volume = journal.keep(screen_volume(accepted.value, _gate(order)), channel.name)
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
        policy=load_policy(None),
        key=order.key,
        vocabulary=order.vocabulary,
        ignored=order.ignored,
        admits_text=about != LABEL,
    )
    clean: tuple[Dataset, ...] = journal.keep(step, about)
    return clean


def read_mask_source(source: LabelSource) -> Step[Annotation]:
    """Read a mask with what belongs to it."""
    content = dict(zip(source.refs, read_refs(source.refs), strict=True))
    names = None
    if source.names is not None:
        names = annotation.read_label_names(content[source.names].decode("utf-8", errors="replace"))
    companion = None if source.data is None else content[source.data]
    return annotation.read_mask(content[source.ref], source.inside, companion=companion, names=names)


def _read_atlas(source: LabelSource) -> Volume:
    """Return the reference image that the curator gave, in RAS+."""
    blob, *others = read_refs(source.refs)
    name = source.ref.member or source.ref.path
    stored = read_image(blob, name, companion=others[0] if others else None)
    return orient(accept(stored.value, Quantity.ARBITRARY).value).value


def _gate(order: Order) -> Gate:
    """Return what is done about text in the pixels of a case."""
    return Gate(order.screening, order.rules.burned_in)
