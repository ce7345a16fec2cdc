"""A sound release, and a copy of it to be spoilt."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from sample_release import sample, seal


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return seal(sample(), tmp_path_factory.mktemp("intact") / "release")


@pytest.fixture
def release(intact: Path, tmp_path: Path) -> Path:
    """A copy to be spoilt."""
    return Path(shutil.copytree(intact, tmp_path / "release"))
