"""Claims about channels and classes that contradict the rules or themselves are found."""

from __future__ import annotations

from pathlib import Path

import pytest
from spoiling import BRAIN_LINES, Lies, assert_found, in_brain, in_spleen, set_header, set_line

LIES: Lies = {
    "another volume": (in_spleen(set_line("spleen_2", "label.classes.1.ml", "1.5")),
                       {"case": "spleen_2", "stage": "label", "found": "1.5 ml"}),
    "another class name": (in_spleen(set_line("spleen_2", "label.classes.1.name", "liver")),
                           {"case": "spleen_2", "stage": "label", "found": "liver"}),
    "another scale in the header": (
        in_brain(lambda t: t.header["channels"].reverse()), {"file": BRAIN_LINES, "stage": "scale"}),
    "another class in the header": (
        in_spleen(set_header("classes", {"0": "background", "1": "liver"})), {"stage": "label"}),
}  # fmt: skip


@pytest.mark.parametrize("what", LIES)
def test_a_sealed_lie_is_found(tmp_path: Path, what: str) -> None:
    assert_found(tmp_path, *LIES[what])
