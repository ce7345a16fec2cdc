"""Plant identifiers in whole studies of one task, convert and release them, and look for each in what came out.

Four invented persons have a CT series each, planted like the files of `plant.py`, and an expert's label: contours,
a NIfTI, an NRRD and a MetaImage mask, with names in the ROIs, in every text of the headers and in the file names.
`curate convert --labels` and `curate index`, `plan`, `build` and `pack` run over them as anybody runs them.
"""

from __future__ import annotations

import gzip
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
from ahocorasick_rs import BytesAhoCorasick
from plant import COMMON, RTSTRUCT, WILD, Inventor, Planted, _base, _ct
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from score import forms

TASK = "Task09_Spleen"
SHAPE = (12, 32, 48)
"""Slices, rows, columns."""

WRITTEN = {"convert": 8, "release": 7}
"""Images and masks that each way out has to write; a test case has no label in a release."""

SHORTEST = 7
"""Fewest bytes that are looked for."""

_SELECTING = {"Modality", "ImageType", "BodyPartExamined", "SeriesDescription", "RescaleType"}
"""What the task's rules choose series by: a name there would keep the series out of the release."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one way out let through: how much it wrote, and which kinds of identifiers are in it."""

    written: int
    planted: int
    survivors: Counter[str]


def write_studies(folder: Path, seed: int) -> list[Planted]:
    """Write four studies below a folder and return every identifier that is in them."""
    planted: list[Planted] = []
    for number, write_label in enumerate((_contours, _nifti, _nrrd, _metaimage)):
        random = np.random.Generator(np.random.PCG64([seed, 1000 + number]))
        invent = Inventor(random)
        study = folder / TASK / invent.name("study folder")
        slices = _series(study / invent.name("series folder"), random, invent)
        mask = np.zeros(SHAPE, np.uint8)
        mask[4:8, 8:20, 10:30] = 1
        write_label(study, slices, mask, invent)
        planted += invent.planted
    # What is planted in one place may take another's away.
    present = survivors(planted, list(seen(folder)))
    return [one for one in planted if one.kind in present]


def _series(folder: Path, random: np.random.Generator, invent: Inventor) -> list[Dataset]:
    """Write a CT series; every slice says the same of the person, and has a name behind its pixels."""
    dataset = _ct(random, ExplicitVRLittleEndian)
    for place, plant in COMMON.items():
        if place in WILD or place in _SELECTING:
            continue
        before = set(dataset.keys())
        try:
            plant(dataset, invent)
        except (TypeError, AttributeError, ValueError):
            for tag in set(dataset.keys()) - before:
                del dataset[tag]
    dataset.PatientName = f"{invent.name('PatientName')}^{invent.name('PatientName')}"
    dataset.PatientID = invent.number("PatientID")
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = invent.uid("study"), invent.uid("series")
    dataset.FrameOfReferenceUID, dataset.SeriesDescription = invent.uid("frame of reference"), "abdomen"
    dataset.ImageOrientationPatient, dataset.SliceThickness = ["1", "0", "0", "0", "1", "0"], "2.5"
    del dataset.GantryDetectorTilt
    folder.mkdir(parents=True)
    slices = []
    for number in range(SHAPE[0]):
        dataset.SOPInstanceUID, dataset.InstanceNumber = invent.uid("SOPInstanceUID"), number + 1
        dataset.ImagePositionPatient = ["-20", "-30", str(2.5 * number)]
        dataset.SliceLocation = str(2.5 * number)
        voxels = random.integers(900, 1200, SHAPE[1:]).astype("<u2").tobytes()
        dataset.add(DataElement(0x7FE00010, "OW", voxels + invent.name("after the pixels").encode()[:10]))
        invent.planted[-1].text = invent.planted[-1].text[:10]
        (folder / f"{invent.name('file name')}.dcm").write_bytes(_file(dataset, invent))
        slices.append(dataset.copy())
    return slices


def _file(dataset: Dataset, invent: Inventor) -> bytes:
    stream = BytesIO()
    dataset.set_original_encoding(False, True, "iso8859")
    dataset.save_as(stream, enforce_file_format=True)
    return invent.name("preamble").encode().ljust(128, b"\0") + stream.getvalue()[128:]


def _contours(study: Path, slices: Sequence[Dataset], mask: npt.NDArray[np.uint8], invent: Inventor) -> None:
    """Write an RTSTRUCT: the organ that the task wants, and three ROIs called after people."""
    image = slices[0]
    dataset = _base(RTSTRUCT, "RTSTRUCT", ExplicitVRLittleEndian, invent.random)
    for keyword in [e.keyword for e in dataset if e.keyword not in {"SOPClassUID", "Modality"}]:
        delattr(dataset, keyword)
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID"):
        setattr(dataset, keyword, image[keyword].value)
    dataset.SOPInstanceUID, dataset.SeriesInstanceUID = invent.uid("RTSTRUCT"), invent.uid("RTSTRUCT series")
    dataset.StructureSetLabel = invent.name("set label")[:16]
    dataset.StructureSetName, dataset.ReviewerName = invent.name("set name"), invent.name("reviewer")
    series, referenced, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = image.SeriesInstanceUID
    referenced.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID, frame.RTReferencedStudySequence = image.FrameOfReferenceUID, [referenced]
    dataset.ReferencedFrameOfReferenceSequence = [frame]
    names = ["spleen", *(f"couch {invent.name('ROI name')}" for _ in range(3))]
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [], []
    for number, name in enumerate(names, 1):
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ROIDescription = number, name, invent.name("ROI description")
        roi.ReferencedFrameOfReferenceUID = image.FrameOfReferenceUID
        drawn.ReferencedROINumber = number
        drawn.ContourSequence = [_square(slices[place]) for place in np.flatnonzero(mask.any((1, 2)))]
        dataset.StructureSetROISequence.append(roi)
        dataset.ROIContourSequence.append(drawn)
    (study / f"{invent.name('file name')}.dcm").write_bytes(_file(dataset, invent))


def _square(image: Dataset) -> Dataset:
    contour, z = Dataset(), float(image.ImagePositionPatient[2])
    corners = [(-10, -22), (8, -22), (8, -11), (-10, -11)]
    contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", len(corners)
    contour.ContourData = [str(x) for corner in corners for x in (*corner, z)]
    return contour


def _spacing(slices: Sequence[Dataset]) -> tuple[float, float, float]:
    row, column = map(float, slices[0].PixelSpacing)
    return column, row, 2.5


def _nifti(study: Path, slices: Sequence[Dataset], mask: npt.NDArray[np.uint8], invent: Inventor) -> None:
    affine = np.diag([*(-s for s in _spacing(slices)[:2]), 2.5, 1.0])
    affine[:3, 3] = 20, 30, 0
    image = nib.Nifti1Image(mask.transpose(2, 1, 0), affine)
    for field in ("descrip", "aux_file", "intent_name", "db_name"):
        image.header[field] = invent.name(f"NIfTI {field}")[: 10 if field == "db_name" else 16].encode()
        invent.planted[-1].text = image.header[field].item().decode()
    comment = invent.name("NIfTI extension").encode()
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", comment))
    path = study / f"label-{invent.name('file name')}.nii.gz"
    with path.open("wb") as stream, gzip.GzipFile(invent.name("gzip name"), "wb", fileobj=stream) as packed:
        packed.write(image.to_bytes())


def _nrrd(study: Path, slices: Sequence[Dataset], mask: npt.NDArray[np.uint8], invent: Inventor) -> None:
    x, y, z = _spacing(slices)
    header = [
        "NRRD0004", f"# {invent.name('NRRD comment')}", "type: uint8", "dimension: 3",
        "space: left-posterior-superior", f"sizes: {SHAPE[2]} {SHAPE[1]} {SHAPE[0]}",
        f"space directions: ({x},0,0) (0,{y},0) (0,0,{z})", "space origin: (-20,-30,0)", "encoding: raw",
        f"content: {invent.name('NRRD content')}", f"patient:={invent.name('NRRD key')}",
        "Segment0_Name:=spleen", "Segment0_LabelValue:=1", f"Segment0_Tags:={invent.name('NRRD tags')}",
    ]  # fmt: skip
    path = study / f"label-{invent.name('file name')}.nrrd"
    path.write_bytes("\n".join([*header, "", ""]).encode() + mask.tobytes())


def _metaimage(study: Path, slices: Sequence[Dataset], mask: npt.NDArray[np.uint8], invent: Inventor) -> None:
    x, y, z = _spacing(slices)
    header = [
        "ObjectType = Image", "NDims = 3", f"Comment = {invent.name('MHA comment')}",
        f"Name = {invent.name('MHA name')}", f"PatientName = {invent.name('MHA patient')}", "BinaryData = True",
        "BinaryDataByteOrderMSB = False", "CompressedData = False", "TransformMatrix = 1 0 0 0 1 0 0 0 1",
        "Offset = -20 -30 0", f"ElementSpacing = {x} {y} {z}", f"DimSize = {SHAPE[2]} {SHAPE[1]} {SHAPE[0]}",
        "ElementType = MET_UCHAR", "ElementDataFile = LOCAL",
    ]  # fmt: skip
    path = study / f"label-{invent.name('file name')}.mha"
    path.write_bytes("\n".join([*header, ""]).encode() + mask.tobytes())


def outcomes(seed: int, folder: Path) -> dict[str, Outcome]:
    """Convert and release four planted studies, and say what survived either way."""
    planted = write_studies(folder / "studies", seed)
    _curate(folder, "init", "ws")
    said = {
        "convert": [_curate(folder, "convert", "studies", "-o", "volumes", "-w", "ws", "--labels")],
        "release": [
            _curate(folder, *words, "-w", "ws")
            for words in (["index", "studies"], ["plan"], ["build"], ["pack", "-r", "release"])
        ],
    }
    places = {"convert": folder / "volumes", "release": folder / "release"}
    return {
        way: Outcome(_volumes(place), len(planted), survivors(planted, [*seen(place), *said[way]]))
        for way, place in places.items()
    }


def _curate(folder: Path, *words: str) -> bytes:
    """Run the command and return what it said, errors too."""
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False, env=_environment())
    return done.stdout + done.stderr


def _environment() -> dict[str, str]:
    home = str(Path(__file__).resolve().parents[2])
    return {"PYTHONPATH": home, "PATH": "/usr/bin:/bin", "TERM": "dumb"}


def _volumes(folder: Path) -> int:
    """Count the images and masks that a folder holds, in TARs too."""
    return sum(name.endswith(b".nii.gz") for name in seen(folder))


def seen(folder: Path) -> Iterator[bytes]:
    """Yield every name and every byte below a folder, what is packed also unpacked."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        yield path.relative_to(folder).as_posix().encode()
        yield path.read_bytes()
        if path.suffix == ".gz":
            yield gzip.decompress(path.read_bytes())
        if path.suffix == ".tar":
            with tarfile.open(path) as archive:
                for member in archive:
                    content = archive.extractfile(member)
                    yield member.name.encode()
                    if content is not None and member.name.endswith(".gz"):
                        yield gzip.decompress(content.read())


class Finder:
    """Looks for identifiers in whatever form they may have."""

    def __init__(self, planted: Sequence[Planted]) -> None:
        # Of a date some forms in base64 are four letters that stand in many a word.
        patterns = {form: one.kind for one in planted for form in forms(one) if len(form) >= SHORTEST}
        self._kinds = [patterns[form] for form in sorted(patterns)]
        self._automaton = BytesAhoCorasick(sorted(patterns))

    def kinds(self, content: bytes) -> Iterator[tuple[int, str]]:
        """Yield which forms are in the content, and of which kind they are."""
        found = self._automaton.find_matches_as_indexes(content.lower(), overlapping=True)
        return ((number, self._kinds[number]) for number in {number for number, _, _ in found})


def survivors(planted: Sequence[Planted], contents: Sequence[bytes]) -> Counter[str]:
    """Count the identifiers that are in the contents, by kind."""
    finder = Finder(planted)
    return Counter(kind for _, kind in {one for content in contents for one in finder.kinds(content)})
