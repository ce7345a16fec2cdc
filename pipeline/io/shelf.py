"""Index lines dealt onto files by subject, so that a plan holds one such file in memory and never the index."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pipeline.io.durable import refusing_unwritable, temporary_name
from pipeline.io.ledger import index_line, parsed
from pipeline.model.series import SourceFile

FILES_A_SHELF = 4096
"""Files that are held in memory at once, about, unless one subject has more: 5 KB each."""

MOST_SHELVES = 200
"""More files than this are not open at once: systems let a process have 256 at least."""

PASSES = 4
"""How often a plan goes through its shelves: they are filled, sifted, and read twice."""

Told = Callable[[int, int], None]
"""Told (passes through a shelf done, of how many), where there are several."""

Placed = tuple[int, SourceFile]
"""An indexed file and its place in the index, counted from 0."""


class Shelves:
    """Files in a folder of their own; all lines of one subject are in the same one, in the order they came."""

    def __init__(self, folder: Path, lines: int, told: Told = lambda done, total: None) -> None:
        self._folder, self._told, self._done = folder, told, 0
        self.count = max(1, min(MOST_SHELVES, -(-lines // FILES_A_SHELF)))
        self._lines_a_shelf = max(1, lines // self.count)

    def number_of(self, subject: str) -> int:
        """Return the shelf on which a subject's files are; the same in every process."""
        digest = hashlib.sha256(subject.encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") % self.count

    def fill(self, files: Iterable[Placed]) -> None:
        """Write every file's line onto its subject's shelf."""
        with refusing_unwritable(), ExitStack() as stack:
            streams = [stack.enter_context(self._path(n).open("wb")) for n in range(self.count)]
            for number, (place, file) in enumerate(files, start=1):
                if number % self._lines_a_shelf == 0:
                    self._go_on()
                streams[self.number_of(file.text("PatientID"))].write(index_line(file, (place, 0)))

    def sift(self, number: int, kept: Callable[[Iterator[Placed]], Iterable[Placed]]) -> None:
        """Keep of a shelf what `kept` hands on."""
        path = self._path(number)
        with refusing_unwritable(), path.with_suffix(".kept").open("wb") as stream:
            for place, file in kept(self.read(number)):
                stream.write(index_line(file, (place, 0)))
        path.with_suffix(".kept").replace(path)

    def read(self, number: int) -> Iterator[Placed]:
        """Yield what is on a shelf."""
        with self._path(number).open("rb") as stream:
            for file, (place, _) in map(parsed, stream):
                yield place, file
        self._go_on()

    def _go_on(self) -> None:
        """Tell that another shelf is through; a single one takes no time worth telling."""
        if self.count == 1:
            return
        self._done = min(self._done + 1, PASSES * self.count)
        self._told(self._done, PASSES * self.count)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.jsonl"


@contextmanager
def shelves(scratch: Path, lines: int, told: Told = lambda done, total: None) -> Iterator[Shelves]:
    """Yield shelves for about that many lines; they are gone at the end. What a killed run left is swept."""
    folder = temporary_name(scratch)
    folder.mkdir(mode=0o700)
    try:
        yield Shelves(folder, lines, told)
    finally:
        shutil.rmtree(folder)
