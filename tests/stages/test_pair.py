"""What belongs to a mask is found beside it, and nowhere else."""

from __future__ import annotations

import pytest

from pipeline.model.series import Kind, SourceFile, SourceRef
from pipeline.stages.pair import Beside, pair


def mask(path: str, data: str = "", member: str | None = None) -> SourceFile:
    facts = {"data_file": data} if data else {}
    return SourceFile(SourceRef(path, member, "", 0), path, None, Kind.MASK, None, facts)


def other(path: str, member: str | None = None, describes: bool = False) -> SourceFile:
    facts = {"describes_labels": True} if describes else {}
    return SourceFile(SourceRef(path, member, "", 0), path, None, Kind.OTHER, "not-dicom", facts)


def test_the_voxels_are_in_the_file_that_the_header_names() -> None:
    header, raw = mask("/a/x.mhd", "x.raw"), other("/a/x.raw")

    assert pair([raw, header, other("/a/y.raw")]) == {header.ref: Beside(data=raw)}


@pytest.mark.parametrize("place", ["/b/x.raw", "/a/b/x.raw", "/x.raw"])
def test_a_file_of_another_folder_does_not_belong(place: str) -> None:
    assert pair([mask("/a/x.mhd", "x.raw"), other(place)]) == {}


def test_an_archive_is_no_folder_of_another_s_files() -> None:
    inside = mask("/a.zip", "x.raw", "d/x.nhdr")
    own, strange = other("/a.zip", "d/x.raw"), other("/b.zip", "d/x.raw")

    assert pair([inside, strange, own, other("/d/x.raw")]) == {inside.ref: Beside(data=own)}


def test_names_that_differ_by_case_count_only_where_no_other_does() -> None:
    header, small, large = mask("/a/X.HDR", "X.img"), other("/a/x.img"), other("/a/X.IMG")

    assert pair([header, large]) == {header.ref: Beside(data=large)}
    assert pair([header, small, large]) == {}
    assert pair([header, small, large, other("/a/X.img")])[header.ref].data == other("/a/X.img")


def test_a_header_that_names_itself_has_no_voxels() -> None:
    assert pair([mask("/a/x.mhd", "x.mhd")]) == {}


def test_a_description_belongs_to_the_mask_of_its_name() -> None:
    one, two = mask("/a/one.nii.gz"), mask("/a/two.nii.gz")
    first, second = other("/a/one.txt", describes=True), other("/a/two.label", describes=True)

    assert pair([one, two, first, second]) == {one.ref: Beside(names=first), two.ref: Beside(names=second)}


def test_the_only_description_of_a_folder_belongs_to_all_its_masks() -> None:
    one, two = mask("/a/one.nii.gz"), mask("/a/two.nii.gz")
    shared, own = other("/a/labels.txt", describes=True), other("/a/two.txt", describes=True)

    assert pair([one, two, shared, own]) == {one.ref: Beside(names=shared), two.ref: Beside(names=own)}


def test_two_descriptions_of_other_names_belong_to_no_mask() -> None:
    files = [mask("/a/one.nii.gz"), *(other(f"/a/{name}.txt", describes=True) for name in ("x", "y"))]

    assert pair(files) == {}


def test_text_that_describes_no_labels_does_not_belong() -> None:
    assert pair([mask("/a/one.nii.gz"), other("/a/one.txt")]) == {}
