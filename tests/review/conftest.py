"""A small built workspace, and decisions on its cases."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.demo import make
from pipeline.index import index
from pipeline.io.workspace import Workspace, create, open_workspace
from pipeline.plan import plan
from pipeline.release import build

PROSTATE, SPLEEN = "Task05_Prostate", "Task09_Spleen"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks of the phantom, built: two channels, and CT."""
    folder = tmp_path_factory.mktemp("reviewed")
    make(folder, tasks=[PROSTATE, SPLEEN], cases=4, seed=7, tell=lambda what: None)
    workspace = create(folder / "ws", folder / "truth/demo.key")
    index(workspace, [folder / "source"], None, lambda what, done, total: None)
    plan(workspace, [])
    build(workspace, [], workers=1, told=lambda case, stage: None, ended=lambda _: None)
    return workspace.root


@pytest.fixture
def workspace(built: Path, tmp_path: Path) -> Workspace:
    """A copy of it for one test."""
    shutil.copytree(built, tmp_path / "ws")
    return open_workspace(tmp_path / "ws")
