"""Rules choose one series for each channel and one label, or refuse; they never guess, and name nobody."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.model.errors import CurationError, LabelError, SelectionError
from pipeline.model.plan import Candidate, Choice
from pipeline.model.rules import (
    About,
    Cases,
    Channel,
    Criterion,
    Envelope,
    HalfTurn,
    Header,
    Keep,
    Label,
    LabelClass,
    RobustMinMax,
    Split,
    TaskRules,
)
from pipeline.model.series import Kind, SourceFile, SourceRef, Stack
from pipeline.model.volume import Quantity
from pipeline.stages.match import half_turn, is_wanted, labels_meant, match, meets

PERSON = "DOE^JANE"


# Criteria


@pytest.mark.parametrize(
    ("criterion", "met", "unmet"),
    [
        ({"equals": "MR"}, ["MR", "mr", " MR ", ["MR"]], ["CT", "MRX", ["MR", "X"], None, "", []]),
        ({"equals": "ORIGINAL\\PRIMARY"}, [["original", "PRIMARY"]], [["PRIMARY", "ORIGINAL"], "ORIGINAL"]),
        ({"equals": 3}, [3, 3.0, "3", [3]], [3.1, "three", [3, 3], None]),
        ({"equals": 0}, [0, 0.0, "0"], [None, "", 1]),
        ({"any_of": ("MR", 3)}, ["mr", 3.0], ["CT", 4, None]),
        ({"matches": "t2"}, ["ax T2 tse", ["x", "T2"]], ["t1", None, [], ""]),
        ({"not_matches": "flair"}, ["t2", None, [], ""], ["T2 FLAIR", ["T2", "flair"]]),
        ({"has_all": ("ORIGINAL", "M")}, [["original", "PRIMARY", "m"]], [["ORIGINAL"], ["ORIGINALM"], None]),
        ({"has_none": ("P", "R")}, [["M"], None, "PR"], [["M", "p"], "R"]),
        ({"min": 1.5}, [1.5, "2", [2, 3]], [1.4, [1, 2], "x", None, [], float("nan")]),
        ({"max": 1.5}, [1.5, -1, 0, [1, 1]], [1.6, [1, 2], "x", None]),
        ({"min": 0, "max": 5}, [0, 5, 2.5], [-1, 6, None]),
        ({"absent": True}, [None, "", []], ["x", 0, [0]]),
        ({"absent": False}, ["x", 0, [0]], [None, "", []]),
        ({"matches": "t2", "not_matches": "flair"}, ["t2"], ["t2 flair", "t1"]),
    ],
)  # fmt: skip
def test_a_criterion_is_met_by_what_it_says(
    criterion: dict[str, Any], met: list[object], unmet: list[object]
) -> None:
    assert [value for value in met if not meets(Criterion(**criterion), value)] == []
    assert [value for value in unmet if meets(Criterion(**criterion), value)] == []


def test_a_missing_element_meets_only_what_asks_for_its_absence() -> None:
    every = {
        "equals": "x", "any_of": ("x",), "matches": "x", "not_matches": "x", "has_all": ("x",), "has_none": ("x",),
        "min": 0, "max": 0, "absent": True,
    }  # fmt: skip

    assert {name for name, value in every.items() if meets(Criterion(**{name: value}), None)} == {
        "absent", "not_matches", "has_none",
    }  # fmt: skip


# Channels


def channel(name: str, described: str, **more: Any) -> Channel:
    return Channel(
        name=name,
        quantity=Quantity.ARBITRARY,
        select={"Modality": Criterion(equals="MR"), "SeriesDescription": Criterion(matches=described)},
        scale=RobustMinMax(method="robust_min_max", percentiles=(1, 99), over="all"),
        **more,
    )


def rules(**more: Any) -> TaskRules:
    given: dict[str, Any] = {
        "channels": (channel("T2", "t2"), channel("T1", "t1")),
        "label": Label(classes=(LabelClass(value=1, name="liver", from_names=("liver",)),)),
    } | more
    return TaskRules(
        format="curate-rules/1",
        task="Task11_Own",
        header=Header(name="n", description="d", reference="r", licence="l", release="1"),
        cases=Cases(id="own_{:02d}", published=None, split=Split(training=3, test=1)),
        about=About(sources="s", labels="l"),
        **given,
    )


def stack(
    uid: str, described: str, *, code: str | None = None, frame: int | None = None, **facts: Any
) -> Stack:
    ref = SourceRef(f"/{PERSON}/{facts.pop('file', uid)}", None, "", 0)
    given = {
        "SeriesInstanceUID": uid, "StudyInstanceUID": "1", "PatientID": PERSON, "Modality": "MR",
        "SeriesDescription": described, "SeriesNumber": int(uid.rpartition(".")[2]),
    } | facts  # fmt: skip
    one = SourceFile(ref, f"{PERSON}/study/{described}/1", None, Kind.IMAGE, None, given, frame)
    return Stack((one,), given, code)


T2, T1 = stack("1.2", "ax t2"), stack("1.3", "ax t1")


def label(kind: Kind, inside: str, *references: str, **facts: Any) -> SourceFile:
    if references:
        facts["references"] = list(references)
    return SourceFile(SourceRef(f"/{PERSON}/{inside}", None, "", 0), inside, None, kind, None, facts)


def candidate(*stacks: Stack, labels: tuple[SourceFile, ...] = (), **row: str) -> Candidate:
    return Candidate("token", PERSON, stacks, labels, row)


def chosen(choice: Choice) -> dict[str, str]:
    return {name: found.series_uid for name, found in choice.channels.items()}


def refused(asked: Candidate, given: TaskRules | None = None) -> CurationError:
    with pytest.raises(CurationError) as refusal:
        match(given or rules(), asked)
    assert "DOE" not in str(refusal.value)
    return refusal.value


def test_each_channel_gets_the_series_that_meets_its_criteria() -> None:
    assert chosen(match(rules(), candidate(stack("1.9", "localizer"), T1, T2))) == {"T2": "1.2", "T1": "1.3"}


def test_no_series_is_refused_with_the_criteria_asked() -> None:
    error = refused(candidate(T2))

    assert (error.code, error.where) == ("no-series-matches", "criteria: Modality, SeriesDescription")
    assert error.wanted == "one series for channel T1"


def test_two_series_are_refused_with_their_numbers() -> None:
    error = refused(candidate(stack("1.7", "t2 again"), T2, T1))

    assert (error.code, error.where) == ("two-series-match", "series number 2, 7")


def test_a_number_that_is_text_is_not_shown() -> None:
    odd = stack("1.7", "t2", SeriesNumber=PERSON), stack("1.8", "t2", SeriesNumber=None)

    assert refused(candidate(*odd, T1)).where == "series number ?, ?"


def test_one_series_cannot_be_two_channels() -> None:
    assert refused(candidate(stack("1.2", "t1 and t2"))).code == "two-series-match"


def test_two_volumes_of_one_file_can_be_two_channels() -> None:
    both = stack("1.2", "t2", file="m", frame=0), stack("1.2", "t1", file="m", frame=5)

    assert len(match(rules(), candidate(*both)).channels) == 2


@pytest.mark.parametrize("code", ["duplicate-positions", "truncated", "conflicting-duplicates"])
def test_a_series_that_is_no_volume_is_refused_with_its_code(code: str) -> None:
    assert refused(candidate(T1, stack("1.2", "t2", code=code))).code == code


def test_a_broken_series_that_nobody_wants_harms_nobody() -> None:
    assert chosen(match(rules(), candidate(T1, T2, stack("1.9", "dwi", code="truncated")))) == {
        "T2": "1.2", "T1": "1.3",
    }  # fmt: skip


@pytest.mark.parametrize("named", ["1.7", "7", "study/t2 again", "t2 again/", f"{PERSON}/study/t2 again"])
def test_a_table_names_a_series_by_uid_number_or_folder(named: str) -> None:
    asked = candidate(T2, stack("1.7", "t2 again"), T1, T2=named)

    assert chosen(match(rules(), asked)) == {"T2": "1.7", "T1": "1.3"}


@pytest.mark.parametrize("named", ["1.99", "again", "t2 agai", "2 again"])
def test_a_series_that_the_table_names_and_nobody_has_is_refused(named: str) -> None:
    assert refused(candidate(T2, stack("1.7", "t2 again"), T1, T2=named)).code == "no-series-matches"


def test_a_table_may_name_a_series_that_the_rules_would_not_take() -> None:
    assert chosen(match(rules(), candidate(T1, stack("1.5", "odd"), T2="5")))["T2"] == "1.5"


def test_a_stack_is_wanted_when_any_channel_takes_it() -> None:
    assert is_wanted(rules(), T1)
    assert not is_wanted(rules(), stack("1.9", "dwi"))


# Labels


def label_of(*labels: SourceFile, **row: str) -> str | None:
    found = match(rules(), candidate(T2, T1, labels=labels, **row)).label
    return None if found is None else found.inside


def test_a_case_may_have_no_label() -> None:
    assert label_of() is None


def test_the_label_that_refers_to_the_drawn_series_is_taken_first() -> None:
    right = label(Kind.RTSTRUCT, "right", "1.2")
    others = label(Kind.SEG, "other", "1.3"), label(Kind.SEG, "silent"), label(Kind.MASK, "m.nii")

    assert label_of(*others, right) == "right"


def test_a_label_that_names_instances_belongs_to_the_series_that_holds_them() -> None:
    t2, t1 = stack("1.2", "ax t2", SOPInstanceUID="1.2.1"), stack("1.3", "ax t1", SOPInstanceUID="1.3.1")
    for named, is_meant in (
        ({"referenced_instances": ["1.2.1"]}, True),
        ({"referenced_instances": ["1.3.1"]}, False),
        # Where series and instance contradict each other, neither is believed.
        ({"referenced_instances": ["1.3.1"], "references": ["1.2"]}, False),
        ({"referenced_instances": ["1.2.1"], "references": ["1.3"]}, False),
        # Instances that nobody has say nothing.
        ({"referenced_instances": ["9"]}, True),
        ({"referenced_instances": ["9"], "references": ["1.2"]}, True),
    ):
        asked = candidate(t2, t1, labels=(label(Kind.RTSTRUCT, "rt", **named),))
        if is_meant:
            assert match(rules(), asked).label is asked.labels[0]
        else:
            assert refused(asked).code == "label-other-image"


def test_a_label_that_names_one_volume_of_a_series_is_not_of_another() -> None:
    first = stack("1.2", "ax t2 first", SOPInstanceUID="1.2.1")
    second = stack("1.2", "ax second", SOPInstanceUID="1.2.2")
    drawn = label(Kind.SEG, "seg", "1.2", referenced_instances=["1.2.2"])
    assert refused(candidate(first, second, T1, labels=(drawn,))).code == "label-other-image"
    drawn = label(Kind.SEG, "seg", "1.2", referenced_instances=["1.2.1"])
    assert match(rules(), candidate(first, second, T1, labels=(drawn,))).label is drawn


def test_a_label_that_names_no_series_is_taken_before_a_mask() -> None:
    assert (
        label_of(label(Kind.MASK, "m.nii"), label(Kind.SEG, "silent"), label(Kind.SEG, "other", "1.3"))
        == "silent"
    )


def test_a_mask_that_lies_with_the_case_is_taken() -> None:
    assert label_of(label(Kind.MASK, "m.nii")) == "m.nii"


def test_the_label_is_that_of_the_channel_it_was_drawn_on() -> None:
    given = rules(
        label=Label(channel="T1", classes=(LabelClass(value=1, name="liver", from_names=("liver",)),))
    )
    labels = label(Kind.SEG, "on T2", "1.2"), label(Kind.SEG, "on T1", "1.3")
    found = match(given, candidate(T2, T1, labels=labels)).label

    assert found is not None
    assert found.inside == "on T1"


def test_a_label_drawn_on_another_series_is_refused() -> None:
    error = refused(candidate(T2, T1, labels=(label(Kind.SEG, PERSON, "1.3"),)))

    assert isinstance(error, LabelError)
    assert error.code == "label-other-image"


@pytest.mark.parametrize(
    "labels",
    [
        (label(Kind.SEG, "a", "1.2"), label(Kind.RTSTRUCT, "b", "1.2")),
        (label(Kind.SEG, "a"), label(Kind.SEG, "b")),
        (label(Kind.MASK, "a.nii"), label(Kind.MASK, "b.nii")),
    ],
)
def test_two_labels_that_fit_are_refused(labels: tuple[SourceFile, ...]) -> None:
    assert refused(candidate(T2, T1, labels=labels)).code == "two-labels-match"


LABELS = (
    label(Kind.MASK, "x/labels/a.nii"), label(Kind.MASK, "y/labels/a.nii"),
    label(Kind.SEG, "z/seg", SeriesInstanceUID="1.50", SOPInstanceUID="1.51"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("named", "inside"),
    [("x/labels/a.nii", "x/labels/a.nii"), ("y/labels/a.nii", "y/labels/a.nii"), ("1.50", "z/seg"),
     ("1.51", "z/seg"), ("seg", "z/seg")],
)  # fmt: skip
def test_a_table_names_a_label_by_place_or_uid(named: str, inside: str) -> None:
    assert label_of(*LABELS, label=named) == inside
    assert [one.inside for one in labels_meant(candidate(T2, labels=LABELS, label=named))] == [inside]


def test_a_label_that_the_table_names_twice_or_in_vain_is_refused() -> None:
    assert refused(candidate(T2, T1, labels=LABELS, label="a.nii")).code == "two-labels-match"
    assert refused(candidate(T2, T1, labels=LABELS, label="b.nii")).code == "case-table-wrong"


# Warnings and half turns


def test_what_lies_outside_the_papers_range_is_a_warning() -> None:
    expected = {"EchoTime": Envelope(min=80, max=120), "voxel_size_mm": Envelope(min=0.5, max=4)}
    given = rules(channels=(channel("T2", "t2", expected=expected), channel("T1", "t1")))
    odd = stack("1.2", "t2", EchoTime=60, PixelSpacing=[0.4, 0.4], slice_step_mm=5.0)
    well = stack("1.2", "t2", EchoTime=100, PixelSpacing=[0.6, 0.6], slice_step_mm=3.0)
    silent = stack("1.2", "t2", EchoTime="JANE")

    assert match(given, candidate(odd, T1)).warnings == [
        "channel T2: EchoTime 60 lies outside 80 to 120",
        "channel T2: voxel_size_mm 0.4 lies outside 0.5 to 4",
        "channel T2: voxel_size_mm 5 lies outside 0.5 to 4",
    ]
    assert match(given, candidate(well, T1)).warnings == match(given, candidate(silent, T1)).warnings == []


def test_a_half_turn_is_for_its_case_and_its_source_alone() -> None:
    turn = HalfTurn(
        case="own_03",
        where={"Manufacturer": Criterion(equals="GE"), "slices": Criterion(min=10)},
        why="the header is wrong",
        evidence="evidence/x.md",
    )
    given = rules(half_turns=(turn,))
    fitting = {"Manufacturer": "GE", "slices": 20}

    assert half_turn(given, "own_03", fitting) == {"why": turn.why, "evidence": turn.evidence}
    assert half_turn(given, "own_04", fitting) is None
    assert half_turn(given, "own_03", {**fitting, "Manufacturer": "Siemens"}) is None
    assert half_turn(given, "own_03", {"Manufacturer": "GE"}) is None


def test_a_quantity_is_kept() -> None:
    # The factory above scales; what is measured may not be.
    kept = Channel(
        name="CT",
        quantity=Quantity.HOUNSFIELD,
        select={"Modality": Criterion(equals="CT")},
        scale=Keep(method="keep"),
    )
    made = match(rules(channels=(kept,)), candidate(stack("1.2", "x", Modality="CT")))

    assert chosen(made) == {"CT": "1.2"}


def test_refusals_are_for_whoever_selects() -> None:
    assert isinstance(refused(candidate(T2)), SelectionError)


def test_a_drawing_that_bears_another_patient_is_refused_whatever_it_refers_to() -> None:
    own = label(Kind.RTSTRUCT, "a", "1.2", PatientID=PERSON)
    assert match(rules(), candidate(T1, T2, labels=(own,))).label is own
    for kind in (Kind.RTSTRUCT, Kind.SEG):
        strange = label(kind, "a", "1.2", PatientID="DOE_JOHN")
        assert refused(candidate(T1, T2, labels=(strange,))).code == "label-other-patient"
        assert refused(candidate(T1, T2, labels=(strange,), label="a")).code == "label-other-patient"
