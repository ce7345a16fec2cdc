"""The doctor finds this machine well, and says of what is not what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import doctor as room
from pipeline.doctor import Finding, doctor
from pipeline.io.compressor import compressor
from pipeline.io.workspace import create


def ill(findings: list[Finding]) -> dict[str, str]:
    return {finding.what: finding.found for finding in findings if not finding.is_well}


def test_all_is_well_here(tmp_path: Path) -> None:
    create(tmp_path / "workspace")
    findings = doctor(tmp_path / "workspace")

    assert {what: found for what, found in ill(findings).items() if what != "disk"} == {}
    assert {"python", "compressor", "shipped rules", "workspace", "settings"} <= {f.what for f in findings}


def test_the_compressor_makes_the_bytes_of_every_release() -> None:
    assert compressor()["canary"] == room.CANARY


def test_another_compressor_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "CANARY", "sha256:0")

    assert "compressor" in ill(doctor(None))


def test_a_missing_package_and_decoder_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise room.PackageNotFoundError(name)

    monkeypatch.setattr(room, "version", missing)
    found = [finding for finding in doctor(None) if finding.what == "pydicom"]

    assert [(finding.found, finding.advice) for finding in found] == [("missing", "Run `make install`.")]


def test_a_full_disk_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_ENOUGH_DISK", 2**80)

    assert "disk" in ill(doctor(None))


def test_a_key_that_others_may_read_is_said_with_advice(tmp_path: Path) -> None:
    create(tmp_path / "workspace").key_file.chmod(0o644)
    found = {finding.what: finding for finding in doctor(tmp_path / "workspace")}

    assert found["workspace"].found.startswith("key-readable")
    assert "chmod 600" in found["workspace"].advice


@pytest.mark.parametrize("name", ["nowhere", "nowhere/at/all", "file"])
def test_a_workspace_that_is_none_is_a_finding(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"")

    assert ill(doctor(tmp_path / name))["workspace"].startswith("workspace-missing")


def test_a_finding_is_one_json_object() -> None:
    assert Finding("disk", "0 GiB free", False, "Free some.").to_json() == {
        "what": "disk", "found": "0 GiB free", "well": False, "advice": "Free some.",
    }  # fmt: skip
