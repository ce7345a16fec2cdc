"""Run one de-identifier over a folder: `python drivers.py NAME SOURCE TARGET`, in the environment that has it.

Each tool runs as its authors' documentation says, with its defaults: private elements go where that is the
default. A file that a tool cannot read is left out and named on standard error.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path


def ours(source: Path, target: Path) -> None:
    """Do what `curate deidentify` does, under a fixed key."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from pipeline.export import deidentify_sources
    from pipeline.model.identified import Key

    exported = deidentify_sources([source], target, key=Key(bytes(range(32))), told=lambda *_: None)
    for file, code in exported.fates:
        if code != "used":
            print(f"{file.inside}: {code}", file=sys.stderr)


def dicom_anonymizer(source: Path, target: Path) -> None:
    """Run dicom-anonymizer."""
    from dicomanonymizer import anonymize_dicom_file

    _each(source, target, lambda before, after: anonymize_dicom_file(str(before), str(after)))


def dicognito(source: Path, target: Path) -> None:
    """Run dicognito."""
    import pydicom
    from dicognito.anonymizer import Anonymizer

    anonymizer = Anonymizer(seed="seed")

    def one(before: Path, after: Path) -> None:
        dataset = pydicom.dcmread(before)
        anonymizer.anonymize(dataset)
        dataset.save_as(after)

    _each(source, target, one)


def deid(source: Path, target: Path) -> None:
    """Run deid with its default recipe."""
    from deid.config import DeidRecipe
    from deid.dicom import get_identifiers, replace_identifiers

    files = [str(path) for path in sorted(source.rglob("*")) if path.is_file()]
    recipe = DeidRecipe()

    def one(before: Path, after: Path) -> None:
        ids = get_identifiers([str(before)], expand_sequences=True)
        (cleaned,) = replace_identifiers(
            dicom_files=[str(before)], deid=recipe, ids=ids, save=False, remove_private=True
        )
        cleaned.save_as(after)

    assert files
    _each(source, target, one)


def _each(source: Path, target: Path, one: Callable[[Path, Path], object]) -> None:
    for before in sorted(path for path in source.rglob("*") if path.is_file()):
        after = target / before.relative_to(source)
        after.parent.mkdir(parents=True, exist_ok=True)
        try:
            one(before, after)
        except Exception as fault:  # noqa: BLE001 - other people's code: whatever it raises is its answer
            print(f"{before.name}: {type(fault).__name__}", file=sys.stderr)


TOOLS: dict[str, Callable[[Path, Path], None]] = {
    "ours": ours,
    "dicom-anonymizer": dicom_anonymizer,
    "dicognito": dicognito,
    "deid": deid,
}

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    TOOLS[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
