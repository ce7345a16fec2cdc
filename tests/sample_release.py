"""A small valid release of two tasks, written from docs/formats.md alone: numpy, struct, zlib, tarfile, json.

`sample()` makes it as values that a test may spoil, `seal` writes it to a folder with digests that fit what it
holds by then, `put_voxels` and `put_content` exchange a member and what its manifest line says of it.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import random
import struct
import tarfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.model.identified import Key, source_token

KEY = Key(bytes(range(32)))
BRAIN, SPLEEN = "Task01_BrainTumour", "Task09_Spleen"

Voxels = npt.NDArray[Any]
Line = dict[str, Any]

CANARY = "sha256:" + 64 * "c"
SOFTWARE: Line = {
    "curate": "0.1.0",
    "python": "3.11",
    "numpy": "2.4.6",
    "compressor": {"name": "libdeflate", "binding": "deflate 0.9.0", "level": 6, "canary": CANARY},
}


def canonical(document: Any) -> bytes:
    """RFC 8785 for what a release holds: ASCII keys, no fractions."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def decimals(matrix: Voxels) -> Any:
    def text(number: float) -> str:
        return str(int(number)) if number == int(number) else repr(float(number))

    return [[text(float(number)) for number in row] for row in np.asarray(matrix, dtype=np.float64)]


# NIfTI


def quaternion(rotation: Voxels) -> tuple[float, float, float]:
    a = np.sqrt(1 + np.trace(rotation)) / 2
    r = rotation
    return (
        (r[2, 1] - r[1, 2]) / (4 * a),
        (r[0, 2] - r[2, 0]) / (4 * a),
        (r[1, 0] - r[0, 1]) / (4 * a),
    )


def nifti_header(voxels: Voxels, affine: Voxels) -> bytearray:
    """348 bytes and 4 more, as design and nifti1.h want them."""
    header = bytearray(352)
    code = {"uint8": 2, "int16": 4, "float32": 16, "uint16": 512, "float64": 64}[str(voxels.dtype)]
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, voxels.ndim, *voxels.shape, *[1] * (7 - voxels.ndim))
    struct.pack_into("<2h", header, 70, code, 8 * voxels.dtype.itemsize)
    struct.pack_into("<8f", header, 76, 1, *spacing, 1, 1, 1, 1)
    struct.pack_into("<3f", header, 108, 352, 1, 0)
    header[123] = 2
    struct.pack_into("<2h", header, 252, 1, 1)
    struct.pack_into("<3f", header, 256, *quaternion(affine[:3, :3] / spacing))
    struct.pack_into("<3f", header, 268, *affine[:3, 3])
    struct.pack_into("<12f", header, 280, *affine[:3].ravel())
    header[344:348] = b"n+1\x00"
    return header


def nifti(voxels: Voxels, affine: Voxels) -> bytes:
    return bytes(nifti_header(voxels, affine)) + voxels.tobytes(order="F")


def gzipped(content: bytes, header: bytes = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff") -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    body = packer.compress(content) + packer.flush()
    return header + body + struct.pack("<II", zlib.crc32(content), len(content))


# A release as values


@dataclass
class Task:
    """One task: the manifest's lines, dataset.json, the TAR's members."""

    name: str
    header: Line
    cases: list[Line] = field(default_factory=list)
    refusals: list[Line] = field(default_factory=list)
    dataset: Line = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    sources: dict[tuple[str, str], list[bytes]] = field(default_factory=dict)

    def case(self, name: str) -> Line:
        return next(line for line in self.cases if line["case"] == name)


Sample = dict[str, Task]


def put_content(task: Task, case: str, kind: str, content: bytes) -> None:
    """Exchange a member; its line says the right digests of it."""
    line = task.case(case)
    task.files[line["members"][kind]] = content
    inflated = zlib.decompress(content, wbits=31)
    line[kind] |= {"file": sha256(content), "size": len(content), "voxels": sha256(inflated[352:])}


def put_voxels(task: Task, case: str, kind: str, voxels: Voxels, affine: Voxels | None = None) -> None:
    """Exchange a member's voxels; its line says the right shape, dtype, affine, counts and digests."""
    line = task.case(case)
    if affine is None:
        affine = np.array(line[kind]["affine"], dtype=np.float64)
    affine = affine.astype(np.float32).astype(np.float64)
    line[kind] |= {"shape": list(voxels.shape), "dtype": str(voxels.dtype), "affine": decimals(affine)}
    if kind == "label":
        ml = abs(np.linalg.det(affine[:3, :3])) / 1000
        for value, part in line["label"]["classes"].items():
            part["voxels"] = int((voxels == int(value)).sum())
            part["ml"] = f"{part['voxels'] * ml:.6f}"
    put_content(task, case, kind, gzipped(nifti(voxels, affine)))


def put_label(task: Task, case: str, voxels: Voxels, affine: Voxels) -> None:
    """Put a label, and the notes of the two rooms that counted it."""
    put_voxels(task, case, "label", voxels, affine)
    counted = {
        value: {"voxels": part["voxels"]} for value, part in task.case(case)["label"]["classes"].items()
    }
    check = task.case(case)["notes"].pop()
    check["label"] = {value: int((voxels == int(value)).sum()) for value in task.header["classes"]}
    task.case(case)["notes"] += [{"stage": "label", "channel": "label", "classes": counted}, check]


def voxels_of(task: Task, case: str, kind: str) -> Voxels:
    """The voxels of a member, to be changed and put back."""
    part = task.case(case)[kind]
    inflated = zlib.decompress(task.files[task.case(case)["members"][kind]], wbits=31)
    shape = tuple(part["shape"])
    return (
        np.frombuffer(inflated, np.dtype(part["dtype"]).newbyteorder("<"), offset=352)
        .reshape(shape, order="F")
        .copy()
    )


def refresh(task: Task) -> None:
    """Let counts and lists say what the lines hold."""
    subsets = [line["subset"] for line in task.cases]
    task.header["counts"] = {
        "training": subsets.count("training"),
        "test": subsets.count("test"),
        "refused": len(task.refusals),
        "missing": len(task.header["missing"]),
    }
    task.dataset["training"] = [
        {"image": f"./imagesTr/{line['case']}.nii.gz", "label": f"./labelsTr/{line['case']}.nii.gz"}
        for line in task.cases
        if line["subset"] == "training"
    ]
    task.dataset["test"] = [
        f"./imagesTs/{line['case']}.nii.gz" for line in task.cases if line["subset"] == "test"
    ]
    task.dataset["numTraining"], task.dataset["numTest"] = subsets.count("training"), subsets.count("test")


# The two tasks


def scaled(values: Voxels, over: str) -> tuple[Voxels, Line]:
    """Robust min-max by sorting: the value between the two samples next to each percentile."""
    ordered = np.sort(values[values != 0] if over == "nonzero" else values.ravel()).astype(np.float64)

    def percentile(share: float) -> float:
        place = (len(ordered) - 1) * share
        below = int(place)
        above = min(below + 1, len(ordered) - 1)
        return float(ordered[below] + (ordered[above] - ordered[below]) * (place - below))

    low, high = percentile(0.005), percentile(0.995)
    result = np.clip((values.astype(np.float64) - low) / (high - low) * 1000, 0, 1000).astype(np.float32)
    note = {
        "method": "robust_min_max", "quantity": "arbitrary", "percentiles": ["0.5", "99.5"], "over": over,
        "low": repr(low), "high": repr(high), "range": ["0", "1000"], "voxels": int(values.size),
        "clipped_below": int((values < low).sum()), "clipped_above": int((values > high).sum()),
    }  # fmt: skip
    return result, note


def way_notes(
    channel: str, shape: tuple[int, ...], affine: Voxels, scale: Line, turn: Line | None
) -> list[Line]:
    """Notes of one channel: acquired with i to the left, flipped to RAS+, perhaps turned, scaled."""
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = shape[0] - 1
    before = affine @ flip
    lengths = list(shape)
    notes: list[Line] = [
        {"stage": "deidentify", "actions": {"PatientName": 3}, "objects": 3},
        {"stage": "convert", "affine": decimals(before), "shape": lengths, "tolerance_mm": "0.01",
         "positions_mm": [repr(float(k * np.linalg.norm(affine[:3, 2]))) for k in range(shape[2])]},
        {"stage": "orient", "axes_before": "LAS", "axes_after": "RAS", "shape_before": lengths,
         "shape_after": lengths, "affine_before": decimals(before), "affine_after": decimals(affine)},
    ]  # fmt: skip
    if turn is not None:
        notes.append({"stage": "fix", "half_turn": "axial", "reversed": ["i", "j"], **turn})
    notes.append({"stage": "scale", **scale})
    return [{**note, "channel": channel} for note in notes]


def case_line(task: Task, case: str, subset: str, *, names: list[str], notes: list[Line]) -> Line:
    """A case line whose image and label are still to be put; adds its source files."""
    is_training = subset == "training"
    folder = "imagesTr" if is_training else "imagesTs"
    sources = {name: [f"{task.name} {case} {name} {n}".encode() for n in range(3)] for name in names}
    if is_training:
        sources["label"] = [f"{task.name} {case} drawn".encode()]
    task.sources |= {(case, name): contents for name, contents in sources.items()}
    classes = {v: {"name": n, "voxels": 0, "ml": "0"} for v, n in task.header["classes"].items() if v != "0"}
    return {
        "kind": "case", "format": "curate-case/1", "task": task.name, "case": case, "subset": subset,
        "subject": keyed("subject", case), "notes": notes, "warnings": [], "image": {},
        "review": {"decision": "not-reviewed"},
        "sources": {name: [source_of(task.name, case, c) for c in contents] for name, contents in sources.items()},
        "label": {"classes": classes} if is_training else None,
        "members": {
            "image": f"{task.name}/{folder}/{case}.nii.gz",
            "label": f"{task.name}/labelsTr/{case}.nii.gz" if is_training else None,
        },
    }  # fmt: skip


def source_of(task: str, case: str, content: bytes) -> str:
    return source_token(KEY.of_case(task, case), hashlib.sha256(content).hexdigest())


def keyed(purpose: str, text: str) -> str:
    return "hmac-sha256:" + KEY.digest(purpose, text).hex()


def empty_task(
    name: str, *, id_form: str, channels: list[Line], classes: list[str], turns: list[Line]
) -> Task:
    texts = {
        "name": name[7:], "description": "made up", "reference": "none", "licence": "CC-BY-SA 4.0",
        "release": "1.0",
    }  # fmt: skip
    document: Line = {
        "format": "curate-rules/1", "task": name, "header": texts, "cases": {"id": id_form},
        "channels": channels, "half_turns": turns,
        "label": {"classes": [{"value": v, "name": n, "required": True} for v, n in enumerate(classes, 1)]},
    }  # fmt: skip
    header: Line = {
        "kind": "header", "format": "curate-manifest/1", "task": name, "tar": f"{name}.tar", "review": "optional",
        "rules": {"digest": sha256(canonical(document)), "document": json.loads(canonical(document))},
        "key": KEY.fingerprint,
        "channels": channels, "classes": {str(v): n for v, n in enumerate(["background", *classes])},
        "missing": [], "software": SOFTWARE,
    }  # fmt: skip
    dataset = {
        **texts,
        "tensorImageSize": "4D" if len(channels) > 1 else "3D",
        "modality": {str(place): channel["name"] for place, channel in enumerate(channels)},
        "labels": dict(header["classes"]),
    }
    return Task(name, header, dataset=dataset)


def robust(over: str) -> Line:
    return {"method": "robust_min_max", "percentiles": ["0.5", "99.5"], "over": over, "range": ["0", "1000"]}


WHY = {"why": "the header of this made-up case is wrong", "evidence": "evidence/made-up.md"}


def brain() -> Task:
    """Two channels in arbitrary units, float32, 4-D; one case turned, one refused, one id missing."""
    channels = [
        {"name": "FLAIR", "quantity": "arbitrary", "scale": robust("nonzero")},
        {"name": "T1w", "quantity": "arbitrary", "scale": robust("all")},
    ]
    turns = [{"case": "BRATS_002", "where": {"StationName": {"equals": "X"}}, **WHY}]
    task = empty_task(
        BRAIN, id_form="BRATS_{:03d}", channels=channels, classes=["edema", "core"], turns=turns
    )
    task.header["missing"] = ["BRATS_004"]
    shape, affine = (9, 8, 7), np.diag([1.0, 1.25, 2.0, 1.0])
    affine[:3, 3] = [-40.5, 12.25, 3.0]
    for number, subset in ((1, "training"), (2, "training"), (3, "test")):
        case, chance = f"BRATS_{number:03d}", np.random.default_rng(number)
        raw = [chance.gamma(3.0, 100.0, shape).astype(np.float32) for _ in channels]
        raw[0][:3] = 0
        images, notes = [], []
        for channel, values in zip(channels, raw, strict=True):
            image, note = scaled(values, channel["scale"]["over"])  # type: ignore[index]  # a Line's values are Any
            images.append(image)
            notes += way_notes(str(channel["name"]), shape, affine, note, WHY if number == 2 else None)
        if number == 2:
            notes.append(
                {"stage": "fix", "channel": "label", "half_turn": "axial", "reversed": ["i", "j"], **WHY}
            )
        ranges = {str(c["name"]): {"min": "0", "max": "1000"} for c in channels}
        notes.append({"stage": "check", "channel": "image", "channels": ranges})
        task.cases.append(case_line(task, case, subset, names=["FLAIR", "T1w"], notes=notes))
        put_voxels(task, case, "image", np.stack(images, axis=-1), affine)
        if subset == "training":
            put_label(task, case, chance.integers(0, 3, shape).astype(np.uint8), affine)
    task.refusals.append(
        {"kind": "refusal", "task": BRAIN, "case": "BRATS_004", "stage": "convert", "code": "missing-slice",
         "wanted": "even steps", "found": "a gap", "where": "", "advice": "Fetch it.", "who": "curator"}
    )  # fmt: skip
    refresh(task)
    return task


def oblique() -> Voxels:
    """An affine turned about two axes, anisotropic."""
    one, two = np.radians(11), np.radians(-7)
    x = np.array([[1, 0, 0], [0, np.cos(one), -np.sin(one)], [0, np.sin(one), np.cos(one)]])
    z = np.array([[np.cos(two), -np.sin(two), 0], [np.sin(two), np.cos(two), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = (x @ z) * [0.75, 0.75, 2.5]
    affine[:3, 3] = [-101.5, 33.0, -250.25]
    return affine


def spleen() -> Task:
    """One CT channel, int16, oblique; ids without leading zeros."""
    channels = [{"name": "CT", "quantity": "hounsfield", "scale": {"method": "keep"}}]
    task = empty_task(SPLEEN, id_form="spleen_{:d}", channels=channels, classes=["spleen"], turns=[])
    shape, affine = (11, 9, 8), oblique().astype(np.float32).astype(np.float64)
    for number, subset in ((10, "training"), (2, "training"), (3, "test")):
        case, chance = f"spleen_{number}", np.random.default_rng(100 + number)
        voxels = chance.integers(-1000, 900, shape).astype(np.int16)
        notes = way_notes("CT", shape, affine, {"method": "keep", "quantity": "hounsfield"}, None)
        told = {"min": str(voxels.min()), "max": str(voxels.max())}
        notes.append({"stage": "check", "channel": "image", "channels": {"CT": told}})
        task.cases.append(case_line(task, case, subset, names=["CT"], notes=notes))
        put_voxels(task, case, "image", voxels, affine)
        if subset == "training":
            put_label(task, case, (chance.random(shape) < 0.2).astype(np.uint8), affine)
    refresh(task)
    return task


def sample() -> Sample:
    return {BRAIN: brain(), SPLEEN: spleen()}


# Writing it


def tar_of(members: dict[str, bytes]) -> bytes:
    """USTAR as Python's tarfile writes it: sorted, owner 0, time 0."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(members):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(members[name]), 0o644
            archive.addfile(info, io.BytesIO(members[name]))
    return packed.getvalue()


def merkle_root(lines: list[bytes]) -> str:
    """RFC 6962 bottom-up: pairs are joined, one that is left over goes up as it is."""
    level = [hashlib.sha256(b"\x00" + line).digest() for line in lines]
    while len(level) > 1:
        pairs = [level[n : n + 2] for n in range(0, len(level), 2)]
        level = [hashlib.sha256(b"\x01" + b"".join(p)).digest() if len(p) == 2 else p[0] for p in pairs]
    return level[0].hex()


def dataset_bytes(task: Task) -> bytes:
    return json.dumps(task.dataset, indent=1).encode("ascii") + b"\n"


def manifest_lines(task: Task) -> list[bytes]:
    content = task.files.get(f"{task.name}/dataset.json", dataset_bytes(task))
    task.header["dataset"] = {
        "member": f"{task.name}/dataset.json",
        "digest": sha256(content),
        "size": len(content),
    }
    return [canonical(line) for line in (task.header, *task.cases, *task.refusals)]


def entry_of(task: Task, tar: bytes, lines: list[bytes]) -> Line:
    """A task's entry in release.json, with digests that fit."""
    manifest = b"".join(line + b"\n" for line in lines)
    subsets = [line["subset"] for line in task.cases]
    return {
        "task": task.name,
        "tar": {"file": f"{task.name}.tar", "digest": sha256(tar), "size": len(tar)},
        "manifest": {
            "file": f"{task.name}.manifest.jsonl", "digest": sha256(manifest), "lines": len(lines),
            "merkle_root": merkle_root(lines),
        },
        "training": subsets.count("training"),
        "test": subsets.count("test"),
        "refused": len(task.refusals),
    }  # fmt: skip


def write_release(folder: Path, parts: dict[str, tuple[Task, bytes, list[bytes]]]) -> Path:
    """Write TARs and manifests as given, and documents whose digests fit them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (_, tar, lines) in parts.items():
        (folder / f"{name}.tar").write_bytes(tar)
        (folder / f"{name}.manifest.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    entries = [entry_of(*parts[name]) for name in sorted(parts)]
    document = {"format": "curate-release/1", "key": KEY.fingerprint, "software": SOFTWARE, "tasks": entries}
    (folder / "release.json").write_bytes(canonical(document))
    write_sums(folder)
    return folder


def write_sums(folder: Path) -> None:
    """Write SHA256SUMS over whatever lies in the folder."""
    names = sorted(path.name for path in folder.iterdir() if path.name != "SHA256SUMS")
    sums = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / "SHA256SUMS").write_text("".join(sums), "ascii")


def seal(release: Sample, folder: Path) -> Path:
    """Write a release whose digests all fit what it holds."""
    parts = {}
    for name, task in release.items():
        members = {f"{name}/dataset.json": dataset_bytes(task), **task.files}
        parts[name] = (task, tar_of(members), manifest_lines(task))
    return write_release(folder, parts)


# Spoiling documents


ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 10**9, "", "x", "sha256:x", "1.5", "1e-7", "01", "nan", [], {}, [1], {"a": 1},
    {"method": "keep"}, "Task05_Prostate", "sha256:" + 64 * "0" + "\n",
)  # fmt: skip


def spoilt(document: Any, chance: random.Random, more: tuple[Any, ...] = ()) -> Any:
    """A copy with one value exchanged, one key dropped or one added, somewhere in it."""
    other = copy.deepcopy(document)
    part = other
    while True:
        keys = list(part) if isinstance(part, dict) else range(len(part))
        key = chance.choice(list(keys)) if keys else None
        inside = part[key] if key is not None else None
        if key is None or not isinstance(inside, dict | list) or not inside or chance.random() < 0.3:
            break
        part = inside
    deed = chance.choice(("exchange", "drop", "add"))
    if key is None or (deed == "add" and isinstance(part, dict)):
        if isinstance(part, dict):
            part[chance.choice(("name", "x", "7"))] = chance.choice(ODD + more)
    elif deed == "drop":
        del part[key]
    else:
        part[key] = chance.choice(ODD + more)
    return other
