"""Digests that are taken in a thread are those that hashlib takes."""

from __future__ import annotations

import hashlib

import pytest

from pipeline.audit.hashing import Hasher


def test_digests_that_take_turns_are_those_of_their_own_blocks() -> None:
    blocks = [bytes([number]) * (number * 700) for number in range(100)]
    with Hasher() as hasher:
        even, odd = hasher.sha256(), hasher.sha256()
        for number, block in enumerate(blocks):
            (odd if number % 2 else even).update(block)

        assert even.hexdigest() == hashlib.sha256(b"".join(blocks[::2])).hexdigest()
        assert odd.hexdigest() == hashlib.sha256(b"".join(blocks[1::2])).hexdigest()


def test_what_passes_is_hashed_and_what_is_not_asked_for_is_not() -> None:
    with Hasher() as hasher:
        digest = hasher.sha256()
        passing = digest.passing([b"one", b"two", b"three"])

        assert [next(passing), next(passing)] == [b"one", b"two"]
        assert digest.hexdigest() == hashlib.sha256(b"onetwo").hexdigest()


def test_the_thread_ends_when_its_block_fails() -> None:
    hasher = Hasher()
    with pytest.raises(KeyError), hasher:
        hasher.sha256().update(b"x")
        raise KeyError

    assert not hasher._thread.is_alive()
