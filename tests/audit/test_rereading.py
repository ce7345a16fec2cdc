"""A case's channels in a TAR against their source files, plain and in archives."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from placed_source import Source, ramp

from pipeline.audit.report import Run, Spot
from pipeline.audit.rereading import Origin, read_again
from pipeline.io import nifti

SOURCE = Source(ramp(), orientation=(-1, 0, 0, 0, -1, 0))
MEMBER = "Task03_Liver/imagesTr/liver_0.nii.gz"


def line(channels: int = 1, **changed: Any) -> dict[str, Any]:
    names = [f"c{number}" for number in range(channels)]
    return {
        "members": {"image": MEMBER},
        "image": {
            "shape": [*SOURCE.stored.shape, *([channels] if channels > 1 else [])],
            "dtype": "float32",
            "affine": SOURCE.affine.tolist(),
        },
        "notes": [{"stage": "scale", "channel": name, "method": "keep"} for name in names],
    } | changed


def packed(folder: Path, data: npt.NDArray[Any]) -> Path:
    content = nifti.encode(data, SOURCE.affine).content
    with tarfile.open(folder / "made.tar", "w") as archive:
        info = tarfile.TarInfo(MEMBER)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return folder / "made.tar"


def found(case: dict[str, Any], origins: dict[str, Origin], tar: Path | None, private: Path) -> Run:
    run = Run()
    read_again(case, origins, tar, private, Spot(run, "x.manifest.jsonl", case="liver_0"))
    assert not [path for path in private.iterdir() if path.is_dir() and path.name.startswith("tmp")]
    return run


def origin(paths: list[Path]) -> Origin:
    return Origin([(str(path), None, path.stat().st_size) for path in paths], ())


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return SOURCE.write(tmp_path / "source")


def test_each_channel_is_compared_with_its_own_files(tmp_path: Path, files: list[Path]) -> None:
    other = Source(SOURCE.stored[::-1], orientation=SOURCE.orientation)
    others = other.write(tmp_path / "other")
    tar = packed(tmp_path, np.stack([SOURCE.values, other.values], axis=3).astype(np.float32))

    right = found(line(2), {"c0": origin(files), "c1": origin(others)}, tar, tmp_path)
    wrong = found(line(2), {"c0": origin(others), "c1": origin(others)}, tar, tmp_path)

    assert (right.findings, right.second_reader) == ([], {"SimpleITK": 2})
    assert [(one.member, one.stage) for one in wrong.findings] == [("channel c0", "convert")]


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_members_of_an_archive_are_read_again(tmp_path: Path, files: list[Path], kind: str) -> None:
    path = tmp_path / f"source.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in files:
                archive.write(file, f"in/{file.name}")
    else:
        with tarfile.open(path, "w:gz") as tape:
            for file in files:
                tape.add(file, f"in/{file.name}")
    members = Origin([(str(path), f"in/{file.name}", file.stat().st_size) for file in files], ())
    run = found(line(), {"c0": members}, packed(tmp_path, SOURCE.values.astype(np.float32)), tmp_path)

    assert (run.findings, run.second_reader) == ([], {"SimpleITK": 1})


def test_what_the_digests_report_already_is_not_reported_again(tmp_path: Path, files: list[Path]) -> None:
    tar = packed(tmp_path, SOURCE.values.astype(np.float32))
    files[0].unlink()
    gone = Origin([(str(path), None, 1) for path in files], ())

    assert found(line(), {"c0": gone}, tar, tmp_path).findings == []
    assert found(line(), {"c0": gone}, None, tmp_path).findings == []
    assert found(line(members={"image": "other"}), {"c0": gone}, tar, tmp_path).findings == []


def test_notes_that_say_nothing_usable_are_found(tmp_path: Path, files: list[Path]) -> None:
    note = {"stage": "scale", "channel": "c0", "method": "robust_min_max", "range": "none"}
    tar = packed(tmp_path, SOURCE.values.astype(np.float32))
    run = found(line(notes=[note]), {"c0": origin(files)}, tar, tmp_path)

    assert [one.stage for one in run.findings] == ["convert"]
