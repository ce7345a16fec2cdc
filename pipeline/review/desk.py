"""Take in what reviewers decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.io.decisions import keep, parse
from pipeline.io.workspace import Workspace
from pipeline.model.errors import UsageError
from pipeline.model.record import Json
from pipeline.model.review import seen_of
from pipeline.planned import Planned, planned
from pipeline.review.finished import finished_cases


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a file of decisions, in counts, and which cases were decided on voxels that are gone."""

    task: str
    kept: int
    known: int
    stale: Sequence[str]

    def to_json(self) -> dict[str, Json]:
        """Return the counts as one JSON object."""
        return {"task": self.task, "kept": self.kept, "known": self.known, "stale": list(self.stale)}


class Desk:
    """Where decisions on the cases of a workspace are handed in; it reads each task's plan once."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._plans: dict[str, Planned] = {}

    def take(self, content: bytes) -> Applied:
        """Keep the decisions of a file, all or none; those that are kept already say nothing new.

        Raises
        ------
        UsageError
            decisions-unfit, when the file is not as the page saves it, comes from another workspace, or names a
            case that is not planned; nothing-planned.
        """
        said = parse(content)
        if said.key != self._workspace.key().fingerprint:
            raise UsageError("decisions-unfit", wanted="decisions of this workspace", found="another key")
        plan, cases = self._plan(said.task), {each.case for each in said.decisions}
        unknown = sorted(cases - {case.case for case in plan.plans})
        if unknown:
            named = ", ".join(unknown[:10])
            raise UsageError("decisions-unfit", wanted="planned cases", found=named, where=said.task)
        seen = {record["case"]: seen_of(record) for _, record in finished_cases(self._workspace, plan, cases)}
        stale = [each.case for each in said.decisions if seen.get(each.case) != each.seen]
        kept = keep(self._workspace, said.task, said.decisions)
        return Applied(said.task, len(kept), len(said.decisions) - len(kept), stale)

    def _plan(self, task: str) -> Planned:
        if task not in self._plans:
            (self._plans[task],) = planned(self._workspace, [task])
        return self._plans[task]
