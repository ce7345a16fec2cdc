"""What is done where a case is made: one call in a confined child, its end as an outcome, a line in the run's log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from pipeline.confined import Confined, End, Ended, Limits
from pipeline.io.runlog import RunLog, ending
from pipeline.making import PRELOAD, finish, make, open_door
from pipeline.model.record import Handed, Outcome, Refusal
from pipeline.orders import Named, Request

Tell: TypeAlias = Callable[[str], None]

TRIES = 2
"""How often a case may crash: once may be the machine's fault, twice is the case's."""

_OF_ITS_OWN = 256 * 2**20
"""Bytes of a worker's memory that are not its child's to fill: worker, fork server, an idle child."""

_CODES = {End.CRASH: "case-crashed", End.MEMORY: "memory-short", End.TIMEOUT: "case-timeout"}
_WANTED = {
    End.CRASH: "a case that does not end its process",
    End.MEMORY: "a case that fits",
    End.TIMEOUT: "a case that ends",
}


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for every case of a run: where crashes leave their log, where outcomes are told, how long it may take.

    `logs` is below `root`, the workspace, or beside it: a refusal names it from there.
    """

    root: str
    logs: str
    runs: str
    seconds: float

    def log_of(self, named: Named) -> Path:
        """Return where the process that makes a case writes; it stays only after a bad end."""
        return Path(self.logs) / f"{named.task}-{named.case}.log"

    def said_log(self, named: Named) -> str:
        """Return a case's log as a refusal names it."""
        log = self.log_of(named)
        return (log.relative_to(self.root) if log.is_relative_to(self.root) else Path(log.name)).as_posix()


class Bench:
    """Where one case after the other is made: a child process and a log, both of this process alone."""

    def __init__(self, terms: Terms, memory: int | None) -> None:
        self.terms = terms
        # What cannot fit a child at all is refused by its estimate; a child needs something to start with.
        self.memory = None if memory is None else max(memory - _OF_ITS_OWN, _OF_ITS_OWN)
        self._confined = Confined(Limits(self.memory, terms.seconds), PRELOAD)
        self._log: RunLog | None = None

    def make(self, request: Request, tell: Tell) -> Outcome:
        """Return how a case ended, whatever it did to its process."""
        outcome: Outcome = self.attempt(make, (request, self.memory), request, tell)
        self.note(outcome)
        return outcome

    def open_door(self, request: Request, staging: str, tell: Tell) -> Handed | Refusal:
        """Bring a case through the door into the staging folder; what ends there is in the run's log."""
        handed: Handed | Refusal = self.attempt(open_door, (request, staging, self.memory), request, tell)
        if isinstance(handed, Refusal):
            self.note(handed)
        return handed

    def finish(self, handed: Handed, store: str, tell: Tell) -> Outcome:
        """Make a case from what another zone handed over."""
        outcome: Outcome = self.attempt(finish, (handed, store, self.memory), handed, tell)
        self.note(outcome)
        return outcome

    def attempt(
        self, function: Callable[..., Any], arguments: Sequence[Any], request: Named, tell: Tell
    ) -> Any:
        """Return what a function returned in the child, or the refusal that its end means for the case."""
        room = "open"

        def hear(stage: str) -> None:
            nonlocal room
            room = stage
            tell(stage)

        for _ in range(TRIES):
            ended = self._confined.call(function, *arguments, tell=hear, log=self.terms.log_of(request))
            if ended.how is not End.CRASH:
                break
        if ended.how is End.DONE:
            return ended.value
        if ended.how is End.REFUSED:
            return Refusal.of(ended.value, task=request.task, case=request.case, stage=room)
        about = Refusal(request.task, request.case, room, "", "", "", self.terms.said_log(request))
        return _refusal(ended, about)

    def note(self, outcome: Outcome) -> None:
        """Write an outcome into this process's part of the run's log."""
        if self._log is None:
            self._log = RunLog(Path(self.terms.runs))
        self._log.append(ending(outcome))

    def close(self) -> None:
        """End child and log."""
        self._confined.close()
        if self._log is not None:
            self._log.close()


def _refusal(ended: Ended, about: Refusal) -> Refusal:
    found = f"{ended.words}, {TRIES} times" if ended.how is End.CRASH else ended.words
    return replace(about, code=_CODES[ended.how], wanted=_WANTED[ended.how], found=found)
