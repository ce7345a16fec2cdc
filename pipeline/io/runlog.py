"""What a run says of its cases while it goes on: one append-only file for each process that works, merged by readers.

Files on a network drive that two hosts append to tear, and SQLite may not lie there at all. So each process has a file
of its own, every line ends what was said before it and carries a checksum, and whoever reads takes the whole lines of
all files. Nothing in a line is identity: task, case, room, code.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.io.document import canonical, write_lines
from pipeline.io.durable import refusing_unwritable
from pipeline.model.record import Finished, Json, Outcome

SUM = "sum"
"""The key of a line's checksum: the first 16 hex digits of the SHA-256 of the canonical line without it."""

_PARTS = "part-*.jsonl"
MERGED = "outcomes.jsonl"
"""All whole lines of a run that has ended, by time."""

_FLUSH_EVERY_S = 1.0
"""Seconds between two flushes to the disk, some 10 ms each: cases that take longer have one each."""


class RunLog:
    """The lines of one process, in a file that nobody else writes to."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        name = f"part-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"
        self._file = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._flushed = -_FLUSH_EVERY_S

    def append(self, document: Mapping[str, Json]) -> None:
        """Write one line, with the time in ms as `at`: it outlives the process at once, a power cut a second later."""
        said: dict[str, Json] = {**document, "at": time.time_ns() // 10**6}
        line = canonical({**said, SUM: _sum(said)}) + b"\n"
        with refusing_unwritable():
            os.write(self._file, line)
            if time.monotonic() - self._flushed >= _FLUSH_EVERY_S:
                self._flush()

    def close(self) -> None:
        """Flush what was said, and say no more."""
        with refusing_unwritable():
            self._flush()
        os.close(self._file)

    def _flush(self) -> None:
        os.fsync(self._file)
        self._flushed = time.monotonic()


def ending(outcome: Outcome) -> dict[str, Json]:
    """Return what a line says of how a case ended: made, reused, or refused with its code and room."""
    about: dict[str, Json] = {"task": outcome.task, "case": outcome.case}
    if isinstance(outcome, Finished):
        return {**about, "end": "made" if outcome.was_made else "reused"}
    return {**about, "end": "refused", "code": outcome.code, "stage": outcome.stage}


def _sum(document: Mapping[str, Json]) -> str:
    return hashlib.sha256(canonical(dict(document))).hexdigest()[:16]


def read_all(folder: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a run by time, of one that goes on or has ended; a torn or changed line is left out."""
    merged = folder / MERGED
    parts = sorted(folder.glob(_PARTS))
    lines = [line for path in ([merged] if merged.exists() else []) + parts for line in _whole_lines(path)]
    unique = {line[SUM]: line for line in lines}
    # Stable: lines of one process within one millisecond stay in the order in which it wrote them.
    return sorted(unique.values(), key=lambda line: line["at"])


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_bytes().split(b"\n"):
        try:
            document = json.loads(line)
            told = document.pop(SUM)
            is_whole = told == _sum(document) and isinstance(document["at"], int)
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        if is_whole:
            yield {**document, SUM: told}


def merge(folder: Path) -> int:
    """Make one file of a run's lines, then take the parts away; return how many lines there are.

    Only for the one process that leads the run. A crash in between leaves lines twice, which readers count once.
    """
    lines = read_all(folder)
    parts = sorted(folder.glob(_PARTS))
    write_lines(folder / MERGED, lines, 0o600)
    for path in parts:
        path.unlink()
    return len(lines)
