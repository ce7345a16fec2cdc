"""The bytes of source files that a plan or a record names, plain or out of an archive, checked by digest."""

from __future__ import annotations

import hashlib
import json
import tarfile
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.model.errors import SourceError


class Source(NamedTuple):
    """One source file: its path, its name in an archive, the digest and size that it had when it was read."""

    path: str
    member: str | None
    digest: str
    size: int

    @property
    def names(self) -> list[str]:
        """Names of the file and of the folders that it lies in, archives counted as folders."""
        whole = self.path if self.member is None else f"{self.path}/{self.member}"
        return [part for part in whole.replace("\\", "/").split("/") if part]


@dataclass(frozen=True, slots=True)
class PlannedCase:
    """What a plan says of one case: task, name, pseudonym, source files by channel, what the label consists of."""

    task: str
    case: str
    subset: str
    subject: str
    channels: Mapping[str, Sequence[Source]]
    label: Sequence[Source]

    @property
    def owner(self) -> str:
        """What zones call the case."""
        return f"{self.task}/{self.case}"

    @property
    def sources(self) -> list[Source]:
        """Every file, each once."""
        listed = [source for sources in self.channels.values() for source in sources]
        return list(dict.fromkeys([*listed, *self.label]))


def planned_cases(workspace: Path, task: str) -> Iterator[PlannedCase]:
    """Yield the cases of a task's plan.

    Raises
    ------
    SourceError
        `source-missing` when there is no plan that can be read.
    """
    path = workspace / "private" / "plan" / f"{task}.jsonl"
    try:
        with path.open("rb") as stream:
            for content in stream:
                line = json.loads(content)
                if line["kind"] == "case":
                    yield _case_of(line)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise SourceError("source-missing", wanted=f"a plan of {task}", found="none") from None


def _case_of(line: Mapping[str, Any]) -> PlannedCase:
    label = line["label"] or {}
    refs = [label.get(part) for part in ("ref", "data", "names")]
    return PlannedCase(
        line["task"],
        line["case"],
        line["subset"],
        line["subject"],
        {name: [Source(*ref) for ref in refs] for name, refs in line["channels"].items()},
        [Source(*ref) for ref in refs if ref is not None],
    )


_UNREADABLE = (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error, RuntimeError, ValueError)
"""What a missing file and a damaged or encrypted archive raise."""


def contents(sources: Sequence[Source]) -> Iterator[tuple[Source, bytes]]:
    """Yield each source with its bytes; archives are read once.

    Raises
    ------
    SourceError
        `source-missing` or `source-changed`: what cannot be read cannot be searched for.
    """
    by_path: defaultdict[str, defaultdict[tuple[str | None, str], list[Source]]]
    by_path = defaultdict(lambda: defaultdict(list))
    for source in dict.fromkeys(sources):
        by_path[source.path][source.member, source.digest].append(source)
    for path, wanted in by_path.items():
        try:
            for member, content in _members(Path(path), {member for member, _ in wanted}):
                for source in wanted.pop((member, hashlib.sha256(content).hexdigest()), ()):
                    yield source, content
        except _UNREADABLE:
            raise SourceError("source-missing", wanted="the source files", found="one less") from None
        if wanted:
            raise SourceError("source-changed", wanted="the source files as they were", found="another")


def _members(path: Path, names: set[str | None]) -> Iterator[tuple[str | None, bytes]]:
    if None in names:
        yield None, path.read_bytes()
    elif path.name.lower().endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if info.filename in names:
                    yield info.filename, archive.read(info)
    else:
        with tarfile.open(path, "r|*") as packed:
            for member in packed:
                stream = packed.extractfile(member) if member.name in names and member.isfile() else None
                if stream is not None:
                    yield member.name, stream.read()
