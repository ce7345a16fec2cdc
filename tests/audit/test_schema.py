"""A line that its schema does not allow is found."""

from __future__ import annotations

from pathlib import Path

import pytest
from spoiling import Lies, assert_found, in_spleen, set_line, set_note

LIES: Lies = {
    "an unkeyed source digest": (
        in_spleen(set_line("spleen_2", "sources.CT", ["sha256:" + 64 * "0"])), {"member": "line 3"}),
    "a source path": (in_spleen(set_line("spleen_2", "path", "/in/DOE_JANE")), {"member": "line 3"}),
    "a fraction": (in_spleen(set_note("spleen_2", "convert", "step", 2.5)), {"member": "line 3"}),
}  # fmt: skip


@pytest.mark.parametrize("what", LIES)
def test_a_sealed_lie_is_found(tmp_path: Path, what: str) -> None:
    assert_found(tmp_path, *LIES[what])
