"""A mask file's bytes hold what its header declares, or it is refused before it fills the memory."""

from __future__ import annotations

import bz2
import gzip
import zlib

import numpy as np
import pytest

from pipeline.io.raster import LARGEST, count_voxels, exactly, inflate, voxels
from pipeline.model.errors import CurationError

DATA = np.arange(24, dtype="<i2").reshape((2, 3, 4), order="F")
RAW = DATA.tobytes(order="F")


def code(payload: bytes, encoding: str) -> str:
    with pytest.raises(CurationError) as refusal:
        voxels("test", payload, encoding, np.dtype("<i2"), (2, 3, 4))
    return refusal.value.code


@pytest.mark.parametrize(
    ("encoding", "payload"),
    [
        ("raw", RAW),
        ("gzip", gzip.compress(RAW)),
        ("gzip", zlib.compress(RAW)),
        ("gzip", gzip.compress(RAW[:20]) + gzip.compress(RAW[20:])),
        ("bzip2", bz2.compress(RAW)),
        ("hex", RAW.hex().encode()),
        ("hex", "\n".join(RAW.hex(" ")[at : at + 30] for at in range(0, 143, 30)).encode()),
        ("text", " ".join(map(str, range(24))).encode()),
    ],
)
def test_every_encoding_gives_the_same_voxels(encoding: str, payload: bytes) -> None:
    assert np.array_equal(voxels("test", payload, encoding, np.dtype("<i2"), (2, 3, 4)), DATA)


@pytest.mark.parametrize(
    ("encoding", "payload", "wanted"),
    [
        ("raw", RAW[:-1], "truncated"),
        ("raw", RAW + b"\0", "label-inconsistent"),
        ("gzip", gzip.compress(RAW)[:-4], "truncated"),
        ("gzip", gzip.compress(RAW)[:-12], "truncated"),
        ("gzip", gzip.compress(RAW[:-2]), "truncated"),
        ("gzip", gzip.compress(RAW + b"\0\0"), "label-inconsistent"),
        ("gzip", b"not a stream", "unreadable"),
        ("gzip", gzip.compress(RAW)[:-8] + b"\1\2\3\4" + gzip.compress(RAW)[-4:], "unreadable"),
        ("bzip2", b"not a stream", "unreadable"),
        ("bzip2", bz2.compress(RAW)[:-6], "truncated"),
        ("hex", b"0g", "unreadable"),
        ("hex", RAW.hex()[:-2].encode(), "truncated"),
        ("text", b"1 2 3", "label-inconsistent"),
        ("text", b"1 " * 23 + b"x", "unreadable"),
    ],
)
def test_what_does_not_fit_is_refused(encoding: str, payload: bytes, wanted: str) -> None:
    assert code(payload, encoding) == wanted


def test_a_bomb_is_inflated_no_further_than_its_header_says() -> None:
    bomb = gzip.compress(bytes(1 << 24))
    assert len(inflate("test", bomb, 100)) == 101
    assert code(bomb, "gzip") == "label-inconsistent"


def test_an_impossible_size_is_refused_before_a_byte_is_read() -> None:
    with pytest.raises(CurationError, match="label-too-large"):
        count_voxels("test", (LARGEST, 2, 1))
    with pytest.raises(CurationError, match="unreadable"):
        count_voxels("test", (3, 0, 1))
    with pytest.raises(CurationError, match="unreadable"):
        count_voxels("test", (-3, -3, 1))
    assert count_voxels("test", (1024, 1024, 1024)) == LARGEST


def test_content_of_the_right_size_passes() -> None:
    assert exactly("test", b"abc", 3) == b"abc"
