"""Convert every series with us, dcm2niix, dicom2nifti, SimpleITK and pydicom by hand, and print who agrees with whom.

    python benchmarks/conversion/table.py ../shared/data/real [--dcm2niix PATH] [--dicom2nifti PYTHON] [--resample]

`--dicom2nifti` names the Python of an environment that has it. A tool that is not there gets a column that says so.
`reference` compares with the NIfTI images that lie in the folder, where one is on the same grid.
One line is one series in one folder: copies of a series in other folders are other lines. Drawings get none.
Ours is made from the sources as they are, without de-identification, because the others do not de-identify.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import SimpleITK

from pipeline.export import RESAMPLE
from pipeline.index import look
from pipeline.io.dicom import read_dataset
from pipeline.io.quiet import hush
from pipeline.io.source import read_refs
from pipeline.model.errors import CurationError
from pipeline.model.plan import refs_and_frames
from pipeline.model.rules import Geometry
from pipeline.model.series import SourceFile, Stack
from pipeline.model.volume import corner_distance
from pipeline.stages.convert import convert
from pipeline.stages.ingest import LABELS, ingest
from pipeline.stages.orient import orient
from pipeline.stages.quantify import quantity_of
from pipeline.stages.unfold import unfold

Image = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
"""Voxels (I, J, K) and affine, closest to RAS+."""

Tool = Callable[[Path, Path], Iterator[Image]]
"""Reads a folder of one series, may write to another, yields its volumes."""

CORNER_MM, RELATIVE = 0.1, 1e-5
"""When two volumes are the same: corners this near, values this near by share of the largest."""

SECONDS = 120


class NotPlainError(Exception):
    """A series of which the standard's plainest formulas do not speak."""


REFUSALS = (subprocess.CalledProcessError, RuntimeError, OSError, AttributeError, ValueError, KeyError)
"""What other tools end with where they make nothing."""


def ours(stack: Stack, geometry: Geometry | None) -> Image:
    """Return one of our volumes, or refuse."""
    if stack.code is not None:
        raise CurationError(stack.code, wanted="one volume", found="none")
    refs, frames = refs_and_frames(stack)
    datasets = [read_dataset(content) for content in read_refs(refs)]
    if frames:
        unfolded = [unfold(dataset) for dataset in datasets]
        datasets = [unfolded[file][frame] for file, frame in frames]
    volume = orient(convert(datasets, quantity_of(stack.facts)[0], geometry=geometry).value).value
    return volume.data, volume.affine


def canonical(path: Path) -> Iterator[Image]:
    """Yield the volumes of a NIfTI file; those of a fourth axis one by one."""
    image = nibabel.as_closest_canonical(nibabel.load(path))
    data = np.asanyarray(image.dataobj)
    for number in range(int(np.prod(data.shape[3:], dtype=int))):
        yield data.reshape(*data.shape[:3], -1)[..., number], image.affine


def run(command: Sequence[str]) -> None:
    """Run another tool; what it says is not ours."""
    subprocess.run(command, check=True, capture_output=True, timeout=SECONDS)


def dcm2niix(program: str, *options: str) -> Tool:
    """Return the tool that runs dcm2niix; with `-p n` it takes the DICOM rescale of Philips, not their own."""

    def tool(source: Path, made: Path) -> Iterator[Image]:
        run([program, *options, "-z", "n", "-b", "n", "-f", "%s_%p", "-o", str(made), str(source)])
        for path in sorted(made.glob("*.nii")):
            yield from canonical(path)

    return tool


def dicom2nifti(python: str) -> Tool:
    """Return the tool that runs dicom2nifti in its own environment."""
    code = "import sys, dicom2nifti as d; d.dicom_series_to_nifti(sys.argv[1], sys.argv[2], reorient_nifti=False)"

    def tool(source: Path, made: Path) -> Iterator[Image]:
        run([python, "-c", code, str(source), str(made / "made.nii")])
        yield from canonical(made / "made.nii")

    return tool


def simpleitk(source: Path, made: Path) -> Iterator[Image]:
    """Yield what SimpleITK reads."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(source)))
    path = made / "made.nii"
    SimpleITK.WriteImage(reader.Execute(), str(path))
    yield from canonical(path)


def by_hand(source: Path, made: Path) -> Iterator[Image]:
    """Yield a plain series as PS3.3 C.7.6.2.1.1 and C.11.1 have it, with pydicom's header and decoder alone.

    Refuses series that are not plain (many slices in a file, two at one place, uneven, tilted).
    """
    del made
    slices = [pydicom.dcmread(path, force=True) for path in sorted(source.iterdir())]
    if any(one.get("NumberOfFrames", 1) != 1 or "ImagePositionPatient" not in one for one in slices):
        raise NotPlainError
    orientation = np.array(slices[0].ImageOrientationPatient, float)
    row, column = orientation[:3], orientation[3:]
    normal = np.cross(row, column)
    slices.sort(key=lambda one: float(np.dot(normal, np.array(one.ImagePositionPatient, float))))
    places = np.array([one.ImagePositionPatient for one in slices], float)
    steps = np.diff(places, axis=0)
    is_even = len(slices) > 1 and np.ptp(steps, axis=0).max() <= CORNER_MM
    if not is_even or np.linalg.norm(np.cross(steps[0], normal)) > 0.01 or np.dot(steps[0], normal) < 0.01:
        raise NotPlainError
    between_rows, between_columns = map(float, slices[0].PixelSpacing)
    step = (places[-1] - places[0]) / (len(slices) - 1)
    affine = np.eye(4)
    affine[:3] = np.column_stack([row * between_columns, column * between_rows, step, places[0]])
    values = [
        one.pixel_array.T * float(one.get("RescaleSlope", 1)) + float(one.get("RescaleIntercept", 0))
        for one in slices
    ]
    image = nibabel.Nifti1Image(np.stack(values, axis=2), np.diag([-1.0, -1, 1, 1]) @ affine)
    turned = nibabel.as_closest_canonical(image)
    yield np.asanyarray(turned.dataobj), turned.affine


def references(folder: Path) -> list[Image]:
    """Return every image (no mask) that lies beside the DICOM as NIfTI."""
    paths = [path for path in sorted(folder.rglob("*.nii*")) if "mask" not in str(path).lower()]
    return [image for path in paths for image in canonical(path)]


def against(mine: Sequence[Image], known: Sequence[Image]) -> str:
    """Return how many of our volumes are those of a reference; nothing where none lies on their grid."""
    here = [
        [other for other in known if other[0].shape == one[0].shape
         and corner_distance(one[0].shape, one[1], other[1]) <= CORNER_MM]
        for one in mine
    ]  # fmt: skip
    found = [
        any(is_same(one, other) for other in others) for one, others in zip(mine, here, strict=True) if others
    ]
    return f"{sum(found)} of {len(found)} same" if found else ""


def is_same(first: Image, second: Image) -> bool:
    """Whether two volumes have the same voxels at the same places."""
    if first[0].shape != second[0].shape or corner_distance(first[0].shape, first[1], second[1]) > CORNER_MM:
        return False
    mine, other = first[0].astype(np.float64), second[0].astype(np.float64)
    return bool(np.abs(mine - other).max() <= RELATIVE * max(float(np.abs(mine).max()), 1.0))


def verdict(tool: Tool, files: Sequence[Path], mine: Sequence[Image]) -> str:
    """Return how many of our volumes another tool makes too, and how many others it makes."""
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder, "in"), Path(folder, "out")
        source.mkdir()
        made.mkdir()
        for number, path in enumerate(files):
            (source / f"{number:05d}.dcm").symlink_to(path)
        try:
            theirs = list(tool(source, made))
        except subprocess.TimeoutExpired:
            return "too slow"
        except NotPlainError:
            return "not plain"
        except (*REFUSALS, nibabel.filebasedimages.ImageFileError):
            return "refused"
    if not theirs:
        return "nothing"
    same = sum(any(is_same(one, other) for other in theirs) for one in mine)
    others = sum(not any(is_same(one, other) for one in mine) for other in theirs)
    return told_of({f"of {len(mine)} same": same if mine else None, "other": others or None})


def told_of(counts: dict[str, int | None]) -> str:
    """Return counts with their words, but those that are None."""
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count is not None)


@dataclass(frozen=True)
class Series:
    """The images of one series in one folder: those in stacks, and those set aside with their codes."""

    name: str
    stacks: Sequence[Stack]
    set_aside: Sequence[tuple[SourceFile, str]]

    @property
    def paths(self) -> list[Path]:
        """Every file of it."""
        files = [
            *(file for stack in self.stacks for file in stack.files),
            *(file for file, _ in self.set_aside),
        ]
        return sorted({Path(file.ref.path) for file in files})


def series_below(root: Path) -> Iterator[Series]:
    """Yield every series of images, folder by folder."""
    folders: dict[str, list[SourceFile]] = defaultdict(list)
    for file in look(root.resolve(), lambda *told: None):
        folders[str(Path(file.inside).parent)].append(file)
    for folder, files in folders.items():
        grouping = ingest(files)
        drawn = {file.ref for file in files if file.kind in LABELS}
        aside = [
            (file, code) for file, code in grouping.set_aside
            if file.text("SeriesInstanceUID") and file.ref not in drawn
        ]  # fmt: skip
        uids = dict.fromkeys(
            [stack.series_uid for stack in grouping.stacks]
            + [file.text("SeriesInstanceUID") for file, _ in aside]
        )
        for number, uid in enumerate(uids, start=1):
            yield Series(
                folder if len(uids) == 1 else f"{folder} ({number})",
                [stack for stack in grouping.stacks if stack.series_uid == uid],
                [(file, code) for file, code in aside if file.text("SeriesInstanceUID") == uid],
            )


def row(
    series: Series,
    tools: dict[str, Tool | None],
    geometry: Geometry | None,
    known: Sequence[Image],
) -> list[str]:
    """Return one line of the table."""
    mine: list[Image] = []
    codes = Counter(code for _, code in series.set_aside)
    for stack in series.stacks:
        try:
            mine.append(ours(stack, geometry))
        except CurationError as error:
            codes[error.code] += len(stack.files)
    fates = told_of({"made": len(mine) or None, **dict(sorted(codes.items()))})
    cells = ["absent" if tool is None else verdict(tool, series.paths, mine) for tool in tools.values()]
    slices = sum(len(stack.files) for stack in series.stacks) + len(series.set_aside)
    return [series.name, str(slices), fates, against(mine, known), *cells]


def main() -> None:
    """Print the table as Markdown."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    words.add_argument("folder", type=Path)
    words.add_argument("--dcm2niix", default=shutil.which("dcm2niix"))
    words.add_argument("--dicom2nifti", metavar="PYTHON")
    words.add_argument("--resample", action="store_true")
    asked = words.parse_args()
    hush()
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    tools: dict[str, Tool | None] = {
        "dcm2niix": dcm2niix(asked.dcm2niix) if asked.dcm2niix else None,
        "dcm2niix -p n": dcm2niix(asked.dcm2niix, "-p", "n") if asked.dcm2niix else None,
        "dicom2nifti": dicom2nifti(asked.dicom2nifti) if asked.dicom2nifti else None,
        "SimpleITK": simpleitk,
        "pydicom by hand": by_hand,
    }
    known = references(asked.folder)
    print("| series | slices | curate | reference |", *(f"{name} |" for name in tools))
    print("|---|---|---|---|" + "---|" * len(tools))
    for series in series_below(asked.folder):
        cells = row(series, tools, RESAMPLE if asked.resample else None, known)
        print("|", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
