"""Files become images where a channel wants them, and bear the subject that their path says."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.model.rules import Source
from pipeline.model.series import Kind, SourceFile, SourceRef, Stack
from pipeline.stages.adopt import Adopted, adopt


def file(inside: str, source: str = "nifti", volumes: int = 1, **facts: Any) -> SourceFile:
    found = {"source": source, "volumes": volumes, "slices": 3, **facts}
    return SourceFile(SourceRef(f"/{inside}", None, inside, 0), inside, None, Kind.MASK, None, found)


def adopted(*files: SourceFile, subject: str | None = None, wanted: str = "image") -> Adopted:
    rule = Source(format="nifti", subject=subject)
    return adopt(files, rule, is_wanted=lambda stack: wanted in stack.facts["file"], data={})


def subjects(found: Adopted) -> list[str]:
    return [stack.subject for stack in found.stacks]


def test_what_no_channel_wants_stays_a_mask() -> None:
    found = adopted(file("a/image.nii"), file("a/seg.nii"))
    assert [stack.series_uid for stack in found.stacks] == ["a/image.nii"]
    assert [mask.inside for mask in found.masks] == ["a/seg.nii"]


def test_another_format_is_no_image() -> None:
    assert adopted(file("a/image.nrrd", "nrrd")).stacks == []


def test_the_folder_is_the_subject_and_an_image_outside_of_folders_has_none() -> None:
    assert subjects(adopted(file("HGG/a/image.nii"), file("LGG/a/image.nii"), file("image.nii"))) == [
        "HGG/a", "LGG/a", "",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("image-([0-9]+)", "12"),
        ("(s.*)/image-([0-9]+)", "site-12"),
        ("IMAGE-(1)(x)?", "1"),
        ("(nothing)", ""),
    ],
)
def test_a_pattern_says_the_subject(pattern: str, wanted: str) -> None:
    assert subjects(adopted(file("site/image-12.nii"), subject=pattern)) == [wanted]


def test_a_mask_bears_the_subject_only_where_the_pattern_says_it() -> None:
    found = adopted(file("seg-1.nii"), file("a/other.nii"), subject="seg-([0-9])")
    assert [mask.text("PatientID") for mask in found.masks] == ["1", ""]


def test_every_volume_of_a_file_is_a_stack_of_its_own() -> None:
    stacks = adopted(file("a/image.nii", volumes=3)).stacks
    assert [(stack.facts["volume"], stack.files[0].frame) for stack in stacks] == [(0, 0), (1, 1), (2, 2)]


def test_the_file_of_the_voxels_belongs_to_the_stack() -> None:
    header, voxels = file("a/image.hdr"), file("a/image.img", "")
    rule = Source(format="nifti")
    (stack,) = adopt([header], rule, is_wanted=lambda _: True, data={header.ref: voxels}).stacks
    assert [one.ref for one in stack.files] == [header.ref, voxels.ref]


def test_a_damaged_header_refuses_the_stack_by_its_code() -> None:
    stack: Stack = adopted(file("a/image.nii", damage="truncated")).stacks[0]
    assert stack.code == "truncated"


def test_a_pattern_without_a_group_names_nobody_and_is_no_rule() -> None:
    with pytest.raises(ValueError, match="group"):
        Source(format="nifti", subject="volume-[0-9]+")
