"""Scaling that does not follow its rule is found, in the note and in the voxels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sample_release import Task, put_voxels, voxels_of
from spoiling import Lies, assert_found, in_brain, in_spleen, put, set_note, spoil_voxels


def unclip(task: Task) -> None:
    """Spread the voxels at the ends: then less is clipped than the percentiles say."""
    voxels = voxels_of(task, "BRATS_001", "image")
    channel = voxels[..., 1]
    ends = np.argwhere(channel == 1000)
    for place in ends[1:]:
        channel[tuple(place)] = 999
    put_voxels(task, "BRATS_001", "image", voxels)


def half_range(task: Task) -> None:
    voxels = voxels_of(task, "BRATS_001", "image")
    voxels[..., 1] /= 2
    put_voxels(task, "BRATS_001", "image", voxels)


LIES: Lies = {
    "a value beyond the scale": (in_brain(spoil_voxels("BRATS_001", "image", put((2, 3, 4, 0), 1000.5))),
                                 {"case": "BRATS_001", "stage": "scale"}),
    "half the scale": (in_brain(half_range), {"case": "BRATS_001", "stage": "scale"}),
    "less clipped than the percentiles say": (in_brain(unclip), {"case": "BRATS_001", "stage": "scale"}),
    "a cut-off above the other": (in_brain(set_note("BRATS_001", "scale", "low", "99999")),
                                  {"case": "BRATS_001", "stage": "scale"}),
    "other percentiles": (in_brain(set_note("BRATS_001", "scale", "percentiles", ["1", "99"])),
                          {"case": "BRATS_001", "stage": "scale"}),
    "another number of voxels": (in_brain(set_note("BRATS_001", "scale", "voxels", 5)),
                                 {"case": "BRATS_001", "stage": "scale"}),
    "more clipped than is at the end": (in_brain(set_note("BRATS_001", "scale", "clipped_above", 99)),
                                        {"case": "BRATS_001", "stage": "scale"}),
    "another quantity": (in_spleen(set_note("spleen_2", "scale", "quantity", "adc")),
                         {"case": "spleen_2", "stage": "scale", "found": "adc"}),
}  # fmt: skip


@pytest.mark.parametrize("what", LIES)
def test_a_sealed_lie_is_found(tmp_path: Path, what: str) -> None:
    assert_found(tmp_path, *LIES[what])
