"""The TAR, once, from front to back."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pipeline.audit.claims import Manifest
from pipeline.audit.dataset import audit_dataset
from pipeline.audit.digesting import Digest, digesting
from pipeline.audit.files import CHUNK, DOCUMENT_LIMIT, opened
from pipeline.audit.members import Member, Walk, audit_nifti
from pipeline.audit.report import Spot, failure, reporting


class _Tape:
    """A file read from front to back, with the digest and the number of the bytes that went by."""

    def __init__(self, stream: BinaryIO, digest: Digest) -> None:
        self._stream = stream
        self.digest = digest
        self.position = 0

    def take(self, size: int) -> bytes:
        """Return exactly `size` bytes.

        Raises
        ------
        EvidenceError
            If the file ends before.
        """
        content = self._stream.read(size)
        self.digest.update(content)
        self.position += len(content)
        if len(content) != size:
            raise failure(
                f"{size} more bytes at byte {self.position - len(content)}", f"{len(content)} bytes"
            )
        return content

    def rest(self) -> Iterator[bytes]:
        """Yield what is left, block by block."""
        while block := self._stream.read(CHUNK):
            self.digest.update(block)
            self.position += len(block)
            yield block


_BLOCK = 512


_ZEROS = bytes(_BLOCK)


_TAR_NUMBERS = (("mode", 100, 8, 0o644), ("uid", 108, 8, 0), ("gid", 116, 8, 0), ("mtime", 136, 12, 0),
                ("devmajor", 329, 8, 0), ("devminor", 337, 8, 0))  # fmt: skip


_TAR_TEXTS = (("typeflag", 156, b"0"), ("linkname", 157, bytes(100)), ("magic", 257, b"ustar\x0000"),
              ("uname", 265, bytes(32)), ("gname", 297, bytes(32)), ("prefix", 345, bytes(155)),
              ("filling", 500, bytes(12)))  # fmt: skip
"""Fields of a USTAR header (POSIX.1-1988): name, place, and what every member of a release has there."""


def audit_tar(manifest: Manifest, entry: Mapping[str, Any], files: Mapping[str, Path], spot: Spot) -> None:
    """Walk through a TAR once; compare it with release.json and each member with its line."""
    with opened(files, spot.file) as stream, digesting() as digester:
        walk = Walk(manifest, _wanted_members(manifest), digester)
        tape = _Tape(stream, digester.digest())
        with reporting(spot, "package"):
            _walk_tar(tape, walk, spot)
        for _ in tape.rest():
            pass
        digest = tape.digest.hexdigest()
    spot.run.digests[spot.file] = digest
    spot.run.counts.update(tars=1, bytes=tape.position, members=len(walk.seen))
    spot.expect("package", "the digest in release.json,", wanted=entry["digest"], found=f"sha256:{digest}")
    spot.expect("package", "the size in release.json,", wanted=entry["size"], found=tape.position)
    for name in sorted(set(walk.wanted) - walk.seen):
        spot.at(name, walk.wanted[name].case).report(
            "package", wanted="the member of a manifest line", found="none"
        )


def _wanted_members(manifest: Manifest) -> dict[str, Member]:
    wanted = {
        name: Member(claim.size, claim.file, claim.case, claim) for name, claim in manifest.claims.items()
    }
    if manifest.header:
        dataset = manifest.header["dataset"]
        wanted[dataset["member"]] = Member(dataset["size"], dataset["digest"], "", None)
    return wanted


def _walk_tar(tape: _Tape, walk: Walk, spot: Spot) -> None:
    while (block := tape.take(_BLOCK)) != _ZEROS:
        spot.run.go_on()
        name, size = _member_of(block, walk, spot)
        here = spot.at(name, walk.wanted[name].case if name in walk.wanted else "")
        if name.encode() <= walk.last.encode():
            here.report("package", wanted=f"a name after {walk.last}", found=name)
        walk.last = name
        _audit_member(tape, name, size, walk, here)
        if any(tape.take(-size % _BLOCK)):
            here.report("package", wanted="zeros up to the next block", found="other bytes")
    _check_end(tape, spot.at("end of archive"))


def _member_of(block: bytes, walk: Walk, spot: Spot) -> tuple[str, int]:
    """Return name and size of the member that a header block announces; report what is wrong in the block.

    Where the block's checksum fails, the member is taken for the wanted one whose name is nearest, with the
    size that the manifest gives, so that the walk goes on behind one damaged header.
    """
    text, _, filling = block[:100].partition(b"\x00")
    name, size = text.decode("ascii", "backslashreplace"), _octal(block[124:136])
    if block[148:156] != _checksum(block):
        name = _nearest(block, walk)
        size = walk.wanted[name].size
        here = spot.at(name, walk.wanted[name].case)
        here.report("package", wanted="a header block with its checksum", found="a damaged one")
    else:
        here = spot.at(name, walk.wanted[name].case if name in walk.wanted else "")
    if size < 0 or any(filling) or not text.isascii():
        here.report("package", wanted="an ASCII name and an octal size", found="other bytes")
    for what, place, width, wanted in _TAR_NUMBERS:
        here.expect("package", what, wanted=oct(wanted), found=oct(_octal(block[place : place + width])))
    for what, place, content in _TAR_TEXTS:
        found = block[place : place + len(content)]
        here.expect("package", what, wanted=content.rstrip(b"\x00"), found=found.rstrip(b"\x00"))
    return name, max(size, 0)


def _octal(content: bytes) -> int:
    """Return the number in a header field, -1 when it is none."""
    digits = content.rstrip(b"\x00 ")
    return int(digits or b"0", 8) if re.fullmatch(rb"[0-7]*", digits) else -1


def _checksum(block: bytes) -> bytes:
    # The checksum counts its own field as blanks.
    return b"%06o\x00 " % (sum(block) - sum(block[148:156]) + 8 * 0x20)


def _nearest(block: bytes, walk: Walk) -> str:
    names = sorted(set(walk.wanted) - walk.seen)
    if names:
        field_of = np.array(names, dtype="S100").view(np.uint8).reshape(len(names), 100)
        differing = (field_of != np.frombuffer(block[:100], dtype=np.uint8)).sum(axis=1)
        if differing.min() <= 4:
            return names[int(differing.argmin())]
    raise failure("a header block or the end of the archive", "a block that is neither")


def _check_end(tape: _Tape, spot: Spot) -> None:
    if tape.take(_BLOCK) != _ZEROS or any(any(block) for block in tape.rest()):
        spot.report("package", wanted="zeros from the first zero block on", found="other bytes")
    if tape.position % _BLOCK:
        spot.report("package", wanted=f"whole blocks of {_BLOCK} bytes", found=f"{tape.position} bytes")


def _audit_member(tape: _Tape, name: str, size: int, walk: Walk, spot: Spot) -> None:
    digest = walk.digester.digest()
    pieces = _pieces(tape, size, digest)
    member = walk.wanted.get(name)
    if member is None:
        spot.report("package", wanted="a member that a manifest line explains", found="none")
    elif name in walk.seen:
        spot.report("package", wanted="each member once", found="a second one")
    else:
        walk.seen.add(name)
        spot.expect("package", "a size of", wanted=member.size, found=size)
        with reporting(spot, "package"):
            if member.claim is None:
                audit_dataset(
                    b"".join(itertools.islice(pieces, DOCUMENT_LIMIT // CHUNK)), walk.manifest, spot
                )
            else:
                audit_nifti(pieces, member.claim, walk, spot)
    # Whatever the content's audit left unread still counts in the digests.
    for _ in pieces:
        pass
    if member is not None:
        found = f"sha256:{digest.hexdigest()}"
        spot.expect("package", "the digest in the manifest,", wanted=member.digest, found=found)


def _pieces(tape: _Tape, size: int, digest: Digest) -> Iterator[bytes]:
    while size:
        piece = tape.take(min(size, CHUNK))
        digest.update(piece)
        size -= len(piece)
        yield piece
