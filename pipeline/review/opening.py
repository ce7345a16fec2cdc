"""Open an address with a secret in the browser of whoever sits at this machine."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path

from pipeline.io.durable import temporary_name, write_bytes


@contextmanager
def opened(address: str, private: Path) -> Iterator[None]:
    """Open the address, where there is a screen, until the block ends.

    The browser gets the name of a private file that leads there: its command line, which every user of the machine can
    read, does not hold the secret.
    """
    if sys.platform != "darwin" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        yield
        return
    path = temporary_name(private).with_suffix(".html")
    refresh = f'<meta http-equiv="refresh" content="0; url={escape(address)}">'
    write_bytes(path, f'<!doctype html><meta name="referrer" content="no-referrer">{refresh}'.encode(), 0o600)
    try:
        webbrowser.open(path.resolve().as_uri())
        yield
    finally:
        path.unlink(missing_ok=True)
