"""Plant, run every tool, and print what survived and what was lost; then convert and release planted studies.

    python benchmarks/deid/run.py [--seed N] [--tame] [--tool NAME=PYTHON]... [--json]

Ours runs with the Python that runs this; another tool with the Python of an environment that has it.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from plant import Source, sources
from score import NAMES_OF_FILES, Score, score
from study import WRITTEN, Outcome, outcomes

DRIVERS = Path(__file__).with_name("drivers.py")


def measured(planted: list[Source], tool: str, python: str, folder: Path) -> Score:
    """Run a tool over the planted files and score what it wrote."""
    before, after = folder / "source", folder / f"out-{tool}"
    for source in planted:
        path = before / source.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.content)
    done = subprocess.run(
        [python, str(DRIVERS), tool, str(before), str(after)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
    result = score(planted, after)
    if tool != "ours":
        # The other tools leave the names of files to whoever calls them.
        for kind in NAMES_OF_FILES:
            result.survivors.pop(kind, None)
    print(done.stderr, file=sys.stderr)
    return result


def main() -> int:
    """Print one row a tool; the exit code is 1 when anything survives ours or is lost by it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tool", action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--tame", action="store_true", help="only values that fit their representation")
    parser.add_argument("--json", action="store_true")
    words = parser.parse_args()
    planted = list(sources(words.seed, words.tame))
    tools = {"ours": sys.executable, **dict(tool.split("=", 1) for tool in words.tool)}
    with tempfile.TemporaryDirectory() as folder:
        scores = {tool: measured(planted, tool, python, Path(folder)) for tool, python in tools.items()}
        ways = outcomes(words.seed, Path(folder))
    if words.json:
        rows = {tool: {"survivors": dict(s.survivors), "lost": dict(+s.lost)} for tool, s in scores.items()}
        print(json.dumps(rows, indent=1, sort_keys=True))
    kinds = len({identifier.kind for source in planted for identifier in source.planted})
    print(f"seed {words.seed}: {kinds} kinds of identifiers in {len(planted)} files", file=sys.stderr)
    for tool, s in scores.items():
        survive, lost = sum(s.survivors.values()), sum(s.lost.values())
        identifiers = f"of {s.planted} identifiers {survive:4} survive ({len(s.survivors)} kinds)"
        needed = f"of {s.kept + lost} needed elements {lost:3} are lost"
        print(f"{tool:18} wrote {s.written:2} files; {identifiers}; {needed}", file=sys.stderr)
    is_well = [tell(way, outcome) for way, outcome in ways.items()]
    return int(bool(scores["ours"].survivors or +scores["ours"].lost) or not all(is_well))


def tell(way: str, outcome: Outcome) -> bool:
    """Print what came of the planted studies by one way out; say whether all was written and nothing survived."""
    survive = outcome.survivors.total()
    print(
        f"{way:18} wrote {outcome.written:2} volumes; of {outcome.planted} identifiers {survive:4} survive"
        f" {sorted(outcome.survivors) or ''}",
        file=sys.stderr,
    )
    return not survive and outcome.written == WRITTEN[way]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    raise SystemExit(main())
