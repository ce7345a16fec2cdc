"""Make the certificates by which the processes of a cluster know each other.

Whoever holds a certificate of the CA can run code on every worker. So the CA's own key is never written: what it
signed once is all that there will ever be, and a new cluster takes a new CA.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pipeline.io.durable import write_bytes
from pipeline.model.errors import PrivacyError, UsageError

ROLES = ("client", "scheduler", "worker")
_CA = "ca.pem"
DAYS = 365
_NAME = "curate cluster"


@dataclass(frozen=True, slots=True)
class Certificates:
    """Where the certificates lie: the CA's, and for each role its own with its key."""

    ca: Path
    certificate: Mapping[str, Path]
    key: Mapping[str, Path]


def make_certificates(folder: Path) -> Certificates:
    """Write a CA's certificate, and one with its key for client, scheduler and worker (0600, in a folder 0700).

    Raises
    ------
    UsageError
        output-exists, when the folder holds something already.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UsageError("output-exists", wanted="a new or empty folder", found="one that is in use")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    authority = ec.generate_private_key(ec.SECP256R1())
    root = _certificate(authority, authority, "ca", is_authority=True)
    for role in ROLES:
        key = ec.generate_private_key(ec.SECP256R1())
        write_bytes(folder / f"{role}.key", _pem(key), 0o600)
        write_bytes(
            folder / f"{role}.pem", _certificate(authority, key, role).public_bytes(Encoding.PEM), 0o600
        )
    # Last, because its presence says that all are there.
    write_bytes(folder / _CA, root.public_bytes(Encoding.PEM), 0o600)
    return find_certificates(folder)


def find_certificates(folder: Path) -> Certificates:
    """Return the certificates that `make_certificates` wrote.

    Raises
    ------
    UsageError
        certificates-missing, naming what is not there.
    PrivacyError
        certificates-readable, when others may read a key.
    """
    found = Certificates(
        folder / _CA,
        {role: folder / f"{role}.pem" for role in ROLES},
        {role: folder / f"{role}.key" for role in ROLES},
    )
    return checked(found)


def checked(found: Certificates) -> Certificates:
    """Return certificates that are all there, with keys that only their owner reads."""
    paths = [found.ca, *found.certificate.values(), *found.key.values()]
    missing = sorted({path.name for path in paths if not path.is_file()})
    if missing:
        raise UsageError(
            "certificates-missing", wanted="certificates of a cluster", found="no " + ", ".join(missing)
        )
    if any(path.stat().st_mode & 0o077 for path in found.key.values()):
        raise PrivacyError(
            "certificates-readable", wanted="keys with mode 0600", found="one that others may read"
        )
    return found


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _name(role: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{_NAME} {role}")])


def _certificate(
    authority: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePrivateKey,
    role: str,
    *,
    is_authority: bool = False,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(role))
        .issuer_name(_name("ca"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # Clocks of two hosts may differ by some minutes.
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(
            x509.BasicConstraints(ca=is_authority, path_length=0 if is_authority else None), critical=True
        )
    )
    if not is_authority:
        # Dask compares no host names: each of its processes listens and calls.
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    return builder.sign(authority, hashes.SHA256())
