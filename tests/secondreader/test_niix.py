"""dcm2niix as the third reader: where it is, and what it has a say on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from placed_source import Source, ramp

from pipeline.secondreader import Opinion, Reason, Released, compare, niix


def test_volumes_lie_where_their_headers_put_them(tmp_path: Path) -> None:
    if niix.program() is None:
        pytest.skip("dcm2niix is not installed")
    source = Source(ramp(12, 9, 6))
    files = source.write(
        tmp_path / "in", SeriesInstanceUID="1.2", StudyInstanceUID="1", SeriesNumber=1, InstanceNumber=1
    )
    made = list(niix.volumes(files, tmp_path))

    assert made
    for voxels, affine in made:
        ends = {
            tuple(np.round(affine @ [*(end * (np.array(voxels.shape) - 1)), 1], 2))
            for end in np.ndindex(2, 2, 2)
        }
        mine = {
            tuple(np.round(source.affine @ [*(end * np.array([11, 8, 5])), 1], 2))
            for end in np.ndindex(2, 2, 2)
        }
        assert ends == mine


def test_without_the_program_there_is_no_volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(niix, "program", lambda: None)
    files = Source(ramp()).write(tmp_path)
    assert list(niix.volumes(files, tmp_path)) == []
    (tmp_path / "tile").write_bytes(b"no image" * 99)
    found = compare(Released(ramp(), np.eye(4)), [tmp_path / "tile"], notes=[], scratch=tmp_path)
    assert found == Opinion(reason=Reason.UNREAD, reader="none")
