"""What a plan says of one case: which files make which channel, which make the label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.model.series import Kind, SourceFile, SourceRef, Stack

TRAINING, TEST = "training", "test"

_BASE_BYTES = 192 * 2**20
_BYTES_A_VOXEL = 40
_BYTES_KEPT = 8
"""What one case needs: for itself, for each voxel of its largest channel at work, for each voxel kept meanwhile.

Measured: 163 MiB, of them most for what reads lettering, and 22 bytes a voxel for one CT channel with a mask; scaling
and resampling a magnitude channel take 17 bytes a voxel beside it. With room for a label of many classes.
"""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One study of one subject that may become a case of a task.

    `name` is the keyed token under which its number is remembered; `row` is its line of the case table.
    """

    name: str
    subject: str
    stacks: Sequence[Stack]
    labels: Sequence[SourceFile]
    row: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Choice:
    """What the rules choose of a candidate: a stack for each channel by name, and its label, if any."""

    channels: Mapping[str, Stack]
    label: SourceFile | None
    warnings: Sequence[str]
    brain_mask: SourceFile | None = None


def refs_and_frames(stack: Stack) -> tuple[tuple[SourceRef, ...], tuple[tuple[int, int], ...]]:
    """Return a stack's files, each once, and where its slices lie in them if a file holds several."""
    refs = tuple(dict.fromkeys(file.ref for file in stack.files))
    place = {ref: number for number, ref in enumerate(refs)}
    frames = tuple((place[file.ref], file.frame) for file in stack.files if file.frame is not None)
    return refs, frames


def voxels_of(stack: Stack) -> int:
    """Return rows x columns x slices of a stack, as its headers say."""
    rows, columns = (int(stack.facts.get(name) or 0) for name in ("Rows", "Columns"))
    # A file that is no longer DICOM holds all slices of its volume.
    return rows * columns * int(stack.facts.get("slices") or len(stack.files))


@dataclass(frozen=True, slots=True)
class LabelSource:
    """The label's kind and file, and what belongs to a mask: its voxels' own file, the names of its values."""

    kind: Kind
    ref: SourceRef
    inside: str
    data: SourceRef | None = None
    names: SourceRef | None = None

    @property
    def refs(self) -> tuple[SourceRef, ...]:
        """All files that make the label, the named one first."""
        return tuple(ref for ref in (self.ref, self.data, self.names) if ref is not None)

    def digests(self) -> dict[str, str]:
        """Return what each file is to the label -> its digest."""
        named = {"ref": self.ref, "data": self.data, "names": self.names}
        return {name: ref.digest for name, ref in named.items() if ref is not None}

    def to_json(self) -> dict[str, Any]:
        """Return the source as one JSON object."""
        beside = {"data": self.data, "names": self.names}
        return {
            "kind": self.kind.value,
            "ref": self.ref.to_json(),
            "inside": self.inside,
            **{name: None if ref is None else ref.to_json() for name, ref in beside.items()},
        }

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> LabelSource:
        """Return the source that `to_json` wrote."""
        data, names = (
            None if line.get(name) is None else SourceRef(*line[name]) for name in ("data", "names")
        )
        return cls(Kind(line["kind"]), SourceRef(*line["ref"]), line["inside"], data, names)


@dataclass(frozen=True, slots=True)
class CasePlan:
    """One line of a plan; private, because it names source files."""

    task: str
    case: str
    subset: str
    subject: str
    channels: Mapping[str, Sequence[SourceRef]]
    frames: Mapping[str, Sequence[tuple[int, int]]]
    """Channel -> (place of the file in the channel, frame) of each slice; only where a file holds several."""
    label: LabelSource | None
    half_turn: Mapping[str, str] | None
    warnings: Sequence[str]
    voxels: Mapping[str, int] = field(default_factory=dict)
    """Channel -> rows x columns x slices; an estimate of what the case needs, nothing that decides its bytes."""
    given: Mapping[str, LabelSource] = field(default_factory=dict)
    """What the curator gives beside images and label, where the rules ask for it: `brain_mask`, `atlas`."""

    def memory_need(self) -> int:
        """Return how many bytes of memory the case needs at most, estimated from its number of voxels."""
        return (
            _BASE_BYTES
            + _BYTES_A_VOXEL * max(self.voxels.values(), default=0)
            + _BYTES_KEPT * sum(self.voxels.values())
        )

    def to_json(self) -> dict[str, Any]:
        """Return the line as one JSON object."""
        return {
            "kind": "case",
            "task": self.task,
            "case": self.case,
            "subset": self.subset,
            "subject": self.subject,
            "channels": {name: [ref.to_json() for ref in refs] for name, refs in self.channels.items()},
            "frames": {name: [list(slice_) for slice_ in slices] for name, slices in self.frames.items()},
            "label": None if self.label is None else self.label.to_json(),
            "half_turn": None if self.half_turn is None else dict(self.half_turn),
            "warnings": list(self.warnings),
            "voxels": dict(self.voxels),
            "given": {name: source.to_json() for name, source in self.given.items()},
        }

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> CasePlan:
        """Return the plan that `to_json` wrote."""
        label = None if line["label"] is None else LabelSource.from_json(line["label"])
        channels = {name: tuple(SourceRef(*ref) for ref in refs) for name, refs in line["channels"].items()}
        frames = {
            name: tuple((file, frame) for file, frame in found) for name, found in line["frames"].items()
        }
        return cls(
            line["task"], line["case"], line["subset"], line["subject"], channels, frames, label,
            line["half_turn"], tuple(line["warnings"]), line["voxels"],
            {name: LabelSource.from_json(source) for name, source in line["given"].items()},
        )  # fmt: skip
