"""The texts in the header of a source that is no DICOM: a mask, a table, a list of names."""

from __future__ import annotations

import re
import struct
import zlib

START = 2**18
"""Bytes at the beginning of a file, inflated, that are looked at; voxels are no texts."""

_NIFTI_TEXTS = ((4, 14), (14, 32), (148, 228), (228, 252), (328, 344))
"""data_type, db_name, descrip, aux_file, intent_name of NIfTI-1 and Analyze headers."""

_EXTENSIONS = 348


def header_texts(content: bytes) -> bytes:
    """Return what of a file's beginning is text: the name in a gzip header, a NIfTI header's texts, a text header."""
    if content.startswith(b"\x1f\x8b"):
        return _gzip_name(content) + b"\n" + _texts(_inflated(content))
    return _texts(content[:START])


def _gzip_name(content: bytes) -> bytes:
    """Return the name and comment of a gzip member (RFC 1952)."""
    has_more = len(content) > 10 and content[3] & 0x18
    return b"\n".join(content[10 : 10 + 1024].split(b"\0")[:2]) if has_more else b""


def _inflated(content: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(content, START)
    except zlib.error:
        return b""


def _texts(start: bytes) -> bytes:
    for order in ("little", "big"):
        if int.from_bytes(start[:4], order) == _EXTENSIONS:
            offset = _EXTENSIONS + 4
            extensions = start[offset : _first_voxel(start)]
            return b"\n".join([*(start[a:b] for a, b in _NIFTI_TEXTS), extensions])
    # NRRD and MetaImage: lines of text, until voxels begin.
    found = re.search(rb"\n\r?\n|ElementDataFile *= *LOCAL|\0", start)
    return start if found is None else start[: found.start()]


def _first_voxel(start: bytes) -> int:
    """Return where a NIfTI-1 header says that voxels begin, within what is looked at."""
    for order in "<>":
        (offset,) = struct.unpack(f"{order}f", start[108:112].ljust(4, b"\0"))
        if 352 <= offset <= START:
            return int(offset)
    return 352
