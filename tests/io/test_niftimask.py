"""NIfTI files give their voxels and one place, or are refused."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import nibabel as nib
import numpy as np
import pytest

from pipeline.io.niftimask import outline, read_nifti
from pipeline.model.errors import CurationError

DATA = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
AFFINE = np.array([[0, -0.5, 0.1, 7], [0.75, 0, 0, -8], [0, 0.05, 2.0, 9], [0, 0, 0, 1]])


def image(data: np.ndarray = DATA, kind: type = nib.Nifti1Image) -> nib.Nifti1Image:
    made = kind(data, AFFINE)
    made.header.set_xyzt_units("mm")
    return made


def code(blob: bytes, companion: bytes | None = None) -> str:
    with pytest.raises(CurationError) as refusal:
        read_nifti(blob, companion)
    return refusal.value.code


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4", "f8"])
def test_voxels_and_affine_are_those_that_nibabel_wrote(
    kind: type, compress: Callable[[bytes], bytes], order: str, dtype: str
) -> None:
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.dtype(dtype).newbyteorder(order))
    made = kind(DATA.astype(dtype), AFFINE, header)
    raster = read_nifti(compress(made.to_bytes()))
    assert raster.layers.shape == (1, 2, 3, 4)
    assert np.array_equal(raster.layers[0], DATA)
    assert np.allclose(raster.affine, AFFINE, atol=1e-6)


def test_a_pair_is_read_from_both_its_files() -> None:
    made = image(kind=nib.Nifti1Pair)
    files = nib.Nifti1Pair.make_file_map()
    for holder in files.values():
        holder.fileobj = __import__("io").BytesIO()
    made.to_file_map(files)
    header, voxels = (files[name].fileobj.getvalue() for name in ("header", "image"))
    raster = read_nifti(header, voxels)
    assert np.array_equal(raster.layers[0], DATA)
    assert np.array_equal(read_nifti(header, gzip.compress(voxels)).layers[0], DATA)
    assert code(header) == "label-unsupported"
    assert code(image().to_bytes(), voxels) == "label-unsupported"


def test_an_outline_is_told_from_the_header_alone() -> None:
    told = outline(image(np.stack([DATA, DATA], axis=-1)).to_bytes()[:400])
    assert (told.volumes, told.shape) == (2, DATA.shape)
    assert np.allclose(told.affine, AFFINE, atol=1e-6)


def test_texts_of_the_header_are_counted_and_never_returned() -> None:
    made = image()
    assert read_nifti(made.to_bytes()).texts == 0
    made.header["descrip"] = b"DOE^JANE"
    made.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"DOE^JANE"))
    raster = read_nifti(made.to_bytes())
    assert raster.texts == 2
    assert not raster.fields


def test_scaling_is_applied() -> None:
    made = image()
    made.header.set_slope_inter(0.5, 1)
    raw = bytearray(image().to_bytes())
    raw[112:120] = np.array([0.5, 1], dtype="<f4").tobytes()
    assert np.array_equal(read_nifti(bytes(raw)).layers[0], DATA * 0.5 + 1)


def test_trailing_axes_of_one_place_are_dropped_one_of_volumes_gives_layers_and_two_are_refused() -> None:
    assert read_nifti(image(DATA[..., None, None]).to_bytes()).layers.shape == (1, 2, 3, 4)
    several = read_nifti(image(np.stack([DATA, DATA + 1], axis=-1)[..., None, :]).to_bytes())
    assert several.layers.shape == (2, 2, 3, 4)
    assert np.array_equal(several.layers[1], DATA + 1)
    assert code(image(np.zeros((2, 3, 4, 2, 2), np.int16)).to_bytes()) == "label-unsupported"
    assert code(image(DATA[..., 0]).to_bytes()) == "label-unsupported"


def test_the_sform_places_and_the_qform_only_in_its_absence() -> None:
    made = image()
    made.set_qform(AFFINE, 1, strip_shears=True)
    made.set_sform(AFFINE, 0)
    assert np.allclose(read_nifti(made.to_bytes()).affine, made.get_qform(), atol=1e-5)
    made.set_sform(AFFINE, 2)
    made.set_qform(None, 0)
    assert np.allclose(read_nifti(made.to_bytes()).affine, AFFINE, atol=1e-6)


def test_a_qfac_of_zero_counts_as_one() -> None:
    made = image()
    made.set_qform(np.diag([1.0, 2.0, 3.0, 1.0]), 1)
    made.set_sform(None, 0)
    raw = bytearray(made.to_bytes())
    raw[76:80] = np.float32(0).tobytes()
    assert np.allclose(read_nifti(bytes(raw)).affine, np.diag([1.0, 2.0, 3.0, 1.0]))


def test_a_file_without_a_place_is_refused() -> None:
    made = image()
    made.set_sform(None, 0)
    made.set_qform(None, 0)
    assert code(made.to_bytes()) == "missing-geometry"


def test_qform_and_sform_that_disagree_are_refused() -> None:
    made = image()
    made.set_sform(np.diag([1.0, 1.0, 1.0, 1.0]), 1)
    made.set_qform(np.diag([-1.0, -1.0, 1.0, 1.0]), 1)
    assert code(made.to_bytes()) == "missing-geometry"


def test_qform_and_sform_that_differ_by_single_precision_agree() -> None:
    tilt = np.radians(12.3)
    turn = np.array([[-1, 0, 0], [0, -np.cos(tilt), np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    affine = np.eye(4)
    affine[:3, :3] = turn * [0.7, 0.7, 1.5]
    made = nib.Nifti1Image(np.zeros((400, 400, 2), np.uint8), affine)
    made.set_sform(affine, 1)
    made.set_qform(affine, 1)
    assert np.allclose(read_nifti(made.to_bytes()).affine, affine, atol=1e-6)


def spoiled(place: int, value: bytes) -> bytes:
    raw = bytearray(image().to_bytes())
    raw[place : place + len(value)] = value
    return bytes(raw)


@pytest.mark.parametrize(
    ("blob", "wanted"),
    [
        (b"", "unreadable"),
        (b"\x1f\x8b but not gzip", "unreadable"),
        (gzip.compress(image().to_bytes())[:60], "truncated"),
        (image().to_bytes()[:347], "unreadable"),
        (image().to_bytes()[:-1], "truncated"),
        (gzip.compress(image().to_bytes()[:-1]), "truncated"),
        (image().to_bytes() + b"\0", "label-inconsistent"),
        (spoiled(344, b"xxxx"), "missing-geometry"),
        (spoiled(0, b"xxxx" + bytes(340) + b"xxxx"), "unreadable"),
        (spoiled(70, np.int16(128).tobytes()), "label-unsupported"),
        (spoiled(70, np.int16(32).tobytes()), "label-unsupported"),
        (spoiled(70, np.int16(9999).tobytes()), "unreadable"),
        (spoiled(123, b"\x01"), "label-unsupported"),
        (spoiled(42, np.int16(-2).tobytes()), "unreadable"),
        (spoiled(42, np.array([32767, 32767, 32767], "<i2").tobytes()), "label-too-large"),
        (spoiled(108, np.float32(1e9).tobytes()), "unreadable"),
        (spoiled(108, np.float32(np.nan).tobytes()), "unreadable"),
        (spoiled(112, np.array([1, np.inf], "<f4").tobytes()), "unreadable"),
    ],
)
def test_damage_is_refused_by_name(blob: bytes, wanted: str) -> None:
    assert code(blob) == wanted
