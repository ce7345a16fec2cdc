"""Two processes with one identity make the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.cluster import identity as module


def test_the_identity_is_of_code_and_versions_and_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = module.identity()
    assert first == module.identity.__wrapped__()
    (tmp_path / "case.py").write_text("other code")
    monkeypatch.setattr(module, "_PACKAGE", tmp_path)
    assert module.identity.__wrapped__() != first


def test_another_version_of_what_computes_is_another_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    first = module.identity()
    monkeypatch.setattr(module, "software", lambda: {"numpy": "1"})
    assert module.identity.__wrapped__() != first
