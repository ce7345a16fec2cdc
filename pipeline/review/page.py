"""Write a task's review page: one HTML document that loads nothing but the pictures beside it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent


def page(document: Mapping[str, Any]) -> str:
    """Return the page of a task.

    `document` is what the page's program shows; all of it is text to the browser, whatever it holds. The policy
    lets nothing run but that program, and lets nothing be loaded but pictures and, where the page is served, its own
    server.
    """
    style, program = ((_HERE / name).read_text("utf-8") for name in ("page.css", "page.js"))
    title = escape(f"{document['task']}: review")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(style, program)}">'
        '<meta name="referrer" content="no-referrer"><meta name="viewport" content="width=device-width">'
        f'<link rel="icon" href="data:,"><title>{title}</title><style>{style}</style></head><body>'
        f'<script type="application/json" id="document">{_embedded(document)}</script>'
        f"{(_HERE / 'page.html').read_text('utf-8')}<script>{program}</script></body></html>\n"
    )


def _policy(style: str, program: str) -> str:
    parts = {
        "default-src": "'none'",
        # A page that was opened from a disk is nobody's origin: there `file:` stands for what lies beside it.
        "img-src": "'self' file: data:",
        "connect-src": "'self'",
        "style-src": _hashed(style),
        "script-src": _hashed(program),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in parts.items())


def _hashed(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _embedded(document: Mapping[str, Any]) -> str:
    """Return JSON that cannot end the element it stands in, nor begin a comment there."""
    return json.dumps(document, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
