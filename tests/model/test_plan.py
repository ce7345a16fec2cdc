"""A planned case reads back as it was written, with its slices in their files."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.model.plan import TEST, TRAINING, CasePlan, LabelSource, refs_and_frames
from pipeline.model.series import Kind, SourceFile, SourceRef, Stack

TEXTS = st.text(max_size=6)
REFS = st.builds(SourceRef, TEXTS, st.none() | TEXTS, TEXTS, st.integers(0, 2**40))
SLICES = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=3).map(tuple)
PLANS = st.builds(
    CasePlan,
    task=TEXTS,
    case=TEXTS,
    subset=st.sampled_from([TRAINING, TEST]),
    subject=TEXTS,
    channels=st.dictionaries(TEXTS, st.lists(REFS, max_size=3).map(tuple), max_size=2),
    frames=st.dictionaries(TEXTS, SLICES, max_size=2),
    label=st.none() | st.builds(LabelSource, st.sampled_from([Kind.MASK, Kind.SEG]), REFS, TEXTS),
    half_turn=st.none() | st.dictionaries(TEXTS, TEXTS, max_size=2),
    warnings=st.lists(TEXTS, max_size=2).map(tuple),
)


@settings(max_examples=40, deadline=None)
@given(PLANS)
def test_a_plan_reads_back(plan: CasePlan) -> None:
    assert CasePlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def entry(name: str, frame: int | None = None) -> SourceFile:
    return SourceFile(SourceRef(name, None, "", 0), name, None, Kind.IMAGE, None, {}, frame)


def test_single_slices_are_their_files_in_order() -> None:
    stack = Stack((entry("b"), entry("a")), {})

    assert refs_and_frames(stack) == ((entry("b").ref, entry("a").ref), ())


def test_slices_of_one_file_name_it_once_and_keep_their_order() -> None:
    stack = Stack((entry("a", 2), entry("b", 0), entry("a", 1)), {})

    assert refs_and_frames(stack) == ((entry("a").ref, entry("b").ref), ((0, 2), (1, 0), (0, 1)))
