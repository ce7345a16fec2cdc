"""Run every command over planted studies, sound and spoilt, and look for each identifier in all that is left or said.

    python benchmarks/deid/everywhere.py [--seed N] [--keep DIR]

Besides the studies of `study.py` there is one for each way in which a study fails: in the index, in the plan, at the
door, for its pixels, in conversion, for its label. Names are also planted in what no release has business with: owners
and members of archives, comments of archives and of reviewers, the user, the folder for temporary files. What is
looked through: every file outside of the folders that are private, packed ones unpacked, the pages, logs and pictures
among them; what each command says, in a pipe and on a terminal; and each page that a Dask scheduler serves while it
works. The exit code is 1 if anything is found.
"""

from __future__ import annotations

import argparse
import base64
import fcntl
import gzip
import json
import os
import pty
import re
import shutil
import socket
import struct
import subprocess
import sys
import tarfile
import tempfile
import termios
import urllib.request
import zipfile
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from threading import Thread
from urllib.parse import urljoin

import nibabel as nib
import numpy as np
import pydicom
from plant import Inventor, Planted
from pydicom.encaps import encapsulate
from pydicom.uid import MPEG4HP41
from study import SHAPE, TASK, Finder, _environment, _nifti, _series, write_studies

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from lettered import burned
from reviewing import file_of, records

from pipeline.io.workspace import Workspace

PAGES = 200
"""Pages of one server that are looked at in one round."""

PRIVATE = {"private"}
"""Folders that may hold identity, wherever they are."""

_CONTROL = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]")
_LINK = re.compile(rb'href="([^"#]+)')
_INLINE = re.compile(rb"base64,([A-Za-z0-9+/=]{16,})")

Spoil = Callable[[Path, Inventor], None]


def _files(study: Path) -> list[Path]:
    return sorted(path for path in study.rglob("*.dcm"))


def _rewritten(study: Path, change: Callable[[pydicom.Dataset, int], None], number: int = -1) -> None:
    """Write one image of a study anew, or all."""
    files = _files(study)
    for place, path in enumerate(files) if number < 0 else [(number, files[number])]:
        dataset = pydicom.dcmread(path)
        change(dataset, place)
        dataset.save_as(path)


def _label(study: Path) -> Path:
    return next(study.glob("label-*"))


def _relabelled(study: Path, shape: tuple[int, ...], value: int) -> None:
    """Write a mask anew, of another shape or with another value, under the name that it had."""
    image = nib.Nifti1Image.from_bytes(gzip.decompress(_label(study).read_bytes()))
    mask = np.zeros(shape, np.uint8)
    mask[10:20, 8:16, 3:6] = value
    _label(study).write_bytes(gzip.compress(nib.Nifti1Image(mask, image.affine, image.header).to_bytes()))


def _lettered(study: Path, invent: Inventor) -> None:
    """Burn a name into every image; in no byte does it stand as text."""
    name = invent.name("burned into the pixels")

    def burn(dataset: pydicom.Dataset, place: int) -> None:
        dataset.Rows, dataset.Columns = 96, 160
        frame = (
            np.random.Generator(np.random.PCG64(place)).integers(900, 1000, (1, 96, 160)).astype(np.uint16)
        )
        dataset.PixelData = burned(frame, text=name, value=1900)[0].tobytes()

    _rewritten(study, burn)
    _label(study).unlink()
    _relabel_missing(study)


def _relabel_missing(study: Path) -> None:
    mask = np.zeros((160, 96, SHAPE[0]), np.uint8)
    mask[10:20, 8:16, 3:6] = 1
    image = nib.Nifti1Image(mask, np.diag([-0.7, -0.7, 2.5, 1.0]))
    (study / "label-1.nii.gz").write_bytes(gzip.compress(image.to_bytes()))


def _cut(path: Path, share: float = 0.5) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def _set(keyword: str, value: object, number: int = -1) -> Spoil:
    def spoil(study: Path, invent: Inventor) -> None:
        _rewritten(study, lambda dataset, _: setattr(dataset, keyword, value), number)

    return spoil


def _no_more(*keywords: str) -> Spoil:
    def spoil(study: Path, invent: Inventor) -> None:
        _rewritten(study, lambda dataset, _: [dataset.pop(keyword, None) for keyword in keywords] and None)

    return spoil


def _syntax(study: Path, invent: Inventor) -> None:
    def change(dataset: pydicom.Dataset, place: int) -> None:
        dataset.file_meta.TransferSyntaxUID = MPEG4HP41
        dataset.PixelData = encapsulate([dataset.PixelData])
        dataset["PixelData"].is_undefined_length = True

    _rewritten(study, change)


SPOILS: dict[str, Spoil] = {
    "a slice missing": lambda study, _: _files(study)[5].unlink(),
    "a file cut off": lambda study, _: _cut(_files(study)[4]),
    "pixels cut off": lambda study, _: _cut(_files(study)[4], 0.98),
    "no orientation": _no_more("ImageOrientationPatient"),
    "no patient": _no_more("PatientID", "PatientName"),
    "other orientation in one": _set("ImageOrientationPatient", ["0", "1", "0", "1", "0", "0"], 3),
    "other rescale in one": _set("RescaleSlope", "1.7", 3),
    "rescale that is no number": _set("SamplesPerPixel", 3, 2),
    "video": _syntax,
    "text in pixels": _lettered,
    "label of another grid": lambda study, _: _relabelled(study, (40, 30, 11), 1),
    "label of another value": lambda study, _: _relabelled(study, SHAPE[::-1], 7),
    "label of nothing": lambda study, _: _relabelled(study, SHAPE[::-1], 0),
    "label cut off": lambda study, _: _cut(_label(study)),
    "gone after the plan": lambda study, _: None,
    "changed after the plan": lambda study, _: None,
}
"""How studies are spoilt, so that each part of the way refuses one."""


@dataclass(slots=True)
class Scene:
    """The folders of a run: sources, the desk where commands work, a folder for temporary files; what was said."""

    root: Path
    planted: list[Planted] = field(default_factory=list)
    spoilt: dict[str, Path] = field(default_factory=dict)
    user: str = ""
    scratch: Path = Path()
    said: list[bytes] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)

    @property
    def desk(self) -> Path:
        """Where commands work."""
        return self.root / "desk"

    @property
    def studies(self) -> Path:
        """The planted sources."""
        return self.root / "studies"


def scene(root: Path, seed: int) -> Scene:
    """Write the studies and what lies beside them."""
    made = Scene(root)
    made.desk.mkdir(parents=True)
    whole = write_studies(made.studies, seed)
    for number, (name, spoil) in enumerate(SPOILS.items()):
        random = np.random.Generator(np.random.PCG64([seed, 2000 + number]))
        invent = Inventor(random)
        study = made.studies / TASK / invent.name("study folder")
        slices = _series(study / invent.name("series folder"), random, invent)
        mask = np.zeros(SHAPE, np.uint8)
        mask[4:8, 8:20, 10:30] = 1
        _nifti(study, slices, mask, invent)
        spoil(study, invent)
        made.spoilt[name] = study
        whole += invent.planted
    invent = Inventor(np.random.Generator(np.random.PCG64([seed, 3000])))
    _beside(made, invent)
    made.planted = [*whole, *invent.planted]
    return made


def _beside(made: Scene, invent: Inventor) -> None:
    """Put one study into a TAR, one into a ZIP, a letter beside them; invent who works here."""
    first, second = sorted(
        path for path in (made.studies / TASK).iterdir() if path not in made.spoilt.values()
    )[:2]
    with tarfile.open(made.studies / TASK / f"{invent.name('name of a TAR')}.tar.gz", "w:gz") as archive:
        for path in sorted(path for path in first.rglob("*") if path.is_file()):
            info = archive.gettarinfo(path, path.relative_to(made.studies).as_posix())
            info.uname, info.gname = invent.name("owner in a TAR"), invent.name("group in a TAR")
            info.pax_headers = {"comment": invent.name("comment in a TAR")}
            with path.open("rb") as stream:
                archive.addfile(info, stream)
    with zipfile.ZipFile(made.studies / TASK / f"{invent.name('name of a ZIP')}.zip", "w") as packed:
        packed.comment = invent.name("comment of a ZIP").encode()
        for path in sorted(path for path in second.rglob("*") if path.is_file()):
            member = zipfile.ZipInfo(path.relative_to(made.studies).as_posix())
            member.comment = invent.name("comment in a ZIP").encode()
            packed.writestr(member, path.read_bytes())
    shutil.rmtree(first)
    shutil.rmtree(second)
    letter = made.studies / f"{invent.name('name of a letter')}.txt"
    letter.write_text(f"Dear {invent.name('text of a letter')}, {invent.number('number in a letter')}")
    made.user = invent.name("user")
    made.scratch = made.root / invent.name("folder for temporary files")
    made.scratch.mkdir()


def curate(made: Scene, *words: str, is_terminal: bool = False) -> None:
    """Run the command and keep what it said and how it ended."""
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", *words]
    if is_terminal:
        said, code = _on_terminal(command, made.desk, {**environment(made), "TERM": "xterm-256color"})
    else:
        done = subprocess.run(command, cwd=made.desk, capture_output=True, check=False, env=environment(made))
        said, code = done.stdout + done.stderr, done.returncode
    made.said.append(said)
    made.codes[f"{words[0]} {code}"] += 1


def environment(made: Scene) -> dict[str, str]:
    """Return what commands run in: somebody's account."""
    own = {"USER": made.user, "LOGNAME": made.user, "HOME": str(made.scratch), "TMPDIR": str(made.scratch)}
    return {**_environment(), **own}


def _on_terminal(command: Sequence[str], folder: Path, environment: dict[str, str]) -> tuple[bytes, int]:
    """Run a command in a terminal of 400 columns and return all that it drew there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 400, 0, 0))
    running = subprocess.Popen(
        command,
        cwd=folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
        start_new_session=True,
    )
    os.close(theirs)
    drawn = b""
    try:
        while piece := os.read(ours, 2**16):
            drawn += piece
    except OSError:
        # A terminal that nobody writes to any more says so by an error.
        pass
    os.close(ours)
    return drawn, running.wait()


def run(made: Scene) -> None:
    """Call every command, most of them as they are called, some on a terminal, some for JSON."""
    source = str(made.studies)

    def both(*words: str) -> None:
        curate(made, *words)
        curate(made, *words, "--json")

    curate(made, "init", "ws")
    curate(made, "index", source, "-w", "ws", is_terminal=True)
    curate(made, "plan", "-w", "ws", "--proposal", "ws/private/proposal.csv", is_terminal=True)
    gone, changed = (_files(made.spoilt[f"{how} after the plan"])[3] for how in ("gone", "changed"))
    kept = {path: path.read_bytes() for path in (gone, changed)}
    gone.unlink()
    _cut(changed, 0.9)
    curate(made, "build", "-w", "ws", is_terminal=True)
    # What is packed is held against the sources: they have to be there again.
    for path, content in kept.items():
        path.write_bytes(content)
    both("build", "-w", "ws", "--workers", "1")
    both("review", "-w", "ws")
    _decide(made)
    both("review", "apply", "ws/private/said.json", "-w", "ws")
    curate(made, "review", "-w", "ws")
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "ed25519", "-out", made.desk / "sign.pem"], check=True
    )
    (made.desk / "sign.pem").chmod(0o600)
    curate(made, "pack", "-w", "ws", "-r", "release", "--sign", "sign.pem", "--bag", "bag", is_terminal=True)
    curate(made, "audit", "release", "-w", "ws", "--privacy", "officer", "--recompute", "1")
    curate(made, "audit", "release", "--json")
    curate(made, "audit", "release", "-w", "ws", is_terminal=True)
    both("status", "-w", "ws")
    both("doctor", "-w", "ws")
    both("compare", "release", "release", "--html", "compared.html")
    curate(made, "rebuild", "release", source, "-w", "ws", "--workers", "1", is_terminal=True)
    both("convert", source, "-w", "ws", "--labels", "--dry-run")
    curate(made, "convert", source, "-o", "volumes", "-w", "ws", "--labels", "--resample", is_terminal=True)
    curate(made, "convert", source, "-o", "faceless", "-w", "ws", "--face", "refuse", "--json")
    curate(made, "deidentify", source, "-o", "clean", "-w", "ws", is_terminal=True)
    curate(made, "rules", "explain", "deid")
    curate(made, "rules", "explain", TASK)
    curate(made, "init", "other")
    both("release", source, "-w", "other", "-r", "again", "-t", TASK, "--allow-refusals", "99")


def _decide(made: Scene) -> None:
    """Write what a reviewer saves, with names where a reviewer may write."""
    invent = Inventor(np.random.Generator(np.random.PCG64(len(made.planted))))
    workspace = Workspace((made.desk / "ws").resolve())
    said = dict.fromkeys(records(workspace, TASK), ("accept", "fit"))
    document = file_of(workspace, TASK, said)
    for decision in document["decisions"]:
        decision["comment"] = invent.name("comment of a reviewer")
    # It names people: whoever saves it keeps it as private as the workspace's own.
    (made.desk / "ws" / "private" / "said.json").write_text(json.dumps(document))
    made.planted += invent.planted


def watched_build(made: Scene) -> None:
    """Build on a scheduler that was started by hand, and keep each page that it and its worker serve meanwhile."""
    curate(made, "init", "third")
    curate(made, "index", str(made.studies), "-w", "third")
    curate(made, "plan", "-w", "third")
    ports = _free_ports(3)
    dask, here = [sys.executable, "-m", "dask"], "127.0.0.1"
    address = f"tcp://{here}:{ports[0]}"
    pages = [f"http://{here}:{port}" for port in ports[1:]]
    words: tuple[list[str], ...] = (
        ["scheduler", "--host", here, "--port", str(ports[0]), "--dashboard-address", f"{here}:{ports[1]}"],
        [
            "worker", address, "--nthreads", "1", "--dashboard-address", f"{here}:{ports[2]}",
            # A worker's page names the folder that it was given.
            "--local-directory", "dask",
        ],
    )  # fmt: skip
    with ExitStack() as started:
        for one in words:
            served = subprocess.Popen(
                [*dask, *one],
                cwd=made.desk,
                env=environment(made),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            started.callback(lambda served=served: made.said.append(served.communicate()[0]))
            started.callback(served.terminate)
        build = Thread(target=curate, args=(made, "build", "-w", "third", "--scheduler", address))
        build.start()
        while build.is_alive():
            for page in pages:
                made.said += _crawled(page)
            build.join(0.2)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


def _crawled(root: str) -> Iterator[bytes]:
    """Yield the pages of a Dask server: those known by name, and those that they lead to."""
    wanted = deque(
        ["/info/main/workers.html", "/info/logs.html", "/json/identity.json", "/json/counts.json", "/metrics"]
    )
    seen: set[str] = set(wanted)
    while wanted and len(seen) < PAGES:
        page = wanted.popleft()
        try:
            with urllib.request.urlopen(root + page, timeout=5) as answer:
                content = answer.read()
        except (OSError, ValueError):
            # Not every server has every page; one that is about to start or to end has none.
            continue
        yield page.encode() + b"\n" + content
        links = {urljoin(page, link.decode()) for link in _LINK.findall(content)}
        wanted += sorted(link for link in links - seen if link.startswith("/"))
        seen |= links


def looked_through(made: Scene) -> Iterator[tuple[str, bytes]]:
    """Yield all that is left or was said, each with where: names, files that are not private, what is packed."""
    for root in (made.desk, made.scratch):
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            name = path.relative_to(root)
            if not PRIVATE.intersection(name.parts):
                yield from unpacked(name.as_posix(), path.read_bytes())
    for number, said in enumerate(made.said):
        yield f"said, {number}", said
        # On a terminal a name may be broken by what moves the cursor.
        yield f"said, {number}, without control characters", _CONTROL.sub(b"", said)


def unpacked(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield a file's name and bytes, and what is packed in it: gzip, TAR, ZIP, PNG, pictures within a page."""
    yield name, name.encode("utf-8", "surrogateescape") + b"\n" + content
    if content.startswith(b"\x1f\x8b"):
        yield from unpacked(f"{name}, inflated", gzip.decompress(content))
    elif content[257:262] == b"ustar":
        with tarfile.open(fileobj=BytesIO(content)) as archive:
            for member in archive:
                stream = archive.extractfile(member)
                yield from unpacked(f"{name}/{member.name}", b"" if stream is None else stream.read())
    elif content.startswith(b"PK"):
        with zipfile.ZipFile(BytesIO(content)) as packed:
            for info in packed.infolist():
                yield from unpacked(f"{name}/{info.filename}", packed.read(info))
    elif content.startswith(b"\x89PNG"):
        yield f"{name}, inflated", b"\n".join(_chunks_of(content))
    for inline in _INLINE.findall(content):
        yield from unpacked(f"{name}, inline", base64.b64decode(inline))


def _chunks_of(picture: bytes) -> Iterator[bytes]:
    """Yield a PNG's pixels and its texts, inflated."""
    place, pixels = 8, b""
    while place + 8 <= len(picture):
        (size,), kind = struct.unpack(">I", picture[place : place + 4]), picture[place + 4 : place + 8]
        body = picture[place + 8 : place + 8 + size]
        pixels += body if kind == b"IDAT" else b""
        if kind in (b"zTXt", b"iTXt"):
            begin = body.find(b"x\x9c")
            yield zlib.decompress(body[begin:]) if begin >= 0 else body
        place += size + 12
    yield zlib.decompress(pixels)


def findings(made: Scene) -> dict[str, Counter[str]]:
    """Return what survived, by place."""
    finder = Finder(made.planted)
    found = {
        place: Counter(kind for _, kind in finder.kinds(content)) for place, content in looked_through(made)
    }
    return {place: kinds for place, kinds in found.items() if kinds}


def refusals(made: Scene) -> set[str]:
    """Return the codes by which cases and files were refused."""
    records = [json.loads(path.read_bytes())["code"] for path in sorted(made.desk.glob("*/refusals/*.json"))]
    fates = b"\n".join(path.read_bytes() for path in sorted(made.desk.rglob("fates.csv")))
    return {*records, *(code.decode() for code in re.findall(rb",refused,([a-z-]+)", fates))}


def main() -> int:
    """Print what was planted, what commands ended with, and what was found where."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave everything here")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = scene(words.keep or Path(folder), words.seed)
        run(made)
        watched_build(made)
        found = findings(made)
        read = [len(content) for _, content in looked_through(made)]
        print("ended with:", dict(made.codes))
        print("refused by:", *sorted(refusals(made)))
    for place, kinds in found.items():
        print(f"{place}: {dict(kinds)}")
    print(f"{len(made.planted)} identifiers of {len({one.kind for one in made.planted})} kinds;", end=" ")
    print(f"{sum(read) / 2**20:.0f} MiB in {len(read)} places; {len(found)} places with one")
    return int(bool(found))


if __name__ == "__main__":
    raise SystemExit(main())
