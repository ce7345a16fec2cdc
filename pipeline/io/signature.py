"""Signatures of a release: Ed25519 over release.json, and over an in-toto statement of its TARs in a DSSE envelope."""

from __future__ import annotations

import base64
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pipeline.io.document import canonical, digest_of
from pipeline.model.errors import PrivacyError, UsageError
from pipeline.model.record import Json

SIGNATURE = "release.json.sig"
"""64 bytes: Ed25519 (RFC 8032) over the bytes of release.json."""

ENVELOPE = "release.intoto.jsonl"
"""One line: a DSSE envelope (v1) around an in-toto statement (v1) whose subjects are the TARs."""

PAYLOAD_TYPE = "application/vnd.in-toto+json"
PREDICATE_TYPE = "urn:curate:release:1"
_KEY_LIMIT = 2**16


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class SigningKey:
    """The private key that signs releases; printing it shows nothing."""

    _key: Ed25519PrivateKey

    def __repr__(self) -> str:
        return "SigningKey(...)"

    @property
    def name(self) -> str:
        """Its public half, by which a signature says whose it is: `ed25519:` and 64 hex digits."""
        return "ed25519:" + self._key.public_key().public_bytes_raw().hex()

    def sign(self, content: bytes) -> bytes:
        """Return 64 bytes (RFC 8032; the same content gives the same signature)."""
        return self._key.sign(content)


def load_signing_key(path: Path) -> SigningKey:
    """Read an Ed25519 private key, PKCS #8 in PEM without passphrase, as `openssl genpkey` writes it.

    Raises
    ------
    UsageError
        signing-key, when there is no such key in the file.
    PrivacyError
        signing-key-readable, when others than its owner may read it.
    """
    try:
        mode = path.stat().st_mode
        content = path.read_bytes() if stat.S_ISREG(mode) and path.stat().st_size <= _KEY_LIMIT else b""
    except OSError:
        raise UsageError("signing-key", wanted="a key to sign with", found="no file to read") from None
    if mode & 0o077:
        raise PrivacyError("signing-key-readable", wanted="mode 0600", found=f"mode {mode & 0o777:04o}")
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # What the library says of a damaged key may quote it.
        raise UsageError(
            "signing-key", wanted="a private key in PEM without passphrase", found="something else"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError("signing-key", wanted="an Ed25519 key", found="a key of another kind")
    return SigningKey(key)


def sign(key: SigningKey, document: bytes, entries: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
    """Return the files that sign a release: name -> bytes.

    Parameters
    ----------
    key
        Who vouches for it.
    document
        The bytes of release.json.
    entries
        Its tasks, as release.json lists them.
    """
    return {SIGNATURE: key.sign(document), ENVELOPE: _envelope(key, _statement(document, entries))}


def _statement(document: bytes, entries: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the in-toto statement (v1): these TARs are those of this release.json and of these manifests."""
    statement: dict[str, Json] = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {"name": entry["tar"]["file"], "digest": {"sha256": _hex(entry["tar"]["digest"])}}
            for entry in entries
        ],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "release": {"sha256": _hex(digest_of(document))},
            "manifests": [
                {
                    "name": entry["manifest"]["file"],
                    "digest": {"sha256": _hex(entry["manifest"]["digest"])},
                    "merkle_root": entry["manifest"]["merkle_root"],
                }
                for entry in entries
            ],
        },
    }
    return canonical(statement)


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")


def _envelope(key: SigningKey, payload: bytes) -> bytes:
    signature: dict[str, Json] = {
        "keyid": key.name,
        "sig": _base64(key.sign(pre_authentication(PAYLOAD_TYPE, payload))),
    }
    envelope: dict[str, Json] = {
        "payloadType": PAYLOAD_TYPE,
        "payload": _base64(payload),
        "signatures": [signature],
    }
    return canonical(envelope) + b"\n"


def pre_authentication(kind: str, payload: bytes) -> bytes:
    """Return what a DSSE signature covers (PAE, DSSE v1): type and payload with their lengths."""
    return b"DSSEv1 %d %s %d %s" % (len(kind.encode()), kind.encode(), len(payload), payload)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
