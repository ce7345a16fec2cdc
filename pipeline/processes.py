"""Work on many things in confined processes of this machine: in chunks and in order, one by one, or as they are told.

Whatever a thing does to its process, a crash, a hang or a demand for all memory, is what that thing came to; the
others go on.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from queue import Full, Queue
from typing import Any, Generic, TypeAlias, TypeVar

from pipeline.confined import Confined, End, Ended, Limits
from pipeline.io.quiet import hush
from pipeline.model.errors import CurationError, SourceError

Item = TypeVar("Item")
Result = TypeVar("Result")
Tell: TypeAlias = Callable[[Any], None]

TRIES = 2
"""How often a thing may crash its process: once may be the machine's fault, twice is the thing's."""

_AHEAD = 4
"""Chunks a process that are handed out before the first of them is asked for."""

_SILENCE_S = 600.0
"""Seconds for a chunk, a member or a series: 4 GiB, the largest member, come in that from a drive at 7 MB/s."""

_LONGEST_S = 24 * 3600.0
"""Seconds for an archive that goes on telling of its members."""

_SERIES_S = 3600.0
"""Seconds for a thing that is worked on by itself, as for a case."""

_LEAST_MEMORY = 2 * 2**30
"""Bytes that a process may have on a small machine too."""

_UNREAD = 4096
"""Things told that may wait until they are asked for."""

_LOOK_EVERY_S = 1.0
"""Seconds between two looks at whether anybody still listens."""

_CODES = {End.CRASH: "input-crashed", End.MEMORY: "memory-short", End.TIMEOUT: "input-timeout"}
_WANTED = {
    End.CRASH: "a file that does not end its process",
    End.MEMORY: "a file that fits",
    End.TIMEOUT: "a file that ends",
}


def refusal_of(ended: Ended) -> CurationError:
    """Return what a call's end that is no answer means for what was asked about."""
    if ended.how is End.REFUSED:
        refused: CurationError = ended.value
        return refused
    return SourceError(_CODES[ended.how], wanted=_WANTED[ended.how], found=ended.words)


@dataclass(frozen=True, slots=True)
class Asked(Generic[Item, Result]):
    """A chunk that is with the processes."""

    chunk: Sequence[Item]
    future: Future[list[Result]]


@dataclass(frozen=True, slots=True)
class Begun:
    """What a process tells before it begins something that may end it."""

    name: str


class _Logs:
    """A file for each call: what goes badly keeps its own, below a folder or nowhere."""

    def __init__(self, folder: Path | None, stack: ExitStack) -> None:
        made = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="curate-")))
        self._folder, self._numbers = made, count(1)

    def new(self) -> Path:
        """Return the next call's log."""
        return self._folder / f"input-{os.getpid()}-{next(self._numbers)}.log"


class Processes(Generic[Item, Result]):
    """Processes that run one function on chunks of items.

    A chunk whose process ended badly is done again item by item; an item at which it does so again is `lost`.

    Parameters
    ----------
    work
        A function at the top of a module: chunk -> one result for each of its items.
    lost
        What an item comes to that no process survives: (item, what it had begun or nothing, how it ended).
    count
        How many processes; they start with the first chunk, and share the machine's memory.
    logs
        Folder for the logs of what ended badly; None keeps none.
    preload
        The module of the function, so that a process is there at once.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], list[Result]],
        *,
        lost: Callable[[Item, str, Ended], Result],
        count: int,
        logs: Path | None,
        preload: str,
    ) -> None:
        self._work, self._lost, self._count = work, lost, count
        self._stack, self._is_over = ExitStack(), False
        self._logs = _Logs(logs, self._stack)
        self._idle: Queue[Confined] = Queue()
        limits = Limits(max(_memory() // count, _LEAST_MEMORY), _LONGEST_S, silence=_SILENCE_S)
        for _ in range(count):
            child = Confined(limits, (preload,))
            self._stack.callback(child.close)
            self._idle.put(child)
        self._pool = ThreadPoolExecutor(count)
        self._stack.callback(self._pool.shutdown, cancel_futures=True)

    def __enter__(self) -> Processes[Item, Result]:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._stack.close()

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
        return Asked(chunk, self._pool.submit(self._done, chunk))

    def answer(self, asked: Asked[Item, Result]) -> list[Result]:
        """Wait for a chunk's results, one for each of its items."""
        return asked.future.result()

    def follow(self, work: Callable[[Item, int, Tell], None], item: Item) -> Iterator[Result]:
        """Yield what a function tells of one item, while it goes on: for what is too much for one answer.

        `work(item, skip, tell)` tells `Begun` and then the result of each part, but for the first `skip` of them. A
        part that ends its process is `lost`; the parts behind it come from another process. So is the whole rest,
        when a process ends before it begins a part.
        """
        seen = crashes = 0
        while True:
            told: Queue[Any] = Queue(_UNREAD)
            self._pool.submit(self._tell_all, work, (item, seen), told)
            begun, before = None, seen
            while not isinstance(said := told.get(), Ended):
                if isinstance(said, Begun):
                    begun = said
                    continue
                seen += 1
                yield said
            if said.how is End.DONE:
                return
            crashes = 1 if seen > before else crashes + 1
            if said.how is End.CRASH and crashes < TRIES:
                continue
            yield self._lost(item, "" if begun is None else begun.name, said)
            if begun is None:
                # It ended before it came to a part: the rest cannot be had.
                return
            seen, crashes = seen + 1, 0

    def _done(self, chunk: Sequence[Item]) -> list[Result]:
        child = self._idle.get()
        try:
            log = self._logs.new()
            ended = child.call(_on_chunk, self._work, chunk, tell=_unheard, log=log)
            if ended.how is End.DONE:
                results: list[Result] = ended.value
                return results
            # Whichever of them it was leaves its own.
            log.unlink(missing_ok=True)
            return [self._alone(child, item) for item in chunk]
        finally:
            self._idle.put(child)

    def _alone(self, child: Confined, item: Item) -> Result:
        """Return one item's result, so that an end blames nobody else."""
        ended = Ended(End.CRASH, words="interrupted")
        log = self._logs.new()
        for _ in range(TRIES):
            if self._is_over:
                break
            ended = child.call(_on_chunk, self._work, [item], tell=_unheard, log=log)
            if ended.how is not End.CRASH:
                break
        if ended.how is End.DONE:
            (result,) = ended.value
            return result  # type: ignore[no-any-return]
        return self._lost(item, "", ended)

    def _tell_all(self, work: Callable[..., None], arguments: Sequence[Any], told: Queue[Any]) -> None:
        child = self._idle.get()
        try:

            def tell(said: Any) -> None:
                while not self._is_over:
                    try:
                        told.put(said, timeout=_LOOK_EVERY_S)
                    except Full:
                        continue
                    return

            tell(child.call(_following, work, arguments, tell=tell, log=self._logs.new()))
        finally:
            self._idle.put(child)


class OneByOne:
    """A process that does one thing after the other, and how each ended: its result, or a refusal.

    Parameters
    ----------
    logs
        Folder for the logs of what ended badly; None keeps none.
    preload
        The module of what is to be done, so that the process is there at once.
    """

    def __init__(self, logs: Path | None, preload: str) -> None:
        self._stack = ExitStack()
        self._logs = _Logs(logs, self._stack)
        self._child = Confined(Limits(max(_memory(), _LEAST_MEMORY), _SERIES_S), (preload,))
        self._stack.callback(self._child.close)

    def __enter__(self) -> OneByOne:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def done(self, function: Callable[..., Any], *arguments: Any, tell: Tell | None = None) -> Any:
        """Return what `function(*arguments, tell)` returns in the process.

        Raises
        ------
        CurationError
            What the function refused; input-crashed, input-timeout or memory-short for what it did to its process.
        """
        log, ended = self._logs.new(), Ended(End.CRASH)
        for _ in range(TRIES):
            ended = self._child.call(_quietly, function, arguments, tell=tell or _unheard, log=log)
            if ended.how is not End.CRASH:
                break
        if ended.how is not End.DONE:
            words = f"{ended.words}, {TRIES} times" if ended.how is End.CRASH else ended.words
            raise refusal_of(replace(ended, words=words))
        return ended.value


def _unheard(_: Any) -> None:
    """Hear nothing."""


def _quietly(function: Callable[..., Any], arguments: Sequence[Any], tell: Tell) -> Any:
    hush()
    return function(*arguments, tell)


def _on_chunk(work: Callable[[Sequence[Any]], list[Any]], chunk: Sequence[Any], _: Tell) -> list[Any]:
    hush()
    return work(chunk)


def _following(work: Callable[..., None], arguments: Sequence[Any], tell: Tell) -> None:
    hush()
    work(*arguments, tell)


def _memory() -> int:
    """Return how many bytes of memory this machine has, or may be used of them where a control group says so."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        said = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return physical
    return min(physical, int(said)) if said.isdigit() else physical
