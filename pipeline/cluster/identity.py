"""Say what runs here, in one digest: two processes with the same one make the same bytes."""

from __future__ import annotations

import hashlib
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

from pipeline.io.document import canonical, digest_of
from pipeline.io.policyfiles import shipped_digest
from pipeline.orders import software

_PACKAGE = Path(__file__).parents[1]


@cache
def identity() -> str:
    """Return the digest of our own code, the shipped policy, and the versions of Python, Dask and all that computes."""
    return digest_of(
        canonical(
            {
                "code": _code(),
                "policy": shipped_digest(),
                "software": software(),
                "python": list(sys.version_info[:2]),
                "distributed": version("distributed"),
            }
        )
    )


def _code() -> str:
    """Return the digest of every module of the package, by name."""
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(_PACKAGE).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()
