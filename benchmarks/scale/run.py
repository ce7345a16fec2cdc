"""Index and plan synthetic trees of growing size: files a second, peak memory, CPU a file, and ratios between sizes.

    python benchmarks/scale/run.py --files 10000 1000000 10000

What a command costs that has next to nothing to do is taken off: it is measured on a tree of one case. A size may be
named twice, so that a machine that grows slower meanwhile shows: its runs are averaged.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from tree import SLICES, TASK, write

CURATE = Path(sys.executable).with_name("curate")
MOST_MIB = 500
"""What `index` and `plan` may hold in memory, whatever the size."""

IDLE_RUNS = 3
"""How often what a command costs that has next to nothing to do is measured."""

_WAIT_FOR_ALL = """
import ctypes, json, os, resource, subprocess, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
while True:
    try:
        os.wait()
    except ChildProcessError:
        break
used = resource.getrusage(resource.RUSAGE_CHILDREN)
cost = {"user": used.ru_utime, "system": used.ru_stime, "peak_mib": used.ru_maxrss / 1024, "exit": done.returncode}
print(json.dumps({**cost, "answer": json.loads(done.stdout)}))
"""
"""Fork servers outlive the command that started them by a moment, and so does what they took."""


@dataclass(frozen=True)
class Cost:
    """What one command took, all processes that it started included; `peak_mib` is the largest one's."""

    seconds: float
    user: float
    system: float
    peak_mib: float
    answer: dict[str, object]

    @property
    def cpu(self) -> float:
        """Seconds of a processor."""
        return self.user + self.system


def measured(*words: str | Path) -> Cost:
    """Run one command and measure it alone."""
    began = time.perf_counter()
    line = [sys.executable, "-c", _WAIT_FOR_ALL, str(CURATE), *map(str, words), "--json"]
    said = json.loads(subprocess.run(line, stdout=subprocess.PIPE, check=True).stdout)
    assert said.pop("exit") == 0, f"curate {words[0]} failed"
    return Cost(time.perf_counter() - began, **said)


def measure(files: int, folder: Path) -> dict[str, Cost]:
    """Index a new tree, index it again, and plan it."""
    source, workspace, rules = folder / "source", folder / "ws", folder / "rules"
    cases = write(source, files)
    subprocess.run([CURATE, "init", workspace], check=True, stderr=subprocess.DEVNULL)
    rules.mkdir()
    said = ["--description", "many", "--reference", "nobody", "--channel", "CT=CT", "--class", "organ"]
    subprocess.run(
        [CURATE, "rules", "new", rules / f"{TASK}.yaml", *said], check=True, stderr=subprocess.DEVNULL
    )
    costs = {
        "index": measured("index", source, "-w", workspace),
        "again": measured("index", source, "-w", workspace),
        "plan": measured("plan", "-w", workspace, "--rules", rules),
        "status": measured("status", "-w", workspace),
    }
    (task,) = costs["plan"].answer["tasks"]
    made = task["training"] + task["test"]
    assert (costs["index"].answer["files"], made) == (files, cases), (made, cases)
    return costs


def in_a_tree(files: int, parent: Path | None) -> dict[str, Cost]:
    """Measure one tree in a folder that goes with it."""
    folder = Path(tempfile.mkdtemp(prefix="scale-", dir=parent))
    try:
        return measure(files, folder)
    finally:
        shutil.rmtree(folder)


def mean(runs: list[dict[str, Cost]]) -> dict[str, Cost]:
    """Return what the commands cost on average in trees of one size."""
    return {
        name: Cost(
            fmean(run[name].seconds for run in runs),
            fmean(run[name].user for run in runs),
            fmean(run[name].system for run in runs),
            max(run[name].peak_mib for run in runs),
            runs[0][name].answer,
        )
        for name in runs[0]
    }


def main() -> None:
    """Print one line a size and command, then the ratios."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--files", type=int, nargs="+", default=[1000, 10_000])
    words.add_argument("--folder", type=Path, help="Where the trees are made; they are taken away again.")
    asked = words.parse_args()
    idle = mean([in_a_tree(SLICES + 1, asked.folder) for _ in range(IDLE_RUNS)])
    found: dict[int, list[dict[str, Cost]]] = defaultdict(list)
    print(
        f"{'files':>9} {'command':8} {'files/s':>9} {'user us/file':>12} {'sys us/file':>12} {'peak MiB':>9}",
        flush=True,
    )
    for files in asked.files:
        found[files].append(in_a_tree(files, asked.folder))
        for name, cost in found[files][-1].items():
            user, system = cost.user - idle[name].user, cost.system - idle[name].system
            print(
                f"{files:9} {name:8} {files / cost.seconds:9.0f} {user / files * 1e6:12.1f}"
                f" {system / files * 1e6:12.1f} {cost.peak_mib:9.0f}",
                flush=True,
            )
    means = {files: mean(runs) for files, runs in found.items()}
    small, large = min(means), max(means)
    for name, nothing in idle.items():
        few, many = (max(means[files][name].cpu - nothing.cpu, 0) / files for files in (small, large))
        ratio = many / few if few else float("nan")
        print(f"{name}: CPU a file at {large} is {ratio:.2f} times that at {small}")
    worst = max(run[name].peak_mib for run in means.values() for name in ("index", "again", "plan"))
    print(f"peak {worst:.0f} MiB, {'within' if worst < MOST_MIB else 'ABOVE'} {MOST_MIB}")


if __name__ == "__main__":
    main()
