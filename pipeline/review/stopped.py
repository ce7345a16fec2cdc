"""Show a curator the pictures that stopped cases: private, because they may show a person."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from pipeline.io.durable import write_bytes
from pipeline.io.workspace import Workspace
from pipeline.model.errors import FAULTS
from pipeline.model.record import Refusal
from pipeline.planned import read_refusals

PAGE = "index.html"
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem;background:#111;color:#e8e8e8}"
    "img{max-width:100%;border:1px solid #444;image-rendering:pixelated}h2{margin-bottom:0}"
)


def write_stopped(workspace: Workspace, tasks: Sequence[str]) -> Path | None:
    """Write a page with the pictures below private/pictures/; None when there is none.

    A picture belongs to the refused case whose task and case its name begins with: `TASK-CASE-1.png`.
    """
    folder = workspace.private / "pictures"
    names = sorted(path.name for path in folder.glob("*.png"))
    if not names:
        return None
    refusals = [refusal for task in tasks for refusal in read_refusals(workspace, task)]
    write_bytes(folder / PAGE, _page(names, refusals).encode(), 0o600)
    return folder / PAGE


def _page(names: Sequence[str], refusals: Sequence[Refusal]) -> str:
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src 'self' file:; style-src 'sha256-{digest}'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>Stopped</title><style>{_STYLE}</style></head><body><h1>Pictures that stopped cases</h1>"
        "<p>They may show a person. They stay in the private folder.</p>"
        f"{''.join(_sections(names, refusals))}</body></html>\n"
    )


def _sections(names: Sequence[str], refusals: Sequence[Refusal]) -> Iterator[str]:
    left = list(names)
    for refusal in refusals:
        start = f"{refusal.task}-{refusal.case}-"
        shown = [name for name in left if name.startswith(start)]
        if shown:
            yield f"<h2>{escape(refusal.task)}, {escape(refusal.case)}</h2>"
            yield f"<p>{escape(refusal.code)}: {escape(refusal.found)}. {escape(FAULTS[refusal.code].advice)}</p>"
            yield from map(_image, shown)
            left = [name for name in left if name not in shown]
    if left:
        yield "<h2>Others</h2>"
        yield from map(_image, left)


def _image(name: str) -> str:
    return f'<figure><img src="{escape(name)}" alt=""><figcaption>{escape(name)}</figcaption></figure>'
