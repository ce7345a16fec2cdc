"""What makes a case the one it is: its order, its name in the store, and how to find it there; no voxel, no pixel."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

from pipeline.io import store
from pipeline.io.compressor import compressor
from pipeline.io.document import read_line_at
from pipeline.io.policyfiles import shipped_digest
from pipeline.io.ruleset import canonical_form
from pipeline.io.workspace import Workspace
from pipeline.model.errors import SourceError
from pipeline.model.exposure import Screening
from pipeline.model.identified import Key, source_token
from pipeline.model.plan import CasePlan
from pipeline.model.record import Finished, Json
from pipeline.model.rules import TaskRules
from pipeline.model.series import SourceRef

ROOMS = {
    "deidentify": 1, "accept": 1, "screen": 3, "convert": 5, "orient": 1, "align": 1, "fix": 1, "scale": 1,
    "rasterise": 3, "label": 1, "check": 1, "register": 3, "strip": 1, "face": 1, "deface": 1,
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
        "compressor": compressor(),
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


class Named(Protocol):
    """What is asked for, by task and case."""

    @property
    def task(self) -> str:
        """Its task."""

    @property
    def case(self) -> str:
        """Its name in the task."""


@dataclass(frozen=True, slots=True)
class Order:
    """Everything a walk needs to know of a case beside its sources."""

    plan: CasePlan
    rules: TaskRules
    policy: str
    """The digest of the policy that de-identifies it."""
    key: Key
    screening: Screening

    @property
    def vocabulary(self) -> tuple[re.Pattern[str], ...]:
        """Names of contours and segments that are of a class; others do not pass the door."""
        names = [pattern for item in self.rules.label.classes for pattern in item.from_names]
        return tuple(re.compile(name, re.IGNORECASE) for name in names)

    @property
    def ignored(self) -> tuple[re.Pattern[str], ...]:
        """Names of contours and segments that the rules leave out; of such a name only that passes the door."""
        return tuple(re.compile(name, re.IGNORECASE) for name in self.rules.label.ignore)

    def action(self) -> dict[str, Json]:
        """Return all that decides the case's bytes; its keyed digest names the case in the store."""
        rules = self.rules
        return {
            "record": _RECORD, "task": self.plan.task, "case": self.plan.case, "subset": self.plan.subset,
            "subject": self.plan.subject, "warnings": list(self.plan.warnings),
            "half_turn": None if self.plan.half_turn is None else dict(self.plan.half_turn),
            "channels": [c.model_dump_json(include={*_DECIDES}, exclude_none=True) for c in rules.channels],
            "label": None if self.plan.label is None else rules.label.model_dump_json(),
            **self._pixels(), "policy": self.policy, "software": software(),
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
            "policy": self.policy, "software": software(), "sources": self.links(),
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


def _keyed(order: Order, refs: Sequence[SourceRef]) -> list[str]:
    case_key = order.key.of_case(order.plan.task, order.plan.case)
    return [source_token(case_key, ref.digest) for ref in refs]


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
    policy: str
    key: Key
    screening: Screening

    @classmethod
    def of(cls, workspace: Workspace, rules: TaskRules) -> Orders:
        """Return what a workspace adds to a task's rules: the policy, the key, and what its settings say of pixels."""
        return cls(rules, shipped_digest(), workspace.key(), workspace.settings().screening)

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
