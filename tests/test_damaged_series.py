"""Each slice of two real series taken away, doubled, renamed or cut, one at a time: a code, or the right voxels."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.misc import is_dicom

from pipeline.index import look
from pipeline.io.dicom import read_dataset
from pipeline.io.source import read_refs
from pipeline.model.errors import CurationError
from pipeline.model.plan import refs_and_frames
from pipeline.model.series import SourceFile, Stack
from pipeline.stages.convert import convert
from pipeline.stages.ingest import ingest
from pipeline.stages.quantify import quantity_of

pytestmark = pytest.mark.slow

PLACES = 20
"""At so many places each file is cut, from its first byte on, at equal distances."""


@dataclass(frozen=True)
class Series:
    """A real series: its slices in a folder, named by their place along the normal, and what pydicom reads of them."""

    folder: Path
    values: np.ndarray

    @property
    def names(self) -> list[str]:
        return [f"{number:02d}" for number in range(self.values.shape[2])]


@pytest.fixture(scope="module", params=["ct-small", "ibsi-sts/dicom/STS_008/MR_T1/image"], ids=["CT", "MR"])
def series(request: pytest.FixtureRequest, real: Path, tmp_path_factory: pytest.TempPathFactory) -> Series:
    folder = tmp_path_factory.mktemp("series")
    slices = []
    for path in (path for path in (real / request.param).rglob("*") if path.is_file() and is_dicom(path)):
        one = pydicom.dcmread(path)
        row, column = np.split(np.array(one.ImageOrientationPatient, float), 2)
        along = float(np.dot(np.cross(row, column), np.array(one.ImagePositionPatient, float)))
        slices.append((along, path, one))
    slices.sort(key=lambda found: found[0])
    for number, (_, path, _) in enumerate(slices):
        shutil.copyfile(path, folder / f"{number:02d}")
    values = [
        one.pixel_array.T * float(one.get("RescaleSlope", 1)) + float(one.get("RescaleIntercept", 0))
        for _, _, one in slices
    ]
    return Series(folder, np.stack(values, axis=2))


def seen(folder: Path) -> list[SourceFile]:
    return list(look(folder, lambda *_: None))


def outcome(stack: Stack) -> np.ndarray | str:
    """Return a stack's voxels as they are stacked, or the code of its refusal."""
    try:
        if stack.code is not None:
            return stack.code
        refs, _ = refs_and_frames(stack)
        datasets = [read_dataset(content) for content in read_refs(refs)]
        return convert(datasets, quantity_of(stack.facts)[0]).value.data
    except CurationError as error:
        return error.code


def check(files: Iterable[SourceFile], right: np.ndarray | str) -> None:
    """Hold what becomes of files to the voxels of one volume, or to one code."""
    (found,) = (outcome(stack) for stack in ingest(files).stacks)
    if isinstance(right, str):
        assert (found if isinstance(found, str) else "a volume") == right
    else:
        assert not isinstance(found, str), found
        np.testing.assert_allclose(found, right, rtol=2e-7)


def without(files: Sequence[SourceFile], number: int) -> list[SourceFile]:
    return [file for file in files if file.inside != f"{number:02d}"]


def test_a_slice_that_is_gone_is_missed_or_was_the_last_of_the_right_ones(series: Series) -> None:
    files, last = seen(series.folder), len(series.names) - 1
    check(files, series.values)
    for number in range(last + 1):
        is_end = number in (0, last)
        check(without(files, number), np.delete(series.values, number, axis=2) if is_end else "missing-slice")


def test_a_slice_that_is_there_twice_counts_once_or_refuses(series: Series, tmp_path: Path) -> None:
    files, again = seen(series.folder), tmp_path / "again"
    for name in series.names:
        shutil.copyfile(series.folder / name, again)
        check([*files, *seen(tmp_path)], series.values)
        other = pydicom.dcmread(again)
        other.PixelData = other.PixelData[::-1]
        other.save_as(again)
        check([*files, *seen(tmp_path)], "conflicting-duplicates")
        other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        other.save_as(again)
        check([*files, *seen(tmp_path)], "duplicate-positions")


def test_two_slices_that_swap_their_names_change_nothing(series: Series, tmp_path: Path) -> None:
    folder = tmp_path / "swapped"
    shutil.copytree(series.folder, folder)
    for first, second in zip(series.names, reversed(series.names), strict=True):
        (folder / first).rename(folder / "between")
        if first != second:
            (folder / second).rename(folder / first)
        (folder / "between").rename(folder / second)
        check(seen(folder), series.values)


def test_a_file_that_was_cut_anywhere_stops_its_series(series: Series, tmp_path: Path) -> None:
    files = seen(series.folder)
    for number, name in enumerate(series.names):
        content = (series.folder / name).read_bytes()
        for place in range(PLACES):
            (tmp_path / name).write_bytes(content[: len(content) * place // PLACES])
            (cut,) = seen(tmp_path)
            assert cut.code in ("truncated", "unreadable"), (name, place)
            check([*without(files, number), replace(cut, inside=name)], str(cut.code))
        (tmp_path / name).unlink()
