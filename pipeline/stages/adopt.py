"""Take files that are no longer DICOM as the images of a task, where its rules say so."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.model.rules import Source
from pipeline.model.series import SourceFile, SourceRef, Stack


@dataclass(frozen=True, slots=True)
class Adopted:
    """A task's images, each volume a stack of its own, and what remains: masks."""

    stacks: Sequence[Stack]
    masks: Sequence[SourceFile]


def adopt(
    files: Iterable[SourceFile],
    rule: Source,
    *,
    is_wanted: Callable[[Stack], bool],
    data: Mapping[SourceRef, SourceFile],
) -> Adopted:
    """Return as images the files of the rule's format of which a channel wants a volume; the others stay masks.

    Parameters
    ----------
    files
        Index lines of NIfTI, NRRD and MetaImage files, with what `io.imagefile.describe` says of them.
    is_wanted
        Whether a channel of the task selects a stack.
    data
        Header that stands alone -> the file of its voxels.

    Returns
    -------
    Adopted
        The first file of a stack is the one that says where the voxels lie; its `frame` is the volume. Images bear
        as `PatientID` what the rule says of their path, masks too where it says something of theirs. The path is the
        series, and no study is known.
    """
    stacks: list[Stack] = []
    masks: list[SourceFile] = []
    for file in files:
        volumes = _volumes(file, rule, data.get(file.ref)) if file.facts.get("source") == rule.format else []
        if any(map(is_wanted, volumes)):
            stacks += volumes
        else:
            told = _told(file.inside, rule)
            masks.append(replace(file, facts={**file.facts, "PatientID": told}) if told else file)
    return Adopted(stacks, masks)


def _volumes(file: SourceFile, rule: Source, data: SourceFile | None) -> list[Stack]:
    """Return each volume of a file as a stack."""
    subject = _told(file.inside, rule) if rule.subject is not None else _folder(file)
    own = {name: fact for name, fact in file.facts.items() if name not in ("volumes", "data_file", "damage")}
    stacks = []
    for number in range(file.facts["volumes"]):
        facts = {
            **own,
            "file": file.inside,
            "volume": number,
            "PatientID": subject,
            "StudyInstanceUID": "",
            "SeriesInstanceUID": file.inside,
        }
        files = (replace(file, facts=facts, frame=number), *(() if data is None else (data,)))
        stacks.append(Stack(files, facts, file.facts.get("damage")))
    return stacks


def _told(path: str, rule: Source) -> str:
    """Return what the groups of the rule's pattern hold, joined by `-`; empty where it is not found."""
    found = None if rule.subject is None else re.search(rule.subject, path, re.IGNORECASE)
    return "" if found is None else "-".join(text for text in found.groups() if text)


def _folder(file: SourceFile) -> str:
    """Return the path of the folder that an image lies in; empty for one directly below SOURCE."""
    return file.inside.rpartition("/")[0]
