"""The one TAR that a list of members means: USTAR, sorted, without owner, time or folder entries."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.io.durable import writing

_BLOCK = 512
_RECORD = 10240
_MODE = 0o644
MEMBER_LIMIT = 8 * 2**30 - 1
"""Largest member that eleven octal digits can name."""


def header(name: str, size: int) -> bytes:
    """Return the USTAR header block of a plain file (POSIX.1-1988), owner 0, time 0, mode 0644."""
    if len(name.encode("ascii")) > 100 or size > MEMBER_LIMIT:
        raise ValueError("USTAR: name up to 100 characters, size below 8 GiB")
    fields = [
        (name, 100), (f"{_MODE:07o}", 8), (f"{0:07o}", 8), (f"{0:07o}", 8), (f"{size:011o}", 12),
        (f"{0:011o}", 12), (" " * 8, 8), ("0", 1), ("", 100), ("ustar", 6), ("00", 2), ("", 32), ("", 32),
        (f"{0:07o}", 8), (f"{0:07o}", 8), ("", 155), ("", 12),
    ]  # fmt: skip
    block = b"".join(text.encode("ascii").ljust(width, b"\x00") for text, width in fields)
    checksum = f"{sum(block):06o}\x00 ".encode("ascii")
    return block[:148] + checksum + block[156:]


def _blocks(members: Iterable[tuple[str, Path | bytes]]) -> Iterator[bytes]:
    written = 0
    for name, source in members:
        content = source if isinstance(source, bytes) else source.read_bytes()
        padding = bytes(-len(content) % _BLOCK)
        for block in (header(name, len(content)), content, padding):
            written += len(block)
            yield block
    yield bytes(2 * _BLOCK + (-(written + 2 * _BLOCK)) % _RECORD)


def write(path: Path, members: Iterable[tuple[str, Path | bytes]]) -> dict[str, str | int]:
    """Write members in byte order of their names; return file name, digest and size.

    Each member is a name and its bytes or the file that holds them; one is in memory at a time.
    """
    ordered = sorted(members, key=lambda member: member[0].encode("ascii"))
    if len({name for name, _ in ordered}) < len(ordered):
        raise ValueError("a member's name is given twice")
    digest, size = hashlib.sha256(), 0
    with writing(path) as stream:
        for block in _blocks(ordered):
            stream.write(block)
            digest.update(block)
            size += len(block)
    return {"file": path.name, "digest": "sha256:" + digest.hexdigest(), "size": size}
