"""The one model that every metadata document is written from: the terms, and what the manifests say."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.model.publication import Publication

COLUMNS = (
    "task", "case", "subset", "tar", "image", "label", "shape", "dtype", "image_bytes", "image_sha256",
    "label_sha256",
)  # fmt: skip
"""What the table of cases says of each."""

Row = Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class File:
    """A file of the release: hex SHA-256 and size in bytes."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """What a manifest's header says of its task, and one row a case."""

    name: str
    title: str
    description: str
    licence: str
    channels: Sequence[str]
    classes: Sequence[str]
    counts: Mapping[str, int]
    tar: File
    manifest: File
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Facts:
    """All that the documents say."""

    publication: Publication
    tasks: Sequence[TaskFacts]
    software: Mapping[str, Any]

    @property
    def files(self) -> list[File]:
        """TARs and manifests, by task."""
        return [file for task in self.tasks for file in (task.tar, task.manifest)]

    @property
    def rows(self) -> list[Row]:
        """Every case, by task."""
        return [row for task in self.tasks for row in task.rows]


def gather(release: Path, entries: Sequence[Mapping[str, Any]], publication: Publication) -> Facts:
    """Return the facts of a release folder whose manifests stand; `entries` are those of release.json."""
    tasks = [_task(release, entry) for entry in entries]
    return Facts(publication, [task for task, _ in tasks], tasks[-1][1]["software"])


def _task(release: Path, entry: Mapping[str, Any]) -> tuple[TaskFacts, Mapping[str, Any]]:
    path = release / entry["manifest"]["file"]
    lines = _lines(path)
    header = next(lines)
    texts = header["rules"]["document"]["header"]
    tar = File(entry["tar"]["file"], _hex(entry["tar"]["digest"]), entry["tar"]["size"])
    rows = [_row(line, tar.name) for line in lines if line["kind"] == "case"]
    facts = TaskFacts(
        header["task"],
        texts["name"],
        texts["description"],
        texts["licence"],
        [channel["name"] for channel in header["channels"]],
        [name for value, name in sorted(header["classes"].items(), key=lambda item: int(item[0]))],
        {"training": header["counts"]["training"], "test": header["counts"]["test"]},
        tar,
        File(path.name, _hex(entry["manifest"]["digest"]), path.stat().st_size),
        rows,
    )
    return facts, header


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as stream:
        for line in stream:
            yield json.loads(line)


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")


def _row(line: Mapping[str, Any], tar: str) -> Row:
    image, label = line["image"], line["label"]
    values = (
        line["task"], line["case"], line["subset"], tar, line["members"]["image"], line["members"]["label"] or "",
        "x".join(str(n) for n in image["shape"]), image["dtype"], image["size"], _hex(image["file"]),
        "" if label is None else _hex(label["file"]),
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))
