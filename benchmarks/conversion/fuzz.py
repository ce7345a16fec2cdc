"""Damage slices of a small series at random, again and again: each must end in a code or a volume.

    python benchmarks/conversion/fuzz.py ../shared/data/real/miniatures/generic/anatomical [--inputs 100000] [--seed 0]

Prints the codes met and how often, and the slowest input; a traceback, a hang or too much memory ends the run with
the seed of the input that did it, which `--only SEED` repeats.
"""

from __future__ import annotations

import argparse
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from unittest import mock

from pipeline import export
from pipeline.io.dicom import hush
from pipeline.io.policy import load_policy
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


def tried(sources: list[Path], folder: Path, seed: int) -> list[str]:
    """Damage one slice of the series and convert it; return the codes met, `made` for a volume."""
    dice = random.Random(seed)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    victim = dice.randrange(len(sources))
    for number, path in enumerate(sources):
        content = path.read_bytes()
        (folder / f"{number}").write_bytes(damaged(content, dice) if number == victim else content)
    signal.alarm(SECONDS)
    made = export.preview_sources([folder], key=Key(bytes(32)), told=lambda *told: None)
    signal.alarm(0)
    assert len({file.ref for file, _ in made.fates}) == len(sources), "a file without a fate"
    return ["made"] * len(made.written) + [str(row["code"]) for row in made.refused]


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
    sources = sorted(path for path in asked.series.rglob("*") if path.is_file())
    sources = [path for path in sources if path.read_bytes()[128:132] == b"DICM"]
    seeds = range(asked.seed, asked.seed + asked.inputs) if asked.only is None else [asked.only]
    met: Counter[str] = Counter()
    slowest = (0.0, -1)
    # Reading the policy takes longer than converting three small slices, and is the same every time.
    policy = mock.patch.object(export, "load_policy", return_value=load_policy(None))
    with tempfile.TemporaryDirectory() as folder, policy:
        for seed in seeds:
            begun = time.perf_counter()
            try:
                met.update(tried(sources, Path(folder, "series"), seed))
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
