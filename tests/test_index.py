"""Every file below the sources has one line in the index, which says what it is and what binds it."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_source import PERSON, Person, write_mask, write_series, write_structures, write_table, write_task

from pipeline import index as room
from pipeline.index import index, look
from pipeline.io import ledger
from pipeline.io.source import Entry
from pipeline.io.workspace import Workspace, create
from pipeline.model.errors import CurationError, SelectionError, UsageError
from pipeline.model.series import Fate, Kind, SourceFile
from pipeline.processes import Begun


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return create(tmp_path / "workspace")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / f"{PERSON} source"
    folder.mkdir()
    return folder


def quiet(_what: str, _done: int, _of: int) -> None:
    """Say nothing of progress."""


def run(workspace: Workspace, *sources: Path, task: str | None = None) -> dict[str, int]:
    return index(workspace, sources, task, quiet)


def indexed(workspace: Workspace) -> dict[str, SourceFile]:
    return {file.inside: file for file in ledger.read_index(workspace.index)}


def fates(workspace: Workspace) -> Counter[tuple[str, str]]:
    rows = ledger.read_fates(workspace.private / "fates.csv")
    return Counter((row["fate"], row["code"]) for row in rows)


def test_every_file_gets_a_kind_and_a_fate(workspace: Workspace, source: Path) -> None:
    write_series(source / "ct", Person(), count=3)
    write_structures(source / "rt", Person())
    write_mask(source / "mask.NII.GZ")
    write_table(source / "cases.csv", [])
    (source / "notes.txt").write_text("hello")
    (source / "empty").write_bytes(b"")
    (source / "cut").write_bytes((source / "ct" / "0").read_bytes()[:-9])
    (source / "a.zip").write_bytes(b"no zip")
    os.mkfifo(source / "pipe")

    assert run(workspace, source) == {
        "files": 11, "image": 3, "mask": 1, "other": 5, "rtstruct": 1, "table": 1,
    }  # fmt: skip
    assert fates(workspace) == {
        ("pending", ""): 6, ("ignored", "not-dicom"): 1, ("ignored", "not-a-file"): 1, ("refused", "truncated"): 2,
        ("refused", "archive-unreadable"): 1,
    }  # fmt: skip


def test_a_line_has_facts_digest_and_size(workspace: Workspace, source: Path) -> None:
    (path,) = write_series(source, Person(7), count=1, described="T2")
    run(workspace, source)
    line = indexed(workspace)["0"]

    assert (line.kind, line.facts["PatientID"], line.facts["SeriesDescription"]) == (
        Kind.IMAGE,
        f"{PERSON}7",
        "T2",
    )
    assert (line.ref.path, line.ref.member, line.ref.size) == (str(path), None, path.stat().st_size)
    assert line.facts["ImagePositionPatient"] == [0, 0, 0]
    assert "PatientName" not in line.facts


def test_a_damaged_slice_still_says_its_series(workspace: Workspace, source: Path) -> None:
    first, *_ = write_series(source, Person(), count=2)
    first.write_bytes(first.read_bytes()[:-9])
    run(workspace, source)

    assert indexed(workspace)["0"].code == "truncated"
    assert indexed(workspace)["0"].facts["SeriesInstanceUID"] == Person().series_uid(1)


# Binding


@pytest.mark.parametrize(
    ("root", "inside", "said", "task"),
    [
        ("in", "Task05_Prostate/x/0", None, "Task05_Prostate"),
        ("in", "x/Task05_Prostate/0", None, None),
        ("in", "Task05_Prostate", None, None),
        ("in", "Task05/0", None, None),
        ("in", "Task05_Prostate/x/0", "Task03_Liver", "Task05_Prostate"),
        ("Task05_Prostate", "x/0", "Task03_Liver", "Task03_Liver"),
        ("Task05_Prostate", "x/0", None, "Task05_Prostate"),
        ("Task05_Prostate", "Task03_Liver/0", None, "Task03_Liver"),
        ("in", "x/0", "Task11_Own", "Task11_Own"),
    ],
)
def test_a_source_is_bound_by_a_folder_or_as_said_or_by_its_own_name(
    workspace: Workspace, tmp_path: Path, root: str, inside: str, said: str | None, task: str | None
) -> None:
    (path,) = write_series(tmp_path / "made", Person(), count=1)
    place = tmp_path / root / inside
    place.parent.mkdir(parents=True)
    path.rename(place)
    run(workspace, tmp_path / root, task=said)

    assert indexed(workspace)[inside].task == task


@pytest.mark.parametrize(
    ("name", "member"), [("Task05_Prostate.zip", "x/0"), ("sent.zip", "Task05_Prostate/x/0")]
)
def test_an_archive_binds_as_the_folder_it_stands_for(
    workspace: Workspace, tmp_path: Path, name: str, member: str
) -> None:
    (path,) = write_series(tmp_path / "made", Person(), count=1)
    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        archive.write(path, member)
    run(workspace, tmp_path / name)

    assert indexed(workspace)[member].task == "Task05_Prostate"


def test_binding_again_changes_the_task_without_reading_again(workspace: Workspace, source: Path) -> None:
    paths = write_series(source, Person(), count=2)
    run(workspace, source)
    for path in paths:
        spoil_unseen(path)
    run(workspace, source, task="Task03_Liver")

    assert {(file.task, file.code) for file in indexed(workspace).values()} == {("Task03_Liver", None)}


# Looking again


def spoil_unseen(path: Path) -> None:
    """Make a file rubbish that looks from outside as it did: only who reads it again can tell."""
    status = path.stat()
    path.write_bytes(b"x" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_only_what_changed_is_read_again(workspace: Workspace, source: Path) -> None:
    paths = write_series(source, Person(), count=3)
    run(workspace, source)
    spoil_unseen(paths[0])
    paths[1].write_bytes(b"other")
    paths[2].unlink()
    run(workspace, source)

    assert {inside: file.code for inside, file in indexed(workspace).items()} == {"0": None, "1": "not-dicom"}


def test_what_could_not_be_read_is_tried_again(
    workspace: Workspace, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(source, Person(), count=2)
    allowed = os.access
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode: Path(path).name != "1" and allowed(path, mode))
        run(workspace, source)
        assert indexed(workspace)["1"].code == "permission-denied"
    run(workspace, source)

    assert indexed(workspace)["1"].code is None


def test_overlapping_sources_count_a_file_once(workspace: Workspace, source: Path) -> None:
    write_task(source, "Task09_Spleen", count=1)
    run(workspace, source)
    counts = run(workspace, source / "Task09_Spleen", task="Task03_Liver")

    assert counts["files"] == 11
    assert sum(fates(workspace).values()) == 11
    assert {file.task for file in ledger.read_index(workspace.index)} == {"Task03_Liver"}


def lines(workspace: Workspace) -> list[bytes]:
    (path,) = workspace.index.iterdir()
    return path.read_bytes().splitlines()


def test_many_processes_read_what_one_does_in_the_same_order(
    workspace: Workspace, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        write_series(source / f"{number}", Person(number), count=7)
    with zipfile.ZipFile(source / "1.zip", "w") as small, zipfile.ZipFile(source / "large.zip", "w") as large:
        for path in write_series(source / "made", Person(8), count=3):
            small.write(path, path.name)
            large.write(path, path.name)
        large.writestr("padding.txt", "x" * 9000)
    os.mkfifo(source / "pipe")
    run(workspace, source)
    alone = lines(workspace)
    shutil.rmtree(workspace.index)
    workspace.index.mkdir()
    monkeypatch.setattr(room, "FEW", 0)
    monkeypatch.setattr(room, "CHUNK", 4)
    monkeypatch.setattr(room, "LARGE_ARCHIVE", 9000)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    run(workspace, source)
    beside = lines(workspace)
    (source / "1" / "3").write_bytes(b"other")
    run(workspace, source)

    assert beside == alone
    assert sum(old != new for old, new in zip(alone, lines(workspace), strict=True)) == 1


def test_a_tree_that_changed_is_read_along_with_its_old_index(workspace: Workspace, source: Path) -> None:
    for name in ("b", "d", "d/x", "f"):
        write_series(source / name, Person(ord(name[-1])), count=2)
    run(workspace, source)
    for name in ("a", "c", "d/a"):
        write_series(source / name, Person(ord(name[-1]) + 100), count=2)
    shutil.rmtree(source / "b")
    (source / "d" / "0").unlink()
    (source / "0").write_bytes(b"a file before every folder")
    run(workspace, source)
    again = lines(workspace)
    (path,) = workspace.index.iterdir()
    path.unlink()
    run(workspace, source)

    assert lines(workspace) == again


# What ends the process that reads it


def _struck(path: Path) -> None:
    if path.read_bytes() == b"poison":
        os.kill(os.getpid(), signal.SIGSEGV)


def read_or_die(search: Any, places: Any) -> list[list[bytes]]:
    for path, *_ in places:
        _struck(path)
    return READ(search, places)


def read_along_or_die(search: Any, place: Any, skip: int, tell: Any) -> None:
    def tell_and_die(said: Any) -> None:
        tell(said)
        if said == Begun("1"):
            os.abort()

    ALONG(search, place, skip, tell_and_die)


READ, ALONG = room._read_chunk, room._read_along


def test_a_file_or_member_at_which_its_reader_dies_is_refused_and_the_others_are_read(
    workspace: Workspace, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(source / "ct", Person(), count=3)
    (source / "poison").write_bytes(b"poison")
    with zipfile.ZipFile(source / "sent.zip", "w") as archive:
        for path in write_series(source / "made", Person(8), count=3):
            archive.write(path, path.name)
    shutil.rmtree(source / "made")
    monkeypatch.setattr(room, "LARGE_ARCHIVE", 100)
    monkeypatch.setattr(room, "_read_chunk", read_or_die)
    monkeypatch.setattr(room, "_read_along", read_along_or_die)
    run(workspace, source)

    found = [(file.ref.member or file.inside, file.code) for file in ledger.read_index(workspace.index)]
    assert found == [
        ("poison", "input-crashed"), ("0", None), ("1", "input-crashed"), ("2", None),
        ("ct/0", None), ("ct/1", None), ("ct/2", None),
    ]  # fmt: skip
    assert sum(fates(workspace).values()) == 7
    assert list(workspace.crashes.glob("*.log"))
    monkeypatch.undo()
    run(workspace, source)
    codes = [file.code for file in ledger.read_index(workspace.index)]
    # Tried anew, the archive as a whole.
    assert codes == ["not-dicom", None, None, None, None, None, None]


def die_before_the_second(search: Any, place: Any, skip: int, tell: Any) -> None:
    if skip:
        os.abort()
    for number, said in enumerate(_all_told(search, place)):
        if number == 2:
            os.abort()
        tell(said)


def _all_told(search: Any, place: Any) -> list[Any]:
    told: list[Any] = []
    ALONG(search, place, 0, told.append)
    return told


def test_members_behind_the_death_of_a_reader_are_back_in_the_index_when_it_lives(
    workspace: Workspace, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(source / "sent.zip", "w") as archive:
        for path in write_series(source / "made", Person(8), count=4):
            archive.write(path, path.name)
    shutil.rmtree(source / "made")
    monkeypatch.setattr(room, "LARGE_ARCHIVE", 100)
    monkeypatch.setattr(room, "_read_along", die_before_the_second)
    run(workspace, source)
    found = [(file.ref.member, file.code) for file in ledger.read_index(workspace.index)]
    assert found == [("0", None), (None, "input-crashed")]
    monkeypatch.undo()
    run(workspace, source)

    found = [(file.ref.member, file.code) for file in ledger.read_index(workspace.index)]
    assert found == [(str(number), None) for number in range(4)]


# What the machine does not hand out


@pytest.mark.parametrize("is_large", [False, True])
def test_what_a_failing_drive_did_not_hand_out_is_tried_again(
    workspace: Workspace, source: Path, monkeypatch: pytest.MonkeyPatch, is_large: bool
) -> None:
    write_series(source / "ct", Person(), count=3)
    with zipfile.ZipFile(source / "sent.zip", "w") as archive:
        for path in write_series(source / "made", Person(8), count=3):
            archive.write(path, path.name)
    shutil.rmtree(source / "made")
    if is_large:
        monkeypatch.setattr(room, "LARGE_ARCHIVE", 100)
    monkeypatch.setattr(room, "_read_chunk", read_failing)
    monkeypatch.setattr(room, "_read_along", read_along_failing)
    run(workspace, source)
    found = [file.code for file in ledger.read_index(workspace.index)]
    assert found == [None, "read-failed", None] * 2
    monkeypatch.undo()
    run(workspace, source)

    assert [file.code for file in ledger.read_index(workspace.index)] == [None] * 6


def fail_at_the_second(entry: Entry) -> bytes:
    def fail() -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    name = entry.member or Path(entry.path).name
    return ENTRY(replace(entry, content=fail) if name == "1" else entry)


ENTRY = room.read_entry


def read_failing(search: Any, places: Any) -> list[list[bytes]]:
    # In the process that reads.
    room.read_entry = fail_at_the_second
    return READ(search, places)


def read_along_failing(search: Any, place: Any, skip: int, tell: Any) -> None:
    room.read_entry = fail_at_the_second
    ALONG(search, place, skip, tell)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="no file that cannot be read is at hand")
def test_a_file_that_the_system_cannot_read_is_no_damaged_file(workspace: Workspace, source: Path) -> None:
    write_series(source / "ct", Person(), count=3)
    (source / "ct" / "3").symlink_to("/proc/self/mem")
    run(workspace, source)

    assert [file.code for file in ledger.read_index(workspace.index)] == [None, None, None, "read-failed"]
    assert lines(workspace)[-1].endswith(b'"stamp":[0,0]}')


# Refusals


def refused(workspace: Workspace, *sources: Path) -> CurationError:
    with pytest.raises(CurationError) as refusal:
        run(workspace, *sources)
    assert PERSON not in str(refusal.value)
    return refusal.value


def test_an_empty_or_missing_folder_is_no_source(workspace: Workspace, source: Path) -> None:
    for folder in (source, source / PERSON):
        error = refused(workspace, folder)
        assert isinstance(error, UsageError)
        assert (error.code, error.exit_code) == ("no-sources", 2)
    assert list(workspace.index.iterdir()) == []


def test_a_source_that_went_away_does_not_empty_its_index(workspace: Workspace, source: Path) -> None:
    write_series(source, Person(), count=2)
    run(workspace, source)
    source.rename(source.with_name("unmounted"))
    refused(workspace, source)

    assert len(indexed(workspace)) == 2


def test_text_files_are_no_images_and_each_has_its_fate(workspace: Workspace, source: Path) -> None:
    for number in range(3):
        (source / f"{PERSON}{number}.txt").write_text("text")
    error = refused(workspace, source)

    assert isinstance(error, SelectionError)
    assert (error.code, error.found) == ("no-images", "3 files, none of them one")
    assert fates(workspace) == {(Fate.IGNORED.value, "not-dicom"): 3}


def test_progress_counts_to_its_end_and_names_nobody(workspace: Workspace, source: Path) -> None:
    write_series(source, Person(), count=3)
    told: list[tuple[str, int, int]] = []
    index(workspace, [source], None, lambda *words: told.append(words))

    assert told == [("files read", number, 3) for number in (1, 2, 3)]


def test_looking_without_a_workspace_finds_the_same(workspace: Workspace, source: Path) -> None:
    write_series(source / "ct", Person(), count=2)
    write_mask(source / "m.nii")
    run(workspace, source)

    assert {file.inside: file for file in look(source.resolve(), quiet)} == indexed(workspace)
