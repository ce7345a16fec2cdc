"""What a command says of itself: at once in one small file for `curate status`, for later as JSON lines and as text.

No line is identity, and there are few of them: a tenth of the work, a refusal, the end. Progress bars never get here.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.io.durable import TEMPORARY_PREFIX
from pipeline.io.runlog import read_all
from pipeline.model.record import Json

_BEAT_S = 1.0
"""Seconds between two writings of the file that says what goes on now."""

_MOST_ROOMS = 256
"""Cases whose room is told: more are not at work at once."""

MOST_LINES = 100
"""Lines a command writes at most, so that a thousand refusals do not fill a disk; the rest stands in refusals/."""

_NOW = "now.json"


class Diary:
    """The diary of one command: two files under `runs`, and the one that says what goes on now."""

    def __init__(self, runs: Path, command: str) -> None:
        runs.mkdir(parents=True, exist_ok=True)
        name = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{command}-{os.getpid()}"
        self._now, self._began = runs / _NOW, time.time()
        self._files = [_appending(runs / f"{name}.jsonl"), _appending(runs / f"{name}.log")]
        self._state: dict[str, Json] = {
            "command": command, "process": os.getpid(), "host": socket.gethostname(), "began": _ms(self._began),
        }  # fmt: skip
        self._rooms: dict[str, str] = {}
        self._tenths: set[tuple[str, int]] = set()
        self._lines = 0
        self._ended = threading.Event()
        self._write({"kind": "began", "command": command}, f"curate {command} began")
        self._beat()
        # Beside the work, which may stay in one room for long.
        self._heart = threading.Thread(target=self._beat_on, daemon=True)
        self._heart.start()

    def say(self, text: str) -> None:
        """Keep what is said to people."""
        self._write({"kind": "said", "text": text}, text)

    def progress(self, what: str, done: int, total: int) -> None:
        """Tell how far the work is; every tenth of it becomes a line."""
        self._state |= {"what": what, "done": done, "total": total}
        tenth = (what, 10 * done // total if total else 0)
        if tenth not in self._tenths:
            self._tenths.add(tenth)
            self._write(
                {"kind": "progress", "what": what, "done": done, "total": total}, f"{what}: {done} of {total}"
            )
            # In between the heart tells: a file for each of a thousand cases costs more than finding them finished.
            self._beat()

    def enter(self, case: str, room: str) -> None:
        """Tell in which room a case is."""
        self._rooms.pop(case, None)
        self._rooms[case] = room
        if len(self._rooms) > _MOST_ROOMS:
            del self._rooms[next(iter(self._rooms))]

    def leave(self, case: str) -> None:
        """Tell that a case is in no room any more."""
        self._rooms.pop(case, None)

    def end(self, code: int) -> None:
        """Tell the exit code, and that nothing goes on any more."""
        self._ended.set()
        self._heart.join()
        seconds = round(time.time() - self._began)
        self._lines = 0
        self._write(
            {"kind": "ended", "exit": code, "seconds": seconds}, f"ended with {code} after {seconds} s"
        )
        self._now.unlink(missing_ok=True)
        for file in self._files:
            os.close(file)

    def _write(self, document: Mapping[str, Json], text: str) -> None:
        self._lines += 1
        if self._lines > MOST_LINES:
            return
        at = time.time()
        stamp = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(at))
        lines = json.dumps({"at": _ms(at), **document}), f"{stamp} {text}"
        for file, line in zip(self._files, lines, strict=True):
            with suppress(OSError):
                os.write(file, (line + "\n").encode("utf-8", "replace"))

    def _beat_on(self) -> None:
        while not self._ended.wait(_BEAT_S):
            self._beat()

    def _beat(self) -> None:
        document = {**self._state, "at": _ms(time.time()), "rooms": dict(self._rooms)}
        # Whole for whoever reads, but not flushed: after a power cut nothing goes on any more.
        temporary = self._now.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-now")
        # A full disk is the work's to tell of.
        with suppress(OSError):
            temporary.write_text(json.dumps(document))
            temporary.replace(self._now)


def _appending(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


def broken_off(runs: Path) -> str:
    """Return the command that was killed, where nothing is at work: one that came to no end; empty when none was."""
    try:
        return str(json.loads((runs / _NOW).read_bytes())["command"])
    except (OSError, ValueError, KeyError):
        return ""


def going_on(runs: Path, process: int) -> dict[str, Any] | None:
    """Return what the command of a process that is at work says of itself, with how its cases ended; None if nothing.

    `left_s` is None as long as nothing tells how long the rest takes.
    """
    try:
        now: dict[str, Any] = json.loads((runs / _NOW).read_bytes())
    except (OSError, ValueError):
        return None
    if now.get("process") != process:
        return None
    lines = [line for folder in runs.glob(f"*-{process}") if folder.is_dir() for line in read_all(folder)]
    ends = Counter((line["task"], line["end"]) for line in lines)
    ended = {line["case"] for line in lines}
    rooms = Counter(room for case, room in now.pop("rooms", {}).items() if case not in ended)
    seconds = max(now["at"] - now["began"], 1) / 1000
    # What stood in the store already took no time, and tells nothing of the rest.
    worked = len(ended) - sum(count for (_, end), count in ends.items() if end == "reused")
    done = worked if lines else now.get("done", 0)
    left = now.get("total", 0) - (len(ended) if lines else done)
    return {
        **now,
        "seconds": round(seconds),
        "stages": dict(sorted(rooms.items())),
        "ended": [{"task": task, "end": end, "cases": n} for (task, end), n in sorted(ends.items())],
        "per_minute": round(60 * done / seconds, 1),
        "left_s": round(left * seconds / done) if done and left >= 0 else None,
    }
