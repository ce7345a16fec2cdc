"""Convert or de-identify whole sources, series by series, without any task."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from pipeline.case import wanted_slices
from pipeline.index import Told, look
from pipeline.io import annotation, nifti
from pipeline.io.dicom import read_dataset, write_dataset
from pipeline.io.document import canonical
from pipeline.io.durable import write_bytes
from pipeline.io.policy import load_policy
from pipeline.io.source import read_refs
from pipeline.model.deid import Policy
from pipeline.model.errors import CurationError, LabelError, UsageError, fate_of
from pipeline.model.identified import Identified, Key
from pipeline.model.names import ANNOTATION_NAMES
from pipeline.model.plan import refs_and_frames
from pipeline.model.record import Json, Note, Step, decimal
from pipeline.model.series import Facts, Kind, SourceFile, SourceRef, Stack
from pipeline.model.volume import Annotation, Grid, Quantity, Volume
from pipeline.stages.convert import convert
from pipeline.stages.deidentify import deidentify
from pipeline.stages.ingest import Grouping, ingest
from pipeline.stages.orient import orient
from pipeline.stages.rasterise import rasterise

_NAME = re.compile(r"[^A-Za-z0-9]+")
_ODD = re.compile(r"[^A-Za-z0-9_-]+")

_SIDECAR = {
    "Modality": "Modality", "EchoTime": "EchoTime", "RepetitionTime": "RepetitionTime", "FlipAngle": "FlipAngle",
    "InversionTime": "InversionTime", "MagneticFieldStrength": "MagneticFieldStrength", "KVP": "KVP",
    "SliceThickness": "SliceThickness", "Units": "Units",
}  # fmt: skip
_MILLISECONDS = {"EchoTime", "RepetitionTime", "InversionTime"}
"""BIDS gives times in seconds, DICOM in milliseconds."""


@dataclass(slots=True)
class Exported:
    """What became of each input, in counts and by code; and what was written, by its released name."""

    written: list[dict[str, Json]] = field(default_factory=list)
    refused: list[dict[str, Json]] = field(default_factory=list)
    fates: list[tuple[SourceFile, str]] = field(default_factory=list)
    """Each input file and its code, `used` when it became part of an output."""

    def refuse(self, files: Iterable[SourceFile], error: CurationError, name: str) -> None:
        """Note that an output was not made, and why."""
        self.fates += [(file, error.code) for file in files]
        self.refused.append(
            {"name": name, "code": error.code, "wanted": error.wanted, "found": error.found, "where": error.where,
             "advice": error.fault.advice}
        )  # fmt: skip

    @property
    def used(self) -> int:
        """How many input files became part of an output."""
        return sum(code == "used" for _, code in self.fates)

    @property
    def is_incomplete(self) -> bool:
        """Whether any input was refused, not merely set aside."""
        return any(code != "used" and fate_of(code) == "refused" for _, code in self.fates)

    def to_json(self) -> dict[str, Json]:
        """Return the summary as one JSON object; no identity."""
        counts = Counter(code for _, code in self.fates)
        return {
            "files": len(self.fates),
            "fates": dict(sorted(counts.items())),
            "written": self.written,
            "refused": self.refused,
        }


@dataclass(frozen=True, slots=True)
class Door:
    """What de-identifies: the policy and the key."""

    key: Key
    policy: Policy

    def clean(self, refs: Sequence[SourceRef]) -> Step[tuple[Dataset, ...]]:
        """Read source files and let them through."""
        identified = Identified([read_dataset(content) for content in read_refs(refs)])
        return deidentify(identified, policy=self.policy, key=self.key, vocabulary=ANNOTATION_NAMES)


def _files(sources: Sequence[Path], told: Told) -> list[SourceFile]:
    files = [file for source in sources for file in look(source.resolve(), told)]
    if not files:
        raise UsageError("no-sources", wanted="files below each SOURCE", found="none")
    return files


def _new_folder(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError("output-exists", wanted="a new or empty folder for -o", found="one that is in use")
    folder.mkdir(parents=True, exist_ok=True)


def convert_sources(
    sources: Sequence[Path], folder: Path, *, key: Key, with_labels: bool, told: Told
) -> Exported:
    """Write every series as de-identified RAS+ NIfTI with a JSON sidecar: FOLDER/<series>/image.nii.gz.

    With labels, each RTSTRUCT ROI and SEG segment too, as a mask on its image's grid:
    FOLDER/<series>/labels/<name>.nii.gz.
    """
    files = _files(sources, told)
    _new_folder(folder)
    grouping, door, exported = ingest(files), Door(key, load_policy(None)), Exported()
    exported.fates += grouping.set_aside
    exported.fates += [(file, "case-table") for file in grouping.tables]
    grids: dict[str, tuple[str, Grid, str]] = {}
    for place, (stack, name) in enumerate(_named(grouping.stacks, key)):
        told("series converted", place + 1, len(grouping.stacks))
        try:
            grids.setdefault(
                stack.series_uid, (name, *_convert_stack(stack, folder / name, door, exported, name))
            )
        except CurationError as error:
            exported.refuse(stack.files, error, name)
    _export_labels(grouping, folder, grids if with_labels else None, door, exported)
    return exported


def _named(stacks: Sequence[Stack], key: Key) -> list[tuple[Stack, str]]:
    """Name each stack by keyed tokens of its subject and series; several of one series are counted."""
    seen: Counter[str] = Counter()
    named = []
    for stack in stacks:
        modality = _NAME.sub("", str(stack.facts.get("Modality", "")))[:4].lower() or "image"
        subject = key.token("subject", stack.subject)[:12]
        name = f"sub-{subject}_{modality}-{key.token('series', stack.series_uid, 10)}"
        seen[name] += 1
        named.append((stack, name if seen[name] == 1 else f"{name}_{seen[name]}"))
    return named


def quantity_of(facts: Facts) -> Quantity:
    """Return what a series' numbers mean, by its modality and image type."""
    words = [str(word).upper() for word in facts.get("ImageType", ())]
    if facts.get("Modality") == "CT":
        return Quantity.HOUNSFIELD
    if facts.get("Modality") == "PT":
        return Quantity.ACTIVITY
    return Quantity.ADC if "ADC" in words else Quantity.ARBITRARY


def _convert_stack(stack: Stack, folder: Path, door: Door, exported: Exported, name: str) -> tuple[Grid, str]:
    """Write one volume and its sidecar; return its acquisition grid and frame of reference."""
    if stack.code is not None:
        raise CurationError(stack.code, wanted="one volume", found="a series that is none")
    refs, frames = refs_and_frames(stack)
    cleaned = door.clean(refs)
    converted = convert(wanted_slices(cleaned.value, frames), quantity_of(stack.facts))
    oriented = orient(converted.value)
    volume = oriented.value
    data = volume.data if volume.data.dtype in (np.int16, np.float32) else volume.data.astype(np.float32)
    file = nifti.encode(data, volume.affine)
    notes = [cleaned.note, converted.note, oriented.note]
    folder.mkdir()
    write_bytes(folder / "image.nii.gz", file.content)
    write_bytes(folder / "image.json", _sidecar(cleaned.value[0], notes))
    exported.fates += [(source, "used") for source in stack.files]
    exported.written.append({"name": name, "slices": len(stack.files), **file.facts})
    return converted.value.grid, str(cleaned.value[0].get("FrameOfReferenceUID", ""))


def _sidecar(dataset: Dataset, notes: Sequence[Note]) -> bytes:
    """Return a JSON sidecar in BIDS terms, with what each room did."""
    terms: dict[str, Json] = {}
    for term, keyword in _SIDECAR.items():
        value = dataset.get(keyword)
        if isinstance(value, (int, float)):
            terms[term] = decimal(value / 1000 if term in _MILLISECONDS else value)
        elif value:
            terms[term] = str(value)
    return canonical({**terms, "curate": [note.to_json() for note in notes]})


def _export_labels(
    grouping: Grouping,
    folder: Path,
    grids: Mapping[str, tuple[str, Grid, str]] | None,
    door: Door,
    exported: Exported,
) -> None:
    """Write the masks of each label object whose image was written; mask files are labels already."""
    for label in grouping.labels:
        if grids is None or label.kind is Kind.MASK:
            exported.fates.append((label, "no-case-wants-it"))
            continue
        referred = [uid for uid in label.facts.get("references", ()) if uid in grids]
        name = grids[referred[0]][0] if len(referred) == 1 else "label"
        try:
            if len(referred) != 1:
                found = "none of them" if not referred else "several of them"
                raise LabelError(
                    "label-other-image", wanted="a label drawn on one written series", found=found
                )
            _write_masks(label, folder / name, grids[referred[0]][1:], door)
            exported.fates.append((label, "used"))
        except CurationError as error:
            exported.refuse([label], error, name)


def _write_masks(label: SourceFile, folder: Path, drawn_on: tuple[Grid, str], door: Door) -> None:
    grid, frame = drawn_on
    (dataset,) = door.clean([label.ref]).value
    drawing = _drawing(label.kind, dataset, grid, frame)
    (folder / "labels").mkdir(exist_ok=True)
    for name, mask in drawing.masks.items():
        volume = orient(Volume(mask.astype(np.uint8), drawing.grid.affine)).value
        file = nifti.encode(volume.data, volume.affine)
        write_bytes(_free(folder / "labels", _ODD.sub("-", name).strip("-") or "roi"), file.content)


def _free(folder: Path, name: str) -> Path:
    number, path = 1, folder / f"{name}.nii.gz"
    while path.exists():
        number += 1
        path = folder / f"{name}-{number}.nii.gz"
    return path


def _drawing(kind: Kind, dataset: Dataset, grid: Grid, frame: str) -> Annotation:
    """Return a label object's masks; a fractional segment counts from one half."""
    if kind is Kind.SEG:
        return annotation.read_seg(dataset, grid, threshold=0.5).value
    contours = annotation.read_rtstruct(dataset)
    frames = {roi.frame_of_reference_uid for roi in contours.rois} - {""}
    if frame and frames - {frame}:
        raise LabelError("frame-of-reference", wanted="the image's frame of reference", found="another")
    return rasterise(contours.rois, grid).value


def deidentify_sources(sources: Sequence[Path], folder: Path, *, key: Key, told: Told) -> Exported:
    """Write every image, SEG and RTSTRUCT instance de-identified: FOLDER/<subject>/<series UID>/<instance UID>.dcm."""
    files = _files(sources, told)
    _new_folder(folder)
    grouping, door, exported = ingest(files), Door(key, load_policy(None)), Exported()
    exported.fates += grouping.set_aside
    exported.fates += [(file, "case-table") for file in grouping.tables]
    instances = [file for stack in grouping.stacks for file in stack.files]
    instances += [label for label in grouping.labels if label.kind is not Kind.MASK]
    exported.fates += [(label, "no-case-wants-it") for label in grouping.labels if label.kind is Kind.MASK]
    for place, file in enumerate(instances):
        told("instances written", place + 1, len(instances))
        try:
            (dataset,) = door.clean([file.ref]).value
            target = folder / str(dataset.PatientID) / str(dataset.SeriesInstanceUID)
            target.mkdir(parents=True, exist_ok=True)
            write_bytes(target / f"{dataset.SOPInstanceUID}.dcm", write_dataset(dataset))
            exported.fates.append((file, "used"))
        except CurationError as error:
            exported.refuse([file], error, "instance")
    exported.written.append({"name": "instances", "count": exported.used})
    return exported
