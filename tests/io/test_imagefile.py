"""Files of every format give an index their outline and a case their voxels."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from file_source import PERSON, SHAPE, pictured, write_itk, write_nifti

from pipeline.io.imagefile import describe, read_image
from pipeline.model.errors import CurationError

AFFINE = np.array([[0, 0, 1.5, -20], [-1, 0, 0, 33], [0, 1.25, 0, 5], [0, 0, 0, 1.0]])


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz", "x.nrrd", "x.mha"])
def test_every_format_tells_the_same_outline_and_voxels(name: str, tmp_path: Path) -> None:
    blob = write_itk(tmp_path / name, pictured(1), AFFINE).read_bytes()
    told = describe(blob, name)
    assert (told["Columns"], told["Rows"], told["slices"]) == SHAPE
    assert told["PixelSpacing"] == pytest.approx([1.25, 1])
    assert told["slice_step_mm"] == pytest.approx(1.5)
    assert (told["plane"], told["volumes"]) == ("sagittal", 1)
    step = read_image(blob, name)
    assert np.array_equal(step.value.data, pictured(1))
    assert np.allclose(step.value.affine, AFFINE, atol=1e-5)


def test_texts_are_counted_and_told_nowhere(tmp_path: Path) -> None:
    for name, texts in (("x.mha", 1), ("x.nrrd", 1), ("x.nii", 3)):
        write = write_nifti if name == "x.nii" else write_itk
        blob = write(tmp_path / name, pictured(1), AFFINE).read_bytes()
        note = read_image(blob, name).note
        assert PERSON.encode() in blob
        assert note.facts["texts_removed"] == texts
        assert PERSON not in f"{note} {describe(blob, name)}"


def test_one_volume_of_several_is_read_and_another_than_there_is_refused(tmp_path: Path) -> None:
    data = np.stack([pictured(1), pictured(2)], axis=-1)
    blob = write_nifti(tmp_path / "x.nii", data, AFFINE).read_bytes()
    assert describe(blob, "x.nii")["volumes"] == 2
    assert np.array_equal(read_image(blob, "x.nii", volume=1).value.data, pictured(2))
    with pytest.raises(CurationError) as refusal:
        read_image(blob, "x.nii", volume=2)
    assert refusal.value.code == "image-unsupported"


def test_damage_is_told_as_a_code_and_refused_as_an_image(tmp_path: Path) -> None:
    made = nib.Nifti1Image(pictured(1), AFFINE)
    blob = made.to_bytes()
    made.set_sform(None, 0)
    made.set_qform(None, 0)
    assert describe(made.to_bytes(), "x.nii")["damage"] == "missing-geometry"
    assert describe(b"no header", "x.mha")["damage"] == "unreadable"
    with pytest.raises(CurationError) as refusal:
        read_image(blob[:-1], "x.nii")
    assert refusal.value.where == "NIfTI image"
