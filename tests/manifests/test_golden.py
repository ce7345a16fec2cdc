"""The demo release against manifests/golden, byte for byte: a changed byte is part of a review, or a mistake.

`make golden` takes new ones; the CHANGELOG then says what a user of the release sees.
"""

from __future__ import annotations

import json
import re
from itertools import zip_longest
from pathlib import Path

import pytest
from running import Demo

from pipeline.model.difference import changes

GOLDEN = Path(__file__).parents[2] / "manifests/golden"
NAMES = sorted(path.name for path in GOLDEN.glob("*") if path.name.startswith(("Task", "SHA256SUMS")))


def departures(wanted: bytes, found: bytes, name: str) -> list[str]:
    """Say of each line that differs which one it is and, of a manifest's line, where in it."""
    said = []
    for number, (old, new) in enumerate(zip_longest(wanted.splitlines(), found.splitlines()), start=1):
        if old == new:
            continue
        place = f"{name}, line {number}"
        if old is None or new is None:
            said.append(f"{place}: {'not in the golden file' if old is None else 'gone'}")
        elif name.endswith(".jsonl"):
            said.append(f"{place}, {parts(json.loads(old), json.loads(new))}")
        else:
            said.append(f"{place}: {old.decode()} -> {new.decode()}")
    return said or ([f"{name}: other line ends"] if wanted != found else [])


def parts(old: dict[str, object], new: dict[str, object]) -> str:
    where = [f"{'.'.join(path)}: {one} -> {other}" for path, (one, other) in changes(old, new)]
    return f"{new.get('case') or new['kind']}: {'; '.join(where[:5])}"


def test_there_is_a_golden_manifest_for_each_of_the_ten_tasks() -> None:
    tasks = {path.stem for path in (GOLDEN.parents[1] / "rules").glob("Task*.yaml")}
    assert set(NAMES) == {"SHA256SUMS", *(f"{task}.manifest.jsonl" for task in tasks)}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_demo_release_is_the_golden_one_to_the_byte(name: str, demo_release: Demo) -> None:
    found = departures((GOLDEN / name).read_bytes(), (demo_release.release / name).read_bytes(), name)
    assert not found, "run `make golden` if this is meant\n" + "\n".join(found[:20])


def test_a_departure_is_told_with_its_line_its_case_and_its_place() -> None:
    old = b'{"kind":"header"}\n{"case":"a_1","image":{"size":1}}\n'
    new = b'{"kind":"header"}\n{"case":"a_1","image":{"size":2}}\n{"case":"a_2"}\n'
    assert departures(old, new, "x.jsonl") == [
        "x.jsonl, line 2, a_1: image.size: 1 -> 2",
        "x.jsonl, line 3: not in the golden file",
    ]
    assert departures(old, old, "x.jsonl") == []
    assert departures(b"a\n", b"a\r\n", "SHA256SUMS") == ["SHA256SUMS: other line ends"]


def test_the_golden_manifests_name_no_interpreter_and_no_machine() -> None:
    for name in NAMES:
        text = (GOLDEN / name).read_text()
        assert not re.search(r'"python":|/tmp/|/home/|localhost', text), name
