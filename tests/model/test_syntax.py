"""Every compressed transfer syntax has its one decoder, and it is there."""

from __future__ import annotations

import contextlib

import pytest
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, AllTransferSyntaxes

from pipeline.model.syntax import DECODERS, LOSSY_SYNTAXES


@pytest.mark.parametrize("syntax", DECODERS)
def test_the_decoder_of_a_syntax_is_installed(syntax):
    assert DECODERS[syntax] in get_decoder(UID(syntax)).available_plugins


def test_every_compressed_syntax_that_pydicom_can_decode_has_its_decoder():
    decodable = set()
    for uid in filter(lambda uid: uid.is_encapsulated, AllTransferSyntaxes):
        with contextlib.suppress(NotImplementedError):
            decodable.add(get_decoder(uid).UID)
    assert decodable == set(DECODERS)


def test_lossy_syntaxes_are_among_them():
    assert set(DECODERS) > LOSSY_SYNTAXES
