"""What a manifest says, as values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.audit.report import failure
from pipeline.audit.schema import departures, schema_named


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel: its name, what its numbers mean, how they were scaled."""

    name: str
    quantity: str
    percentiles: tuple[float, float] | None
    over: str
    range: tuple[float, float] | None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Channel:
        """Read a channel as header and rules write it; percentiles or range out of order are a failure."""
        scale = document["scale"]
        if scale["method"] == "keep":
            return cls(document["name"], document["quantity"], None, "all", None)
        low, high = (float(number) for number in scale["percentiles"])
        first, last = (float(number) for number in scale["range"])
        if not (0 <= low < high <= 100 and -_FLOAT32_MAX <= first < last <= _FLOAT32_MAX):
            raise failure("percentiles and range in order", f"{low:g} {high:g} and {first:g} {last:g}")
        return cls(document["name"], document["quantity"], (low, high), scale["over"], (first, last))


_FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True, eq=False)
class Claim:
    """What a line says of one NIfTI member."""

    member: str
    case: str
    kind: str
    shape: tuple[int, ...]
    dtype: str
    affine: npt.NDArray[np.float64]
    voxels: str
    file: str
    size: int
    classes: Mapping[str, Mapping[str, Any]]
    notes: Sequence[Mapping[str, Any]]

    @classmethod
    def of(cls, line: Mapping[str, Any], kind: str) -> Claim:
        """Read the `image` or `label` of a case line that its schema allows."""
        part = line[kind]
        return cls(
            line["members"][kind] or "",
            line["case"],
            kind,
            tuple(part["shape"]),
            part["dtype"],
            np.array([[float(number) for number in row] for row in part["affine"]]),
            part["voxels"],
            part["file"],
            part["size"],
            part.get("classes", {}),
            [note for note in line["notes"] if note["stage"] in ("scale", "check", "label")],
        )

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in ml."""
        return float(abs(np.linalg.det(self.affine[:3, :3])) / 1000)


@dataclass(slots=True)
class Manifest:
    """What a task's manifest says; `header` is empty when its first line is not one."""

    task: str
    header: dict[str, Any] = field(default_factory=dict)
    channels: tuple[Channel, ...] = ()
    claims: dict[str, Claim] = field(default_factory=dict)
    members: dict[str, list[str]] = field(default_factory=lambda: {"training": [], "test": []})
    subjects: dict[str, set[str]] = field(default_factory=lambda: {"training": set(), "test": set()})
    refused: list[str] = field(default_factory=list)
    cases: list[str] = field(default_factory=list)

    @property
    def classes(self) -> list[str]:
        """Class names in the order of their values, background first."""
        return [name for _, name in sorted(self.header["classes"].items(), key=lambda item: int(item[0]))]


def number_of(note: Mapping[str, Any], name: str) -> float:
    """Return a number that a note holds as text or count; NaN, which nothing equals, when it holds none."""
    value = note.get(name)
    try:
        return float(value) if isinstance(value, str | int) else float("nan")
    except (ValueError, OverflowError):
        return float("nan")


def channel_faults(channel: Mapping[str, Any]) -> Iterator[str]:
    """Yield each place where a channel departs from what a manifest header may hold."""
    schema = schema_named("manifest-header")
    rule = schema["properties"]["channels"]["items"]
    part = {name: channel.get(name) for name in rule["required"]}
    return departures(part, rule, schema, "$")
