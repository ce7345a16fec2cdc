"""Choose, by a task's rules, which stack is which channel and which label belongs to it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pipeline.model.errors import LabelError, SelectionError
from pipeline.model.plan import Candidate, Choice
from pipeline.model.rules import BrainMask, Channel, Criterion, TaskRules
from pipeline.model.series import Facts, Kind, SourceFile, Stack

_NUMBER_TOLERANCE = 1e-6


def meets(criterion: Criterion, value: object) -> bool:
    """Whether a header element's value meets a criterion; see `Criterion` for missing elements."""
    values = value if isinstance(value, list) else [] if value in (None, "") else [value]
    checks = (
        criterion.equals is None or _is_any(values, (criterion.equals,)),
        criterion.any_of is None or _is_any(values, criterion.any_of),
        criterion.matches is None or any(_finds(criterion.matches, item) for item in values),
        criterion.not_matches is None or not any(_finds(criterion.not_matches, item) for item in values),
        criterion.has_all is None or all(_has(values, word) for word in criterion.has_all),
        criterion.has_none is None or not any(_has(values, word) for word in criterion.has_none),
        criterion.min is None or (bool(values) and all(_number(v) >= criterion.min for v in values)),
        criterion.max is None or (bool(values) and all(_number(v) <= criterion.max for v in values)),
        criterion.absent is None or criterion.absent is (not values),
    )
    return all(checks)


def _is_any(values: Sequence[object], wanted: Sequence[str | float]) -> bool:
    """Whether the value is one of those wanted; several values are compared as one text, as DICOM joins them."""
    if not values:
        return False
    text = "\\".join(str(value) for value in values).strip().casefold()
    for item in wanted:
        if isinstance(item, str) and text == item.strip().casefold():
            return True
        if (
            not isinstance(item, str)
            and len(values) == 1
            and abs(_number(values[0]) - item) <= _NUMBER_TOLERANCE
        ):
            return True
    return False


def _finds(pattern: str, value: object) -> bool:
    return re.search(pattern, str(value), re.IGNORECASE) is not None


def _has(values: Sequence[object], word: str) -> bool:
    return any(str(value).strip().casefold() == word.casefold() for value in values)


def _number(value: object) -> float:
    """Return a value as a number; NaN, which meets no bound, when it is none."""
    try:
        return float(str(value))
    except ValueError:
        return float("nan")


def selects(channel: Channel, facts: Facts) -> bool:
    """Whether a stack meets every criterion of a channel."""
    return all(meets(criterion, facts.get(keyword)) for keyword, criterion in channel.select.items())


def unmet(channel: Channel, stack: Stack) -> list[str]:
    """Return which of a channel's criteria a stack does not meet, with its values; none when it is selected.

    For the private zone alone: values of the header are quoted.
    """
    return [
        f"{keyword} is {_shown(stack.facts.get(keyword))}"
        for keyword, criterion in channel.select.items()
        if not meets(criterion, stack.facts.get(keyword))
    ]


def _shown(value: object) -> str:
    if value in (None, "", []):
        return "missing"
    return "\\".join(map(str, value)) if isinstance(value, list) else str(value)


def is_wanted(rules: TaskRules, stack: Stack) -> bool:
    """Whether any channel of the task selects the stack."""
    return any(selects(channel, stack.facts) for channel in rules.channels)


def match(rules: TaskRules, candidate: Candidate) -> Choice:
    """Choose a candidate's stack for every channel, and its label.

    Raises
    ------
    SelectionError
        no-series-matches, two-series-match, two-labels-match, or the code that a chosen stack carries.
    LabelError
        label-other-image, when the study's only labels were drawn on another series; label-other-patient.
    """
    channels = {channel.name: _stack_for(channel, candidate) for channel in rules.channels}
    # One file may hold several volumes.
    chosen = [(stack.files[0].ref, stack.files[0].frame) for stack in channels.values()]
    if len(set(chosen)) != len(chosen):
        names = ", ".join(channels)
        raise SelectionError(
            "two-series-match", wanted=f"one series each for {names}", found="one for two of them"
        )
    brain_mask = _brain_mask_for(rules.brain_mask, candidate)
    others = replace(candidate, labels=[label for label in candidate.labels if label is not brain_mask])
    label = _label_for(channels[rules.label.channel or rules.channels[0].name], others, rules)
    if label is not None:
        _same_patient(label, candidate)
    warnings = [
        text for channel in rules.channels for text in _warnings(channel, channels[channel.name].facts)
    ]
    return Choice(channels, label, warnings, brain_mask)


def _stack_for(channel: Channel, candidate: Candidate) -> Stack:
    named = candidate.row.get(channel.name, "")
    if named:
        fitting = named_stacks(named, candidate.stacks)
    else:
        fitting = [stack for stack in candidate.stacks if selects(channel, stack.facts)]
    if len(fitting) != 1:
        code = "two-series-match" if fitting else "no-series-matches"
        raise SelectionError(
            code,
            wanted=f"one series for channel {channel.name}",
            found=f"{len(fitting)} of the {len(candidate.stacks)} volumes of the study",
            where=_numbers_of(fitting) or f"criteria: {', '.join(channel.select)}",
        )
    if fitting[0].code is not None:
        raise SelectionError(
            fitting[0].code,
            wanted=f"one volume for channel {channel.name}",
            found="a series that is none, or is damaged",
            where=_numbers_of(fitting),
        )
    return fitting[0]


def _numbers_of(stacks: Sequence[Stack]) -> str:
    """Name series by their numbers, which are counted by the scanner and name nobody; text is no number."""
    said = [stack.facts.get("SeriesNumber") for stack in stacks]
    # Sorted: the order in which series lie in folders decides nothing that is published.
    numbers = sorted(number for number in said if isinstance(number, int))
    shown = [str(number) for number in numbers] + ["?"] * (len(said) - len(numbers))
    return "series number " + ", ".join(shown) if said else ""


def named_stacks(named: str, stacks: Sequence[Stack]) -> list[Stack]:
    """Return the stacks that a table's cell names; `UID#2` is the second volume of a series that holds several."""
    uid, mark, number = named.rpartition("#")
    together = [stack for stack in stacks if mark and stack.series_uid == uid]
    if together and number.isdecimal():
        return [stack for stack in together if stack.facts.get("volume") == int(number) - 1]
    return [stack for stack in stacks if _is_named(stack, named)]


def _is_named(stack: Stack, named: str) -> bool:
    """Whether a case table's cell names the stack: by Series Instance UID, series number, folder or file."""
    if named in (stack.series_uid, str(stack.facts.get("SeriesNumber", ""))):
        return True
    folders = {file.inside.rpartition("/")[0] for file in stack.files}
    # Of a file that is no longer DICOM the path stands for the series.
    return _ends_with(stack.series_uid, named) or all(_ends_with(folder, named) for folder in folders)


def _ends_with(path: str, tail: str) -> bool:
    return path == tail.strip("/") or path.endswith("/" + tail.strip("/"))


def _brain_mask_for(rule: BrainMask | None, candidate: Candidate) -> SourceFile | None:
    """Return the one brain mask of a case, as its table names it or the rule finds it; None where none is wanted."""
    if rule is None:
        return None
    named = candidate.row.get("brain_mask", "")
    masks = [label for label in candidate.labels if label.kind is Kind.MASK]
    found = [m for m in masks if (_is_named_label(m, named) if named else _finds(rule.file, m.inside))]
    if not found:
        raise SelectionError("brain-mask-missing", wanted="a brain mask", found="none")
    if len(found) > 1:
        raise SelectionError("two-labels-match", wanted="one brain mask", found=f"{len(found)} that fit")
    return found[0]


def _label_for(drawn_on: Stack, candidate: Candidate, rules: TaskRules) -> SourceFile | None:
    """Return the label: as the table names it, else by the series it refers to, else what lies with the case."""
    if candidate.row.get("label"):
        found = labels_meant(candidate)
        if not found:
            raise SelectionError("case-table-wrong", wanted="the label that the table names", found="none")
        return _only(found)
    objects = [label for label in candidate.labels if label.kind is not Kind.MASK]
    referring = [label for label in objects if _refers(label, drawn_on, candidate.stacks)]
    silent = [
        label
        for label in objects
        if not label.facts.get("references") and not any(_names(label, stack) for stack in candidate.stacks)
    ]
    masks = [label for label in candidate.labels if label.kind is Kind.MASK]
    if rules.brain_mask is not None:
        masks = [mask for mask in masks if not _finds(rules.brain_mask.file, mask.inside)]
    if rules.label.file is not None:
        masks = [mask for mask in masks if _finds(rules.label.file, mask.inside)]
    for choice in (referring, silent, masks):
        if choice:
            return _only(choice)
    if objects:
        raise LabelError(
            "label-other-image",
            wanted="a label drawn on the chosen series",
            found=f"{len(objects)} drawn on others",
            where=_numbers_of([drawn_on]),
        )
    return None


def _refers(label: SourceFile, drawn_on: Stack, stacks: Sequence[Stack]) -> bool:
    """Whether a label object says that it was drawn on a stack: by instance where it can, and by series."""
    named = [stack for stack in stacks if _names(label, stack)]
    series = label.facts.get("references", ())
    is_named = any(stack is drawn_on for stack in named)
    return (is_named or not named) and (drawn_on.series_uid in series if series else is_named)


def _names(label: SourceFile, stack: Stack) -> bool:
    """Whether a label object names an instance of a stack."""
    instances = set(label.facts.get("referenced_instances", ()))
    return bool(instances) and any(file.text("SOPInstanceUID") in instances for file in stack.files)


def _same_patient(label: SourceFile, candidate: Candidate) -> None:
    """Refuse a SEG or RTSTRUCT that bears another Patient ID than the images, whatever it refers to."""
    # The path of a file that is no longer DICOM says no Patient ID.
    known = {stack.subject for stack in candidate.stacks if "source" not in stack.facts}
    said = label.text("PatientID") if label.kind is not Kind.MASK else ""
    if said and known and said not in known:
        raise LabelError("label-other-patient", wanted="a drawing of the images' patient", found="another's")


def labels_meant(candidate: Candidate) -> list[SourceFile]:
    """Return the candidate's labels; of a table's line that names one, only what it names."""
    named = candidate.row.get("label", "")
    return [label for label in candidate.labels if not named or _is_named_label(label, named)]


def _only(labels: Sequence[SourceFile]) -> SourceFile:
    if len(labels) > 1:
        raise SelectionError("two-labels-match", wanted="one label", found=f"{len(labels)} that fit")
    return labels[0]


def _is_named_label(label: SourceFile, named: str) -> bool:
    return not label_names(label).isdisjoint({named, named.strip("/")})


def label_names(label: SourceFile) -> set[str]:
    """Return all by which a case table may name a label: its UIDs, and the ends of its path."""
    parts = label.inside.split("/")
    ends = {"/".join(parts[at:]) for at in range(len(parts))}
    return ends | {label.text("SeriesInstanceUID"), label.text("SOPInstanceUID")} - {""}


def _warnings(channel: Channel, facts: Facts) -> list[str]:
    """Say where a series lies outside what is reported of such images; the number is an acquisition parameter."""
    texts = []
    for keyword, envelope in channel.expected.items():
        for value in _measures(keyword, facts):
            if not envelope.min <= value <= envelope.max:
                texts.append(
                    f"channel {channel.name}: {keyword} {value:g} lies outside {envelope.min:g} to {envelope.max:g}"
                )
    return sorted(set(texts))


def _measures(keyword: str, facts: Facts) -> list[float]:
    value = facts.get("PixelSpacing" if keyword == "voxel_size_mm" else keyword)
    values: list[object] = list(value) if isinstance(value, list) else [value]
    if keyword == "voxel_size_mm":
        values.append(facts.get("slice_step_mm"))
    return [number for number in map(_number, values) if number == number]


def half_turn(rules: TaskRules, case: str, reference: Facts) -> Mapping[str, str] | None:
    """Return why and evidence of the half turn that the rules demand for a case, None when they demand none.

    A listed case whose reference series does not meet `where` is another source under the same number: it
    is not turned.
    """
    for turn in rules.half_turns:
        if turn.case == case and all(meets(c, reference.get(keyword)) for keyword, c in turn.where.items()):
            return {"why": turn.why, "evidence": turn.evidence}
    return None
