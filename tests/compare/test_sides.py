"""A small release, and the same volumes as a TAR or folder without manifests."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from sample_release import BRAIN, SPLEEN, sample, seal

from pipeline.compare.sides import open_side
from pipeline.model.errors import UsageError


def test_a_release_is_its_tasks_with_cases_and_lines(tmp_path: Path) -> None:
    side = open_side(seal(sample(), tmp_path / "r"))
    assert list(side) == [BRAIN, SPLEEN]
    spleen = side[SPLEEN]
    assert {name: (case.subset, sorted(case.files)) for name, case in spleen.cases.items()} == {
        "spleen_10": ("training", ["image", "label"]),
        "spleen_2": ("training", ["image", "label"]),
        "spleen_3": ("test", ["image"]),
    }
    line = spleen.line("spleen_3")
    assert line is not None
    assert line["case"] == "spleen_3"
    assert side[BRAIN].refused == {"BRATS_004": "convert: missing-slice"}


def test_places_in_a_tar_are_read_as_the_files_were(tmp_path: Path) -> None:
    release = sample()
    side = open_side(seal(release, tmp_path / "r") / f"{BRAIN}.tar")
    assert list(side) == [BRAIN]
    place = side[BRAIN].cases["BRATS_001"].files["image"]
    assert place.read() == release[BRAIN].files[place.member]


def test_the_published_layout_has_dots_before_names_and_files_of_macos(tmp_path: Path) -> None:
    folder = tmp_path / SPLEEN / "imagesTr"
    folder.mkdir(parents=True)
    for name in ("spleen_2.nii.gz", "._spleen_2.nii.gz", ".DS_Store"):
        (folder / name).write_bytes(b"x")
    (tmp_path / SPLEEN / "dataset.json").write_text("{}")
    with tarfile.open(tmp_path / f"{SPLEEN}.tar", "w") as archive:
        archive.add(folder.parent, f"./{SPLEEN}")
    from_tar = open_side(tmp_path / f"{SPLEEN}.tar")[SPLEEN]
    from_folder = open_side(folder.parent)[SPLEEN]
    assert list(from_tar.cases) == list(from_folder.cases) == ["spleen_2"]
    assert from_tar.dataset is not None
    assert from_tar.dataset.read() == b"{}"


def test_a_folder_of_task_folders_is_several_tasks(tmp_path: Path) -> None:
    for name in (BRAIN, SPLEEN):
        (tmp_path / name / "imagesTr").mkdir(parents=True)
    assert list(open_side(tmp_path)) == [BRAIN, SPLEEN]


@pytest.mark.parametrize("name", ["empty", "text.tar"])
def test_anything_else_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.tar").write_text("no TAR" * 200)
    with pytest.raises(UsageError, match="not-a-release"):
        open_side(tmp_path / name)


def test_a_manifest_that_does_not_read_is_refused_not_left_out(tmp_path: Path) -> None:
    release = seal(sample(), tmp_path / "r")
    (release / f"{BRAIN}.manifest.jsonl").write_text("{")
    with pytest.raises(UsageError, match="JSON lines"):
        open_side(release)
