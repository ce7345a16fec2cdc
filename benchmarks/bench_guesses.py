"""Guess at a release: no digest in it may answer to a name, a number, a date or a file of its sources.

    python benchmarks/bench_guesses.py [--guesses 1000000] [--seed 0] [--task TASK]...

The demo is made and released with all its metadata. Gathered is every word of ten or more hex digits and every
number of ten or more decimal digits in manifests, release.json, SHA256SUMS and exports. Guessed is what an attacker
would try: every identity of the truth file in its spellings, every source file, every birth date of 120 years, and,
up to the number asked for, patient numbers drawn by chance between the known ones. Each guess is hashed with MD5,
SHA-1, SHA-256, SHA-512 and BLAKE2b, and with HMAC-SHA-256 under keys that anybody could think of; a hit is a word
that begins with the same ten digits, or a decimal number that is the same (UIDs of the 2.25 form). To know that a
hit would be seen, digests of three of the guesses are laid into a copy of what was gathered, and must be found. The
identities themselves are searched for in the same files, and in TARs, as texts. Ends with 1 on any hit.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import hmac
import random
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from pathlib import Path

CURATE = Path(sys.executable).with_name("curate")
DIGITS = 10
WORD = re.compile(rb"(?<![0-9a-f])[0-9a-f]{10,}(?![0-9a-f])", re.IGNORECASE)
PLAIN = ("md5", "sha1", "sha256", "sha512", "blake2b")
KEYS = (
    b"",
    b"\x00",
    bytes(32),
    b"curate",
    b"key",
    b"secret",
    b"release",
    b"patient",
    b"msd",
    b"subject",
    b"source",
)
PUBLICATION = """
publication:
  title: Demo
  description: A phantom.
  creators: [{name: Nobody}]
  publisher: Nobody
  date: "2026-01-31"
  version: "1.0"
  licence: CC-BY-SA-4.0
  url: https://example.org/demo
"""


def run(*words: str | Path) -> None:
    """Run `curate`."""
    subprocess.run([CURATE, *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def released(folder: Path, tasks: Iterable[str]) -> Path:
    """Make the demo and its release, exports included."""
    run("demo", folder, *(word for task in tasks for word in ("--task", task)))
    run("init", folder / "workspace", "--key", folder / "truth/demo.key")
    settings = folder / "workspace/curate.yaml"
    settings.write_text(settings.read_text("utf-8").replace("publication: null\n", PUBLICATION), "utf-8")
    run("release", folder / "source", "-w", folder / "workspace", "-r", folder / "release")
    return folder / "release"


def texts(release: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each file of a release, and of each member of its TARs, inflated."""
    for path in sorted(release.iterdir()):
        if path.suffix != ".tar":
            yield path.name, path.read_bytes()
            continue
        with tarfile.open(path) as archive:
            for info in archive:
                content = archive.extractfile(info).read()  # type: ignore[union-attr]
                yield info.name, gzip.decompress(content) if info.name.endswith(".gz") else content


def words_of(contents: Iterable[bytes]) -> tuple[set[str], set[int]]:
    """Return the beginnings of all hex words, and all long decimal numbers."""
    found = {word.lower().decode() for content in contents for word in WORD.findall(content)}
    return {word[:DIGITS] for word in found}, {int(word) for word in found if word.isdecimal()}


def spellings(identity: str) -> set[bytes]:
    """Return how a text may be written before it is hashed."""
    plain = {
        identity,
        identity.upper(),
        identity.lower(),
        identity.replace("^", " "),
        re.sub(r"\W", "", identity),
    }
    return {form.encode(code, "replace") for form in plain for code in ("utf-8", "latin-1")}


def guesses(folder: Path, identities: list[str], wanted: int, seed: int) -> Iterator[bytes]:
    """Yield `wanted` different guesses or, if there are more of the others, these."""
    tried: set[bytes] = set()
    for identity in identities:
        tried |= spellings(identity)
    for path in (folder / "source").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            # The file itself, and its plain digest as a text or as bytes.
            tried |= {content, hashlib.sha256(content).hexdigest().encode(), hashlib.sha256(content).digest()}
    first = date(1906, 1, 1)
    for day in range(366 * 120):
        told = first + timedelta(day)
        tried |= {told.strftime("%Y%m%d").encode(), told.isoformat().encode()}
    chance, numbers = (
        random.Random(seed),
        [int(text) for text in identities if re.fullmatch(r"[0-9]{8}", text)],
    )
    while len(tried) < wanted:
        tried.add(b"%08d" % ((chance.choice(numbers) + chance.randrange(-100_000, 100_000)) % 10**8))
    yield from tried


def answers(guess: bytes) -> Iterator[bytes]:
    """Yield the digests that a guess would leave."""
    for name in PLAIN:
        yield hashlib.new(name, guess, usedforsecurity=False).digest()
    for key in KEYS:
        yield hmac.digest(key, guess, "sha256")


def hits(tried: Iterable[bytes], begins: set[str], numbers: set[int]) -> tuple[int, int]:
    """Return how many were tried, and how many of them some word answers to."""
    count = found = 0
    for guess in tried:
        count += 1
        found += any(
            digest.hex()[:DIGITS] in begins or int.from_bytes(digest[:16], "big") in numbers
            for digest in answers(guess)
        )
    return count, found


def main() -> int:
    """Make, gather, guess, print."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--guesses", type=int, default=10**6)
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--task", action="append", default=[])
    asked = words.parse_args()
    with tempfile.TemporaryDirectory(prefix="guesses-") as scratch:
        folder = Path(scratch) / "demo"
        held = dict(texts(released(folder, asked.task)))
        identities = (folder / "truth/identities.txt").read_text("utf-8").splitlines()
        begins, numbers = words_of(held.values())
        tried = [*guesses(folder, identities, asked.guesses, asked.seed)]
    long = [text.lower().encode() for text in identities if len(text) >= 4]
    lowered = [content.lower() for content in held.values()]
    quoted = sum(any(text in content for text in long) for content in lowered)
    count, found = hits(tried, begins, numbers)
    chosen = random.Random(asked.seed).sample(tried, 3)
    planted = {next(iter(answers(guess))).hex()[:DIGITS] for guess in chosen}
    _, seen = hits(chosen, begins | planted, numbers)
    print(
        f"{len(held)} files and members, {len(begins)} hex words, {len(numbers)} numbers; {len(identities)} identities"
    )
    print(f"files that hold an identity as text: {quoted}")
    print(f"{count} guesses, {len(PLAIN) + len(KEYS)} digests each: {found} hits; of 3 planted: {seen}")
    return int(bool(quoted or found or seen < 3))


if __name__ == "__main__":
    sys.exit(main())
