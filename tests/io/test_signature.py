"""A release is signed by an Ed25519 key that nobody else may read; the audit and stock openssl verify it."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from running import Curate, Demo
from sample_release import sample, seal, write_sums
from signing import PUBLISHER, envelope_of, name_of, statement_of, write_private, write_public

from pipeline.audit import audit
from pipeline.io.signature import ENVELOPE, SIGNATURE, load_signing_key, sign
from pipeline.model.errors import CurationError, PrivacyError, UsageError


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return write_private(PUBLISHER, tmp_path / "key.pem")


@pytest.fixture
def release(tmp_path: Path, key_file: Path) -> Path:
    """The sample release, signed by what is tested here."""
    folder = seal(sample(), tmp_path / "release")
    document = (folder / "release.json").read_bytes()
    for name, content in sign(load_signing_key(key_file), document, json.loads(document)["tasks"]).items():
        (folder / name).write_bytes(content)
    write_sums(folder)
    return folder


def test_the_audit_trusts_what_was_signed(release: Path, tmp_path: Path) -> None:
    report = audit(release, trust=write_public(PUBLISHER, tmp_path / "publisher.pem"))

    assert report.holds
    assert report.signature == "trusted"


def test_the_same_release_and_key_give_the_same_bytes(release: Path) -> None:
    document = (release / "release.json").read_bytes()

    assert (release / SIGNATURE).read_bytes() == PUBLISHER.sign(document)
    assert (release / ENVELOPE).read_bytes() == envelope_of(PUBLISHER, statement_of(document))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="not installed: openssl")
def test_openssl_verifies_both_signatures(release: Path, tmp_path: Path) -> None:
    trust = write_public(PUBLISHER, tmp_path / "publisher.pem")
    envelope = json.loads((release / ENVELOPE).read_bytes())
    payload = base64.b64decode(envelope["payload"])
    covered, signature = tmp_path / "covered", tmp_path / "signature"
    covered.write_bytes(f"DSSEv1 28 {envelope['payloadType']} {len(payload)} ".encode() + payload)
    signature.write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))

    for content, signed in ((release / "release.json", release / SIGNATURE), (covered, signature)):
        words: list[str | Path] = [
            "openssl",
            "pkeyutl",
            "-verify",
            "-pubin",
            "-inkey",
            trust,
            "-rawin",
            "-in",
            content,
        ]
        done = subprocess.run([*words, "-sigfile", signed], capture_output=True, text=True, check=False)
        assert done.stdout.strip() == "Signature Verified Successfully", done.stderr


@pytest.mark.skipif(shutil.which("openssl") is None, reason="not installed: openssl")
def test_a_key_that_openssl_made_signs(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", path], check=True)

    assert len(load_signing_key(path).sign(b"x")) == 64


def test_a_key_names_itself_by_its_public_half_and_shows_nothing(key_file: Path) -> None:
    key = load_signing_key(key_file)

    assert key.name == name_of(PUBLISHER)
    assert repr(key) == "SigningKey(...)"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(PrivacyError) as refused:
        load_signing_key(write_private(PUBLISHER, tmp_path / "key.pem", mode))
    assert refused.value.code == "signing-key-readable"


def refused_for(path: Path) -> CurationError:
    with pytest.raises(UsageError) as refused:
        load_signing_key(path)
    assert refused.value.code == "signing-key"
    return refused.value


def test_what_is_no_private_key_is_refused_and_not_quoted(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text("-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----\n")
    path.chmod(0o600)
    public = write_public(PUBLISHER, tmp_path / "public.pem")
    public.chmod(0o600)

    assert "SECRET" not in str(refused_for(path))
    for place in (tmp_path / "nowhere", public):
        refused_for(place)


def test_a_key_with_a_passphrase_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    hidden = serialization.BestAvailableEncryption(b"x")
    none = serialization.NoEncryption()
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    for content in (
        PUBLISHER.private_bytes(*form, hidden),
        ec.generate_private_key(ec.SECP256R1()).private_bytes(*form, none),
    ):
        path = tmp_path / "key.pem"
        path.write_bytes(content)
        path.chmod(0o600)
        refused_for(path)


# With a real release


@pytest.mark.slow
def test_pack_keeps_a_signature_that_fits_and_takes_away_one_that_does_not(
    curate: Curate, key_file: Path, tmp_path: Path
) -> None:
    demo, trust = Demo(tmp_path / "demo"), write_public(PUBLISHER, tmp_path / "publisher.pem")
    one, two = "Task05_Prostate", "Task09_Spleen"
    curate("demo", demo.folder, "--task", one, "--task", two, "--cases", "2")
    curate("init", demo.workspace, "--key", demo.truth / "demo.key")
    curate("index", demo.source, "-w", demo.workspace)
    curate("plan", "-w", demo.workspace)
    curate("build", "-w", demo.workspace, "--workers", "1")

    def state() -> str:
        said = json.loads(curate("audit", demo.release, "--json").stdout)
        return str(said["signature"])

    pack = ("pack", "-w", demo.workspace, "-r", demo.release)
    curate(*pack, "-t", one)
    assert state() == "none"
    curate(*pack, "-t", one, "--sign", key_file)
    curate("audit", demo.release, "--trust", trust)
    curate(*pack, "-t", one)
    assert state() == "unchecked"
    curate(*pack, "-t", two)
    assert state() == "none"
    curate("audit", demo.release, "--trust", trust, code=5)
    curate(*pack, "--sign", key_file)
    curate("audit", demo.release, "--trust", trust)


def test_pack_refuses_a_key_that_others_may_read_before_it_writes(
    curate: Curate, key_file: Path, tmp_path: Path
) -> None:
    curate("init", tmp_path / "workspace")
    key_file.chmod(0o644)
    curate("pack", "-w", tmp_path / "workspace", "-r", tmp_path / "release", "--sign", key_file, code=4)

    assert not (tmp_path / "release").exists()
