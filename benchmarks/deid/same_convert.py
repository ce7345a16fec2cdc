"""Say for which real series `curate convert` makes other NIfTI of de-identified DICOM than of the original.

    python benchmarks/deid/same_convert.py [FOLDER] [--workers N]

Every folder below FOLDER (the real data beside the repo) is converted as it is, and again from what `curate
deidentify` makes of it under the same key. The NIfTI files, bytes and all, must be the same; the names of series
differ, because they are keyed by UIDs. Pixels are not searched for text: the search changes no voxel. The exit
code is 1 when a folder differs.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from samples import REAL, identified, readable

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from unconfined import unconfined

from pipeline.export import Choices, convert_sources, deidentify_sources
from pipeline.io.dicom import write_dataset
from pipeline.io.quiet import hush
from pipeline.model.exposure import Screening
from pipeline.model.identified import Key

KEY = Key(bytes(range(32)))
UNSCREENED = Choices(screening=Screening("Voxels are compared, nothing is released."))


def made(source: Path, folder: Path) -> Counter[str]:
    """Return the digests of the volumes that a source converts to."""
    convert_sources([source], folder, key=KEY, with_labels=False, told=lambda *_: None, choices=UNSCREENED)
    return Counter(hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("image.nii.gz"))


def compared(paths: list[Path]) -> tuple[Counter[str], Counter[str]]:
    """Return what a series becomes, and what it becomes after the door."""
    hush()
    with tempfile.TemporaryDirectory() as name, unconfined():
        folder = Path(name)
        source = folder / "source"
        source.mkdir()
        for number, path in enumerate(paths):
            (source / f"{number:05d}.dcm").write_bytes(write_dataset(identified(path)))
        before = made(source, folder / "before")
        if not before:
            return before, before
        deidentify_sources([source], folder / "clean", key=KEY, told=lambda *_: None, choices=UNSCREENED)
        return before, made(folder / "clean", folder / "after")


def main() -> int:
    """Print each folder that differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=REAL)
    parser.add_argument("--workers", type=int, default=2)
    words = parser.parse_args()
    hush()
    found = readable(words.folder)
    empty = volumes = differing = 0
    with ProcessPoolExecutor(words.workers) as pool:
        for place, (before, after) in zip(found, pool.map(compared, found.values()), strict=True):
            empty, volumes = empty + (not before), volumes + before.total()
            if before != after:
                differing += 1
                lost = (before - after).total()
                print(
                    f"{place.relative_to(words.folder)}: {before.total()} volumes, {lost} became others",
                    flush=True,
                )
    print(
        f"{len(found)} folders ({empty} make no volume as they are), {volumes} volumes compared,"
        f" {differing} folders differ",
        file=sys.stderr,
    )
    return int(bool(differing))


if __name__ == "__main__":
    raise SystemExit(main())
