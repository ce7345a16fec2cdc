"""An affine that is not RAS+ and orthonormal is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from sample_release import Task, oblique
from spoiling import Lies, assert_found, in_spleen, with_affine

from pipeline.audit.geometry import is_ras


def mirrored(task: Task) -> None:
    with_affine(oblique() @ np.diag([-1.0, 1, 1, 1]))(task)


def skewed(task: Task) -> None:
    affine = oblique()
    affine[0, 1] += 0.01
    with_affine(affine)(task)


def rotation(random: np.random.Generator) -> Any:
    orthogonal, _ = np.linalg.qr(random.normal(size=(3, 3)))
    return orthogonal


def test_ras_is_what_nibabel_calls_ras() -> None:
    random = np.random.default_rng(3)
    affine = np.eye(4)
    for _ in range(2000):
        affine[:3, :3] = rotation(random)
        codes = nibabel.aff2axcodes(affine)
        # nibabel takes the axes in another order of closeness; where that matters no claim is made here.
        if is_ras(affine[:3, :3]) != (codes == ("R", "A", "S")):
            assert np.sort(np.abs(affine[:3, :3]).max(axis=0))[0] < 0.75


LIES: Lies = {
    "a mirrored image": (in_spleen(mirrored), {"case": "spleen_2", "stage": "orient"}),
    "a skewed image": (in_spleen(skewed), {"case": "spleen_2", "stage": "convert"}),
}  # fmt: skip


@pytest.mark.parametrize("what", LIES)
def test_a_sealed_lie_is_found(tmp_path: Path, what: str) -> None:
    assert_found(tmp_path, *LIES[what])
