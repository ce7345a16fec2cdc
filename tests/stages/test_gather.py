"""A label belongs to the one study that it means by reference, or that it lies with; else to none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from pipeline.model.plan import Candidate
from pipeline.model.series import Kind, SourceFile, SourceRef, Stack
from pipeline.stages.gather import Whereabouts, gather


def image(subject: str, study: str, series: str, *places: str) -> Stack:
    facts = {"PatientID": subject, "StudyInstanceUID": study, "SeriesInstanceUID": series}
    files = [
        SourceFile(SourceRef(f"/{place}", None, "", 0), place, None, Kind.IMAGE, None, facts)
        for place in places
    ]
    return Stack(files, facts)


def mask(inside: str) -> SourceFile:
    return SourceFile(SourceRef(f"/{inside}", None, "", 0), inside, None, Kind.MASK)


def drawn(kind: Kind, subject: str, study: str, *references: str) -> SourceFile:
    facts = {"PatientID": subject, "StudyInstanceUID": study, "references": list(references)}
    return SourceFile(SourceRef("/label", None, "", 0), "label", None, kind, None, facts)


def gathered(stacks: Sequence[Stack], *labels: SourceFile) -> list[Candidate]:
    places = Whereabouts()
    for stack in stacks:
        for file in stack.files:
            places.meet(replace(file, facts=stack.facts))
    return gather(stacks, places.owners(labels, "Task01_A"), lambda study: " ".join(study))


def owner(stacks: Sequence[Stack], label: SourceFile) -> str | None:
    """Return the name of the study to which a label falls, None when it falls to none."""
    owners = [found.name for found in gathered(stacks, label) if label in found.labels]
    assert len(owners) <= 1
    return owners[0] if owners else None


# Two subjects in folders of their own, the second with two studies.
STACKS = [
    image("4711", "1", "1.1", "4711/ct/1", "4711/ct/2"),
    image("4711", "1", "1.2", "4711/t2/1"),
    image("4712", "2", "2.1", "patient_b/2019/1"),
    image("4712", "3", "3.1", "patient_b/2020/1"),
]


def test_stacks_of_one_study_are_one_candidate() -> None:
    found = gathered(STACKS)

    assert [(one.name, one.subject, len(one.stacks)) for one in found] == [
        ("4711 1", "4711", 2), ("4712 2", "4712", 1), ("4712 3", "4712", 1),
    ]  # fmt: skip


def test_two_subjects_never_share_a_study() -> None:
    assert len(gathered([image("a", "1", "1.1", "x/1"), image("b", "1", "1.1", "y/1")])) == 2


@pytest.mark.parametrize("kind", [Kind.SEG, Kind.RTSTRUCT])
@pytest.mark.parametrize(
    ("label", "name"),
    [
        (("4712", "9", "3.1"), "4712 3"),
        (("4711", "1", "2.1"), "4712 2"),
        (("4711", "1"), "4711 1"),
        (("4711", "1", "9.9"), "4711 1"),
        (("4712", "2", "2.1", "3.1"), "4712 2"),
        (("4712", "9", "2.1", "3.1"), None),
        (("4713", "1"), None),
        (("", ""), None),
    ],
)
def test_an_object_belongs_to_the_study_it_refers_to_else_to_its_own(
    kind: Kind, label: tuple[str, ...], name: str | None
) -> None:
    assert owner(STACKS, drawn(kind, *label)) == name


@pytest.mark.parametrize(
    ("inside", "name"),
    [
        # In the study's folder, above its series, or below one of them.
        ("4711/liver.nii.gz", "4711 1"),
        ("4711/labels/deep/liver.nii.gz", "4711 1"),
        ("4711/ct/liver.nii.gz", "4711 1"),
        ("patient_b/2020/liver.nii.gz", "4712 3"),
        # Where several studies lie, the name must say which.
        ("patient_b/2019.nii.gz", "4712 2"),
        ("patient_b/labels/2020/liver.nii.gz", "4712 3"),
        ("labels/4711.nii.gz", "4711 1"),
        ("labels/4711_liver.nii.gz", "4711 1"),
        ("labels/liver-4711-final.nii.gz", "4711 1"),
        ("4711.nii.gz", "4711 1"),
        # Neither part of another number, nor two studies, nor nobody.
        ("labels/14711.nii.gz", None),
        ("labels/47110.nii.gz", None),
        ("labels/4711a.nii.gz", None),
        ("labels/4711_4712.nii.gz", None),
        ("labels/4712.nii.gz", None),
        ("labels/patient_b.nii.gz", None),
        ("patient_b/liver.nii.gz", None),
        ("liver.nii.gz", None),
    ],
)
def test_a_mask_belongs_to_the_study_it_lies_with_or_is_called_like(inside: str, name: str | None) -> None:
    assert owner(STACKS, mask(inside)) == name


def test_a_mask_may_be_called_like_the_folder_of_its_study() -> None:
    stacks = [image("4711", "1", "1.1", "images/Case-A/1"), image("4712", "2", "2.1", "images/Case-B/1")]

    assert owner(stacks, mask("images/labels/case-b.nii.gz")) == "4712 2"
    assert owner(stacks, mask("labels/Case-B.nii.gz")) is None


def test_the_only_study_gets_the_mask() -> None:
    assert owner([image("4711", "1", "1.1", "ct/1")], mask("labels/any.nii.gz")) == "4711 1"
    assert owner([image("4711", "1", "1.1", "1", "2")], mask("any.nii.gz")) == "4711 1"


def test_a_mask_without_images_belongs_to_nobody() -> None:
    assert gathered([], mask("any.nii.gz")) == []


def test_an_identifier_is_no_pattern() -> None:
    stacks = [image("4.11", "1", "1.1", "x/1"), image("(", "2", "2.1", "y/1"), image("", "3", "3.1", "z/1")]

    assert owner(stacks, mask("labels/4711.nii.gz")) is None
    assert owner(stacks, mask("labels/4.11.nii.gz")) == "4.11 1"


def test_a_label_is_handed_out_once_and_keeps_its_order() -> None:
    labels = [mask("4711/b.nii"), drawn(Kind.SEG, "4711", "1"), mask("4711/a.nii")]
    found = gathered(STACKS, *labels)

    assert list(found[0].labels) == labels
    assert [list(one.labels) for one in found[1:]] == [[], []]


def test_folders_of_the_same_name_in_two_sources_are_two_folders() -> None:
    def below(root: str, inside: str, kind: Kind = Kind.IMAGE) -> SourceFile:
        return SourceFile(SourceRef(f"/{root}/{inside}", None, "", 0), inside, None, kind)

    def stack(root: str, subject: str) -> Stack:
        facts = {"PatientID": subject, "StudyInstanceUID": "1", "SeriesInstanceUID": subject}
        return Stack((below(root, "p1/ct/1"),), facts)

    stacks = [stack("north", "4711"), stack("south", "4712")]
    assert owner(stacks, below("north", "p1/mask.nii", Kind.MASK)) == "4711 1"
    assert owner(stacks, below("south", "p1/mask.nii", Kind.MASK)) == "4712 1"
    # A source of drawings alone says by its folders whose they are, where that is one.
    assert owner(stacks, below("drawings", "p1/mask.nii", Kind.MASK)) is None
    assert owner(stacks[:1], below("drawings", "p1/mask.nii", Kind.MASK)) == "4711 1"


def test_a_mask_that_bears_a_subject_is_of_that_one_or_of_none() -> None:
    def borne(subject: str) -> SourceFile:
        ref = SourceRef("/4711/mask.nii", None, "", 0)
        return SourceFile(ref, "4711/mask.nii", None, Kind.MASK, None, {"PatientID": subject})

    stacks = [image("4711", "1", "1.1", "4711/ct/1"), image("4712", "1", "2.1", "4712/ct/1")]
    assert owner(stacks, borne("4712")) == "4712 1"
    assert owner(stacks, borne("4713")) is None
