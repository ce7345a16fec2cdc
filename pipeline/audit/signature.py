"""Who vouches for a release: its Ed25519 signatures, against the public key that an auditor trusts."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from pipeline.audit.document import read_document
from pipeline.audit.files import content_of
from pipeline.audit.report import Run, Spot, failure, reporting
from pipeline.model.errors import UsageError

SIGNATURE, ENVELOPE = "release.json.sig", "release.intoto.jsonl"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"


@dataclass(frozen=True, slots=True)
class Trust:
    """The public key that an auditor trusts: 32 bytes (RFC 8032)."""

    public: bytes

    @property
    def name(self) -> str:
        """How signatures name it."""
        return f"ed25519:{self.public.hex()}"


def read_trust(path: Path) -> Trust:
    """Read an Ed25519 public key in PEM, as `openssl pkey -pubout` writes it.

    Raises
    ------
    UsageError
        trusted-key, if there is none in the file.
    """
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError:
        raise UsageError("trusted-key", wanted="a public key", found="no file to read") from None
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError("trusted-key", wanted="a public key in PEM", found="something else") from None
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError("trusted-key", wanted="an Ed25519 key", found="a key of another kind")
    return Trust(key.public_bytes_raw())


@dataclass(frozen=True, slots=True)
class _Signed:
    """What the two signature files say: who signed, and which bytes each of the signatures is to cover."""

    signer: str
    statement: bytes
    parts: Mapping[str, tuple[bytes, bytes]]


def audit_signature(
    files: Mapping[str, Path], tasks: Sequence[Mapping[str, Any]], trust: Trust | None, run: Run
) -> None:
    """Compare the signatures with release.json, and their key with the trusted one; say which of them is there.

    Without a trusted key nothing is believed of a signature, but one that contradicts the release is found.
    """
    there = [name for name in (SIGNATURE, ENVELOPE) if name in files]
    if len(there) < 2:
        _check_absent(there, files, run, trust)
        return
    with reporting(Spot(run, ENVELOPE), "signature"):
        signed = _read(files, Spot(run, ENVELOPE))
        _check_statement(signed, tasks, Spot(run, ENVELOPE))
        fits = {name: _is_valid(signed.signer, *part) for name, part in signed.parts.items()}
        if trust is None or trust.name == signed.signer:
            run.signature = "unchecked" if trust is None else "trusted"
            _check_fits(fits, run)
        else:
            _report_other(all(fits.values()), signed, trust, run)


def _check_absent(there: Sequence[str], files: Mapping[str, Path], run: Run, trust: Trust | None) -> None:
    """Tell a release that was never signed from one whose signature was taken away."""
    listed: list[str] = []
    with reporting(Spot(run, "SHA256SUMS"), "signature"):
        sums = content_of(files, "SHA256SUMS").decode("ascii", "replace")
        listed = [name for name in (SIGNATURE, ENVELOPE) if f"  {name}\n" in sums]
    lacking = [name for name in (SIGNATURE, ENVELOPE) if name not in there]
    if there or listed:
        run.signature = "stripped"
        for name in lacking:
            Spot(run, name).report(
                "signature",
                wanted="the signature that the release had",
                found="none: it was taken away" if name in listed else "none beside the other one",
            )
    elif trust is not None:
        Spot(run, SIGNATURE).report(
            "signature", wanted=f"a signature by {trust.name}", found="none: the release is not signed"
        )


def _read(files: Mapping[str, Path], spot: Spot) -> _Signed:
    line = content_of(files, ENVELOPE)
    if not line.endswith(b"\n"):
        raise failure("one line", "no newline at the end")
    envelope = read_document(line[:-1], "envelope", spot)
    signer = envelope["signatures"][0]["keyid"]
    payload = _decoded(envelope["payload"])
    covered = b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD_TYPE), _PAYLOAD_TYPE.encode(), len(payload), payload)
    parts = {
        SIGNATURE: (content_of(files, SIGNATURE), content_of(files, "release.json")),
        ENVELOPE: (_decoded(envelope["signatures"][0]["sig"]), covered),
    }
    return _Signed(signer, payload, parts)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise failure("base64", "another text") from None


def _is_valid(signer: str, signature: bytes, content: bytes) -> bool:
    try:
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signer.removeprefix("ed25519:")))
        public.verify(signature, content)
    except (InvalidSignature, ValueError):
        return False
    return True


def _check_statement(signed: _Signed, tasks: Sequence[Mapping[str, Any]], spot: Spot) -> None:
    """Report unless the statement speaks of this release.json, and of the TARs and manifests that it names."""
    with reporting(spot, "signature"):
        said = read_document(signed.statement, "statement", spot)
        wanted = hashlib.sha256(signed.parts[SIGNATURE][1]).hexdigest()
        spot.expect(
            "signature",
            "a statement of the release.json that is here,",
            wanted=wanted,
            found=said["predicate"]["release"]["sha256"],
        )
        for what, listed in (("tar", said["subject"]), ("manifest", said["predicate"]["manifests"])):
            told = {part["name"]: part["digest"]["sha256"] for part in listed}
            found = {entry[what]["file"]: entry[what]["digest"].removeprefix("sha256:") for entry in tasks}
            for name in sorted(set(told) | set(found)):
                spot.at(name).expect(
                    "signature", "the digest that was signed,", wanted=told.get(name), found=found.get(name)
                )


def _check_fits(fits: Mapping[str, bool], run: Run) -> None:
    """Report a signature that names the right key and does not fit: something was changed after signing."""
    for name, is_fitting in fits.items():
        if not is_fitting:
            run.signature = "altered"
            what = "release.json" if name == SIGNATURE else "the statement"
            Spot(run, name).report(
                "signature",
                wanted=f"a signature over {what} as it is",
                found="one that does not fit: changed after it was signed",
            )


def _report_other(is_valid: bool, signed: _Signed, trust: Trust, run: Run) -> None:
    """Report a signature that names another key than the trusted one."""
    run.signature = "other key" if is_valid else "altered"
    if not is_valid and all(_is_valid(trust.name, *part) for part in signed.parts.values()):
        Spot(run, ENVELOPE).report(
            "signature", wanted=f"the name of the key that signed, {trust.name}", found=signed.signer
        )
        return
    found = f"one that names {signed.signer} and is not by that key either"
    if is_valid:
        found = f"a valid one by {signed.signer}: signed by somebody else, or signed again"
    Spot(run, SIGNATURE).report("signature", wanted=f"a signature by {trust.name}", found=found)
