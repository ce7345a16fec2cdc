from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator

import pytest

from pipeline.io.quiet import hush

PERSON = "DOE^JANE"


@pytest.fixture
def loud() -> Iterator[None]:
    """Give warnings and logs back after a test that silences them for good."""
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        yield
    logging.disable(before)


@pytest.mark.usefixtures("loud")
def test_a_hushed_process_repeats_no_value(capfd: pytest.CaptureFixture[str]) -> None:
    hush()
    warnings.warn(PERSON, stacklevel=1)
    logging.getLogger("pydicom").critical(PERSON)

    assert "".join(capfd.readouterr()) == ""
