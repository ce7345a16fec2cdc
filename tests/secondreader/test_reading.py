"""What SimpleITK and GDCM read of slices whose voxels and places are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from placed_source import TO_RAS, Source, ramp

from pipeline.secondreader.reading import UnreadError, read_slices


def test_a_classic_file_is_one_slice_with_its_own_rescale_and_place(tmp_path: Path) -> None:
    source = Source(ramp(), slopes=(1, 0.5, 3))
    slices = [one for path in source.write(tmp_path) for one in read_slices(path)]
    slices.sort(key=lambda one: float(one.position @ np.cross(one.row, one.column)))

    for k, one in enumerate(slices):
        np.testing.assert_array_equal(one.values.T, source.values[:, :, k])
        np.testing.assert_allclose(one.position, source.position(k))
        assert one.spacing == pytest.approx((0.75, 1.5))


@pytest.mark.parametrize("is_implicit", [False, True])
def test_each_frame_has_the_rescale_and_place_of_its_own_functional_groups(
    tmp_path: Path, is_implicit: bool
) -> None:
    source = Source(ramp(), slopes=(1, 0.5, 3))
    slices = read_slices(source.write_enhanced(tmp_path / "enhanced", is_implicit=is_implicit))

    for k, one in enumerate(reversed(slices)):
        np.testing.assert_array_equal(one.values.T, source.values[:, :, k])
        np.testing.assert_allclose(one.position, source.position(k))


def test_corners_are_the_outermost_pixels_in_ras(tmp_path: Path) -> None:
    source = Source(ramp())
    (one,) = read_slices(source.write(tmp_path)[0])
    k = int(np.argmin([np.linalg.norm(one.position - source.position(k)) for k in range(3)]))
    wanted = [(source.affine @ [i, j, k, 1])[:3] for i, j in ((0, 0), (4, 0), (0, 3), (4, 3))]

    np.testing.assert_allclose(one.corners(), wanted, atol=1e-9)
    np.testing.assert_allclose((TO_RAS @ source.affine)[:3, 3], source.position(0))


def test_what_is_no_image_is_unread(tmp_path: Path) -> None:
    (tmp_path / "note").write_bytes(b"no image" * 100)
    with pytest.raises(UnreadError):
        read_slices(tmp_path / "note")


def test_a_sign_within_the_word_is_not_plain(tmp_path: Path) -> None:
    path = Source(ramp()).write(tmp_path, BitsStored=12, HighBit=11, PixelRepresentation=1)[0]
    assert not read_slices(path)[0].is_plain
    assert read_slices(Source(ramp()).write(tmp_path)[0])[0].is_plain
