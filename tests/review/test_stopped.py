"""Pictures that stopped cases are shown to the curator, in private."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from pipeline.io.document import canonical
from pipeline.io.workspace import Workspace, create
from pipeline.model.record import Refusal
from pipeline.review.stopped import write_stopped

TASK = "Task09_Spleen"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with one refused case, a picture of it, and a stray one."""
    made = create(tmp_path / "ws")
    refusal = Refusal(TASK, "spleen_1", "deidentify", "burned-in-text", "no text", "2 lines <b>")
    (made.refusals / f"{TASK}-spleen_1.json").write_bytes(canonical(refusal.to_json()))
    (made.private / "pictures").mkdir(exist_ok=True)
    for name in (f"{TASK}-spleen_1-1.png", f"{TASK}-spleen_10-1.png"):
        Image.new("L", (4, 4)).save(made.private / "pictures" / name)
    return made


def test_each_picture_stands_with_the_refusal_of_its_case(workspace: Workspace) -> None:
    page = write_stopped(workspace, [TASK])
    assert page is not None
    first, _, others = page.read_text().partition("<h2>Others</h2>")

    assert f'src="{TASK}-spleen_1-1.png"' in first
    assert "burned-in-text: 2 lines &lt;b&gt;" in first
    assert f'src="{TASK}-spleen_10-1.png"' in others
    assert "<script" not in first + others


def test_the_page_is_private(workspace: Workspace) -> None:
    page = write_stopped(workspace, [TASK])

    assert page is not None
    assert page.parent.parent == workspace.private
    assert page.stat().st_mode & 0o077 == 0


def test_without_a_picture_there_is_no_page(tmp_path: Path) -> None:
    assert write_stopped(create(tmp_path / "ws"), [TASK]) is None
