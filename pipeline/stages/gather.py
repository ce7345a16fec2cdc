"""Gather stacks and labels into studies, the candidates for a case."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from pipeline.model.plan import Candidate
from pipeline.model.series import Kind, SourceFile, Stack

Study = tuple[str, str]
"""Patient ID and Study Instance UID."""


def gather(
    stacks: Sequence[Stack], labels: Sequence[SourceFile], name: Callable[[Study], str]
) -> list[Candidate]:
    """Return one candidate for each study of each subject, with the labels that belong to it.

    A SEG or RTSTRUCT belongs to the study whose series it refers to, else to its own study. A mask file
    belongs to the one study whose images lie in its folder, or in the nearest folder above that holds
    images; where that folder holds several studies, to the one whose Patient ID or folder name is a word of
    the mask's path below it. A mask that fits no study, or several, belongs to none.

    Parameters
    ----------
    name
        Keyed: study -> the token under which the study's case number is remembered.
    """
    studies: dict[Study, list[Stack]] = defaultdict(list)
    for stack in stacks:
        studies[(stack.subject, stack.study_uid)].append(stack)
    owned: dict[Study, list[SourceFile]] = defaultdict(list)
    folders = _folders(studies)
    for label in labels:
        study = _by_folder(label, folders) if label.kind is Kind.MASK else _by_reference(label, studies)
        if study is not None:
            owned[study].append(label)
    return [Candidate(name(study), study[0], tuple(studies[study]), tuple(owned[study])) for study in studies]


def _by_reference(label: SourceFile, studies: Mapping[Study, Sequence[Stack]]) -> Study | None:
    references = set(label.facts.get("references", ()))
    referred = [study for study, stacks in studies.items() if references & {s.series_uid for s in stacks}]
    if len(referred) == 1:
        return referred[0]
    own = (label.text("PatientID"), label.text("StudyInstanceUID"))
    return own if own in studies else None


def _folders(studies: Mapping[Study, Iterable[Stack]]) -> dict[PurePosixPath, dict[Study, set[str]]]:
    """Return folder -> study -> names of the folders directly below it in which the study's images lie."""
    folders: dict[PurePosixPath, dict[Study, set[str]]] = defaultdict(lambda: defaultdict(set))
    for study, stacks in studies.items():
        places = {PurePosixPath(file.inside).parent for stack in stacks for file in stack.files}
        for place in places:
            below = ""
            for folder in (place, *place.parents):
                folders[folder][study].add(below)
                below = folder.name
    return folders


def _by_folder(label: SourceFile, folders: Mapping[PurePosixPath, Mapping[Study, set[str]]]) -> Study | None:
    place = PurePosixPath(label.inside)
    for folder in place.parents:
        here = folders.get(folder, {})
        if len(here) == 1:
            return next(iter(here))
        if here:
            words = place.relative_to(folder).as_posix()
            named = [
                study for study, below in here.items() if any(_is_word(w, words) for w in {study[0], *below})
            ]
            return named[0] if len(named) == 1 else None
    return None


def _is_word(word: str, text: str) -> bool:
    """Whether a name stands in a text with no letter or digit before or after it."""
    pattern = rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])"
    return bool(word) and re.search(pattern, text, re.IGNORECASE) is not None
