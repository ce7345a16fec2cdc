"""The phantom that the tests of its makers look at."""

from __future__ import annotations

import pytest
from phantom_reading import Phantom

from pipeline.demo import make

TASKS = ("Task02_Heart", "Task03_Liver", "Task05_Prostate", "Task06_Lung", "Task09_Spleen", "Task10_Colon")


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Phantom:
    """Six tasks, four subjects each: every site, plane, label kind and archive."""
    folder = tmp_path_factory.mktemp("phantom")
    make(folder, tasks=TASKS, cases=4, seed=0, tell=lambda line: None)
    return Phantom(folder)
