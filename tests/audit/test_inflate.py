"""A gzip member that says more than its content is found."""

from __future__ import annotations

from pathlib import Path

import pytest
from sample_release import gzipped
from spoiling import IMAGE, Lies, assert_found, in_spleen, with_gzip

LIES: Lies = {
    "a gzip name": (
        in_spleen(with_gzip(b"\x1f\x8b\x08\x08\0\0\0\0\0\xffDOE_JANE\0")), {"member": IMAGE}),
    "a gzip time": (in_spleen(with_gzip(b"\x1f\x8b\x08\0\x12\x34\x56\x60\0\xff")), {"member": IMAGE}),
    "a gzip system": (in_spleen(with_gzip(b"\x1f\x8b\x08\0\0\0\0\0\0\x03")), {"member": IMAGE}),
    "a second gzip member": (in_spleen(with_gzip(b"\x1f\x8b\x08\0\0\0\0\0\0\xff", gzipped(b"more"))),
                             {"member": IMAGE}),
    "bytes behind the gzip member": (in_spleen(with_gzip(b"\x1f\x8b\x08\0\0\0\0\0\0\xff", b"x")),
                                     {"member": IMAGE}),
}  # fmt: skip


@pytest.mark.parametrize("what", LIES)
def test_a_sealed_lie_is_found(tmp_path: Path, what: str) -> None:
    assert_found(tmp_path, *LIES[what])
