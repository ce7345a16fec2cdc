"""Gather stacks and labels into studies, the candidates for a case."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import TypeAlias

from pipeline.model.plan import Candidate
from pipeline.model.series import Kind, SourceFile, Stack

Study = tuple[str, str]
"""Patient ID and Study Instance UID."""

Folders: TypeAlias = "dict[PurePosixPath, dict[Study, set[str]]]"
"""Folder -> study -> names of the folders directly below it in which the study's images lie."""


def gather(
    stacks: Sequence[Stack], labels: Sequence[SourceFile], name: Callable[[Study], str]
) -> list[Candidate]:
    """Return one candidate for each study of each subject, with the labels that belong to it.

    A SEG or RTSTRUCT belongs to the study whose series it refers to, else to its own study. A mask file
    belongs to the one study whose images lie in its folder, or in the nearest folder above that holds
    images; where that folder holds several studies, to the one whose Patient ID or folder name is a word of
    the mask's path below it. Folders of the mask's own SOURCE count, and those of others where its own holds no
    images. A mask whose own facts say its subject belongs to that one's study. A mask that fits no study, or
    several, belongs to none.

    Parameters
    ----------
    name
        Keyed: study -> the token under which the study's case number is remembered.
    """
    studies: dict[Study, list[Stack]] = defaultdict(list)
    for stack in stacks:
        studies[(stack.subject, stack.study_uid)].append(stack)
    owned: dict[Study, list[SourceFile]] = defaultdict(list)
    folders = _by_source(studies)
    for label in labels:
        study = (
            _of_mask(label, studies, folders) if label.kind is Kind.MASK else _by_reference(label, studies)
        )
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


def _by_source(studies: Mapping[Study, Iterable[Stack]]) -> dict[str, Folders]:
    """Return SOURCE -> folder -> study -> names of the folders directly below in which the study's images lie.

    Under an empty name stand the folders of all sources together.
    """
    sources: dict[str, Folders] = defaultdict(lambda: defaultdict(lambda: defaultdict(set)))
    for study, stacks in studies.items():
        places = {
            (_source(file), PurePosixPath(file.inside).parent) for stack in stacks for file in stack.files
        }
        for source, place in places:
            below = ""
            for folder in (place, *place.parents):
                sources[source][folder][study].add(below)
                sources[""][folder][study].add(below)
                below = folder.name
    return sources


def _source(file: SourceFile) -> str:
    """Return the SOURCE that a file's inner path begins in."""
    whole = file.ref.path if file.ref.member is None else f"{file.ref.path}/{file.ref.member}"
    return whole.removesuffix(file.inside)


def _of_mask(
    mask: SourceFile, studies: Mapping[Study, object], folders: Mapping[str, Folders]
) -> Study | None:
    """Return the study of a mask: of the subject that it bears, else by its folder."""
    told = mask.text("PatientID")
    if told:
        meant = [study for study in studies if study[0] == told]
        return meant[0] if len(meant) == 1 else None
    own = folders.get(_source(mask)) or folders.get("", {})
    return _by_folder(mask, own)


def _by_folder(label: SourceFile, folders: Folders) -> Study | None:
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
