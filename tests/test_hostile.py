"""Files made to do harm are refused by name, nothing is written outside, and memory stays bounded."""

from __future__ import annotations

import multiprocessing
import os
import resource
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from hostile import (
    deflated_bomb,
    giant_length,
    giant_nifti,
    gzip_of_zeros,
    nested,
    nifti_header,
    zip_of_zeros,
)
from running import run_curate
from tiny_source import Person, write_series

from pipeline.index import seen
from pipeline.io import annotation
from pipeline.io.ruleset import load_task
from pipeline.io.source import entries, files_below
from pipeline.io.workspace import create
from pipeline.model.errors import CurationError

SMALL = 300 * 2**20
"""Bytes that looking at a small file may take beside what an idle process has."""

BILLION_LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(['*' + old] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


def _confined(work: Callable[[Path], object], path: Path, answer: multiprocessing.SimpleQueue) -> None:
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + SMALL, taken + SMALL))
    try:
        answer.put(work(path))
    except CurationError as error:
        answer.put(error.code)


def in_little_memory(work: Callable[[Path], object], path: Path) -> object:
    """Return what a function makes of a file in a process that may have little memory."""
    context = multiprocessing.get_context("fork")
    answer = context.SimpleQueue()
    child = context.Process(target=_confined, args=(work, path, answer))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    return answer.get()


def codes(path: Path) -> list[str | None]:
    return [seen(entry, None).code for place in files_below(path) for entry in entries(*place)]


def written(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def many_members(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(20_000):
            archive.writestr(f"{number}", b"")


def archive_in_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inner.zip", b"PK")


@pytest.mark.parametrize(
    ("name", "make", "wanted"),
    [
        ("zip.zip", lambda path: zip_of_zeros(path, 10 * 2**30), {"archive-unreadable"}),
        ("tar.tar.gz", lambda path: gzip_of_zeros(path, 2**27, b"\xff" * 512), {"archive-unreadable"}),
        ("deflated", lambda path: deflated_bomb(path, 2**30), {"unreadable"}),
        ("deep", written(nested(10_000)), {"unreadable"}),
        ("long", written(giant_length()), {"truncated"}),
        ("many.zip", many_members, {"truncated"}),
        ("nested.zip", archive_in_archive, {"archive-unreadable"}),
        ("giant.nii.gz", giant_nifti, {None}),
    ],
)
def test_a_bomb_is_looked_at_in_little_memory(
    tmp_path: Path, name: str, make: Callable[[Path], object], wanted: set[str | None]
) -> None:
    make(tmp_path / name)

    assert set(in_little_memory(codes, tmp_path / name)) == wanted  # type: ignore[call-overload]


def read_as_mask(path: Path) -> str:
    annotation.read_mask(path.read_bytes(), path.name)
    return "read"


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("giant.nii.gz", giant_nifti),
        ("bomb.nii.gz", lambda path: gzip_of_zeros(path, 2**30, nifti_header((4, 4, 4)))),
        (
            "giant.nrrd",
            written(
                b"NRRD0004\ntype: uchar\ndimension: 3\nspace: left-posterior-superior\nsizes: 99999 99999 99999\n"
                b"space directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\nencoding: raw\n\n"
            ),
        ),
        (
            "giant.mha",
            written(
                b"ObjectType = Image\nNDims = 3\nBinaryData = True\nTransformMatrix = 1 0 0 0 1 0 0 0 1\n"
                b"Offset = 0 0 0\nElementSpacing = 1 1 1\nDimSize = 99999 99999 99999\n"
                b"ElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
            ),
        ),
    ],
)
def test_a_giant_mask_is_refused_in_little_memory(
    tmp_path: Path, name: str, make: Callable[[Path], object]
) -> None:
    make(tmp_path / name)
    answer = in_little_memory(read_as_mask, tmp_path / name)

    assert isinstance(answer, str)
    assert answer.startswith(("label-", "truncated", "unreadable"))


def test_laughs_are_no_settings_and_no_rules(tmp_path: Path) -> None:
    workspace = create(tmp_path / "ws")
    workspace.settings_file.write_text(BILLION_LAUGHS)
    (tmp_path / "Task11_Own.yaml").write_text(BILLION_LAUGHS)
    for read in (workspace.settings, lambda: load_task(tmp_path / "Task11_Own.yaml")):
        with pytest.raises(CurationError):
            read()


NAMES = (
    "../../escaped",
    "/escaped",
    "..\\escaped",
    "C:\\escaped",
    "a/../../escaped",
    "CON",
    "a\nb",
    "\udcff",
)


def test_no_member_of_an_archive_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (image,) = write_series(tmp_path / "made", Person(), count=1)
    with zipfile.ZipFile(tmp_path / "in" / "sent.zip", "w") as archive:
        for name in NAMES:
            archive.writestr(name.encode("utf-8", "surrogateescape").decode("latin-1"), image.read_bytes())
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    run_curate("init", tmp_path / "ws")
    run_curate("index", tmp_path / "in", "-w", tmp_path / "ws")

    assert list(codes(tmp_path / "in")).count("unsafe-member") == 6
    assert [path for path in tmp_path.parent.rglob("*escaped*") if path.parent != tmp_path.parent] == []


@pytest.mark.slow
def test_a_description_is_no_path_no_script_and_no_terminal_code(tmp_path: Path) -> None:
    hostile = "../../escaped <script>alert(1)</script> \x1b[2J\x07"
    for path in write_series(tmp_path / "in" / "Task09_Spleen" / "x", Person(), count=11, described="x"):
        dataset = pydicom.dcmread(path)
        dataset.SeriesDescription = dataset.StudyDescription = hostile
        dataset.PixelData = np.arange(16, dtype="<i2").tobytes()
        dataset.save_as(path)
    data = np.zeros((4, 4, 11), np.uint8)
    data[1:3, 1:3, 2:5] = 1
    nib.save(
        nib.Nifti1Image(data, np.diag([-1.0, -1.0, 3.0, 1.0])), tmp_path / "in/Task09_Spleen/x/label.nii.gz"
    )
    before = set(tmp_path.parent.iterdir())
    ws = tmp_path / "ws"
    run_curate("init", ws)
    said = ""
    for words in (
        ("index", tmp_path / "in", "-w", ws), ("plan", "-w", ws), ("build", "-w", ws, "--workers", "1"),
        ("status", "-w", ws), ("convert", tmp_path / "in", "-o", tmp_path / "out"),
    ):  # fmt: skip
        done = run_curate(*words, code=0)
        said += done.stdout + done.stderr

    assert "\x1b" not in said
    assert "alert" not in said
    public = [
        path
        for place in ("out", "ws/store", "ws/review", "ws/runs")
        for path in (tmp_path / place).rglob("*")
    ]
    assert any(path.name.endswith(".nii.gz") for path in public)
    assert not any(b"<script" in path.read_bytes() for path in public if path.is_file())
    assert not any("escaped" in path.name and ".." in path.name for path in public)
    assert set(tmp_path.parent.iterdir()) == before


def test_what_is_private_is_so_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_series(tmp_path / "in" / "Task09_Spleen" / "x", Person(), count=11)
        run_curate("init", tmp_path / "ws")
        run_curate("index", tmp_path / "in", "-w", tmp_path / "ws")
        run_curate("plan", "-w", tmp_path / "ws")
    finally:
        os.umask(before)
    private = tmp_path / "ws" / "private"
    modes = {(path.is_dir(), path.stat().st_mode & 0o777) for path in (private, *private.rglob("*"))}

    assert modes == {(True, 0o700), (False, 0o600)}
