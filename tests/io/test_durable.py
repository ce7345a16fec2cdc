"""Whatever stands under its name is whole, whenever the process died."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.io.durable import (
    TEMPORARY_PREFIX,
    refusing_unwritable,
    sweep,
    temporary_name,
    write_bytes,
    writing,
)
from pipeline.model.errors import UsageError


class Killed(BaseException):
    """As a killed process: nothing that catches exceptions stops it."""


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def fail_at(monkeypatch: pytest.MonkeyPatch, name: str, fault: BaseException) -> None:
    """Make a step of the recipe fail: a function of `os`, or a method of `Path`."""

    def failing(*_: object) -> None:
        raise fault

    monkeypatch.setattr(Path if name in ("chmod", "replace") else os, name, failing)


STEPS = ("open", "fdopen", "fsync", "chmod", "replace")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("before", [None, b"before"])
def test_a_failure_at_any_step_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, before: bytes | None
) -> None:
    path = tmp_path / "file"
    if before is not None:
        path.write_bytes(before)
    with monkeypatch.context() as patch:
        fail_at(patch, step, Killed())
        with pytest.raises(Killed):
            write_bytes(path, b"after")

    assert names(tmp_path) == ([] if before is None else ["file"])
    assert before is None or path.read_bytes() == before


def test_a_failure_in_the_block_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="own"), writing(tmp_path / "file") as stream:
        stream.write(b"half")
        raise ValueError("the block's own")

    assert names(tmp_path) == []


def test_a_killed_process_leaves_a_temporary_file_and_nothing_else(tmp_path: Path) -> None:
    code = (
        "import os, sys, signal; from pathlib import Path; from pipeline.io.durable import writing\n"
        "with writing(Path(sys.argv[1])) as stream: stream.write(b'half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "file")], check=False)

    assert killed.returncode < 0

    (left,) = names(tmp_path)
    assert left.startswith(TEMPORARY_PREFIX)
    assert sweep(tmp_path) == 1
    assert names(tmp_path) == []


def test_the_bytes_reach_the_disk_before_the_name_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = []
    fsync, replace = os.fsync, Path.replace

    def flushed(descriptor: int) -> None:
        order.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")  # noqa: PTH112
        fsync(descriptor)

    def renamed(self: Path, target: Path) -> Path:
        order.append("name")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", renamed)
    write_bytes(tmp_path / "file", b"x")

    assert order == ["file", "name", "folder"]


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o777])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("mode", [0o644, 0o600])
def test_a_file_has_its_mode_whatever_the_umask(tmp_path: Path, mode: int) -> None:
    write_bytes(tmp_path / "file", b"x", mode)

    assert (tmp_path / "file").stat().st_mode & 0o7777 == mode


def test_a_secret_is_never_readable_while_it_is_written(tmp_path: Path) -> None:
    before = os.umask(0)
    with writing(tmp_path / "key", 0o600) as stream:
        modes = {entry.stat().st_mode & 0o777 for entry in tmp_path.iterdir()}
        stream.write(b"x")
    os.umask(before)

    assert modes == {0o600}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("step", STEPS)
def test_a_full_disk_is_a_refusal_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, number: int
) -> None:
    with monkeypatch.context() as patch:
        fail_at(patch, step, OSError(number, os.strerror(number)))
        with pytest.raises(UsageError) as refusal:
            write_bytes(tmp_path / "file", b"x")

    assert refusal.value.code == "disk-full"
    assert names(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_place_that_may_not_be_written_is_a_refusal_with_advice(number: int) -> None:
    with pytest.raises(UsageError) as refusal, refusing_unwritable():
        raise OSError(number, os.strerror(number))

    assert refusal.value.code == "not-writable"


def test_another_fault_of_the_system_stays_what_it_is() -> None:
    with pytest.raises(OSError, match="Input/output"), refusing_unwritable():
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def leave_file(path: Path) -> None:
    path.write_bytes(b"x")


def leave_folder(path: Path) -> None:
    path.mkdir()
    (path / "image.nii.gz").write_bytes(b"x")
    (path / f"{TEMPORARY_PREFIX}inner").write_bytes(b"x")


def leave_link(path: Path) -> None:
    path.symlink_to(path.parent / "kept")


@pytest.mark.parametrize("leave", [leave_file, leave_folder, leave_link])
def test_sweeping_takes_leftovers_and_nothing_else(tmp_path: Path, leave: Callable[[Path], None]) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_bytes(b"x")
    leave(temporary_name(tmp_path))

    assert sweep(tmp_path) == 1
    assert names(tmp_path) == ["kept"]
    assert names(tmp_path / "kept") == ["file"]
    assert sweep(tmp_path / "nowhere") == 0


def test_sweeping_leaves_to_the_next_time_what_is_still_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_folder(temporary_name(tmp_path))
    leave_file(temporary_name(tmp_path))

    def busy(folder: Path) -> None:
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rmdir", busy)
        assert sweep(tmp_path) == 2
    assert len(names(tmp_path)) == 1
    assert sweep(tmp_path) == 1
    assert names(tmp_path) == []


def test_two_temporary_names_differ(tmp_path: Path) -> None:
    assert temporary_name(tmp_path) != temporary_name(tmp_path)
