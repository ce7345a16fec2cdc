"""An untouched release raises no alarm; whatever is changed in it is found, in its place."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import os
import random
import re
import shutil
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from sample_release import (
    BRAIN,
    KEY,
    SPLEEN,
    Sample,
    Task,
    canonical,
    dataset_bytes,
    decimals,
    gzipped,
    manifest_lines,
    nifti,
    nifti_header,
    oblique,
    put_content,
    put_voxels,
    refresh,
    sample,
    seal,
    sha256,
    source_of,
    spoilt,
    tar_of,
    voxels_of,
    write_release,
    write_sums,
)

import pipeline.audit as audit_module
from pipeline.audit import FINDINGS_LIMIT, AuditReport, Finding, audit, is_ras, merkle_root
from pipeline.model.errors import UsageError

BRAIN_TAR, BRAIN_LINES = f"{BRAIN}.tar", f"{BRAIN}.manifest.jsonl"
SPLEEN_TAR, SPLEEN_LINES = f"{SPLEEN}.tar", f"{SPLEEN}.manifest.jsonl"
IMAGE = f"{SPLEEN}/imagesTr/spleen_2.nii.gz"
LABEL = f"{SPLEEN}/labelsTr/spleen_2.nii.gz"


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return seal(sample(), tmp_path_factory.mktemp("intact") / "release")


@pytest.fixture
def release(intact: Path, tmp_path: Path) -> Path:
    """A copy to be spoilt."""
    return Path(shutil.copytree(intact, tmp_path / "release"))


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


# Untouched


def test_an_untouched_release_raises_no_alarm(intact: Path) -> None:
    report = audit(intact)

    assert shown(report) == ""
    assert report.holds
    size = sum((intact / name).stat().st_size for name in (BRAIN_TAR, SPLEEN_TAR))
    assert report.counts == {"tars": 2, "members": 12, "cases": 6, "bytes": size, "sources": 0}


def test_an_audit_changes_nothing_in_the_release(intact: Path) -> None:
    def state() -> list[tuple[str, str, int]]:
        return [(p.name, sha256(p.read_bytes()), p.stat().st_mtime_ns) for p in sorted(intact.iterdir())]

    before = state()
    audit(intact)

    assert state() == before


def test_progress_names_each_task(intact: Path) -> None:
    told: list[str] = []
    audit(intact, tell=told.append)

    assert [line for line in told if BRAIN in line]
    assert [line for line in told if SPLEEN in line]


def test_a_report_is_one_json_object(release: Path) -> None:
    (release / BRAIN_TAR).unlink()
    report = audit(release)

    document = json.loads(json.dumps(report.to_json()))
    assert document["holds"] is False
    assert document["counts"]["tars"] == 1
    assert document["findings"][0].keys() == {"file", "member", "case", "stage", "wanted", "found"}


# One bit


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


@pytest.mark.parametrize("name", [BRAIN_TAR, SPLEEN_TAR])
def test_every_flipped_bit_of_a_tar_is_located_to_its_member(release: Path, name: str) -> None:
    places = members_of(release / name)
    for byte, bit in flips(release / name, 120, 5):
        flip(release / name, byte, bit)
        report = audit(release)
        flip(release / name, byte, bit)
        member = [place for offset, place in places if offset <= byte][-1]
        named = {finding.member for finding in report.findings if finding.file == name} - {""}
        # A damaged block of zeros is no member, and says so of the file.
        assert named == {member} or (member == "end of archive" and not named), (byte, bit, shown(report))
        assert sought(report, file=name)
        assert {finding.file for finding in report.findings} == {name}


@pytest.mark.parametrize("name", [BRAIN_LINES, SPLEEN_LINES, "release.json", "SHA256SUMS"])
def test_every_flipped_bit_of_a_document_is_located_to_its_file(release: Path, name: str) -> None:
    for byte, bit in flips(release / name, 60, 6):
        flip(release / name, byte, bit)
        report = audit(release)
        flip(release / name, byte, bit)
        assert sought(report, file=name), (byte, bit, shown(report))


def test_every_flipped_bit_of_a_tar_header_is_located_to_its_member(release: Path) -> None:
    offset = {name: place for place, name in members_of(release / SPLEEN_TAR)}[IMAGE]
    for byte in range(0, 512, 3):
        flip(release / SPLEEN_TAR, offset + byte, byte % 8)
        report = audit(release)
        flip(release / SPLEEN_TAR, offset + byte, byte % 8)
        assert {f.member for f in report.findings} - {""} == {IMAGE}, (byte, shown(report))


def test_a_flipped_bit_of_a_manifest_line_is_located_to_line_and_case(release: Path) -> None:
    content = (release / SPLEEN_LINES).read_bytes()
    second = content.index(b"\n") + 1
    flip(release / SPLEEN_LINES, content.index(b'"size":', second) + 1, 0)

    (finding,) = sought(audit(release), file=SPLEEN_LINES, member="line 2", case="spleen_10")
    assert "manifest-case.schema.json" in finding.wanted


def test_a_flipped_bit_of_the_sums_is_told_from_one_of_the_file(release: Path) -> None:
    sums = (release / "SHA256SUMS").read_text()
    for name in (SPLEEN_TAR, SPLEEN_LINES, "release.json"):
        digit = sums.index(f"  {name}") - 1
        sums = sums[:digit] + ("0" if sums[digit] == "1" else "1") + sums[digit + 1 :]
    (release / "SHA256SUMS").write_text(sums)

    assert {(f.file, f.member) for f in audit(release).findings} == {
        ("SHA256SUMS", SPLEEN_TAR),
        ("SHA256SUMS", SPLEEN_LINES),
        ("SHA256SUMS", "release.json"),
    }


# Files, without new digests


def swap_members(release: Path) -> None:
    made = sample()
    files = made[SPLEEN].files
    names = [name for name in files if "imagesTr" in name]
    files[names[0]], files[names[1]] = files[names[1]], files[names[0]]
    members = {f"{SPLEEN}/dataset.json": dataset_bytes(made[SPLEEN]), **files}
    (release / SPLEEN_TAR).write_bytes(tar_of(members))


def drop_line(release: Path) -> None:
    lines = (release / SPLEEN_LINES).read_bytes().splitlines(keepends=True)
    (release / SPLEEN_LINES).write_bytes(b"".join(lines[:2] + lines[3:]))


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


def link(release: Path) -> None:
    (release / SPLEEN_TAR).rename(release.parent / "elsewhere.tar")
    (release / SPLEEN_TAR).symlink_to(release.parent / "elsewhere.tar")


UNSEALED: dict[str, tuple[Callable[[Path], object], dict[str, str]]] = {
    "a file nobody lists": (lambda r: (r / "notes.txt").write_text("x"), {"file": "notes.txt"}),
    "a hidden file": (lambda r: (r / ".DS_Store").write_text("x"), {"file": ".DS_Store"}),
    "a file in a folder": (
        lambda r: shutil.copytree(r, r / "more"),
        {"file": "more/release.json"},
    ),
    "another TAR": (
        lambda r: shutil.copy(r / SPLEEN_TAR, r / "Task99_Other.tar"),
        {"file": "Task99_Other.tar", "wanted": "only what release.json names"},
    ),
    "no TAR": (lambda r: (r / SPLEEN_TAR).unlink(), {"file": SPLEEN_TAR, "found": "none"}),
    "no manifest": (lambda r: (r / SPLEEN_LINES).unlink(), {"file": SPLEEN_LINES, "found": "none"}),
    "no release.json": (lambda r: (r / "release.json").unlink(), {"file": "release.json"}),
    "no sums": (lambda r: (r / "SHA256SUMS").unlink(), {"file": "SHA256SUMS"}),
    "a link instead of a TAR": (link, {"file": SPLEEN_TAR, "found": "a link or device"}),
    "swapped members": (swap_members, {"file": SPLEEN_TAR, "member": IMAGE, "case": "spleen_2"}),
    "a dropped line": (drop_line, {"file": SPLEEN_LINES, "stage": "release"}),
    "a TAR cut in the middle": (cut(SPLEEN_TAR, 0.5), {"file": SPLEEN_TAR}),
    "a TAR cut in its last block": (cut(SPLEEN_TAR, 0.9999), {"file": SPLEEN_TAR}),
    "an empty TAR": (cut(SPLEEN_TAR, 0), {"file": SPLEEN_TAR}),
    "an empty manifest": (cut(SPLEEN_LINES, 0), {"file": SPLEEN_LINES}),
    "an empty release.json": (cut("release.json", 0), {"file": "release.json"}),
    "a manifest without its last newline": (cut(SPLEEN_LINES, 0.99999), {"file": SPLEEN_LINES}),
    "a fraction in release.json": (
        replace_text("release.json", '"lines":4', '"lines":4.0'),
        {"file": "release.json"},
    ),
    "a key given twice": (
        replace_text("release.json", '"lines":4', '"lines":4,"lines":4'),
        {"file": "release.json", "found": "a key given twice"},
    ),
    "a blank in release.json": (
        replace_text("release.json", '"lines":4', '"lines": 4'),
        {"file": "release.json", "wanted": "canonical JSON (RFC 8785)"},
    ),
    "an unknown key in release.json": (
        replace_text("release.json", '"lines":4', '"lines":4,"name":"x"'),
        {"file": "release.json"},
    ),
    "not text in release.json": (
        replace_text("release.json", "curate-release/1", "curate-release\ufffd"),
        {"file": "release.json"},
    ),
}


@pytest.mark.parametrize("what", UNSEALED)
def test_a_changed_folder_is_found(release: Path, what: str) -> None:
    spoil, place = UNSEALED[what]
    spoil(release)

    report = audit(release)
    assert sought(report, **place), shown(report)


def test_a_manifest_that_was_sealed_anew_no_longer_fits_the_release(release: Path) -> None:
    made = sample()
    made[SPLEEN].cases[0]["subject"] = made[SPLEEN].cases[1]["subject"]
    lines = b"".join(line + b"\n" for line in manifest_lines(made[SPLEEN]))
    (release / SPLEEN_LINES).write_bytes(lines)
    write_sums(release)

    report = audit(release)
    assert {f.wanted.split(",")[0] for f in sought(report, file=SPLEEN_LINES)} == {
        "the digest in release.json",
        "the Merkle root in release.json",
    }


# Lies that were sealed: every digest fits, the content gives them away


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


def same_image_twice(task: Task) -> None:
    put_voxels(task, "spleen_3", "image", voxels_of(task, "spleen_2", "image"))
    set_note("spleen_3", "check", "channels", task.case("spleen_2")["notes"][-1]["channels"])(task)


def extra_half_turn(task: Task) -> None:
    note = {"stage": "fix", "half_turn": "axial", "why": "because", "evidence": "none.md"}
    task.case("spleen_3")["notes"].append({**note, "channel": "CT"})


def unclip(task: Task) -> None:
    """Spread the voxels at the ends: then less is clipped than the percentiles say."""
    voxels = voxels_of(task, "BRATS_001", "image")
    channel = voxels[..., 1]
    ends = np.argwhere(channel == 1000)
    for place in ends[1:]:
        channel[tuple(place)] = 999
    put_voxels(task, "BRATS_001", "image", voxels)


def half_range(task: Task) -> None:
    voxels = voxels_of(task, "BRATS_001", "image")
    voxels[..., 1] /= 2
    put_voxels(task, "BRATS_001", "image", voxels)


def both_subsets(task: Task) -> None:
    task.case("BRATS_003")["subject"] = task.case("BRATS_001")["subject"]


def refused_and_there(task: Task) -> None:
    task.refusals[0]["case"] = "BRATS_003"


def label_told(task: Task) -> None:
    notes = task.case("BRATS_003")["notes"]
    notes.append({"stage": "label", "channel": "label", "classes": {}})


def label_counted(task: Task) -> None:
    task.case("BRATS_003")["notes"][-1]["label"] = {"1": 12}


def lists(key: str, change: Callable[[list[Any]], object]) -> Callable[[Task], object]:
    return lambda task: change(task.dataset[key])


def half_a_turn(task: Task) -> None:
    line = task.case("BRATS_002")
    line["notes"] = [n for n in line["notes"] if not (n["stage"] == "fix" and n["channel"] == "T1w")]


def labels_elsewhere(task: Task) -> None:
    affine = np.array(task.case("spleen_2")["label"]["affine"], dtype=np.float64)
    affine[0, 3] += 0.25
    put_voxels(task, "spleen_2", "label", voxels_of(task, "spleen_2", "label"), affine)


def label_of_other_shape(task: Task) -> None:
    put_voxels(task, "spleen_2", "label", voxels_of(task, "spleen_2", "label")[:, :, 1:])


def mirrored(task: Task) -> None:
    with_affine(oblique() @ np.diag([-1.0, 1, 1, 1]))(task)


def skewed(task: Task) -> None:
    affine = oblique()
    affine[0, 1] += 0.01
    with_affine(affine)(task)


def channel_lost(task: Task) -> None:
    put_voxels(task, "BRATS_001", "image", voxels_of(task, "BRATS_001", "image")[..., 0])


def other_rules(task: Task) -> None:
    task.header["rules"]["document"]["channels"] = [
        {"name": "CT", "quantity": "hounsfield", "scale": {"method": "keep"}},
        {"name": "PET", "quantity": "activity", "scale": {"method": "keep"}},
    ]
    task.header["rules"]["digest"] = sha256(canonical(task.header["rules"]["document"]))


SEALED: dict[str, tuple[Callable[[Sample], object], dict[str, str]]] = {
    # Values
    "NaN": (in_brain(spoil_voxels("BRATS_001", "image", put((2, 3, 4, 0), np.nan))),
            {"case": "BRATS_001", "stage": "check", "found": "NaN or infinity"}),
    "infinity": (in_brain(spoil_voxels("BRATS_003", "image", put((2, 3, 4, 1), -np.inf))),
                 {"case": "BRATS_003", "stage": "check"}),
    "a constant image": (in_spleen(spoil_voxels("spleen_2", "image", put(..., 7))),
                         {"case": "spleen_2", "stage": "check", "found": "7 everywhere"}),
    "a value beyond the scale": (in_brain(spoil_voxels("BRATS_001", "image", put((2, 3, 4, 0), 1000.5))),
                                 {"case": "BRATS_001", "stage": "scale"}),
    "half the scale": (in_brain(half_range), {"case": "BRATS_001", "stage": "scale"}),
    "less clipped than the percentiles say": (in_brain(unclip), {"case": "BRATS_001", "stage": "scale"}),
    "another value than check saw": (in_spleen(spoil_voxels("spleen_2", "image", put((0, 0, 0), -1024))),
                                     {"case": "spleen_2", "stage": "check"}),
    "whole HU as float32": (in_spleen(as_float), {"case": "spleen_2", "stage": "convert", "found": "float32"}),
    "the same voxels twice": (in_spleen(same_image_twice),
                              {"case": "spleen_3", "found": f"those of {IMAGE}"}),
    # Labels
    "an undeclared value": (in_spleen(spoil_voxels("spleen_2", "label", put((1, 1, 1), 9))),
                            {"case": "spleen_2", "stage": "label", "found": "also [9]"}),
    "an empty label": (in_spleen(spoil_voxels("spleen_2", "label", put(..., 0))),
                       {"case": "spleen_2", "stage": "label"}),
    "another count": (in_spleen(set_line("spleen_2", "label.classes.1.voxels", 3)),
                      {"member": LABEL, "case": "spleen_2", "stage": "label"}),
    "another volume": (in_spleen(set_line("spleen_2", "label.classes.1.ml", "1.5")),
                       {"case": "spleen_2", "stage": "label", "found": "1.5 ml"}),
    "another class name": (in_spleen(set_line("spleen_2", "label.classes.1.name", "liver")),
                           {"case": "spleen_2", "stage": "label", "found": "liver"}),
    "a label a quarter voxel away": (in_spleen(labels_elsewhere), {"member": LABEL, "stage": "label"}),
    "a label of another shape": (in_spleen(label_of_other_shape), {"member": LABEL, "stage": "label"}),
    # Geometry
    "a mirrored image": (in_spleen(mirrored), {"case": "spleen_2", "stage": "orient"}),
    "a skewed image": (in_spleen(skewed), {"case": "spleen_2", "stage": "convert"}),
    "a manifest affine of its own": (
        in_spleen(lambda t: t.case("spleen_2")["image"]["affine"][0].__setitem__(3, "12.5")),
        {"member": IMAGE, "stage": "orient"}),
    "another shape in the manifest": (in_spleen(set_line("spleen_2", "image.shape", [11, 8, 9])),
                                      {"member": IMAGE, "stage": "package"}),
    "a missing channel": (in_brain(channel_lost), {"case": "BRATS_001", "stage": "package"}),
    "a qform of its own": (in_spleen(with_header(lambda h: struct.pack_into("<f", h, 268, 5.0))),
                           {"member": IMAGE, "wanted": "a qform equal to the sform"}),
    "no qform": (in_spleen(with_header(lambda h: struct.pack_into("<h", h, 252, 0))),
                 {"member": IMAGE, "wanted": "qform and sform codes above 0"}),
    "another spacing": (in_spleen(with_header(lambda h: struct.pack_into("<f", h, 80, 0.76))), {"member": IMAGE}),
    # The file
    "micrometres": (in_spleen(with_header(lambda h: h.__setitem__(123, 3))), {"member": IMAGE}),
    "a name in descrip": (in_spleen(with_header(lambda h: h.__setitem__(slice(148, 152), b"Doe^"))),
                          {"member": IMAGE, "found": "b'Doe^'"}),
    "an extension": (in_spleen(with_header(lambda h: h.__setitem__(348, 1))), {"member": IMAGE}),
    "a slope": (in_spleen(with_header(lambda h: struct.pack_into("<f", h, 112, 2.0))), {"member": IMAGE}),
    "a fifth axis": (in_spleen(with_header(lambda h: struct.pack_into("<8h", h, 40, 5, 11, 9, 8, 1, 1, 1, 1))),
                     {"member": IMAGE}),
    "a pair of files": (in_spleen(with_header(lambda h: h.__setitem__(slice(344, 348), b"ni1\0"))),
                        {"member": IMAGE}),
    "fewer voxels than the header says": (
        in_spleen(with_header(lambda h: struct.pack_into("<h", h, 46, 9))), {"member": IMAGE}),
    "more voxels than the header says": (
        in_spleen(with_header(lambda h: struct.pack_into("<h", h, 46, 7))), {"member": IMAGE}),
    "a gzip name": (
        in_spleen(with_gzip(b"\x1f\x8b\x08\x08\0\0\0\0\0\xffDOE_JANE\0")), {"member": IMAGE}),
    "a gzip time": (in_spleen(with_gzip(b"\x1f\x8b\x08\0\x12\x34\x56\x60\0\xff")), {"member": IMAGE}),
    "a gzip system": (in_spleen(with_gzip(b"\x1f\x8b\x08\0\0\0\0\0\0\x03")), {"member": IMAGE}),
    "a second gzip member": (in_spleen(with_gzip(b"\x1f\x8b\x08\0\0\0\0\0\0\xff", gzipped(b"more"))),
                             {"member": IMAGE}),
    "bytes behind the gzip member": (in_spleen(with_gzip(b"\x1f\x8b\x08\0\0\0\0\0\0\xff", b"x")),
                                     {"member": IMAGE}),
    # Lines
    "a subject in both subsets": (in_brain(both_subsets), {"file": BRAIN_LINES, "stage": "split"}),
    "a refused case that is there": (in_brain(refused_and_there), {"file": BRAIN_LINES, "case": "BRATS_003"}),
    "a missing case that is there": (in_brain(set_header("missing", ["BRATS_001"])),
                                     {"file": BRAIN_LINES, "member": "line 1"}),
    "other counts": (in_brain(lambda t: t.header["counts"].update(training=3)), {"member": "line 1"}),
    "an id of another form": (in_brain(set_header("missing", ["BRATS_4"])), {"stage": "split"}),
    "lines in another order": (in_spleen(lambda t: t.cases.reverse()), {"file": SPLEEN_LINES}),
    "a case twice": (in_spleen(lambda t: t.cases.insert(1, t.cases[0])), {"file": SPLEEN_LINES}),
    "a header of another task": (in_spleen(set_header("task", BRAIN)), {"file": SPLEEN_LINES}),
    "another key": (in_spleen(set_header("key", 16 * "0")), {"file": SPLEEN_LINES}),
    "another scale in the header": (
        in_brain(lambda t: t.header["channels"].reverse()), {"file": BRAIN_LINES, "stage": "scale"}),
    "another class in the header": (
        in_spleen(set_header("classes", {"0": "background", "1": "liver"})), {"stage": "label"}),
    "rules with another digest": (
        in_spleen(lambda t: t.header["rules"]["document"].update(task=BRAIN)), {"member": "line 1"}),
    "rules replaced": (in_spleen(other_rules), {"member": "line 1", "stage": "scale"}),
    "an unkeyed source digest": (
        in_spleen(set_line("spleen_2", "sources.CT", ["sha256:" + 64 * "0"])), {"member": "line 3"}),
    "a source path": (in_spleen(set_line("spleen_2", "path", "/in/DOE_JANE")), {"member": "line 3"}),
    "a fraction": (in_spleen(set_note("spleen_2", "convert", "step", 2.5)), {"member": "line 3"}),
    "sources of another channel": (
        in_spleen(lambda t: t.case("spleen_2")["sources"].update(PET=["hmac-sha256:" + 64 * "0"])),
        {"case": "spleen_2", "stage": "ingest"}),
    "a member of another name": (
        in_spleen(set_line("spleen_2", "members.image", f"{SPLEEN}/imagesTr/spleen_4.nii.gz")),
        {"case": "spleen_2", "stage": "package"}),
    "a test case among the training": (in_spleen(set_line("spleen_3", "subset", "training")),
                                       {"case": "spleen_3", "stage": "label"}),
    # Notes
    "no note of a room": (in_spleen(drop_note("spleen_2", "deidentify")),
                          {"case": "spleen_2", "stage": "deidentify"}),
    "a cut-off above the other": (in_brain(set_note("BRATS_001", "scale", "low", "99999")),
                                  {"case": "BRATS_001", "stage": "scale"}),
    "other percentiles": (in_brain(set_note("BRATS_001", "scale", "percentiles", ["1", "99"])),
                          {"case": "BRATS_001", "stage": "scale"}),
    "another number of voxels": (in_brain(set_note("BRATS_001", "scale", "voxels", 5)),
                                 {"case": "BRATS_001", "stage": "scale"}),
    "more clipped than is at the end": (in_brain(set_note("BRATS_001", "scale", "clipped_above", 99)),
                                        {"case": "BRATS_001", "stage": "scale"}),
    "a slice position too few": (in_spleen(set_note("spleen_2", "convert", "positions_mm", ["0"])),
                                 {"case": "spleen_2", "stage": "convert"}),
    "slice positions of another spacing": (
        in_spleen(set_note("spleen_2", "convert", "positions_mm", [str(3 * k) for k in range(8)])),
        {"case": "spleen_2", "stage": "convert"}),
    "an orientation of another shape": (in_spleen(set_note("spleen_2", "convert", "shape", [9, 11, 8])),
                                        {"case": "spleen_2", "stage": "orient"}),
    "another count by label": (in_spleen(set_note("spleen_2", "label", "classes", {"1": {"voxels": 3}})),
                               {"member": LABEL, "stage": "label"}),
    "another count by check": (in_spleen(set_note("spleen_2", "check", "label", {"0": 3})),
                               {"member": LABEL, "stage": "check"}),
    "an orientation that moves voxels": (
        in_spleen(set_note("spleen_2", "orient", "affine_before", decimals(oblique()))),
        {"case": "spleen_2", "stage": "orient"}),
    "other axis codes before": (in_spleen(set_note("spleen_2", "orient", "axes_before", "RAS")),
                                {"case": "spleen_2", "stage": "orient", "found": "RAS"}),
    "no axis codes after": (in_spleen(set_note("spleen_2", "orient", "axes_after", "RAX")),
                            {"case": "spleen_2", "stage": "orient", "found": "RAX"}),
    "a source less than was de-identified": (in_spleen(lambda t: t.case("spleen_2")["sources"]["CT"].pop()),
                                             {"case": "spleen_2", "stage": "ingest"}),
    "another quantity": (in_spleen(set_note("spleen_2", "scale", "quantity", "adc")),
                         {"case": "spleen_2", "stage": "scale", "found": "adc"}),
    "a half turn of one channel alone": (in_brain(half_a_turn), {"case": "BRATS_002", "stage": "fix"}),
    "a half turn without why": (in_brain(set_note("BRATS_002", "fix", "why", " ")),
                                {"case": "BRATS_002", "stage": "fix", "found": "none"}),
    "a half turn without evidence": (in_brain(set_note("BRATS_002", "fix", "evidence", None)),
                                     {"case": "BRATS_002", "stage": "fix", "found": "none"}),
    "a half turn that no rule knows": (in_spleen(extra_half_turn), {"case": "spleen_3", "stage": "fix"}),
    "a note of a withheld label": (in_brain(label_told), {"case": "BRATS_003", "stage": "label"}),
    "counts of a withheld label": (in_brain(label_counted), {"case": "BRATS_003", "stage": "check"}),
    # dataset.json
    "a case that is not listed": (in_spleen(lists("training", lambda x: x.pop())), {"stage": "package"}),
    "a case listed twice": (in_spleen(lists("test", lambda x: x.append(x[0]))), {"stage": "package"}),
    "a training case among the test": (
        in_spleen(lists("test", lambda x: x.append("./imagesTs/spleen_2.nii.gz"))), {"stage": "package"}),
    "a wrong count": (in_spleen(lambda t: t.dataset.update(numTraining=9)), {"stage": "package"}),
    "another modality": (in_spleen(lambda t: t.dataset.update(modality={"0": "MRI"})), {"stage": "package"}),
    "another label name": (
        in_spleen(lambda t: t.dataset.update(labels={"0": "background", "1": "liver"})), {"stage": "package"}),
    "modalities in another order": (
        in_brain(lambda t: t.dataset.update(modality={"0": "T1w", "1": "FLAIR"})), {"stage": "package"}),
    "a wrong tensorImageSize": (in_spleen(lambda t: t.dataset.update(tensorImageSize="4D")), {}),
    "another licence": (in_spleen(lambda t: t.dataset.update(licence="none")), {"found": "none"}),
    "relase": (in_spleen(lambda t: t.dataset.update(relase=t.dataset.pop("release"))), {"stage": "package"}),
}  # fmt: skip


@pytest.mark.parametrize("what", SEALED)
def test_a_sealed_lie_is_found(tmp_path: Path, what: str) -> None:
    spoil, place = SEALED[what]
    report = resealed(tmp_path, spoil)

    assert sought(report, **place), shown(report)
    # The other task is not accused of it.
    accused = {finding.file.split(".")[0] for finding in report.findings} & {BRAIN, SPLEEN}
    assert len(accused) == 1, shown(report)


def test_a_wrong_number_in_release_json_is_found(release: Path) -> None:
    for old, new in (
        ('"training":2', '"training":3'),
        ('"refused":1', '"refused":0'),
        ('"lines":4', '"lines":5'),
    ):
        replace_text("release.json", old, new)(release)
        assert sought(audit(release), file="release.json") or sought(audit(release), file=SPLEEN_LINES)
        replace_text("release.json", new, old)(release)


# TARs of another make, sealed


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


@pytest.mark.parametrize(
    "fields",
    [{"uid": 1000}, {"gid": 5}, {"mtime": 1700000000}, {"mode": 0o600}, {"uname": "doe"}, {"gname": "doe"}],
    ids=lambda fields: next(iter(fields)),
)
def test_an_owner_or_time_in_the_tar_is_found(tmp_path: Path, fields: dict[str, Any]) -> None:
    report = spoilt_tar(tmp_path, changed_info(**fields))

    assert {(f.file, f.member, f.case) for f in report.findings} == {(SPLEEN_TAR, IMAGE, "spleen_2")}


def test_a_renamed_member_is_found_under_both_names(tmp_path: Path) -> None:
    other = IMAGE.replace("spleen_2", "spleen_22")
    report = spoilt_tar(tmp_path, changed_info(name=other))

    assert sought(report, member=other, wanted="a member that a manifest line explains")
    assert sought(report, member=IMAGE, case="spleen_2", found="none")


def test_a_dropped_member_is_found(tmp_path: Path) -> None:
    report = spoilt_tar(tmp_path, lambda info: None if info.name == LABEL else info)

    assert [finding.member for finding in report.findings] == [LABEL]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_a_link_or_device_in_the_tar_is_found(tmp_path: Path, kind: bytes) -> None:
    report = spoilt_tar(tmp_path, changed_info(type=kind, linkname="/etc/passwd", size=0))

    assert sought(report, member=IMAGE, case="spleen_2")


@pytest.mark.parametrize(
    "name",
    [
        f"{SPLEEN}/labelsTs/spleen_3.nii.gz",
        f"./{SPLEEN}/x",
        "../x",
        "/x",
        f"{SPLEEN}/._x",
        f"{SPLEEN}/imagesTr/",
    ],
)
def test_a_member_that_no_line_explains_is_found(tmp_path: Path, name: str) -> None:
    made = sample()
    task = made[SPLEEN]
    members = {f"{SPLEEN}/dataset.json": dataset_bytes(task), **task.files, name: b"x"}

    report = audit(sealed_tar(made, tar_of(members), tmp_path))
    assert sought(report, member=name, wanted="a member that a manifest line explains"), shown(report)


def test_members_in_another_order_are_found(tmp_path: Path) -> None:
    made = sample()
    task = made[SPLEEN]
    names = sorted([f"{SPLEEN}/dataset.json", *task.files])
    names[2], names[3] = names[3], names[2]
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in names:
            content = task.files.get(name, dataset_bytes(task))
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            archive.addfile(info, io.BytesIO(content))

    report = audit(sealed_tar(made, packed.getvalue(), tmp_path))
    assert [(f.member, f.wanted.split()[1]) for f in report.findings] == [(names[3], "name")]


def test_a_member_given_twice_is_found(tmp_path: Path) -> None:
    made = sample()
    task = made[SPLEEN]
    packed = tar_of({f"{SPLEEN}/dataset.json": dataset_bytes(task), **task.files})
    offset, name = members_of_bytes(packed)[-2]
    end = members_of_bytes(packed)[-1][0]
    twice = packed[:end] + packed[offset:end] + packed[end:]

    report = audit(sealed_tar(made, twice, tmp_path))
    assert sought(report, member=name, wanted="each member once")


def members_of_bytes(content: bytes) -> list[tuple[int, str]]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        infos = archive.getmembers()
    end = infos[-1].offset_data + -(-infos[-1].size // 512) * 512
    return [(info.offset, info.name) for info in infos] + [(end, "")]


@pytest.mark.parametrize("wrap", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_tar_of_another_format_is_found(tmp_path: Path, wrap: int) -> None:
    made = sample()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=wrap, pax_headers={"comment": "hello"}) as archive:
        info = tarfile.TarInfo(IMAGE)
        archive.addfile(info)

    assert sought(audit(sealed_tar(made, packed.getvalue(), tmp_path)), file=SPLEEN_TAR)


def test_a_compressed_tar_is_found(tmp_path: Path) -> None:
    made = sample()
    report = audit(sealed_tar(made, gzipped(bytes(10240)), tmp_path))

    assert sought(report, file=SPLEEN_TAR, stage="package")


# Documents that want to hurt


NASTY: tuple[Any, ...] = (
    "1e999",
    "-1e300",
    400 * "9",
    2**60,
    [4 * [4 * ["1e300"]]],
    [{}],
    [[[]]],
    {"case": 1},
    "\ud800",
)


def seal_as_it_is(made: Sample, folder: Path) -> Path:
    """Seal lines that may no longer be what `seal` counts on."""
    parts = {}
    for name, task in made.items():
        sound = sample()[name]
        members = {f"{name}/dataset.json": json.dumps(task.dataset).encode(), **sound.files}
        lines = [json.dumps(line, sort_keys=True, separators=(",", ":")).encode() for line in lines_of(task)]
        parts[name] = (sound, tar_of(members), lines)
    return write_release(folder, parts)


def lines_of(task: Task) -> list[Any]:
    return [task.header, *task.cases, *task.refusals]


@pytest.mark.parametrize("seed", range(8))
def test_no_document_stops_an_audit(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(15):
        made = sample()
        task = made[chance.choice((BRAIN, SPLEEN))]
        manifest_lines(task)
        for _ in range(3):
            where = chance.randrange(3)
            if where == 0:
                task.header = spoilt(task.header, chance, NASTY)
            elif where == 1:
                task.cases[0] = spoilt(task.cases[0], chance, NASTY)
            else:
                task.dataset = spoilt(task.dataset, chance, NASTY)

        assert audit(seal_as_it_is(made, tmp_path / "release")).findings


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"9" * 10_000,
        b'"\\ud800"',
        b"\xff\xfe",
        b"NaN",
        b"null",
        b"[]",
        b'"x"',
    ],
    ids=["deep list", "deep object", "long number", "surrogate", "bytes", "NaN", "null", "list", "text"],
)
@pytest.mark.parametrize("name", ["release.json", SPLEEN_LINES])
def test_a_hostile_document_is_a_finding(release: Path, name: str, content: bytes) -> None:
    (release / name).write_bytes(content + b"\n")

    assert sought(audit(release), file=name)


def test_what_a_finding_quotes_cannot_steer_a_terminal(release: Path) -> None:
    (release / "x\x1b[31m\nspleen \u202e").write_text("x")
    replace_text("release.json", '"lines":4', '"lines":4,"' + 900 * "e" + '":1')(release)

    for finding in audit(release).findings:
        assert all(" " <= letter <= "~" for letter in str(finding))
        assert len(finding.found) <= 310


def test_findings_are_listed_up_to_a_limit_for_each_task(release: Path) -> None:
    lines = b"".join(b"%d\n" % number for number in range(2 * FINDINGS_LIMIT))
    (release / SPLEEN_LINES).write_bytes(lines)

    report = audit(release)
    assert len([f for f in report.findings if f.file.startswith(SPLEEN)]) == FINDINGS_LIMIT
    assert report.unlisted > FINDINGS_LIMIT


def test_a_member_that_expands_without_end_is_left_at_the_size_its_header_says(tmp_path: Path) -> None:
    def spoil(task: Task) -> None:
        voxels = np.zeros((2, 2, 2), np.int16)
        header = nifti_header(voxels, oblique())
        put_content(task, "spleen_2", "image", gzipped(bytes(header) + bytes(50_000_000)))

    assert sought(resealed(tmp_path, in_spleen(spoil)), member=IMAGE, found="more bytes")


# What is not a release


def test_a_folder_that_is_no_release_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")

    for place in (tmp_path, tmp_path / "notes.txt", tmp_path / "nowhere"):
        with pytest.raises(UsageError) as refused:
            audit(place)
        assert refused.value.code == "bad-usage"


# The pieces, against other implementations


def test_the_merkle_root_is_that_of_rfc_6962() -> None:
    # The vectors that Certificate Transparency implementations share.
    inputs = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ]
    leaves = [hashlib.sha256(b"\x00" + bytes.fromhex(text)).digest() for text in inputs]
    roots = [merkle_root(leaves[:count]) for count in (0, 1, 2, 3, 5, 8)]

    assert roots == [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ]


def rotation(random: np.random.Generator) -> Any:
    orthogonal, _ = np.linalg.qr(random.normal(size=(3, 3)))
    return orthogonal


def test_ras_is_what_nibabel_calls_ras() -> None:
    random = np.random.default_rng(3)
    affine = np.eye(4)
    for _ in range(2000):
        affine[:3, :3] = rotation(random)
        codes = nibabel.aff2axcodes(affine)
        # nibabel takes the axes in another order of closeness; where that matters no claim is made here.
        if is_ras(affine[:3, :3]) != (codes == ("R", "A", "S")):
            assert np.sort(np.abs(affine[:3, :3]).max(axis=0))[0] < 0.75


def test_the_sample_is_what_other_readers_read(intact: Path, tmp_path: Path) -> None:
    with tarfile.open(intact / SPLEEN_TAR) as archive:
        archive.extractall(tmp_path, filter="data")
    image = nibabel.Nifti1Image.from_filename(tmp_path / IMAGE)
    other = SimpleITK.ReadImage(str(tmp_path / IMAGE))
    task = sample()[SPLEEN]

    expected = voxels_of(task, "spleen_2", "image")
    assert (np.asarray(image.dataobj) == expected).all()
    assert (SimpleITK.GetArrayFromImage(other).transpose() == expected).all()
    affine = np.array(task.case("spleen_2")["image"]["affine"], dtype=np.float64)
    assert np.abs(image.get_qform() - affine).max() < 1e-4
    assert np.abs(other.GetOrigin() - affine[:3, 3] * [-1, -1, 1]).max() < 1e-4


def test_the_audit_shares_no_code_with_the_builder() -> None:
    tree = ast.parse(Path(audit_module.__file__).read_text())
    imported = {
        name
        for node in ast.walk(tree)
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else []
        )
    }

    ours = {name for name in imported if name.startswith("pipeline")}
    assert ours == {"pipeline.model.errors", "pipeline.model.identified"}
    assert {"nibabel", "pydicom", "deflate", "jsonschema"}.isdisjoint(imported)


# Back to the sources


SECRET = "DOE_JANE"


def packed_zip(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


def packed_tar(members: dict[str, bytes], mode: str) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as archive:  # type: ignore[call-overload]  # mode is one of two texts
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return content.getvalue()


def place_source(folder: Path, number: int, members: dict[str, bytes]) -> list[list[Any]]:
    """Write one channel's files: plain, .zip, .tar or .tar.gz in turn; return [path, member, sha256, size] each."""
    digests = {name: [hashlib.sha256(data).hexdigest(), len(data)] for name, data in members.items()}
    kind = ("", ".zip", ".tar", ".tar.gz")[number % 4]
    path = folder / f"{SECRET}{number}{kind}"
    if not kind:
        path.mkdir(parents=True)
        for name, data in members.items():
            (path / name).write_bytes(data)
        return [[str(path / name), None, *digests[name]] for name in members]
    mode = {".tar": "w", ".tar.gz": "w:gz"}.get(kind)
    path.write_bytes(packed_zip(members) if mode is None else packed_tar(members, mode))
    return [[str(path), name, *digests[name]] for name in members]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace whose plans name the sample's source files."""
    root, sources, number = tmp_path / "workspace", tmp_path / SECRET, 0
    (root / "private/plan").mkdir(parents=True)
    sources.mkdir()
    (root / "private/pseudonym.key").write_text(KEY.secret.hex() + "\n")
    for name, task in sample().items():
        lines: list[dict[str, Any]] = [{"kind": "header", "task": name}]
        for line in task.cases:
            refs = {}
            for (case, channel), contents in task.sources.items():
                if case == line["case"]:
                    members = {f"{channel}-{n}": content for n, content in enumerate(contents)}
                    refs[channel], number = place_source(sources, number, members), number + 1
            label = refs.pop("label", None)
            lines.append(
                {"kind": "case", "case": line["case"], "subset": line["subset"], "channels": refs,
                 "label": None if label is None else {"kind": "mask", "ref": label[0]}}
            )  # fmt: skip
        lines += [{"kind": "refusal", "case": line["case"]} for line in task.refusals]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (root / "private/plan" / f"{name}.jsonl").write_text(text)
    return root


def test_untouched_sources_lead_back_from_the_release(intact: Path, workspace: Path) -> None:
    report = audit(intact, workspace=workspace)

    assert shown(report) == ""
    assert report.sources == sum(len(c) for task in sample().values() for c in task.sources.values())


def all_sources(workspace: Path) -> list[Path]:
    return sorted(path for path in (workspace.parent / SECRET).rglob("*") if path.is_file())


def test_a_changed_or_missing_source_is_found_and_not_named(intact: Path, workspace: Path) -> None:
    for path in all_sources(workspace):
        content = path.read_bytes()
        for spoil in (lambda p=path, c=content: p.write_bytes(c[:-1] + bytes([c[-1] ^ 1])), path.unlink):
            spoil()
            report = audit(intact, workspace=workspace)
            # The last byte of an archive may lie behind its last member.
            assert report.findings or path.exists(), path.name
            assert all(f.case and f.stage == "ingest" for f in report.findings)
            assert not re.search(f"{SECRET}|{re.escape(str(workspace.parent))}", shown(report))
        path.write_bytes(content)


def test_a_changed_slice_is_named_by_its_number(intact: Path, workspace: Path) -> None:
    path = next(path for path in all_sources(workspace) if path.name == "FLAIR-1")
    path.write_bytes(path.read_bytes() + b"x")

    (finding,) = audit(intact, workspace=workspace).findings
    assert (finding.case, finding.member, finding.found) == ("BRATS_001", "FLAIR slice 2", "a changed one")


def test_a_damaged_archive_is_found(intact: Path, workspace: Path) -> None:
    for path in all_sources(workspace):
        if path.suffix:
            content = path.read_bytes()
            path.write_bytes(content[: len(content) // 20])
            assert audit(intact, workspace=workspace).findings, path.name
            path.write_bytes(content)


def test_a_keyed_digest_of_another_source_is_found(tmp_path: Path, workspace: Path) -> None:
    made = sample()
    made[SPLEEN].case("spleen_2")["sources"]["CT"][1] = source_of(b"another")
    report = audit(seal(made, tmp_path / "release"), workspace=workspace)

    assert [(f.case, f.member) for f in report.findings] == [("spleen_2", "CT slice 2")]


def test_sources_in_another_order_are_found(tmp_path: Path, workspace: Path) -> None:
    made = sample()
    made[SPLEEN].case("spleen_2")["sources"]["CT"].reverse()
    report = audit(seal(made, tmp_path / "release"), workspace=workspace)

    assert {(f.case, f.member) for f in report.findings} == {
        ("spleen_2", "CT slice 1"),
        ("spleen_2", "CT slice 3"),
    }


def test_a_planned_case_that_is_neither_there_nor_refused_is_found(tmp_path: Path, workspace: Path) -> None:
    made = sample()
    task = made[SPLEEN]
    gone = task.cases.pop(1)
    for member in gone["members"].values():
        task.files.pop(member, None)
    refresh(task)
    report = audit(seal(made, tmp_path / "release"), workspace=workspace)

    assert [(f.case, f.stage) for f in report.findings] == [("spleen_2", "ingest")]


def test_a_release_of_another_workspace_is_found(intact: Path, workspace: Path) -> None:
    (workspace / "private/pseudonym.key").write_text(64 * "a" + "\n")

    assert sought(audit(intact, workspace=workspace), file="release.json", stage="release")


def test_a_plan_that_is_gone_is_found(intact: Path, workspace: Path) -> None:
    (workspace / "private/plan" / f"{SPLEEN}.jsonl").unlink()

    (finding,) = audit(intact, workspace=workspace).findings
    assert (finding.file, finding.stage) == (SPLEEN_LINES, "ingest")


def test_a_folder_without_a_key_is_no_workspace(intact: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        audit(intact, workspace=tmp_path)
    assert refused.value.code == "workspace-missing"


def test_a_damaged_key_is_refused_without_being_quoted(intact: Path, workspace: Path) -> None:
    (workspace / "private/pseudonym.key").write_text("abc" + 61 * "d" + "x")
    with pytest.raises(UsageError) as refused:
        audit(intact, workspace=workspace)
    assert refused.value.code == "key-invalid"
    assert "abc" not in str(refused.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_found(release: Path) -> None:
    (release / SPLEEN_TAR).chmod(0)

    assert sought(audit(release), file=SPLEEN_TAR)


# Memory


def test_memory_does_not_grow_with_the_image(tmp_path: Path) -> None:
    def spoil(task: Task) -> None:
        voxels = np.zeros((256, 256, 128), np.int16)
        voxels[::3, ::5, ::7] = 40
        put_content(task, "spleen_2", "image", gzipped(nifti(voxels, oblique())))

    made = sample()
    spoil(made[SPLEEN])
    folder = seal(made, tmp_path / "release")
    tracemalloc.start()
    audit(folder)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 8 * 2**20


# The demo


@pytest.mark.slow
def test_the_demo_release_raises_no_alarm_and_leads_back_to_its_sources(demo_release: Any) -> None:
    report = audit(demo_release.release, workspace=demo_release.workspace)

    assert shown(report) == ""
    assert report.tars == 10
    assert report.sources > 500


@pytest.mark.slow
def test_every_flipped_bit_of_the_demo_release_is_located(demo_release: Any, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(demo_release.release, tmp_path / "release"))
    chance = random.Random(11)
    for path in [path for path in sorted(copy.iterdir()) for _ in range(2)]:
        byte, bit = chance.randrange(path.stat().st_size), chance.randrange(8)
        places = members_of(path) if path.suffix == ".tar" else []
        flip(path, byte, bit)
        report = audit(copy)
        flip(path, byte, bit)
        named = {finding.member for finding in sought(report, file=path.name)}
        assert named, (path.name, byte, bit, shown(report))
        if places:
            member = [place for offset, place in places if offset <= byte][-1]
            assert member in named | {"end of archive"}, (path.name, byte, bit, shown(report))
