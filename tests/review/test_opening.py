"""The browser is opened where there is a screen, and its command line holds no secret."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import pytest

from pipeline.review.opening import opened

ADDRESS = "http://127.0.0.1:1/SECRET/index.html"


def test_the_browser_is_led_there_by_a_private_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(webbrowser, "open", asked.append)

    with opened(ADDRESS, tmp_path):
        (path,) = tmp_path.iterdir()
        assert asked == [path.as_uri()]
        assert "SECRET" not in asked[0]
        assert ADDRESS in path.read_text()
        assert path.stat().st_mode & 0o077 == 0
    assert list(tmp_path.iterdir()) == []


def test_without_a_screen_nothing_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)

    def never(address: str) -> None:
        raise AssertionError(address)

    monkeypatch.setattr(webbrowser, "open", never)
    with opened(ADDRESS, tmp_path):
        assert list(tmp_path.iterdir()) == []
