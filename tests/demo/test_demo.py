from __future__ import annotations

import csv
import hashlib
import io
import os
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from phantom_reading import Phantom, read_by_hand

from pipeline.demo import make
from pipeline.demo.cases import TASKS
from pipeline.model.errors import UsageError
from pipeline.model.volume import corner_distance

SPLEEN = ("Task09_Spleen",)


def silent(line: str) -> None:
    """Say nothing."""


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# The sources, read by others, give the truth


def test_every_channel_read_by_hand_is_the_truth(phantom: Phantom) -> None:
    for task, subject in phantom.subjects():
        for channel in subject["channels"].values():
            image = read_by_hand(phantom.series[channel["series"]])
            values, (wanted, affine) = image.get_fdata(), phantom.load(channel["file"])
            if subject["turned"]:
                values = values[::-1, ::-1]
            assert values.shape == wanted.shape
            assert corner_distance(wanted.shape, image.affine, affine) < 1e-4
            if channel["quantity"] == "arbitrary":
                slope, intercept = np.polyfit(wanted.ravel().astype(float), values.ravel(), 1)
                values = (values - intercept) / slope
                assert slope > 0
            assert np.abs(values - wanted).max() < 1e-6, (task, subject["token"])


@pytest.mark.parametrize(
    ("task", "index", "channel"),
    [
        ("Task03_Liver", 0, "CT"),  # axial, head first
        ("Task03_Liver", 2, "CT"),  # axial, feet first
        ("Task02_Heart", 0, "MRI"),  # oblique
        ("Task02_Heart", 2, "MRI"),  # coronal
        ("Task05_Prostate", 1, "T2"),  # tilted
        ("Task05_Prostate", 2, "ADC"),
    ],
)
def test_itk_reads_the_truth_from_the_files(
    phantom: Phantom, tmp_path: Path, task: str, index: int, channel: str
) -> None:
    subject = phantom.truth["tasks"][task]["subjects"][index]
    wanted = subject["channels"][channel]
    for number, dataset in enumerate(deepcopy(phantom.series[wanted["series"]])):
        # ITK knows neither all syntaxes nor archives; what is written again is the decoded value.
        dataset.decompress() if dataset.file_meta.TransferSyntaxUID.is_compressed else None
        dataset.save_as(tmp_path / f"{number}.dcm")
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path), wanted["series"]))
    image = SimpleITK.DICOMOrient(reader.Execute(), "RAS")
    values, (truth, affine) = SimpleITK.GetArrayFromImage(image).T, phantom.load(wanted["file"])
    fitted = np.polyval(np.polyfit(truth.ravel().astype(float), values.ravel().astype(float), 1), truth)
    expected = truth if wanted["quantity"] != "arbitrary" else fitted

    assert np.abs(values - expected).max() < 1e-3
    for corner in ((0, 0, 0), tuple(n - 1 for n in truth.shape)):
        place = np.array(image.TransformContinuousIndexToPhysicalPoint([float(c) for c in corner]))
        assert np.abs(place * (-1, -1, 1) - nib.affines.apply_affine(affine, corner)).max() < 1e-4


def test_turned_cases_are_named_by_their_station_and_no_others(phantom: Phantom) -> None:
    turned = [subject for _, subject in phantom.subjects() if subject["turned"]]
    stations = {
        str(slices[0].StudyInstanceUID)
        for slices in phantom.series.values()
        if slices[0].get("StationName") == "PHANTOM-TURNED"
    }

    assert [subject["case"] for subject in turned] == ["la_004"]
    assert stations == {subject["study"] for subject in turned}


def test_no_image_equals_its_own_mirror_or_half_turn(phantom: Phantom) -> None:
    for _, subject in phantom.subjects():
        for entry in (*subject["channels"].values(), *filter(None, [subject["label"]])):
            values, _ = phantom.load(entry["file"])
            flips = [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]
            assert not any(np.array_equal(values, np.flip(values, axes)) for axes in flips)
            assert len(set(values.shape)) == 3


def test_no_two_subjects_look_alike(phantom: Phantom) -> None:
    images = [
        hashlib.sha256(phantom.load(channel["file"])[0].tobytes()).hexdigest()
        for _, subject in phantom.subjects()
        for channel in subject["channels"].values()
    ]

    assert len(set(images)) == len(images)


# Tables and subsets


def test_case_tables_name_published_cases_and_labels_that_are_there(phantom: Phantom) -> None:
    for task in ("Task02_Heart", "Task05_Prostate", "Task09_Spleen"):
        folder = phantom.folder / "source" / task
        rows = list(csv.DictReader(io.StringIO((folder / "cases.csv").read_text())))
        subjects = phantom.truth["tasks"][task]["subjects"]

        assert [row["case"] for row in rows] == [subject["case"] for subject in subjects]
        assert [row["subject"] for row in rows] == [subject["patient_id"] for subject in subjects]
        assert [row["subset"] for row in rows] == ["training", "training", "training", "test"]
        assert all((folder / row["label"]).is_file() for row in rows if row["label"])


def test_a_quarter_of_the_subjects_without_a_table_has_no_label(phantom: Phantom) -> None:
    for task in ("Task03_Liver", "Task06_Lung", "Task10_Colon"):
        subjects = phantom.truth["tasks"][task]["subjects"]

        assert [subject["subset"] for subject in subjects] == [None, None, None, "test"]
        assert [subject["label"] is None for subject in subjects] == [False, False, False, True]
        assert all(subject["case"] is None for subject in subjects)
        assert not (phantom.folder / "source" / task / "cases.csv").exists()


def test_every_label_holds_every_class(phantom: Phantom) -> None:
    classes = {plan.task: len(plan.class_names) for plan in TASKS}
    for task, subject in phantom.subjects():
        if subject["label"] is not None:
            values, _ = phantom.load(subject["label"]["file"])
            assert set(np.unique(values)) == set(range(classes[task] + 1))


# The same bytes


def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from pipeline.demo import make; "
        "make(Path(sys.argv[1]), tasks=['Task07_Pancreas'], cases=3, seed=5, tell=str)"
    )
    for name, zone in (("one", "UTC"), ("two", "Pacific/Auckland")):
        environment = {**os.environ, "TZ": zone, "PYTHONHASHSEED": str(len(zone))}
        subprocess.run([sys.executable, "-c", program, tmp_path / name], check=True, env=environment)

    assert digests(tmp_path / "one") == digests(tmp_path / "two") != {}


def test_more_cases_leave_the_first_ones_as_they_are(tmp_path: Path) -> None:
    for name, cases in (("few", 1), ("more", 2)):
        make(tmp_path / name, tasks=SPLEEN, cases=cases, seed=0, tell=silent)
    few, more = (digests(tmp_path / name / "source") for name in ("few", "more"))
    del few["Task09_Spleen/cases.csv"]

    assert few.items() < more.items()


def test_another_seed_makes_other_people(tmp_path: Path) -> None:
    for seed in (0, 1):
        make(tmp_path / str(seed), tasks=SPLEEN, cases=1, seed=seed, tell=silent)
    first, second = (Phantom(tmp_path / str(seed)) for seed in (0, 1))
    people = [next(phantom.subjects())[1]["patient_id"] for phantom in (first, second)]

    assert people[0] != people[1]


def test_the_key_is_a_workspace_key_for_the_owner_alone(phantom: Phantom) -> None:
    key = phantom.folder / "truth/demo.key"

    assert len(bytes.fromhex(key.read_text())) == 32
    assert key.stat().st_mode & 0o777 == 0o600


# Refusals


@pytest.mark.parametrize("taken", ["source", "truth"])
def test_what_is_there_already_is_left_alone(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).mkdir()
    (tmp_path / taken / "mine").write_text("mine")
    with pytest.raises(UsageError, match="output-exists"):
        make(tmp_path, tasks=SPLEEN, cases=1, seed=0, tell=silent)

    assert [path.name for path in tmp_path.rglob("*")] == [taken, "mine"]


def test_empty_folders_and_leftovers_of_a_killed_run_are_used(tmp_path: Path) -> None:
    for folder in ("source", "truth", ".unfinished-demo/source/half"):
        (tmp_path / folder).mkdir(parents=True)
    summary = make(tmp_path, tasks=SPLEEN, cases=1, seed=0, tell=silent)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "truth"]
    assert summary.files == sum(path.is_file() for path in summary.source.rglob("*"))


def test_a_run_that_dies_leaves_nothing_under_the_final_names(tmp_path: Path) -> None:
    def die(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, tasks=SPLEEN, cases=1, seed=0, tell=die)

    assert [path.name for path in tmp_path.iterdir()] == [".unfinished-demo"]


@pytest.mark.parametrize(
    ("tasks", "cases"), [(("Task11_Nose",), 1), (SPLEEN, 0), (("Task02_Heart",), 27), (SPLEEN, -1)]
)
def test_what_cannot_be_made_is_refused_before_anything_is_written(
    tmp_path: Path, tasks: tuple[str, ...], cases: int
) -> None:
    with pytest.raises(UsageError, match="bad-usage"):
        make(tmp_path, tasks=tasks, cases=cases, seed=0, tell=silent)

    assert not list(tmp_path.iterdir())
