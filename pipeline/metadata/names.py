"""How the metadata documents spell things alike."""

from __future__ import annotations

import json
import re
from typing import Any


def pretty(document: Any) -> bytes:
    """Return JSON for people and machines: ASCII, indented, in the order given."""
    return json.dumps(document, indent=1, ensure_ascii=True).encode("ascii") + b"\n"


def package_name(title: str) -> str:
    """Return a title as an identifier: small letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "release"
