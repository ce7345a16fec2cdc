"""A list of members has one TAR, which others read, and which is refused where USTAR ends."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.io.tarball import MEMBER_LIMIT, header, write

MEMBERS = [
    ("TaskNN_Name/labelsTr/a_1.nii.gz", b"\x01" * 700),
    ("TaskNN_Name/imagesTr/a_1.nii.gz", b"\x02" * 512),
    ("TaskNN_Name/dataset.json", b"{}\n"),
    ("TaskNN_Name/imagesTr/a_10.nii.gz", b""),
]
GOLDEN = "sha256:f6a362deab059d0b3f011847b2fe6a887f21ccba1ed84027ad1943d61169bef4"
"""If it changes, so does every TAR that was ever released: say so in the CHANGELOG."""


def read(path: Path) -> list[tuple[str, bytes]]:
    with tarfile.open(path, "r:") as archive:
        return [(info.name, archive.extractfile(info).read()) for info in archive]  # type: ignore[union-attr]


def test_members_are_read_back_in_the_byte_order_of_their_names(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", MEMBERS)

    assert read(tmp_path / "a.tar") == sorted(MEMBERS)


def test_the_order_and_the_kind_of_the_members_do_not_change_a_byte(tmp_path: Path) -> None:
    for number, (_, content) in enumerate(MEMBERS):
        (tmp_path / f"{number}").write_bytes(content)
    from_files = [(name, tmp_path / f"{number}") for number, (name, _) in enumerate(MEMBERS)]

    first = write(tmp_path / "a.tar", MEMBERS)
    second = write(tmp_path / "b.tar", reversed(from_files))
    assert first["digest"] == second["digest"] == GOLDEN


def test_what_is_said_of_the_file_is_true(tmp_path: Path) -> None:
    said = write(tmp_path / "a.tar", MEMBERS)
    content = (tmp_path / "a.tar").read_bytes()

    assert said == {
        "file": "a.tar",
        "digest": "sha256:" + hashlib.sha256(content).hexdigest(),
        "size": len(content),
    }


def test_members_have_no_owner_no_time_and_no_kind_but_file(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", MEMBERS)
    with tarfile.open(tmp_path / "a.tar", "r:") as archive:
        infos = archive.getmembers()

    assert {(i.uid, i.gid, i.uname, i.gname, i.mtime, i.mode, i.type) for i in infos} == {
        (0, 0, "", "", 0, 0o644, tarfile.REGTYPE)
    }
    assert {tuple(sorted(info.pax_headers)) for info in infos} == {()}


@pytest.mark.skipif(shutil.which("tar") is None, reason="no tar command")
def test_the_tar_command_has_nothing_to_say(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", MEMBERS)
    said = subprocess.run(["tar", "-tf", tmp_path / "a.tar"], capture_output=True, text=True, check=True)

    assert said.stdout.splitlines() == sorted(name for name, _ in MEMBERS)
    assert said.stderr == ""


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(0, 12_000), max_size=5))
def test_a_tar_ends_with_a_whole_record(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    path = tmp_path_factory.mktemp("tar") / "a.tar"
    members = [(f"t/{number}", bytes([number + 1]) * size) for number, size in enumerate(sizes)]
    said = write(path, members)

    content = path.read_bytes()
    assert len(content) % 10240 == 0
    assert content.endswith(bytes(1024))
    assert said["size"] == len(content)
    assert read(path) == members


@pytest.mark.parametrize(
    ("name", "size"), [("n" * 101, 1), ("n", MEMBER_LIMIT + 1), ("Größe", 1), ("\ud800", 1)]
)
def test_what_ustar_cannot_say_is_refused(name: str, size: int) -> None:
    with pytest.raises(ValueError, match=r".*"):
        header(name, size)


def test_what_ustar_can_just_say_is_read(tmp_path: Path) -> None:
    info = tarfile.TarInfo.frombuf(header("n" * 100, MEMBER_LIMIT), "ascii", "strict")

    assert (info.name, info.size) == ("n" * 100, MEMBER_LIMIT)


def test_a_tar_that_could_not_be_finished_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "a.tar", [("t/a", b"x"), ("t/b", tmp_path / "nowhere")])

    assert list(tmp_path.iterdir()) == []


def test_no_name_is_given_twice(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="twice"):
        write(tmp_path / "a.tar", [("t/a", b"x"), ("t/a", b"y")])
