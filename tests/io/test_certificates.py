"""Certificates that hold against a stock TLS, and that nobody else can read or add to."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from pipeline.io.certificates import ROLES, Certificates, find_certificates, make_certificates
from pipeline.model.errors import PrivacyError, UsageError


@pytest.fixture
def made(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path / "tls")


def shake_hands(server: Certificates, client: Certificates) -> None:
    """Let a scheduler and a client of two CAs talk through memory; raises where they do not trust each other."""
    contexts = []
    for side, role, mine in (
        (ssl.Purpose.CLIENT_AUTH, "scheduler", server),
        (ssl.Purpose.SERVER_AUTH, "client", client),
    ):
        context = ssl.create_default_context(side, cafile=str(mine.ca))
        context.verify_mode, context.check_hostname = ssl.CERT_REQUIRED, False
        context.load_cert_chain(mine.certificate[role], mine.key[role])
        contexts.append(context)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [contexts[0].wrap_bio(up, down, server_side=True), contexts[1].wrap_bio(down, up)]
    for _ in range(10):
        for side_ in sides:
            try:
                side_.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert all(side_.version() for side_ in sides)
    sides[1].write(b"well")
    assert sides[0].read(4) == b"well"


def test_processes_of_one_cluster_trust_each_other(made: Certificates) -> None:
    shake_hands(made, made)


def test_a_certificate_of_another_ca_is_not_trusted(made: Certificates, tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLError):
        shake_hands(made, make_certificates(tmp_path / "other"))


def test_only_the_owner_reads_them_and_the_key_of_the_ca_is_nowhere(made: Certificates) -> None:
    folder = made.ca.parent
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert {path.name for path in folder.glob("*.key")} == {f"{role}.key" for role in ROLES}


def test_a_folder_in_use_is_refused(made: Certificates) -> None:
    with pytest.raises(UsageError, match="output-exists"):
        make_certificates(made.ca.parent)


def test_a_missing_certificate_is_named(made: Certificates) -> None:
    made.key["worker"].unlink()
    with pytest.raises(UsageError, match=r"no worker\.key"):
        find_certificates(made.ca.parent)


def test_a_key_that_others_read_is_refused(made: Certificates) -> None:
    made.key["client"].chmod(0o640)
    with pytest.raises(PrivacyError, match="certificates-readable"):
        find_certificates(made.ca.parent)
