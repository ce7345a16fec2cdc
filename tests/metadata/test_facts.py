"""What is taken from the manifests."""

from __future__ import annotations

import hashlib
from pathlib import Path

from sample_release import BRAIN, SPLEEN, sample

from pipeline.metadata.facts import Facts


def test_files_are_tars_and_manifests_with_the_digests_they_have(facts: Facts, release: Path) -> None:
    assert sorted(file.name for file in facts.files) == sorted(
        path.name for path in release.glob("Task*") if path.suffix in (".tar", ".jsonl")
    )
    for file in facts.files:
        content = (release / file.name).read_bytes()
        assert (file.size, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_every_case_has_a_row_with_the_digests_of_its_files(facts: Facts) -> None:
    spoken = sample()
    assert len(facts.rows) == 6
    for row in facts.rows:
        files = spoken[str(row["task"])].files
        assert row["image_sha256"] == hashlib.sha256(files[str(row["image"])]).hexdigest()
        assert (row["label"] == "") == (row["subset"] == "test")


def test_channels_and_classes_stand_in_the_order_of_the_release(facts: Facts) -> None:
    assert [(task.name, task.channels, task.classes) for task in facts.tasks] == [
        (BRAIN, ["FLAIR", "T1w"], ["background", "edema", "core"]),
        (SPLEEN, ["CT"], ["background", "spleen"]),
    ]
