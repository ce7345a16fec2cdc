"""Index and plan synthetic trees of growing size: files a second, peak memory, CPU a file, and ratios between sizes.

python benchmarks/scale/run.py --files 10000 100000 1000000
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tree import TASK, write

CURATE = Path(sys.executable).with_name("curate")
MOST_MIB = 500
"""What `index` and `plan` may hold in memory, whatever the size."""


@dataclass(frozen=True)
class Cost:
    """What one command took, its children included; `peak_mib` is the largest process's."""

    seconds: float
    cpu: float
    peak_mib: float
    answer: dict[str, object]


def measured(*words: str | Path) -> Cost:
    """Run one command and measure it alone."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [str(CURATE), *map(str, words), "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    answer = process.stdout.read()
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - began
    assert process.returncode == 0, f"curate {words[0]} ended with {process.returncode}"
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, json.loads(answer))


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


def main() -> None:
    """Print one line a size and command, then the ratios."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--files", type=int, nargs="+", default=[1000, 10_000])
    words.add_argument("--folder", type=Path, help="Where the trees are made; they are taken away again.")
    asked = words.parse_args()
    empty = measured("doctor").cpu
    found: dict[int, dict[str, Cost]] = {}
    print(f"{'files':>9} {'command':8} {'files/s':>9} {'CPU us/file':>12} {'peak MiB':>9}", flush=True)
    for files in asked.files:
        folder = Path(tempfile.mkdtemp(prefix="scale-", dir=asked.folder))
        try:
            found[files] = measure(files, folder)
        finally:
            shutil.rmtree(folder)
        for name, cost in found[files].items():
            # What a command costs that does nothing is no cost of a file.
            each = max(cost.cpu - empty, 0) / files * 1e6
            print(
                f"{files:9} {name:8} {files / cost.seconds:9.0f} {each:12.1f} {cost.peak_mib:9.0f}",
                flush=True,
            )
    small, large = min(found), max(found)
    for name in found[small]:
        each = {n: max(found[n][name].cpu - empty, 0) / n for n in (small, large)}
        ratio = each[large] / each[small] if each[small] else float("nan")
        print(f"{name}: CPU a file at {large} is {ratio:.2f} times that at {small}")
    worst = max(
        cost.peak_mib for name in ("index", "again", "plan") for cost in (f[name] for f in found.values())
    )
    print(f"peak {worst:.0f} MiB, {'within' if worst < MOST_MIB else 'ABOVE'} {MOST_MIB}")


if __name__ == "__main__":
    main()
