"""What is released is compressed by one compressor, which says which it is."""

from __future__ import annotations

import gzip

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.io.compressor import compressor, gzip_member


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=3000))
def test_a_member_is_gzip_to_others(content: bytes) -> None:
    assert gzip.decompress(gzip_member(content)) == content


def test_the_compressor_names_itself_and_its_canary() -> None:
    assert compressor()["name"] == "libdeflate"
    assert str(compressor()["canary"]).startswith("sha256:")
