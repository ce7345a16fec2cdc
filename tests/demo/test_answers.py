from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
from phantom_reading import Phantom
from pydicom import Dataset

from pipeline.demo.answers import ABOUT, identities

TECHNICAL = {
    "AcquisitionMatrix", "AlgorithmFamily", "BodyPartExamined", "CodeMeaning", "CodeValue",
    "CodingSchemeDesignator", "ContentDescription", "ContentLabel", "ContrastBolusAgent",
    "ConvolutionKernel", "FileSetID", "ImagedNucleus", "ImplementationVersionName", "Manufacturer",
    "ManufacturerModelName", "MappingResource", "PositionReferenceIndicator", "ProtocolName", "ROIName",
    "SegmentLabel", "SegmentDescription", "SequenceName", "SeriesDescription", "SoftwareVersions",
    "StructureSetLabel", "DimensionDescriptionLabel", "SegmentAlgorithmName", "AlgorithmName",
    "AlgorithmVersion", "ContextUID", "CodingSchemeName", "ContributionDescription",
    "CodingSchemeResponsibleOrganization", "CodingSchemeExternalID", "CodingSchemeVersion", "RescaleType",
}  # fmt: skip
"""Short texts that say what was scanned and how, not whom."""


SAFE_PRIVATE = {"GE_GENESIS_FF", "CT01", "FoV 33*26", "+LPH"}
STATION = "PHANTOM-TURNED"
"""The rules name it, so a manifest does, too."""


def harvested(dataset: Dataset) -> set[str]:
    """Return every text of a dataset that could name somebody or something of theirs."""
    found: set[str] = set()
    for element in dataset.iterall():
        values = element.value if element.VM > 1 else [element.value]
        texts = {str(value) for value in values if len(str(value)) >= 4}
        if element.VR == "UI":
            found |= {text for text in texts if text.startswith("2.25.")}
        elif (
            element.VR in ("PN", "LO", "SH", "LT", "ST", "UT", "DA", "AE")
            and element.keyword not in TECHNICAL
        ):
            found |= set() if element.tag.is_private_creator else texts
    return found


def test_every_person_place_number_date_and_uid_in_the_headers_is_listed(phantom: Phantom) -> None:
    found = set().union(*map(harvested, phantom.datasets.values()))

    assert found - phantom.identities == SAFE_PRIVATE | {STATION}


def test_every_name_of_a_subjects_folder_is_listed(phantom: Phantom) -> None:
    folders = {name.split("/")[0] for task in phantom.truth["tasks"] for name in folders_of(phantom, task)}

    assert {folder.removesuffix(".zip").removesuffix(".tar.gz") for folder in folders} <= phantom.identities


def folders_of(phantom: Phantom, task: str) -> list[str]:
    return [path.name for path in (phantom.folder / "source" / task).iterdir() if path.name != "cases.csv"]


def test_names_that_labels_and_rubbish_quote_are_listed(phantom: Phantom) -> None:
    quoted = 0
    for name, content in phantom.files.items():
        if name.endswith(".nii.gz"):
            image = nib.Nifti1Image.from_bytes(gzip.decompress(content))
            words = image.header["descrip"].item().decode().split()
            assert words[0] == "seg"
            assert set(words[1:]) <= phantom.identities
            quoted += 1

    assert quoted


def test_no_identity_says_what_a_release_must_say(phantom: Phantom) -> None:
    public = {"PHANTOM-TURNED", "Phantom", "training", "axial", "liver", "spleen"}

    assert not phantom.identities & public
    assert all(len(text) >= 4 for text in phantom.identities)


def test_truth_images_are_ras_and_say_so_twice(phantom: Phantom) -> None:
    for _, subject in phantom.subjects():
        for entry in (*subject["channels"].values(), *filter(None, [subject["label"]])):
            image = nib.Nifti1Image.from_filename(phantom.folder / "truth" / entry["file"])
            assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
            assert np.abs(image.get_qform() - image.get_sform()).max() < 1e-4
            assert list(image.shape) == entry["shape"]
            assert np.abs(image.affine - entry["affine"]).max() < 1e-4


def test_labels_lie_on_the_grid_of_the_first_channel(phantom: Phantom) -> None:
    for _, subject in phantom.subjects():
        if subject["label"] is not None:
            first = next(iter(subject["channels"].values()))
            assert subject["label"]["shape"] == first["shape"]
            assert subject["label"]["affine"] == first["affine"]


def test_the_truth_explains_itself(phantom: Phantom) -> None:
    subject = phantom.truth["tasks"]["Task03_Liver"]["subjects"][0]
    unexplained = {"token", "study", "frame_of_reference", "plane", "position", "vendor", "syntax"}

    assert phantom.truth["about"] == ABOUT
    assert {key for key in subject if f"`{key}`" not in ABOUT and key not in ABOUT} <= unexplained


def test_identities_are_sorted_lines_without_short_words() -> None:
    assert identities(["Zwei", "abc", "Eins", "Zwei"]) == b"Eins\nZwei\n"
