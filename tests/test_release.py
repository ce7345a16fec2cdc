"""The demo release, built by the command, held against the phantom's truth."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from ahocorasick_rs import BytesAhoCorasick

pytestmark = pytest.mark.slow
MRI_RANGE = 1000


@dataclass(frozen=True)
class Pair:
    """A released case and the truth of its subject."""

    task: str
    case: str
    line: dict[str, Any]
    truth: dict[str, Any]
    image: nib.Nifti1Image
    label: nib.Nifti1Image | None


def members(release: Path, task: str) -> dict[str, bytes]:
    with tarfile.open(release / f"{task}.tar", "r:") as archive:
        return {info.name: archive.extractfile(info).read() for info in archive if info.isfile()}  # type: ignore[union-attr]


def manifest(release: Path, task: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (release / f"{task}.manifest.jsonl").read_text().splitlines()]


def source_bytes(path: str, member: str) -> bytes:
    if not member:
        return Path(path).read_bytes()
    if path.endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            return archive.read(member)
    with tarfile.open(path) as archive:
        return archive.extractfile(member).read()  # type: ignore[union-attr]


def series_of_cases(workspace: Path) -> dict[tuple[str, str], str]:
    """(task, case) -> Series Instance UID of one of its channels, from the private fates."""
    found: dict[tuple[str, str], str] = {}
    with (workspace / "private/fates.csv").open() as stream:
        for row in csv.DictReader(stream):
            name = (row["task"], row["case"])
            if row["fate"] == "used" and row["role"] != "label" and name not in found:
                header = pydicom.dcmread(
                    io.BytesIO(source_bytes(row["path"], row["member"])), stop_before_pixels=True
                )
                found[name] = str(header.SeriesInstanceUID)
    return found


def nifti(content: bytes) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_bytes(gzip.decompress(content))


@pytest.fixture(scope="session")
def pairs(demo_release: Any) -> list[Pair]:
    truth = json.loads((demo_release.truth / "truth.json").read_text())["tasks"]
    subject_of = {
        channel["series"]: (task, subject)
        for task, content in truth.items()
        for subject in content["subjects"]
        for channel in subject["channels"].values()
    }
    made = []
    series = series_of_cases(demo_release.workspace)
    for task in truth:
        files = members(demo_release.release, task)
        for line in manifest(demo_release.release, task):
            if line["kind"] != "case":
                continue
            bound, subject = subject_of[series[(task, line["case"])]]
            assert bound == task
            names = line["members"]
            label = None if names["label"] is None else nifti(files[names["label"]])
            made.append(Pair(task, line["case"], line, subject, nifti(files[names["image"]]), label))
    return made


def true_image(demo_release: Any, file: str) -> nib.Nifti1Image:
    return nib.load(demo_release.truth / file)  # type: ignore[return-value]


def corners(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    ends = [[i, j, k, 1] for i in (0, shape[0] - 1) for j in (0, shape[1] - 1) for k in (0, shape[2] - 1)]
    return (np.array(ends) @ affine.T)[:, :3]


def test_every_subject_of_the_phantom_is_released_once(demo_release: Any, pairs: list[Pair]) -> None:
    truth = json.loads((demo_release.truth / "truth.json").read_text())["tasks"]
    for task, content in truth.items():
        tokens = sorted(pair.truth["token"] for pair in pairs if pair.task == task)
        assert tokens == sorted(subject["token"] for subject in content["subjects"])


def test_every_voxel_of_ct_is_the_truths(demo_release: Any, pairs: list[Pair]) -> None:
    seen = 0
    for pair in pairs:
        for channel in pair.truth["channels"].values():
            if channel["quantity"] == "hounsfield":
                wanted = np.asanyarray(true_image(demo_release, channel["file"]).dataobj)
                got = np.asanyarray(pair.image.dataobj)
                assert got.dtype == np.int16
                np.testing.assert_array_equal(got, wanted, err_msg=pair.case)
                seen += 1
    assert seen == 24


def test_every_label_voxel_is_the_truths_and_lies_on_its_image(demo_release: Any, pairs: list[Pair]) -> None:
    seen = 0
    for pair in pairs:
        if pair.label is not None:
            wanted = np.asanyarray(true_image(demo_release, pair.truth["label"]["file"]).dataobj)
            np.testing.assert_array_equal(np.asanyarray(pair.label.dataobj), wanted, err_msg=pair.case)
            np.testing.assert_array_equal(pair.label.affine, pair.image.affine)
            seen += 1
    assert seen == 30


def test_mri_is_the_truths_own_robust_scaling(demo_release: Any, pairs: list[Pair]) -> None:
    seen = 0
    for pair in pairs:
        header = manifest(demo_release.release, pair.task)[0]
        for place, channel in enumerate(header["channels"]):
            if channel["scale"]["method"] != "robust_min_max":
                continue
            true = true_image(demo_release, pair.truth["channels"][channel["name"]]["file"])
            values = np.asanyarray(true.dataobj).astype(np.float64)
            over = values[values != 0] if channel["scale"]["over"] == "nonzero" else values
            low, high = np.percentile(over, [float(p) for p in channel["scale"]["percentiles"]])
            wanted = np.clip((values - low) / (high - low), 0, 1) * MRI_RANGE
            got = np.asanyarray(pair.image.dataobj)
            got = got[..., place] if got.ndim == 4 else got
            np.testing.assert_allclose(got, wanted, rtol=0, atol=MRI_RANGE * 2e-6, err_msg=pair.case)
            seen += 1
    assert seen == 16 + 4 + 4 + 4


def test_adc_keeps_its_units_where_grids_allow_no_other_value(demo_release: Any, pairs: list[Pair]) -> None:
    """Linear interpolation of the truth's own ADC, written here anew, gives the released ADC."""
    seen = 0
    for pair in (pair for pair in pairs if pair.task == "Task05_Prostate"):
        adc = true_image(demo_release, pair.truth["channels"]["ADC"]["file"])
        got = np.asanyarray(pair.image.dataobj)[..., 1]
        wanted = linear(
            np.asanyarray(adc.dataobj).astype(np.float64), adc.affine, got.shape, pair.image.affine
        )
        np.testing.assert_allclose(got, wanted, rtol=0, atol=0.01)
        seen += 1
    assert seen == 4


def linear(values: np.ndarray, affine: np.ndarray, shape: tuple[int, ...], onto: np.ndarray) -> np.ndarray:
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    matrix = np.linalg.inv(affine) @ onto
    places = grid @ matrix[:3, :3].T + matrix[:3, 3]
    low = np.clip(np.floor(places).astype(int), 0, np.array(values.shape) - 2)
    share = np.clip(places - low, 0, 1)
    total = np.zeros(shape)
    for corner in np.ndindex(2, 2, 2):
        weight = np.prod(np.where(np.array(corner) == 1, share, 1 - share), axis=-1)
        i, j, k = (low + np.array(corner)).transpose(3, 0, 1, 2)
        total += weight * values[i, j, k]
    return total


def test_every_corner_lies_within_a_micrometre_of_the_truth(demo_release: Any, pairs: list[Pair]) -> None:
    for pair in pairs:
        first = next(iter(pair.truth["channels"].values()))
        shape = tuple(first["shape"])
        assert pair.image.shape[:3] == shape
        distance = np.abs(corners(shape, pair.image.affine) - corners(shape, np.array(first["affine"])))
        assert distance.max() < 1e-3, pair.case


def test_turned_cases_come_out_like_the_others(pairs: list[Pair]) -> None:
    """The voxels are held against the truth above; here: they are the ones that a note says were turned."""
    turned = {pair.case for pair in pairs if pair.truth["turned"]}
    noted = {pair.case for pair in pairs if any(note["stage"] == "fix" for note in pair.line["notes"])}
    assert turned == noted
    assert len(turned) == 2
    for pair in pairs:
        for note in pair.line["notes"]:
            if note["stage"] == "fix":
                assert note["why"]
                assert note["evidence_digest"].startswith("sha256:")


def everything(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file's bytes, and what is inside of TARs and gzip members, decompressed."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        content = path.read_bytes()
        yield str(path.relative_to(folder)), content
        if path.name.endswith(".gz"):
            yield f"{path.name} inside", gzip.decompress(content)
        if path.suffix == ".tar":
            for name, inner in ((n, c) for n, c in tar_items(path)):
                yield name, inner
                if name.endswith(".gz"):
                    yield f"{name} inside", gzip.decompress(inner)


def tar_items(path: Path) -> list[tuple[str, bytes]]:
    with tarfile.open(path) as archive:
        return [(i.name, archive.extractfile(i).read()) for i in archive if i.isfile()]  # type: ignore[union-attr]


def test_no_identity_of_the_truth_is_in_any_byte_of_release_store_and_refusals(demo_release: Any) -> None:
    identities = (demo_release.truth / "identities.txt").read_text("utf-8").splitlines()
    assert len(identities) > 500
    needles = sorted({form for text in identities if len(text) >= 4 for form in spellings(text)})
    searched = BytesAhoCorasick(needles)
    for folder in (
        demo_release.release,
        demo_release.workspace / "store",
        demo_release.workspace / "refusals",
    ):
        for name, content in everything(folder):
            found = [*searched.find_matches_as_indexes(content.lower())]
            found += [*searched.find_matches_as_indexes(name.lower().encode())]
            assert not found, f"{name} holds {len(found)} identities"


def spellings(text: str) -> list[bytes]:
    lowered = text.lower()
    return [lowered.encode("utf-8"), lowered.encode("latin-1", "replace"), lowered.encode("utf-16-le")]


TASKS = ("Task02_Heart", "Task05_Prostate", "Task09_Spleen")


def small_demo(folder: Path, curate: Any) -> Path:
    options = [word for task in TASKS for word in ("--task", task)]
    curate("demo", folder, *options)
    return folder


def digests(release: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(release.iterdir())}


def environment(**extra: str) -> dict[str, str]:
    return {**os.environ, **extra}


def curate_path() -> str:
    return str(Path(sys.executable).with_name("curate"))


def test_workers_time_zone_and_umask_change_no_byte(tmp_path: Path, curate: Any) -> None:
    demo = small_demo(tmp_path / "demo", curate)
    made = []
    for number, (workers, zone, umask) in enumerate((("1", "UTC", 0o022), ("2", "Pacific/Auckland", 0o077))):
        workspace, release = tmp_path / f"w{number}", tmp_path / f"r{number}"
        curate("init", workspace, "--key", demo / "truth/demo.key")
        words = [
            curate_path(),
            "release",
            demo / "source",
            "-w",
            workspace,
            "-r",
            release,
            "--workers",
            workers,
        ]
        subprocess.run(words, check=True, env=environment(TZ=zone), umask=umask, capture_output=True)
        made.append(digests(release))
    assert made[0] == made[1]
    assert sum(name.endswith(".tar") for name in made[0]) == len(TASKS)


def test_a_killed_build_goes_on_where_it_was(tmp_path: Path, curate: Any) -> None:
    demo = small_demo(tmp_path / "demo", curate)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for workspace in (whole, broken):
        curate("init", workspace, "--key", demo / "truth/demo.key")
        curate("index", demo / "source", "-w", workspace)
        curate("plan", "-w", workspace)
    made = json.loads(curate("build", "-w", whole, "--workers", "1", "--json").stdout)["made"]
    build = subprocess.Popen(
        [curate_path(), "build", "-w", broken, "--workers", "2"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list(broken.glob("store/??/*/record.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(build.pid, signal.SIGKILL)
    build.wait()
    done = len(list(broken.glob("store/??/[0-9a-f]*/record.json")))
    again = json.loads(curate("build", "-w", broken, "--workers", "1", "--json").stdout)
    assert 0 < done < made
    assert (again["made"], again["reused"]) == (made - done, done)
    assert not list(broken.glob("store/**/.tmp-*"))
    curate("pack", "-w", whole, "-r", tmp_path / "r0")
    curate("pack", "-w", broken, "-r", tmp_path / "r1")
    assert digests(tmp_path / "r0") == digests(tmp_path / "r1")


def test_a_second_run_makes_nothing_anew(demo_release: Any, curate: Any, tmp_path: Path) -> None:
    workspace = tmp_path / "copy"
    shutil.copytree(demo_release.workspace, workspace)
    again = json.loads(curate("build", "-w", workspace, "--workers", "1", "--json").stdout)
    assert (again["made"], again["reused"], again["refused"]) == (0, 40, [])
