"""Voxels that are not what line and rules say are found."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from sample_release import Task, gzipped, nifti_header, oblique, put_content
from spoiling import (
    IMAGE,
    LABEL,
    Lies,
    as_float,
    assert_found,
    in_brain,
    in_spleen,
    put,
    resealed,
    set_line,
    set_note,
    sought,
    spoil_voxels,
    with_header,
)


def test_a_member_that_expands_without_end_is_left_at_the_size_its_header_says(tmp_path: Path) -> None:
    def spoil(task: Task) -> None:
        voxels = np.zeros((2, 2, 2), np.int16)
        header = nifti_header(voxels, oblique())
        put_content(task, "spleen_2", "image", gzipped(bytes(header) + bytes(50_000_000)))

    assert sought(resealed(tmp_path, in_spleen(spoil)), member=IMAGE, found="more bytes")


LIES: Lies = {
    "NaN": (in_brain(spoil_voxels("BRATS_001", "image", put((2, 3, 4, 0), np.nan))),
            {"case": "BRATS_001", "stage": "check", "found": "NaN or infinity"}),
    "infinity": (in_brain(spoil_voxels("BRATS_003", "image", put((2, 3, 4, 1), -np.inf))),
                 {"case": "BRATS_003", "stage": "check"}),
    "a constant image": (in_spleen(spoil_voxels("spleen_2", "image", put(..., 7))),
                         {"case": "spleen_2", "stage": "check", "found": "7 everywhere"}),
    "another value than check saw": (in_spleen(spoil_voxels("spleen_2", "image", put((0, 0, 0), -1024))),
                                     {"case": "spleen_2", "stage": "check"}),
    "whole HU as float32": (in_spleen(as_float), {"case": "spleen_2", "stage": "convert", "found": "float32"}),
    "an undeclared value": (in_spleen(spoil_voxels("spleen_2", "label", put((1, 1, 1), 9))),
                            {"case": "spleen_2", "stage": "label", "found": "also [9]"}),
    "an empty label": (in_spleen(spoil_voxels("spleen_2", "label", put(..., 0))),
                       {"case": "spleen_2", "stage": "label"}),
    "another count": (in_spleen(set_line("spleen_2", "label.classes.1.voxels", 3)),
                      {"member": LABEL, "case": "spleen_2", "stage": "label"}),
    "fewer voxels than the header says": (
        in_spleen(with_header(lambda h: struct.pack_into("<h", h, 46, 9))), {"member": IMAGE}),
    "more voxels than the header says": (
        in_spleen(with_header(lambda h: struct.pack_into("<h", h, 46, 7))), {"member": IMAGE}),
    "another count by label": (in_spleen(set_note("spleen_2", "label", "classes", {"1": {"voxels": 3}})),
                               {"member": LABEL, "stage": "label"}),
    "another count by check": (in_spleen(set_note("spleen_2", "check", "label", {"0": 3})),
                               {"member": LABEL, "stage": "check"}),
}  # fmt: skip


@pytest.mark.parametrize("what", LIES)
def test_a_sealed_lie_is_found(tmp_path: Path, what: str) -> None:
    assert_found(tmp_path, *LIES[what])
