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


@pytest.mark.parametrize("spelling", spellings())
@pytest.mark.parametrize("place", ["first", "between", "last"])
def test_one_search_of_many_texts_misses_no_spelling_in_any_of_them(
    searcher: Searcher, spelling: str, place: str
) -> None:
    content = spellings()[spelling]
    texts = {
        "first": [content, b"12", b"&am"],
        "between": [b"%4", content, b"4."],
        "last": [b"\\u00", content],
    }

    assert not searcher.is_clean(texts[place], b"")
    assert searcher.is_clean([b"%4", b"12", b"&am", b"\\u00"], b"")


def test_one_search_looks_through_voxels_too(searcher: Searcher) -> None:
    voxels = bytes(1000) + NAME.encode("utf-16-le") + bytes(1000)

    assert not searcher.is_clean([b"x"], voxels)
    assert searcher.is_clean([b"x"], bytes(1024))


def test_what_two_texts_make_up_together_is_no_finding(searcher: Searcher) -> None:
    voxels = b"Quave".ljust(1024, b"\0") + b"xzor".ljust(1024, b"\0")

    assert not list(searcher.voxels(voxels))
    assert searcher.is_clean([NAME[:4].encode(), NAME[4:].encode(), b"1.2.999", b".77.4711"], b"")


def test_many_texts_are_searched_in_batches(searcher: Searcher) -> None:
    long = b"z " * 2**19

    assert not searcher.is_clean([long, NAME.encode(), long], b"")
    assert not searcher.is_clean([long, long, NAME.encode()], b"")
    assert searcher.is_clean([long, b"", long], b"")


def test_digits_before_the_first_dot_are_part_of_a_uid(searcher: Searcher) -> None:
    assert not list(searcher.text(b"11.2.999.77.4711"))
    assert [hit.offset for hit in searcher.text(b"..1.2.999.77.4711..1.2.3.4")] == [2]


def test_pairs_are_those_of_the_texts_in_any_case_and_no_others() -> None:
    pairs = pairs_of([b"\xc3\xb6a-"])
    both = {(first, second) for first in (0xB6,) for second in b"aA"}

    assert {(int(a), int(b)) for b, a in np.argwhere(pairs.reshape(256, 256))} == {
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
