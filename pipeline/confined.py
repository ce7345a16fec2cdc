"""Call functions in a child process with limits, so that whatever becomes of the child is an answer of that one call.

A decoder may crash, a file may be a bomb: the child ends then, never the process that asked, and the answer says how.
Children come out of a fork server that has imported what they need, so that one is there in some 20 ms; one that ended
badly is never used again, and a good one is replaced after some calls. A child whose owner died ends by itself.

A child says that it took a call before it begins: one that was killed while it waited is replaced, and no call is to
blame. Its end is told by the kernel (a pidfd) beside pipe and fork server, because a process that the child left behind
may hold the pipe open, and a fork server may be gone or stand still.
"""

from __future__ import annotations

import faulthandler
import math
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TypeAlias

from pipeline.model.errors import CurationError

Tell: TypeAlias = Callable[[str], None]

_ARENA = 72 * 2**20
"""Bytes of address space, not of memory, that a thread reserves in glibc: an arena of 64 MiB and a stack of 8."""

_RESERVED = 2**30
"""Bytes of address space, not of memory, that libraries map and hardly touch: 0.7 GiB for one that reads lettering."""

_LAST_WORDS_WITHIN = 5.0
"""Seconds that a child which is told to end may take, and a fork server to tell how one ended."""

_BEGINS_WITHIN = 120.0
"""Seconds within which a child takes a call; starting one on a machine that is overloaded may take a minute."""

_BEGINNINGS = 3
"""How many children in a row may be lost before they take a call."""

_TAKEN = "taken"
"""What a child says when it has a call, before it begins."""


class End(Enum):
    """How a call ended."""

    DONE = "done"
    """The function returned."""
    REFUSED = "refused"
    """The function refused, with a code."""
    CRASH = "crash"
    """The child died of itself: a segmentation fault, an abort, an exit, a signal from outside."""
    MEMORY = "memory"
    """The function wanted more memory than it may have."""
    TIMEOUT = "timeout"
    """The function took longer than it may."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a call ended: its value when done, the refusal when refused, in words what happened otherwise."""

    how: End
    value: Any = None
    words: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may take.

    `memory` counts bytes beyond those that an idle child has, None without limit; `seconds` is time on the wall, and
    `silence` that between two things that it tells; `calls` is how many of them one child serves.
    """

    memory: int | None
    seconds: float
    calls: int = 200
    silence: float = math.inf


@dataclass(frozen=True, slots=True)
class _Call:
    function: Callable[..., Any]
    arguments: Sequence[Any]
    log: str
    seconds: float


class Confined:
    """A child process that serves one call after the other, replaced when it is lost or worn."""

    def __init__(self, limits: Limits, preload: Sequence[str] = ()) -> None:
        self.limits = limits
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["__main__", *preload])
        self._child: multiprocessing.process.BaseProcess | None = None
        self._ours: Connection
        self._pidfd: int | None = None
        self._served = 0

    def call(self, function: Callable[..., Any], *arguments: Any, tell: Tell, log: Path) -> Ended:
        """Return how `function(*arguments, tell)` ended in the child.

        Parameters
        ----------
        function
            At the top of a module, because the child looks it up by name.
        arguments
            Values that can be pickled.
        tell
            Hears what the function tells meanwhile.
        log
            Takes what is written to stdout and stderr, and the place of a crash; it stays only after a bad end.
        """
        asked = _Call(function, arguments, str(log), self.limits.seconds)
        if not any(self._hand_over(asked) for _ in range(_BEGINNINGS)):
            return Ended(End.CRASH, words=f"no child that begins, {_BEGINNINGS} times")
        ended = self._listen(tell)
        self._served += 1
        if ended.how in (End.DONE, End.REFUSED):
            log.unlink(missing_ok=True)
        if ended.how not in (End.DONE, End.REFUSED) or self._served >= self.limits.calls:
            self.close()
        return ended

    def close(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        if child is None:
            return
        self._ours.close()
        child.join(_LAST_WORDS_WITHIN if self._served >= self.limits.calls else 0)
        self._kill(child)
        child.join(_LAST_WORDS_WITHIN)
        if self._pidfd is not None:
            os.close(self._pidfd)
        if child.exitcode is not None:
            child.close()

    def _kill(self, child: multiprocessing.process.BaseProcess) -> None:
        if self._pidfd is None:
            child.kill()
            return
        # By its pidfd: when the fork server is gone, nobody else knows whether the number is still this child's.
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _start(self) -> None:
        self.close()
        self._ours, theirs = self._context.Pipe()
        # Dask's workers are daemons, which may have no children, lest these outlive them: ours end with their owner.
        multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
        # A daemon itself, because an owner that ends does not wait for it.
        child = self._context.Process(target=_serve, args=(theirs, self.limits.memory), daemon=True)
        child.start()
        theirs.close()
        self._child, self._pidfd, self._served = child, _pidfd(child.pid), 0

    def _hand_over(self, asked: _Call) -> bool:
        """Give the call to a child; False when that was lost before it took the call, so that no call is to blame."""
        if self._child is None or not self._child.is_alive():
            self._start()
        try:
            self._ours.send(asked)
            is_taken = bool(self._is_heard_within(_BEGINS_WITHIN)) and self._ours.recv() == _TAKEN
        except (EOFError, OSError):
            is_taken = False
        if not is_taken:
            self.close()
        return is_taken

    def _is_heard_within(self, seconds: float) -> bool | None:
        """Wait until the child says something; False when it ended instead, None when neither came within the time."""
        assert self._child is not None
        ends = [self._child.sentinel, *([] if self._pidfd is None else [self._pidfd])]
        ready = wait([self._ours, *ends], max(0.0, seconds))
        return self._ours in ready if ready else None

    def _listen(self, tell: Tell) -> Ended:
        """Wait for the answer of a call, hearing what is told meanwhile, but not longer than it may take."""
        assert self._child is not None
        deadline = time.monotonic() + self.limits.seconds
        while True:
            left = min(deadline - time.monotonic(), self.limits.silence)
            is_heard = self._is_heard_within(left)
            if is_heard is None:
                longest = min(self.limits.seconds, self.limits.silence)
                return Ended(End.TIMEOUT, words=f"more than {longest:g} s")
            if not is_heard:
                return _post_mortem(self._child)
            try:
                said = self._ours.recv()
            except (EOFError, OSError):
                # Also in the middle of a word.
                return _post_mortem(self._child)
            if isinstance(said, Ended):
                return said
            tell(said)


def _pidfd(process: int | None) -> int | None:
    """Return what is ready to read when a process has ended; None where the kernel has no such thing."""
    try:
        return os.pidfd_open(process) if process is not None else None
    except (AttributeError, OSError):
        return None


def _post_mortem(child: multiprocessing.process.BaseProcess) -> Ended:
    child.join(_LAST_WORDS_WITHIN)
    code = child.exitcode
    if code is None:
        return Ended(End.CRASH, words="an end that nobody saw")
    if code == -signal.SIGXCPU:
        return Ended(End.TIMEOUT, words="more seconds of a processor than it may take")
    return Ended(End.CRASH, words=f"signal {signal.Signals(-code).name}" if code < 0 else f"exit {code}")


def _serve(conversation: Connection, memory: int | None) -> None:
    """Serve calls until the owner hangs up: the child's whole life."""
    threading.Thread(target=_end_with_owner, daemon=True).start()
    _confine(memory)
    while True:
        try:
            call: _Call = conversation.recv()
            conversation.send(_TAKEN)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return
        _write_to(Path(call.log))
        _allow_processor(call.seconds)
        try:
            ended = Ended(End.DONE, call.function(*call.arguments, conversation.send))
        except CurationError as refusal:
            ended = Ended(End.REFUSED, refusal)
        except MemoryError:
            # Its text may tell the shape of an array, never a value.
            ended = Ended(End.MEMORY, words="more memory than it may take")
        conversation.send(ended)


def _end_with_owner() -> None:
    """Wait for the owner's end, then end at once: nobody would hear the answer."""
    owner = multiprocessing.parent_process()
    assert owner is not None
    wait([owner.sentinel])
    os._exit(0)


def _confine(memory: int | None) -> None:
    """Give up core files, more address space than `memory` beyond today's, and the kernel's mercy."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    process = Path("/proc/self")
    if not process.exists():
        return
    (process / "oom_score_adj").write_text("1000")
    if memory is not None:
        pages = int((process / "statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + memory + _RESERVED + (os.cpu_count() or 1) * _ARENA
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _write_to(log: Path) -> None:
    """Let stdout and stderr, those of C libraries too, and a crash's place go to a file."""
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    for standard in (sys.__stdout__, sys.__stderr__):
        if standard is not None:
            standard.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    faulthandler.enable(file=2, all_threads=False)


def _allow_processor(seconds: float) -> None:
    """Let the kernel end a call that spins where no deadline is watched: all processors for as long as it may take."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    allowed = int(used.ru_utime + used.ru_stime + seconds * (os.cpu_count() or 1)) + 1
    most = resource.getrlimit(resource.RLIMIT_CPU)[1]
    if most == resource.RLIM_INFINITY or allowed < most:
        resource.setrlimit(resource.RLIMIT_CPU, (allowed, most))
