"""The manifest's lines against the records that the workspace's store keeps of the cases.

A line, its digests and its voxels can be changed together so that they agree with each other. What the workspace
kept when it made the case does not change with them. A store that holds no record of a case proves nothing
about it: the case is then counted as not kept, and `--recompute` makes it again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.audit.report import Run, Spot

_OF_IMAGE = ("image", "subject", "subset")
_OF_ALL = ("image", "label", "subject", "subset", "sources", "notes", "warnings")
"""What line and record must have alike; a test case's line says nothing of its label, which is withheld."""


class Kept:
    """The records of a store: (task, case) -> the files that tell of it, which several rules may have made."""

    def __init__(self, workspace: Path) -> None:
        self._files: dict[tuple[str, str], list[Path]] = {}
        for path in sorted((workspace / "store").glob("*/*/record.json")):
            record = _read(path)
            self._files.setdefault((str(record.get("task")), str(record.get("case"))), []).append(path)

    def compare(self, line: Mapping[str, Any], run: Run, spot: Spot) -> None:
        """Report unless a record of the case says what its line says; count the cases that have none."""
        files = self._files.get((line["task"], line["case"]), [])
        run.counts["kept" if files else "not_kept"] += 1
        differing = [_differing(line, _read(path)) for path in files]
        if differing and all(differing):
            nearest = min(differing, key=len)
            wanted = "the line that the workspace's store keeps of the case"
            spot.report("package", wanted=wanted, found=f"another {' and '.join(nearest)}")


def _differing(line: Mapping[str, Any], record: Mapping[str, Any]) -> Sequence[str]:
    names = _OF_ALL if line["subset"] == "training" else _OF_IMAGE
    return [name for name in names if line[name] != record.get(name)]


def _read(path: Path) -> Mapping[str, Any]:
    """Return a record, empty where it cannot be read: the next build makes such a case again."""
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}
