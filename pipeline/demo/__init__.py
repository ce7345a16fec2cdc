"""The phantom: made-up DICOM sources for all ten tasks, with known truth."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.demo import answers, subject
from pipeline.demo.cases import TASKS, TEST_EVERY, TURNED_CASES, TURNED_TASKS, TaskPlan
from pipeline.demo.sites import uid
from pipeline.io.durable import refusing_unwritable
from pipeline.io.ruleset import load_task, shipped_rules
from pipeline.model.errors import UsageError

__all__ = ["DemoSummary", "make"]

_UNFINISHED = ".unfinished-demo"
"""Where a run works; whatever a killed run left there is removed by the next."""


@dataclass(frozen=True, slots=True)
class DemoSummary:
    """What `make` wrote: folders, and counts of tasks, subjects, files and bytes."""

    source: Path
    truth: Path
    tasks: int
    subjects: int
    files: int
    size: int


def make(
    folder: Path, *, tasks: Sequence[str] | None, cases: int, seed: int, tell: Callable[[str], None]
) -> DemoSummary:
    """Write the phantom to `folder`/source and its truth to `folder`/truth.

    The same arguments give the same bytes, in any process and at any time.

    Parameters
    ----------
    folder
        Made if absent; neither source/ nor truth/ in it may hold anything.
    tasks
        Names of tasks, all ten if None.
    cases
        Subjects per task; more of them leave the first ones as they are.
    seed
        Another seed makes other people.
    tell
        Called with one line per task.

    Raises
    ------
    UsageError
        output-exists if there is something already; bad-usage for an unknown task, no case, or more cases
        than the task has published ids.
    """
    plans = {plan.task: _cases(plan, cases, seed) for plan in _chosen(tasks)}
    source, truth = folder / "source", folder / "truth"
    for place in (source, truth):
        if place.exists() and (not place.is_dir() or any(place.iterdir())):
            raise UsageError(
                "output-exists", wanted="no source/ or truth/ yet", found=f"{place.name}/ with content"
            )
    work = folder / _UNFINISHED
    with refusing_unwritable():
        shutil.rmtree(work, ignore_errors=True)
        (work / "source").mkdir(parents=True)
        (work / "truth").mkdir()
        counts = _write(work, plans, seed, tell)
        # The sources come last: where they are, everything is.
        _move(work / "truth", truth)
        _move(work / "source", source)
        work.rmdir()
    return DemoSummary(source, truth, len(plans), *counts)


def _move(made: Path, place: Path) -> None:
    if place.exists():
        place.rmdir()
    made.rename(place)


def _chosen(tasks: Sequence[str] | None) -> tuple[TaskPlan, ...]:
    unknown = sorted(set(tasks or ()) - {plan.task for plan in TASKS})
    if unknown:
        raise UsageError("bad-usage", wanted="one of the ten tasks", found=", ".join(unknown), where="--task")
    return tuple(plan for plan in TASKS if tasks is None or plan.task in tasks)


def _cases(plan: TaskPlan, cases: int, seed: int) -> tuple[subject.CasePlan, ...]:
    if cases < 1:
        raise UsageError("bad-usage", wanted="at least one case", found=str(cases), where="--cases")
    ids = _published_ids(plan, cases) if plan.published else [(None, None)] * cases
    return tuple(
        subject.CasePlan(plan, index, seed, case, subset, plan.task in TURNED_TASKS and index in TURNED_CASES)
        for index, (case, subset) in enumerate(ids)
    )


def _published_ids(plan: TaskPlan, cases: int) -> list[tuple[str | None, str | None]]:
    """Return case and subset of each subject, in the order of published numbers, every fourth for testing."""
    published = load_task(shipped_rules() / f"{plan.task}.yaml").published
    if published is None:
        raise UsageError("bad-usage", wanted="published ids in the rules", found="none", where=plan.task)
    training, test = (iter(sorted(ids, key=_number)) for ids in (published.training, published.test))
    dealt: list[tuple[str | None, str | None]] = []
    for index in range(cases):
        subset, ids = ("test", test) if index % TEST_EVERY == TEST_EVERY - 1 else ("training", training)
        case = next(ids, None)
        if case is None:
            raise UsageError("bad-usage", wanted=f"at most {index} cases", found=str(cases), where=plan.task)
        dealt.append((case, subset))
    return dealt


def _number(case: str) -> int:
    return int(case.rsplit("_", 1)[1])


def _write(
    work: Path, plans: Mapping[str, Sequence[subject.CasePlan]], seed: int, tell: Callable[[str], None]
) -> tuple[int, int, int]:
    """Write everything below `work`; return the numbers of subjects, files and bytes below source/."""
    tasks: dict[str, object] = {}
    strings: set[str] = set()
    for task, cases in plans.items():
        entries, rows = [], []
        for case in cases:
            made = subject.build(case)
            entry, images = answers.document(task, made.truth)
            _put(work / "source" / task, made.files)
            _put(work / "truth", images)
            entries.append(entry)
            rows.append(made.row)
            strings |= made.strings
        if cases[0].case is not None:
            _put(work / "source" / task, {"cases.csv": _table(rows)})
        tasks[task] = {"subjects": entries}
        tell(f"{task}: {len(entries)} subjects")
    _put(work / "truth", dict(_answers(tasks, strings, seed)))
    sizes = [path.stat().st_size for path in (work / "source").rglob("*") if path.is_file()]
    return sum(map(len, plans.values())), len(sizes), sum(sizes)


def _answers(tasks: dict[str, object], strings: set[str], seed: int) -> Iterator[tuple[str, bytes]]:
    document = {"about": answers.ABOUT, "seed": seed, "tasks": tasks}
    yield "truth.json", (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()
    yield "identities.txt", answers.identities(strings)
    yield "demo.key", (hashlib.sha256(uid("demo key", seed).encode()).hexdigest() + "\n").encode()


def _table(rows: Sequence[Mapping[str, str]]) -> bytes:
    """Return cases.csv: which subject is which published case, in which subset, and where its label lies."""
    with io.StringIO() as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\r\n")
        writer.writeheader()
        writer.writerows(rows)
        return stream.getvalue().encode()


def _put(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if path.suffix == ".key":
            path.chmod(0o600)
