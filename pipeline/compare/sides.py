"""Open what is to be compared: a release, a TAR or a folder of the published layout, as tasks and their cases."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.model.errors import UsageError

_VOLUME = re.compile(r"(images|labels)(Tr|Ts)/([A-Za-z0-9_-]+)\.nii(?:\.gz)?")
_DATASET = "dataset.json"
_MANIFEST = ".manifest.jsonl"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file's bytes lie: a whole file, or a stretch of a TAR; `member` is its name there."""

    path: Path
    member: str
    offset: int
    size: int

    def read(self) -> bytes:
        """Return the bytes."""
        with self.path.open("rb") as stream:
            stream.seek(self.offset)
            return stream.read(self.size)


@dataclass(frozen=True, slots=True)
class Case:
    """The files of one case: `subset` is `training` or `test`; either file may be absent."""

    subset: str
    files: Mapping[str, Place]


@dataclass(frozen=True, slots=True)
class Task:
    """One task of a side: its files, and, where a manifest lies beside them, its header and lines."""

    name: str
    dataset: Place | None
    cases: Mapping[str, Case]
    manifest: Path | None = None
    header: Mapping[str, Any] = field(default_factory=dict)
    lines: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    def line(self, case: str) -> Mapping[str, Any] | None:
        """Return a case's manifest line, None where there is none; read when asked for, to hold little."""
        if self.manifest is None or case not in self.lines:
            return None
        with self.manifest.open("rb") as stream:
            stream.seek(self.lines[case])
            document: dict[str, Any] = json.loads(stream.readline())
        return document


def open_side(path: Path) -> dict[str, Task]:
    """Return task name -> task of a release, a TAR, a task's folder, or a folder of TARs or task folders.

    Raises
    ------
    UsageError
        not-a-release, when nothing of the kind is there or a TAR or manifest does not read.
    """
    tasks = {task.name: task for task in _tasks(path)}
    if not tasks:
        raise UsageError("not-a-release", wanted="a release, a TAR or a task's folder", found="none of them")
    return dict(sorted(tasks.items()))


def _tasks(path: Path) -> Iterator[Task]:
    if path.is_file():
        yield _of_tar(path)
    elif (path / _DATASET).is_file() or (path / "imagesTr").is_dir():
        yield _of_folder(path)
    elif path.is_dir():
        for tar in sorted(path.glob("*.tar")):
            yield _of_tar(tar)
        for folder in sorted(path.iterdir()):
            if (folder / _DATASET).is_file() or (folder / "imagesTr").is_dir():
                yield _of_folder(folder)


def _of_folder(folder: Path) -> Task:
    places = {}
    for path in sorted(folder.glob("*/*.nii*")) + sorted(folder.glob(_DATASET)):
        name = path.relative_to(folder).as_posix()
        if path.is_file():
            places[name] = Place(path, name, 0, path.stat().st_size)
    return _task(folder.resolve().name, places, folder.with_name(folder.resolve().name + _MANIFEST))


def _of_tar(path: Path) -> Task:
    places = {}
    try:
        with tarfile.open(path, "r:") as archive:
            for info in archive:
                # The published TARs hold `./` before names, and files of macOS beside the volumes.
                parts = PurePosixPath(info.name).parts
                if info.isreg() and len(parts) > 1 and not parts[-1].startswith("."):
                    places["/".join(parts[1:])] = Place(path, info.name, info.offset_data, info.size)
    except tarfile.TarError:
        raise _unreadable("an uncompressed TAR") from None
    return _task(path.stem, places, path.with_name(path.stem + _MANIFEST))


def _unreadable(wanted: str) -> UsageError:
    return UsageError("not-a-release", wanted=wanted, found="something else")


def _task(name: str, places: Mapping[str, Place], manifest: Path) -> Task:
    cases: dict[str, tuple[str, dict[str, Place]]] = {}
    for member, place in places.items():
        found = _VOLUME.fullmatch(member)
        # Labels of test cases are never part of a release; a private TAR of them is no case of its own.
        if found and found[1] + found[2] != "labelsTs":
            subset = "training" if found[2] == "Tr" else "test"
            cases.setdefault(found[3], (subset, {}))[1][found[1].removesuffix("s")] = place
    made = {case: Case(*parts) for case, parts in cases.items()}
    if not manifest.is_file():
        return Task(name, places.get(_DATASET), made)
    try:
        return _with_manifest(name, places.get(_DATASET), made, manifest)
    except (ValueError, KeyError, TypeError):
        raise _unreadable("a manifest of JSON lines") from None


def _with_manifest(name: str, dataset: Place | None, cases: Mapping[str, Case], manifest: Path) -> Task:
    header: Mapping[str, Any] = {}
    lines: dict[str, int] = {}
    refused: dict[str, str] = {}
    offset = 0
    with manifest.open("rb") as stream:
        for content in stream:
            line = json.loads(content)
            if line["kind"] == "header":
                header = line
            elif line["kind"] == "case":
                lines[line["case"]] = offset
            else:
                refused[line["case"]] = f"{line['stage']}: {line['code']}"
            offset += len(content)
    return Task(name, dataset, cases, manifest, header, lines, refused)
