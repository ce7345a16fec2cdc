"""The Merkle tree over the lines of a manifest (RFC 6962)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def merkle_root(leaves: Sequence[bytes]) -> str:
    """Return the hex root over leaf hashes, SHA-256(0x00 || line) each (RFC 6962 section 2.1)."""
    return _subtree(leaves).hex() if leaves else hashlib.sha256().hexdigest()


def _subtree(leaves: Sequence[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    # RFC 6962: split at the largest power of two that is smaller than the number of leaves.
    middle = 1 << ((len(leaves) - 1).bit_length() - 1)
    return hashlib.sha256(b"\x01" + _subtree(leaves[:middle]) + _subtree(leaves[middle:])).digest()
