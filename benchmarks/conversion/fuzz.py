"""Damage slices of a small series at random, again and again: each must end in a code or a volume.

    python benchmarks/conversion/fuzz.py ../shared/data/real/miniatures/generic/anatomical [--inputs 100000] [--seed 0]

Prints the codes met and how often, and the slowest input; a traceback, a hang or too much memory ends the run with
the seed of the input that did it, which `--only SEED` repeats. So does a volume that is made of a damaged file and lies
elsewhere than that of the whole ones, or has other values though no pixel and no rescale was touched.
"""

from __future__ import annotations

import argparse
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from unconfined import unconfined

from pipeline import export
from pipeline.io.dicom import read_dataset, read_header
from pipeline.io.quiet import hush
from pipeline.model.errors import CurationError
from pipeline.model.identified import Key

MEMORY_BYTES = 2**31
"""Address space of this process: a bomb fails instead of taking the machine with it."""

SECONDS = 20
"""An input that takes longer is a hang."""

HEADER = 4096
"""Nine of ten flips fall into so many first bytes, where the header is."""


def damaged(content: bytes, dice: random.Random) -> bytes:
    """Return a file with a few bytes changed, put in, taken out or cut off."""
    changed = bytearray(content)
    for _ in range(dice.choice((1, 1, 2, 4, 16))):
        place = dice.randrange(min(len(changed), HEADER) if dice.random() < 0.9 else len(changed))
        way = dice.randrange(5)
        if way <= 1:
            changed[place] ^= 1 << dice.randrange(8)
        elif way == 2:
            changed[place : place + 4] = dice.randbytes(4)
        elif way == 3:
            del changed[max(place, 1) : place + dice.randrange(1, 9)]
        else:
            changed = changed[: max(place, 1)]
    return bytes(changed)


def converted(folder: Path, files: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Return what is made of the files in a folder, and the codes of what is not."""
    made = export.preview_sources([folder], key=Key(bytes(32)), told=lambda *told: None)
    assert len({file.ref for file, _ in made.fates}) == files, "a file without a fate"
    return made.written, [str(row["code"]) for row in made.refused]


def tried(contents: list[bytes], folder: Path, seed: int, whole: dict[str, Any]) -> list[str]:
    """Damage one slice of the series and convert it; return the codes met, `made` for a volume."""
    dice = random.Random(seed)
    victim = dice.randrange(len(contents))
    changed = damaged(contents[victim], dice)
    signal.alarm(SECONDS)
    try:
        read_header(changed)
    except CurationError as error:
        # Its series hears of it; what becomes of the others is tried once in twenty times.
        if dice.random() > 0.05:
            return [f"file: {error.code}"]
    (folder / f"{victim}").write_bytes(changed)
    written, codes = converted(folder, len(contents))
    (folder / f"{victim}").write_bytes(contents[victim])
    signal.alarm(0)
    for volume in written:
        if volume["shape"] == whole["shape"]:
            assert volume["affine"] == whole["affine"], "a volume that lies elsewhere"
            if volume["voxels"] != whole["voxels"]:
                assert values_touched(contents[victim], changed), "other values of an untouched slice"
                codes = [*codes, "made, other values"]
                continue
        codes = [*codes, "made" if volume["shape"] == whole["shape"] else "made, fewer slices"]
    return codes


VALUES = (
    "PixelData",
    "RescaleSlope",
    "RescaleIntercept",
    "PixelRepresentation",
    "BitsStored",
    "HighBit",
    "BitsAllocated",
)


def values_touched(before: bytes, after: bytes) -> bool:
    """Whether damage changed what makes the values, which nothing but a second copy could tell."""
    first, second = (read_dataset(content) for content in (before, after))
    return any(first.get(keyword) != second.get(keyword) for keyword in VALUES)


def hung(*_: object) -> None:
    """End an input that takes too long."""
    raise TimeoutError(f"an input took more than {SECONDS} s")


def main() -> int:
    """Run the inputs; 1 when one of them ends in a traceback."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    words.add_argument("series", type=Path)
    words.add_argument("--inputs", type=int, default=100_000)
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--only", type=int)
    asked = words.parse_args()
    hush()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    signal.signal(signal.SIGALRM, hung)
    paths = sorted(path for path in asked.series.rglob("*") if path.is_file())
    contents = [content for path in paths if (content := path.read_bytes())[128:132] == b"DICM"]
    seeds = range(asked.seed, asked.seed + asked.inputs) if asked.only is None else [asked.only]
    met: Counter[str] = Counter()
    slowest = (0.0, -1)
    with tempfile.TemporaryDirectory() as folder, unconfined():
        for number, content in enumerate(contents):
            Path(folder, f"{number}").write_bytes(content)
        (whole,), _ = converted(Path(folder), len(contents))
        for seed in seeds:
            begun = time.perf_counter()
            try:
                met.update(tried(contents, Path(folder), seed, whole))
            except BaseException:
                print(f"seed {seed}", file=sys.stderr)
                raise
            slowest = max(slowest, (time.perf_counter() - begun, seed))
    for code, count in met.most_common():
        print(f"{count:8d} {code}")
    print(f"slowest: {slowest[0]:.2f} s, seed {slowest[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
