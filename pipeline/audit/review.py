"""What a case line says of its review: whether what was looked at is what is released."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from pipeline.audit.document import canonical
from pipeline.audit.report import Spot

_LOOKED_AT = ("affine", "dtype", "shape", "voxels")


def check_review(line: Mapping[str, Any], header: Mapping[str, Any], spot: Spot) -> None:
    """Report an acceptance of other voxels than the line's, and a case without one where all must have it."""
    review = line["review"]
    if review["decision"] != "accept":
        if header["review"] == "required":
            spot.report("review", wanted="a case that a reviewer accepted", found=review["decision"])
        return
    for part in ("image", "label"):
        wanted = None if line[part] is None else _digest(line[part])
        spot.expect("review", f"the {part} that was looked at", wanted=wanted, found=review["seen"][part])


def _digest(part: Mapping[str, Any]) -> str:
    looked_at = {name: part[name] for name in _LOOKED_AT}
    return "sha256:" + hashlib.sha256(canonical(looked_at)).hexdigest()
