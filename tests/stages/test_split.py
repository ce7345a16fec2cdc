"""Numbers and subsets are dealt by subject, under the key, once and for all."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.io.ruleset import LoadedRules, load_rules
from pipeline.model.errors import SelectionError
from pipeline.model.plan import TEST, TRAINING
from pipeline.model.rules import Cases, PublishedSplit, Split, Strata
from pipeline.stages.split import Dealt, Entrant, deal

CASES = Cases(id="own_{:02d}", published=None, split=Split(training=3, test=1))
PUBLISHED = PublishedSplit(
    task="Task11_Own",
    source="made up",
    training=("own_10", "own_02", "own_07", "own_01", "own_05"),
    test=("own_03", "own_11", "own_04"),
)
TASKS = load_rules()


def shuffle(subject: str) -> str:
    return hashlib.sha256(subject.encode()).hexdigest()


def entrants(*subjects: str, is_labelled: bool = True) -> list[Entrant]:
    """Return one entrant for each name; names may be given twice: two studies of one subject."""
    return [Entrant(f"{place} {subject}", subject, is_labelled) for place, subject in enumerate(subjects)]


def dealt(
    given: Sequence[Entrant],
    published: PublishedSplit | None = None,
    before: Dealt | None = None,
    cases: Cases = CASES,
) -> dict[str, tuple[str, str]]:
    return deal(given, cases, published, shuffle=shuffle, before=before or {}, settled={})


def subsets(given: Sequence[Entrant], result: Dealt) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for entrant in given:
        found.setdefault(entrant.subject, set()).add(result[entrant.name][1])
    return found


ENTRANTS = st.lists(
    st.tuples(st.sampled_from("abcdefgh"), st.booleans()), max_size=12
).map(lambda drawn: [Entrant(f"{n} {s}", s, label) for n, (s, label) in enumerate(drawn)])  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(ENTRANTS, st.randoms(use_true_random=False))
def test_a_subject_is_in_one_subset_and_a_number_is_given_once(given: list[Entrant], chance: object) -> None:
    result = dealt(given)

    assert set(result) == {entrant.name for entrant in given}
    assert all(len(found) == 1 for found in subsets(given, result).values())
    assert max(Counter(case for case, _ in result.values()).values(), default=1) == 1
    shuffled = list(given)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]  # it is a random.Random
    assert dealt(shuffled) == result


@settings(max_examples=100, deadline=None)
@given(ENTRANTS, ENTRANTS)
def test_what_was_dealt_stays_when_subjects_come(first: list[Entrant], more: list[Entrant]) -> None:
    added = first + [Entrant("new " + e.name, e.subject + "'", e.is_labelled) for e in more]
    before = dealt(first)
    result = dealt(added, before=before)

    assert {name: result[name] for name in before} == before
    assert all(len(found) == 1 for found in subsets(added, result).values())
    assert len({case for case, _ in result.values()}) == len(added)


def test_a_number_that_was_given_is_not_given_to_another_when_its_subject_goes() -> None:
    before = dealt(entrants("a", "b", "c", "d"))
    result = dealt([Entrant("new", "e", True)], before=before)

    assert result["new"][0] not in {case for case, _ in before.values()}


def test_a_further_study_of_a_subject_stays_in_its_subset() -> None:
    first = entrants("a", "b", "c", "d")
    before = dealt(first)
    for entrant in first:
        again = [*first, Entrant("again", entrant.subject, True)]
        assert dealt(again, before=before)["again"][1] == before[entrant.name][1]


def test_a_subject_whose_earlier_study_is_gone_stays_in_its_subset() -> None:
    for subset in ("training", "test"):
        given = entrants("a", "b", "c", "d")
        result = deal(given, CASES, None, shuffle=shuffle, before={}, settled={"b": subset})

        assert result[given[1].name][1] == subset


@pytest.mark.parametrize("task", TASKS)
def test_of_four_subjects_three_train_in_every_task(task: str) -> None:
    loaded: LoadedRules = TASKS[task]
    result = dealt(entrants("a", "b", "c", "d"), loaded.published, cases=loaded.rules.cases)

    assert Counter(subset for _, subset in result.values()) == {TRAINING: 3, TEST: 1}


@pytest.mark.parametrize(("count", "tests"), [(1, 0), (2, 1), (3, 1), (4, 1), (8, 2), (40, 10)])
def test_the_share_of_test_is_that_of_the_rules_and_never_none(count: int, tests: int) -> None:
    result = dealt(entrants(*(f"s{number}" for number in range(count))))

    assert sum(subset == TEST for _, subset in result.values()) == tests


def test_subjects_without_a_label_are_test() -> None:
    given = [*entrants("a", "b", "c"), Entrant("x", "d", False), Entrant("y", "e", False)]
    result = dealt(given)

    assert (result["x"][1], result["y"][1]) == (TEST, TEST)
    assert {result[entrant.name][1] for entrant in given[:3]} == {TRAINING}


def test_published_numbers_are_taken_in_their_order_within_the_subset() -> None:
    result = dealt(entrants("a", "b", "c", "d"), PUBLISHED)
    by_subset = {
        subset: sorted(case for case, s in result.values() if s == subset) for subset in (TRAINING, TEST)
    }

    assert by_subset == {TRAINING: ["own_01", "own_02", "own_05"], TEST: ["own_03"]}


def test_the_shuffle_decides_and_not_the_name() -> None:
    def reversed_names(subject: str) -> str:
        return {"a": "2", "b": "1"}[subject]

    result = deal(entrants("a", "b"), CASES, None, shuffle=reversed_names, before={}, settled={})

    assert result == {"1 b": ("own_02", TEST), "0 a": ("own_01", TRAINING)}


def refused(given: Sequence[Entrant], published: PublishedSplit | None = None) -> SelectionError:
    with pytest.raises(SelectionError) as refusal:
        dealt(given, published)
    return refusal.value


def test_more_cases_than_published_numbers_are_refused() -> None:
    error = refused(entrants(*(f"s{number}" for number in range(9))), PUBLISHED)

    assert (error.code, error.found) == ("more-cases-than-ids", "7")


def listed(name: str, subject: str, case: str, subset: str = "") -> Entrant:
    return Entrant(name, subject, True, case, subset)


def test_a_table_decides_number_and_subset() -> None:
    given = [listed("x", "a", "own_03"), listed("y", "b", "own_07"), listed("z", "c", "own_99", TEST)]

    assert dealt([*given, *entrants("d")], PUBLISHED) == {
        "x": ("own_03", TEST), "y": ("own_07", TRAINING), "z": ("own_99", TEST), "0 d": ("own_01", TRAINING),
    }  # fmt: skip


def test_a_table_may_put_a_published_case_elsewhere() -> None:
    assert dealt([listed("x", "a", "own_03", TRAINING)], PUBLISHED) == {"x": ("own_03", TRAINING)}


def test_a_number_of_a_table_is_not_dealt_to_another() -> None:
    result = dealt([listed("x", "a", "own_01", TRAINING), *entrants("b", "c")])

    assert len({case for case, _ in result.values()}) == 3


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ([listed("x", "a", "own_01"), listed("y", "b", "own_01")], "own_01"),
        ([listed("x", "a", "own_01"), listed("y", "a", "own_03")], "own_01, own_03"),
        ([listed("x", "a", "own_99")], "own_99"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(given: list[Entrant], where: str) -> None:
    error = refused(given, PUBLISHED)

    assert (error.code, error.where) == ("case-table-wrong", where)


def test_a_task_of_ones_own_needs_a_subset_for_each_listed_case() -> None:
    assert refused([listed("x", "a", "own_01")]).code == "case-table-wrong"


def test_nobody_is_no_task() -> None:
    assert dealt([]) == {}


# Strata


BY_SITE = Cases(id="own_{:02d}", split=Split(training=3, test=1, strata=Strata(table_column="site")))


def sites(**counts: int) -> list[Entrant]:
    return [
        Entrant(f"{site}{n}", f"{site}{n}", True, stratum=site)
        for site, count in counts.items()
        for n in range(count)
    ]


def in_test(given: Sequence[Entrant], result: Dealt) -> Counter[str]:
    return Counter(entrant.stratum for entrant in given if result[entrant.name][1] == TEST)


def test_each_stratum_gives_its_share_to_the_test_cases() -> None:
    given = sites(a=8, b=12, c=4)
    assert in_test(given, dealt(given, cases=BY_SITE)) == {"a": 2, "b": 3, "c": 1}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=24), st.integers(1, 3))
def test_strata_change_who_is_tested_and_not_how_many(drawn: list[str], test: int) -> None:
    own = Cases(id="own_{:02d}", split=Split(training=3, test=test))
    given = [Entrant(f"{n}", f"{n}", True, stratum=site) for n, site in enumerate(drawn)]
    plain = [replace(entrant, stratum="") for entrant in given]
    result = dealt(given, cases=own)
    found, total = in_test(given, result), Counter(drawn)
    assert sum(found.values()) == sum(in_test(plain, dealt(plain, cases=own)).values())
    share = sum(found.values()) / len(drawn)
    assert all(abs(found[site] - share * total[site]) <= 2 for site in total)
    assert dealt(given[::-1], cases=own) == result


def test_later_cases_even_out_what_earlier_ones_left() -> None:
    first = sites(a=4)
    before = dealt(first, cases=BY_SITE)
    later = [*first, *sites(b=4)]
    result = dealt(later, cases=BY_SITE, before=before)
    assert {name: result[name] for name in before} == before
    assert in_test(later, result) == {"a": 1, "b": 1}


def test_a_table_with_a_column_of_strata_may_leave_the_subset_open() -> None:
    given = [Entrant(f"x{n}", f"s{n}", True, f"own_{n:02d}", "", "ab"[n % 2]) for n in range(8)]
    result = dealt(given, cases=BY_SITE)
    assert [result[entrant.name][0] for entrant in given] == [entrant.case for entrant in given]
    assert in_test(given, result) == {"a": 1, "b": 1}


def test_the_number_of_an_open_line_is_not_dealt_to_another() -> None:
    given = [Entrant("x", "s", True, "own_01", "", "a"), *sites(b=3)]
    assert len({case for case, _ in dealt(given, cases=BY_SITE).values()}) == 4


class _Counted(str):
    """A name that counts how often it is looked up."""

    looked_up = 0

    def __hash__(self) -> int:
        _Counted.looked_up += 1
        return super().__hash__()


def test_drawing_many_subjects_looks_at_each_of_them_a_few_times_not_once_a_draw() -> None:
    def looks(count: int) -> int:
        given = [Entrant(f"{number}", _Counted(f"s{number}"), True) for number in range(count)]
        before = _Counted.looked_up
        assert Counter(subset for _, subset in dealt(given).values())[TEST] == count // 4
        return _Counted.looked_up - before

    few, many = looks(200), looks(2000)
    assert many < 15 * few
