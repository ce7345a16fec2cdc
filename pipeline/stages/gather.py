"""Gather stacks and labels into studies, the candidates for a case."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from pipeline.model.plan import Candidate
from pipeline.model.series import Kind, SourceFile, Stack

Study = tuple[str, str]
"""Patient ID and Study Instance UID."""

_Bound = tuple[str | None, Study]
"""The task that a study's source is bound to, and the study."""


def gather(
    stacks: Sequence[Stack], owned: Mapping[Study, Sequence[SourceFile]], name: Callable[[Study], str]
) -> list[Candidate]:
    """Return one candidate for each study of each subject, with the labels that belong to it.

    Parameters
    ----------
    stacks
        The volumes that a task may use: all of them, or all of some subjects.
    owned
        Study -> its labels, as `Whereabouts.owners` says.
    name
        Keyed: study -> the token under which the study's case number is remembered.
    """
    studies: dict[Study, list[Stack]] = defaultdict(list)
    for stack in stacks:
        studies[(stack.subject, stack.study_uid)].append(stack)
    return [
        Candidate(name(study), study[0], tuple(found), tuple(owned.get(study, ())))
        for study, found in studies.items()
    ]


@dataclass(slots=True)
class Whereabouts:
    """Where the images of each study lie and which series are whose: all that labels are given out by."""

    _series: dict[str, set[_Bound]] = field(default_factory=dict)
    _sources: dict[str, dict[PurePosixPath, dict[_Bound, set[str]]]] = field(default_factory=dict)
    _subjects: dict[str, set[_Bound]] = field(default_factory=dict)
    _met: set[tuple[_Bound, str, str, str]] = field(default_factory=set)

    def meet(self, image: SourceFile) -> None:
        """Take in where an image lies."""
        study = (image.text("PatientID"), image.text("StudyInstanceUID"))
        series, folder = image.text("SeriesInstanceUID"), image.inside.rpartition("/")[0]
        bound, source = (image.task, study), _source(image)
        if (bound, series, source, folder) in self._met:
            return
        self._met.add((bound, series, source, folder))
        self._subjects.setdefault(study[0], set()).add(bound)
        self._series.setdefault(series, set()).add(bound)
        folders = self._sources.setdefault(source, {})
        place, below = PurePosixPath(folder), ""
        for above in (place, *place.parents):
            folders.setdefault(above, {}).setdefault(bound, set()).add(below)
            below = above.name

    def owners(self, labels: Iterable[SourceFile], task: str) -> dict[Study, list[SourceFile]]:
        """Return study -> the labels that belong to it, of what a task may use; a label belongs to one or none.

        A SEG or RTSTRUCT belongs to the study whose series it refers to, else to its own study. A mask file
        belongs to the one study whose images lie in its folder, or in the nearest folder above that holds
        images; where that folder holds several studies, to the one whose Patient ID or folder name is a word of
        the mask's path below it. Folders of the mask's own SOURCE count, and those of others where its own
        holds no images. A mask whose own facts say its subject belongs to that one's study. A mask that fits no
        study, or several, belongs to none.
        """
        owned: dict[Study, list[SourceFile]] = defaultdict(list)
        folders: dict[tuple[str, PurePosixPath], _Folder] = {}
        for label in labels:
            if label.kind is not Kind.MASK:
                study = self._by_reference(label, task)
            elif label.text("PatientID"):
                study = self._by_subject(label.text("PatientID"), task)
            else:
                study = self._by_folder(label, task, folders)
            if study is not None:
                owned[study].append(label)
        return owned

    def _by_reference(self, label: SourceFile, task: str) -> Study | None:
        references = label.facts.get("references", ())
        bound = [bound for uid in references for bound in self._series.get(uid, ())]
        referred = {study for to, study in bound if to in (None, task)}
        if len(referred) == 1:
            return referred.pop()
        own = (label.text("PatientID"), label.text("StudyInstanceUID"))
        return own if {(None, own), (task, own)} & self._subjects.get(own[0], set()) else None

    def _by_subject(self, subject: str, task: str) -> Study | None:
        meant = {study for to, study in self._subjects.get(subject, ()) if to in (None, task)}
        return meant.pop() if len(meant) == 1 else None

    def _by_folder(
        self, label: SourceFile, task: str, known: dict[tuple[str, PurePosixPath], _Folder]
    ) -> Study | None:
        def folder(source: str, place: PurePosixPath) -> _Folder:
            if (source, place) not in known:
                known[source, place] = self._folder(source, place, task)
            return known[source, place]

        place, own = PurePosixPath(label.inside), _source(label)
        source = own if folder(own, PurePosixPath()).studies else _EVERY_SOURCE
        for above in place.parents:
            here = folder(source, above)
            if len(here.studies) == 1:
                return next(iter(here.studies))
            if here.studies:
                named = here.named_in(place.relative_to(above).as_posix())
                return named.pop() if len(named) == 1 else None
        return None

    def _folder(self, source: str, place: PurePosixPath, task: str) -> _Folder:
        sources = self._sources.values() if source == _EVERY_SOURCE else [self._sources.get(source, {})]
        folder = _Folder(set(), defaultdict(set))
        for (to, study), below in (item for found in sources for item in found.get(place, {}).items()):
            if to in (None, task):
                folder.studies.add(study)
                for word in {study[0], *below} - {""}:
                    folder.words[word.lower()].add(study)
        return folder


_EVERY_SOURCE = ""
"""Stands for all sources together; none has an empty name."""


def _source(file: SourceFile) -> str:
    """Return the SOURCE that a file's inner path begins in."""
    whole = file.ref.path if file.ref.member is None else f"{file.ref.path}/{file.ref.member}"
    return whole.removesuffix(file.inside)


@dataclass(frozen=True, slots=True)
class _Folder:
    """The studies of which images lie in a folder or below, and by which words a path there may mean them."""

    studies: set[Study]
    words: Mapping[str, set[Study]]

    def named_in(self, text: str) -> set[Study]:
        """Return the studies whose word stands in a text with no letter or digit before or after it."""
        text = text.lower()
        starts = [at for at in range(len(text)) if at == 0 or not _is_alphanumeric(text[at - 1])]
        ends = {at for at in range(1, len(text) + 1) if at == len(text) or not _is_alphanumeric(text[at])}
        # By length, because a long path has very many parts.
        lengths = {len(word) for word in self.words}
        words = {text[at : at + length] for at in starts for length in lengths if at + length in ends}
        return {study for word in words for study in self.words.get(word, ())}


def _is_alphanumeric(letter: str) -> bool:
    return letter.isascii() and letter.isalnum()
