"""Canonical JSON (RFC 8785) and JSON lines, with digests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import rfc8785

from pipeline.io.durable import writing
from pipeline.model.record import Json


def canonical(document: Json) -> bytes:
    """Return the one byte string that RFC 8785 allows for a document."""
    return rfc8785.dumps(document)


def digest_of(content: bytes) -> str:
    """Return `sha256:<hex>` of bytes that may be public."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def merkle_root(leaves: Iterable[bytes]) -> str:
    """Return the hex root of RFC 6962 section 2.1 over the leaves, SHA-256.

    A full binary tree is kept as a stack of complete subtrees, so that leaves stream by.
    """
    stack: list[tuple[int, bytes]] = []
    for leaf in leaves:
        node = (0, hashlib.sha256(b"\x00" + leaf).digest())
        while stack and stack[-1][0] == node[0]:
            node = (node[0] + 1, hashlib.sha256(b"\x01" + stack.pop()[1] + node[1]).digest())
        stack.append(node)
    if not stack:
        return hashlib.sha256(b"").hexdigest()
    root = stack.pop()[1]
    while stack:
        root = hashlib.sha256(b"\x01" + stack.pop()[1] + root).digest()
    return root.hex()


def escaped(document: Json) -> bytes:
    """Return a document in ASCII, for private files alone: a path may hold bytes that are no UTF-8."""
    return json.dumps(document, ensure_ascii=True, separators=(",", ":")).encode("ascii")


def write_lines(
    path: Path, documents: Iterable[Json], mode: int = 0o644, encode: Callable[[Json], bytes] = canonical
) -> list[int]:
    """Write one document a line, canonical unless said otherwise; return each line's offset in bytes."""
    offsets, position = [], 0
    with writing(path, mode) as stream:
        for document in documents:
            line = encode(document) + b"\n"
            stream.write(line)
            offsets.append(position)
            position += len(line)
    return offsets


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the documents of a file that `write_lines` wrote."""
    with path.open("rb") as stream:
        for line in stream:
            yield json.loads(line)


def read_line_at(path: Path, offset: int) -> dict[str, Any]:
    """Return the one document that begins at `offset`."""
    with path.open("rb") as stream:
        stream.seek(offset)
        document: dict[str, Any] = json.loads(stream.readline())
    return document
