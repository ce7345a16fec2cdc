"""The one gzip member (RFC 1952) that a NIfTI file is in."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator

from isal import igzip_lib, isal_zlib

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
    inflate, crc, size = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_DEFLATE), 0, 0
    pieces = itertools.chain([first[10:]], pieces)
    while not inflate.eof:
        piece = next(pieces, b"") if inflate.needs_input else b""
        if inflate.needs_input and not piece:
            raise failure("a whole gzip member", "one that ends early")
        try:
            block = inflate.decompress(piece, CHUNK)
        except igzip_lib.error:  # type: ignore[misc]  # its stub takes the class for an instance
            raise failure("deflated data", "damage") from None
        if block:
            crc, size = isal_zlib.crc32(block, crc), size + len(block)
            yield block
    tail = _first_bytes(itertools.chain([inflate.unused_data], pieces), 9)
    if tail != struct.pack("<II", crc, size & 0xFFFFFFFF):
        raise failure("CRC-32 and size at the end, and nothing behind", tail.hex(" "))


def _stamp(header: bytes) -> str:
    # Byte 8 only names the compressor's effort.
    return (header[3:8] + header[9:10]).hex()


def _first_bytes(pieces: Iterator[bytes], number: int) -> bytes:
    found = b""
    while len(found) < number and (piece := next(pieces, None)) is not None:
        found += piece[:number]
    return found[:number]
