"""What the index knows of files and series; everything here is from before the door."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, TypeAlias

Facts: TypeAlias = "Mapping[str, Any]"
"""DICOM keyword -> text, number or list of them, as `io.dicom.read_facts` takes them from a header."""


def listed(value: object) -> list[object]:
    """Return a fact as a list: its values, the one value, or none. A damaged element may hold any kind of value."""
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return value if isinstance(value, list) else list(value)
    return [] if value is None else [value]


class Kind(StrEnum):
    """What a source file is to us."""

    IMAGE = "image"
    """A DICOM instance with slices: CT, MR or PET."""
    SEG = "seg"
    """A DICOM Segmentation object."""
    RTSTRUCT = "rtstruct"
    """A DICOM RT Structure Set."""
    MASK = "mask"
    """A label map as NIfTI, NRRD, MetaImage; or an image, where a task's rules say so."""
    TABLE = "table"
    """A case table (cases.csv)."""
    OTHER = "other"
    """Anything else; its code says why it takes no part."""


class Fate(StrEnum):
    """What became of an input file; every file has exactly one."""

    USED = "used"
    """It is part of a planned case."""
    IGNORED = "ignored"
    """It takes no part, and nothing is wrong with that."""
    REFUSED = "refused"
    """It, or the case it belongs to, cannot be used; somebody must act."""
    PENDING = "pending"
    """It is indexed and no plan has judged it yet."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of an input file, why, and in which task, case and role."""

    fate: Fate
    code: str = ""
    task: str = ""
    case: str = ""
    role: str = ""


@dataclass(frozen=True, slots=True)
class SourceRef:
    """One source file: a path, or a member of an archive; with the SHA-256 it had when indexed."""

    path: str
    member: str | None
    digest: str
    size: int

    def to_json(self) -> list[Any]:
        """Return the reference as a compact JSON list."""
        return [self.path, self.member, self.digest, self.size]


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One line of the index.

    `task` is what binds the file (-t or a folder called like a task), `code` a fault code for whatever is
    not to be used, `inside` the path below the source root, with `/`, archives counted as folders.
    `frame` is the number, from 0, of the slice meant, once an image that holds several is looked at slice by
    slice.
    """

    ref: SourceRef
    inside: str
    task: str | None
    kind: Kind
    code: str | None = None
    facts: Facts = field(default_factory=dict)
    frame: int | None = None

    def slices(self) -> Sequence[SourceFile]:
        """Return the file as one entry for each slice it holds: itself, or its frames with their own facts."""
        frames: Sequence[Facts] | None = self.facts.get("frames")
        if frames is None:
            return (self,)
        shared = {keyword: value for keyword, value in self.facts.items() if keyword != "frames"}
        return tuple(
            replace(self, facts={**shared, **own}, frame=number) for number, own in enumerate(frames)
        )

    def text(self, keyword: str) -> str:
        """Return a fact as text, empty when it is absent."""
        value = self.facts.get(keyword)
        return "" if value is None else str(value)


@dataclass(frozen=True, slots=True)
class Stack:
    """Slices that make one volume: one orientation, matrix, spacing, echo and kind.

    `facts` are those of the first slice along the normal, with what grouping derived: `plane` (the nearest of
    axial, sagittal and coronal), `slices` (their number), and `volume`, the place from 0 among the `volumes`
    of its series. `code` says why it cannot become a channel.
    """

    files: Sequence[SourceFile]
    facts: Facts
    code: str | None = None

    @property
    def task(self) -> str | None:
        """The task that the source is bound to."""
        return self.files[0].task

    @property
    def series_uid(self) -> str:
        """Series Instance UID of the slices."""
        return str(self.facts["SeriesInstanceUID"])

    @property
    def study_uid(self) -> str:
        """Study Instance UID of the slices."""
        return str(self.facts["StudyInstanceUID"])

    @property
    def subject(self) -> str:
        """Patient ID of the slices, empty when there is none."""
        return str(self.facts.get("PatientID", ""))
