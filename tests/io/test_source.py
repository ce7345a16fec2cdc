"""Sources are read where they lie: every file is listed, nothing leaves an archive, no damage passes as its end."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.io import source
from pipeline.io.source import Entry, entries, files_below, read_entry, read_refs, stamp_of
from pipeline.model.errors import SourceError
from pipeline.model.series import SourceRef

SLICE = b"\x00" * 128 + b"DICM" + bytes(range(200))


def member(name: str, content: bytes = SLICE, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    """Return one TAR member, header and padded content."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(content)
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


END = bytes(1024)


def write_tar(path: Path, *members: bytes, end: bytes = END) -> Path:
    content = b"".join(members) + end
    path.write_bytes(gzip.compress(content) if path.name.endswith("gz") else content)
    return path


def write_zip(path: Path, contents: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def listed(root: Path) -> list[tuple[str, str | None, str | None]]:
    """Return place, member and code of every file below a root."""
    return [(e.inside, e.member, e.code) for place in files_below(root) for e in entries(*place)]


def codes(path: Path) -> list[tuple[str | None, str | None]]:
    return [(entry.member, entry.code) for entry in entries(path, path.name, None)]


def ref_of(path: Path, name: str | None = None, content: bytes = SLICE) -> SourceRef:
    return SourceRef(str(path), name, hashlib.sha256(content).hexdigest(), len(content))


# Folders


def test_every_file_of_a_tree_is_listed_once_in_the_same_order(tmp_path: Path) -> None:
    for name in ("b/2", "b/1", "a", "c/d/e.dcm"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(SLICE)

    assert listed(tmp_path) == [
        ("a", None, None), ("b/1", None, None), ("b/2", None, None), ("c/d/e.dcm", None, None),
    ]  # fmt: skip


def test_a_root_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert listed(tmp_path / "nowhere") == []


def test_a_pipe_is_named_and_never_opened(tmp_path: Path) -> None:
    # Opening it would wait for a writer for ever.
    os.mkfifo(tmp_path / "pipe")

    assert listed(tmp_path) == [("pipe", None, "not-a-file")]


def test_a_link_to_a_folder_is_named_and_not_entered(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "slice").write_bytes(SLICE)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere")

    assert listed(tmp_path / "root") == [("link", None, "not-a-file")]


def test_a_link_to_nothing_is_a_missing_source(tmp_path: Path) -> None:
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")

    assert listed(tmp_path) == [("gone", None, "source-missing")]


def forbid(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Make the operating system deny files of these names; tests may run as root, whom nothing is denied."""
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name not in names and allowed(path, mode))


def test_what_we_may_not_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inner").write_bytes(SLICE)
    (tmp_path / "file").write_bytes(SLICE)
    forbid(monkeypatch, "file", "folder")

    assert listed(tmp_path) == [("folder", None, "permission-denied"), ("file", None, "permission-denied")]


def test_a_folder_that_cannot_be_listed_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("closed", "open"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "slice").write_bytes(SLICE)
    scan = os.scandir

    def failing(path: str) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", failing)

    assert listed(tmp_path) == [("open/slice", None, None), ("closed", None, "permission-denied")]


def test_a_file_that_goes_between_listing_and_reading_is_missing(tmp_path: Path) -> None:
    (tmp_path / "slice").write_bytes(SLICE)
    places = list(files_below(tmp_path))
    (tmp_path / "slice").unlink()

    assert [entry.code for place in places for entry in entries(*place)] == ["source-missing"]


def test_a_file_that_goes_before_it_is_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "slice").write_bytes(SLICE)
    (entry,) = entries(tmp_path / "slice", "slice", None)
    (tmp_path / "slice").unlink()

    with pytest.raises(SourceError) as refusal:
        read_entry(entry)
    assert refusal.value.code == "source-missing"


def test_a_name_that_is_not_utf8_is_read(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/M\xfcller", "wb") as stream:  # noqa: PTH123  (a name in bytes)
        stream.write(SLICE)
    ((path, inside, code),) = files_below(tmp_path)
    (entry,) = entries(path, inside, code)

    assert (os.fsencode(inside), code, read_entry(entry)) == (b"M\xfcller", None, SLICE)


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MEMBER_LIMIT", len(SLICE) - 1)
    (tmp_path / "slice").write_bytes(SLICE)
    (entry,) = entries(tmp_path / "slice", "slice", None)

    with pytest.raises(SourceError) as refusal:
        read_entry(entry)
    assert refusal.value.code == "unreadable"


def test_a_file_that_changes_before_it_is_read_has_the_stamp_from_before_and_is_read_again(
    tmp_path: Path,
) -> None:
    (tmp_path / "slice").write_bytes(SLICE)
    (entry,) = entries(tmp_path / "slice", "slice", None)
    (tmp_path / "slice").write_bytes(SLICE[:-1])

    assert read_entry(entry) == SLICE[:-1]
    assert entry.stamp != stamp_of(tmp_path / "slice")


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (OSError(errno.EIO, "failed"), "read-failed"), (OSError(errno.ESTALE, "stale"), "read-failed"),
        (PermissionError(errno.EACCES, "denied"), "permission-denied"),
        (OSError(errno.EINVAL, "odd"), "archive-unreadable"),
    ],
)  # fmt: skip
def test_an_archive_that_the_machine_does_not_hand_out_is_no_damaged_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: OSError, code: str
) -> None:
    def fail(path: Path) -> Iterator[Any]:
        raise fault
        yield

    monkeypatch.setattr(source, "_zip_members", fail)
    (tmp_path / "a.zip").write_bytes(b"PK")
    assert codes(tmp_path / "a.zip") == [(None, code)]


# Archives


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz", "A.TAR", "a.zip"])
def test_members_are_read_as_files_of_a_folder(tmp_path: Path, name: str) -> None:
    contents = {"p1/1": SLICE, "p1/2": SLICE + b"2", "note.txt": b""}
    if name == "a.zip":
        path = write_zip(tmp_path / name, contents)
    else:
        path = write_tar(tmp_path / name, *(member(n, c) for n, c in contents.items()))

    read = {entry.inside: read_entry(entry) for entry in entries(path, name, None)}
    assert read == {f"{name}/{inner}": content for inner, content in contents.items()}


@pytest.mark.parametrize("name", ["root.tar", "root.zip"])
def test_an_archive_as_source_is_no_folder_of_what_it_holds(tmp_path: Path, name: str) -> None:
    inner = "Task05_Prostate/slice"
    path = tmp_path / name
    if name.endswith("zip"):
        write_zip(path, {inner: SLICE})
    else:
        write_tar(path, member(inner))

    assert listed(path) == [(inner, inner, None)]


@pytest.mark.parametrize(
    "name", ["../up", "a/../../up", "/etc/passwd", "\\up", "a\\..\\..\\up", "C:up", "..", "//host/share"]
)
def test_a_member_whose_name_leaves_the_archive_is_not_read(tmp_path: Path, name: str) -> None:
    tar, zipped = write_tar(tmp_path / "a.tar", member(name)), write_zip(tmp_path / "a.zip", {name: SLICE})

    assert {code for path in (tar, zipped) for _, code in codes(path)} == {"unsafe-member"}


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"Z"]
)
def test_a_link_or_device_in_a_tar_is_not_read(tmp_path: Path, kind: bytes) -> None:
    path = write_tar(tmp_path / "a.tar", member("odd", b"", kind, "/etc/passwd"), member("slice"))

    assert codes(path) == [("odd", "unsafe-member"), ("slice", None)]


def test_a_link_in_a_zip_is_not_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        link = zipfile.ZipInfo("odd")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")

    assert codes(tmp_path / "a.zip") == [("odd", "unsafe-member")]


def test_an_archive_in_an_archive_is_not_opened(tmp_path: Path) -> None:
    inner = write_zip(tmp_path / "inner.zip", {"slice": SLICE}).read_bytes()

    assert codes(write_tar(tmp_path / "a.tar", member("in.zip", inner))) == [("in.zip", "archive-unreadable")]


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.zip"])
def test_an_empty_archive_has_a_fate_too(tmp_path: Path, name: str) -> None:
    path = write_zip(tmp_path / name, {}) if name.endswith("zip") else write_tar(tmp_path / name)

    assert codes(path) == [(None, "not-dicom")]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive", bytes(100)])
@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.zip"])
def test_what_is_no_archive_is_said(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)

    assert codes(tmp_path / name) == [(None, "archive-unreadable")]


MEMBERS = [member(f"p/{number}", bytes([number]) * 700) for number in range(3)]
WHOLE = b"".join(MEMBERS)


def damaged(write: Callable[[bytes], Path], contents: Sequence[bytes]) -> list[bytes]:
    """Return those of some archives that are listed as if nothing were wrong."""
    return [
        content for content in contents if "archive-unreadable" not in dict(codes(write(content))).values()
    ]


def test_a_tar_cut_anywhere_before_its_end_mark_is_said(tmp_path: Path) -> None:
    def write(content: bytes) -> Path:
        (tmp_path / "cut.tar").write_bytes(content)
        return tmp_path / "cut.tar"

    cuts = [0, 1, 511, 512, 513, 1212, len(MEMBERS[0]), len(MEMBERS[0]) + 100, len(WHOLE) - 1, len(WHOLE)]
    assert damaged(write, [WHOLE[:cut] for cut in cuts]) == []


def test_a_gzipped_tar_cut_anywhere_is_said(tmp_path: Path) -> None:
    packed = gzip.compress(WHOLE + END, mtime=0)

    def write(content: bytes) -> Path:
        (tmp_path / "cut.tar.gz").write_bytes(content)
        return tmp_path / "cut.tar.gz"

    assert damaged(write, [packed[:cut] for cut in range(len(packed))]) == []


def test_a_flipped_bit_in_a_gzipped_tar_is_said(tmp_path: Path) -> None:
    # Stored, not compressed: nothing but the CRC can tell.
    packed = bytearray(gzip.compress(WHOLE + END, compresslevel=0, mtime=0))
    packed[20 + 512 + 10] ^= 1
    (tmp_path / "a.tgz").write_bytes(packed)

    assert codes(tmp_path / "a.tgz")[-1] == (None, "archive-unreadable")


def test_a_damaged_header_is_not_the_end_of_a_tar(tmp_path: Path) -> None:
    broken = bytearray(MEMBERS[1])
    broken[150] ^= 0xFF
    path = write_tar(tmp_path / "a.tar", MEMBERS[0], bytes(broken), MEMBERS[2])

    assert codes(path) == [("p/0", None), (None, "archive-unreadable")]


def test_a_second_tar_behind_the_first_is_not_overlooked(tmp_path: Path) -> None:
    assert codes(write_tar(tmp_path / "a.tar", MEMBERS[0], END, MEMBERS[1]))[-1] == (
        None,
        "archive-unreadable",
    )


def test_a_long_name_is_read_and_an_endless_one_is_not(tmp_path: Path) -> None:
    name = "d" * 150 + "/" + "e" * 150
    assert codes(write_tar(tmp_path / "a.tar", member(name))) == [(name, None)]

    bomb = member("././@LongLink", b"n" * (source.HEADER_LIMIT + 1), tarfile.GNUTYPE_LONGNAME)
    assert codes(write_tar(tmp_path / "b.tgz", bomb, member("x"))) == [(None, "archive-unreadable")]


def test_a_zip_cut_or_of_another_crc_is_said(tmp_path: Path) -> None:
    packed = bytearray(write_zip(tmp_path / "a.zip", {"p": b"\x01" * 300}).read_bytes())
    (tmp_path / "cut.zip").write_bytes(packed[:-1])
    at = packed.index(b"PK\x01\x02") + 16
    packed[at] ^= 1
    (tmp_path / "crc.zip").write_bytes(packed)

    assert codes(tmp_path / "cut.zip") == [(None, "archive-unreadable")]
    (entry,) = entries(tmp_path / "crc.zip", "crc.zip", None)
    with pytest.raises(SourceError) as refusal:
        read_entry(entry)
    assert refusal.value.code == "archive-unreadable"


def test_an_encrypted_member_is_refused_without_asking(tmp_path: Path) -> None:
    packed = bytearray(write_zip(tmp_path / "a.zip", {"p": SLICE}).read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        packed[packed.index(mark) + flags] |= 1
    (tmp_path / "a.zip").write_bytes(packed)
    (entry,) = entries(tmp_path / "a.zip", "a.zip", None)

    with pytest.raises(SourceError) as refusal:
        read_entry(entry)
    assert refusal.value.code == "archive-unreadable"


@pytest.mark.parametrize("name", ["a.tar.gz", "a.zip"])
@pytest.mark.parametrize("limit", ["EXPANSION_LIMIT", "MEMBER_LIMIT"])
def test_a_bomb_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, limit: str) -> None:
    monkeypatch.setattr(source, limit, 1000)
    monkeypatch.setattr(source, "EXPANSION_RATIO", 1)
    bomb = bytes(100_000)
    path = (
        write_zip(tmp_path / name, {"b": bomb})
        if "zip" in name
        else write_tar(tmp_path / name, member("b", bomb))
    )

    assert codes(path) == [(None, "archive-unreadable")]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.zip"])
def test_a_damaged_archive_gives_whole_members_or_a_code(
    tmp_path: Path, name: str, data: st.DataObject
) -> None:
    contents = {f"p/{number}": bytes([number]) * 50 for number in range(3)}
    path = tmp_path / name
    if name == "a.zip":
        write_zip(path, contents)
    else:
        write_tar(path, *(member(n, c) for n, c in contents.items()))
    packed = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(packed)

    for entry in entries(path, name, None):
        assert isinstance(entry, Entry)
        if entry.code is None:
            try:
                read_entry(entry)
            except SourceError as refusal:
                assert refusal.code == "archive-unreadable"


# Reading again


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.zip"])
def test_members_come_in_the_order_asked(tmp_path: Path, name: str) -> None:
    contents = {f"{number}": bytes([number]) * 30 for number in range(4)}
    path = tmp_path / name
    if name == "a.zip":
        write_zip(path, contents)
    else:
        write_tar(path, *(member(n, c) for n, c in contents.items()))
    (tmp_path / "plain").write_bytes(SLICE)
    refs = [ref_of(path, n, contents[n]) for n in ("3", "0", "2")]
    refs.insert(1, ref_of(tmp_path / "plain"))

    assert read_refs([*refs, refs[0]]) == [contents["3"], SLICE, contents["0"], contents["2"], contents["3"]]


def test_of_two_members_of_one_name_the_indexed_one_is_read(tmp_path: Path) -> None:
    # `tar --append` keeps the older version in the archive.
    path = write_tar(tmp_path / "a.tar", member("s", b"old"), member("s", b"new"))

    assert read_refs([ref_of(path, "s", b"new"), ref_of(path, "s", b"old")]) == [b"new", b"old"]


@pytest.mark.parametrize(("now", "code"), [(b"changed", "source-changed"), (None, "source-missing")])
def test_a_changed_or_missing_file_is_named_by_its_number(
    tmp_path: Path, now: bytes | None, code: str
) -> None:
    archive = tmp_path / "DOE_JANE.tar"
    write_tar(archive, member("first"), *([] if now is None else [member("second", now)]))

    with pytest.raises(SourceError) as refusal:
        read_refs([ref_of(archive, "first"), ref_of(archive, "second")])
    assert (refusal.value.code, refusal.value.where) == (code, "file 2 of 2")
    assert "DOE" not in str(refusal.value)


def test_a_source_that_became_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "slice")

    with pytest.raises(SourceError) as refusal:
        read_refs([ref_of(tmp_path / "slice")])
    assert refusal.value.code == "not-a-file"


def test_nothing_is_written_beside_an_archive(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", member("../x"), member("y"))
    for entry in entries(path, "a.tar", None):
        if entry.code is None:
            io.BytesIO(read_entry(entry))

    assert [found.name for found in tmp_path.iterdir()] == ["a.tar"]
