"""What the running of cases costs beside the cases: nothing to do, and nothing left to do.

    python benchmarks/cluster/noop.py [--empty 20000] [--finished 1000] [--workers 2] [--unscreened] [--folder DIR]
    python benchmarks/cluster/noop.py --empty 0 --finished 1000     # the second part alone, as workspaces are

The first part hands cases to workers that are refused as soon as they are opened, and takes the processor time of the
command, in which the scheduler lives, and its memory after a quarter and after all of them. The second builds phantom
cases, searched for lettering unless told otherwise, and runs the same line again.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pipeline import cluster
from pipeline.io.workspace import create
from pipeline.orders import Request

BIN = Path(sys.executable).parent
RULES = Path(__file__).parents[2] / "rules"
TASK = "Task04_Hippocampus"
A_SOURCE = 250
"""Cases of one phantom: of more than are published none is made."""

_WAIT_FOR_ALL = """
import ctypes, os, resource, subprocess, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
subprocess.run(sys.argv[1:], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
while True:
    try:
        os.wait()
    except ChildProcessError:
        break
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime)
"""


def memory() -> int:
    """Resident memory of this process in KiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024


def empty(folder: Path, count: int, workers: int) -> None:
    """Print what one empty case costs in the command and its scheduler, and how their memory grows."""
    workspace = create(folder / "empty")
    requests = [Request(str(folder / "none"), "Task99_None", f"none_{number}", 0) for number in range(count)]
    ended, after_a_quarter, start = 0, 0, time.process_time()
    first = 0.0
    for _ in cluster.run_cases(
        requests,
        workers=workers,
        workspace=workspace,
        runs=workspace.runs / "run",
        told=lambda case, stage: None,
    ):
        ended += 1
        first = first or time.process_time() - start
        if ended == count // 4:
            after_a_quarter = memory()
    spent = time.process_time() - start
    print(
        f"{ended} empty cases on {workers} workers: {1000 * spent / count:.3f} ms of client and scheduler a case"
    )
    print(f"  of it {first:.2f} s until the first case ended")
    print(f"  memory {after_a_quarter // 1024} MiB after a quarter, {memory() // 1024} MiB after all")


def spent_by(*words: str | Path) -> float:
    """Processor seconds of a command and of all that it started: orphans are waited for too, such as fork servers."""
    done = subprocess.run(
        [sys.executable, "-c", _WAIT_FOR_ALL, *map(str, words)], check=True, capture_output=True, text=True
    )
    return float(done.stdout)


def countless(folder: Path) -> Path:
    """Write the task's rules without the published split, which names fewer cases than are asked for."""
    folder.mkdir()
    lines = (RULES / f"{TASK}.yaml").read_text().splitlines(keepends=True)
    (folder / f"{TASK}.yaml").write_text("".join(line for line in lines if "published: Task" not in line))
    return folder


def made(workspace: Path) -> int:
    """Return how many whole cases stand in the store."""
    return len(list(workspace.glob("store/??/[0-9a-f]*/record.json")))


def finished(folder: Path, count: int, workers: int, *, is_screened: bool) -> None:
    """Print what a rerun of a finished build costs beside the build."""
    curate, workspace = BIN / "curate", folder / "ws"
    sources = []
    for place in range(-(-count // A_SOURCE)):
        part = folder / f"part{place}"
        cases = min(A_SOURCE, count - place * A_SOURCE)
        words = ("demo", part, "--task", TASK, "--cases", cases, "--seed", place)
        subprocess.run([curate, *map(str, words)], check=True, capture_output=True)
        # Where there is one it names published cases, each of them once.
        (part / "source" / TASK / "cases.csv").unlink(missing_ok=True)
        sources.append(part / "source")
    key = folder / "part0/truth/demo.key"
    subprocess.run([curate, "init", workspace, "--key", key], check=True, capture_output=True)
    if not is_screened:
        # The cheaper build, so that the share of a rerun is the larger.
        settings = workspace / "curate.yaml"
        unscreened = "burned_in: {unscreened: a phantom without text}"
        settings.write_text(settings.read_text().replace("burned_in: screen", unscreened))
    subprocess.run([curate, "index", *sources, "-w", workspace], check=True, capture_output=True)
    plan = (curate, "plan", "-w", workspace, "--rules", countless(folder / "rules"))
    subprocess.run(plan, check=True, capture_output=True)
    build = spent_by(curate, "build", "-w", workspace, "--workers", str(workers))
    again = spent_by(curate, "build", "-w", workspace, "--workers", str(workers))
    logs = sum(path.stat().st_size for path in (workspace / "runs").rglob("*") if path.is_file())
    print(f"{made(workspace)} cases made; {logs / 1024:.0f} KiB of logs of all commands together")
    print(
        f"{count} cases: build {build:.1f} s of processor, again {again:.2f} s: {100 * again / build:.2f} %"
    )


def main() -> None:
    """Print both parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--empty", type=int, default=20_000)
    parser.add_argument("--finished", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--unscreened", action="store_true", help="do not search for lettering")
    parser.add_argument(
        "--folder", type=Path, help="where phantom and workspace lie; they are taken away again"
    )
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=wanted.folder) as folder:
        if wanted.empty:
            empty(Path(folder), wanted.empty, wanted.workers)
        if wanted.finished:
            finished(Path(folder), wanted.finished, wanted.workers, is_screened=not wanted.unscreened)


if __name__ == "__main__":
    main()
