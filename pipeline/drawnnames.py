"""What the experts called their drawings, over all planned label files: what a task's rules are written from.

People write persons' names into ROI names, so that the list stays in the workspace's private folder.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.door import read_mask_source
from pipeline.io import annotation
from pipeline.io.dicom import read_dataset
from pipeline.io.ruleset import load_rules
from pipeline.io.source import read_refs
from pipeline.io.workspace import Workspace
from pipeline.model.errors import CurationError
from pipeline.model.plan import LabelSource
from pipeline.model.rules import Label
from pipeline.model.series import Kind
from pipeline.model.volume import Annotation, named_value
from pipeline.planned import Planned, planned
from pipeline.processes import OneByOne, Tell
from pipeline.stages.label import UNASSIGNED, meaning

TABLE = "names.csv"
"""Where the list lies below private/."""

_MOST_CASES = 5
"""Cases that a line names before it only counts."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a label file says of one of its drawings: its name, and codes `SCHEME:VALUE`."""

    name: str
    codes: tuple[str, ...]
    value: int | None = None
    """Of a mask whose values have no names; `name` then says it in words."""


@dataclass(slots=True)
class Names:
    """The lines of the list, the label files behind them, and how many more could not be read."""

    rows: list[Mapping[str, str]]
    files: int = 0
    unread: int = 0

    @property
    def unassigned(self) -> int:
        """How many names are of no class, or of several."""
        return sum(row["becomes"].startswith(UNASSIGNED) for row in self.rows)


def drawn_names(workspace: Workspace, tasks: Sequence[str], *, rules: Path | None, tell: Tell) -> Names:
    """Return each name of the planned labels once, with what the rules make of it and where it stands.

    Rules are those of `rules`, or of the workspace, as they stand now; a task that is not among them has those that
    it was planned under.

    Raises
    ------
    UsageError
        nothing-planned; rules-invalid.
    """
    now, names = load_rules(rules or workspace.own_rules), Names([])
    with OneByOne(workspace.crashes, __name__) as process:
        for made in planned(workspace, tasks):
            rule = (now[made.task].rules if made.task in now else made.rules).label
            cases = _cases_of(made, process, names, tell)
            names.rows += sorted((_row(made.task, drawn, cases[drawn], rule) for drawn in cases), key=_order)
    return names


def _order(row: Mapping[str, str]) -> tuple[bool, str, str]:
    """Sort by what wants a decision, then by name."""
    return not row["becomes"].startswith(UNASSIGNED), row["name"], row["codes"]


def _cases_of(made: Planned, process: OneByOne, names: Names, tell: Tell) -> Mapping[Drawn, Sequence[str]]:
    """Return in which cases each drawing of a task stands, a case as often as it holds it; count the files."""
    cases: dict[Drawn, list[str]] = defaultdict(list)
    for plan in made.plans:
        if plan.label is None:
            continue
        tell(f"{plan.task}/{plan.case}")
        try:
            found = process.done(read_drawn, plan.label)
        except CurationError:
            # The build says of it what is wrong.
            names.unread += 1
            continue
        names.files += 1
        for drawn in found:
            cases[drawn].append(plan.case)
    return cases


def read_drawn(source: LabelSource, _: Tell) -> list[Drawn]:
    """Return the drawings of one label file, in its order."""
    if source.kind is Kind.MASK:
        mask = read_mask_source(source).value
        return [_masked(mask, key) for key in mask.masks]
    dataset = read_dataset(*read_refs([source.ref]))
    if source.kind is Kind.SEG:
        return [Drawn(name, codes) for name, codes in annotation.read_segment_names(dataset)]
    return [Drawn(roi.name, roi.codes) for roi in annotation.read_rtstruct(dataset).rois]


def _masked(mask: Annotation, key: str) -> Drawn:
    return Drawn(mask.names.get(key, key), tuple(mask.codes.get(key, ())), named_value(key))


def _row(task: str, drawn: Drawn, cases: Sequence[str], rule: Label) -> Mapping[str, str]:
    different = [*dict.fromkeys(cases)]
    more = f" and {len(different) - _MOST_CASES} more" if len(different) > _MOST_CASES else ""
    return {
        "task": task,
        "name": drawn.name,
        "codes": " ".join(drawn.codes),
        "becomes": meaning(drawn.name, drawn.value, drawn.codes, rule),
        "drawings": str(len(cases)),
        "cases": " ".join(different[:_MOST_CASES]) + more,
    }
