"""Two small volumes, written by nibabel, and what is said of them."""

from __future__ import annotations

import gzip
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from pipeline.compare.volumes import difference, read_picture
from pipeline.model.errors import SourceError

AFFINE = np.diag([0.5, 0.75, 2.0, 1.0])


def numbers(shape: tuple[int, ...] = (5, 4, 3)) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.int16).reshape(shape)


def packed(data: np.ndarray, affine: np.ndarray = AFFINE, **fields: Any) -> bytes:
    image = nib.Nifti1Image(data, affine)
    for name, value in fields.items():
        image.header[name] = value
    return gzip.compress(image.to_bytes())


def between(first: bytes, second: bytes, *, is_label: bool = False) -> Any:
    return difference(read_picture(first), read_picture(second), is_label=is_label)


def test_one_voxel_is_counted_measured_and_placed() -> None:
    changed = numbers()
    changed[4, 2, 1] -= 300
    found = between(packed(numbers()), packed(changed))
    assert (found.differing, found.voxels, found.largest, found.at) == (1, 60, "300", (4, 2, 1))
    assert (found.affine_mm, dict(found.header)) == ("0", {})


def test_a_channel_of_a_4d_image_is_placed_with_its_number() -> None:
    changed = numbers((5, 4, 3, 2))
    changed[1, 2, 0, 1] = 0
    assert between(packed(numbers((5, 4, 3, 2))), packed(changed)).at == (1, 2, 0, 1)


def test_whole_range_integers_are_subtracted_without_overflow() -> None:
    low, high = np.full((2, 2, 2), -32768, np.int16), np.full((2, 2, 2), 32767, np.int16)
    assert between(packed(low), packed(high)).largest == "65535"


def test_values_are_compared_not_stored_numbers() -> None:
    plain = nib.Nifti1Image((numbers() * 2).astype(np.float32), AFFINE)
    stored = nib.Nifti1Image(numbers(), AFFINE)
    content = bytearray(stored.to_bytes())
    content[112:116] = np.float32(2).tobytes()
    found = between(plain.to_bytes(), bytes(content))
    assert found.differing == 0
    assert "datatype" in found.header


@pytest.mark.parametrize("axes", ["i", "j", "k", "ij", "ik", "jk", "ijk"])
def test_every_reversal_is_recognised(axes: str) -> None:
    ways = tuple(slice(None, None, -1 if axis in axes else 1) for axis in "ijk")
    assert between(packed(numbers()), packed(numbers()[ways].copy())).reversed == axes


def test_another_image_is_no_reversal() -> None:
    assert between(packed(numbers()), packed(numbers() + 1)).reversed == ""


def test_nan_on_both_sides_is_the_same_and_on_one_is_not() -> None:
    one = numbers().astype(np.float32)
    one[0, 0, 0] = np.nan
    other = one.copy()
    other[1, 1, 1] = np.inf
    assert between(packed(one), packed(one.copy())).differing == 0
    found = between(packed(one), packed(other))
    assert (found.differing, found.not_finite, found.largest) == (1, 1, "0")


def test_the_distance_of_affines_is_that_of_the_farthest_corner() -> None:
    moved = AFFINE.copy()
    moved[2, 2] = 2.5
    assert between(packed(numbers()), packed(numbers(), moved)).affine_mm == "1"


def test_two_shapes_have_no_distance_and_every_voxel_differs() -> None:
    found = between(packed(numbers()), packed(numbers((5, 4, 4))))
    assert (found.affine_mm, found.differing) == (None, 80)
    assert found.header["dim"][1].startswith("3 5 4 4")


def test_classes_are_counted_on_both_sides() -> None:
    one, other = np.zeros((4, 4, 2), np.uint8), np.zeros((4, 4, 2), np.uint8)
    one[0, :, 0], other[0, :2, 0], other[3, 3, 1] = 1, 1, 2
    found = between(packed(one), packed(other), is_label=True)
    assert found.classes == {1: (4, 2, 2), 2: (0, 1, 0)}


def test_free_text_of_a_header_is_shown_as_short_printable_ascii() -> None:
    found = between(packed(numbers()), packed(numbers(), descrip=b"\x1b[2J\xe9<b>"))
    assert found.header["descrip"] == ("", "?[2J?<b>")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "unreadable"),
        (b"\x1f\x8bxxxx", "unreadable"),
        (bytes(400), "unreadable"),
        (packed(numbers())[:-40], "truncated"),
        (gzip.compress(nib.Nifti1Image(numbers(), AFFINE).to_bytes()[:-8]), "truncated"),
    ],
)
def test_what_is_no_whole_volume_is_refused(content: bytes, code: str) -> None:
    with pytest.raises(SourceError) as refusal:
        read_picture(content)
    assert refusal.value.code == code


def test_a_volume_is_inflated_no_further_than_its_header_says() -> None:
    image = nib.Nifti1Image(numbers(), AFFINE).to_bytes()
    picture = read_picture(gzip.compress(image + bytes(10**7)))
    assert len(picture.content) == len(image)


def test_gzip_in_several_members_is_one_volume() -> None:
    image = nib.Nifti1Image(numbers(), AFFINE).to_bytes()
    parts = gzip.compress(image[:100]) + gzip.compress(image[100:360]) + gzip.compress(image[360:])
    assert read_picture(parts).content == image
