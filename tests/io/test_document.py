"""One document has one byte string, and a file of lines gives back what was written."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.io.document import canonical, digest_of, merkle_root, read_line_at, read_lines, write_lines

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(TEXTS, DOCUMENTS, max_size=4)


@settings(max_examples=50, deadline=None)
@given(DOCUMENTS)
def test_a_canonical_document_reads_back_and_is_one_line(document: object) -> None:
    text = canonical(document)  # type: ignore[arg-type]  # Hypothesis makes nothing but JSON

    assert json.loads(text) == document
    assert b"\n" not in text
    assert canonical(json.loads(text)) == text


def test_keys_are_sorted_as_utf16_and_text_is_not_escaped() -> None:
    # RFC 8785 3.2.3: a surrogate pair sorts before U+FB33.
    wanted = '{"a":"\u00e9\\n","\U0001f600":2,"\ufb33":1}'
    assert canonical({"\ufb33": 1, "\U0001f600": 2, "a": "\u00e9\n"}) == wanted.encode()


def test_the_order_in_which_keys_came_does_not_matter() -> None:
    assert canonical({"b": 1, "a": [True, None]}) == canonical({"a": [True, None], "b": 1})


@pytest.mark.parametrize("number", [2**53, -(2**53), float("nan"), float("inf")])
def test_a_number_that_readers_disagree_about_is_no_evidence(number: float) -> None:
    with pytest.raises(ValueError, match=r".*"):
        canonical({"n": number})  # type: ignore[dict-item]  # floats are what must not pass


def test_a_digest_names_its_kind() -> None:
    assert digest_of(b"abc") == "sha256:" + hashlib.sha256(b"abc").hexdigest()


def by_definition(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, as it is written there."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return hashlib.sha256(b"\x01" + by_definition(leaves[:half]) + by_definition(leaves[half:])).digest()


@pytest.mark.parametrize("count", range(20))
def test_the_streamed_root_is_that_of_the_definition(count: int) -> None:
    leaves = [bytes([number]) * number for number in range(count)]

    assert merkle_root(iter(leaves)) == by_definition(leaves).hex()


def test_the_root_of_a_published_example_holds() -> None:
    # Test vectors of the Certificate Transparency reference implementation.
    leaves = [
        bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657")
    ]

    assert merkle_root(leaves) == "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"


@settings(max_examples=25, deadline=None)
@given(documents=st.lists(OBJECTS, max_size=5))
def test_each_line_is_found_by_its_offset(
    tmp_path_factory: pytest.TempPathFactory, documents: list[dict[str, object]]
) -> None:
    path = tmp_path_factory.mktemp("lines") / "file"
    offsets = write_lines(path, documents)  # type: ignore[arg-type]  # Hypothesis makes nothing but JSON

    assert list(read_lines(path)) == documents
    assert [read_line_at(path, offset) for offset in offsets] == documents
    assert path.read_bytes().count(b"\n") == len(documents)


def test_lines_that_could_not_all_be_written_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r".*"):
        write_lines(tmp_path / "file", [{"a": 1}, {"a": float("nan")}])  # type: ignore[dict-item]

    assert list(tmp_path.iterdir()) == []


def test_private_lines_are_private(tmp_path: Path) -> None:
    write_lines(tmp_path / "file", [{"a": 1}], mode=0o600)

    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
