"""Work on many small things in other processes of this machine, in chunks and in order."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from typing import Generic, TypeVar

from pipeline.io.quiet import hush

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 4
"""Chunks a process that are handed out before the first of them is asked for."""


@dataclass(frozen=True, slots=True)
class Asked(Generic[Item, Result]):
    """A chunk that is with the processes."""

    chunk: Sequence[Item]
    future: Future[list[Result]]


class Processes(Generic[Item, Result]):
    """Processes that run one function on chunks of items.

    A chunk whose process died is done again item by item; an item at which it dies again is `lost`.

    Parameters
    ----------
    work
        A function at the top of a module: chunk -> one result for each of its items.
    lost
        What an item comes to that no process survives.
    count
        How many processes; they start with the first chunk.
    """

    def __init__(
        self, work: Callable[[Sequence[Item]], list[Result]], *, lost: Callable[[Item], Result], count: int
    ) -> None:
        self._work, self._lost, self._count = work, lost, count
        self._pool = _pool(count)

    def __enter__(self) -> Processes[Item, Result]:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    @property
    def ahead(self) -> int:
        """How many chunks may be asked for before the first is answered: memory stays flat."""
        return _AHEAD * self._count

    def ask(self, chunk: Sequence[Item]) -> Asked[Item, Result]:
        """Hand a chunk to the processes; one without items is answered at once."""
        if not chunk:
            nothing: Future[list[Result]] = Future()
            nothing.set_result([])
            return Asked(chunk, nothing)
        try:
            return Asked(chunk, self._pool.submit(self._work, chunk))
        except BrokenProcessPool:
            self._pool.shutdown(cancel_futures=True)
            self._pool = _pool(self._count)
            return Asked(chunk, self._pool.submit(self._work, chunk))

    def answer(self, asked: Asked[Item, Result]) -> list[Result]:
        """Wait for a chunk's results, one for each of its items."""
        try:
            return asked.future.result()
        except BrokenProcessPool:
            return [self._alone(item) for item in asked.chunk]

    def _alone(self, item: Item) -> Result:
        """Return one item's result from a process that does nothing else, so that its death blames nobody else."""
        with _pool(1) as pool:
            try:
                (result,) = pool.submit(self._work, [item]).result()
            except BrokenProcessPool:
                return self._lost(item)
            return result


def _pool(count: int) -> ProcessPoolExecutor:
    # Not forked: a fork of a process with threads, such as a progress bar's, may hang.
    return ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_begin)


def _begin() -> None:
    """Set up a process: silent, deaf to the interrupt that its parent answers, and gone when that is killed."""
    hush()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
