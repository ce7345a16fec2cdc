"""Make cases where a process holds what that takes, asked by one that does not: that imports no voxel and no DICOM."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from pipeline.io.quiet import hush
from pipeline.model.record import Handed, Outcome, Refusal
from pipeline.orders import Request

Tell: TypeAlias = Callable[[str], None]

PRELOAD = ("pipeline.making", "pipeline.handover")
"""What a fork server imports, so that its children have it at once."""


def make(request: Request, memory: int | None, tell: Tell) -> Outcome:
    """Return how a case ended; see `pipeline.case.run`."""
    from pipeline import case

    hush()
    return case.run(request, tell, memory)


def open_door(request: Request, folder: str, memory: int | None, tell: Tell) -> Handed | Refusal:
    """Bring a case through the door; see `pipeline.handover.open_door`."""
    from pipeline import handover

    hush()
    return handover.open_door(request, folder, memory, tell)


def finish(handed: Handed, store: str, memory: int | None, tell: Tell) -> Outcome:
    """Make a case from what was handed over; see `pipeline.handover.finish`."""
    from pipeline import handover

    hush()
    return handover.finish(handed, store, memory, tell)
