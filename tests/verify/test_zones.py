from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

from pipeline.verify.zones import release_zones

BODY = bytes(352) + b"voxels, voxels"


def tar(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(f"Task09_Spleen/imagesTr/{name}.nii.gz")
            info.size, info.uname = len(content), "Quavexzor"
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def test_every_byte_of_a_tar_is_in_a_zone_and_members_are_inflated(tmp_path: Path) -> None:
    packed = gzip.compress(BODY) + b"after the end"
    content = tar(spleen_1=packed) + b"behind the archive"
    (tmp_path / "Task09_Spleen.tar").write_bytes(content)
    zones = list(release_zones(tmp_path))

    text = b"".join(zone.content for zone in zones if not zone.is_voxels)
    assert all(
        word in text for word in (b"Quavexzor", b"after the end", b"behind the archive", b"Task09_Spleen.tar")
    )
    (voxels,) = (zone for zone in zones if zone.is_voxels)
    assert voxels.content == BODY
    assert voxels.case == "Task09_Spleen/spleen_1"


def test_a_manifest_line_is_of_its_case_and_broken_gzip_is_text(tmp_path: Path) -> None:
    (tmp_path / "Task09_Spleen.manifest.jsonl").write_bytes(
        b'{"task":"Task09_Spleen","case":"spleen_1"}\n{}\n'
    )
    (tmp_path / "x.nii.gz").write_bytes(b"\x1f\x8bQuavexzor")
    zones = list(release_zones(tmp_path))
    assert [zone.case for zone in zones if zone.member.startswith("line")] == ["Task09_Spleen/spleen_1", ""]
    assert any(b"Quavexzor" in zone.content and not zone.is_voxels for zone in zones)


def test_a_member_that_inflates_far_is_read_in_pieces_that_overlap(tmp_path: Path) -> None:
    body = bytes(352) + bytes(9 * 2**20) + b"Quavexzor"
    (tmp_path / "x.nii.gz").write_bytes(gzip.compress(body))
    pieces = [zone for zone in release_zones(tmp_path) if zone.is_voxels]
    assert len(pieces) > 1
    assert b"Quavexzor" in pieces[-1].content
    assert sum(len(piece.content) for piece in pieces) == len(body) + 256 * (len(pieces) - 1)
