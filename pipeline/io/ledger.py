"""The private ledger: index, plans, crosswalk and fates, as JSON lines and CSV under private/."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from io import TextIOWrapper
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import IO, Any, cast

from pipeline.io.durable import write_bytes, writing
from pipeline.model.identified import Key
from pipeline.model.series import Fate, Kind, SourceFile, SourceRef

INDEX_FORMAT = "curate-index/2"
_PRIVATE = 0o600

Stamped = tuple[SourceFile, tuple[int, int]]
"""An index line, and the size and modification time that speed up a second look."""


def index_path(folder: Path, root: Path, key: Key) -> Path:
    """Return where the index of one source root lies: indexing the root again replaces it."""
    return folder / f"{key.token('index', str(root), 24)}.jsonl"


def write_index(path: Path, root: Path, lines: Iterable[bytes]) -> int:
    """Write an index file of lines that `index_line` made; return the number of files in it."""
    count = 0
    with writing(path, _PRIVATE) as stream:
        stream.write(_line({"format": INDEX_FORMAT, "root": str(root)}))
        for line in lines:
            stream.write(line)
            count += 1
    return count


def index_line(file: SourceFile, stamp: tuple[int, int]) -> bytes:
    """Return a file's line in an index."""
    return _line(_file_to_json(file) | {"stamp": list(stamp)})


def _line(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"


def _file_to_json(file: SourceFile) -> dict[str, Any]:
    return {
        "ref": file.ref.to_json(),
        "inside": file.inside,
        "task": file.task,
        "kind": file.kind.value,
        "code": file.code,
        "facts": file.facts,
    }


def _file_from_json(line: Mapping[str, Any]) -> SourceFile:
    return SourceFile(
        SourceRef(*line["ref"]), line["inside"], line["task"], Kind(line["kind"]), line["code"], line["facts"]
    )


def read_index_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of one index file, as `parsed` takes them; none of one in another format: it is made again."""
    with path.open("rb") as stream:
        if json.loads(stream.readline())["format"] == INDEX_FORMAT:
            yield from stream


_TRIED_AGAIN = b'"stamp":[0,0]}\n'
"""How the line of a file ends that could not be read: no file on disk has such a stamp."""


def to_read_again(path: Path) -> Iterator[SourceFile]:
    """Yield what of one index file could not be read; by the end of each line, many times faster than parsing all."""
    for line in read_index_lines(path):
        if line.endswith(_TRIED_AGAIN):
            yield parsed(line)[0]


def read_index_file(path: Path) -> Iterator[Stamped]:
    """Yield what stands in one index file."""
    return map(parsed, read_index_lines(path))


def parsed(line: bytes) -> Stamped:
    """Return what `index_line` made a line of."""
    document = json.loads(line)
    size, modified = document["stamp"]
    return _file_from_json(document), (size, modified)


@dataclass(frozen=True, slots=True)
class Index:
    """Every indexed file of a workspace once, in the byte order of the source roots; read anew each time.

    Of two roots that hold a file the deeper one speaks for it: it was named later, or more exactly.
    """

    folder: Path

    def __iter__(self) -> Iterator[SourceFile]:
        heads = {_root_of(path): path for path in self.folder.glob("*.jsonl")}
        for root in sorted(heads):
            deeper = [other for other in heads if other != root and _is_below(other, root)]
            for file, _ in read_index_file(heads[root]):
                if not any(_is_below(file.ref.path, other) for other in deeper):
                    yield file

    def most(self) -> int:
        """Return how many files there are at most: lines, not files that two roots share."""
        return sum(max(_line_count(path) - 1, 0) for path in self.folder.glob("*.jsonl"))


def _line_count(path: Path) -> int:
    with path.open("rb") as stream:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: stream.read(2**20), b""))


def read_index(folder: Path) -> Iterator[SourceFile]:
    """Yield every indexed file of a workspace; see `Index`."""
    return iter(Index(folder))


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def _root_of(path: Path) -> str:
    with path.open("rb") as stream:
        return str(json.loads(stream.readline())["root"])


@dataclass(frozen=True, slots=True)
class Row:
    """One row of fates.csv: what became of an input file."""

    file: SourceFile
    fate: Fate
    code: str = ""
    task: str = ""
    case: str = ""
    role: str = ""


FATE_COLUMNS = ("ref", "fate", "code", "stage", "task", "case", "role", "path", "member")
"""Columns of fates.csv; `stage` is where the fate was said, `role` the channel or `label`."""


def reference(key: Key, ref: SourceRef) -> str:
    """Return the short keyed name of a source file, by which messages and refusals speak of it."""
    return key.token("ref", f"{ref.path}\x00{ref.member or ''}", 10)


def write_fates(path: Path, rows: Iterable[Row], key: Key) -> None:
    """Write one row an input file; a curator opens it in a table program."""
    rewrite_fates(path, (_cells(row, key) for row in rows))


def _cells(row: Row, key: Key) -> dict[str, str]:
    ref = row.file.ref
    return {
        "ref": reference(key, ref),
        "fate": row.fate.value,
        "code": row.code,
        "stage": "index" if row.fate is Fate.PENDING else "plan",
        "task": row.task,
        "case": row.case,
        "role": row.role,
        "path": ref.path,
        "member": ref.member or "",
    }


def rewrite_fates(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    """Write rows as `read_fates` gave them, one after the other: there may be millions."""
    with writing(path, _PRIVATE) as stream:
        # Paths on Linux may be any bytes; what is not UTF-8 is written as the file system gave it.
        text = TextIOWrapper(cast(IO[bytes], stream), "utf-8", "surrogateescape", newline="")
        writer = csv.DictWriter(text, FATE_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        text.detach()


def may_name_stages(path: Path, stages: Iterable[str]) -> bool:
    """Whether a row of fates.csv may have one of these stages: a search for the words, many times faster than rows."""
    if not path.exists():
        return False
    with path.open("rb") as stream, mmap(stream.fileno(), 0, access=ACCESS_READ) as content:
        return any(content.find(f",{stage},".encode()) >= 0 for stage in stages)


def read_fates(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of fates.csv, none when there is no such file."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
        yield from csv.DictReader(stream)


@dataclass(frozen=True, slots=True)
class Crosswalk:
    """What earlier plans dealt: candidate -> (case, subset), and subject -> subset; neither ever moves."""

    cases: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    subjects: Mapping[str, str] = field(default_factory=dict)


def read_crosswalk(path: Path) -> Crosswalk:
    """Return what was dealt before, nothing when there is no such file."""
    if not path.exists():
        return Crosswalk()
    document = json.loads(path.read_text("utf-8"))
    return Crosswalk(
        {name: (case, subset) for name, (case, subset) in document["cases"].items()}, document["subjects"]
    )


def write_crosswalk(path: Path, dealt: Crosswalk) -> None:
    """Remember what was dealt."""
    document = {
        "cases": {name: list(found) for name, found in dealt.cases.items()},
        "subjects": dict(dealt.subjects),
    }
    write_bytes(path, json.dumps(document, indent=0, sort_keys=True).encode(), _PRIVATE)
