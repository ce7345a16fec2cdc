"""Every byte of a release in zones: what is text, what is voxels, and of which case."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

_BLOCK = 512
_HEADER = 352
"""Bytes of a NIfTI-1 header with its extension flags."""

CHUNK = 8 * 2**20
"""Bytes of a zone that are in memory at once; zones of one member overlap by `OVERLAP`."""

OVERLAP = 256


@dataclass(frozen=True, slots=True)
class Zone:
    """Released bytes: the file, what in it, the case that they are of (empty: of none), and whether they are voxels."""

    file: str
    member: str
    case: str
    content: bytes
    is_voxels: bool = False


def release_zones(release: Path) -> Iterator[Zone]:
    """Yield all of a release folder, the names of its files too."""
    for path in sorted(path for path in release.rglob("*") if path.is_file()):
        yield from file_zones(path, path.relative_to(release).as_posix())


def file_zones(path: Path, name: str) -> Iterator[Zone]:
    """Yield the zones of one released file by the form that its name says it has."""
    yield Zone(name, "its name", "", name.encode("utf-8", "surrogateescape"))
    with path.open("rb") as stream:
        if name.endswith(".tar"):
            yield from _tar_zones(stream, name)
        elif name.endswith(".gz"):
            yield from _gzip_zones(_chunks(stream, None), name, "", "")
        elif name.endswith(".jsonl"):
            for number, line in enumerate(stream, 1):
                yield Zone(name, f"line {number}", _case_of_line(line), line)
        else:
            yield from _plain_zones(_chunks(stream, None), Zone(name, "", "", b""))


def _case_of_line(line: bytes) -> str:
    try:
        document = json.loads(line)
        return f"{document['task']}/{document['case']}" if document["case"] else ""
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def _chunks(stream: BinaryIO, size: int | None) -> Iterator[bytes]:
    """Yield the next `size` bytes, or all that follow, in chunks."""
    left = size
    while left is None or left > 0:
        chunk = stream.read(CHUNK if left is None else min(CHUNK, left))
        if not chunk:
            return
        left = None if left is None else left - len(chunk)
        yield chunk


def _plain_zones(chunks: Iterable[bytes], like: Zone) -> Iterator[Zone]:
    """Yield chunks as zones, each with the end of the one before it."""
    tail = b""
    for chunk in chunks:
        yield Zone(like.file, like.member, like.case, tail + chunk, like.is_voxels)
        tail = (tail + chunk)[-OVERLAP:]


def _tar_zones(stream: BinaryIO, file: str) -> Iterator[Zone]:
    """Yield headers, members and paddings, whatever they hold; a header that is none ends the walk in a plain zone."""
    task = PurePosixPath(file).name.partition(".")[0]
    while block := stream.read(_BLOCK):
        size = _size_of(block)
        name = block[:100].partition(b"\0")[0].decode("utf-8", "replace")
        case = case_of_member(task, name)
        yield Zone(file, f"header of {name}" if name.isascii() else "a header", case, block)
        if size is None:
            yield from _plain_zones(_chunks(stream, None), Zone(file, "rest", "", b""))
            return
        yield from member_zones(_chunks(stream, size), file, name, case)
        yield Zone(file, f"padding of {name}", case, stream.read(-size % _BLOCK))


def _size_of(block: bytes) -> int | None:
    """Return the size in a USTAR header block, 0 for a block of zeros, None when there is none."""
    digits = block[124:136].strip(b"\0 ")
    return int(digits or b"0", 8) if re.fullmatch(rb"[0-7]*", digits) and len(block) == _BLOCK else None


def case_of_member(task: str, name: str) -> str:
    """Return which case a member is of; empty for dataset.json and the like."""
    path = PurePosixPath(name)
    is_case = path.name.endswith(".nii.gz") and len(path.parts) > 1
    return f"{task}/{path.name.removesuffix('.nii.gz')}" if is_case else ""


def member_zones(chunks: Iterable[bytes], file: str, name: str, case: str) -> Iterator[Zone]:
    """Yield a member's zones: inflated where it is gzip."""
    if name.endswith(".gz"):
        return _gzip_zones(chunks, file, name, case)
    return _plain_zones(chunks, Zone(file, name, case, b""))


def _gzip_zones(chunks: Iterable[bytes], file: str, member: str, case: str) -> Iterator[Zone]:
    """Yield gzip headers and what follows the last stream as text, the NIfTI header as text, the rest as voxels."""
    position, rest, tail = 0, b"", b""
    unpacker = None
    for chunk in chunks:
        rest += chunk
        while rest:
            if unpacker is None:
                is_stream = rest.startswith(b"\x1f\x8b")
                place = f"gzip header of {member}" if is_stream else f"{member} after its end"
                yield Zone(file, place, case, rest[:OVERLAP] if is_stream else rest)
                if not is_stream:
                    rest = b""
                    break
                unpacker = zlib.decompressobj(wbits=31)
            try:
                plain = unpacker.decompress(rest, CHUNK)
            except zlib.error:
                yield Zone(file, f"{member}, damaged", case, rest)
                rest, unpacker = b"", None
                break
            rest = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
            if position < _HEADER:
                yield Zone(file, f"header in {member}", case, plain[: _HEADER - position])
            yield Zone(file, member, case, tail + plain, is_voxels=True)
            position, tail = position + len(plain), (tail + plain)[-OVERLAP:]
            if unpacker.eof:
                unpacker = None
