"""Deal case numbers and subsets: as listed, or by subject under the key."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.model.errors import SelectionError
from pipeline.model.plan import TEST, TRAINING
from pipeline.model.rules import Cases, PublishedSplit

Dealt = Mapping[str, tuple[str, str]]
"""Candidate name -> (case id, subset)."""


@dataclass(frozen=True, slots=True)
class Entrant:
    """A candidate as the dealer sees it: whose it is, whether it has a label, what a table says."""

    name: str
    subject: str
    is_labelled: bool
    case: str = ""
    subset: str = ""
    stratum: str = ""


def deal(
    entrants: Sequence[Entrant],
    cases: Cases,
    published: PublishedSplit | None,
    *,
    shuffle: Callable[[str], str],
    before: Dealt,
    settled: Mapping[str, str],
) -> dict[str, tuple[str, str]]:
    """Give every entrant a case id and a subset; nobody's cases fall into both subsets.

    With strata, test cases are drawn from the stratum that lacks most of its share, one after the other; the
    number of test subjects stays what it is without.

    Parameters
    ----------
    entrants
        All candidates of one task. Those with a case from a table keep it.
    cases
        The rules' id pattern and split proportion.
    published
        The ids of the published task; None for a curator's own task, whose ids are counted from 1.
    shuffle
        Keyed and deterministic: subject -> text to sort by.
    before
        What was dealt in earlier plans; it stays.

    settled
        Subject -> subset in earlier plans, for subjects whose earlier cases may be gone.

    Raises
    ------
    SelectionError
        more-cases-than-ids, or case-table-wrong when table and published split contradict each other.
    """
    is_open = (
        published is None and cases.split.strata is not None and cases.split.strata.table_column is not None
    )
    listed = [entrant for entrant in entrants if entrant.case and (entrant.subset or not is_open)]
    dealt = {entrant.name: _as_listed(entrant, published) for entrant in listed}
    rest = [entrant for entrant in entrants if entrant.name not in dealt]
    dealt |= {entrant.name: before[entrant.name] for entrant in rest if entrant.name in before}
    new = [entrant for entrant in rest if entrant.name not in dealt]
    known = dict(settled) | {e.subject: dealt[e.name][1] for e in entrants if e.name in dealt}
    subsets = _subsets(new, known, cases, shuffle, _strata(entrants))
    named = {entrant.case for entrant in entrants if entrant.case}
    for subset in (TRAINING, TEST):
        own = [entrant for entrant in new if subsets[entrant.subject] == subset]
        dealt |= {entrant.name: (entrant.case, subset) for entrant in own if entrant.case}
        members = [entrant for entrant in own if not entrant.case]
        members.sort(key=lambda entrant: (shuffle(entrant.subject), entrant.name))
        taken = {case for case, _ in [*dealt.values(), *before.values()]} | named
        free = _free_ids(cases, published, subset, taken, len(members))
        dealt |= {entrant.name: (case, subset) for entrant, case in zip(members, free, strict=True)}
    _refuse_shared(entrants, dealt)
    return dealt


def _as_listed(entrant: Entrant, published: PublishedSplit | None) -> tuple[str, str]:
    listed = ""
    if published is not None:
        listed = (
            TRAINING if entrant.case in published.training else TEST if entrant.case in published.test else ""
        )
    if not (entrant.subset or listed):
        raise SelectionError(
            "case-table-wrong", wanted="a subset, or a published case id", found="neither", where=entrant.case
        )
    return entrant.case, entrant.subset or listed


def _strata(entrants: Sequence[Entrant]) -> dict[str, str]:
    """Return subject -> stratum; a subject of several is in the one that they make together."""
    found: dict[str, set[str]] = {}
    for entrant in entrants:
        found.setdefault(entrant.subject, set()).add(entrant.stratum)
    return {subject: "\0".join(sorted(strata)) for subject, strata in found.items()}


def _subsets(
    new: Sequence[Entrant],
    known: Mapping[str, str],
    cases: Cases,
    shuffle: Callable[[str], str],
    strata: Mapping[str, str],
) -> dict[str, str]:
    """Return subject -> subset for subjects with new entrants: those without a label test, the rest by share."""
    fresh = sorted({entrant.subject for entrant in new} - set(known), key=shuffle)
    unlabelled = {entrant.subject for entrant in new if not entrant.is_labelled}
    total = cases.split.training + cases.split.test
    share = cases.split.test / total if total else 0
    count = len(set(known) | set(fresh))
    wanted = round(count * share)
    if count > 1 and share > 0:
        wanted = max(wanted, 1)
    test = {subject for subject in fresh if subject in unlabelled}
    filled = Counter(strata.get(subject, "") for subject in test)
    filled.update(strata.get(subject, "") for subject, subset in known.items() if subset == TEST)
    missing = wanted - sum(filled.values())
    waiting = [subject for subject in fresh if subject not in unlabelled]
    test |= set(_drawn(waiting, strata, share, filled, min(missing, len(waiting))))
    return dict(known) | {subject: TEST if subject in test else TRAINING for subject in fresh}


def _drawn(
    waiting: Sequence[str], strata: Mapping[str, str], share: float, filled: Counter[str], count: int
) -> Iterator[str]:
    """Yield that many of the waiting, each from the stratum that lacks most of its share when it is drawn."""
    sizes, lines = Counter(strata.values()), defaultdict[str, deque[tuple[int, str]]](deque)
    for place, subject in enumerate(waiting):
        lines[strata[subject]].append((place, subject))
    for _ in range(count):
        # Of strata that lack as much, the one whose next subject comes first in the shuffle: waiting's order.
        # Whole strata are compared, never all who wait: there may be many thousands.
        name = max(lines, key=lambda name: (sizes[name] * share - filled[name], -lines[name][0][0]))
        _, subject = lines[name].popleft()
        if not lines[name]:
            del lines[name]
        filled[name] += 1
        yield subject


def _free_ids(
    cases: Cases, published: PublishedSplit | None, subset: str, taken: set[str], count: int
) -> list[str]:
    """Return the first `count` ids of a subset, by number, that nobody has."""
    if published is None:
        free: list[str] = []
        number = 0
        while len(free) < count:
            number += 1
            if cases.id.format(number) not in taken:
                free.append(cases.id.format(number))
        return free
    listed = published.training if subset == TRAINING else published.test
    ids = [
        case for case in sorted(listed, key=lambda case: int(case.rpartition("_")[2])) if case not in taken
    ]
    if len(ids) < count:
        raise SelectionError(
            "more-cases-than-ids", wanted=f"at most {len(ids)} new {subset} cases", found=f"{count}"
        )
    return ids[:count]


def _refuse_shared(entrants: Sequence[Entrant], dealt: Dealt) -> None:
    """Refuse an id given twice, and a subject whose cases a table puts in both subsets."""
    given = Counter(dealt[entrant.name][0] for entrant in entrants)
    twice = sorted(case for case, times in given.items() if times > 1)
    if twice:
        raise SelectionError(
            "case-table-wrong", wanted="every case once", found="twice", where=", ".join(twice)
        )
    subsets: dict[str, set[str]] = {}
    for entrant in entrants:
        subsets.setdefault(entrant.subject, set()).add(dealt[entrant.name][1])
    torn = sorted(dealt[e.name][0] for e in entrants if len(subsets[e.subject]) > 1)
    if torn:
        raise SelectionError(
            "case-table-wrong",
            wanted="each subject in one subset",
            found="one in both",
            where=", ".join(torn),
        )
