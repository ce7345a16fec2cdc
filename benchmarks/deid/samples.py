"""Find real DICOM and let it through the door, for comparisons with other people's programs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from pipeline.io.policy import load_policy
from pipeline.model.identified import Identified, Key
from pipeline.stages.deidentify import deidentify

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "real"
"""The real data beside the repo."""

KEY = Key(bytes(range(32)))
"""Fixed, so that every run makes the same."""

_POLICY = load_policy()


def readable(root: Path) -> dict[Path, list[Path]]:
    """Return the DICOM files below a folder by the folder they lie in."""
    found: dict[Path, list[Path]] = defaultdict(list)
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        try:
            pydicom.dcmread(path, specific_tags=["SOPClassUID"])
        except (InvalidDicomError, OSError, ValueError):
            continue
        found[path.parent].append(path)
    return found


def identified(path: Path) -> Dataset:
    """Read a file; where its publisher took the patient ID out, put one in."""
    dataset = pydicom.dcmread(path)
    if not dataset.get("PatientID"):
        dataset.PatientID = "4711"
        for keyword, value in {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.4"}.items():
            if not dataset.get(keyword):
                setattr(dataset, keyword, value)
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID
    return dataset


def cleaned(paths: Sequence[Path]) -> tuple[Dataset, ...]:
    """Return the files de-identified, under a fixed key."""
    datasets = [identified(path) for path in paths]
    return deidentify(Identified(datasets), policy=_POLICY, key=KEY).value
