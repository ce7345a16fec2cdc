"""The files of a release: opened with care, hashed, and compared with SHA256SUMS."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO

from pipeline.audit.report import Run, Spot, failure, reporting
from pipeline.model.errors import UsageError

DOCUMENT_LIMIT = 64 * 2**20
"""Largest JSON document or manifest line that is read, in bytes; 2,000 slices need a quarter of a MiB."""


CHUNK = 2**18


def release_files(release: Path) -> dict[str, Path]:
    """Return name -> path of every file in the release, links included.

    Raises
    ------
    UsageError
        If the folder is none, or holds nothing that a release has.
    """
    if not release.is_dir():
        raise UsageError("bad-usage", wanted="a release folder", found="no folder", where="the release given")
    files = {
        path.relative_to(release).as_posix(): path
        for path in sorted(release.rglob("*"))
        if path.is_symlink() or not path.is_dir()
    }
    if not any(name in ("release.json", "SHA256SUMS") or name.endswith(".manifest.jsonl") for name in files):
        raise UsageError(
            "bad-usage",
            wanted="release.json, SHA256SUMS and manifests",
            found="none of them",
            where="the release given",
        )
    return files


def opened(files: Mapping[str, Path], name: str) -> BinaryIO:
    """Open a plain file of the release.

    Raises
    ------
    EvidenceError
        If it is not there, or is a link or device.
    """
    path = files.get(name)
    if path is None:
        raise failure("the file", "none")
    if path.is_symlink() or not path.is_file():
        raise failure("a plain file", "a link or device")
    return path.open("rb")


def content_of(files: Mapping[str, Path], name: str) -> bytes:
    """Return a document of the release, up to `DOCUMENT_LIMIT` bytes."""
    with opened(files, name) as stream:
        # A read of up to the limit would set that much memory aside.
        content = b"".join(
            itertools.islice(iter(lambda: stream.read(CHUNK), b""), DOCUMENT_LIMIT // CHUNK + 1)
        )
    if len(content) > DOCUMENT_LIMIT:
        raise failure(f"at most {DOCUMENT_LIMIT} bytes", "more")
    return content


def hashed(stream: IO[bytes], limit: int | None = None) -> str:
    """Return the hex SHA-256 of a stream, or of one byte more than the limit."""
    digest, left = hashlib.sha256(), -1 if limit is None else limit + 1
    while left and (block := stream.read(CHUNK if left < 0 else min(CHUNK, left))):
        digest.update(block)
        left -= len(block) if left > 0 else 0
    return digest.hexdigest()


def check_files(files: Mapping[str, Path], tasks: Sequence[Mapping[str, Any]], run: Run) -> None:
    """Compare every file with SHA256SUMS; say of a TAR or manifest whether some task claims it."""
    sums: dict[str, str] = {}
    spot = Spot(run, "SHA256SUMS")
    with reporting(spot, "release"):
        sums = _read_sums(content_of(files, "SHA256SUMS"), spot)
    claims = {part["file"]: part["digest"] for entry in tasks for part in (entry["tar"], entry["manifest"])}
    for name in sorted(set(sums) - set(files)):
        spot.at(name).report("release", wanted="a file for each line", found="none")
    for name in sorted(set(files) - {"SHA256SUMS"}):
        with reporting(Spot(run, name), "release"):
            _check_file(name, files, sums, claims, run)


def _check_file(
    name: str, files: Mapping[str, Path], sums: Mapping[str, str], claims: Mapping[str, str], run: Run
) -> None:
    spot = Spot(run, name)
    if name.endswith((".tar", ".manifest.jsonl")) and name not in claims:
        spot.report("release", wanted="only what release.json names", found="another TAR or manifest")
    if name not in run.digests:
        with opened(files, name) as stream:
            run.digests[name] = hashed(stream)
    found = run.digests[name]
    if name not in sums:
        spot.report("release", wanted="a line in SHA256SUMS", found="none")
    elif sums[name] != found and (claims.get(name) == f"sha256:{found}" or _is_near(sums[name], found)):
        # Two against one, or a digit astray: the sum is wrong, not the file.
        Spot(run, "SHA256SUMS", name).report("release", wanted=f"the file's digest {found}", found=sums[name])
    elif sums[name] != found:
        spot.report("release", wanted=f"the digest in SHA256SUMS, {sums[name]}", found=found)


def _is_near(one: str, other: str) -> bool:
    """Whether two digests differ in a few digits only: a changed file's digest differs in nearly all."""
    return sum(a != b for a, b in zip(one, other, strict=True)) <= 8


def _read_sums(content: bytes, spot: Spot) -> dict[str, str]:
    """Return file name -> hex digest of the lines that `sha256sum -c` would read."""
    sums: dict[str, str] = {}
    lines = content.split(b"\n")
    if lines.pop() != b"":
        spot.report("release", wanted="a newline at the end", found="none")
    for number, line in enumerate(lines, 1):
        parts = re.fullmatch(rb"([0-9a-f]{64})  ([!-~]+)", line)
        if parts is None:
            spot.at(f"line {number}").report(
                "release", wanted="digest, two spaces, name", found="another line"
            )
        else:
            sums[parts[2].decode("ascii")] = parts[1].decode("ascii")
    if list(sums) != sorted(sums) or len(sums) != len(lines):
        spot.report("release", wanted="each file once, sorted by name", found="another order or number")
    return sums


def lines_of(stream: BinaryIO) -> Iterator[bytes]:
    """Yield lines with their newline; a line beyond the limit ends the walk."""
    while line := stream.readline(DOCUMENT_LIMIT):
        if len(line) == DOCUMENT_LIMIT and not line.endswith(b"\n"):
            raise failure(f"lines of at most {DOCUMENT_LIMIT} bytes", "a longer one")
        yield line
