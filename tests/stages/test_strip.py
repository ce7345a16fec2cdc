"""What lies outside of the mask becomes 0, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.model.volume import Volume
from pipeline.stages.strip import strip


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_voxels_outside_become_zero_and_those_inside_stay(dtype: type) -> None:
    data = np.arange(-12, 12).reshape(2, 3, 4).astype(dtype)
    mask = np.zeros((2, 3, 4), np.uint8)
    mask[1, :, 2:] = 1
    step = strip(Volume(data, np.eye(4)), Volume(mask, np.eye(4)))
    assert step.value.data.dtype == dtype
    assert np.array_equal(step.value.data, np.where(mask, data, 0))
    assert step.note.facts == {"kept_voxels": 6, "removed_voxels": 18, "value": 0}
