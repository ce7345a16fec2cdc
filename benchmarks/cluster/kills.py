"""Kill a build at random moments, run the same line again, and count what was lost: nothing may be.

    python benchmarks/cluster/kills.py [--kills 100] [--cases 60] [--seed 1] [--workers 2] [--minutes 60]

A kill is a SIGKILL to a worker, to the child that makes a case, to the scheduler, to the command, or to the whole
process group. Half of the rounds run `--workers`, where the scheduler lives in the command; the other half run
`--scheduler`, with a scheduler and workers that are started again when they end, as a service manager does. A kill
falls up to two seconds after a case was begun. When enough kills have fallen on one build, the next one begins.
A case that two kills hit is refused as one that kills its worker: then the same line is run again as well.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from pipeline import demo, index, plan, release
from pipeline.io.workspace import Workspace, create, open_workspace

BIN = Path(sys.executable).parent
TASKS = ("Task04_Hippocampus",)
BLAMED = {"worker-lost", "case-crashed"}
"""What a case is refused for that two kills hit."""
USAGE, REFUSED = 2, 3
KINDS = ("worker", "child", "scheduler", "command", "group")


def quiet(*_: object) -> None:
    """Hear nothing."""


def digests(folder: Path, pattern: str) -> dict[str, str]:
    """Return the digest of every file that matches, by name."""
    # Leftovers of a kill are counted as such.
    files = sorted(p for p in folder.glob(pattern) if p.is_file() and not p.parent.name.startswith(".tmp-"))
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def cmdline(process: int) -> str:
    """Return what a process was started with, empty when it is gone."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def session(leader: int) -> list[int]:
    """Return the processes of a session, the leader first."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_one = int((folder / "stat").read_text().rpartition(")")[2].split()[3]) == leader
        except (OSError, IndexError):
            continue
        if is_one:
            found.append(int(folder.name))
    return sorted(found, key=lambda process: (process != leader, process))


class Service:
    """Keeps one command up, as a service manager with `Restart=always`."""

    def __init__(self, *words: str) -> None:
        self.words, self.is_wanted = words, True
        self.process = self._start()
        self.thread = threading.Thread(target=self._keep, daemon=True)
        self.thread.start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )

    def _keep(self) -> None:
        while self.is_wanted:
            self.process.wait()
            time.sleep(0.5)
            if self.is_wanted:
                self.process = self._start()

    def kill(self) -> None:
        """End the command and all that it started; it comes back."""
        for process in session(self.process.pid):
            os.kill(process, signal.SIGKILL)

    def stop(self) -> None:
        """End the command for good."""
        self.is_wanted = False
        self.kill()
        self.thread.join()


@dataclass
class Tally:
    """What was seen."""

    kills: Counter[str] = field(default_factory=Counter)
    redone: int = 0
    at_work: list[int] = field(default_factory=list)
    builds: int = 0
    reruns: int = 0
    blamed: Counter[str] = field(default_factory=Counter)
    missing: int = 0
    different: int = 0
    leftovers: int = 0

    def say(self, cases: int, seconds: float) -> None:
        """Print what was seen until now."""
        hit, kills = sum(count > 0 for count in self.at_work), dict(sorted(self.kills.items()))
        print(f"{self.kills.total()} kills ({kills}) over {self.builds} builds of {cases} cases")
        print(
            f"kills while a case was being made: {hit}; {sum(self.at_work)} cases in sum, a rerun makes them again"
        )
        print(f"starts of the command {self.reruns}, {seconds:.0f} s; hit twice: {dict(self.blamed)}")
        print(f"missing files {self.missing}, other bytes {self.different}, leftovers {self.leftovers}")
        print(f"most cases being made at a kill: {max(self.at_work, default=0)}")
        print(f"cases made again after they stood in the store: {self.redone}", flush=True)

    def is_well(self, workers: int) -> bool:
        """Whether nothing was lost, and no more was being made at a kill than there are workers."""
        lost = self.missing or self.different or self.leftovers or self.redone
        return not lost and max(self.at_work, default=0) <= workers


@dataclass
class Round:
    """One build of all cases, killed again and again."""

    workspace: Path
    workers: int
    chance: random.Random
    tally: Tally
    until: float
    """On the clock; nothing is killed after it."""
    services: list[Service] = field(default_factory=list)
    address: str = ""

    def command(self) -> list[str]:
        """Return the line that is run again and again."""
        where = ["--scheduler", self.address] if self.services else ["--workers", str(self.workers)]
        return [str(BIN / "curate"), "build", "-w", str(self.workspace), *where]

    def serve(self) -> None:
        """Keep a scheduler and workers up."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        dask = (sys.executable, "-m", "dask")
        port = self.address.rpartition(":")[2]
        self.services = [Service(*dask, "scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard")]
        scratch = str(self.workspace / "private/scratch")
        worker = (
            *dask,
            "worker",
            self.address,
            "--nthreads",
            "1",
            "--no-dashboard",
            "--local-directory",
            scratch,
        )
        self.services += [Service(*worker) for _ in range(self.workers)]

    def at_work(self) -> int:
        """Return how many cases are being made: to the log of each, which goes with its end, some process writes."""
        logs, found = f"{self.workspace}/private/crashes/", 0
        if not any(Path(logs).glob("*.log")):
            return 0
        for process in Path("/proc").glob("[0-9]*"):
            try:
                writes = str((process / "fd/1").readlink())
            except OSError:
                continue
            found += writes.startswith(logs) and writes.endswith(".log")
        return found

    def victims(self, kind: str, command: int) -> list[int]:
        """Return the processes that a kill of this kind hits."""
        if kind == "command":
            return [command]
        if kind == "group":
            return session(command)
        if kind == "scheduler":
            return session(self.services[0].process.pid) if self.services else [command]
        roots = [service.process.pid for service in self.services[1:]] or [command]
        below = [process for root in roots for process in session(root)]
        mark = "forkserver" if kind == "child" else "spawn_main"
        found = [process for process in below if mark in cmdline(process)]
        return [self.chance.choice(found)] if found else [command]

    def run(self, kills: int) -> None:
        """Run until all is built, with as many kills on the way as are asked for."""
        while True:
            self.tally.reruns += 1
            build = subprocess.Popen(
                self.command(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
            )
            while kills > 0 and build.poll() is None and time.monotonic() < self.until:
                kills -= self.hit(build)
            said = build.communicate()[1].decode()
            if build.returncode == 0:
                return
            if build.returncode == REFUSED:
                self.tally.blamed += self.blamed()
            elif build.returncode > 0 and build.returncode != USAGE:
                raise SystemExit(f"a build ended with {build.returncode}:\n{said}")

    def hit(self, build: subprocess.Popen[bytes]) -> bool:
        """Kill something at a random moment after a case was begun; False when the build ended before."""
        kind, pause = self.chance.choice(KINDS), self.chance.uniform(0, 2)
        while build.poll() is None and not self.at_work():
            time.sleep(0.1)
        try:
            build.wait(pause)
        except subprocess.TimeoutExpired:
            pass
        else:
            return False
        victims = self.victims(kind, build.pid)
        self.tally.at_work.append(self.at_work())
        for process in victims:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.tally.kills[kind] += 1
        return True

    def blamed(self) -> Counter[str]:
        """Return for what cases were refused because kills hit them twice; no other refusal may be."""
        refusals = map(Path.read_bytes, self.workspace.glob("refusals/*.json"))
        codes = Counter(json.loads(refusal)["code"] for refusal in refusals)
        if codes.keys() - BLAMED:
            raise SystemExit(f"a build refused {sorted(codes)}")
        return codes


def made_twice(workspace: Path) -> int:
    """How many cases a run's logs name as made more than once: redone after they stood in the store."""
    made: Counter[str] = Counter()
    for path in workspace.glob("runs/*/*.jsonl"):
        for line in path.read_text().splitlines():
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if said.get("end") == "made":
                made[said["task"] + said["case"]] += 1
    return sum(count - 1 for count in made.values())


def prepare(folder: Path, cases: int, seed: int) -> Path:
    """Phantom sources, planned; built and packed once without a kill."""
    demo.make(folder, tasks=TASKS, cases=cases, seed=seed, tell=quiet)
    workspace = create(folder / "planned", folder / "truth/demo.key")
    # What is measured is what kills do: nobody needs to search phantoms for lettering meanwhile.
    settings = workspace.root / "curate.yaml"
    unscreened = "burned_in: {unscreened: a phantom without text}"
    settings.write_text(settings.read_text().replace("burned_in: screen", unscreened))
    index.index(workspace, [folder / "source"], None, quiet)
    plan.plan(workspace, [])
    shutil.copytree(workspace.root, folder / "calm")
    calm = open_workspace(folder / "calm")
    release.build(calm, [], workers=1, told=quiet, ended=quiet)
    release.pack(calm, folder / "calm-release", [], told=quiet)
    return workspace.root


def compare(killed: Workspace, folder: Path, tally: Tally) -> None:
    """Count what a build that was killed has otherwise than the calm one, in its store and its TARs."""
    calm, store = (digests(root / "store", "??/*/*") for root in (folder / "calm", killed.root))
    release.pack(killed, folder / "killed-release", [], told=quiet)
    tars = [digests(folder / name, "*.tar") for name in ("calm-release", "killed-release")]
    tally.missing += len(calm.keys() - store.keys()) + len(tars[0].keys() - tars[1].keys())
    tally.different += sum(store[name] != calm.get(name) for name in store)
    tally.different += sum(tars[1][name] != tars[0].get(name) for name in tars[1])
    tally.leftovers += len(list(killed.root.glob("store/**/.tmp-*")))
    tally.redone += made_twice(killed.root)
    tally.builds += 1
    shutil.rmtree(folder / "killed-release")


def main() -> None:
    """Print what became of the builds; end with 1 when anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--a-build", type=int, default=12, help="kills that fall on one build")
    parser.add_argument("--cases", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="kill nothing after them")
    wanted = parser.parse_args()
    tally, chance, start = Tally(), random.Random(wanted.seed), time.monotonic()
    until = start + 60 * wanted.minutes
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        planned = prepare(folder, wanted.cases, wanted.seed)
        while tally.kills.total() < wanted.kills and time.monotonic() < until:
            workspace = folder / "killed"
            shutil.copytree(planned, workspace)
            turn = Round(workspace, wanted.workers, chance, tally, until)
            if tally.builds % 2:
                turn.serve()
            turn.run(min(wanted.a_build, wanted.kills - tally.kills.total()))
            for service in turn.services:
                service.stop()
            compare(open_workspace(workspace), folder, tally)
            tally.say(wanted.cases, time.monotonic() - start)
            shutil.rmtree(workspace)
    sys.exit(not tally.is_well(wanted.workers))


if __name__ == "__main__":
    main()
