"""Convert or de-identify whole sources, series by series, without any task.

Each series is decoded in a confined process: what it does to that, a crash, a hang, is its refusal, and others go on.
"""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from pipeline import drawings
from pipeline.door import part_facts, wanted_slices
from pipeline.facegate import guard_faces, require_template
from pipeline.index import Told, look
from pipeline.io import nifti
from pipeline.io.dicom import read_dataset, write_dataset
from pipeline.io.durable import write_bytes
from pipeline.io.policy import load_policy
from pipeline.io.source import read_refs
from pipeline.io.workspace import Workspace, keep_pictures
from pipeline.model.deid import Policy
from pipeline.model.errors import CurationError, ExposureError, UsageError, fate_of
from pipeline.model.exposure import SCREENED, Screening, hides_bits
from pipeline.model.identified import Identified, Key
from pipeline.model.names import ANNOTATION_NAMES
from pipeline.model.plan import refs_and_frames
from pipeline.model.record import Json, Note, Step
from pipeline.model.rules import Face, Geometry
from pipeline.model.series import Kind, SourceFile, SourceRef, Stack
from pipeline.model.volume import Grid, Measure
from pipeline.pixelgate import Gate, screen_slices
from pipeline.processes import OneByOne, Tell
from pipeline.stages.convert import convert, decoded
from pipeline.stages.deidentify import claims_text, deidentify
from pipeline.stages.face import said_part
from pipeline.stages.ingest import Grouping, ingest
from pipeline.stages.orient import orient
from pipeline.stages.quantify import quantity_of
from pipeline.stages.unfold import unfold

_NAME = re.compile(r"[^A-Za-z0-9]+")
_ODD = re.compile(r"[^A-Za-z0-9_-]+")

_SIDECAR = (
    "Modality", "Manufacturer", "ManufacturerModelName", "MagneticFieldStrength", "EchoTime", "RepetitionTime",
    "InversionTime", "FlipAngle", "KVP", "SliceThickness", "DiffusionBValue", "Units",
)  # fmt: skip
"""Elements that the sidecar gives where all slices agree; BIDS has the same terms but for `_RENAMED`."""

_RENAMED = {"ManufacturerModelName": "ManufacturersModelName"}
_MILLISECONDS = {"EchoTime", "RepetitionTime", "InversionTime"}
"""BIDS gives times in seconds, DICOM in milliseconds."""

_UNITS = {"BQML": "Bq/mL", "GML": "g/mL"}
"""BIDS writes units of PET as symbols, DICOM as terms (PS3.3 C.8.9.1.1.3)."""

RESAMPLE = Geometry(tilt="resample", spacing="resample", why="Asked for on the command line.")
"""What `--resample` lets be interpolated; missing slices stay refused."""


KEPT = Face(treatment="keep", why="Converted without a task: this is no release.")
DEFACED = Face(treatment="deface", why="Asked for on the command line.")
FACES = {"keep": KEPT, "deface": DEFACED, "refuse": None}
"""What `--face` says -> what is done where a head may show its face."""


@dataclass(frozen=True, slots=True)
class Choices:
    """What whoever exports decided: which slices are mended, whether pixels are searched for text, and for whom.

    `workspace` keeps the pictures that show text; without one nobody does.
    """

    geometry: Geometry | None = None
    screening: Screening = SCREENED
    workspace: Workspace | None = None
    face: Face | None = KEPT

    @property
    def logs(self) -> Path | None:
        """Where the log of a crash stays."""
        return None if self.workspace is None else self.workspace.crashes


PLAIN = Choices()
"""Nothing is mended, and pixels are searched."""


def choose(
    workspace: Workspace | None, *, resample: bool = False, unscreened: str | None = None, face: str = "keep"
) -> Choices:
    """Return the choices that a command line and a workspace's settings make; the command line wins."""
    screening = SCREENED if workspace is None else workspace.settings().screening
    if unscreened is not None:
        screening = Screening(unscreened)
    return Choices(RESAMPLE if resample else None, screening, workspace, FACES[face])


@dataclass(slots=True)
class Exported:
    """What became of each input, in counts and by code; and what was written, by its released name."""

    written: list[dict[str, Json]] = field(default_factory=list)
    refused: list[dict[str, Json]] = field(default_factory=list)
    fates: list[tuple[SourceFile, str]] = field(default_factory=list)
    """Each slice, or file that holds none, and its code, `used` when it became part of an output."""
    made: list[tuple[SourceRef, str]] = field(default_factory=list)
    """Each source that became an instance of its own, and that one's place below the output folder."""
    labels: dict[str, list[Json]] = field(default_factory=dict)
    """What became of the regions of each label object, by the series that it was drawn on."""

    def add(self, part: Exported) -> None:
        """Take over what became of some of the inputs."""
        self.written += part.written
        self.refused += part.refused
        self.fates += part.fates
        self.made += part.made

    def refuse(self, files: Iterable[SourceFile], error: CurationError, about: Mapping[str, Json]) -> None:
        """Note that an output was not made, why, and what is known about it."""
        self.fates += [(file, error.code) for file in files]
        self.refused.append(
            {**about, "code": error.code, "wanted": error.wanted, "found": error.found, "where": error.where,
             "advice": error.fault.advice}
        )  # fmt: skip

    def fate_of_each(self) -> dict[SourceRef, str]:
        """Return each input file's one code: why something of it is refused, else `used`, else why it was set aside."""
        found: dict[SourceRef, str] = {}
        for file, code in self.fates:
            before = found.setdefault(file.ref, code)
            if _rank(code) > _rank(before):
                found[file.ref] = code
        return found

    @property
    def used(self) -> int:
        """How many input files became part of an output, and lost nothing."""
        return sum(code == "used" for code in self.fate_of_each().values())

    @property
    def is_incomplete(self) -> bool:
        """Whether any input was refused, not merely set aside."""
        return any(code != "used" and fate_of(code) == "refused" for _, code in self.fates)

    def to_json(self) -> dict[str, Json]:
        """Return the summary as one JSON object; no identity."""
        counts = Counter(self.fate_of_each().values())
        return {
            "files": counts.total(),
            "fates": dict(sorted(counts.items())),
            "written": self.written,
            "refused": self.refused,
            **({"labels": self.labels} if self.labels else {}),
        }


def _rank(code: str) -> int:
    """Return which of a file's codes is its fate: refused before used before set aside."""
    return 1 if code == "used" else 2 if fate_of(code) == "refused" else 0


@dataclass(frozen=True, slots=True)
class Door:
    """What de-identifies: the policy that comes with the program, and the key."""

    key: Key
    gate: Gate

    @property
    def policy(self) -> Policy:
        """The policy; it is large, so that every process reads its own."""
        return load_policy(None)

    def clean(self, refs: Sequence[SourceRef]) -> Step[tuple[Dataset, ...]]:
        """Read source files and let them through."""
        return self._through(Identified(_read(refs)), admits_text=False)

    def clean_images(self, refs: Sequence[SourceRef]) -> tuple[Step[tuple[Dataset, ...]], bool]:
        """Read images and let them through; say whether one of them claims to hold text, and must be looked at."""
        identified = Identified(_read(refs))
        return self._through(identified, admits_text=True), claims_text(identified)

    def _through(
        self, identified: Identified[Sequence[Dataset]], *, admits_text: bool
    ) -> Step[tuple[Dataset, ...]]:
        return deidentify(
            identified, policy=self.policy, key=self.key, vocabulary=ANNOTATION_NAMES, admits_text=admits_text
        )


def _read(refs: Sequence[SourceRef]) -> list[Dataset]:
    return [read_dataset(content) for content in read_refs(refs)]


def _files(sources: Sequence[Path], told: Told, choices: Choices) -> list[SourceFile]:
    logs = choices.logs
    files = [file for source in sources for file in look(source.resolve(), told, logs)]
    if not files:
        raise UsageError("no-sources", wanted="files below each SOURCE", found="none")
    return files


def _new_folder(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError("output-exists", wanted="a new or empty folder for -o", found="one that is in use")
    folder.mkdir(parents=True, exist_ok=True)


def convert_sources(
    sources: Sequence[Path],
    folder: Path,
    *,
    key: Key,
    with_labels: bool,
    told: Told,
    choices: Choices = PLAIN,
) -> Exported:
    """Write every series as de-identified RAS+ NIfTI with a JSON sidecar: FOLDER/<series>/image.nii.gz.

    With labels, each RTSTRUCT ROI and SEG segment too, as a mask on its image's grid:
    FOLDER/<series>/labels/<name>.nii.gz, with a report in FOLDER/<series>/labels.json. What makes no even,
    untilted stack is refused, or interpolated where the choices say so; a series with text in its pixels is
    refused.
    """
    files = _files(sources, told, choices)
    _new_folder(folder)
    grouping, door, exported = _grouped(files, key, choices)
    images: list[drawings.Written] = []
    with OneByOne(choices.logs, __name__) as child:
        for place, (stack, name) in enumerate(_told_each(grouping, key, told)):
            made = _refusing(child, stack, name, exported, (door, choices, folder / name))
            if made is None:
                shutil.rmtree(folder / name, ignore_errors=True)
            else:
                images.append(drawings.Written(name, place, made.grid, made.frame_of_reference))
        drawn = partial(child.done, drawings.draw, door)
        if with_labels:
            known = drawings.Images(grouping.stacks, images)
            _export_labels(grouping.labels, known, drawn, folder, exported)
        else:
            exported.fates += [(label, "no-case-wants-it") for label in grouping.labels]
    return exported


def preview_sources(sources: Sequence[Path], *, key: Key, told: Told, choices: Choices = PLAIN) -> Exported:
    """Return what `convert_sources` would make of every series, having made it all and written nothing."""
    grouping, door, exported = _grouped(_files(sources, told, choices), key, choices)
    with OneByOne(choices.logs, __name__) as child:
        for stack, name in _told_each(grouping, key, told):
            _refusing(child, stack, name, exported, (door, replace(choices, workspace=None), None))
    exported.fates += [(label, "no-case-wants-it") for label in grouping.labels]
    return exported


def _refusing(
    child: OneByOne, stack: Stack, name: str, exported: Exported, how: tuple[Door, Choices, Path | None]
) -> _Converted | None:
    """Return a series that was converted, None when it was refused; note what became of it."""
    about = _about(stack, name)
    try:
        made: _Converted = child.done(_convert_series, stack, name, *how)
    except CurationError as error:
        exported.refuse(stack.files, error, about)
        return None
    exported.fates += [(source, "used") for source in stack.files]
    exported.written.append({**about, **made.facts, "face": made.face})
    return made


def _convert_series(
    stack: Stack, name: str, door: Door, choices: Choices, folder: Path | None, _: Tell
) -> _Converted:
    """Convert a series, and write it where a folder is named."""
    try:
        made = _convert_stack(stack, door, choices)
    except CurationError as error:
        _keep(error, name, choices)
        raise
    if folder is not None:
        # What a process left that died of the same series goes.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for file, content in made.contents.items():
            write_bytes(folder / file, content)
    return replace(made, contents={})


def in_words(made: Exported) -> str:
    """Return a table, one line a series: what it is, and what becomes of it."""
    columns = ("name", "modality", "slices", "plane", "quantity", "quantity_evidence")
    rows: list[tuple[str, ...]] = [(*columns[:-1], "by", "becomes")]
    for row in (*made.written, *made.refused):
        shape = row.get("shape")
        becomes = " x ".join(map(str, shape)) if isinstance(shape, list) else f"refused: {row['code']}"
        rows.append((*(str(row.get(column, "")) for column in columns), becomes))
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _keep(error: CurationError, name: str, choices: Choices) -> None:
    """Keep the pictures of what was refused for its pixels, where there is a private place for them."""
    if isinstance(error, ExposureError) and choices.workspace is not None:
        keep_pictures(choices.workspace, name, error.pictures)


def _grouped(files: Sequence[SourceFile], key: Key, choices: Choices) -> tuple[Grouping, Door, Exported]:
    """Return the stacks of all files, what cleans them, and the fates of the files that are in none."""
    gate = Gate(choices.screening)
    gate.require()
    require_template(choices.face)
    grouping, exported = ingest(files), Exported()
    exported.fates += grouping.set_aside
    exported.fates += [(file, "case-table") for file in grouping.tables]
    return grouping, Door(key, gate), exported


def _told_each(grouping: Grouping, key: Key, told: Told) -> Iterator[tuple[Stack, str]]:
    for place, (stack, name) in enumerate(_named(grouping.stacks, key)):
        told("series converted", place + 1, len(grouping.stacks))
        yield stack, name


def _about(stack: Stack, name: str) -> dict[str, Json]:
    """Return what a table says of a series; no identity."""
    quantity, evidence = quantity_of(stack.facts)
    modality = str(stack.facts.get("Modality", ""))
    return {
        "name": name,
        "modality": modality if modality in ("CT", "MR", "PT") else "other",
        "slices": len(stack.files),
        "plane": str(stack.facts.get("plane", "unknown")),
        "quantity": quantity.value,
        "quantity_evidence": evidence,
    }


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


@dataclass(frozen=True, slots=True)
class _Converted:
    """One volume as it is written, with its acquisition grid and (pseudonymous) frame of reference."""

    contents: Mapping[str, bytes]
    """The files, by name."""
    facts: Mapping[str, Json]
    grid: Grid
    frame_of_reference: str
    face: str
    """What was done about the face that it may show: `keep`, `deface`, or `none` where it shows none."""


def _convert_stack(stack: Stack, door: Door, choices: Choices) -> _Converted:
    """Return one volume and its sidecar."""
    if stack.code is not None:
        raise CurationError(stack.code, wanted="one volume", found="a series that is none")
    refs, frames = refs_and_frames(stack)
    cleaned, is_claimed = door.clean_images(refs)
    slices = wanted_slices(cleaned.value, frames)
    quantity, evidence = quantity_of(stack.facts)
    measure = Measure(quantity, facts={"quantity_evidence": evidence, "values": "rescale"})
    converted = convert(slices, measure, geometry=choices.geometry)
    screened = screen_slices(slices, door.gate, is_claimed=is_claimed)
    oriented = orient(converted.value)
    guarded = guard_faces(
        {"image": oriented.value}, {"image": said_part(part_facts(slices[0]))}, choices.face
    )
    volume = guarded.value["image"]
    data = volume.data if volume.data.dtype in (np.int16, np.float32) else volume.data.astype(np.float32)
    notes = [cleaned.note, screened.note, converted.note, oriented.note, guarded.note]
    file = nifti.encode(data, volume.affine)
    return _Converted(
        {"image.nii.gz": file.content, "image.json": _sidecar(slices, notes)},
        file.facts,
        converted.value.grid,
        str(slices[0].get("FrameOfReferenceUID", "")),
        str(guarded.note.facts.get("treatment", "none")),
    )


def _sidecar(slices: Sequence[Dataset], notes: Sequence[Note]) -> bytes:
    """Return a JSON sidecar in BIDS terms (numbers as numbers), with what each room did under `curate`."""
    terms: dict[str, Any] = {}
    for keyword in _SIDECAR:
        found = {str(value): value for one in slices if (value := one.get(keyword)) not in (None, "")}
        if len(found) == 1:
            terms[_RENAMED.get(keyword, keyword)] = _term(keyword, *found.values())
    facts = {note.stage: note.facts for note in notes}["convert"]
    terms |= {
        "SpacingBetweenSlices": float(str(facts["spacing_mm"])),
        "Quantity": facts["quantity"],
        "QuantityEvidence": facts["quantity_evidence"],
        "ConversionSoftware": "curate",
        "ConversionSoftwareVersion": version("curate-releases"),
        "curate": [note.to_json() for note in notes],
    }
    return json.dumps(terms, sort_keys=True, indent=1, allow_nan=False).encode("ascii") + b"\n"


def _term(keyword: str, value: Any) -> Any:
    """Return an element as BIDS has it: a number in BIDS' unit, or text."""
    if not isinstance(value, (int, float)):
        return _UNITS.get(str(value), str(value)) if keyword == "Units" else str(value)
    # Nine digits are more than a header has, and hide the binary form of a thousandth.
    return float(f"{value / 1000:.9g}") if keyword in _MILLISECONDS else float(value)


def _export_labels(
    labels: Sequence[SourceFile],
    images: drawings.Images,
    drawn: drawings.Draw,
    folder: Path,
    exported: Exported,
) -> None:
    """Write the masks of each label object, and of each image's what became of them; mask files are labels already."""
    for label in labels:
        if label.kind is Kind.MASK:
            exported.fates.append((label, "no-case-wants-it"))
            continue
        try:
            drawing = images.place(label, drawn)
        except CurationError as error:
            exported.refuse([label], error, {"name": "label"})
            continue
        report = _written_masks(drawing, folder / drawing.image / "labels")
        exported.labels.setdefault(drawing.image, []).append(report)
        exported.fates += [] if drawing.refused else [(label, "used")]
        for place, refusal in enumerate(drawing.refused):
            # One fate for the file, however many of its regions were refused.
            exported.refuse([] if place else [label], refusal, {"name": drawing.image})
    for name, reports in exported.labels.items():
        content = json.dumps(reports, sort_keys=True, indent=1, allow_nan=False).encode("ascii") + b"\n"
        write_bytes(folder / name / "labels.json", content)


def _written_masks(drawing: drawings.Drawing, folder: Path) -> dict[str, Json]:
    """Write a drawing's masks; return what became of each of its regions, by file and without a name as drawn."""
    folder.mkdir(exist_ok=True)
    regions: list[Json] = []
    for region in drawing.regions:
        path = _free(folder, _ODD.sub("-", region.name).strip("-") or "roi")
        write_bytes(path, region.content)
        regions.append({**region.facts, "file": path.name})
    refused: list[Json] = [
        {"code": error.code, "wanted": error.wanted, "found": error.found, "where": error.where}
        for error in drawing.refused
    ]
    return {**drawing.facts, "regions": regions, "refused": refused}


def _free(folder: Path, name: str) -> Path:
    number, path = 1, folder / f"{name}.nii.gz"
    while path.exists():
        number += 1
        path = folder / f"{name}-{number}.nii.gz"
    return path


def deidentify_sources(
    sources: Sequence[Path], folder: Path, *, key: Key, told: Told, choices: Choices = PLAIN
) -> Exported:
    """Write every image, SEG and RTSTRUCT instance de-identified: FOLDER/<subject>/<series UID>/<instance UID>.dcm.

    A series with text in its pixels is refused as a whole.
    """
    files = _files(sources, told, choices)
    _new_folder(folder)
    grouping, door, exported = _grouped(files, key, choices)
    exported.fates += [(file, "no-case-wants-it") for file in grouping.labels if file.kind is Kind.MASK]
    series = [(stack.files, name) for stack, name in _named(grouping.stacks, key)]
    drawn = [([file], "") for file in grouping.labels if file.kind is not Kind.MASK]
    with OneByOne(choices.logs, __name__) as child:
        for place, (members, name) in enumerate([*series, *drawn]):
            told("series de-identified", place + 1, len(series) + len(drawn))
            _take_through(child, members, name, exported, (door, choices, folder))
    exported.written.append({"name": "instances", "count": exported.used})
    return exported


def _take_through(
    child: OneByOne,
    files: Sequence[SourceFile],
    name: str,
    exported: Exported,
    how: tuple[Door, Choices, Path],
) -> None:
    """De-identify the files of a series; of one that ends its process nothing stays."""
    begun: list[str] = []
    try:
        exported.add(child.done(_deidentify_series, files, name, *how, tell=begun.append))
    except CurationError as error:
        for place in begun:
            (how[-1] / place).unlink(missing_ok=True)
        unique = {file.ref: file for file in files}.values()
        exported.refuse(unique, error, {"name": name or "instance"})


def _deidentify_series(
    files: Sequence[SourceFile], name: str, door: Door, choices: Choices, folder: Path, tell: Tell
) -> Exported:
    """Write the instances of a series, or a label object if it has no name; tell each one's place before."""
    exported = Exported()
    cleaned = _clean_each({file.ref: file for file in files}.values(), door, exported)
    try:
        images = _screened(cleaned, door) if name else [dataset for _, dataset, _ in cleaned]
        for (file, *_), dataset in zip(cleaned, images, strict=True):
            place = _place_of(dataset)
            tell(place)
            _write_instance(dataset, folder / place)
            exported.made.append((file.ref, place))
            exported.fates.append((file, "used"))
    except CurationError as error:
        exported.refuse([file for file, *_ in cleaned], error, {"name": name or "instance"})
        _keep(error, name, choices)
    return exported


_Cleaned = tuple[SourceFile, Dataset, bool]
"""A source file, what the door let through of it, and whether its header claims that its pixels hold text."""


def _clean_each(files: Iterable[SourceFile], door: Door, exported: Exported) -> list[_Cleaned]:
    """Return what the door lets through; what it does not is refused by itself."""
    cleaned = []
    for file in files:
        try:
            step, is_claimed = door.clean_images([file.ref])
            cleaned.append((file, step.value[0], is_claimed))
        except CurationError as error:
            exported.refuse([file], error, {"name": "instance"})
    return cleaned


def _screened(cleaned: Sequence[_Cleaned], door: Door) -> Sequence[Dataset]:
    """Return the images of a series, whose pixels were searched and are marked so."""
    images = [dataset for _, dataset, _ in cleaned]
    if not images:
        return ()
    for image in images:
        _refuse_hidden_bits(image)
    looked_at = [slice_ for image in images for slice_ in _slices(image)]
    step = screen_slices(looked_at, door.gate, is_claimed=any(is_claimed for *_, is_claimed in cleaned))
    for dataset in images if step.note.facts["screened"] else ():
        # PS3.3 C.7.6.1: said only by who looked.
        dataset.BurnedInAnnotation = "NO"
    return images


def _refuse_hidden_bits(image: Dataset) -> None:
    """Refuse an image with bits set beside its numbers, as conversion does: a picture of text may stand in them."""
    stored = decoded(image, "an instance")
    if hides_bits(stored, int(image.get("BitsStored") or 0), int(image.get("HighBit") or 0)):
        raise CurationError(
            "burned-in-text",
            wanted="pixels of numbers alone",
            found="bits set beside them",
            where="PixelData",
        )


def _slices(image: Dataset) -> Sequence[Dataset]:
    """Return the tiles of a mosaic or grid, whose edges look like lettering where they meet; else the image."""
    return [image] if "PerFrameFunctionalGroupsSequence" in image else unfold(image)


def _place_of(dataset: Dataset) -> str:
    """Return an instance's place below the output folder, made of pseudonyms."""
    return f"{dataset.PatientID}/{dataset.SeriesInstanceUID}/{dataset.SOPInstanceUID}.dcm"


def _write_instance(dataset: Dataset, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, write_dataset(dataset))
