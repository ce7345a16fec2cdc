"""Say for which real series dcm2niix makes other NIfTI from de-identified DICOM than from the original.

    python benchmarks/deid/same_nifti.py DCM2NIIX [FOLDER]

Every file that it writes is compared, but for the header's free texts: voxels, scaling, place, b-values and
gradient directions. dcm2niix comes with the wheel of that name. The exit code is 1 when a series differs.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pydicom.dataset import Dataset
from samples import REAL, cleaned, identified, readable

from pipeline.io.dicom import write_dataset
from pipeline.io.quiet import hush
from pipeline.model.errors import CurationError

FREE_TEXTS = ((4, 32), (148, 228), (228, 252))
"""Byte ranges of data_type and db_name, descrip, aux_file in a NIfTI-1 header."""


def made(program: str, datasets: Sequence[Dataset]) -> Counter[str]:
    """Return the digests of what dcm2niix makes of datasets."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source", Path(folder) / "target"
        source.mkdir()
        target.mkdir()
        for number, dataset in enumerate(datasets):
            (source / f"{number:05d}.dcm").write_bytes(write_dataset(dataset))
        words = [program, "-z", "n", "-b", "n", "-o", str(target), str(source)]
        subprocess.run(words, capture_output=True, check=False)
        return Counter(_digest(path) for path in sorted(target.iterdir()))


def _digest(path: Path) -> str:
    content = bytearray(path.read_bytes())
    if path.suffix == ".nii":
        for begin, end in FREE_TEXTS:
            content[begin:end] = bytes(end - begin)
    return f"{path.suffix} {hashlib.sha256(content).hexdigest()[:16]}"


def main() -> int:
    """Print each series that differs."""
    hush()
    program, root = sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else REAL
    same = differing = 0
    for place, paths in readable(root).items():
        try:
            after = made(program, cleaned(paths))
        except CurationError as refused:
            print(f"refused: {refused.code}: {place.relative_to(root)}", file=sys.stderr)
            continue
        before = made(program, [identified(path) for path in paths])
        same, differing = same + (before == after), differing + (before != after)
        if before != after:
            print(f"{place.relative_to(root)}: {dict(before - after)} became {dict(after - before)}")
    print(f"{same} series equal, {differing} differ", file=sys.stderr)
    return int(bool(differing))


if __name__ == "__main__":
    raise SystemExit(main())
