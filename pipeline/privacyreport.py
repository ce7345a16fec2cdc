"""What a privacy officer wants to read of a release or of de-identified DICOM: what stayed, what was done, and why."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset

from pipeline.io.dicom import is_dicom, read_dataset
from pipeline.io.document import canonical
from pipeline.io.durable import write_bytes
from pipeline.io.policy import load_policy, load_reasons
from pipeline.io.source import read_refs
from pipeline.io.workspace import Workspace
from pipeline.model.identified import Identified
from pipeline.model.names import ANNOTATION_NAMES
from pipeline.model.record import Json, Step
from pipeline.model.series import SourceRef
from pipeline.orders import Orders
from pipeline.planned import planned
from pipeline.stages.deidentify import deidentify
from pipeline.stages.policywords import describe

NAME = "privacy"
"""The report's files are NAME.json and NAME.html."""

Names = Sequence[re.Pattern[str]]

_TEXTS = frozenset({"AE", "AS", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})

_STYLE = "body{font-family:sans-serif;margin:2em} td,th{text-align:left;padding:.1em 1em .1em 0}"


@dataclass(slots=True)
class Tally:
    """Counts of what stayed and what was done: (keyword, text) and (act, keyword)."""

    objects: int = 0
    texts: Counter[tuple[str, str]] = field(default_factory=Counter)
    actions: Counter[tuple[str, str]] = field(default_factory=Counter)
    options: set[str] = field(default_factory=set)

    def add(self, step: Step[tuple[Dataset, ...]]) -> None:
        """Count one step through the door."""
        facts = step.note.facts
        self.objects += len(step.value)
        self.options |= {str(option) for option in _listed(facts["options"])}
        for act, counts in _mapped(facts["actions"]).items():
            for keyword, count in _mapped(counts).items():
                self.actions[act, keyword] += int(str(count))
        for dataset in step.value:
            self.texts.update(_texts(dataset))


def _listed(value: Json) -> Sequence[Json]:
    return value if isinstance(value, list) else []


def _mapped(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}


def _texts(dataset: Dataset) -> Iterator[tuple[str, str]]:
    """Yield keyword and text of every value that is text, at any depth."""
    for element in dataset:
        name = "private" if element.tag.is_private else keyword_for_tag(element.tag)
        if element.VR == "SQ":
            for item in element.value:
                yield from _texts(item)
        elif element.VR in _TEXTS and element.value not in (None, ""):
            values = [element.value] if isinstance(element.value, str) else element.value
            parts = values if isinstance(values, Sequence) else [values]
            yield from ((name, str(part)) for part in parts)


def write_report(
    workspace: Workspace, folder: Path, cases: Mapping[str, Collection[str]], refs: Sequence[SourceRef]
) -> Tally:
    """Write FOLDER/privacy.json and FOLDER/privacy.html, readable by their owner alone.

    The sources of the cases named of each task, or the files named, go through the door once more; what is told of
    them is what they have behind it.
    """
    tally = Tally()
    for step in _door(workspace, cases, refs):
        tally.add(step)
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / f"{NAME}.json", canonical(document(tally)), 0o600)
    write_bytes(folder / f"{NAME}.html", page(tally).encode(), 0o600)
    return tally


def _door(
    workspace: Workspace, cases: Mapping[str, Collection[str]], refs: Sequence[SourceRef]
) -> Iterator[Step[tuple[Dataset, ...]]]:
    policy, key = load_policy(), workspace.key()
    batches: list[tuple[Sequence[SourceRef], Names, Names]] = [([ref], ANNOTATION_NAMES, ()) for ref in refs]
    for task in planned(workspace, list(cases)) if cases else ():
        orders = Orders.of(workspace, task.rules)
        # A case that was refused is in no release, and may not pass the door.
        for plan in (plan for plan in task.plans if plan.case in cases[task.task]):
            label = [] if plan.label is None else list(plan.label.refs)
            listed = [ref for sources in plan.channels.values() for ref in sources]
            order = orders.order(plan)
            batches.append(([*listed, *label], order.vocabulary, order.ignored))
    for wanted, vocabulary, ignored in batches:
        contents = [content for content in read_refs(wanted) if is_dicom(content[:132])]
        identified = Identified([read_dataset(content) for content in contents])
        yield deidentify(identified, policy=policy, key=key, vocabulary=vocabulary, ignored=ignored)


def document(tally: Tally) -> dict[str, Json]:
    """Return the report as one JSON object."""
    chosen, not_chosen = load_reasons()
    policy = load_policy()
    return {
        "format": "curate-privacy/1",
        "objects": tally.objects,
        "policy": policy.digest,
        "edition": policy.edition,
        "options": {name: chosen[name] for name in sorted(tally.options)},
        "options_not_chosen": dict(not_chosen),
        "texts": _nested(tally.texts),
        "actions": _nested(tally.actions),
    }


def _nested(counts: Counter[tuple[str, str]]) -> dict[str, Json]:
    nested: dict[str, dict[str, Json]] = {}
    for (first, second), count in sorted(counts.items()):
        nested.setdefault(first, {})[second] = count
    return dict(nested)


def page(tally: Tally) -> str:
    """Return the report as a page that loads nothing."""
    chosen, not_chosen = load_reasons()
    words = describe(load_policy(), chosen, not_chosen)
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Privacy report</title>',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<style>{_STYLE}</style><h1>Privacy report</h1><p>{tally.objects} DICOM objects were de-identified.</p>",
        "<h2>Every text that stayed</h2>",
        _table(("element", "text", "count"), tally.texts),
        "<h2>What was done</h2>",
        _table(("act", "element", "count"), tally.actions),
        f"<h2>The policy</h2><pre>{html.escape(words)}</pre></html>",
    ]
    return "\n".join(parts) + "\n"


def _table(head: Sequence[str], counts: Counter[tuple[str, str]]) -> str:
    rows = [[*pair, str(count)] for pair, count in sorted(counts.items())]
    cells = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    titles = "".join(f"<th>{html.escape(title)}</th>" for title in head)
    return f"<table><tr>{titles}</tr>" + "".join(f"<tr>{row}</tr>" for row in cells) + "</table>"
