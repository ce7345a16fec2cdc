"""Do harm in twenty-odd ways beside healthy cases, and see each fault reported and every healthy case finished.

python benchmarks/faults/run.py

Faults of the sources lie in one tree, a subject each; then come faults of what decodes (it crashes, takes all memory,
never ends), planted in the processes that read a subject; faults of a run (a full disk, a killed process, a second run)
follow, one after the other, on a tree of healthy cases alone, and those of a cluster (a worker, a scheduler or the
command killed, workers whose time is up, a cable cut, a wall time). Nothing here is anybody's image.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from hostile import deflated_bomb, giant_length, giant_nifti, gzip_of_zeros, nested, zip_of_zeros  # noqa: E402
from tiny_source import Person, write_series  # noqa: E402

CURATE = str(Path(sys.executable).with_name("curate"))
TASK = "Task09_Spleen"
HEALTHY = 4


def subject(source: Path, number: int, *, count: int = 11, label: bool = True) -> Path:
    """Write a healthy subject: a CT series, each slice another one, and a mask on its grid."""
    folder = source / TASK / f"subject{number:02}"
    for path in write_series(folder / "ct", Person(number), count=count):
        content = bytearray(path.read_bytes())
        content[-32:] = np.arange(16, dtype="<i2").tobytes()
        path.write_bytes(content)
    if label:
        mask(folder / "label.nii.gz", count)
    return folder


def mask(path: Path, count: int, value: int = 1) -> None:
    """Write a mask on the grid of such a series."""
    data = np.zeros((4, 4, count), np.uint8)
    data[1:3, 1:3, 2:5] = value
    nib.save(nib.Nifti1Image(data, np.diag([-1.0, -1.0, 3.0, 1.0])), path)


@dataclass(frozen=True)
class Fault:
    """What is done to a subject's folder, when, and the code that must be reported of it."""

    name: str
    code: str
    spoil: Callable[[Path], None]
    is_after_plan: bool = False
    refuses_case: bool = True


def slice_of(folder: Path, number: int = 5) -> Path:
    """Return one slice of a subject."""
    return folder / "ct" / str(number)


def cut(folder: Path) -> None:
    """Cut the end of a slice."""
    slice_of(folder).write_bytes(slice_of(folder).read_bytes()[:-9])


def contradicting(folder: Path) -> None:
    """Let the file meta of a slice say another class than its dataset."""
    content = slice_of(folder).read_bytes()
    slice_of(folder).write_bytes(content.replace(b"5.1.4.1.1.2\0", b"5.1.4.1.1.9\0", 1))


def giant(folder: Path) -> None:
    """Let the slices, of some bytes, say that they have 65535 squared pixels."""
    for number in range(11):
        undecodable(folder, number)
        content = slice_of(folder, number).read_bytes()
        for element in (b"\x28\0\x10\0US\2\0", b"\x28\0\x11\0US\2\0"):
            content = content.replace(element + b"\4\0", element + b"\xff\xff")
        slice_of(folder, number).write_bytes(content)


def scripted(folder: Path) -> None:
    """Let a series be called like a path, a script and a terminal's escape; nothing is wrong with it."""
    for path in (folder / "ct").iterdir():
        dataset = pydicom.dcmread(path)
        dataset.SeriesDescription = "../../escaped <script>alert(1)</script> \x1b[2J"
        dataset.save_as(path)


def tar_bomb(folder: Path) -> None:
    """Lay a compressed TAR beside the series that expands to 10 GB."""
    info = tarfile.TarInfo("zeros.dcm")
    info.size = 10 * 2**30
    gzip_of_zeros(folder / "bomb.tar.gz", info.size, info.tobuf())


def missing(folder: Path) -> None:
    """Take a slice away."""
    slice_of(folder).unlink()


def conflicting(folder: Path) -> None:
    """Lay another version of an instance beside it."""
    content = bytearray(slice_of(folder).read_bytes())
    content[-2:] = b"\x07\x07"
    (folder / "ct" / "again").write_bytes(content)


def archived(folder: Path) -> Path:
    """Move a subject's slices into an archive beside them."""
    path = folder / "ct.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for one in sorted((folder / "ct").iterdir()):
            archive.write(one, one.name)
    shutil.rmtree(folder / "ct")
    return path


def cut_archive(folder: Path) -> None:
    """Cut an archive."""
    path = archived(folder)
    path.write_bytes(path.read_bytes()[:-200])


def slip(folder: Path) -> None:
    """Give an archive a member that leaves its folder."""
    path = archived(folder)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../../escaped", b"out")


def tar_links(folder: Path) -> None:
    """Lay a TAR of links and devices beside the series."""
    with tarfile.open(folder / "odd.tar", "w") as archive:
        for kind, target in (
            (tarfile.SYMTYPE, "/etc/passwd"),
            (tarfile.CHRTYPE, ""),
            (tarfile.LNKTYPE, "../x"),
        ):
            info = tarfile.TarInfo(f"member{kind!r}")
            info.type, info.linkname = kind, target
            archive.addfile(info)


def zip_bomb(folder: Path) -> None:
    """Lay a ZIP of 10 MB beside the series that expands to 10 GB."""
    zip_of_zeros(folder / "bomb.zip", 10 * 2**30)


def pipe(folder: Path) -> None:
    """Put a pipe in the place of a slice."""
    slice_of(folder).unlink()
    os.mkfifo(slice_of(folder))


def loop(folder: Path) -> None:
    """Put a link that leads to itself in the place of a slice."""
    slice_of(folder).unlink()
    slice_of(folder).symlink_to(slice_of(folder))


def changed(folder: Path) -> None:
    """Change the voxels of a slice."""
    content = bytearray(slice_of(folder).read_bytes())
    content[-2:] = b"\x07\x07"
    slice_of(folder).write_bytes(content)


def became_folder(folder: Path) -> None:
    """Put a folder in the place of a slice."""
    slice_of(folder).unlink()
    slice_of(folder).mkdir()


def became_pipe(folder: Path) -> None:
    """Put a pipe in the place of a slice that was indexed."""
    slice_of(folder).unlink()
    os.mkfifo(slice_of(folder))


def locked_file(folder: Path) -> None:
    """Let nobody read a slice."""
    slice_of(folder).chmod(0)


def failing(folder: Path) -> None:
    """Put a file of which the system reads nothing in the place of a slice: an I/O error, as of a failing drive."""
    slice_of(folder).unlink()
    slice_of(folder).symlink_to("/proc/self/mem")


def undecodable(folder: Path, number: int = 5) -> None:
    """Say that a slice is run-length encoded, and make it rubbish."""
    path = slice_of(folder, number)
    content = path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0")
    header = content[: content.index(b"\xe0\x7f\x10\x00")]
    item = b"\xfe\xff\x00\xe0\x00\x00\x00\x00" + b"\xfe\xff\x00\xe0\x04\x00\x00\x00rubb"
    path.write_bytes(header + b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + item + b"\xfe\xff\xdd\xe0\0\0\0\0")


FAULTS = (
    Fault("a slice that was cut", "truncated", cut),
    Fault("a slice of no bytes", "truncated", lambda f: slice_of(f).write_bytes(b"")),
    Fault("a slice whose class is two", "unreadable", contradicting),
    Fault("a slice that is missing", "missing-slice", missing),
    Fault("an instance in two versions", "conflicting-duplicates", conflicting),
    Fault("an archive that was cut", "archive-unreadable", cut_archive, refuses_case=False),
    Fault("an archive member that leaves its folder", "unsafe-member", slip, refuses_case=False),
    Fault("links and devices in a TAR", "unsafe-member", tar_links, refuses_case=False),
    Fault("10 GB in a ZIP of 10 MB", "archive-unreadable", zip_bomb, refuses_case=False),
    Fault("10 GB in a TAR of 10 MB", "archive-unreadable", tar_bomb, refuses_case=False),
    Fault("a deflated bomb", "unreadable", lambda f: deflated_bomb(slice_of(f))),
    Fault("sequences nested 10,000 deep", "unreadable", lambda f: slice_of(f).write_bytes(nested(10_000))),
    Fault("an element that says 4 GB", "truncated", lambda f: slice_of(f).write_bytes(giant_length())),
    Fault("a pipe instead of a slice", "not-a-file", pipe),
    Fault("a link that leads to itself", "not-a-file", loop),
    Fault("a slice that may not be read", "permission-denied", locked_file),
    Fault("a slice at which the drive fails", "read-failed", failing),
    Fault("a mask with a value nobody declared", "label-value-undeclared", lambda f: mask(f / "label.nii.gz", 11, 9)),
    Fault("a mask that was cut", "truncated",
          lambda f: (f / "label.nii.gz").write_bytes((f / "label.nii.gz").read_bytes()[:-12])),
    Fault("a mask of 32767 cubed voxels", "label-too-large", lambda f: giant_nifti(f / "label.nii.gz")),
    Fault("pixels that no decoder takes", "undecodable", undecodable),
    Fault("pixels that say they are 65535 squared", "case-too-large", giant),
    Fault("a slice that changed after the plan", "source-changed", changed, is_after_plan=True),
    Fault("a slice that was cut after the plan", "source-changed", cut, is_after_plan=True),
    Fault("a slice at which the drive fails after the plan", "read-failed", failing, is_after_plan=True),
    Fault("a slice that vanished after the plan", "source-missing", missing, is_after_plan=True),
    Fault("a slice that became a folder", "not-a-file", became_folder, is_after_plan=True),
    Fault("a slice that became a pipe", "not-a-file", became_pipe, is_after_plan=True),
)  # fmt: skip


def weakly(words: list[str]) -> list[str]:
    """Return a command that obeys permissions even where root runs it."""
    if os.geteuid() or not shutil.which("setpriv"):
        return words
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *words]


def curate(
    *words: object,
    before: tuple[str, ...] = (),
    around: dict[str, str] | None = None,
    is_weak: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with more in its environment."""
    line, environment = [*before, CURATE, *map(str, words)], {**os.environ, **(around or {})}
    return subprocess.run(
        weakly(line) if is_weak else line,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env=environment,
    )


@dataclass
class Tally:
    """What was looked at, and what was not as it should be."""

    well: int = 0
    ill: int = 0

    def say(self, name: str, faults: list[str]) -> None:
        """Print one line, and count it."""
        self.well += not faults
        self.ill += bool(faults)
        print(
            f"{'ok ' if not faults else 'BAD'} {name}" + "".join(f"\n      {fault}" for fault in faults),
            flush=True,
        )


def reported(fault: Fault, folder: Path, workspace: Path) -> list[str]:
    """Return what is missing of a fault's report: code, file or case, reason, next step."""
    with (workspace / "private/fates.csv").open(
        encoding="utf-8", errors="surrogateescape", newline=""
    ) as stream:
        rows = [row for row in csv.DictReader(stream) if Path(row["path"]).is_relative_to(folder)]
    of_case = {row["case"] for row in rows if row["case"]}
    records = [workspace / "refusals" / f"{TASK}-{case}.json" for case in of_case]
    refusals = [json.loads(path.read_text()) for path in records if path.exists()]
    faults = []
    if not any(row["code"] == fault.code for row in rows) and not any(
        r["code"] == fault.code for r in refusals
    ):
        faults.append(
            f"wanted {fault.code}, found {sorted({row['code'] for row in rows} | {r['code'] for r in refusals})}"
        )
    if fault.refuses_case and not refusals:
        faults.append("no case was refused")
    faults += [
        f"a refusal lacks {key}"
        for r in refusals
        for key in ("code", "wanted", "found", "advice", "who")
        if not r[key]
    ]
    if "What to do:" not in curate("explain", fault.code).stdout:
        faults.append("no next step")
    return faults


def faults_of_sources(folder: Path, tally: Tally) -> None:
    """Build healthy cases beside one subject for each fault."""
    source, workspace = folder / "source", folder / "ws"
    curate("init", workspace)
    for number in range(HEALTHY):
        subject(source, number)
    places = {fault.name: subject(source, 50 + number) for number, fault in enumerate(FAULTS)}
    scripted(subject(source, 41))
    odd = subject(source, 40) / "ct" / "0"
    odd.rename(odd.with_name("line\nend\udcff"))
    os.utime(odd.with_name("1"), (2**33, 2**33))
    os.utime(odd.with_name("2"), (-1, -1))
    healthy = {*(source / TASK / f"subject{number:02}" for number in (*range(HEALTHY), 40, 41))}
    for fault in FAULTS:
        if not fault.is_after_plan:
            fault.spoil(places[fault.name])
    curate("index", source, "-w", workspace)
    curate("plan", "-w", workspace)
    for fault in FAULTS:
        if fault.is_after_plan:
            fault.spoil(places[fault.name])
    ended = curate("build", "-w", workspace, "--workers", "2", "--json")
    for fault in FAULTS:
        tally.say(fault.name, reported(fault, places[fault.name], workspace))
    finished = {row["path"] for row in fates(workspace) if row["fate"] == "used"}
    unmade = [path.name for path in healthy if not any(Path(one).is_relative_to(path) for one in finished)]
    tally.say("odd names and times harm nothing; every healthy case is finished", unmade)
    tally.say(
        "the exit code says that cases were refused", [] if ended.returncode == 3 else [f"{ended.returncode}"]
    )
    count = sum(1 for path in source.rglob("*") if not path.is_dir() or path.is_symlink())
    rows = len({(row["path"]) for row in fates(workspace)})
    missing_fates = [] if rows >= count - 2 else [f"{count} files, {rows} fates"]
    tally.say("every file has a fate", missing_fates)
    said = ended.stderr + "".join(
        path.read_text() for path in (workspace / "runs").rglob("*.*l*") if path.is_file()
    )
    tally.say("nobody is named", ["a name was said"] if "DOE" in said or "subject5" in said else [])
    escaped = [str(path) for path in folder.parent.glob("*escaped*")] + [
        str(path) for path in folder.rglob("*escaped*")
    ]
    escaped += [
        str(path) for path in (workspace / "store").rglob("*.json") if b"<script" in path.read_bytes()
    ]
    tally.say("nothing is written outside", escaped)


_DEADLY = """
import importlib.abc, importlib.machinery, os, sys, time


def struck(path):
    for name, how in (("subject90", "crash"), ("subject91", "kill"), ("subject92", "memory"), ("subject93", "hang")):
        if name in str(path) and how in os.environ["DEADLY"]:
            if how == "crash":
                import ctypes
                ctypes.string_at(0)
            if how == "kill":
                os.kill(os.getpid(), 9)
            if how == "memory":
                bytearray(2**46)
            time.sleep(3600)


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != os.environ["DEADLY_IN"]:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        whole = spec.loader.exec_module

        def load(module):
            whole(module)
            if name == "pipeline.index":
                inner = module.seen
                module.seen = lambda entry, task: (struck(entry.path), inner(entry, task))[1]
            else:
                inner = module._read
                module._read = lambda refs: (struck(refs[0].path), inner(refs))[1]

        spec.loader.exec_module = load
        return spec


sys.meta_path.insert(0, Finder())
"""
"""Laid where Python looks when it starts: what reads the sources then dies of some subjects, as a decoder might."""

DEADLY = (
    ("what reads a file crashes", "index", "crash kill memory",
     {90: "input-crashed", 91: "input-crashed", 92: "memory-short"}),
    ("what makes a case crashes, is killed for memory, takes all memory, or never ends",
     "build", "crash kill memory hang",
     {90: "case-crashed", 91: "case-crashed", 92: "memory-short", 93: "case-timeout"}),
    ("what converts a series crashes or takes all memory", "convert", "crash kill memory",
     {90: "input-crashed", 91: "input-crashed", 92: "memory-short"}),
    ("what de-identifies a series crashes or takes all memory", "deidentify", "crash kill memory",
     {90: "input-crashed", 91: "input-crashed", 92: "memory-short"}),
)  # fmt: skip


def faults_of_decoding(folder: Path, tally: Tally) -> None:
    """Let what reads some subjects end its process, in each command that reads; the others are done beside them."""
    source = folder / "deadly"
    for number in (*range(HEALTHY), 90, 91, 92, 93):
        subject(source, number)
    (folder / "planted").mkdir()
    (folder / "planted/sitecustomize.py").write_text(_DEADLY)
    (folder / "cluster.yaml").write_text(
        "format: curate-cluster/1\ncase_minutes: 1\nworkers: {kind: local, workers: 2, memory: 2 GiB}\n"
    )
    for name, command, how, wanted in DEADLY:
        workspace = folder / f"ws-{command}"
        room = {"index": "index", "build": "door"}.get(command, "export")
        struck = {"PYTHONPATH": str(folder / "planted"), "DEADLY": how, "DEADLY_IN": f"pipeline.{room}"}
        curate("init", workspace)
        if command in ("index", "build"):
            ended = built_or_indexed(command, source, workspace, struck)
            codes = {number: code_of_files(workspace, number) for number in wanted}
            off = made(workspace) - HEALTHY if command == "build" else healthy_files(workspace) - 12 * HEALTHY
            tally.say(name, ill_of(ended, 3 if command == "build" else 0, codes, wanted, off))
            continue
        out = folder / f"out-{command}"
        ended = curate(command, source, "-o", out, "-w", workspace, "--json", around=struck)
        refused = sorted(row["code"] for row in json.loads(ended.stdout)["refused"])
        off = len(list(out.rglob("*.nii.gz"))) + len(list(out.rglob("*.dcm"))) // 11 - HEALTHY - 1
        found, expected = dict(enumerate(refused)), dict(enumerate(sorted(wanted.values())))
        tally.say(name, ill_of(ended, 3, found, expected, off))
    again = curate("build", "-w", folder / "ws-build", "--workers", "2")
    whole = made(folder / "ws-build")
    left = [] if whole == HEALTHY + 4 else [f"{whole} cases"]
    tally.say("a build with such faults, run again without them", [*expect(0, again, "refused 0"), *left])


def built_or_indexed(
    command: str, source: Path, workspace: Path, struck: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Index, or build what was indexed in peace, with the faults planted."""
    if command == "index":
        return curate("index", source, "-w", workspace, around=struck)
    curate("index", source, "-w", workspace)
    curate("plan", "-w", workspace)
    return curate("build", "-w", workspace, "--cluster", workspace.parent / "cluster.yaml", around=struck)


def code_of_files(workspace: Path, number: int) -> str:
    """Return the code of a subject's files; of several, all."""
    rows = [row for row in fates(workspace) if f"subject{number}/" in row["path"]]
    return " ".join(sorted({row["code"] for row in rows}))


def healthy_files(workspace: Path) -> int:
    """Return how many files of healthy subjects nothing is wrong with."""
    return sum("subject0" in row["path"] and not row["code"] for row in fates(workspace))


def ill_of(
    ended: subprocess.CompletedProcess[str],
    code: int,
    codes: dict[int, str],
    wanted: dict[int, str],
    off: int,
) -> list[str]:
    """Return what of an ending is not as it should be: exit code, codes of what was struck, the healthy beside it."""
    faults = (
        [] if ended.returncode == code else [f"exit {ended.returncode}, wanted {code}: {ended.stderr[-300:]}"]
    )
    faults += [] if codes == wanted else [f"wanted {wanted}, found {codes}"]
    faults += [] if off == 0 else [f"{off} healthy ones more than there are"]
    is_named = "DOE" in ended.stderr or "subject9" in ended.stderr
    return faults + (["a name was said"] if is_named else [])


def fates(workspace: Path) -> list[dict[str, str]]:
    """Return the rows of fates.csv."""
    with (workspace / "private/fates.csv").open(
        encoding="utf-8", errors="surrogateescape", newline=""
    ) as stream:
        return list(csv.DictReader(stream))


def made(workspace: Path) -> int:
    """Return how many whole cases stand in the store."""
    return len(list(workspace.glob("store/??/[0-9a-f]*/record.json")))


def expect(code: int, ended: subprocess.CompletedProcess[str], word: str) -> list[str]:
    """Return what of an ending is not as it should be."""
    faults = [] if ended.returncode == code else [f"exit {ended.returncode}, wanted {code}"]
    return faults + ([] if word in ended.stderr else [f"{word} was not said: {ended.stderr[-300:]}"])


def faults_of_runs(folder: Path, tally: Tally) -> None:
    """Do to runs what happens to runs; afterwards the same line goes on to the end."""
    source, workspace = folder / "well", folder / "ws2"
    curate("init", workspace)
    for number in range(HEALTHY):
        subject(source, number)
    tally.say(
        "a source that is not there",
        expect(2, curate("index", folder / "none", "-w", workspace), "no-sources"),
    )
    held = subprocess.Popen([CURATE, "index", source, "-w", workspace], stderr=subprocess.DEVNULL)
    os.kill(held.pid, signal.SIGSTOP) if waited_for(workspace) else None
    second = curate("plan", "-w", workspace)
    tally.say("two runs at once", expect(2, second, f"process {held.pid} on"))
    held.kill()
    held.wait()
    again = curate("index", source, "-w", workspace)
    tally.say("an index killed in the middle, run again", expect(0, again, f"Indexed: {12 * HEALTHY} files"))
    curate("plan", "-w", workspace)
    full = curate("build", "-w", workspace, "--workers", "1", before=("prlimit", "--fsize=300"))
    code = full.returncode if full.returncode in (2, 3) else 3
    tally.say("no space for a file", expect(code, full, "disk-full"))
    if not os.geteuid() and shutil.which("unshare"):
        # Of a disk's own size, seen by this build alone.
        small = 'mount -t tmpfs -o size=32k none "$0" && exec "$@"'
        full = curate(
            "build", "-w", workspace, "--workers", "2",
            before=("unshare", "--mount", "sh", "-c", small, str(workspace / "store")), is_weak=False,
        )  # fmt: skip
        tally.say("a disk that is full", expect(3, full, "disk-full"))
    (workspace / "private/plan").chmod(0o500)
    tally.say(
        "a workspace that cannot be written", expect(2, curate("plan", "-w", workspace), "not-writable")
    )
    (workspace / "private/plan").chmod(0o700)
    killed = subprocess.Popen(
        [CURATE, "build", "-w", workspace, "--workers", "2"],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while made(workspace) < 1 and killed.poll() is None:
        time.sleep(0.02)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    (workspace / "store" / ".tmp-1-half").write_bytes(b"half")
    after = curate("build", "-w", workspace, "--workers", "2")
    left = [] if made(workspace) == HEALTHY else [f"{made(workspace)} of {HEALTHY} cases"]
    left += [str(path) for path in workspace.rglob(".tmp-*")]
    tally.say("a build killed with all its processes, run again", [*expect(0, after, "refused 0"), *left])


@dataclass
class Kept:
    """Commands that are started again whenever they end, as a service manager does."""

    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def up(self, *words: str) -> None:
        """Keep a command up."""
        line = ["sh", "-c", 'while true; do "$@"; sleep 0.5; done', "sh", *words]
        quiet = subprocess.DEVNULL
        self.processes.append(subprocess.Popen(line, stdout=quiet, stderr=quiet, start_new_session=True))

    def kill(self, number: int) -> None:
        """End what a command started; it comes back."""
        leader = self.processes[number].pid
        for process in session(leader):
            if process != leader:
                os.kill(process, signal.SIGKILL)

    def stop(self) -> None:
        """End all for good."""
        for process in self.processes:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def session(leader: int) -> dict[int, str]:
    """Return the command lines of the processes of a session."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int((folder / "stat").read_text().rpartition(")")[2].split()[3]) == leader:
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, IndexError):
            continue
    return found


def begun(workspace: Path, *where: str) -> subprocess.Popen[str]:
    """Start a build anew, and return it when it is at a case."""
    shutil.rmtree(workspace / "store")
    (workspace / "store").mkdir()
    build = subprocess.Popen(
        [CURATE, "build", "-w", str(workspace), *where],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    while build.poll() is None and not any((workspace / "private/crashes").glob("*.log")):
        time.sleep(0.01)
    return build


def ill_end(build: subprocess.Popen[str], workspace: Path, code: int = 0) -> list[str]:
    """Return what of a build's end is not as it should be: exit code, cases, leftovers."""
    said = build.communicate(timeout=600)[1]
    faults = [] if build.returncode == code else [f"exit {build.returncode}, wanted {code}: {said[-300:]}"]
    faults += [] if code or made(workspace) == HEALTHY else [f"{made(workspace)} of {HEALTHY} cases"]
    return faults + ([] if code else [str(path) for path in workspace.rglob(".tmp-*")])


def faults_of_clusters(folder: Path, tally: Tally) -> None:
    """Kill what makes cases, one after the other; each build ends well, or its rerun does."""
    workspace = folder / "ws2"
    build = begun(workspace, "--workers", "2")
    workers = [process for process, line in session(build.pid).items() if "spawn_main" in line]
    os.kill(workers[-1], signal.SIGKILL)
    tally.say("a worker killed, and another started by its nanny", ill_end(build, workspace))
    build = begun(workspace, "--workers", "2")
    build.kill()
    faults = ill_end(build, workspace, -signal.SIGKILL)
    again = curate("build", "-w", workspace, "--workers", "2")
    whole = [] if made(workspace) == HEALTHY else [f"{made(workspace)} cases"]
    tally.say("the command killed alone, run again", [*faults, *expect(0, again, "refused 0"), *whole])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    address, dask, kept = f"tcp://127.0.0.1:{port}", (sys.executable, "-m", "dask"), Kept()
    here = ("--dashboard-address", "127.0.0.1:0")
    worker = (
        *dask,
        "worker",
        address,
        "--host",
        "127.0.0.1",
        *here,
        "--nthreads",
        "1",
        "--no-dashboard",
        "--local-directory",
        str(folder),
    )
    try:
        kept.up(*dask, "scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard", *here)
        kept.up(*worker)
        # They leave in the middle, as at the end of a job's wall time.
        kept.up(*worker, "--lifetime", "8s", "--lifetime-stagger", "2s")
        time.sleep(5)
        build = begun(workspace, "--scheduler", address)
        kept.kill(0)
        tally.say("a scheduler killed, and started again", ill_end(build, workspace))
        kept.kill(1)
        build = begun(workspace, "--scheduler", address)
        tally.say("workers whose time is up", ill_end(build, workspace))
    finally:
        kept.stop()


def faults_of_hosts(tally: Tally) -> None:
    """Run what needs several hosts, as the tests make them on this machine."""
    for name, test in (
        ("a cable cut between two hosts", "cable"),
        ("jobs at the end of their wall time", "wall_time"),
    ):
        line = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:xdist",
            "-rs",
            str(ROOT / "tests/test_hosts.py"),
            "-k",
            test,
        ]
        ended = subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT)
        is_well = ended.returncode == 0 and "SKIPPED" not in ended.stdout
        tally.say(name, [] if is_well else [ended.stdout[-300:]])


def waited_for(workspace: Path) -> bool:
    """Wait until somebody holds the workspace."""
    for _ in range(500):
        if (workspace / "runs/now.json").exists():
            return True
        time.sleep(0.01)
    return False


def main() -> int:
    """Return 0 when all is as it should be."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--keep", type=Path, help="Work here and leave all there.")
    asked = words.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="faults-")) if asked.keep is None else asked.keep
    tally = Tally()
    try:
        faults_of_sources(folder, tally)
        faults_of_decoding(folder, tally)
        faults_of_runs(folder, tally)
        faults_of_clusters(folder, tally)
        faults_of_hosts(tally)
    finally:
        if asked.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{tally.well} of {tally.well + tally.ill}")
    return 1 if tally.ill else 0


if __name__ == "__main__":
    sys.exit(main())
