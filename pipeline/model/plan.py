"""What a plan says of one case: which files make which channel, which make the label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.model.series import Kind, SourceFile, SourceRef, Stack

TRAINING, TEST = "training", "test"


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


def refs_and_frames(stack: Stack) -> tuple[tuple[SourceRef, ...], tuple[tuple[int, int], ...]]:
    """Return a stack's files, each once, and where its slices lie in them if a file holds several."""
    refs = tuple(dict.fromkeys(file.ref for file in stack.files))
    place = {ref: number for number, ref in enumerate(refs)}
    frames = tuple((place[file.ref], file.frame) for file in stack.files if file.frame is not None)
    return refs, frames


@dataclass(frozen=True, slots=True)
class LabelSource:
    """The label's kind and file."""

    kind: Kind
    ref: SourceRef
    inside: str


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

    def to_json(self) -> dict[str, Any]:
        """Return the line as one JSON object."""
        label = None
        if self.label is not None:
            label = {
                "kind": self.label.kind.value,
                "ref": self.label.ref.to_json(),
                "inside": self.label.inside,
            }
        return {
            "kind": "case",
            "task": self.task,
            "case": self.case,
            "subset": self.subset,
            "subject": self.subject,
            "channels": {name: [ref.to_json() for ref in refs] for name, refs in self.channels.items()},
            "frames": {name: [list(slice_) for slice_ in slices] for name, slices in self.frames.items()},
            "label": label,
            "half_turn": None if self.half_turn is None else dict(self.half_turn),
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> CasePlan:
        """Return the plan that `to_json` wrote."""
        label = line["label"]
        if label is not None:
            label = LabelSource(Kind(label["kind"]), SourceRef(*label["ref"]), label["inside"])
        channels = {name: tuple(SourceRef(*ref) for ref in refs) for name, refs in line["channels"].items()}
        frames = {
            name: tuple((file, frame) for file, frame in found) for name, found in line["frames"].items()
        }
        return cls(
            line["task"], line["case"], line["subset"], line["subject"], channels, frames, label,
            line["half_turn"], tuple(line["warnings"]),
        )  # fmt: skip
