"""A release that was signed is trusted; unsigned, stripped, signed by another and altered ones are told apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sample_release import SPLEEN, canonical, write_sums
from signing import (
    PUBLISHER,
    STRANGER,
    envelope_of,
    name_of,
    signed,
    statement_of,
    write_private,
    write_public,
)
from spoiling import SPLEEN_TAR, flip, shown, sought

from pipeline.audit import audit
from pipeline.model.errors import UsageError

SIGNATURE, ENVELOPE = "release.json.sig", "release.intoto.jsonl"


@pytest.fixture
def trust(tmp_path: Path) -> Path:
    return write_public(PUBLISHER, tmp_path / "publisher.pem")


def test_a_signed_release_is_trusted_under_its_own_key(release: Path, trust: Path) -> None:
    report = audit(signed(release), trust=trust)

    assert shown(report) == ""
    assert report.signature == "trusted"
    assert json.loads(json.dumps(report.to_json()))["signature"] == "trusted"


def test_without_a_trusted_key_a_signature_is_no_finding_and_no_trust(release: Path) -> None:
    report = audit(signed(release))

    assert shown(report) == ""
    assert report.signature == "unchecked"


def test_without_a_trusted_key_an_unsigned_release_is_no_finding(intact: Path) -> None:
    assert audit(intact).signature == "none"


def edit_release(release: Path) -> None:
    """Change release.json and make all digests but the signatures fit again."""
    document = json.loads((release / "release.json").read_bytes())
    document["software"]["curate"] = "9.9.9"
    (release / "release.json").write_bytes(canonical(document))
    write_sums(release)


def strip(release: Path) -> None:
    (release / SIGNATURE).unlink()
    (release / ENVELOPE).unlink()


def strip_well(release: Path) -> None:
    strip(release)
    write_sums(release)


def strip_one(release: Path) -> None:
    (release / ENVELOPE).unlink()
    write_sums(release)


def sign_again(release: Path) -> None:
    edit_release(release)
    signed(release, STRANGER)


def exchange_signature(release: Path) -> None:
    """Leave the envelope, and sign release.json by another key."""
    (release / SIGNATURE).write_bytes(STRANGER.sign((release / "release.json").read_bytes()))
    write_sums(release)


def take_the_name(release: Path) -> None:
    """Sign by another key under the publisher's name."""
    envelope = json.loads(envelope_of(STRANGER, statement_of((release / "release.json").read_bytes())))
    envelope["signatures"][0]["keyid"] = name_of(PUBLISHER)
    (release / ENVELOPE).write_bytes(canonical(envelope) + b"\n")
    exchange_signature(release)


def state_another_tar(release: Path) -> None:
    statement = json.loads(statement_of((release / "release.json").read_bytes()))
    statement["subject"][0]["digest"]["sha256"] = 64 * "0"
    (release / ENVELOPE).write_bytes(envelope_of(PUBLISHER, canonical(statement)))
    write_sums(release)


CHANGED = "one that does not fit: changed after it was signed"
ANOTHER = f"a valid one by {name_of(STRANGER)}: signed by somebody else, or signed again"

Case = tuple[Callable[[Path], object], str, str, str]

SIGNED: dict[str, Case] = {
    "stripped": (strip, "stripped", SIGNATURE, "none: it was taken away"),
    "one of two stripped": (strip_one, "stripped", ENVELOPE, "none beside the other one"),
    "unsigned": (strip_well, "none", SIGNATURE, "none: the release is not signed"),
    "signed again": (sign_again, "other key", SIGNATURE, ANOTHER),
    "altered": (edit_release, "altered", SIGNATURE, CHANGED),
    "another signature": (exchange_signature, "altered", SIGNATURE, CHANGED),
    "another's name": (take_the_name, "altered", ENVELOPE, CHANGED),
    "a statement of another TAR": (state_another_tar, "trusted", ENVELOPE, ""),
}  # fmt: skip


@pytest.mark.parametrize("what", SIGNED)
def test_what_became_of_a_signature_is_told(release: Path, trust: Path, what: str) -> None:
    spoil, state, file, found = SIGNED[what]
    spoil(signed(release))

    report = audit(release, trust=trust)
    assert report.signature == state, shown(report)
    findings = sought(report, file=file, stage="signature")
    assert findings, shown(report)
    assert not found or found in {finding.found for finding in findings}, shown(report)


@pytest.mark.parametrize("what", ["stripped", "one of two stripped", "altered", "another signature"])
def test_a_broken_signature_is_found_without_a_trusted_key(release: Path, what: str) -> None:
    SIGNED[what][0](signed(release))

    report = audit(release)
    assert report.signature == SIGNED[what][1]
    assert sought(report, stage="signature")


@pytest.mark.parametrize("name", [SIGNATURE, ENVELOPE])
def test_every_flipped_bit_of_a_signature_is_found_there(release: Path, trust: Path, name: str) -> None:
    signed(release)
    size = (release / name).stat().st_size
    for byte in range(0, size, max(size // 64, 1)):
        flip(release / name, byte, byte % 8)
        report = audit(release, trust=trust)
        flip(release / name, byte, byte % 8)
        assert sought(report, file=name, stage="signature"), (byte, shown(report))


def test_a_changed_tar_below_a_sound_signature_is_found_by_its_digest(release: Path, trust: Path) -> None:
    flip(signed(release) / SPLEEN_TAR, 2000, 1)
    write_sums(release)

    assert sought(audit(release, trust=trust), file=SPLEEN_TAR)


@pytest.mark.parametrize("content", [b"", b"\xff\n", b"{}\n", b'{"payload":"%"}\n', b"[" * 9999 + b"\n"])
def test_an_envelope_that_is_none_is_a_finding(release: Path, trust: Path, content: bytes) -> None:
    (signed(release) / ENVELOPE).write_bytes(content)
    write_sums(release)

    assert sought(audit(release, trust=trust), file=ENVELOPE, stage="signature")


def test_a_statement_names_the_tar_that_differs(release: Path, trust: Path) -> None:
    state_another_tar(signed(release))

    (finding,) = sought(audit(release, trust=trust), stage="signature")
    assert finding.member.endswith(".tar")
    assert finding.member != f"{SPLEEN}.tar"


def test_what_is_no_public_key_cannot_be_trusted(intact: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("x")
    places = (tmp_path / "text", tmp_path / "nowhere", write_private(PUBLISHER, tmp_path / "private.pem"))
    for place in places:
        with pytest.raises(UsageError) as refused:
            audit(intact, trust=place)
        assert refused.value.code == "trusted-key"
