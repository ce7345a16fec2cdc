"""How fast the audit reads a TAR, in how much memory, beside plain reading and hashing of the same TAR.

    python benchmarks/bench_audit.py [--megabytes 500] [--kind ct|mr] [--volume FILE] [--keep FOLDER]

A release of one task is made: volumes like those of a scanner, 512 x 512 x 96 voxels of CT (int16, noise within a
body, less of it in the air around) or 240 x 240 x 155 x 2 of scaled MR (float32, zeros around the head), each with its
label, compressed as a release is. How many bytes of voxels a byte of TAR holds decides: both are read and hashed.
The made CT holds 3.0, real ones less: with `--volume` the images are that CT (int16, a .nii.gz of `curate convert`).
Then the audit and, in the same run, its peers read it, each in a process of its own:

- `sha256sum`: the least that any check of a TAR must do;
- `zlib and hashlib`: Python's tarfile, zlib and hashlib alone: digests of TAR, members and voxels, no other check;
- `isal and hashlib`: the same with the audit's own inflater: what no audit that checks these digests can beat;
- `isal alone`: members inflated, nothing hashed.

MB are 10^6 bytes of TAR. CPU is user and system time together: MB/s of CPU is what one core does.
"""

from __future__ import annotations

import argparse
import json
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import nibabel
import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import sample_release as made_up  # noqa: E402 - it lies beside the tests that it was made for

from pipeline.io import tarball  # noqa: E402 - as above
from pipeline.io.nifti import gzip_member  # noqa: E402 - as above

AUDIT = """
import sys
from pathlib import Path
from pipeline.audit import audit
report = audit(Path(sys.argv[1]))
assert report.holds, report.findings[:3]
"""

PEER = """
import hashlib, sys, tarfile
from importlib import import_module
from pathlib import Path
inflater, chunk = import_module(sys.argv[2]), 2**16
class Nothing:
    def update(self, block):
        pass
digest = hashlib.sha256 if sys.argv[3] == "hashing" else Nothing
class Tee:
    def __init__(self, stream):
        self.stream, self.digest = stream, digest()
    def read(self, size):
        block = self.stream.read(size)
        self.digest.update(block)
        return block
with next(Path(sys.argv[1]).glob("*.tar")).open("rb") as stream:
    with tarfile.open(fileobj=Tee(stream), mode="r|", bufsize=2**18) as archive:
        for info in archive:
            member, voxels, inflate = Tee(archive.extractfile(info)), digest(), inflater.decompressobj(wbits=31)
            while info.name.endswith(".gz") and (piece := member.read(chunk)):
                while block := inflate.decompress(piece, chunk):
                    voxels.update(block)
                    piece = inflate.unconsumed_tail
"""


def volumes(kind: str, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an image and its label; every number another image, which differs in its last slice."""
    image, label = first_volumes(kind)
    image = image.copy()
    last = image.reshape((*image.shape[:2], -1), order="F")[:, :, -1]
    rolled = np.roll(last, (number % 200, number // 200), axis=(0, 1))
    if kind == "mr":
        image[:, :, -1, -1] = rolled
    else:
        image[:, :, -1] = rolled
    return image, label


@cache
def first_volumes(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Return an image and its label."""
    if kind not in ("ct", "mr"):
        image = np.asanyarray(nibabel.load(kind).dataobj)
        return image, (image > 100).astype(np.uint8)
    chance = np.random.default_rng(1)
    shape = (512, 512, 96) if kind == "ct" else (240, 240, 155)
    axes = [np.linspace(-1, 1, length, dtype=np.float32) for length in shape]
    distance = np.sqrt((axes[0][:, None] / 0.8) ** 2 + (axes[1] / 0.6) ** 2)[..., None] + 0 * axes[2]
    body, organ = distance < 1, distance < 0.3
    noise = chance.standard_normal(shape, dtype=np.float32)
    if kind == "ct":
        image = np.where(body, 40 + 60 * organ + 20 * noise, np.maximum(-1000 + 12 * noise, -1024))
        image = image.round().astype(np.int16)
    else:
        raw = np.where(body, (300 + 200 * organ + 25 * noise).round(), 0)
        parts = []
        for factor in (1.0, 0.7):
            low, high = np.percentile(raw * factor, (0.5, 99.5))
            parts.append((np.clip((raw * factor - low) / (high - low), 0, 1) * 1000).astype(np.float32))
        image = np.stack(parts, axis=-1)
    return image, organ.astype(np.uint8)


def packed_image(content: bytes, voxels: np.ndarray) -> bytes:
    """Return a gzip member; the slices that all images share are compressed once, which makes 5 GB in minutes."""
    cut = len(content) - voxels.shape[0] * voxels.shape[1] * voxels.itemsize
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    rest = packer.compress(content[cut:]) + packer.flush()
    trailer = struct.pack("<II", zlib.crc32(content), len(content) & 0xFFFFFFFF)
    return b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff" + shared(content[:cut]) + rest + trailer


@cache
def shared(content: bytes) -> bytes:
    """Return deflated blocks that others may follow."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush(zlib.Z_FULL_FLUSH)


def add_case(task: made_up.Task, kind: str, number: int, folder: Path) -> dict[str, Path]:
    """Write one training case's files, and its line; return member -> file."""
    image, label = volumes(kind, number)
    names, turned = [str(channel["name"]) for channel in task.header["channels"]], None
    is_mr = kind == "mr"
    case = f"BRATS_{number:03d}" if is_mr else f"spleen_{number}"
    affine = np.diag([0.75, 0.75, 2.5, 1.0])
    notes = []
    for place, channel in enumerate(task.header["channels"]):
        values = image[..., place] if is_mr else image
        note = {"method": "keep", "quantity": "hounsfield"} if not is_mr else {
            **channel["scale"], "quantity": "arbitrary", "low": "0", "high": "1000", "voxels": int(values.size),
            "clipped_below": 0, "clipped_above": 0,
        }  # fmt: skip
        notes += made_up.way_notes(names[place], image.shape[:3], affine, note, turned)
    told = {
        name: {"min": f"{part.min():g}", "max": f"{part.max():g}"}
        for name, part in zip(names, np.moveaxis(image, 3, 0) if is_mr else [image], strict=True)
    }
    notes.append({"stage": "check", "channel": "image", "channels": told})
    line = made_up.case_line(task, case, "training", names=names, notes=notes)
    task.cases.append(line)
    files = {}
    for part, voxels in (("image", image), ("label", label)):
        content = made_up.nifti(voxels, affine)
        packed = gzip_member(content) if part == "label" else packed_image(content, voxels)
        files[line["members"][part]] = folder / f"{case}.{part}"
        files[line["members"][part]].write_bytes(packed)
        line[part] |= {
            "shape": list(voxels.shape), "dtype": str(voxels.dtype), "affine": made_up.decimals(affine),
            "file": made_up.sha256(packed), "size": len(packed), "voxels": made_up.sha256(content[352:]),
        }  # fmt: skip
    for value, told_of in line["label"]["classes"].items():
        told_of["voxels"] = int((label == int(value)).sum())
        told_of["ml"] = f"{told_of['voxels'] * 0.75 * 0.75 * 2.5 / 1000:.6f}"
    return files


def make_release(kind: str, size: int, folder: Path) -> Path:
    """Write a release whose TAR has at least `size` bytes."""
    task = made_up.brain() if kind == "mr" else made_up.spleen()
    task.cases.clear()
    task.refusals.clear()
    task.files.clear()
    if kind == "mr":
        task.header["classes"] = {"0": "background", "1": "edema"}
        task.header["missing"] = []
        task.dataset["labels"] = task.header["classes"]
        document = task.header["rules"]["document"]
        document["label"]["classes"] = document["label"]["classes"][:1]
        task.header["rules"]["digest"] = made_up.sha256(made_up.canonical(document))
    files: dict[str, Path] = {}
    scratch = folder / "scratch"
    scratch.mkdir()
    while sum(path.stat().st_size for path in files.values()) < size:
        files |= add_case(task, kind, 1000 + len(files), scratch)
    task.cases.sort(key=lambda line: line["case"])
    made_up.refresh(task)
    return seal(task, files, folder / "release")


def seal(task: made_up.Task, files: dict[str, Path], release: Path) -> Path:
    """Write TAR, manifest and documents whose digests fit."""
    release.mkdir()
    dataset = f"{task.name}/dataset.json"
    lines = made_up.manifest_lines(task)
    tar = tarball.write(
        release / f"{task.name}.tar", [*files.items(), (dataset, made_up.dataset_bytes(task))]
    )
    entry = made_up.entry_of(task, b"", lines) | {"tar": tar}
    (release / f"{task.name}.manifest.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    document = {
        "format": "curate-release/1", "key": made_up.KEY.fingerprint, "software": made_up.SOFTWARE, "tasks": [entry],
    }  # fmt: skip
    (release / "release.json").write_bytes(made_up.canonical(document))
    made_up.write_sums(release)
    return release


def measured(command: list[str]) -> tuple[float, float, float]:
    """Run a command in a process of its own; return its wall time, CPU time (s) and peak memory (MB)."""
    # The kernel keeps one peak for all children, so each command gets a parent that has no other child.
    script = (
        "import resource, subprocess, sys, time; t = time.monotonic(); subprocess.run(sys.argv[1:], check=True, "
        "stdout=subprocess.DEVNULL); u = resource.getrusage(resource.RUSAGE_CHILDREN); "
        "print(time.monotonic() - t, u.ru_utime + u.ru_stime, u.ru_maxrss / 1000)"
    )
    said = subprocess.run(
        [sys.executable, "-c", script, *command], check=True, capture_output=True, text=True, cwd=ROOT
    )
    wall, cpu, peak = map(float, said.stdout.split())
    return wall, cpu, peak


def commands(release: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield what is measured, and its command line."""
    tar = next(release.glob("*.tar"))
    yield "sha256sum", ["sha256sum", str(tar)]
    peer = [sys.executable, "-c", PEER, str(release)]
    yield "zlib and hashlib", [*peer, "zlib", "hashing"]
    yield "isal and hashlib", [*peer, "isal.isal_zlib", "hashing"]
    yield "isal alone", [*peer, "isal.isal_zlib", "not hashing"]
    yield "audit", [sys.executable, "-c", AUDIT, str(release)]


def inflated_size(release: Path) -> float:
    """Return the MB of all voxels that the manifest tells of."""
    lines = map(json.loads, next(release.glob("*.jsonl")).open("rb"))
    parts = [
        line[part] for line in lines if line["kind"] == "case" for part in ("image", "label") if line[part]
    ]
    return sum(float(np.prod(part["shape"])) * np.dtype(part["dtype"]).itemsize for part in parts) / 1e6


def main() -> None:
    """Make a release, measure, print."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--megabytes", type=int, default=500)
    words.add_argument("--kind", choices=("ct", "mr"), default="ct")
    words.add_argument("--volume", type=Path, help="make the images of this CT")
    words.add_argument("--alone", action="store_true", help="measure the audit without its peers")
    words.add_argument("--keep", type=Path, help="make the release in this new folder, and leave it there")
    asked = words.parse_args()
    kind = asked.kind if asked.volume is None else str(asked.volume)
    folder = asked.keep or Path(tempfile.mkdtemp(prefix="bench-audit-"))
    folder.mkdir(exist_ok=True)
    try:
        is_made = (folder / "release").is_dir()
        release = folder / "release" if is_made else make_release(kind, asked.megabytes * 10**6, folder)
        size = next(release.glob("*.tar")).stat().st_size / 1e6
        print(f"TAR of {size:.0f} MB, {kind}, {inflated_size(release) / size:.1f} times that inflated")
        print(f"{'':18}{'MB/s of CPU':>12}{'MB/s':>8}{'CPU s':>8}{'peak MB':>9}")
        for name, command in commands(release):
            if asked.alone and name != "audit":
                continue
            wall, cpu, peak = measured(command)
            print(f"{name:18}{size / cpu:12.0f}{size / wall:8.0f}{cpu:8.2f}{peak:9.0f}", flush=True)
    finally:
        if asked.keep is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
