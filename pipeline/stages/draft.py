"""Draft the rules of a curator's own task: a commented YAML file from a few answers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.model.rules import TEXT_KEYWORDS
from pipeline.model.series import Stack
from pipeline.model.volume import Quantity

_UNITS = {
    Quantity.HOUNSFIELD: "CT: Hounsfield units, kept",
    Quantity.ADC: "an ADC map: a quantity, kept",
    Quantity.ACTIVITY: "PET: Bq/ml, kept",
    Quantity.OTHER_QUANTITATIVE: "a quantity, kept in its DICOM unit",
    Quantity.ARBITRARY: "MR magnitude: arbitrary units, scaled by two percentiles",
}
_COMMON = ("Modality", "plane")


@dataclass(frozen=True, slots=True)
class DraftChannel:
    """One channel: its name, what its numbers mean, and keyword -> (part of a criterion, value)."""

    name: str
    quantity: Quantity
    select: Mapping[str, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answers:
    """What a curator says of a new task; `shares` are training and test."""

    task: str
    description: str
    reference: str
    channels: Sequence[DraftChannel]
    classes: Sequence[str]
    shares: tuple[int, int] = (3, 1)
    seed: int = 0


def draft(answers: Answers) -> str:
    """Return the text of a rules file that reads strictly, with a comment wherever a curator should look.

    The label's classes are matched by their names alone, and nothing is turned, resampled or interpolated:
    each of these is a decision for the curator to write down.
    """
    return "\n".join([*_head(answers), *_body(answers)])


def _head(answers: Answers) -> list[str]:
    name = answers.task.partition("_")[2]
    low, high = answers.shares
    return [
        f"# Rules of {answers.task}. Drafted: read every line, then run `curate rules check` and `rules explain`.",
        "# Every key is explained in rules/README.md.",
        "format: curate-rules/1",
        f"task: {answers.task}",
        "",
        "# The fixed texts of dataset.json.",
        "header:",
        f"  name: {_text(name)}",
        f"  description: {_text(answers.description)}",
        f"  reference: {_text(answers.reference)}",
        "  licence: CC-BY-SA 4.0",
        '  release: "1.0"',
        "",
        "cases:",
        f"  id: {_text(name.lower().translate(_NO_DIGITS) + '_{:03d}')}",
        "  # Subjects that no case table puts into a subset are dealt by a keyed shuffle, in this proportion.",
        f"  split: {{training: {low}, test: {high}, seed: {answers.seed}}}",
        "",
    ]


def _body(answers: Answers) -> list[str]:
    return [
        "# In the order of `modality`; the first one's grid is the case's grid.",
        "channels:",
        *(line for channel in answers.channels for line in _channel(channel)),
        "",
        "label:",
        "  # 0 is background. from_names are regular expressions of whole ROI and segment names.",
        "  classes:",
        *(line for value, each in enumerate(answers.classes, start=1) for line in _class(value, each)),
        "  # Names to leave out; any other unknown name refuses the case.",
        '  ignore: ["external", "body"]',
        "  # precedence: strongest class first, where drawings overlap; without it an overlap refuses the case.",
        "",
        "about:",
        f"  sources: {_text(answers.reference)}",
        "  labels: Say who drew them, on what, and how they were checked.",
        "",
    ]


_NO_DIGITS = str.maketrans("", "", "0123456789")


def _text(value: str) -> str:
    """Return text as YAML reads it back, whatever is in it."""
    return json.dumps(value, ensure_ascii=False)


def _channel(channel: DraftChannel) -> list[str]:
    scale = "{method: keep}"
    if not channel.quantity.is_quantitative:
        scale = "{method: robust_min_max, percentiles: [0.5, 99.5], over: all, range: [0, 1000]}"
    return [
        f"  - name: {_text(channel.name)}",
        f"    # {_UNITS[channel.quantity]}.",
        f"    quantity: {channel.quantity.value}",
        "    # The one series that meets all of these. Say also what it must not be: not_matches.",
        "    select:",
        *(
            f"      {keyword}: {{{part}: {_text(value)}}}"
            for keyword, (part, value) in channel.select.items()
        ),
        f"    scale: {scale}",
    ]


def _class(value: int, name: str) -> list[str]:
    return [
        f"    - value: {value}",
        f"      name: {_text(name)}",
        f"      from_names: [{_text(re.escape(name))}]",
    ]


def learn(name: str, stacks: Sequence[Stack]) -> DraftChannel:
    """Return a channel that selects the given stacks: what all have in common, and any of their descriptions.

    Parameters
    ----------
    name
        The channel's name.
    stacks
        The series that a curator named for it, at least one.
    """
    facts = [stack.facts for stack in stacks]
    select: dict[str, tuple[str, str]] = {}
    for keyword in _COMMON:
        values = {str(one.get(keyword, "")) for one in facts}
        if len(values) == 1 and "" not in values and keyword in TEXT_KEYWORDS:
            select[keyword] = ("equals", values.pop())
    described = sorted({str(one.get("SeriesDescription", "")).strip().lower() for one in facts} - {""})
    if described:
        select["SeriesDescription"] = ("matches", f"^({'|'.join(map(re.escape, described))})$")
    return DraftChannel(
        name, _quantity(select.get("Modality", ("", ""))[1], " ".join([name, *described])), select
    )


def _quantity(modality: str, words: str) -> Quantity:
    if modality in {"CT", "PT"}:
        return Quantity.HOUNSFIELD if modality == "CT" else Quantity.ACTIVITY
    is_adc = re.search(r"(?<![a-z])d?adc(?![a-z])|apparent", words, re.IGNORECASE)
    return Quantity.ADC if is_adc else Quantity.ARBITRARY


def spoken(text: str) -> DraftChannel:
    """Return the channel that `NAME=MODALITY` or `NAME=MODALITY:WORDS` says; the words are found in the description.

    Raises
    ------
    ValueError
        If the text is not of that form.
    """
    name, equals, rest = text.partition("=")
    modality, _, words = rest.partition(":")
    if not (name.strip() and equals and modality.strip()):
        raise ValueError("wanted NAME=MODALITY or NAME=MODALITY:WORDS, such as T2=MR:t2")
    select = {"Modality": ("equals", modality.strip().upper())}
    if words.strip():
        select["SeriesDescription"] = ("matches", re.escape(words.strip().lower()))
    return DraftChannel(name.strip(), _quantity(select["Modality"][1], f"{name} {words}"), select)
