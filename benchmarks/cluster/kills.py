"""Kill a build at random moments, run the same line again, and count what was lost: nothing may be.

    python benchmarks/cluster/kills.py [--kills 100] [--cases 60] [--seed 1] [--workers 2]

A kill is a SIGKILL to a worker, to the child that makes a case, to the scheduler, to the command, or to the whole
process group. Half of the rounds run `--workers`, where the scheduler lives in the command; the other half run
`--scheduler`, with a scheduler and workers that are started again when they end, as a service manager does. A kill
falls up to four seconds after a case was begun. When enough kills have fallen on one build, the next one begins.
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

BIN = Path(sys.executable).parent
TASKS = ("Task04_Hippocampus", "Task02_Heart", "Task09_Spleen")
KINDS = ("worker", "child", "scheduler", "command", "group")


def curate(*words: str | Path) -> None:
    """Run a command that must end well."""
    subprocess.run([BIN / "curate", *map(str, words)], check=True, capture_output=True)


def digests(folder: Path, pattern: str) -> dict[str, str]:
    """Return the digest of every file that matches, by name."""
    files = sorted(path for path in folder.glob(pattern) if path.is_file())
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
    leftovers: int = 0


@dataclass
class Round:
    """One build of all cases, killed again and again."""

    workspace: Path
    workers: int
    chance: random.Random
    tally: Tally
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
        """Return how many cases are being made: the log of each lies there meanwhile."""
        return len(list(self.workspace.glob("private/crashes/*.log")))

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
            # A case's log lies there while it is made: what killed runs left would be counted again.
            for log in self.workspace.glob("private/crashes/*.log"):
                log.unlink()
            build = subprocess.Popen(
                self.command(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
            )
            while kills > 0 and build.poll() is None:
                kind, pause = self.chance.choice(KINDS), self.chance.uniform(0, 4)
                while build.poll() is None and not self.at_work():
                    time.sleep(0.05)
                try:
                    build.wait(pause)
                    break
                except subprocess.TimeoutExpired:
                    pass
                victims = self.victims(kind, build.pid)
                self.tally.at_work.append(self.at_work())
                for process in victims:
                    try:
                        os.kill(process, signal.SIGKILL)
                    except ProcessLookupError:
                        continue
                kills -= 1
                self.tally.kills[kind] += 1
            said = build.communicate()[1].decode()
            if build.returncode == 0:
                return
            if build.returncode > 0 and build.returncode != 2:
                raise SystemExit(f"a build ended with {build.returncode}:\n{said}")


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
    each = max(2, cases // len(TASKS))
    words = [word for task in TASKS for word in ("--task", task)]
    curate("demo", folder, *words, "--cases", str(each), "--seed", str(seed))
    planned = folder / "planned"
    curate("init", planned, "--key", folder / "truth/demo.key")
    # What is measured is what kills do: nobody needs to search phantoms for lettering meanwhile.
    settings = planned / "curate.yaml"
    unscreened = "burned_in: {unscreened: a phantom without text}"
    settings.write_text(settings.read_text().replace("burned_in: screen", unscreened))
    curate("index", folder / "source", "-w", planned)
    subprocess.run([BIN / "curate", "plan", "-w", planned], check=False, capture_output=True)
    shutil.copytree(planned, folder / "calm")
    curate("build", "-w", folder / "calm", "--workers", "2")
    curate("pack", "-w", folder / "calm", "-r", folder / "calm-release")
    return planned


def main() -> None:
    """Print what became of the builds; end with 1 when anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--a-build", type=int, default=12, help="kills that fall on one build")
    parser.add_argument("--cases", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    wanted = parser.parse_args()
    tally, chance, start = Tally(), random.Random(wanted.seed), time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        planned = prepare(folder, wanted.cases, wanted.seed)
        calm, calm_store = digests(folder / "calm-release", "*.tar"), digests(folder / "calm/store", "??/*/*")
        different = missing = 0
        while sum(tally.kills.values()) < wanted.kills:
            workspace = folder / "killed"
            shutil.copytree(planned, workspace)
            turn = Round(workspace, wanted.workers, chance, tally)
            if tally.builds % 2:
                turn.serve()
            turn.run(min(wanted.a_build, wanted.kills - sum(tally.kills.values())))
            for service in turn.services:
                service.stop()
            curate("pack", "-w", workspace, "-r", folder / "killed-release")
            store = digests(workspace / "store", "??/*/*")
            missing += len(calm_store.keys() - store.keys())
            different += sum(store[name] != calm_store.get(name) for name in store)
            different += digests(folder / "killed-release", "*.tar") != calm
            tally.leftovers += len(list(workspace.glob("store/**/.tmp-*")))
            tally.redone += made_twice(workspace)
            tally.builds += 1
            shutil.rmtree(workspace)
            shutil.rmtree(folder / "killed-release")
    total = sum(tally.kills.values())
    print(
        f"{total} kills ({dict(sorted(tally.kills.items()))}) over {tally.builds} builds of {wanted.cases} cases"
    )
    print(f"reruns {tally.reruns}, {time.monotonic() - start:.0f} s")
    print(f"missing files {missing}, other bytes {different}, leftovers {tally.leftovers}")
    print(
        f"cases at work at a kill, which a rerun makes again: at most {max(tally.at_work)}, {sum(tally.at_work)} in sum"
    )
    print(f"cases made again after they stood in the store: {tally.redone}")
    sys.exit(bool(missing or different or tally.leftovers or max(tally.at_work) > wanted.workers))


if __name__ == "__main__":
    main()
