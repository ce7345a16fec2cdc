"""A member that is not what its line says is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sample_release import Task, put_voxels, voxels_of
from spoiling import IMAGE, LABEL, Lies, assert_found, in_brain, in_spleen, set_line, set_note


def same_image_twice(task: Task) -> None:
    put_voxels(task, "spleen_3", "image", voxels_of(task, "spleen_2", "image"))
    set_note("spleen_3", "check", "channels", task.case("spleen_2")["notes"][-1]["channels"])(task)


def labels_elsewhere(task: Task) -> None:
    affine = np.array(task.case("spleen_2")["label"]["affine"], dtype=np.float64)
    affine[0, 3] += 0.25
    put_voxels(task, "spleen_2", "label", voxels_of(task, "spleen_2", "label"), affine)


def label_of_other_shape(task: Task) -> None:
    put_voxels(task, "spleen_2", "label", voxels_of(task, "spleen_2", "label")[:, :, 1:])


def channel_lost(task: Task) -> None:
    put_voxels(task, "BRATS_001", "image", voxels_of(task, "BRATS_001", "image")[..., 0])


LIES: Lies = {
    "a manifest affine of its own": (
        in_spleen(lambda t: t.case("spleen_2")["image"]["affine"][0].__setitem__(3, "12.5")),
        {"member": IMAGE, "stage": "orient"}),
    "another shape in the manifest": (in_spleen(set_line("spleen_2", "image.shape", [11, 8, 9])),
                                      {"member": IMAGE, "stage": "package"}),
    "a missing channel": (in_brain(channel_lost), {"case": "BRATS_001", "stage": "package"}),
    "the same voxels twice": (in_spleen(same_image_twice),
                              {"case": "spleen_3", "found": f"those of {IMAGE}"}),
    "a label a quarter voxel away": (in_spleen(labels_elsewhere), {"member": LABEL, "stage": "label"}),
    "a label of another shape": (in_spleen(label_of_other_shape), {"member": LABEL, "stage": "label"}),
}  # fmt: skip


@pytest.mark.parametrize("what", LIES)
def test_a_sealed_lie_is_found(tmp_path: Path, what: str) -> None:
    assert_found(tmp_path, *LIES[what])
