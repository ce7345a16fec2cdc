"""Switch each row of the confidentiality table off in turn, and see that the verifier finds it.

    python benchmarks/deid/mutate.py [--every N] [--seed N]

One invented CT image holds every attribute that PS3.15 Table E.1-1 lists, each with a value of its own. A rule is
off when both gates let the attribute through as it is, at every level, and nothing is put in its place. The image is
then de-identified, written, and verified. The exit code is 1 when the verifier stays green for any rule, or is red
with every rule on.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.tag import BaseTag
from pydicom.uid import ExplicitVRLittleEndian

sys.path.insert(0, str(Path(__file__).parent))

from plant import Inventor, _ct, _pixels

from pipeline.io.dicom import read_dataset
from pipeline.io.policy import load_policy
from pipeline.io.quiet import hush
from pipeline.io.workspace import create
from pipeline.model.deid import Act, Check, Found, Gate, Handling, Policy, Row, Subject
from pipeline.model.identified import Identified
from pipeline.stages import deidentify as stage
from pipeline.verify import Made, PrivacyReport, Source, verify_instances

CREATOR, PRIVATE = "QUAVEX SYSTEMS", 0x00091001
PLACES = {"50xxxxxx": 0x50003000, "60xx3000": 0x60003000, "60xx4000": 0x60004000, "PRIVATE": PRIVATE}
"""Where a row of many attributes is planted."""

INSTANCE = BaseTag(0x00080018)


@dataclass(frozen=True, slots=True)
class Kept:
    """A rule that is off: whatever stands there passes."""

    act: Act = Act.KEPT

    def clean(self, found: Found, subject: Subject) -> bytes | None:
        """Let everything through."""
        return found.value


def place_of(row: Row) -> int:
    """Return the tag at which a row's attribute is planted."""
    return PLACES.get(row.tag) or int(row.tag, 16)


def vr_of(tag: int) -> str:
    """Return the representation in which an attribute is planted; of one that the dictionary lacks, a text's."""
    if tag == PRIVATE or not dictionary_has_tag(tag):
        return "LO"
    vr = dictionary_VR(tag).split(" or ")[0]
    return "OB" if vr == "UN" else vr


def element(tag: int, vr: str, value: bytes) -> RawDataElement:
    """Return an element as an explicit little-endian file holds it."""
    padded = value + (b"\0" if vr in ("UI", "OB", "OW") else b" ") * (len(value) % 2)
    return RawDataElement(BaseTag(tag), vr, len(padded), padded, 0, False, True)


def planted_value(vr: str, number: int, invent: Inventor) -> bytes:
    """Return a value that names somebody, of the representation where it has one that could pass."""
    name = f"{invent.name('row')}{number:03d}"
    if vr == "SQ":
        inner = element(0x00100010, "PN", name.encode())
        body = b"\x10\0\x10\0PN" + len(inner.value).to_bytes(2, "little") + inner.value
        return b"\xfe\xff\0\xe0" + len(body).to_bytes(4, "little") + body
    values = {
        "UI": f"1.2.999.{number}.{int(invent.random.integers(10**8))}", "DA": invent.day("row"),
        "DT": f"{invent.day('row')}101530", "DS": f"{invent.random.integers(10**9, 10**10)}",
        "IS": f"{invent.random.integers(10**8, 10**9)}",
    }  # fmt: skip
    packed = int(invent.random.integers(2**12, 2**15)).to_bytes(2, "little")
    return packed if vr == "US" else values.get(vr, name[:16] if vr in ("SH", "AE", "CS") else name).encode()


def source(policy: Policy, seed: int) -> Dataset:
    """Make the image that holds every attribute of the table."""
    random = np.random.Generator(np.random.PCG64(seed))
    invent = Inventor(random)
    dataset = _ct(random, ExplicitVRLittleEndian)
    _pixels(dataset, random, invent)
    for number, row in enumerate(policy.rows):
        tag = place_of(row)
        invent.days = number % 30
        vr = vr_of(tag)
        if tag >> 16 != 2:
            dataset._dict[BaseTag(tag)] = element(tag, vr, planted_value(vr, number, invent))
    dataset._dict[BaseTag(0x00090010)] = element(0x00090010, "LO", CREATOR.encode())
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.999.2.3"
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    return dataset


def without(policy: Policy, row: Row) -> Policy:
    """Return the policy with a row's rule switched off, in both gates."""
    tag, everything = place_of(row), frozenset(Act)
    vr = vr_of(tag)
    keep: Check = Kept()
    handling = Handling(row.name, (vr,), keep)
    purposes = {}
    for uid, purpose in policy.purposes.items():
        gate = Gate(
            {**purpose.gate.exact, tag: everything},
            purpose.gate.patterns,
            everything if tag == PRIVATE else purpose.gate.private,
        )
        purposes[uid] = replace(purpose, gate=gate)
    private = (
        {**policy.private, (CREATOR, PRIVATE >> 16, 0x01): handling} if tag == PRIVATE else policy.private
    )
    scopes = {name: {**scope, tag: handling} for name, scope in policy.scopes.items()}
    return replace(policy, purposes=purposes, scopes=scopes, private=private)


def written(dataset: Dataset) -> bytes:
    """Write a dataset as a file, elements too that no file may hold (commands, directories)."""
    stream = DicomFileLike(BytesIO())
    stream.is_little_endian, stream.is_implicit_VR = True, False
    stream.write(bytes(128) + b"DICM")
    write_file_meta_info(stream, dataset.file_meta, enforce_standard=True)
    dataset.set_original_encoding(False, True, "iso8859")
    write_dataset(stream, dataset)
    content: bytes = stream.parent.getvalue()
    return content


def cleaned(original: Dataset, policy: Policy, key: Any, row: Row | None) -> Dataset:
    """De-identify; with a row whose rule is off, keep also what is made anew whatever the gates say."""
    tag = None if row is None else place_of(row)
    made = stage._identity

    def identity(dataset: Dataset, visit: Any) -> Any:
        elements = made(dataset, visit)
        return {k: v for k, v in elements.items() if k != INSTANCE} if tag == INSTANCE else elements

    with mock.patch.object(stage, "_identity", identity):
        (out,) = stage.deidentify(Identified([original]), policy=policy, key=key).value
    if tag is not None and tag >> 16 == 2:
        out.file_meta[tag] = original.file_meta[tag]
    return out


def verified(folder: Path, original: bytes, out: Dataset, workspace: Path) -> PrivacyReport:
    """Verify what was written of a dataset."""
    before = folder / "source" / "image.dcm"
    before.parent.mkdir(exist_ok=True)
    before.write_bytes(original)
    file = f"{out.get('PatientID') or 'nobody'}/x.dcm".replace(" ", "")
    after = folder / "out"
    for path in after.rglob("*.dcm"):
        path.unlink()
    (after / file).parent.mkdir(parents=True, exist_ok=True)
    (after / file).write_bytes(written(out))
    ref = Source(str(before), None, hashlib.sha256(original).hexdigest(), len(original))
    return verify_instances([Made(ref, file)], after, workspace)


def verdicts(rows: Sequence[Row], seed: int, folder: Path) -> Iterator[tuple[Row | None, PrivacyReport]]:
    """Yield what the verifier says with all rules on, then with each of the rows' rules off."""
    workspace, policy = create(folder / "workspace"), load_policy()
    original = written(source(policy, seed))
    dataset = read_dataset(original)
    for row in (None, *rows):
        spoilt = policy if row is None else without(policy, row)
        out = cleaned(dataset, spoilt, workspace.key(), row)
        yield row, verified(folder, original, out, workspace.root)


def main() -> int:
    """Print each rule that the verifier does not miss."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="only every N-th rule")
    parser.add_argument("--seed", type=int, default=1)
    words = parser.parse_args()
    hush()
    red = green = 0
    with tempfile.TemporaryDirectory() as folder:
        for row, report in verdicts(load_policy().rows[:: words.every], words.seed, Path(folder)):
            if row is None:
                for leak in report.findings:
                    print(f"red with every rule on: {leak}")
                green += bool(report.findings)
            else:
                red += bool(report.findings)
                green += not report.findings
                if not report.findings:
                    print(f"green without {row.tag} {row.name}")
    print(f"{red} rules switched off in turn made the verifier red, {green} wrong", file=sys.stderr)
    return int(bool(green))


if __name__ == "__main__":
    raise SystemExit(main())
