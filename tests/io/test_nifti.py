"""Voxels have one file, which two independent readers place where the affine says."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from pipeline.io.document import digest_of
from pipeline.io.nifti import NiftiFile, encode

AFFINE = np.array([[0.7, 0, 0, -120.5], [0, 0.8, 0, 33.25], [0, 0, 2.5, -900], [0, 0, 0, 1]])
DTYPES = ("int16", "float32", "uint8", "uint16")


def voxels(dtype: str = "int16", channels: int = 0) -> np.ndarray:
    shape = (4, 3, 2, channels) if channels else (4, 3, 2)
    return (np.arange(np.prod(shape)) * 7 % 251).reshape(shape).astype(dtype)


def oblique() -> np.ndarray:
    """A turned grid whose direction cosines are rounded to six digits, as DICOM writes them."""
    a, b = np.deg2rad(11), np.deg2rad(-7)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turn = turn @ np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = np.round(turn, 6) * [0.7, 0.8, 2.5]
    affine[:3, 3] = [1, -2, 3]
    return affine


def saved(folder: Path, file: NiftiFile) -> Path:
    path = folder / "file.nii.gz"
    path.write_bytes(file.content)
    return path


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [0, 1, 3])
def test_nibabel_reads_back_values_type_and_place(tmp_path: Path, dtype: str, channels: int) -> None:
    data = voxels(dtype, channels)
    image = nib.load(saved(tmp_path, encode(data, AFFINE)))

    np.testing.assert_array_equal(np.asanyarray(image.dataobj), data)
    assert image.get_data_dtype() == np.dtype(dtype)
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-4)
    np.testing.assert_allclose(image.header.get_zooms(), [0.7, 0.8, 2.5, 1][: data.ndim], rtol=1e-6)


@pytest.mark.parametrize("affine", [AFFINE, oblique()])
def test_simpleitk_places_every_corner_where_nibabel_does(tmp_path: Path, affine: np.ndarray) -> None:
    data = voxels()
    image = SimpleITK.ReadImage(str(saved(tmp_path, encode(data, affine))))

    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), data.transpose())
    for index in [(0, 0, 0), (3, 0, 0), (0, 2, 0), (0, 0, 1), (3, 2, 1)]:
        lps = np.array(image.TransformIndexToPhysicalPoint(index))
        np.testing.assert_allclose(lps * [-1, -1, 1], (affine @ [*index, 1])[:3], atol=1e-3)


def test_the_header_says_nothing_that_it_must_not() -> None:
    content = gzip.decompress(encode(voxels(), oblique()).content)
    header = nib.Nifti1Header(content[:348])

    assert content[344:352] == b"n+1\x00\x00\x00\x00\x00"
    for text in ("descrip", "aux_file", "db_name", "intent_name"):
        assert bytes(header[text]).strip(b"\x00") == b""
    assert (int(header["qform_code"]), int(header["sform_code"])) == (1, 1)
    assert header.get_xyzt_units() == ("mm", "unknown")
    assert header.get_slope_inter() == (1, 0)
    np.testing.assert_allclose(header.get_qform(), header.get_sform(), atol=1e-4)


def test_the_gzip_header_has_no_name_and_no_time() -> None:
    # RFC 1952: no flags, time 0, no extra flags, operating system unknown.
    assert encode(voxels(), AFFINE).content[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


def test_the_facts_are_those_of_the_file() -> None:
    file = encode(voxels("float32"), AFFINE)
    content = gzip.decompress(file.content)

    assert file.facts["voxels"] == "sha256:" + hashlib.sha256(content[352:]).hexdigest()
    assert file.facts["file"] == digest_of(file.content)
    assert file.facts["size"] == len(file.content)
    assert (file.facts["shape"], file.facts["dtype"]) == ([4, 3, 2], "float32")
    rows = struct.unpack("<12f", content[280:328])
    assert file.facts["affine"] == [
        *[[f"{n:.0f}" if n == int(n) else repr(n) for n in rows[r : r + 4]] for r in (0, 4, 8)],
        ["0", "0", "0", "1"],
    ]


@pytest.mark.parametrize("dtype", DTYPES)
def test_neither_byte_order_nor_layout_in_memory_changes_a_byte(dtype: str) -> None:
    data = voxels(dtype)
    wanted = encode(data, AFFINE).content

    assert encode(data.astype(np.dtype(dtype).newbyteorder(">")), AFFINE).content == wanted
    assert encode(np.asfortranarray(data), AFFINE).content == wanted
    assert encode(data[::-1][::-1], AFFINE).content == wanted


def test_the_facts_do_not_depend_on_byte_order() -> None:
    assert encode(voxels().astype(">i2"), AFFINE).facts == encode(voxels(), AFFINE).facts


def test_the_bytes_of_a_fixed_volume_stay() -> None:
    # If this digest changes, so does every byte that was ever released: say so in the CHANGELOG.
    assert encode(voxels(), AFFINE).facts["file"] == GOLDEN
    assert encode(voxels(), AFFINE).content == encode(voxels(), AFFINE).content


GOLDEN = "sha256:e4d2a93bf44cc407d1c3b9b307fa1627cf617a5406c425f005b3b65de13337a0"
