"""Every file that makes a case is in its plan, in its bytes, and has the fate `used`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from pipeline import case
from pipeline.demo import make
from pipeline.index import index
from pipeline.io import ledger
from pipeline.io.document import read_line_at
from pipeline.io.workspace import Workspace, create
from pipeline.model.record import Finished, Outcome
from pipeline.plan import plan
from pipeline.release import planned

TASK = "Task09_Spleen"
DESCRIPTION = """################################################
# ITK-SnAP Label Description File
################################################
    0     0    0    0        0  0  0    "Clear Label"
    1   255    0    0        1  1  1    "{name}"
    6     0  255    0        1  1  1    "Label 6"
"""


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    make(folder, tasks=[TASK], cases=3, seed=0, tell=lambda what: None)
    return folder / "source"


@pytest.fixture
def mask(phantom: Path, tmp_path: Path) -> Path:
    """The NIfTI mask of the one case whose label is one, alone with its image."""
    (found,) = phantom.rglob("segmentation.nii.gz")
    shutil.copytree(found.parent, tmp_path / "source" / TASK / "subject")
    return tmp_path / "source" / TASK / "subject" / found.name


def planned_in(mask: Path, name: str = "ws") -> Workspace:
    source = mask.parents[2]
    workspace = create(source.parent / name)
    index(workspace, [source], None, lambda what, done, total: None)
    plan(workspace, [])
    return workspace


def built(workspace: Workspace) -> tuple[Outcome, dict[str, Any]]:
    (request,) = planned(workspace, [])[0].requests
    outcome = case.run(request, lambda stage: None)
    record = (
        read_line_at(workspace.store / outcome.entry / "record.json", 0)
        if isinstance(outcome, Finished)
        else {}
    )
    return outcome, record


def fates(workspace: Workspace) -> dict[str, tuple[str, str]]:
    """Return file name -> fate and role."""
    rows = ledger.read_fates(workspace.private / "fates.csv")
    return {Path(row["path"]).name: (row["fate"], row["role"]) for row in rows}


def as_pair(path: Path) -> list[str]:
    image = nib.load(path)
    data = np.asanyarray(image.dataobj)
    nib.save(nib.Nifti1Pair(data, image.affine), path.with_name("label.hdr"))
    return ["label.hdr", "label.img"]


def as_metaimage(path: Path) -> list[str]:
    SimpleITK.WriteImage(SimpleITK.ReadImage(path), path.with_name("label.mhd"))
    return ["label.mhd", "label.raw"]


def as_nrrd(path: Path) -> list[str]:
    SimpleITK.WriteImage(SimpleITK.ReadImage(path), path.with_name("label.nhdr"))
    return ["label.nhdr", "label.raw"]


@pytest.mark.parametrize("written", [as_pair, as_metaimage, as_nrrd])
def test_a_mask_in_two_files_gives_the_voxels_of_the_one_in_one(
    mask: Path, written: Callable[[Path], list[str]]
) -> None:
    _, single = built(planned_in(mask))
    names = written(mask)
    mask.unlink()
    workspace = planned_in(mask, "again")
    outcome, record = built(workspace)

    assert isinstance(outcome, Finished)
    assert record["label"]["voxels"] == single["label"]["voxels"]
    assert len(record["sources"]["label"]) == 2
    assert {fates(workspace)[name] for name in names} == {("used", "label")}


def test_a_header_whose_voxels_are_missing_refuses_the_case(mask: Path) -> None:
    header, data = as_metaimage(mask)
    mask.unlink()
    (mask.parent / data).unlink()
    outcome, _ = built(planned_in(mask))

    assert not isinstance(outcome, Finished)
    assert outcome.code == "label-unsupported"
    assert header not in str(outcome)


def test_a_changed_voxel_file_is_another_case_in_the_store(mask: Path) -> None:
    _, data = as_metaimage(mask)
    mask.unlink()
    first, _ = built(planned_in(mask))
    path = mask.parent / data
    content = bytearray(path.read_bytes())
    content[content.index(1)] = 0
    path.write_bytes(content)
    second, _ = built(planned_in(mask, "again"))

    assert isinstance(first, Finished)
    assert isinstance(second, Finished)
    assert first.entry != second.entry


def test_an_itk_snap_description_beside_the_mask_names_its_values(mask: Path) -> None:
    mask.with_name("labels.txt").write_text(DESCRIPTION.format(name="spleen"))
    workspace = planned_in(mask)
    outcome, record = built(workspace)
    (note,) = [note for note in record["notes"] if note["stage"] == "label"]

    assert isinstance(outcome, Finished)
    assert note["classes"]["1"]["masks"] == {"name": 1}
    assert fates(workspace)["labels.txt"] == ("used", "label")
    assert len(record["sources"]["label"]) == 2


def test_a_description_that_names_another_organ_refuses_the_case(mask: Path) -> None:
    mask.with_name("segmentation.txt").write_text(DESCRIPTION.format(name="liver"))
    outcome, _ = built(planned_in(mask))

    assert not isinstance(outcome, Finished)
    assert outcome.code == "label-name-unknown"
