"""No document stops an audit."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from sample_release import BRAIN, SPLEEN, Sample, Task, manifest_lines, sample, spoilt, tar_of, write_release
from spoiling import SPLEEN_LINES, sought

from pipeline.audit import audit

NASTY: tuple[Any, ...] = (
    "1e999",
    "-1e300",
    400 * "9",
    2**60,
    [4 * [4 * ["1e300"]]],
    [{}],
    [[[]]],
    {"case": 1},
    "\ud800",
)


def seal_as_it_is(made: Sample, folder: Path) -> Path:
    """Seal lines that may no longer be what `seal` counts on."""
    parts = {}
    for name, task in made.items():
        sound = sample()[name]
        members = {f"{name}/dataset.json": json.dumps(task.dataset).encode(), **sound.files}
        lines = [json.dumps(line, sort_keys=True, separators=(",", ":")).encode() for line in lines_of(task)]
        parts[name] = (sound, tar_of(members), lines)
    return write_release(folder, parts)


def lines_of(task: Task) -> list[Any]:
    return [task.header, *task.cases, *task.refusals]


@pytest.mark.parametrize("seed", range(8))
def test_no_document_stops_an_audit(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(15):
        made = sample()
        task = made[chance.choice((BRAIN, SPLEEN))]
        manifest_lines(task)
        for _ in range(3):
            where = chance.randrange(3)
            if where == 0:
                task.header = spoilt(task.header, chance, NASTY)
            elif where == 1:
                task.cases[0] = spoilt(task.cases[0], chance, NASTY)
            else:
                task.dataset = spoilt(task.dataset, chance, NASTY)

        assert audit(seal_as_it_is(made, tmp_path / "release")).findings


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"9" * 10_000,
        b'"\\ud800"',
        b"\xff\xfe",
        b"NaN",
        b"null",
        b"[]",
        b'"x"',
    ],
    ids=["deep list", "deep object", "long number", "surrogate", "bytes", "NaN", "null", "list", "text"],
)
@pytest.mark.parametrize("name", ["release.json", SPLEEN_LINES])
def test_a_hostile_document_is_a_finding(release: Path, name: str, content: bytes) -> None:
    (release / name).write_bytes(content + b"\n")

    assert sought(audit(release), file=name)
