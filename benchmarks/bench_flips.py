"""Flip one bit after the other in a release, and see that the audit finds each, and in its place.

    python benchmarks/bench_flips.py [--count 1000] [--seed 0] [RELEASE]

Without RELEASE, in the made-up release of the tests. A copy is spoilt. Bits are drawn from all bits of TARs, manifests
and release.json alike, so that most fall into TARs, then again from each kind of file alone. A flip in a TAR must be
found at its member (behind the last one, at the end of the archive), one in a document at its file.
"""

from __future__ import annotations

import argparse
import bisect
import random
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import sample_release as made_up  # noqa: E402 - it lies beside the tests that it was made for

from pipeline.audit import audit  # noqa: E402 - as above


def members_of(tar: Path) -> list[tuple[int, str]]:
    """Return where each member's header begins, and where the last member ends."""
    with tarfile.open(tar) as archive:
        infos = archive.getmembers()
    end = infos[-1].offset_data + -(-infos[-1].size // 512) * 512
    return [(info.offset, info.name) for info in infos] + [(end, "end of archive")]


def flip(path: Path, byte: int, bit: int) -> None:
    """Turn one bit over."""
    with path.open("r+b") as stream:
        stream.seek(byte)
        (value,) = stream.read(1)
        stream.seek(byte)
        stream.write(bytes([value ^ 1 << bit]))


def draw(paths: list[Path], count: int, chance: random.Random) -> list[tuple[Path, int, int]]:
    """Return file, byte and bit of random bits, all bits being as likely."""
    ends = [0]
    for path in paths:
        ends.append(ends[-1] + path.stat().st_size)
    drawn = []
    for _ in range(count):
        place = chance.randrange(ends[-1])
        number = bisect.bisect_right(ends, place) - 1
        drawn.append((paths[number], place - ends[number], chance.randrange(8)))
    return drawn


def verdict(release: Path, path: Path, byte: int, places: list[tuple[int, str]]) -> tuple[bool, bool]:
    """Return whether a flipped release is found out, and whether a finding names the place and none another file."""
    findings = audit(release).findings
    here = [finding for finding in findings if finding.file == path.name]
    if not places:
        return bool(findings), bool(here)
    member = [name for offset, name in places if offset <= byte][-1]
    named = {finding.member for finding in here}
    at_end = member == "end of archive" and bool(here)
    return bool(findings), (member in named or at_end) and len(here) == len(findings)


def main() -> None:
    """Copy, flip, count, print; end with 1 when a flip was missed or misplaced."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--count", type=int, default=1000)
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("release", type=Path, nargs="?")
    asked = words.parse_args()
    chance, well = random.Random(asked.seed), True
    with tempfile.TemporaryDirectory(prefix="bench-flips-") as folder:
        release = Path(folder) / "release"
        if asked.release is None:
            made_up.seal(made_up.sample(), release)
        else:
            shutil.copytree(asked.release, release)
        print(f"untouched: {len(audit(release).findings)} findings")
        tars, lines = sorted(release.glob("*.tar")), sorted(release.glob("*.manifest.jsonl"))
        top, places = [release / "release.json"], {tar: members_of(tar) for tar in tars}
        kinds = {"all": tars + lines + top, "TARs": tars, "manifests": lines, "release.json": top}
        for what, paths in kinds.items():
            count = asked.count if what == "all" else asked.count // 10
            found = located = 0
            for path, byte, bit in draw(paths, count, chance):
                flip(path, byte, bit)
                is_found, is_located = verdict(release, path, byte, places.get(path, []))
                flip(path, byte, bit)
                found, located = found + is_found, located + is_located
                if not is_located:
                    print(f"  {path.name}, byte {byte}, bit {bit}: {'misplaced' if is_found else 'missed'}")
            print(f"{what}: {count} flips, {found} found, {located} located", flush=True)
            well = well and found == located == count
        print(f"untouched: {len(audit(release).findings)} findings")
    sys.exit(not well)


if __name__ == "__main__":
    main()
