"""Small releases that differ in one thing, and what is said of it."""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_release import (
    BRAIN,
    SPLEEN,
    Sample,
    gzipped,
    put_content,
    put_voxels,
    sample,
    seal,
    voxels_of,
)

from pipeline.compare import Comparison, compare
from pipeline.model.errors import UsageError


def between(spoilt: Sample, folder: Path) -> Comparison:
    return compare(seal(sample(), folder / "a"), seal(spoilt, folder / "b"))


def the_case(found: Comparison) -> Any:
    (case,) = (case for task in found.tasks for case in task.cases if case.state != "same")
    return case


def test_a_release_is_the_same_as_itself(tmp_path: Path) -> None:
    found = between(sample(), tmp_path)
    assert found.is_same
    assert [task.counts for task in found.tasks] == [{"same": 3}, {"same": 3}]


def test_a_voxel_that_nothing_explains_is_a_finding(tmp_path: Path) -> None:
    release = sample()
    voxels = voxels_of(release[SPLEEN], "spleen_2", "image")
    voxels[3, 2, 1] += 7
    put_voxels(release[SPLEEN], "spleen_2", "image", voxels)
    found = between(release, tmp_path)
    case = the_case(found)
    assert (case.case, case.state, case.is_explained) == ("spleen_2", "voxels", False)
    assert (case.parts["image"].volume.differing, case.parts["image"].volume.largest) == (1, "7")
    assert case.parts["label"].state == "same"
    assert found.unexplained == [case]


def test_a_changed_rule_explains_it_and_names_the_room(tmp_path: Path) -> None:
    release = sample()
    voxels = voxels_of(release[BRAIN], "BRATS_001", "image")
    put_voxels(release[BRAIN], "BRATS_001", "image", voxels / 2)
    release[BRAIN].header["rules"]["document"]["channels"][0]["scale"]["percentiles"] = ["1", "99"]
    case = the_case(between(release, tmp_path))
    assert case.is_explained
    assert {(reason.kind, reason.stage) for reason in case.why} == {("rule", "scale")}


def test_bytes_packed_anew_hold_the_same_voxels(tmp_path: Path) -> None:
    release = sample()
    name = release[SPLEEN].case("spleen_2")["members"]["label"]
    content = gzip.compress(gzip.decompress(release[SPLEEN].files[name]), 1, mtime=0)
    put_content(release[SPLEEN], "spleen_2", "label", content)
    case = the_case(between(release, tmp_path))
    assert (case.state, case.parts["label"].state, case.is_explained) == ("repacked", "repacked", False)


def test_another_header_is_told_from_other_voxels(tmp_path: Path) -> None:
    release = sample()
    name = release[SPLEEN].case("spleen_2")["members"]["image"]
    plain = bytearray(gzip.decompress(release[SPLEEN].files[name]))
    plain[148:152] = b"text"
    put_content(release[SPLEEN], "spleen_2", "image", gzipped(bytes(plain)))
    case = the_case(between(release, tmp_path))
    assert case.state == "header"
    assert case.parts["image"].volume.header == {"descrip": ("", "text")}


def test_a_moved_volume_is_no_matter_of_the_header(tmp_path: Path) -> None:
    release = sample()
    affine = np.array(release[BRAIN].case("BRATS_001")["image"]["affine"], dtype=np.float64)
    affine[0, 3] += 1
    put_voxels(release[BRAIN], "BRATS_001", "image", voxels_of(release[BRAIN], "BRATS_001", "image"), affine)
    case = the_case(between(release, tmp_path))
    assert (case.state, case.parts["image"].volume.affine_mm) == ("voxels", "1")


def test_a_line_alone_that_differs_is_said(tmp_path: Path) -> None:
    release = sample()
    release[SPLEEN].case("spleen_10")["notes"][0]["objects"] = 9
    case = the_case(between(release, tmp_path))
    assert (case.case, case.state, case.stage) == ("spleen_10", "evidence", "deidentify CT")


def test_a_case_of_one_side_is_said_with_why(tmp_path: Path) -> None:
    release = sample()
    task = release[SPLEEN]
    line = task.cases.pop(1)
    for name in line["members"].values():
        del task.files[name]
    found = between(release, tmp_path)
    case = the_case(found)
    assert (case.case, case.state) == (line["case"], "only in the first")
    assert [reason.text for reason in case.why] == ["no source made this case there"]
    assert not found.is_same


def test_a_task_of_one_side_is_named(tmp_path: Path) -> None:
    release = sample()
    release["Task03_Liver"] = release.pop(SPLEEN)
    found = between({**release, "Task09_Spleen": sample()[SPLEEN]}, tmp_path)
    assert found.only_second == ["Task03_Liver"]
    assert not found.is_same


def test_the_published_layout_is_compared_without_why(tmp_path: Path) -> None:
    release = sample()
    voxels = voxels_of(release[SPLEEN], "spleen_2", "image")
    put_voxels(release[SPLEEN], "spleen_2", "image", voxels[::-1, ::-1].copy())
    made, spoilt = seal(sample(), tmp_path / "a"), seal(release, tmp_path / "b")
    with tarfile.open(spoilt / f"{SPLEEN}.tar") as archive:
        archive.extractall(tmp_path / "published", filter="data")
    found = compare(made, tmp_path / "published" / SPLEEN)
    case = the_case(found)
    assert (case.is_explained, case.parts["image"].volume.reversed) == (None, "ij")
    assert found.unexplained == []
    assert found.only_first == []


def test_texts_of_dataset_json_are_compared(tmp_path: Path) -> None:
    release = sample()
    release[SPLEEN].dataset["licence"] = "none"
    found = between(release, tmp_path)
    assert [name for task in found.tasks for name in task.dataset] == ["licence"]
    assert not found.is_same


def test_damage_to_a_member_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    release = sample()
    name = release[SPLEEN].case("spleen_2")["members"]["image"]
    release[SPLEEN].files[name] = release[SPLEEN].files[name][:-30]
    case = the_case(between(release, tmp_path))
    assert (case.state, case.is_explained) == ("unreadable", False)


def test_two_sides_without_a_common_task_are_refused(tmp_path: Path) -> None:
    release = seal(sample(), tmp_path / "a")
    (tmp_path / "Task03_Liver/imagesTr").mkdir(parents=True)
    with pytest.raises(UsageError, match="a task on both sides"):
        compare(release, tmp_path / "Task03_Liver")
