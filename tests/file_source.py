"""Sources that are no longer DICOM, as BraTS, the left atrium and the liver challenge hand them out, in small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK

PERSON = "DOE_JANE"
"""Stands in paths and header texts; nothing that is said aloud may hold it."""

SHAPE = (12, 10, 8)


def pictured(number: int) -> np.ndarray:
    """Return whole numbers of which no two neighbours are alike, so that no turn hides."""
    return np.random.default_rng(number).integers(-1000, 1500, SHAPE).astype(np.int16)


def drawn(number: int, values: tuple[int, ...] = (1,)) -> np.ndarray:
    label = np.zeros(SHAPE, np.uint8)
    for place, value in enumerate(values):
        label[2 + 2 * place : 4 + 2 * place, 2:7, 1 + number % 3 : 6] = value
    return label


def write_nifti(path: Path, data: np.ndarray, affine: np.ndarray, **texts: bytes) -> Path:
    """Write a NIfTI whose header is full of texts."""
    made = nib.Nifti1Image(data, affine)
    made.header.set_xyzt_units("mm")
    for name, text in ({"descrip": PERSON.encode(), "db_name": PERSON.encode()} | texts).items():
        made.header[name] = text
    made.header.extensions.append(nib.nifti1.Nifti1Extension("comment", PERSON.encode()))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(made.to_bytes())
    return path


def write_itk(path: Path, data: np.ndarray, affine: np.ndarray) -> Path:
    """Write what SimpleITK writes, with a patient's name among the pairs; the affine is to RAS+."""
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(data.T))
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetMetaData("0010|0010", PERSON)
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(image, str(path))
    return path


def rules_of(task: str, **changes: Any) -> dict[str, Any]:
    """Return a task of two CT-like files, each part of which may be replaced."""
    return {
        "format": "curate-rules/1",
        "task": task,
        "header": {
            "name": "Files", "description": "d", "reference": "r", "licence": "CC-BY-SA 4.0", "release": "1.0",
        },
        "cases": {"id": "file_{:03d}", "split": {"training": 1, "test": 0}},
        "channels": [
            {
                "name": "CT",
                "quantity": "hounsfield",
                "select": {"file": {"matches": "volume"}},
                "scale": {"method": "keep"},
            }
        ],
        "label": {"classes": [{"value": 1, "name": "organ", "from_names": []}]},
        "source": {"format": "nifti"},
        "about": {"sources": "s", "labels": "l"},
    } | changes  # fmt: skip
