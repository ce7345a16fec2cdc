from __future__ import annotations

import base64

import numpy as np
import pytest

from pipeline.verify.harvest import Harvest
from pipeline.verify.public import public
from pipeline.verify.search import Searcher, pairs_of, text_runs, weak_hits

NAME, UID, DIGEST = "Quavexzor", "1.2.999.77.4711", "ab" * 32


@pytest.fixture(scope="module")
def searcher() -> Searcher:
    harvest = Harvest(public())
    harvest.strong |= {NAME.lower().encode(): "PatientName", b"123456789": "PatientID"}
    harvest.uids[UID] = "SOPInstanceUID"
    harvest.digests.add(DIGEST)
    return Searcher(harvest)


def spellings() -> dict[str, bytes]:
    whole = f"xy{NAME}, more text".encode()
    return {
        "plain": NAME.encode(), "upper": NAME.upper().encode(), "utf-16-le": NAME.encode("utf-16-le"),
        "utf-16-be": b"\1" + NAME.encode("utf-16-be"), "utf-32": NAME.encode("utf-32-le"),
        **{f"base64 at {n}": base64.b64encode(b"-" * n + NAME.encode() + b"--") for n in range(3)},
        "base64 in lines": base64.encodebytes(b"z" * 50 + whole * 9),
        "base64 of utf-16": base64.b64encode(NAME.encode("utf-16-le")),
        "url-safe base64": base64.urlsafe_b64encode(b"\xff\xfe\xfd" + NAME.encode()),
        "hex": NAME.encode().hex().encode(),
        "HEX at an odd place": b"f" + NAME.upper().encode().hex().upper().encode(),
        "json": "".join(f"\\u{ord(letter):04x}" for letter in NAME).encode(),
        "percent": "".join(f"%{ord(letter):02x}" for letter in NAME).encode(),
        "entities": "".join(f"&#{ord(letter)};" for letter in NAME).encode(),
    }  # fmt: skip


@pytest.mark.parametrize("spelling", spellings())
def test_a_name_is_found_however_it_is_written(searcher: Searcher, spelling: str) -> None:
    content = b"before it " + spellings()[spelling] + b" after it"
    assert {hit.origin for hit in searcher.text(content)} == {"PatientName"}


def test_a_uid_counts_whole_and_a_digest_too(searcher: Searcher) -> None:
    assert [hit.origin for hit in searcher.text(f"at {UID}.dcm".encode())] == ["SOPInstanceUID"]
    assert [hit.origin for hit in searcher.text(f"sha256:{DIGEST}".encode())] == ["digest of a source file"]
    assert not list(searcher.text(f"{UID}9 {DIGEST}0".encode()))


def test_a_number_counts_only_where_it_is_no_part_of_another(searcher: Searcher) -> None:
    assert list(searcher.text(b"number=123456789;"))
    assert not list(searcher.text(b"0.123456789 9123456789 a123456789"))


@pytest.mark.parametrize("place", range(16))
@pytest.mark.parametrize("encoding", ["ascii", "utf-16-le", "utf-16-be"])
def test_a_name_among_voxels_is_found_at_any_place(searcher: Searcher, place: int, encoding: str) -> None:
    voxels = np.random.default_rng(1).integers(0, 4096, 4096).astype("<u2").tobytes()
    content = voxels[: 2000 + place] + NAME.encode(encoding) + voxels[2000 + place :]

    assert {hit.origin for hit in searcher.voxels(content)} == {"PatientName"}
    assert not list(searcher.voxels(voxels))


def test_voxels_without_text_are_not_looked_through() -> None:
    pairs = pairs_of([NAME.encode()])
    random = np.random.default_rng(1)
    for voxels in (
        random.integers(256, 4096, 4096).astype("<u2"),
        random.integers(-1024, 3000, 4096).astype("<i2"),
    ):
        assert not list(text_runs(voxels.tobytes(), pairs))


def test_air_that_looks_like_wide_digits_is_not_looked_through() -> None:
    air = np.random.default_rng(1).integers(32, 64, 4096).astype("<u2").tobytes()

    assert not list(text_runs(air, pairs_of([NAME.encode()])))


def test_pairs_are_those_of_the_texts_in_any_case_and_no_others() -> None:
    pairs = pairs_of([b"\xc3\xb6a-"])
    both = {(first, second) for first in (0xB6,) for second in b"aA"}

    assert {(int(a), int(b)) for a, b in np.argwhere(pairs)} == {
        (0xC3, 0xB6),
        *both,
        (ord("a"), ord("-")),
        (ord("A"), ord("-")),
    }


def test_a_weak_word_counts_whole_and_a_bare_number_does_not() -> None:
    words = {"lumt": "PatientName", "10432": "PatientID", "2019-03-04": "StudyDate"}

    def found(text: str) -> list[str]:
        return [hit.origin for hit in weak_hits(words, text)]

    assert found("by Lumt, 2019-03-04") == ["PatientName", "StudyDate"]
    assert found('"id":"10432"') == ["PatientID"]
    assert found("lumtor x10432 1.10432") == []
    assert found('{"voxels":10432,"x":[10432]}') == []
