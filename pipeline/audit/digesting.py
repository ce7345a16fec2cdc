"""SHA-256 (FIPS 180-4) of what is read, worked out by a thread beside the reader: a second core halves the wait."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Queue
from threading import Thread
from typing import Any

BLOCKS_WAITING = 16
"""Most blocks that wait for the thread: they bound its memory, and it still has work when the reader pauses."""


class Digest:
    """The digest of blocks in the order in which they are given."""

    def __init__(self, waiting: Queue[Any]) -> None:
        self._waiting = waiting
        self._sha256 = hashlib.sha256()

    def update(self, block: bytes) -> None:
        """Add a block; wait only where too many others wait."""
        self._waiting.put((self._sha256, block))

    def hexdigest(self) -> str:
        """Wait until every block is in, and return the digest in hexadecimal."""
        self._waiting.join()
        return self._sha256.hexdigest()


class Digester:
    """What digests are asked of; one thread works for all of them."""

    def __init__(self, waiting: Queue[Any]) -> None:
        self._waiting = waiting

    def digest(self) -> Digest:
        """Return a digest of nothing yet."""
        return Digest(self._waiting)


@contextmanager
def digesting() -> Iterator[Digester]:
    """Yield what gives digests; its thread ends with the block, also when an error leaves it."""
    waiting: Queue[Any] = Queue(BLOCKS_WAITING)
    thread = Thread(target=_work, args=(waiting,), name="digests", daemon=True)
    thread.start()
    try:
        yield Digester(waiting)
    finally:
        waiting.put(None)
        thread.join()


def _work(waiting: Queue[Any]) -> None:
    while (given := waiting.get()) is not None:
        sha256, block = given
        sha256.update(block)
        waiting.task_done()
