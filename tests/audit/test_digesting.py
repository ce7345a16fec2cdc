"""Digests are those of the blocks in their order, whoever works them out."""

from __future__ import annotations

import hashlib
import threading

import pytest

from pipeline.audit.digesting import BLOCKS_WAITING, digesting


def test_a_digest_is_that_of_its_blocks_in_order() -> None:
    blocks = [bytes([number]) * 5000 for number in range(3 * BLOCKS_WAITING)]
    with digesting() as digester:
        digest = digester.digest()
        for block in blocks:
            digest.update(block)
        assert digest.hexdigest() == hashlib.sha256(b"".join(blocks)).hexdigest()


def test_digests_do_not_mix_and_can_be_asked_for_between_blocks() -> None:
    with digesting() as digester:
        first, second = digester.digest(), digester.digest()
        first.update(b"a")
        second.update(b"b")
        assert first.hexdigest() == hashlib.sha256(b"a").hexdigest()
        first.update(b"c")
        assert first.hexdigest() == hashlib.sha256(b"ac").hexdigest()
        assert second.hexdigest() == hashlib.sha256(b"b").hexdigest()


def test_an_error_leaves_no_thread_behind() -> None:
    with pytest.raises(ValueError, match="damage"), digesting() as digester:
        digester.digest().update(b"block")
        raise ValueError("damage")
    assert "digests" not in {thread.name for thread in threading.enumerate()}
