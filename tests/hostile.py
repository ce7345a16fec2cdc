"""Files made to do harm: bombs, giants and abysses, small on disk; shared by tests and the suite of faults."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

_META = b"\x02\x00\x02\x00UI\x1a\x001.2.840.10008.5.1.4.1.1.2\x00" + b"\x02\x00\x10\x00UI"
_EXPLICIT = b"1.2.840.10008.1.2.1\x00"
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_MIB = 2**20


def _begun(syntax: bytes) -> bytes:
    """Return preamble, prefix and file meta of a CT image in a transfer syntax."""
    return bytes(128) + b"DICM" + _META + struct.pack("<H", len(syntax)) + syntax


def _elements() -> bytes:
    """Return the elements that make a dataset a CT image of a study."""
    values = {
        (0x0008, 0x0016): (b"UI", b"1.2.840.10008.5.1.4.1.1.2\x00"), (0x0008, 0x0018): (b"UI", b"1.2.9.1\x00"),
        (0x0008, 0x0060): (b"CS", b"CT"), (0x0010, 0x0020): (b"LO", b"BOMB"),
        (0x0020, 0x000D): (b"UI", b"1.2.9.2\x00"), (0x0020, 0x000E): (b"UI", b"1.2.9.3\x00"),
    }  # fmt: skip
    return b"".join(
        struct.pack("<HH2sH", *tag, representation, len(value)) + value
        for tag, (representation, value) in values.items()
    )


def nested(depth: int) -> bytes:
    """Return a CT image with sequences nested that deep, each of undefined length."""
    begin = struct.pack("<HH2sHIHHI", 0x0040, 0x0275, b"SQ", 0, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF)
    end = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    return _begun(_EXPLICIT) + _elements() + begin * depth + end * depth


def giant_length() -> bytes:
    """Return a CT image whose pixel data say that they have 4 GB."""
    return (
        _begun(_EXPLICIT)
        + _elements()
        + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, 0xFFFFFFFE)
        + b"few"
    )


def deflated_bomb(path: Path, size: int = 10 * 2**30) -> Path:
    """Write a deflated CT image that inflates to so many bytes of pixels."""
    begun = _elements() + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, min(size, 0xFFFFFFFE))
    path.write_bytes(_begun(_DEFLATED) + _deflated(begun) + deflated_zeros(size))
    return path


def _deflated(content: bytes) -> bytes:
    """Return a piece of a raw deflate stream that others may follow."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflater.compress(content) + deflater.flush(zlib.Z_FULL_FLUSH)


def deflated_zeros(size: int) -> bytes:
    """Return the end of a raw deflate stream: so many zeros, in a thousandth of their size."""
    return _deflated(bytes(_MIB)) * (size // _MIB) + _deflated(bytes(size % _MIB)) + b"\x03\x00"


def zip_of_zeros(path: Path, size: int, name: bytes = b"zeros.dcm") -> Path:
    """Write a ZIP with one member of so many zeros; its checksum is wrong, which only shows at its end."""
    content = deflated_zeros(size)
    sizes = struct.pack("<HHQQ", 1, 16, size, len(content))
    fields = struct.pack("<HHHHIIIH", 0, 8, 0, 0x21, 0, 0xFFFFFFFF, 0xFFFFFFFF, len(name))
    local = b"PK\x03\x04" + struct.pack("<H", 45) + fields + struct.pack("<H", len(sizes)) + name + sizes
    central = (
        b"PK\x01\x02"
        + struct.pack("<HH", 45, 45)
        + fields
        + struct.pack("<HHHHII", len(sizes), 0, 0, 0, 0, 0)
    )
    central += name + sizes
    at = len(local) + len(content)
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), at, 0)
    path.write_bytes(local + content + central + end)
    return path


def gzip_of_zeros(path: Path, size: int, before: bytes = b"") -> Path:
    """Write gzip of some bytes and so many zeros; its checksum is wrong, which only shows at its end."""
    head = b"\x1f\x8b\x08\0\0\0\0\0\x02\xff"
    path.write_bytes(head + _deflated(before) + deflated_zeros(size) + bytes(8))
    return path


def nifti_header(sizes: tuple[int, int, int]) -> bytes:
    """Return a NIfTI-1 header of 8-bit voxels, identity affine, and no voxel."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *sizes, 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, 2, 8)
    struct.pack_into("<8f", header, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, 352)
    struct.pack_into("<hh", header, 252, 0, 1)
    for row in range(3):
        struct.pack_into("<f", header, 280 + 16 * row + 4 * row, 1)
    header[344:348] = b"n+1\0"
    return bytes(header)


def giant_nifti(path: Path) -> Path:
    """Write a mask that says that it has 32767 cubed voxels."""
    path.write_bytes(gzip.compress(nifti_header((32767, 32767, 32767))))
    return path
