"""Print docs/refusals.md from the faults that the code knows and an example of each: `make docs`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pipeline.model.errors import FAULTS, fate_of

_EXAMPLES = Path(__file__).with_name("refusal_examples.json")

_HEAD = """\
# Refusals and other codes

Made by `make docs` from `pipeline/model/errors.py` and `docs/refusal_examples.json`.
`curate explain CODE` prints one of them.
A file whose code is *harmless* takes no part, and nothing is wrong with that.

| code | what it means | an example | what to do | who acts | harmless |
|---|---|---|---|---|---|
"""


def page() -> str:
    """Return the page: one row for each fault, in the order of the walk."""
    examples = json.loads(_EXAMPLES.read_text("utf-8"))
    rows = [
        f"| `{fault.code}` | {fault.meaning} | {examples.get(fault.code, '')} | {fault.advice} | {fault.who} "
        f"| {_harmless(fault.code)} |\n"
        for fault in FAULTS.values()
    ]
    return _HEAD + "".join(rows)


def _harmless(code: str) -> str:
    return "yes" if fate_of(code) == "ignored" else ""


if __name__ == "__main__":
    sys.stdout.write(page())
