"""The small sizes of benchmarks/deid: what they measure holds, and each can fail."""

from __future__ import annotations

import base64
import gzip
import importlib
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from types import ModuleType

import pytest

from pipeline.io.policy import load_policy

BENCHMARKS = Path(__file__).parents[1] / "benchmarks" / "deid"
SAMPLE = {
    "00080018", "00100020", "00100010", "PRIVATE", "00080030", "00081110", "00020003", "60xx3000",
    "00080020", "00101030", "00041511", "00101010",
}  # fmt: skip
"""Rows of each kind: instance UID, patient ID, private, a time, a sequence, file meta, overlays, a date, a number."""


@pytest.fixture(scope="module")
def benchmark() -> Iterator[dict[str, ModuleType]]:
    names = ("everywhere", "mutate", "key", "plant", "samples", "score", "study")
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield {name: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(str(BENCHMARKS))
        for name in names:
            sys.modules.pop(name, None)


def test_the_verifier_is_green_with_all_rules_on_and_red_without_any_of_a_sample(
    benchmark: dict[str, ModuleType], tmp_path: Path
) -> None:
    rows = [row for row in load_policy().rows if row.tag in SAMPLE]
    assert len(rows) == len(SAMPLE)
    verdicts = list(benchmark["mutate"].verdicts(rows, 3, tmp_path))

    (_, with_all), *others = verdicts
    assert with_all.findings == ()
    assert [row.name for row, report in others if not report.findings] == []


def test_every_answer_of_the_key_is_right_and_the_sources_themselves_fail_it(
    benchmark: dict[str, ModuleType], tmp_path: Path
) -> None:
    module = benchmark["key"]
    counts = module.measured(tmp_path / "one", 5, 2)
    assert [action for action, is_right in counts if not is_right] == []

    key = module.write_corpus(tmp_path / "two", 5, 2)
    untouched = {path.name: path.read_bytes() for path in (tmp_path / "two" / "source").iterdir()}
    failed = {action for action, is_right in module.scored(key, untouched) if not is_right}
    assert failed - {"text_notnull"} == module.LEAKS


def test_what_is_planted_in_a_study_is_there_to_be_found(
    benchmark: dict[str, ModuleType], tmp_path: Path
) -> None:
    planted = benchmark["study"].write_studies(tmp_path, 4)
    kinds = {one.kind for one in planted}
    assert {"ROI name", "NIfTI descrip", "gzip name", "NRRD comment", "MHA patient", "file name"} <= kinds
    assert (len(kinds), len(planted)) > (120, 600)


def hiding_places(name: str) -> dict[str, bytes]:
    """File names, and contents that hold a name each in another way."""
    text = name.encode()
    tar, packed, table = BytesIO(), BytesIO(), BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        info = tarfile.TarInfo("member")
        info.uname = name
        archive.addfile(info)
    with zipfile.ZipFile(table, "w", zipfile.ZIP_DEFLATED) as written:
        written.writestr("sheet.xml", text * 9)
    with gzip.GzipFile(name, "wb", fileobj=packed) as stream:
        stream.write(b"nothing")
    chunk = b"zTXtAuthor\0\0" + zlib.compress(text)
    picture = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(chunk) - 4) + chunk + bytes(4)
    pixels = b"IDAT" + zlib.compress(b"nothing")
    picture += struct.pack(">I", len(pixels) - 4) + pixels + bytes(4)
    return {
        f"{name}.txt": b"", "plain.log": text, "owner.tar": tar.getvalue(), "name.gz": packed.getvalue(),
        "volume.nii.gz": gzip.compress(bytes(352) + text), "table.xlsx": table.getvalue(), "sheet.png": picture,
        "release.tar.gz": gzip.compress(tar.getvalue()), "page.html": b"image/png;base64," + base64.b64encode(picture),
        "wide.json": name.encode("utf-16-le"), "hex.jsonl": text.hex().encode(),
    }  # fmt: skip


def test_a_name_is_found_wherever_a_command_leaves_or_says_it_unless_that_is_private(
    benchmark: dict[str, ModuleType], tmp_path: Path
) -> None:
    module, name = benchmark["everywhere"], "Quavexzorlum"
    made = module.Scene(tmp_path, [benchmark["plant"].Planted("name", name)], scratch=tmp_path / "scratch")
    for place, content in hiding_places(name).items():
        path = made.desk / place
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        assert module.findings(made), place
        path.unlink()
    made.scratch.mkdir()
    (made.desk / "ws" / "private").mkdir(parents=True)
    (made.desk / "ws" / "private" / "fates.csv").write_text(name)
    made.said.append(b"files: 1 of 9\r\x1b[2K")
    assert not module.findings(made)
    for left in (made.scratch / "left.tmp", made.desk / "ws" / "privately.txt"):
        left.write_text(name)
        assert module.findings(made), left
        left.unlink()
    made.said.append(name[:5].encode() + b"\x1b[1A\r\n" + name[5:].encode())
    assert module.findings(made)


@pytest.mark.slow
def test_nothing_of_a_planted_study_is_in_its_volumes_or_its_release(
    benchmark: dict[str, ModuleType], tmp_path: Path
) -> None:
    study = benchmark["study"]
    for way, outcome in study.outcomes(4, tmp_path).items():
        assert outcome.written == study.WRITTEN[way]
        assert not outcome.survivors
