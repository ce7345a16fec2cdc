"""The small sizes of benchmarks/deid: what they measure holds, and each can fail."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
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
    names = ("mutate", "key", "plant", "samples", "score", "study")
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


@pytest.mark.slow
def test_nothing_of_a_planted_study_is_in_its_volumes_or_its_release(
    benchmark: dict[str, ModuleType], tmp_path: Path
) -> None:
    study = benchmark["study"]
    for way, outcome in study.outcomes(4, tmp_path).items():
        assert outcome.written == study.WRITTEN[way]
        assert not outcome.survivors
