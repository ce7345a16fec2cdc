"""The one gzip member (RFC 1952) that a NIfTI file is in."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from typing import Any

from isal import isal_zlib

from pipeline.audit.files import CHUNK
from pipeline.audit.report import Spot, failure


def inflated(pieces: Iterator[bytes], spot: Spot) -> Iterator[bytes]:
    """Yield the content of the one gzip member (RFC 1952) that the pieces are, `CHUNK` bytes at most.

    Raises
    ------
    EvidenceError
        If it is not one whole member, or has optional header fields.
    """
    first = next(pieces, b"")
    if first[:3] != b"\x1f\x8b\x08" or first[3:4] != b"\x00":
        raise failure("a gzip member without name, comment or extra field", first[:10].hex(" "))
    spot.expect(
        "package", "a gzip header without time, OS 255,", wanted="0000000000ff", found=_stamp(first[:10])
    )
    inflate, crc, size, tail = isal_zlib.decompressobj(wbits=-15), 0, 0, b""
    for piece in itertools.chain([first[10:]], pieces):
        if inflate.eof:
            tail += piece[:9]
            continue
        for block in _inflate(inflate, piece):
            crc, size = isal_zlib.crc32(block, crc), size + len(block)
            yield block
        tail = inflate.unused_data[:9]
    if not inflate.eof:
        raise failure("a whole gzip member", "one that ends early")
    if tail != struct.pack("<II", crc, size & 0xFFFFFFFF):
        raise failure("CRC-32 and size at the end, and nothing behind", tail.hex(" "))


def _stamp(header: bytes) -> str:
    # Byte 8 only names the compressor's effort.
    return (header[3:8] + header[9:10]).hex()


def _inflate(inflate: Any, piece: bytes) -> Iterator[bytes]:
    while True:
        try:
            block = inflate.decompress(piece, CHUNK)
        except isal_zlib.error:  # type: ignore[misc]  # its stub takes the class for an instance
            raise failure("deflated data", "damage") from None
        if block:
            yield block
        piece = inflate.unconsumed_tail
        if inflate.eof or (not piece and len(block) < CHUNK):
            return
