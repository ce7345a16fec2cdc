"""The files of a de-identification policy: where they are, their bytes and their digest, not what they mean."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from pipeline.model.errors import RulesError

POLICY_FILES = ("policy.yaml", "allow.yaml", "vocabulary.yaml", "private.yaml", "table-e1-1.json")
"""What a policy folder holds, in the order in which the digest takes them."""


def shipped_policy() -> Path:
    """Return the folder of the policy that comes with the program, beside the package or inside a wheel."""
    package = Path(__file__).resolve().parents[1]
    beside = package.parent / "rules" / "deid"
    return beside if beside.is_dir() else package / "_shipped" / "rules" / "deid"


def read_policy_file(path: Path) -> bytes:
    """Return the bytes of one file; refuses with rules-not-found."""
    if not path.is_file():
        raise RulesError("rules-not-found", wanted=f"the policy file {path.name}", found="none")
    return path.read_bytes()


def read_policy_files(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all files of a policy, by name."""
    return {name: read_policy_file(folder / name) for name in POLICY_FILES}


def policy_digest(raw: Mapping[str, bytes]) -> str:
    """Return the digest of every byte of a policy's files."""
    parts = [f"{name} {hashlib.sha256(raw[name]).hexdigest()}\n" for name in POLICY_FILES]
    return "sha256:" + hashlib.sha256("".join(parts).encode()).hexdigest()


@cache
def shipped_digest() -> str:
    """Return the digest of the policy that comes with the program, without reading what it says."""
    return policy_digest(read_policy_files(shipped_policy()))
