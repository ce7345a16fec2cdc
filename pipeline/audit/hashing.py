"""SHA-256 beside the reader: digests are taken in a thread of their own, where another processor can do it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from queue import Queue
from threading import Event, Thread
from types import TracebackType
from typing import Any, Self

_WAITING = 32
"""Blocks that may wait to be hashed; at most this many are kept in memory."""


class Digest:
    """A SHA-256 that takes blocks in the order in which they were given to it."""

    def __init__(self, queue: Queue[tuple[Any, bytes] | Event | None]) -> None:
        self._queue = queue
        self._hash = hashlib.sha256()

    def update(self, block: bytes) -> None:
        """Hash a block before long; it must not change."""
        self._queue.put((self._hash, block))

    def passing(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the blocks, and hash each that is asked for."""
        for block in blocks:
            self.update(block)
            yield block

    def hexdigest(self) -> str:
        """Wait until every block was hashed; return the hex digest."""
        done = Event()
        self._queue.put(done)
        done.wait()
        return self._hash.hexdigest()


class Hasher:
    """The thread that hashes; it ends with its block.

    hashlib gives the interpreter away while it works on a block, so the reader goes on.
    """

    def __init__(self) -> None:
        self._queue: Queue[tuple[Any, bytes] | Event | None] = Queue(_WAITING)
        self._thread = Thread(target=self._work, daemon=True)

    def sha256(self) -> Digest:
        """Return a new digest."""
        return Digest(self._queue)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (task := self._queue.get()) is not None:
            if isinstance(task, Event):
                task.set()
            else:
                task[0].update(task[1])
