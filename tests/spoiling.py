"""Ways to spoil the sample release, and to look where an audit found it."""

from __future__ import annotations

import io
import random
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sample_release import (
    BRAIN,
    SPLEEN,
    Sample,
    Task,
    dataset_bytes,
    gzipped,
    manifest_lines,
    nifti_header,
    put_content,
    put_voxels,
    sample,
    seal,
    sha256,
    tar_of,
    voxels_of,
    write_release,
)

from pipeline.audit import AuditReport, Finding, audit

BRAIN_TAR, BRAIN_LINES = f"{BRAIN}.tar", f"{BRAIN}.manifest.jsonl"

SPLEEN_TAR, SPLEEN_LINES = f"{SPLEEN}.tar", f"{SPLEEN}.manifest.jsonl"


IMAGE = f"{SPLEEN}/imagesTr/spleen_2.nii.gz"


LABEL = f"{SPLEEN}/labelsTr/spleen_2.nii.gz"


def resealed(tmp_path: Path, spoil: Callable[[Sample], object]) -> AuditReport:
    """Audit a release that was spoilt before it was sealed: every digest fits."""
    made = sample()
    spoil(made)
    return audit(seal(made, tmp_path / "release"))


def in_spleen(spoil: Callable[[Task], object]) -> Callable[[Sample], object]:
    return lambda made: spoil(made[SPLEEN])


def in_brain(spoil: Callable[[Task], object]) -> Callable[[Sample], object]:
    return lambda made: spoil(made[BRAIN])


def shown(report: AuditReport) -> str:
    return "\n".join(map(str, report.findings))


def sought(report: AuditReport, **place: str) -> list[Finding]:
    return [f for f in report.findings if all(getattr(f, name) == value for name, value in place.items())]


def members_of(tar: Path) -> list[tuple[int, str]]:
    """Where each member's header begins, and where the end of the archive does."""
    with tarfile.open(tar) as archive:
        infos = archive.getmembers()
    last = infos[-1]
    end = last.offset_data + -(-last.size // 512) * 512
    return [(info.offset, info.name) for info in infos] + [(end, "end of archive")]


def flip(path: Path, byte: int, bit: int) -> None:
    with path.open("r+b") as stream:
        stream.seek(byte)
        (value,) = stream.read(1)
        stream.seek(byte)
        stream.write(bytes([value ^ (1 << bit)]))


def flips(path: Path, count: int, seed: int) -> list[tuple[int, int]]:
    chance = random.Random(seed)
    return [(chance.randrange(path.stat().st_size), chance.randrange(8)) for _ in range(count)]


def cut(name: str, share: float) -> Callable[[Path], None]:
    def spoil(release: Path) -> None:
        content = (release / name).read_bytes()
        (release / name).write_bytes(content[: int(len(content) * share)])

    return spoil


def replace_text(name: str, old: str, new: str) -> Callable[[Path], None]:
    def spoil(release: Path) -> None:
        content = (release / name).read_bytes()
        assert old.encode() in content
        (release / name).write_bytes(content.replace(old.encode(), new.encode(), 1))

    return spoil


def spoil_voxels(case: str, kind: str, change: Callable[[Any], object]) -> Callable[[Task], None]:
    def spoil(task: Task) -> None:
        voxels = voxels_of(task, case, kind)
        change(voxels)
        put_voxels(task, case, kind, voxels)

    return spoil


def put(index: Any, value: float) -> Callable[[Any], None]:
    def change(voxels: Any) -> None:
        voxels[index] = value

    return change


def as_float(task: Task) -> None:
    put_voxels(task, "spleen_2", "image", voxels_of(task, "spleen_2", "image").astype(np.float32))


def with_affine(affine: Any, kind: str = "image") -> Callable[[Task], object]:
    return lambda task: put_voxels(task, "spleen_2", kind, voxels_of(task, "spleen_2", kind), affine)


def with_header(change: Callable[[bytearray], object]) -> Callable[[Task], None]:
    """Exchange the NIfTI header of an image below otherwise unchanged claims."""

    def spoil(task: Task) -> None:
        affine = np.array(task.case("spleen_2")["image"]["affine"], dtype=np.float64)
        voxels = voxels_of(task, "spleen_2", "image")
        header = nifti_header(voxels, affine)
        change(header)
        content = bytes(header) + voxels.tobytes(order="F")
        put_content(task, "spleen_2", "image", gzipped(content))

    return spoil


def with_gzip(header: bytes, tail: bytes = b"") -> Callable[[Task], None]:
    def spoil(task: Task) -> None:
        inflated = zlib.decompress(task.files[IMAGE], wbits=31)
        packed = gzipped(inflated, header)
        put_content(task, "spleen_2", "image", packed)
        if tail:
            task.files[IMAGE] = packed + tail
            task.case("spleen_2")["image"] |= {"file": sha256(packed + tail), "size": len(packed + tail)}

    return spoil


def set_line(case: str, path: str, value: Any) -> Callable[[Task], None]:
    """Set a value of a case line, `a.b.c` below it."""

    def spoil(task: Task) -> None:
        part: Any = task.case(case)
        *above, last = path.split(".")
        for key in above:
            part = part[int(key)] if isinstance(part, list) else part[key]
        part[last] = value

    return spoil


def set_note(case: str, stage: str, key: str, value: Any) -> Callable[[Task], None]:
    def spoil(task: Task) -> None:
        note = next(note for note in task.case(case)["notes"] if note["stage"] == stage)
        note[key] = value

    return spoil


def set_header(key: str, value: Any) -> Callable[[Task], None]:
    return lambda task: task.header.update({key: value})


def drop_note(case: str, stage: str) -> Callable[[Task], None]:
    def spoil(task: Task) -> None:
        line = task.case(case)
        line["notes"] = [note for note in line["notes"] if note["stage"] != stage]

    return spoil


def lists(key: str, change: Callable[[list[Any]], object]) -> Callable[[Task], object]:
    return lambda task: change(task.dataset[key])


def spoilt_tar(tmp_path: Path, change: Callable[[tarfile.TarInfo], tarfile.TarInfo | None]) -> AuditReport:
    made = sample()
    task = made[SPLEEN]
    members = {f"{SPLEEN}/dataset.json": dataset_bytes(task), **task.files}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(members):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(members[name]), 0o644
            changed = change(info)
            if changed is not None:
                archive.addfile(changed, io.BytesIO(members[name]))
    return audit(sealed_tar(made, packed.getvalue(), tmp_path))


def sealed_tar(made: Sample, tar: bytes, tmp_path: Path) -> Path:
    brain = made[BRAIN]
    brain_tar = tar_of({f"{BRAIN}/dataset.json": dataset_bytes(brain), **brain.files})
    parts = {
        BRAIN: (brain, brain_tar, manifest_lines(brain)),
        SPLEEN: (made[SPLEEN], tar, manifest_lines(made[SPLEEN])),
    }
    return write_release(tmp_path / "release", parts)


def changed_info(**fields: Any) -> Callable[[tarfile.TarInfo], tarfile.TarInfo]:
    def change(info: tarfile.TarInfo) -> tarfile.TarInfo:
        if info.name == IMAGE:
            for name, value in fields.items():
                setattr(info, name, value)
        return info

    return change


def members_of_bytes(content: bytes) -> list[tuple[int, str]]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        infos = archive.getmembers()
    end = infos[-1].offset_data + -(-infos[-1].size // 512) * 512
    return [(info.offset, info.name) for info in infos] + [(end, "")]


Lies = dict[str, tuple[Callable[[Sample], object], dict[str, str]]]
"""What was spoilt -> how, and where it must be found."""


def assert_found(tmp_path: Path, spoil: Callable[[Sample], object], place: dict[str, str]) -> None:
    """Spoil a release before it is sealed, and see that the audit finds it there and accuses no other task."""
    report = resealed(tmp_path, spoil)

    assert sought(report, **place), shown(report)
    accused = {finding.file.split(".")[0] for finding in report.findings} & {BRAIN, SPLEEN}
    assert len(accused) == 1, shown(report)
