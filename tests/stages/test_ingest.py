"""Slices fall into stacks by what their headers say, in whatever order they come; nothing gets lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.model.series import Kind, SourceFile, SourceRef, Stack
from pipeline.stages import ingest as ingesting
from pipeline.stages.ingest import Grouping, ingest, nearest_plane

AXIAL, SAGITTAL, CORONAL = [1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1]
_NORMAL = {tuple(AXIAL): 2, tuple(SAGITTAL): 0, tuple(CORONAL): 1}


def file(
    name: str, kind: Kind = Kind.IMAGE, code: str | None = None, *, digest: str = "", task: str | None = None,
    **facts: Any,
) -> SourceFile:  # fmt: skip
    ref = SourceRef(f"/in/{name}", None, digest or f"digest of {name}", 1)
    return SourceFile(ref, name, task, kind, code, facts)


def one_slice(name: str, z: float, **facts: Any) -> SourceFile:
    """Return a slice at `z` mm along the normal of its plane."""
    given = {
        "SOPInstanceUID": f"1.{name}", "SeriesInstanceUID": "1.2", "StudyInstanceUID": "1", "PatientID": "p",
        "SOPClassUID": "CT", "ImageType": ["ORIGINAL", "PRIMARY"], "Rows": 4, "Columns": 4,
        "PixelSpacing": [1.0, 1.0], "ImageOrientationPatient": AXIAL,
    } | facts  # fmt: skip
    if "ImagePositionPatient" not in facts:
        position = [0.0, 0.0, 0.0]
        position[_NORMAL.get(tuple(given["ImageOrientationPatient"] or ()), 2)] = z
        given["ImagePositionPatient"] = position
    given = {keyword: value for keyword, value in given.items() if value is not None}
    return file(name, **given)


def series(prefix: str, count: int = 4, **facts: Any) -> list[SourceFile]:
    return [one_slice(f"{prefix}{z}", 3.0 * z, **facts) for z in range(count)]


def names(stack: Stack) -> list[str]:
    return [one.ref.path.rpartition("/")[2] for one in stack.files]


def stacks_of(files: Sequence[SourceFile]) -> dict[str, str | None]:
    """Return the slices of each stack, in order, and its code."""
    return {" ".join(names(stack)): stack.code for stack in ingest(files).stacks}


def aside(files: Sequence[SourceFile]) -> dict[str, str]:
    return {one.inside: code for one, code in ingest(files).set_aside}


def refs(grouping: Grouping) -> list[SourceRef]:
    found = [one.ref for stack in grouping.stacks for one in stack.files]
    found += [one.ref for one in (*grouping.labels, *grouping.tables)]
    return found + [one.ref for one, _ in grouping.set_aside]


TURNED = [[1, 0, k * 4e-4, 0, 1, 0] for k in range(5)]
"""Cosines of which neighbours are one within tolerance, and the first and the last are not."""

MIXED = [
    *series("a"),
    *series("b", SeriesInstanceUID="1.3", ImageOrientationPatient=SAGITTAL),
    *series("e", SeriesInstanceUID="1.4", EchoNumbers=1),
    *series("f", SeriesInstanceUID="1.4", EchoNumbers=2),
    *series("t", SeriesInstanceUID="1.5", AcquisitionNumber=1),
    *series("u", SeriesInstanceUID="1.5", AcquisitionNumber=2),
    *[one_slice(f"n{k}", 0, SeriesInstanceUID="1.6", ImageOrientationPatient=None) for k in range(3)],
    *[one_slice(f"r{k}", k, SeriesInstanceUID="1.7", ImageOrientationPatient=TURNED[k]) for k in range(5)],
    *[one_slice(f"d{k}", 0, SeriesInstanceUID="1.8") for k in range(3)],
    one_slice("loc", 0, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]),
    file("x.nii.gz", Kind.MASK), file("cases.csv", Kind.TABLE), file("note", Kind.OTHER, "not-dicom"),
]  # fmt: skip


def described(files: Sequence[SourceFile]) -> tuple[object, ...]:
    grouping = ingest(files)
    stacks = {tuple(names(stack)): (stack.code, dict(stack.facts)) for stack in grouping.stacks}
    return stacks, {one.inside: code for one, code in grouping.set_aside}


WANTED = described(MIXED)


@settings(max_examples=20, deadline=None)
@given(st.permutations(MIXED))
def test_the_order_of_the_files_decides_nothing(files: list[SourceFile]) -> None:
    assert described(files) == WANTED


def test_every_file_is_in_exactly_one_place() -> None:
    assert sorted(refs(ingest(MIXED)), key=str) == sorted((one.ref for one in MIXED), key=str)


# Stacks


def test_slices_are_ordered_along_the_normal() -> None:
    files = series("s", 11)

    assert stacks_of(files[::2] + files[1::2]) == {" ".join(f"s{z}" for z in range(11)): None}


def test_a_stack_has_the_facts_of_its_first_slice_and_what_grouping_found() -> None:
    (stack,) = ingest(series("s", 5, SeriesDescription="T2")).stacks

    assert (stack.facts["plane"], stack.facts["slices"], stack.facts["SeriesDescription"]) == (
        "axial",
        5,
        "T2",
    )
    assert stack.facts["ImagePositionPatient"] == [0, 0, 0]


@pytest.mark.parametrize(
    ("keyword", "first", "second"),
    [
        ("ImageOrientationPatient", AXIAL, SAGITTAL),
        ("ImageOrientationPatient", AXIAL, [1, 0, 0, 0, -1, 0]),
        ("PixelSpacing", [1.0, 1.0], [1.0, 1.1]),
        ("Rows", 4, 5),
        ("EchoNumbers", 1, 2),
        ("EchoTime", 0, 4.6),
        ("ImageType", ["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"]),
        ("SOPClassUID", "CT", "MR"),
        ("PatientID", "p", "q"),
        ("SeriesInstanceUID", "1.2", "1.3"),
    ],
)
def test_what_is_not_one_volume_is_not_one_stack(keyword: str, first: object, second: object) -> None:
    files = series("a", **{keyword: first}) + series("b", **{keyword: second})

    # The flipped plane runs the other way.
    assert sorted("".join(sorted(stack.replace(" ", ""))) for stack in stacks_of(files)) == [
        "0123aaaa",
        "0123bbbb",
    ]
    assert set(stacks_of(files).values()) == {None}


def test_two_tasks_do_not_share_a_stack() -> None:
    files = [file(f"{task}{z}", task=task, **one_slice(f"{z}", z).facts) for z in range(3) for task in "AB"]

    assert stacks_of(files) == {"A0 A1 A2": None, "B0 B1 B2": None}


def test_rounded_cosines_stay_together() -> None:
    files = [
        one_slice(f"s{z}", z, ImageOrientationPatient=[1, 0, 1e-6 * z, 0, 1, -1e-6 * z]) for z in range(6)
    ]

    assert stacks_of(files) == {"s0 s1 s2 s3 s4 s5": None}


@pytest.mark.parametrize(
    "keyword",
    ["AcquisitionNumber", "TemporalPositionIdentifier", "DiffusionBValue", "SequenceName", "TriggerTime",
     "AcquisitionTime"],
)  # fmt: skip
def test_volumes_at_equal_positions_are_told_apart(keyword: str) -> None:
    files = series("a", **{keyword: 0}) + series("b", **{keyword: 1000})

    assert stacks_of(files) == {"a0 a1 a2 a3": None, "b0 b1 b2 b3": None}


def test_time_points_are_told_apart_by_the_order_of_instances() -> None:
    files = [
        one_slice(f"{t}{z}", z, InstanceNumber=1 + t * 3 + z, NumberOfTemporalPositions=2)
        for t in range(2)
        for z in range(3)
    ]

    assert stacks_of(files) == {"00 01 02": None, "10 11 12": None}
    for facts in ({"NumberOfTemporalPositions": 3}, {"NumberOfTemporalPositions": None}):
        silent = [one_slice(one.inside, int(one.inside[1]), **{**one.facts, **facts}) for one in files]
        assert set(stacks_of(silent).values()) == {"duplicate-positions"}


@pytest.mark.parametrize("order", [1, -1])
def test_volumes_of_a_series_are_numbered_as_the_scanner_counts_them(order: int) -> None:
    files = [
        one_slice(f"{t}{z}", z, InstanceNumber=1 + t * 3 + z, TemporalPositionIdentifier=9 - t)
        for t in range(3)
        for z in range(3)
    ]
    stacks = ingest(files[::order]).stacks
    told = {names(stack)[0][0]: (stack.facts["volume"], stack.facts["volumes"]) for stack in stacks}
    assert told == {"0": (0, 3), "1": (1, 3), "2": (2, 3)}


def test_volumes_of_two_persons_under_one_series_uid_are_numbered_apart() -> None:
    files = [one_slice(f"{person}{z}", z, PatientID=person) for person in "ab" for z in range(3)]
    assert [stack.facts["volume"] for stack in ingest(files).stacks] == [0, 0]


def test_series_of_one_slice_each_are_not_held_against_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> bool:
        raise AssertionError("every pair of a study would be compared")

    for name in ("_continues", "_has_matrix_of"):
        monkeypatch.setattr(ingesting, name, never)
    files = [one_slice(f"s{k}", k, SeriesInstanceUID=f"1.2.{k}", FrameOfReferenceUID="1.9") for k in range(9)]
    assert {stack.code for stack in ingest(files).stacks} == {None}


@pytest.mark.parametrize("order", [1, -1])
def test_volumes_that_each_count_from_one_are_numbered_by_their_time_points(order: int) -> None:
    files = [
        one_slice(f"{t}{z}", z, InstanceNumber=1 + z, TemporalPositionIdentifier=2 * t + 1)
        for t in (2, 0, 1)
        for z in range(3)
    ]
    told = {names(stack)[0][0]: stack.facts["volume"] for stack in ingest(files[::order]).stacks}
    assert told == {"0": 0, "1": 1, "2": 2}


@pytest.mark.parametrize("number", [5, 6, 99])
def test_one_wrong_instance_number_mixes_no_time_points(number: int) -> None:
    files = [
        one_slice(f"{t}{z}", z, InstanceNumber=1 + t * 3 + z, NumberOfTemporalPositions=2)
        for t in range(2)
        for z in range(3)
    ]
    files[1] = one_slice("01", 1, InstanceNumber=number, NumberOfTemporalPositions=2)

    assert set(stacks_of(files).values()) == {"duplicate-positions"}


def test_four_slices_at_one_position_are_no_volume() -> None:
    assert stacks_of([one_slice(f"s{k}", 7) for k in range(4)]) == {"s0 s1 s2 s3": "duplicate-positions"}


def test_slices_that_nothing_tells_apart_are_refused() -> None:
    files = series("a") + series("b", 3)

    assert list(stacks_of(files).values()) == ["duplicate-positions"]


@pytest.mark.parametrize(
    "facts",
    [
        {"ImageOrientationPatient": None},
        {"ImagePositionPatient": None},
        {"ImagePositionPatient": [0.0, 0.0]},
        {"ImagePositionPatient": ["a", "b", "c"]},
        {"ImagePositionPatient": [float("nan"), 0, 0]},
        {"ImagePositionPatient": [float("inf"), 0, float("inf")]},
        {"ImageOrientationPatient": [float("inf")] * 6},
        {"PixelSpacing": [1.0, "JANE"]},
        {"EchoTime": [4.6, 5.0]},
        {"EchoTime": float("nan")},
        {"Rows": [4, 4]},
        {"ImageType": "ORIGINAL"},
        {"NumberOfTemporalPositions": [1, 2]},
        {"InstanceNumber": "x"},
    ],
)
def test_odd_headers_stop_nothing(facts: dict[str, Any]) -> None:
    odd = [one_slice(f"s{z}", z, **facts) for z in range(3)]
    also = [one_slice(f"t{z}", z // 2, SeriesInstanceUID="1.9", **(facts if z else {})) for z in range(4)]
    grouping = ingest(odd + also)

    assert sorted(refs(grouping), key=str) == sorted((one.ref for one in odd + also), key=str)


def test_one_missing_position_among_shared_ones_is_refused() -> None:
    files = [*series("a", 3), *series("b", 3)]
    files[0] = one_slice("a0", 0, ImagePositionPatient=[])

    assert set(stacks_of(files).values()) == {"duplicate-positions"}


# Files of several slices


def test_the_frames_of_a_file_are_its_slices() -> None:
    frames = [{"ImagePositionPatient": [0, 0, 3.0 * z]} for z in (2, 0, 1)]
    (stack,) = ingest([one_slice("m", 0, frames=frames)]).stacks

    assert [one.frame for one in stack.files] == [1, 2, 0]
    assert (stack.facts["slices"], stack.code) == (3, None)


def test_a_frame_is_no_duplicate_of_its_neighbour() -> None:
    frames = [{"ImagePositionPatient": [0, 0, 3.0 * z]} for z in range(3)]
    copies = [one_slice("m", 0, frames=frames), one_slice("m", 0, frames=frames)]

    assert [code for _, code in ingest(copies).set_aside] == ["duplicate"]
    assert len(ingest(copies).stacks) == 1


# Set aside


def test_a_copy_is_set_aside_and_a_contradiction_is_refused() -> None:
    files = series("s")
    copy = file("copy", digest=files[1].ref.digest, **files[1].facts)
    other = file("other", **files[1].facts)

    assert aside([*files, copy]) == {"copy": "duplicate"}
    assert stacks_of([*files, copy]) == {"s0 s1 s2 s3": None}
    assert set(stacks_of([*files, other]).values()) == {"conflicting-duplicates"}


def test_one_file_under_two_instances_is_no_copy() -> None:
    files = [file(f"s{z}", digest="same", **one_slice(f"s{z}", z).facts) for z in range(3)]

    assert aside(files) == {}


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "Scout"]}, "localizer"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "derived-screen"),
        ({"SamplesPerPixel": 3}, "derived-screen"),
        ({"SOPInstanceUID": None}, "missing-identifier"),
        ({"SeriesInstanceUID": None}, "missing-identifier"),
        ({"StudyInstanceUID": None}, "missing-identifier"),
    ],
)
def test_what_is_no_slice_is_set_aside_with_its_reason(facts: dict[str, Any], code: str) -> None:
    assert aside([*series("s"), one_slice("odd", 0, **facts)]) == {"odd": code}


def test_a_file_with_a_code_keeps_it() -> None:
    assert aside([file("note", Kind.OTHER, "not-dicom"), file("link", Kind.OTHER, "unsafe-member")]) == {
        "note": "not-dicom", "link": "unsafe-member",
    }  # fmt: skip


def test_labels_and_tables_are_kept_apart() -> None:
    ids = {"SOPInstanceUID": "1", "SeriesInstanceUID": "2", "StudyInstanceUID": "3"}
    files = [
        file("m.nii", Kind.MASK), file("s", Kind.SEG, **ids), file("r", Kind.RTSTRUCT, **ids), file("c", Kind.TABLE)
    ]  # fmt: skip
    grouping = ingest(files)

    assert [one.inside for one in grouping.labels] == ["m.nii", "s", "r"]
    assert [one.inside for one in grouping.tables] == ["c"]
    assert list(grouping.stacks) == []


# Damage


@pytest.mark.parametrize(
    "code", ["truncated", "unreadable", "permission-denied", "read-failed", "input-crashed"]
)
def test_a_series_with_a_damaged_slice_is_no_shorter_series(code: str) -> None:
    lost = file("elsewhere/x", Kind.OTHER, code, SeriesInstanceUID="1.2")

    assert stacks_of([*series("a"), lost, *series("b", SeriesInstanceUID="1.9")]) == {
        "a0 a1 a2 a3": code, "b0 b1 b2 b3": None,
    }  # fmt: skip


def test_a_damaged_file_that_says_nothing_may_be_of_any_series_of_its_folder() -> None:
    files = series("here/a") + series("there/b", SeriesInstanceUID="1.9")
    found = stacks_of([*files, file("here/x", Kind.OTHER, "truncated")])

    assert found == {"a0 a1 a2 a3": "truncated", "b0 b1 b2 b3": None}


# Planes


@pytest.mark.parametrize(
    ("cosines", "plane"),
    [
        (AXIAL, "axial"), (SAGITTAL, "sagittal"), (CORONAL, "coronal"), ([1, 0, 0, 0, 0.8, -0.6], "axial"),
        ([1, 0, 0, 0, 0.6, -0.8], "coronal"), (None, "unknown"), ([1, 0, 0], "unknown"),
    ],
)  # fmt: skip
def test_the_plane_is_the_nearest(cosines: list[float] | None, plane: str) -> None:
    assert nearest_plane({"ImageOrientationPatient": cosines}) == plane


DIRECTIONS = (None, [1.0, 0.0, 0.0], [0.0, 1.0, 0.0])


def frames(**of_volume: Sequence[Any]) -> list[SourceFile]:
    """Return three volumes of four slices; each keyword names what it is in each of the volumes."""
    return [
        one_slice(f"v{volume}s{k}", 2.0 * k, **{name: values[volume] for name, values in of_volume.items()})
        for volume in range(3)
        for k in range(4)
    ]


@pytest.mark.parametrize(
    "facts",
    [
        {"DiffusionBValue": (0.0, 1000.0, 1000.0), "DiffusionGradientOrientation": DIRECTIONS},
        {"StackID": ("1", "2", "3")},
        {"TemporalPositionTimeOffset": (0.0, 2.5, 5.0)},
    ],
)
def test_volumes_at_the_same_places_are_told_apart_by_what_names_them(facts: dict[str, Any]) -> None:
    assert set(stacks_of(frames(**facts))) == {" ".join(f"v{v}s{k}" for k in range(4)) for v in range(3)}


def test_dimensions_that_do_not_follow_the_position_name_the_volume() -> None:
    files = [
        one_slice(f"v{volume}s{k}", 2.0 * k, DimensionIndexValues=[1, k + 1, volume + 1])
        for volume in range(3)
        for k in range(4)
    ]

    assert set(stacks_of(files)) == {" ".join(f"v{v}s{k}" for k in range(4)) for v in range(3)}


def test_a_direction_that_two_volumes_share_tells_nothing() -> None:
    files = frames(
        DiffusionBValue=(0.0, 9.0, 9.0), DiffusionGradientOrientation=DIRECTIONS[:2] + DIRECTIONS[1:2]
    )

    assert set(stacks_of(files).values()) == {"duplicate-positions"}


def test_a_ct_series_is_one_volume_whatever_the_maker_adds_to_its_image_type() -> None:
    kinds = [["ORIGINAL", "PRIMARY", "AXIAL", "ADD"], ["ORIGINAL", "PRIMARY", "AXIAL"]]
    files = [one_slice(f"s{k}", 4.0 * k, Modality="CT", ImageType=kinds[k // 2]) for k in range(4)]

    assert stacks_of(files) == {"s0 s1 s2 s3": None}


# Runs of slices that lie over each other


def run_of(prefix: str, start: float, count: int, **facts: Any) -> list[SourceFile]:
    return [one_slice(f"{prefix}{k}", start + 3.0 * k, **facts) for k in range(count)]


def told_apart(*runs: list[SourceFile]) -> list[tuple[set[str], str | None]]:
    stacks = ingest([file for run in runs for file in run]).stacks
    return sorted(({names(stack)[0][0]}, stack.code) for stack in stacks) if len(stacks) == len(runs) else []


def test_two_acquisitions_on_interleaved_positions_are_two_volumes() -> None:
    runs = run_of("a", 0, 6, AcquisitionNumber=1), run_of("b", 1.0, 6, AcquisitionNumber=2)
    assert told_apart(*runs) == [({"a"}, None), ({"b"}, None)]


def test_two_acquisitions_of_different_extent_are_two_volumes() -> None:
    runs = run_of("a", 0, 8, AcquisitionNumber=1), run_of("b", 9, 9, AcquisitionNumber=2)
    assert told_apart(*runs) == [({"a"}, None), ({"b"}, None)]


def test_a_time_point_without_its_last_slice_is_no_shorter_volume() -> None:
    runs = run_of("a", 0, 8, AcquisitionNumber=1), run_of("b", 0, 7, AcquisitionNumber=2)
    assert [stack.code for stack in ingest([*runs[0], *runs[1]]).stacks] == ["duplicate-positions"]


def test_sweeps_that_follow_each_other_stay_one_stack_whose_gap_shows() -> None:
    runs = run_of("a", 0, 4, AcquisitionNumber=1), run_of("b", 15, 4, AcquisitionNumber=2)
    (stack,) = ingest([*runs[0], *runs[1]]).stacks
    assert len(stack.files) == 8


def test_cardiac_phases_with_trigger_times_of_their_own_at_each_slice_are_volumes() -> None:
    def beat(count: int) -> list[SourceFile]:
        return [
            one_slice(f"p{p}k{k}", 3.0 * k, TriggerTime=33.0 * p + 0.1 * k, CardiacNumberOfImages=count)
            for p in range(3) for k in range(4)
        ]  # fmt: skip

    assert {tuple(names(stack)) for stack in ingest(beat(3)).stacks} == {
        tuple(f"p{p}k{k}" for k in range(4)) for p in range(3)
    }
    assert [stack.code for stack in ingest(beat(4)).stacks] == ["duplicate-positions"]


def test_one_wrong_trigger_time_mixes_no_phases() -> None:
    files = [
        one_slice(f"p{p}k{k}", 3.0 * k, TriggerTime=33.0 * p, CardiacNumberOfImages=3, InstanceNumber=3 * k + p)
        for p in range(3) for k in range(4)
    ]  # fmt: skip
    assert len(ingest(files).stacks) == 3
    files[1] = replace(files[1], facts={**files[1].facts, "TriggerTime": 40.0})

    assert set(stacks_of(files).values()) == {"duplicate-positions"}


def test_phases_in_percent_of_the_heart_beat_are_volumes() -> None:
    runs = [series(f"{share}", NominalPercentageOfCardiacPhase=share) for share in (35, 75)]
    assert told_apart(*runs) == [({"3"}, None), ({"7"}, None)]


@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("RescaleType", ("", "rad")),
        ("ComplexImageComponent", ("MAGNITUDE", "PHASE")),
        ("EchoTime", (2.4, 4.9)),
        ("Modality", ("CT", "MR")),
        ("Units", ("BQML", "GML")),
    ],
)
def test_slices_of_another_kind_are_another_volume(keyword: str, values: tuple[Any, Any]) -> None:
    runs = [series(prefix, **{keyword: value}) for prefix, value in zip("ab", values, strict=True)]
    assert told_apart(*runs) == [({"a"}, None), ({"b"}, None)]


def test_hounsfield_units_are_one_kind_whether_named_or_not() -> None:
    kinds = ["HU", "US", None]
    slices = [one_slice(f"a{k}", 3.0 * k, Modality="CT", RescaleType=kinds[k % 3]) for k in range(6)]
    assert len(ingest(slices).stacks) == 1


# Overviews


@pytest.mark.parametrize(
    "named", ["localizer_32ch", "AAHead_Scout", "3 Plane LOCALISER", "Survey", "Topogram  0.6"]
)
def test_an_overview_that_only_its_description_names_is_set_aside(named: str) -> None:
    assert set(aside(series("a", SeriesDescription=named)).values()) == {"localizer"}


@pytest.mark.parametrize("named", ["t2_local", "surveyor", "ascout", "T1 axial"])
def test_a_word_that_only_looks_like_an_overview_sets_nothing_aside(named: str) -> None:
    assert aside(series("a", SeriesDescription=named)) == {}


def three_planes(count: int) -> list[SourceFile]:
    planes = {"a": AXIAL, "s": SAGITTAL, "c": CORONAL}
    return [
        one for name, plane in planes.items() for one in series(name, count, ImageOrientationPatient=plane)
    ]


def test_a_few_images_in_three_planes_are_an_overview() -> None:
    assert set(aside(three_planes(3)).values()) == {"localizer"}
    assert len(ingest(three_planes(6)).stacks) == 3
    assert len(ingest(three_planes(3)[:6]).stacks) == 2


# A slice that its header sets apart


@pytest.mark.parametrize("place", [0, 3])
def test_a_last_slice_of_another_kind_does_not_leave_a_shorter_volume_behind(place: int) -> None:
    slices = series("a")
    slices[place] = one_slice(f"x{place}", 3.0 * place, EchoTime=9.9)
    stacks = ingest(slices).stacks

    assert {stack.code for stack in stacks if len(stack.files) > 1} == {"mixed-grids"}


def test_a_slice_that_lost_its_direction_does_not_leave_a_shorter_volume_behind() -> None:
    slices = series("a", 5)
    slices[4] = one_slice("x", 12.0, ImageOrientationPatient=None)

    assert {stack.code for stack in ingest(slices).stacks if len(stack.files) > 1} == {"missing-geometry"}


def test_a_slice_of_another_kind_in_the_middle_does_not_leave_every_second_one_behind() -> None:
    slices = [one_slice(f"a{k}", 3.0 * k) for k in (0, 2, 4)] + [one_slice("x", 9.0, EchoTime=9.9)]
    assert {stack.code for stack in ingest(slices).stacks if len(stack.files) > 1} == {"mixed-grids"}


@pytest.mark.parametrize("z", [4.0, 30.0])
def test_a_lone_slice_elsewhere_is_nothing_to_a_volume(z: float) -> None:
    stacks = ingest([*series("a"), one_slice("x", z, EchoTime=9.9)]).stacks
    assert {stack.code for stack in stacks if len(stack.files) > 1} == {None}


@pytest.mark.parametrize("name", ["SeriesInstanceUID", "StudyInstanceUID", "PatientID"])
def test_a_last_slice_under_a_damaged_name_does_not_leave_a_shorter_volume_behind(name: str) -> None:
    shared = {"FrameOfReferenceUID": "1.9", "SeriesNumber": 4}
    slices = series("a", 5, **shared)
    slices[4] = one_slice("x", 12.0, **shared, **{name: "9.9"})

    assert {stack.code for stack in ingest(slices).stacks if len(stack.files) > 1} == {"mixed-grids"}


@pytest.mark.parametrize(
    "facts", [{"FrameOfReferenceUID": "1.8"}, {"SeriesNumber": 5}, {"SeriesDescription": "x"}]
)
def test_a_lone_slice_of_a_series_of_its_own_is_nothing_to_a_volume(facts: dict[str, Any]) -> None:
    shared = {"FrameOfReferenceUID": "1.9", "SeriesNumber": 4}
    other = one_slice("x", 12.0, **{**shared, "SeriesInstanceUID": "9.9", **facts})

    assert {
        stack.code for stack in ingest([*series("a", **shared), other]).stacks if len(stack.files) > 1
    } == {None}


def test_a_slice_that_lost_a_name_does_not_leave_a_shorter_volume_behind() -> None:
    assert stacks_of([*series("a"), one_slice("x", 12.0, StudyInstanceUID=None)]) == {
        "a0 a1 a2 a3": "missing-identifier"
    }


@pytest.mark.parametrize("word", [0.5, 7, "MOSAIC"])
def test_an_image_type_that_is_no_list_of_words_stops_nothing(word: object) -> None:
    assert len(ingest(series("a", ImageType=word)).stacks) == 1


EVERY_SECOND = [one_slice(f"a{k}", 3.0 * k, InstanceNumber=k + 1) for k in (0, 2, 4)]
"""Slices of a stack of five, of which the second is lost."""


@pytest.mark.parametrize(
    "odd",
    [
        one_slice("odd", 9, InstanceNumber=4, Rows=5),
        one_slice("odd", 9, Rows=5),
        one_slice("odd", 9, InstanceNumber=4, SamplesPerPixel=3),
        one_slice("odd", 9, InstanceNumber=4, PatientID="q", ImagePositionPatient=None),
        one_slice("odd", 9, InstanceNumber=4, SeriesInstanceUID="1.1", FrameOfReferenceUID=None),
        one_slice("odd", 9, InstanceNumber=4, StudyInstanceUID="1.1", ImageOrientationPatient=None),
    ],
)
def test_a_lost_slice_and_an_odd_one_do_not_leave_every_second_slice_behind(odd: SourceFile) -> None:
    assert stacks_of([*EVERY_SECOND, odd])["a0 a2 a4"] == "missing-slice"


@pytest.mark.parametrize(
    "others",
    [
        [],
        [one_slice(f"b{k}", 3.0 * k, InstanceNumber=k, EchoTime=9) for k in (2, 4)],
        [one_slice(f"c{k}", 3.0 * k, InstanceNumber=k, SamplesPerPixel=3) for k in (2, 4)],
        [one_slice("d", 90, InstanceNumber=7, Rows=9)],
        [one_slice("e", 90, InstanceNumber=2, Rows=9, SeriesInstanceUID="1.1")],
    ],
)
def test_a_stack_numbered_by_twos_is_whole_where_nothing_speaks_of_a_lost_slice(
    others: list[SourceFile],
) -> None:
    assert stacks_of([*EVERY_SECOND, *others])["a0 a2 a4"] is None


def test_a_slice_that_lost_the_name_of_its_series_does_not_leave_a_shorter_volume_behind() -> None:
    frame = {"FrameOfReferenceUID": "1.9"}
    files = [*series("a", **frame), one_slice("x", 12.0, SeriesInstanceUID=None, **frame)]
    assert stacks_of(files) == {"a0 a1 a2 a3": "mixed-grids"}


@pytest.mark.parametrize("keyword", ["TriggerTime", "AcquisitionTime", "ContentTime"])
def test_volumes_made_one_after_the_other_are_told_apart_by_times_that_run_on(keyword: str) -> None:
    def timed(number: int) -> Any:
        return 100.0 * number if keyword == "TriggerTime" else f"1000{number:02d}.25"

    files = [
        one_slice(f"{t}{z}", 3.0 * z, InstanceNumber=4 * t + z + 1, **{keyword: timed(4 * t + z)})
        for t in range(3) for z in range(4)
    ]  # fmt: skip
    assert stacks_of(files) == {"00 01 02 03": None, "10 11 12 13": None, "20 21 22 23": None}
    # A wrong time of a first slice keeps the times apart, but not the numbers.
    files[4] = one_slice("10", 0.0, InstanceNumber=5, **{keyword: timed(50)})
    assert set(stacks_of(files).values()) == {"duplicate-positions"}


def test_times_that_overlap_tell_no_volumes_apart() -> None:
    files = [
        one_slice(f"{t}{z}", 3.0 * z, InstanceNumber=4 * t + z + 1, TriggerTime=10.0 * t + 4 * z)
        for t in range(2) for z in range(4)
    ]  # fmt: skip
    assert set(stacks_of(files).values()) == {"duplicate-positions"}


@pytest.mark.parametrize(("uid", "code"), [("1", "missing-slice"), ("1.77", None)])
def test_a_damaged_file_of_a_series_that_nobody_has_may_be_a_slice_between(
    uid: str, code: str | None
) -> None:
    other = series("z", SeriesInstanceUID="1.77") if code is None else []
    cut = file("cut", Kind.OTHER, "truncated", SeriesInstanceUID=uid)
    assert stacks_of([*EVERY_SECOND, cut, *other])["a0 a2 a4"] == code
    assert stacks_of([*series("w"), cut])["w0 w1 w2 w3"] is None
