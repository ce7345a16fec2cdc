"""Make the demo release again on another Python, with other workers, time zones and umasks, to the same bytes.

    python benchmarks/rebuild_elsewhere.py [--python python3.13] [--debian FOLDER] [--task TASK]...

This Python makes phantom and release; then this one and the other make the release again with one and with two
workers, and the other writes the phantom anew. The other's environment is made from `constraints.txt`. Where
the other Python is not on the path, nothing is shown and the reason is said; with `--debian FOLDER`, as root, it is
taken from a Debian 13 that `debootstrap` lays into FOLDER: another machine, but for its kernel. Some minutes.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
HERE = ("UTC", "022")
ELSEWHERE = (("Asia/Kathmandu", "077"), ("America/St_Johns", "002"))
"""Time zone and umask of a rebuild with one worker and with two."""
MOUNT = 'mount -t proc proc "$0/proc"; mount --rbind /dev "$0/dev"; exec chroot "$0" "$@"'


@dataclass(frozen=True)
class Place:
    """Where an environment lies and runs: `root` is / or a folder that holds another system."""

    root: Path
    environment: Path

    def run(self, *words: str | Path, zone: str = HERE[0], mask: str = HERE[1]) -> str:
        """Run a command there; return what it printed."""
        asked = shlex.join([*map(str, words)])
        command = ["env", f"TZ={zone}", "bash", "-c", f"umask {mask}; exec {asked}"]
        if self.root != Path("/"):
            command = ["unshare", "--mount", "bash", "-c", MOUNT, str(self.root), *command]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout

    def curate(self, *words: str | Path, zone: str = HERE[0], mask: str = HERE[1]) -> str:
        """Run `curate` there."""
        return self.run(self.environment / "bin/curate", *words, zone=zone, mask=mask)

    def inside(self, path: Path) -> Path:
        """Return how a path below the root is called there."""
        return Path("/") / path.relative_to(self.root)


def here() -> Place:
    """Return the environment that runs this."""
    return Place(Path("/"), Path(sys.executable).parents[1])


def debian(root: Path) -> Place:
    """Return a Debian 13 with our pinned environment, made unless it is there."""
    if not (root / "usr/bin/python3.13").exists():
        subprocess.run(
            [
                "debootstrap",
                "--variant=minbase",
                "--include=python3,python3-venv,ca-certificates",
                "trixie",
                root,
            ],
            check=True,
        )
    for name in ("etc/pip.conf", "etc/resolv.conf", "etc/ssl/certs/ca-certificates.crt"):
        if (Path("/") / name).exists():
            shutil.copyfile(Path("/") / name, root / name)
    return installed(Place(root, Path("/root/curate-env")), "python3.13")


def installed(place: Place, python: str) -> Place:
    """Install the pinned versions and this checkout, as a copy."""
    copy = place.root / str(place.environment.with_name("curate-checkout")).lstrip("/")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(ROOT, copy, ignore=_not_ours)
    place.run(python, "-m", "venv", place.environment)
    pip = (place.environment / "bin/python", "-m", "pip", "install", "-qq", "--disable-pip-version-check")
    place.run(*pip, "--require-hashes", "-r", place.inside(copy) / CONSTRAINTS.name)
    place.run(*pip, "--no-deps", "--no-build-isolation", "--force-reinstall", place.inside(copy))
    return place


def _not_ours(folder: str, names: list[str]) -> list[str]:
    """Return what a copy of the checkout can do without: hidden folders, and the demo that stands at its top."""
    return [name for name in names if name.startswith(".") or (name == "demo" and Path(folder) == ROOT)]


def released(first: Place, folder: Path, tasks: Sequence[str]) -> Path:
    """Make phantom and release with this Python."""
    first.curate("demo", folder, *(word for task in tasks for word in ("--task", task)))
    first.curate("init", folder / "workspace", "--key", folder / "truth/demo.key")
    first.curate("release", folder / "source", "-w", folder / "workspace", "-r", folder / "release", "--json")
    return folder


def show(place: Place, demo: Path) -> bool:
    """Make the release again with one worker and with two, print a line each; return whether all is equal."""
    version = place.run(place.environment / "bin/python", "--version").strip()
    is_equal = True
    for workers, (zone, mask) in enumerate(ELSEWHERE, 1):
        at = place.inside(demo)
        words = (
            "rebuild",
            at / "release",
            at / "source",
            "-w",
            at / "workspace",
            "--workers",
            str(workers),
            "--json",
        )
        found = json.loads(place.curate(*words, zone=zone, mask=mask))
        where = f"{version}, {workers} workers, {zone}, umask {mask}"
        print(
            f"{where}: {found['made']} cases, {len(found['files'])} files, equal in {found['equal']}",
            flush=True,
        )
        is_equal &= found["equal"] == "bytes"
    return is_equal


def same_phantom(place: Place, demo: Path, tasks: Sequence[str]) -> bool:
    """Let another Python write the phantom; return whether its files are the same, byte for byte."""
    again = demo.with_name("phantom-again")
    shutil.rmtree(again, ignore_errors=True)
    place.curate("demo", place.inside(again), *(word for task in tasks for word in ("--task", task)))
    files = [path.relative_to(demo / "source") for path in (demo / "source").rglob("*") if path.is_file()]
    written = {path.relative_to(again / "source") for path in (again / "source").rglob("*") if path.is_file()}
    _, other, lacking = filecmp.cmpfiles(demo / "source", again / "source", [*map(str, files)], shallow=False)
    print(f"phantom written there: {len(files)} files, {len(other)} differ, {len(lacking)} lacking")
    return not other and not lacking and written == {*files}


def main() -> int:
    """Make, rebuild, compare, print."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--python", default="python3.13")
    words.add_argument("--debian", type=Path)
    words.add_argument("--task", action="append", default=[])
    asked = words.parse_args()
    if asked.debian is None and shutil.which(asked.python) is None:
        print(f"{asked.python} is not on the path: nothing was compared; see --debian")
        return 0
    above = asked.debian.resolve() / "root" if asked.debian else None
    with tempfile.TemporaryDirectory(prefix="rebuild-") as scratch:
        if asked.debian:
            other = debian(asked.debian.resolve())
        else:
            other = installed(Place(Path("/"), Path(scratch) / "env"), asked.python)
        folder = Path(tempfile.mkdtemp(prefix="demo-", dir=above or scratch)) / "demo"
        try:
            demo = released(here(), folder, asked.task)
            is_equal = all([show(here(), demo), show(other, demo), same_phantom(other, demo, asked.task)])
        finally:
            shutil.rmtree(folder.parent)
    print("All equal to the byte." if is_equal else "NOT equal.")
    return 0 if is_equal else 1


if __name__ == "__main__":
    os.environ["PYTHONPATH"] = ""
    sys.exit(main())
