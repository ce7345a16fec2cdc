"""TARs of another make are found, and the member that is."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
from sample_release import SPLEEN, dataset_bytes, gzipped, sample, tar_of
from spoiling import (
    IMAGE,
    LABEL,
    SPLEEN_TAR,
    changed_info,
    flip,
    members_of,
    members_of_bytes,
    sealed_tar,
    shown,
    sought,
    spoilt_tar,
)

from pipeline.audit import audit


def test_every_flipped_bit_of_a_tar_header_is_located_to_its_member(release: Path) -> None:
    offset = {name: place for place, name in members_of(release / SPLEEN_TAR)}[IMAGE]
    for byte in range(0, 512, 3):
        flip(release / SPLEEN_TAR, offset + byte, byte % 8)
        report = audit(release)
        flip(release / SPLEEN_TAR, offset + byte, byte % 8)
        assert {f.member for f in report.findings} - {""} == {IMAGE}, (byte, shown(report))


@pytest.mark.parametrize(
    "fields",
    [{"uid": 1000}, {"gid": 5}, {"mtime": 1700000000}, {"mode": 0o600}, {"uname": "doe"}, {"gname": "doe"}],
    ids=lambda fields: next(iter(fields)),
)
def test_an_owner_or_time_in_the_tar_is_found(tmp_path: Path, fields: dict[str, Any]) -> None:
    report = spoilt_tar(tmp_path, changed_info(**fields))

    assert {(f.file, f.member, f.case) for f in report.findings} == {(SPLEEN_TAR, IMAGE, "spleen_2")}


def test_a_renamed_member_is_found_under_both_names(tmp_path: Path) -> None:
    other = IMAGE.replace("spleen_2", "spleen_22")
    report = spoilt_tar(tmp_path, changed_info(name=other))

    assert sought(report, member=other, wanted="a member that a manifest line explains")
    assert sought(report, member=IMAGE, case="spleen_2", found="none")


def test_a_dropped_member_is_found(tmp_path: Path) -> None:
    report = spoilt_tar(tmp_path, lambda info: None if info.name == LABEL else info)

    assert [finding.member for finding in report.findings] == [LABEL]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_a_link_or_device_in_the_tar_is_found(tmp_path: Path, kind: bytes) -> None:
    report = spoilt_tar(tmp_path, changed_info(type=kind, linkname="/etc/passwd", size=0))

    assert sought(report, member=IMAGE, case="spleen_2")


@pytest.mark.parametrize(
    "name",
    [
        f"{SPLEEN}/labelsTs/spleen_3.nii.gz",
        f"./{SPLEEN}/x",
        "../x",
        "/x",
        f"{SPLEEN}/._x",
        f"{SPLEEN}/imagesTr/",
    ],
)
def test_a_member_that_no_line_explains_is_found(tmp_path: Path, name: str) -> None:
    made = sample()
    task = made[SPLEEN]
    members = {f"{SPLEEN}/dataset.json": dataset_bytes(task), **task.files, name: b"x"}

    report = audit(sealed_tar(made, tar_of(members), tmp_path))
    assert sought(report, member=name, wanted="a member that a manifest line explains"), shown(report)


def test_members_in_another_order_are_found(tmp_path: Path) -> None:
    made = sample()
    task = made[SPLEEN]
    names = sorted([f"{SPLEEN}/dataset.json", *task.files])
    names[2], names[3] = names[3], names[2]
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in names:
            content = task.files.get(name, dataset_bytes(task))
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            archive.addfile(info, io.BytesIO(content))

    report = audit(sealed_tar(made, packed.getvalue(), tmp_path))
    assert [(f.member, f.wanted.split()[1]) for f in report.findings] == [(names[3], "name")]


def test_a_member_given_twice_is_found(tmp_path: Path) -> None:
    made = sample()
    task = made[SPLEEN]
    packed = tar_of({f"{SPLEEN}/dataset.json": dataset_bytes(task), **task.files})
    offset, name = members_of_bytes(packed)[-2]
    end = members_of_bytes(packed)[-1][0]
    twice = packed[:end] + packed[offset:end] + packed[end:]

    report = audit(sealed_tar(made, twice, tmp_path))
    assert sought(report, member=name, wanted="each member once")


@pytest.mark.parametrize("wrap", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_tar_of_another_format_is_found(tmp_path: Path, wrap: int) -> None:
    made = sample()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=wrap, pax_headers={"comment": "hello"}) as archive:
        info = tarfile.TarInfo(IMAGE)
        archive.addfile(info)

    assert sought(audit(sealed_tar(made, packed.getvalue(), tmp_path)), file=SPLEEN_TAR)


def test_a_compressed_tar_is_found(tmp_path: Path) -> None:
    made = sample()
    report = audit(sealed_tar(made, gzipped(bytes(10240)), tmp_path))

    assert sought(report, file=SPLEEN_TAR, stage="package")
