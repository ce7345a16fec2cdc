"""Read reviewers' decisions strictly; append them to the log in which the last one on a case counts.

Two logs are written, both whole at any moment: the one that pack reads, then the private one, which also holds initials
and comment as they were said. What is not in the private one has not been kept, so after a kill it is kept again.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from pipeline.io.document import canonical
from pipeline.io.durable import write_bytes
from pipeline.io.workspace import Workspace
from pipeline.model.errors import UsageError
from pipeline.model.identified import Key
from pipeline.model.review import Decision, Decisions, Kept

LARGEST = 64 * 2**20
"""Bytes of a decisions file; ten thousand cases with long comments take 30 MB."""

_PRIVATE = 0o600

Line = TypeVar("Line", Kept, Decision)


def parse(content: bytes) -> Decisions:
    """Return what a decisions file says; every fault is named with its place, none with its text.

    Raises
    ------
    UsageError
        decisions-unfit.
    """
    try:
        if len(content) > LARGEST:
            raise ValueError
        json.loads(content.decode("utf-8"), object_pairs_hook=_no_key_twice)
        return Decisions.model_validate_json(content)
    except ValidationError as fault:
        places = [".".join(map(str, ("$", *each["loc"]))) for each in fault.errors()]
        raise _unfit("; ".join(places[:10])) from None
    except (ValueError, RecursionError):
        raise _unfit("no such JSON") from None


def _unfit(found: str) -> UsageError:
    return UsageError("decisions-unfit", wanted="decisions as the review page saves them", found=found)


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError
    return dict(pairs)


def last_decisions(workspace: Workspace, task: str) -> dict[str, Kept]:
    """Return case -> the decision on it that counts.

    Raises
    ------
    UsageError
        review-log-damaged, when somebody changed the log.
    """
    return {line.case: line for line in _read(_log(workspace, task), Kept)}


def _said_before(workspace: Workspace, task: str) -> dict[str, Decision]:
    return {said.case: said for said in _read(_private_log(workspace, task), Decision)}


def _read(path: Path, kind: type[Line]) -> list[Line]:
    try:
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        return [kind.model_validate_json(line) for line in lines]
    except ValidationError:
        raise UsageError(
            "review-log-damaged", wanted="decisions as they were kept", found="another line", where=path.stem
        ) from None


def keep(workspace: Workspace, task: str, decisions: Sequence[Decision]) -> list[Kept]:
    """Append the decisions that say something new, durably; return those."""
    key = workspace.key()
    with _alone(workspace):
        before = _said_before(workspace, task)
        new = [said for said in decisions if before.get(said.case) != said]
        kept = [_kept(said, task, key) for said in new]
        _append(_log(workspace, task), [canonical(line.to_json()) for line in kept], 0o644)
        private = [canonical(said.model_dump(mode="json")) for said in new]
        _append(_private_log(workspace, task), private, _PRIVATE)
    return kept


def _kept(said: Decision, task: str, key: Key) -> Kept:
    reviewer = "hmac-sha256:" + key.digest("reviewer", said.reviewer).hex()
    return Kept(
        task=task, case=said.case, seen=said.seen, decision=said.decision, reason=said.reason, reviewer=reviewer
    )  # fmt: skip


def _append(path: Path, lines: Sequence[bytes], mode: int) -> None:
    """Write the log anew with more lines, so that a kill leaves the old one or the new one."""
    if not lines:
        return
    path.parent.mkdir(mode=0o700 if mode == _PRIVATE else 0o755, exist_ok=True)
    before = path.read_bytes() if path.exists() else b""
    write_bytes(path, before + b"".join(line + b"\n" for line in lines), mode)


def _log(workspace: Workspace, task: str) -> Path:
    return workspace.review / "decisions" / f"{task}.jsonl"


def _private_log(workspace: Workspace, task: str) -> Path:
    return workspace.private / "review" / f"{task}.jsonl"


@contextmanager
def _alone(workspace: Workspace) -> Iterator[None]:
    """Wait until no other process appends; not the workspace's lock, because people review while a build runs."""
    descriptor = os.open(workspace.private / "review.lock", os.O_RDWR | os.O_CREAT, _PRIVATE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
