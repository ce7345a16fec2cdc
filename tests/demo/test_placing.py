from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
from phantom_reading import Phantom, along_normal

from pipeline.demo.header import Study
from pipeline.demo.placing import Placing, Sent
from pipeline.demo.sites import SITES, patient


def test_one_subject_comes_in_a_zip_and_one_in_a_tar_gz(phantom: Phantom) -> None:
    packed = [path.name for path in (phantom.folder / "source").glob("*/*") if path.suffix in (".zip", ".gz")]

    assert sorted(name.split(".", 1)[1] for name in packed) == ["tar.gz", "zip"]
    # Inside, the names still name the person.
    for name in packed:
        assert any(inner.startswith(f"{name}/{name.split('.')[0]}/") for inner in phantom.files)


def test_most_files_have_no_extension_and_lie_at_different_depths(phantom: Phantom) -> None:
    kinds = Counter(bool(Path(name).suffix) for name in phantom.files)
    depths = {name.count("/") for name in phantom.files}

    assert kinds[False] > 500 < kinds[True]
    assert len(depths) >= 4


def test_names_of_files_do_not_follow_the_slices(phantom: Phantom) -> None:
    for _, subject in phantom.subjects():
        for channel in subject["channels"].values():
            slices = [
                dataset
                for _, dataset in sorted(phantom.datasets.items())
                if dataset.get("SeriesInstanceUID") == channel["series"]
            ]
            along = [along_normal(s) for s in slices]

            assert along not in (sorted(along), sorted(along, reverse=True))


def test_some_instance_numbers_run_along_some_against_and_some_across(phantom: Phantom) -> None:
    kinds = set()
    for _, subject in phantom.subjects():
        for channel in subject["channels"].values():
            slices = sorted(phantom.series[channel["series"]], key=lambda s: int(s.InstanceNumber))
            steps = np.diff([along_normal(s) for s in slices])
            kinds.add("along" if (steps > 0).all() else "against" if (steps < 0).all() else "across")

    assert kinds == {"along", "against", "across"}


def test_labels_lie_beside_the_images_or_in_a_folder_of_their_own(phantom: Phantom) -> None:
    sources = [subject["label"]["source"] for _, subject in phantom.subjects() if subject["label"]]

    assert any("/labels/" in source for source in sources)
    assert any("/" in source and "/labels/" not in source for source in sources)
    for task, subject in phantom.subjects():
        if subject["label"]:
            assert (phantom.folder / "source" / task / subject["label"]["source"]).is_file()


def test_archives_are_the_same_bytes_in_any_order_of_files(phantom: Phantom) -> None:
    names = ["b/2", "a/1", "c"]
    forward = {name: name.encode() for name in names}
    backward = {name: name.encode() for name in reversed(names)}
    for task, index in (("Task06_Lung", 1), ("Task10_Colon", 2)):
        placing = Placing(_study(task), index)
        digests = {
            hashlib.sha256(next(iter(placing.packed(files).values()))).hexdigest()
            for files in (forward, backward)
        }
        assert len(digests) == 1


def test_what_is_sent_adds_up() -> None:
    both = Sent({"a": b"1"}, []) + Sent({"b": b"2"}, [])

    assert both.files == {"a": b"1", "b": b"2"}


def _study(task: str) -> Study:
    return Study(patient(SITES[0], seed=(0,)), SITES[0], "CT", "CHEST", (0, task, 0))
