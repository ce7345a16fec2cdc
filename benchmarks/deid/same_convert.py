"""Say for which real series `curate convert` makes other NIfTI of de-identified DICOM than of the original.

    python benchmarks/deid/same_convert.py [FOLDER]

Every folder below FOLDER (the real data beside the repo) is converted as it is, and again from what `curate
deidentify` makes of it under the same key. The NIfTI files, bytes and all, must be the same; the names of series
differ, because they are keyed by UIDs. The exit code is 1 when a folder differs.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections import Counter
from pathlib import Path

from samples import REAL, identified, readable

from pipeline.export import convert_sources, deidentify_sources
from pipeline.io.dicom import write_dataset
from pipeline.io.quiet import hush
from pipeline.model.identified import Key

KEY = Key(bytes(range(32)))


def made(source: Path, folder: Path) -> Counter[str]:
    """Return the digests of the volumes that a source converts to."""
    convert_sources([source], folder, key=KEY, with_labels=False, told=lambda *_: None)
    return Counter(hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("image.nii.gz"))


def compared(paths: list[Path], folder: Path) -> tuple[Counter[str], Counter[str]]:
    """Return what a series becomes, and what it becomes after the door."""
    source = folder / "source"
    source.mkdir()
    for number, path in enumerate(paths):
        (source / f"{number:05d}.dcm").write_bytes(write_dataset(identified(path)))
    before = made(source, folder / "before")
    deidentify_sources([source], folder / "clean", key=KEY, told=lambda *_: None)
    return before, made(folder / "clean", folder / "after") if before else before


def main() -> int:
    """Print each folder that differs."""
    hush()
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else REAL
    series = volumes = differing = 0
    for place, paths in readable(root).items():
        with tempfile.TemporaryDirectory() as folder:
            before, after = compared(paths, Path(folder))
        series, volumes = series + 1, volumes + before.total()
        if before != after:
            differing += 1
            print(
                f"{place.relative_to(root)}: {before.total()} volumes, {(before - after).total()} became others"
            )
    print(f"{series} folders, {volumes} volumes compared, {differing} folders differ", file=sys.stderr)
    return int(bool(differing))


if __name__ == "__main__":
    raise SystemExit(main())
