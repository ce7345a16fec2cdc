"""Say of each candidate which series would be which channel and why, as a line that a curator can correct."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.model.plan import Candidate, Choice
from pipeline.model.rules import Channel, TaskRules
from pipeline.model.series import SourceFile, Stack

WHY, WHY_NOT = "why", "why_not"
"""Columns for the reader alone: nothing in them is read back."""

MOST_REFUSED = 40
"""Series that are not taken, of which a line says why; the rest are counted."""

Unmet = Callable[[Channel, Stack], Sequence[str]]
"""(Channel, stack) -> what of the channel's criteria the stack does not meet, in words; empty when it is wanted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a plan found of one candidate; `refused` says in words why it makes no case, empty when it does."""

    candidate: Candidate
    choice: Choice | None
    case: str
    subset: str
    refused: str


def propose(
    rules: TaskRules, finding: Finding, *, bearers: Mapping[str, int], unmet: Unmet
) -> dict[str, str]:
    """Return the candidate's line of a case table, which read back gives the same plan.

    Parameters
    ----------
    rules
        The task, whose channels are columns.
    finding
        The candidate and what became of it. Cells of a table that it came from stay as they are.
    bearers
        How many labels of the task have a name, as `bearers_of` counts: a label is named by what names no other.
    unmet
        Why a stack is not a channel.

    Returns
    -------
    dict
        Column -> cell; private, because subject and series name a person.
    """
    candidate = finding.candidate
    fitting = {channel.name: _fitting(channel, finding, unmet) for channel in rules.channels}
    label = finding.choice.label if finding.choice is not None else None
    found = {
        "study": _study(candidate.stacks),
        **{name: _series(stacks, candidate.stacks) for name, stacks in fitting.items()},
        "label": "" if label is None else _label(label, bearers),
    }
    brain_mask = finding.choice.brain_mask if finding.choice is not None else None
    if rules.brain_mask is not None:
        found["brain_mask"] = "" if brain_mask is None else _label(brain_mask, bearers)
    strata = rules.cases.split.strata
    named = {column: candidate.row.get(column) or cell for column, cell in found.items()}
    return {
        "task": rules.task,
        "case": finding.case,
        "subject": candidate.subject,
        "subset": finding.subset,
        **(
            {strata.table_column: candidate.row.get(strata.table_column, "")}
            if strata and strata.table_column
            else {}
        ),
        **named,
        WHY: _why(rules, finding, fitting),
        WHY_NOT: _why_not(rules, candidate, fitting, unmet),
    }


def _fitting(channel: Channel, finding: Finding, unmet: Unmet) -> list[Stack]:
    """Return the stack that was chosen; of a refused candidate those that the criteria select."""
    if finding.choice is not None:
        return [finding.choice.channels[channel.name]]
    return [stack for stack in finding.candidate.stacks if not unmet(channel, stack)]


def _study(stacks: Sequence[Stack]) -> str:
    studies = {stack.study_uid for stack in stacks}
    return studies.pop() if len(studies) == 1 else ""


def _series(fitting: Sequence[Stack], stacks: Sequence[Stack]) -> str:
    """Return what names the one stack that fits: its series, and which of its volumes where there are several."""
    if len(fitting) != 1:
        return ""
    uid = fitting[0].series_uid
    together = [stack for stack in stacks if stack.series_uid == uid]
    return uid if len(together) == 1 else f"{uid}#{fitting[0].facts['volume'] + 1}"


def bearers_of(labels: Iterable[SourceFile]) -> Counter[str]:
    """Return how many labels each name means: the UID of an instance, or the end of a path."""
    return Counter(name for label in labels for name in _names(label))


def _names(label: SourceFile) -> set[str]:
    parts = label.inside.split("/")
    return {label.text("SOPInstanceUID"), *("/".join(parts[at:]) for at in range(len(parts)))}


def _label(label: SourceFile, bearers: Mapping[str, int]) -> str:
    """Return the first of a label's names that is no other's; empty when a table cannot hold it."""
    for name in (label.text("SOPInstanceUID"), label.inside):
        if name and bearers[name] == 1 and _is_text(name):
            return name
    return ""


def _is_text(name: str) -> bool:
    """Whether a name is text that a CSV file gives back: file names may be any bytes."""
    return name == name.strip() and not any("\ud800" <= letter <= "\udfff" for letter in name)


def _why(rules: TaskRules, finding: Finding, fitting: dict[str, list[Stack]]) -> str:
    row = finding.candidate.row
    lines = [f"refused: {finding.refused}"] if finding.refused else []
    for channel in rules.channels:
        for stack in fitting[channel.name]:
            reason = "named in the table" if row.get(channel.name) else f"meets {', '.join(channel.select)}"
            lines.append(f"{channel.name}: {_described(stack)} {reason}")
    return "\n".join(lines)


def _why_not(rules: TaskRules, candidate: Candidate, fitting: dict[str, list[Stack]], unmet: Unmet) -> str:
    taken = [stack for stacks in fitting.values() for stack in stacks]
    others = [stack for stack in candidate.stacks if not any(stack is one for one in taken)]
    lines = [
        f"{_described(stack)}: {'; '.join(_misses(rules, stack, unmet))}" for stack in others[:MOST_REFUSED]
    ]
    more = len(others) - MOST_REFUSED
    return "\n".join([*lines, *([f"and {more} more"] if more > 0 else [])])


def _misses(rules: TaskRules, stack: Stack, unmet: Unmet) -> Iterator[str]:
    for channel in rules.channels:
        faults = unmet(channel, stack)
        yield f"{channel.name}: {', '.join(faults) or 'meets all, and another was named'}"


def _described(stack: Stack) -> str:
    """Return a stack in words: number, description, plane, slices."""
    number = stack.facts.get("SeriesNumber", "?")
    description = str(stack.facts.get("SeriesDescription", "")).strip()
    volume = f"volume {stack.facts['volume']}" if stack.facts.get("volumes", 1) > 1 else ""
    parts = [
        description,
        str(stack.facts.get("plane", "")),
        f"{len(stack.files)} slices",
        volume,
        stack.code or "",
    ]
    return f"series {number} ({', '.join(part for part in parts if part)})"
