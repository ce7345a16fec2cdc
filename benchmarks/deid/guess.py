"""Guess patient numbers without the key, and look for each guess in all that is derived from one.

    python benchmarks/deid/guess.py [--guesses N] [--seed N]

A patient with a six-digit number is de-identified. Who has the output but not the key tries every number: plain
and with the prefixes and purposes that the program uses, through MD5, SHA-1, SHA-256 and HMAC-SHA-256 under empty,
zero and named keys, cut as pseudonyms are. No guess may match a subject's pseudonym or a UID. The exit code is 1 when
one matches, or when the one who has the key does not find the patient. `benchmarks/bench_guesses.py` does the same to
the manifests of a release.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from key import corpus
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from pipeline.export import deidentify_sources
from pipeline.io.quiet import hush
from pipeline.model.identified import Key
from pipeline.stages.deidentify import subject_name, subject_token

SECRETS = (b"", bytes(32), b"curate", b"subject", b"uid")


def derived(text: bytes) -> Iterator[bytes]:
    """Yield what an attacker who knows the program would make of a guess."""
    for name in ("md5", "sha1", "sha256"):
        yield hashlib.new(name, text).digest()
    yield hashlib.sha256(b"subject" + text).digest()
    for secret in SECRETS:
        yield hmac.digest(secret, text, "sha256")
    subkey = hmac.digest(bytes(32), b"subject", "sha256")
    yield hmac.digest(subkey, text, "sha256")


def targets(folder: Path, patient: str, key: Key) -> tuple[set[bytes], set[bytes]]:
    """De-identify one patient; return six bytes of each pseudonym and of each UID in the output."""
    (_, dataset, _), *_ = corpus(1, 1)
    dataset.PatientID = patient
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    (folder / "source").mkdir()
    dataset.save_as(folder / "source" / "a.dcm", enforce_file_format=True)
    made = deidentify_sources([folder / "source"], folder / "out", key=key, told=lambda *_: None)
    everything = b"".join((folder / "out" / file).read_bytes() + file.encode() for _, file in made.made)
    subjects = {bytes.fromhex(found.decode()) for found in re.findall(rb"sub-([0-9a-f]{12})", everything)}
    uids = {
        int(found).to_bytes(17, "big")[1:7] for found in re.findall(rb"2\.25\.([0-9]{20,39})", everything)
    }
    return subjects, uids


def main() -> int:
    """Print how many guesses matched."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--guesses", type=int, default=10**6)
    parser.add_argument("--seed", type=int, default=1)
    words = parser.parse_args()
    hush()
    random = np.random.Generator(np.random.PCG64(words.seed))
    patient = f"{random.integers(0, words.guesses):06d}"
    key = Key(random.bytes(32))
    with tempfile.TemporaryDirectory() as folder:
        subjects, uids = targets(Path(folder), patient, key)
    known = subjects | uids
    matched = sum(
        any(digest[:6] in known or digest[-6:] in known for digest in derived(b"%06d" % number))
        for number in range(words.guesses)
    )
    is_found = subject_name(subject_token(key, patient)).removeprefix("sub-") in {s.hex() for s in subjects}
    print(f"{words.guesses} guesses without the key: {matched} match one of {len(known)} pseudonyms")
    print(f"with the key the patient is {'' if is_found else 'not '}found")
    return int(bool(matched) or not is_found)


if __name__ == "__main__":
    raise SystemExit(main())
