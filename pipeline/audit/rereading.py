"""Each released channel against what the second reader makes of its source files."""

from __future__ import annotations

import math
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.audit.files import CHUNK
from pipeline.audit.nifti import VOXEL_OFFSET
from pipeline.audit.report import Spot

if TYPE_CHECKING:
    from pipeline.secondreader import Released


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a channel came from: (path, archive member, size) of each file; (file, frame) where one holds several."""

    files: Sequence[tuple[str, str | None, int]]
    frames: Sequence[tuple[int, int]]


_UNREADABLE = (
    OSError,
    EOFError,
    KeyError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    RuntimeError,
    ValueError,
)
"""What missing and damaged files raise: the audit of the TAR and of the sources' digests says so, not this one."""

_NOT_AS_NOTED = (KeyError, TypeError, ValueError, IndexError, ArithmeticError)
"""What notes raise that do not say what a room's note says."""


def read_again(
    line: Mapping[str, Any], origins: Mapping[str, Origin], tar: Path | None, private: Path, spot: Spot
) -> None:
    """Compare every channel of a case with its source files; count who was asked, or why nobody could be.

    Parameters
    ----------
    line
        The manifest's line of the case.
    origins
        Channel -> its source files, by the workspace's plan.
    tar
        The task's TAR.
    private
        A folder for what may hold identity; archive members lie there while they are read.
    """
    # Here, because an audit without the workspace reads no source: SimpleITK is most of what it would load.
    from pipeline.secondreader import Released

    try:
        voxels = _voxels(line, tar)
    except _UNREADABLE:
        return
    affine = np.array(line["image"]["affine"], dtype=np.float64)
    names = dict.fromkeys(str(note["channel"]) for note in line["notes"] if note["stage"] == "scale")
    for name, values in zip(names, voxels, strict=False):
        notes = [note for note in line["notes"] if note.get("channel") == name or note["stage"] == "face"]
        if name in origins:
            _compare(Released(values, affine), origins[name], notes, private, spot.at(f"channel {name}"))


def _compare(
    released: Released, origin: Origin, notes: Sequence[Mapping[str, Any]], private: Path, spot: Spot
) -> None:
    from pipeline.secondreader import compare

    with tempfile.TemporaryDirectory(dir=private) as folder:
        scratch = Path(folder)
        try:
            files = _spooled(origin.files, scratch)
        except _UNREADABLE:
            return
        try:
            opinion = compare(released, files, frames=origin.frames, notes=notes, scratch=scratch)
        except _NOT_AS_NOTED:
            spot.report("convert", wanted="notes that lead from the sources to the voxels", found="others")
            return
    spot.run.second_reader[opinion.reason or opinion.reader] += 1
    for difference in opinion.differences:
        spot.report(difference.stage, wanted=difference.wanted, found=difference.found)


def _voxels(line: Mapping[str, Any], tar: Path | None) -> list[npt.NDArray[Any]]:
    """Return the voxels of each channel, shape (I, J, K), from the case's image in the TAR."""
    if tar is None:
        raise FileNotFoundError
    shape, dtype = tuple(line["image"]["shape"]), np.dtype(line["image"]["dtype"]).newbyteorder("<")
    size = math.prod(shape) * dtype.itemsize
    with tarfile.open(tar) as archive:
        stream = archive.extractfile(line["members"]["image"])
        if stream is None:
            raise FileNotFoundError
        # Never more than what the line says, whatever the member inflates to.
        content = zlib.decompressobj(wbits=zlib.MAX_WBITS + 16).decompress(stream.read(), VOXEL_OFFSET + size)
    data = np.frombuffer(content, dtype, count=math.prod(shape), offset=VOXEL_OFFSET).reshape(
        shape, order="F"
    )
    return [data] if data.ndim == 3 else list(np.moveaxis(data, 3, 0))


def _spooled(files: Sequence[tuple[str, str | None, int]], folder: Path) -> list[Path]:
    """Return a path of each file; archive members are written into the folder, each archive read once."""
    places = {file: folder / f"{number:06d}" for number, file in enumerate(files)}
    for path in dict.fromkeys(path for path, member, _ in files if member is not None):
        wanted = {str(member): places[where, member, size] for where, member, size in files if where == path}
        if path.lower().endswith(".zip"):
            with zipfile.ZipFile(path) as archive:
                for name in wanted:
                    with archive.open(name) as stream:
                        _copy(stream, wanted[name])
        else:
            with tarfile.open(path, "r|*") as tape:
                for info in tape:
                    found = tape.extractfile(info) if info.name in wanted and info.isfile() else None
                    if found is not None:
                        _copy(found, wanted[info.name])
    paths = [Path(path) if member is None else places[path, member, size] for path, member, size in files]
    if not all(path.is_file() for path in paths):
        raise FileNotFoundError
    return paths


def _copy(stream: IO[bytes], target: Path) -> None:
    with target.open("wb") as copy:
        while block := stream.read(CHUNK):
            copy.write(block)
