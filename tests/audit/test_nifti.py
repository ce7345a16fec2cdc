"""A NIfTI header that a release may not have is found."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from spoiling import IMAGE, Lies, assert_found, in_spleen, with_header

LIES: Lies = {
    "a qform of its own": (in_spleen(with_header(lambda h: struct.pack_into("<f", h, 268, 5.0))),
                           {"member": IMAGE, "wanted": "a qform equal to the sform"}),
    "no qform": (in_spleen(with_header(lambda h: struct.pack_into("<h", h, 252, 0))),
                 {"member": IMAGE, "wanted": "qform and sform codes above 0"}),
    "another spacing": (in_spleen(with_header(lambda h: struct.pack_into("<f", h, 80, 0.76))), {"member": IMAGE}),
    "micrometres": (in_spleen(with_header(lambda h: h.__setitem__(123, 3))), {"member": IMAGE}),
    "a name in descrip": (in_spleen(with_header(lambda h: h.__setitem__(slice(148, 152), b"Doe^"))),
                          {"member": IMAGE, "found": "b'Doe^'"}),
    "an extension": (in_spleen(with_header(lambda h: h.__setitem__(348, 1))), {"member": IMAGE}),
    "a slope": (in_spleen(with_header(lambda h: struct.pack_into("<f", h, 112, 2.0))), {"member": IMAGE}),
    "a fifth axis": (in_spleen(with_header(lambda h: struct.pack_into("<8h", h, 40, 5, 11, 9, 8, 1, 1, 1, 1))),
                     {"member": IMAGE}),
    "a pair of files": (in_spleen(with_header(lambda h: h.__setitem__(slice(344, 348), b"ni1\0"))),
                        {"member": IMAGE}),
}  # fmt: skip


@pytest.mark.parametrize("what", LIES)
def test_a_sealed_lie_is_found(tmp_path: Path, what: str) -> None:
    assert_found(tmp_path, *LIES[what])
