"""The Merkle root is that of RFC 6962."""

from __future__ import annotations

import hashlib

from pipeline.audit.merkle import merkle_root


def test_the_merkle_root_is_that_of_rfc_6962() -> None:
    # The vectors that Certificate Transparency implementations share.
    inputs = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ]
    leaves = [hashlib.sha256(b"\x00" + bytes.fromhex(text)).digest() for text in inputs]
    roots = [merkle_root(leaves[:count]) for count in (0, 1, 2, 3, 5, 8)]

    assert roots == [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ]
