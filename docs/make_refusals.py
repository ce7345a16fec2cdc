"""Print docs/refusals.md from the faults that the code knows: `make docs`."""

from __future__ import annotations

import sys

from pipeline.model.errors import FAULTS, fate_of

_HEAD = """\
# Refusals and other codes

Made by `make docs` from `pipeline/model/errors.py`; `curate explain CODE` prints one of them.
A file whose code is *harmless* takes no part, and nothing is wrong with that.

| code | what it means | what to do | who acts | harmless |
|---|---|---|---|---|
"""


def page() -> str:
    """Return the page: one row for each fault, in the order of the walk."""
    rows = [
        f"| `{fault.code}` | {fault.meaning} | {fault.advice} | {fault.who} | {_harmless(fault.code)} |\n"
        for fault in FAULTS.values()
    ]
    return _HEAD + "".join(rows)


def _harmless(code: str) -> str:
    return "yes" if fate_of(code) == "ignored" else ""


if __name__ == "__main__":
    sys.stdout.write(page())
