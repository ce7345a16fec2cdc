"""Index and plan synthetic trees of growing size: files a second, peak memory, CPU a file, and ratios between sizes.

python benchmarks/scale/run.py --files 10000 100000 1000000
"""

from __future__ import annotations

import argparse
import json
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
cost = {"cpu": used.ru_utime + used.ru_stime, "peak_mib": used.ru_maxrss / 1024, "exit": done.returncode}
print(json.dumps({**cost, "answer": json.loads(done.stdout)}))
"""
"""Fork servers outlive the command that started them by a moment, and so does what they took."""


@dataclass(frozen=True)
class Cost:
    """What one command took, all processes that it started included; `peak_mib` is the largest one's."""

    seconds: float
    cpu: float
    peak_mib: float
    answer: dict[str, object]


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
