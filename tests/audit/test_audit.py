"""An untouched release raises no alarm; whatever is changed in it is found, in its place."""

from __future__ import annotations

import ast
import random
import shutil
import tarfile
import tracemalloc
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from sample_release import (
    BRAIN,
    SPLEEN,
    Task,
    gzipped,
    manifest_lines,
    nifti,
    oblique,
    put_content,
    sample,
    seal,
    sha256,
    voxels_of,
    write_sums,
)
from spoiling import (
    BRAIN_LINES,
    BRAIN_TAR,
    IMAGE,
    SPLEEN_LINES,
    SPLEEN_TAR,
    flip,
    flips,
    members_of,
    replace_text,
    shown,
    sought,
)

import pipeline.audit as audit_package
from pipeline.audit import audit
from pipeline.audit.report import Run


def test_an_untouched_release_raises_no_alarm(intact: Path) -> None:
    report = audit(intact)

    assert shown(report) == ""
    assert report.holds
    size = sum((intact / name).stat().st_size for name in (BRAIN_TAR, SPLEEN_TAR))
    looked_at = {"tars": 2, "members": 12, "cases": 6, "bytes": size, "sources": 0, "kept": 0, "not_kept": 0}
    assert report.counts == looked_at


def test_an_audit_changes_nothing_in_the_release(intact: Path) -> None:
    def state() -> list[tuple[str, str, int]]:
        return [(p.name, sha256(p.read_bytes()), p.stat().st_mtime_ns) for p in sorted(intact.iterdir())]

    before = state()
    audit(intact)

    assert state() == before


def test_an_interruption_in_one_task_ends_the_whole_audit(intact: Path) -> None:
    def interrupted(line: str) -> None:
        if "TAR" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audit(intact, tell=interrupted)


def test_no_member_is_begun_after_an_interruption() -> None:
    run = Run()
    run.go_on()
    run.stop.set()

    with pytest.raises(KeyboardInterrupt):
        run.go_on()


def test_progress_names_each_task(intact: Path) -> None:
    told: list[str] = []
    audit(intact, tell=told.append)

    assert [line for line in told if BRAIN in line]
    assert [line for line in told if SPLEEN in line]


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


def test_a_wrong_number_in_release_json_is_found(release: Path) -> None:
    for old, new in (
        ('"training":2', '"training":3'),
        ('"refused":1', '"refused":0'),
        ('"lines":4', '"lines":5'),
    ):
        replace_text("release.json", old, new)(release)
        assert sought(audit(release), file="release.json") or sought(audit(release), file=SPLEEN_LINES)
        replace_text("release.json", new, old)(release)


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


def imported(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return names | {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}


def test_the_audit_shares_no_code_with_the_builder() -> None:
    names = set().union(*map(imported, Path(audit_package.__file__).parent.glob("*.py")))

    ours = {name for name in names if name.startswith("pipeline") and not name.startswith("pipeline.audit")}
    assert ours == {"pipeline.model.errors", "pipeline.model.identified", "pipeline.secondreader"}
    assert {"nibabel", "pydicom", "deflate", "jsonschema"}.isdisjoint(names)


def test_memory_does_not_grow_with_the_image(tmp_path: Path) -> None:
    def spoil(task: Task) -> None:
        voxels = np.zeros((256, 256, 512), np.int16)
        voxels[::3, ::5, ::7] = 40
        put_content(task, "spleen_2", "image", gzipped(nifti(voxels, oblique())))

    made = sample()
    spoil(made[SPLEEN])
    folder = seal(made, tmp_path / "release")
    tracemalloc.start()
    audit(folder)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    # Blocks wait for the thread that hashes them: a bounded number, a quarter of this image at the most.
    assert peak < 16 * 2**20


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
