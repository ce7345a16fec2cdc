"""Series without a task: de-identified NIfTI and DICOM, masks on their images' grids, every file a fate."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lettered import tissue
from placed_source import Source
from pydicom.misc import is_dicom
from pydicom.uid import ExplicitVRLittleEndian, RLELossless
from unconfined import unconfined

from pipeline import export
from pipeline.demo import make
from pipeline.io import lettering
from pipeline.model.errors import FAULTS, UsageError
from pipeline.model.exposure import Box, Screening
from pipeline.model.identified import Key
from pipeline.model.record import Note
from pipeline.model.series import Kind, SourceFile, SourceRef

KEY = Key(bytes(range(32)))
TASK = "Task08_HepaticVessel"
UNSEARCHED = export.Choices(screening=Screening("What is asked here has nothing to do with lettering."))
"""To be ready to find lettering takes a process a second."""


def quiet(what: str, done: int, total: int) -> None:
    """Tell nobody."""


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    make(folder, tasks=[TASK], cases=4, seed=0, tell=lambda what: None)
    return folder


@pytest.fixture(scope="module")
def converted(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, export.Exported]:
    folder = tmp_path_factory.mktemp("converted")
    return folder, export.convert_sources([phantom / "source"], folder, key=KEY, with_labels=True, told=quiet)


@pytest.fixture(scope="module")
def cleaned(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, export.Exported]:
    folder = tmp_path_factory.mktemp("cleaned")
    return folder, export.deidentify_sources([phantom / "source"], folder, key=KEY, told=quiet)


def truths(phantom: Path) -> list[dict[str, object]]:
    subjects: list[dict[str, object]] = json.loads((phantom / "truth/truth.json").read_text())["tasks"][TASK][
        "subjects"
    ]
    return subjects


def test_every_true_image_is_among_the_converted(
    phantom: Path, converted: tuple[Path, export.Exported]
) -> None:
    made = [nib.load(path) for path in converted[0].glob("*/image.nii.gz")]
    for subject in truths(phantom):
        (channel,) = subject["channels"].values()  # type: ignore[attr-defined]
        true = nib.load(phantom / "truth" / channel["file"])
        alike = [
            image for image in made
            if image.shape == true.shape and np.array_equal(np.asanyarray(image.dataobj), np.asanyarray(true.dataobj))
        ]  # fmt: skip
        assert len(alike) == 1
        assert np.abs(alike[0].affine - true.affine).max() < 1e-3


def test_masks_lie_on_their_images_grid_under_names_that_name_nobody(
    converted: tuple[Path, export.Exported],
) -> None:
    masks = sorted(converted[0].glob("*/labels/*.nii.gz"))
    assert masks
    for path in masks:
        image, mask = nib.load(path.parents[1] / "image.nii.gz"), nib.load(path)
        assert mask.shape == image.shape
        assert np.array_equal(mask.affine, image.affine)
        assert set(np.unique(np.asanyarray(mask.dataobj))) == {0, 1}


def test_what_became_of_each_region_lies_beside_its_image(converted: tuple[Path, export.Exported]) -> None:
    folder, exported = converted
    reports = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/labels.json")}
    assert reports == exported.labels == exported.to_json()["labels"]
    assert set(reports) == {path.parents[1].name for path in folder.glob("*/labels/*")}
    for name, drawings in reports.items():
        regions = [region for drawing in drawings for region in drawing["regions"]]
        assert {region["file"] for region in regions} == {
            path.name for path in (folder / name / "labels").iterdir()
        }
        for region in regions:
            mask = np.asanyarray(nib.load(folder / name / "labels" / region["file"]).dataobj)
            assert region["voxels"] == np.count_nonzero(mask)
        assert {drawing["source"] for drawing in drawings} <= {"RTSTRUCT", "SEG"}


def test_a_file_of_many_slices_has_one_fate_and_a_refusal_stands_before_use() -> None:
    made, ref = export.Exported(), SourceRef("/in/a", None, "a", 1)
    frames = [SourceFile(ref, "a", None, Kind.IMAGE, frame=number) for number in range(3)]
    made.fates += [(frame, "used") for frame in frames]
    assert (made.to_json()["files"], made.to_json()["fates"]) == (1, {"used": 1})
    made.fates.append((frames[0], "missing-slice"))
    made.fates.append((frames[1], "localizer"))
    assert (made.to_json()["fates"], made.used) == ({"missing-slice": 1}, 0)


def test_every_file_has_one_fate(phantom: Path, converted: tuple[Path, export.Exported]) -> None:
    refs = [file.ref for file, _ in converted[1].fates]
    assert len(refs) == len(set(refs))
    on_disk = {str(path) for path in (phantom / "source").rglob("*") if path.is_file()}
    assert {ref.path for ref in refs} == on_disk


@pytest.mark.parametrize("which", ["converted", "cleaned"])
def test_no_identity_is_in_what_is_written(which: str, phantom: Path, request: pytest.FixtureRequest) -> None:
    folder, made = request.getfixturevalue(which)
    identities = (phantom / "truth/identities.txt").read_text("utf-8").splitlines()
    # The hour of the day stays in de-identified DICOM: only the day is moved, so that intervals are kept.
    hours = re.compile(r"\d{6}\.\d{6}")
    needles = [text.encode("utf-8") for text in identities if len(text) >= 4 and not hours.fullmatch(text)]
    for path in (path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes() + str(path.relative_to(folder)).encode()
        assert not [needle for needle in needles if needle in content]
    assert not [text for text in identities if len(text) >= 4 and text in json.dumps(made.to_json())]


def test_cleaned_instances_read_as_dicom_with_their_pixels(cleaned: tuple[Path, export.Exported]) -> None:
    paths = sorted(cleaned[0].rglob("*.dcm"))
    assert len(paths) == cleaned[1].used
    for path in paths[:5]:
        dataset = pydicom.dcmread(path)
        assert dataset.PatientIdentityRemoved == "YES"
        assert dataset.SOPInstanceUID == path.stem
        assert dataset.pixel_array.size


def test_a_folder_in_use_is_not_written_to(phantom: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="output-exists"):
        export.convert_sources([phantom / "source"], tmp_path, key=KEY, with_labels=False, told=quiet)


def test_the_preview_says_what_is_made_and_writes_nothing(
    phantom: Path, converted: tuple[Path, export.Exported], tmp_path: Path
) -> None:
    before = sorted(phantom.rglob("*"))
    seen = export.preview_sources([phantom / "source"], key=KEY, told=quiet)
    assert seen.written == converted[1].written
    assert [row for row in converted[1].refused if "plane" in row] == seen.refused
    assert {file.ref for file, _ in seen.fates} == {file.ref for file, _ in converted[1].fates}
    assert sorted(phantom.rglob("*")) == before
    assert {row["quantity_evidence"] for row in seen.written} >= {"Modality CT, RescaleType HU"}


def test_sidecars_are_in_the_terms_of_bids(converted: tuple[Path, export.Exported]) -> None:
    for path in converted[0].glob("*/image.json"):
        terms = json.loads(path.read_text())
        image = nib.load(path.with_name("image.nii.gz"))
        assert terms["ConversionSoftware"] == "curate"
        assert terms["SpacingBetweenSlices"] == pytest.approx(max(image.header.get_zooms()), abs=2.5)
        assert isinstance(terms["SliceThickness"], float)
        assert terms["Modality"] in ("CT", "MR")
        assert terms["QuantityEvidence"].startswith(("Modality", "ImageType"))


def test_times_are_in_seconds_and_what_slices_disagree_on_is_left_out() -> None:
    slices = []
    for angle in (10, 20):
        one = pydicom.Dataset()
        one.EchoTime, one.RepetitionTime, one.FlipAngle, one.Manufacturer = 2.3, 1900, angle, "SIEMENS"
        slices.append(one)
    note = Note("convert", {"spacing_mm": "2.5", "quantity": "arbitrary", "quantity_evidence": "Modality MR"})
    terms = json.loads(export._sidecar(slices, [note]))
    assert (terms["EchoTime"], terms["RepetitionTime"], terms["Manufacturer"]) == (0.0023, 1.9, "SIEMENS")
    assert terms["SpacingBetweenSlices"] == 2.5
    assert "FlipAngle" not in terms


@pytest.mark.parametrize(("term", "symbol"), [("BQML", "Bq/mL"), ("GML", "g/mL"), ("CNTS", "CNTS")])
def test_units_of_pet_are_symbols_where_there_is_one(term: str, symbol: str) -> None:
    one = pydicom.Dataset()
    one.Units = term
    note = Note("convert", {"spacing_mm": "2.5", "quantity": "activity", "quantity_evidence": "Units"})
    assert json.loads(export._sidecar([one], [note]))["Units"] == symbol


@pytest.mark.slow
def test_contours_of_real_patients_become_their_reference_masks(real: Path, tmp_path: Path) -> None:
    made = export.convert_sources(
        [real / "ibsi-sts/dicom"], tmp_path / "out", key=KEY, with_labels=True, told=quiet, choices=UNSEARCHED
    )
    assert not made.refused
    ours = [nib.load(path) for path in (tmp_path / "out").rglob("labels/*.nii.gz")]
    references = sorted((real / "ibsi-sts/nifti").rglob("*mask.nii.gz"))
    assert len(references) == len(ours) == 12
    for path in references:
        reference = nib.as_closest_canonical(nib.load(path))
        data = np.asanyarray(reference.dataobj) > 0
        alike = [
            mask for mask in ours if mask.shape == reference.shape and np.array_equal(mask.dataobj, data)
        ]
        assert len(alike) == 1
        assert np.abs(alike[0].affine - reference.affine).max() < 1e-3


# --- A small real series, damaged ---------------------------------------------------------------------------------


@pytest.fixture
def small(real: Path, tmp_path: Path) -> Path:
    """A copy of 17 real CT slices, named by their place along the normal."""
    folder = tmp_path / "series"
    folder.mkdir()
    found = {}
    for path in (path for path in (real / "ct-small").rglob("*") if path.is_file() and is_dicom(path)):
        found[float(pydicom.dcmread(path, stop_before_pixels=True).ImagePositionPatient[2])] = path
    for number, place in enumerate(sorted(found)):
        shutil.copyfile(found[place], folder / f"{number:02d}")
    return folder


def made_of(folder: Path) -> tuple[list[object], set[str]]:
    """Return the voxel digests of what would be written, and the codes of what is not; every file has one fate."""
    made = export.preview_sources([folder], key=KEY, told=quiet, choices=UNSEARCHED)
    assert len({file.ref for file, _ in made.fates}) == len(list(folder.iterdir()))
    return [row["voxels"] for row in made.written], {str(row["code"]) for row in made.refused}


SOME = (0, 1, 8, 16)
EACH = [*SOME, *(pytest.param(n, marks=pytest.mark.slow) for n in range(17) if n not in SOME)]
CUTS = [0.01, 0.5, 0.999, *(pytest.param(n / 20, marks=pytest.mark.slow) for n in range(20))]


@pytest.mark.parametrize("number", EACH)
def test_a_slice_that_is_gone_is_missed_but_at_the_ends_where_nothing_can_tell(
    small: Path, number: int
) -> None:
    (small / f"{number:02d}").unlink()
    written, codes = made_of(small)
    assert (len(written), codes) == ((1, set()) if number in (0, 16) else (0, {"missing-slice"}))


@pytest.mark.parametrize("number", EACH)
def test_a_slice_that_is_there_twice_counts_once_or_refuses(small: Path, number: int) -> None:
    whole = made_of(small)
    shutil.copyfile(small / f"{number:02d}", small / "again")
    assert made_of(small) == whole
    other = pydicom.dcmread(small / "again")
    other.PixelData = other.PixelData[::-1]
    other.save_as(small / "again")
    assert made_of(small) == ([], {"conflicting-duplicates"})
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    other.save_as(small / "again")
    assert made_of(small) == ([], {"duplicate-positions"})


def test_names_of_files_decide_nothing(small: Path) -> None:
    whole = made_of(small)
    for number, path in enumerate(sorted(small.iterdir())):
        path.rename(small / f"z{(number * 7) % 17:02d}")
    assert made_of(small) == whole
    assert len(whole[0]) == 1


@pytest.mark.parametrize("share", CUTS)
def test_a_file_that_was_cut_stops_its_series(small: Path, share: float) -> None:
    content = (small / "05").read_bytes()
    (small / "05").write_bytes(content[: int(len(content) * share)])
    written, codes = made_of(small)
    assert not written
    assert codes <= {"truncated", "unreadable", "missing-slice"}


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=3))
def test_flipped_bits_of_a_header_end_in_a_code_or_in_a_volume(
    small: Path, flips: list[tuple[float, int]]
) -> None:
    content = bytearray((small / "03").read_bytes())
    for share, mask in flips:
        content[int(share * 2000)] ^= mask
    (small / "03b").write_bytes(content)
    written, codes = made_of(small)
    assert written or codes
    assert codes <= set(FAULTS)


def annotated(folder: Path) -> list[str | None]:
    return [
        pydicom.dcmread(path, stop_before_pixels=True).get("BurnedInAnnotation")
        for path in sorted(folder.rglob("*.dcm"))
    ]


@pytest.mark.parametrize("said", ["NO", ""])
def test_no_text_is_claimed_only_where_the_pixels_were_searched(
    said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, searched = Source(tissue((4, 40, 40)).transpose(2, 1, 0).astype(np.uint16)), []
    source.write(tmp_path / "in", PatientID="p", StudyInstanceUID="1.2", SeriesInstanceUID="1.2.3",
                 BurnedInAnnotation=said)  # fmt: skip
    monkeypatch.setattr(lettering, "require", lambda: None)
    monkeypatch.setattr(lettering, "is_worth_reading", lambda picture: True)
    monkeypatch.setattr(lettering, "find", lambda picture: searched.append(picture) or [])
    with unconfined():
        export.deidentify_sources([tmp_path / "in"], tmp_path / "out", key=KEY, told=quiet)
    assert (annotated(tmp_path / "out"), len(searched)) == (["NO"] * 4, 3)

    nobody = export.Choices(screening=Screening("Somebody looked at all of them before."))
    export.deidentify_sources([tmp_path / "in"], tmp_path / "un", key=KEY, told=quiet, choices=nobody)
    assert (annotated(tmp_path / "un"), len(searched)) == ([None] * 4, 3)


def test_a_series_in_which_text_is_found_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source(tissue((4, 40, 40)).transpose(2, 1, 0).astype(np.uint16))
    source.write(tmp_path / "in", PatientID="p", StudyInstanceUID="1.2", SeriesInstanceUID="1.2.3")
    monkeypatch.setattr(lettering, "require", lambda: None)
    monkeypatch.setattr(lettering, "is_worth_reading", lambda picture: True)
    monkeypatch.setattr(lettering, "find", lambda picture: [Box(2, 2, 9, 30)])
    with unconfined():
        made = export.deidentify_sources([tmp_path / "in"], tmp_path / "out", key=KEY, told=quiet)

    assert ([one["code"] for one in made.refused], annotated(tmp_path / "out")) == (["burned-in-text"], [])


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_an_image_with_bits_set_beside_its_numbers_is_not_written(syntax: str, tmp_path: Path) -> None:
    Source(np.arange(64, dtype=np.uint16).reshape(8, 8, 1)).write(
        tmp_path / "in", PatientID="p", StudyInstanceUID="1.2", SeriesInstanceUID="1.2.3"
    )
    (path,) = (tmp_path / "in").iterdir()
    dataset = pydicom.dcmread(path)
    dataset.BitsStored, dataset.HighBit = 12, 11
    dataset.PixelData = (np.arange(64, dtype="<u2") | 0x8000).tobytes()
    if syntax == RLELossless:
        dataset.compress(RLELossless, generate_instance_uid=False)
    dataset.save_as(path)
    with unconfined():
        made = export.deidentify_sources([tmp_path / "in"], tmp_path / "out", key=KEY, told=quiet)

    assert ([one["code"] for one in made.refused], annotated(tmp_path / "out")) == (["burned-in-text"], [])


def test_tiles_that_meet_in_one_picture_are_not_taken_for_lettering(real: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for name in ("0003.dcm", "0014.dcm"):
        shutil.copy(real / "mr-uih-grid" / name, source)
    made = export.deidentify_sources([source], tmp_path / "out", key=KEY, told=quiet)

    assert (made.refused, annotated(tmp_path / "out")) == ([], ["NO", "NO"])


# --- A series that ends the process that converts it ------------------------------------------------------------


class Deadly(export.Door):
    """A door at which the decoder crashes on one series, or on an instance of it."""

    def clean_images(self, refs: Any) -> Any:
        if len(refs) == 17 or refs[0].path.endswith("/poison/00"):
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().clean_images(refs)


@pytest.mark.parametrize("verb", ["convert", "deidentify"])
def test_a_series_that_ends_its_process_is_refused_and_the_others_are_written(
    verb: str, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    small.rename(source / "poison")
    well = Source(tissue((4, 40, 40)).transpose(2, 1, 0).astype(np.uint16))
    well.write(source / "well", PatientID="p", StudyInstanceUID="1.2", SeriesInstanceUID="1.2.3")
    monkeypatch.setattr(export, "Door", Deadly)
    if verb == "convert":
        made = export.convert_sources(
            [source], out, key=KEY, with_labels=True, told=quiet, choices=UNSEARCHED
        )
    else:
        made = export.deidentify_sources([source], out, key=KEY, told=quiet, choices=UNSEARCHED)

    assert [row["code"] for row in made.refused] == ["input-crashed"]
    assert sorted(code for _, code in made.fates) == ["input-crashed"] * 17 + ["used"] * 4
    assert len(list(out.rglob("*.nii.gz" if verb == "convert" else "*.dcm"))) == (
        1 if verb == "convert" else 4
    )
    assert len([path for path in out.iterdir() if path.is_dir()]) == 1


def test_a_segmentation_that_names_no_series_lies_on_the_one_image_whose_grid_it_fits(
    real: Path, tmp_path: Path
) -> None:
    sources = [real / "breast-ser-06", real / "seg-fixtures/segmentations/24x38x3/image"]
    exported = export.convert_sources(
        sources, tmp_path / "out", key=KEY, with_labels=True, told=quiet, choices=UNSEARCHED
    )
    assert "label-other-image" not in {fate for _, fate in exported.fates}
    (path,) = (tmp_path / "out").rglob("labels/*.nii.gz")
    assert path.parent.parent.name.split("_")[1].startswith("mr")
    label, image = nib.load(path), nib.load(path.parent.parent / "image.nii.gz")
    assert np.array_equal(label.affine, image.affine)
    assert np.asanyarray(label.dataobj).any()


def test_a_segmentation_that_names_no_series_and_fits_two_is_refused(real: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin"
    twin.mkdir()
    for path in (real / "breast-ser-06/image_dce_ser").iterdir():
        dataset = pydicom.dcmread(path)
        dataset.SeriesInstanceUID = "2.25.7"
        dataset.SOPInstanceUID = f"2.25.7{dataset.InstanceNumber}"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(twin / path.name)
    exported = export.convert_sources(
        [real / "breast-ser-06", twin],
        tmp_path / "out", key=KEY, with_labels=True, told=quiet, choices=UNSEARCHED,
    )  # fmt: skip
    assert "label-other-image" in {fate for _, fate in exported.fates}
    assert not list((tmp_path / "out").rglob("labels/*.nii.gz"))
