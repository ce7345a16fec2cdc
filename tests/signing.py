"""Signing the sample release, written from docs/formats.md and the DSSE and in-toto specifications alone."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sample_release import canonical, write_sums

PUBLISHER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))


def write_private(key: Ed25519PrivateKey, path: Path, mode: int = 0o600) -> Path:
    """Write a private key as `openssl genpkey` does."""
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    path.chmod(mode)
    return path


def write_public(key: Ed25519PrivateKey, path: Path) -> Path:
    """Write the public half as `openssl pkey -pubout` does."""
    path.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return path


def name_of(key: Ed25519PrivateKey) -> str:
    return "ed25519:" + key.public_key().public_bytes_raw().hex()


def statement_of(release: bytes) -> bytes:
    tasks = json.loads(release)["tasks"]
    return canonical(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [
                {"name": task["tar"]["file"], "digest": {"sha256": task["tar"]["digest"][7:]}}
                for task in tasks
            ],
            "predicateType": "urn:curate:release:1",
            "predicate": {
                "release": {"sha256": hashlib.sha256(release).hexdigest()},
                "manifests": [
                    {
                        "name": task["manifest"]["file"],
                        "digest": {"sha256": task["manifest"]["digest"][7:]},
                        "merkle_root": task["manifest"]["merkle_root"],
                    }
                    for task in tasks
                ],
            },
        }
    )


def envelope_of(key: Ed25519PrivateKey, statement: bytes) -> bytes:
    kind = "application/vnd.in-toto+json"
    signature = key.sign(f"DSSEv1 {len(kind)} {kind} {len(statement)} ".encode() + statement)
    return (
        canonical(
            {
                "payloadType": kind,
                "payload": base64.b64encode(statement).decode(),
                "signatures": [{"keyid": name_of(key), "sig": base64.b64encode(signature).decode()}],
            }
        )
        + b"\n"
    )


def signed(release: Path, key: Ed25519PrivateKey = PUBLISHER) -> Path:
    """Sign a release that is there; SHA256SUMS says so."""
    document = (release / "release.json").read_bytes()
    (release / "release.json.sig").write_bytes(key.sign(document))
    (release / "release.intoto.jsonl").write_bytes(envelope_of(key, statement_of(document)))
    write_sums(release)
    return release
