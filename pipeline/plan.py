"""Plan which files make which case, and give every input file its fate.

Nothing holds all files at once. The index is dealt onto shelves by subject; what must be known of all files is
surveyed; then one shelf after the other is looked at twice: for the entrants, to deal numbers, and for the cases.
"""

from __future__ import annotations

import json
import sys
from array import array
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.io import ledger
from pipeline.io.durable import temporary_name
from pipeline.io.ledger import Row
from pipeline.io.planfile import PlanWriter
from pipeline.io.ruleset import LoadedRules, load_rules
from pipeline.io.shelf import Placed, Shelves, Told, shelves
from pipeline.io.table import NOT_CHANNELS, CaseTable, TableRow, read_table
from pipeline.io.workspace import Workspace
from pipeline.model.errors import CurationError, RulesError, SelectionError, UsageError, fate_of
from pipeline.model.identified import Key
from pipeline.model.plan import Candidate, CasePlan, Choice, LabelSource, refs_and_frames, voxels_of
from pipeline.model.record import Json, Refusal
from pipeline.model.rules import TaskRules
from pipeline.model.series import Fate, Kind, SourceFile, SourceRef, Stack, Verdict
from pipeline.stages.adopt import adopt
from pipeline.stages.deidentify import subject_token
from pipeline.stages.draft import DraftChannel, learn
from pipeline.stages.gather import Study, Whereabouts, gather
from pipeline.stages.ingest import LABELS, Damage, ingest, judged
from pipeline.stages.match import half_turn, is_wanted, label_names, labels_meant, match, named_stacks, unmet
from pipeline.stages.pair import Beside, pair
from pipeline.stages.propose import Finding, bearers_of, propose
from pipeline.stages.split import Entrant, deal

PLAN_FORMAT = "curate-plan/1"


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """A finished plan of one task, as the summary tells it."""

    task: str
    cases: Sequence[CasePlan]
    refusals: Sequence[Refusal]
    subsets: Mapping[str, int]
    """How many cases each subset has."""
    warnings: Mapping[str, Sequence[str]]
    """Case -> its warnings, for cases that have any."""
    proposal: Sequence[Mapping[str, str]] = ()
    """The plan as lines of a case table; private."""

    def to_json(self) -> dict[str, Json]:
        """Return counts, case ids and refusals; no identity."""
        return {
            "task": self.task,
            "training": self.subsets.get("training", 0),
            "test": self.subsets.get("test", 0),
            "refused": [refusal.to_json() for refusal in self.refusals],
            "warnings": [f"{case}: {text}" for case, texts in self.warnings.items() for text in texts],
        }


class _Fates:
    """The fate of every file by its place in the index; a used file stays used, whatever another task says."""

    def __init__(self, count: int) -> None:
        self._numbers = array("L", bytes(array("L").itemsize * count))
        self._verdicts: list[Verdict | None] = [None]
        self._known: dict[Verdict, int] = {}

    def say(self, place: int, verdict: Verdict) -> None:
        before = self._verdicts[self._numbers[place]]
        if before is None or _WEIGHT[verdict.fate] > _WEIGHT[before.fate]:
            number = self._known.setdefault(verdict, len(self._verdicts))
            if number == len(self._verdicts):
                self._verdicts.append(verdict)
            self._numbers[place] = number

    def of(self, place: int) -> Verdict:
        """Return what was said last; every file has been spoken of in the end."""
        verdict = self._verdicts[self._numbers[place]]
        assert verdict is not None, "a file without fate"
        return verdict


_WEIGHT = {Fate.PENDING: 0, Fate.IGNORED: 1, Fate.REFUSED: 2, Fate.USED: 3}


@dataclass(slots=True)
class _Survey:
    """What must be known of all files before any subject's are looked at."""

    beside: Mapping[SourceRef, Beside]
    damage: Damage = field(default_factory=Damage)
    whereabouts: Whereabouts = field(default_factory=Whereabouts)
    labels: list[Placed] = field(default_factory=list)
    tables: list[Placed] = field(default_factory=list)
    companions: list[Placed] = field(default_factory=list)
    tasks: set[str | None] = field(default_factory=set)
    """What files are bound to."""


@dataclass(slots=True)
class Draft:
    """One task's plan while it is made: its rules, its table, its labels, and who takes part."""

    loaded: LoadedRules
    rows: Mapping[int, Sequence[TableRow]]
    """Shelf -> lines of the case table that name its subjects."""
    owned: Mapping[Study, Sequence[SourceFile]]
    named: Mapping[str, Sequence[SourceFile]]
    """Cell of the table's label column -> the labels that it means."""
    beside: Mapping[SourceRef, Beside]
    entrants: list[Entrant] = field(default_factory=list)
    dealt: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    refused: SelectionError | None = None
    """Why the whole task is refused."""
    adopted: Sequence[Stack] | None = None
    """Its images, where its rules let files in that are no longer DICOM; they are few, beside slices."""
    bearers: Mapping[str, int] | None = None
    """How many labels have a name, for a proposal; None where none is wanted."""

    @property
    def task(self) -> str:
        """The task's name."""
        return self.loaded.rules.task


_Chosen = tuple[Draft, Candidate, "Choice | CurationError"]


def plan(
    workspace: Workspace,
    tasks: Sequence[str],
    *,
    rules: Path | None = None,
    cases: Path | None = None,
    is_proposing: bool = False,
    told: Told = lambda done, total: None,
) -> list[TaskPlan]:
    """Plan every task that is asked for, or that the index is bound to; write plans and fates.

    With `is_proposing` each plan also comes as lines of a case table. `told` hears how far it is.

    Raises
    ------
    UsageError
        nothing-indexed, rules-not-found, rules-invalid, or a case table that does not read.
    """
    known = load_rules(rules or workspace.own_rules)
    index = ledger.Index(workspace.index)
    most, key = index.most(), workspace.key()
    if not most:
        raise UsageError("nothing-indexed", wanted="an index", found="none")
    with shelves(workspace.scratch, most, told) as dealt:
        fates = _Fates(most)
        survey = _survey(index, dealt, fates)
        tables = _tables([file for _, file in survey.tables], cases, known)
        asked = _asked(tasks, survey.tasks, known)
        drafts = [_draft(_rules_of(task, known), survey, tables, dealt) for task in asked]
        # Every label has its owner now; what comes needs the memory.
        survey.whereabouts = Whereabouts()
        for draft, candidate, choice in _chosen(drafts, survey, dealt, key):
            draft.entrants.append(_entrant(candidate, choice, draft, key))
        drafts = [draft for draft in drafts if draft.entrants or draft.task in tasks]
        for draft in drafts:
            _deal(workspace, draft, key)
            draft.bearers = bearers_of(_of_task(survey.labels, draft.task)) if is_proposing else None
        planner = _Planner(workspace, drafts, fates, key)
        for number in range(dealt.count):
            planner.look_at(survey, [*dealt.read(number)], number, set(asked))
        plans = planner.finish()
        _forget_others(workspace, plans, tasks)
        _say_the_rest(survey, fates, set(asked))
    rows = (_row(file, fates.of(place)) for place, file in enumerate(index))
    ledger.write_fates(workspace.private / "fates.csv", rows, key)
    return plans


def _row(file: SourceFile, verdict: Verdict) -> Row:
    return Row(file, verdict.fate, verdict.code, verdict.task, verdict.case, verdict.role)


def _survey(index: Iterable[SourceFile], dealt: Shelves, fates: _Fates) -> _Survey:
    """Deal the images onto the shelves, and note what concerns files of other subjects."""
    survey = _Survey(pair(index))
    belonging = {file.ref for found in survey.beside.values() for file in found.files}
    dealt.fill(_sorted_out(index, belonging, survey, fates))
    labels = zip(survey.labels, judged(file for _, file in survey.labels), strict=True)
    survey.labels = [
        (place, file) for (place, file), (_, code) in labels if _takes_part(place, code, file, fates)
    ]

    def kept(placed: Iterator[Placed]) -> Iterator[Placed]:
        places: deque[int] = deque()
        files = (places.append(place) or file for place, file in placed)  # type: ignore[func-returns-value]
        for file, code in judged(files):
            place = places.popleft()
            if _takes_part(place, code, file, fates):
                survey.whereabouts.meet(file)
                yield place, file

    for number in range(dealt.count):
        dealt.sift(number, kept)
    return survey


def _sorted_out(
    index: Iterable[SourceFile], belonging: set[SourceRef], survey: _Survey, fates: _Fates
) -> Iterator[Placed]:
    """Yield what lies on the shelves; the few others go into the survey, or have their fate already."""
    for place, file in enumerate(index):
        survey.tasks.add(file.task)
        if file.ref in belonging:
            survey.companions.append((place, file))
            continue
        survey.damage.meet(file)
        if file.kind in LABELS:
            survey.labels.append((place, _slim(file)))
        elif file.kind is Kind.TABLE:
            survey.tables.append((place, file))
        elif file.code is not None and not file.facts:
            _takes_part(place, file.code, file, fates)
        else:
            yield place, file


def _slim(file: SourceFile) -> SourceFile:
    """Return a file that is kept for long: the names of its facts are shared with all others."""
    return replace(file, facts={sys.intern(keyword): value for keyword, value in file.facts.items()})


def _takes_part(place: int, code: str | None, file: SourceFile, fates: _Fates) -> bool:
    if code is not None:
        fates.say(place, Verdict(Fate(fate_of(code)), code, file.task or ""))
    return code is None


def learn_channels(workspace: Workspace, table: Path, task: str) -> list[DraftChannel]:
    """Return a channel for each column of a case table, learnt from the indexed series that it names for a task.

    Raises
    ------
    UsageError
        case-table-wrong if a cell names no series or several, or a column none at all.
    """
    told = read_table(table, None)
    subjects = {row.subject for row in told.rows if row.task == task}
    index = ledger.read_index(workspace.index)
    stacks = ingest(file for file in index if file.text("PatientID") in subjects).stacks
    named: dict[str, list[Stack]] = {column: [] for column in told.channels}
    for number, row in enumerate(told.rows, start=1):
        own = [stack for stack in stacks if stack.subject == row.subject]
        for column in named if row.task == task else ():
            cell = row.cells[column]
            found = named_stacks(cell, own) if cell else []
            if cell and len(found) != 1:
                raise UsageError(
                    "case-table-wrong",
                    wanted="one series of the subject",
                    found=f"{len(found)}",
                    where=f"row {number}, column {column}",
                )
            named[column] += found
    if not named or not all(named.values()):
        raise UsageError(
            "case-table-wrong", wanted=f"series of {task} in each channel's column", found="none in one"
        )
    return [learn(column, stacks) for column, stacks in named.items()]


def _asked(tasks: Sequence[str], bound: set[str | None], known: Mapping[str, LoadedRules]) -> list[str]:
    """Return the tasks to plan: those named, else those bound, and all others too if a source is unbound."""
    if tasks:
        return sorted(set(tasks))
    named = {task for task in bound if task is not None}
    return sorted(named | set(known) if None in bound else named)


def _rules_of(task: str, known: Mapping[str, LoadedRules]) -> LoadedRules:
    if task not in known:
        raise RulesError(
            "rules-not-found", wanted=f"{task}.yaml", found="rules for " + ", ".join(sorted(known))
        )
    return known[task]


def _tables(files: Iterable[SourceFile], given: Path | None, known: Iterable[str]) -> list[CaseTable]:
    found = [read_table(Path(file.ref.path), file) for file in files]
    tables = [read_table(given, None)] if given is not None else found
    for number, row in ((n, row) for table in tables for n, row in enumerate(table.rows, start=1)):
        # A misspelt task must not mean that its cases are dealt out as if there were no table.
        if row.task not in known:
            raise UsageError(
                "case-table-wrong", wanted="a task with rules", found="another", where=f"row {number}, task"
            )
    return tables


def _adopted(
    rules: TaskRules, labels: Sequence[SourceFile], beside: Mapping[SourceRef, Beside]
) -> tuple[Sequence[Stack], list[SourceFile]]:
    """Return images and labels as a task sees them whose rules let files in that are no longer DICOM."""
    assert rules.source is not None, "such rules name a source"
    data = {ref: found.data for ref, found in beside.items() if found.data is not None}
    files = [label for label in labels if label.kind is Kind.MASK]
    taken = adopt(files, rules.source, is_wanted=lambda stack: is_wanted(rules, stack), data=data)
    objects = [label for label in labels if label.kind is not Kind.MASK]
    return taken.stacks, [*objects, *taken.masks]


def _draft(loaded: LoadedRules, survey: _Survey, tables: Sequence[CaseTable], dealt: Shelves) -> Draft:
    task, rules = loaded.rules.task, loaded.rules
    labels = _of_task(survey.labels, task)
    adopted, whereabouts = None, survey.whereabouts
    if rules.source is not None:
        adopted, labels = _adopted(rules, labels, survey.beside)
        whereabouts = Whereabouts()
        for stack in adopted:
            for file in stack.files:
                # Where the voxels have a file of their own, it says nothing itself.
                whereabouts.meet(replace(file, facts=stack.facts))
    rows: dict[int, list[TableRow]] = defaultdict(list)
    for row in (row for table in tables for row in table.rows_of(rules)):
        # A line may name a file whatever subject its path says, so what is adopted is looked at together.
        rows[0 if adopted is not None else dealt.number_of(row.subject)].append(row)
    columns = ("label", "brain_mask")
    wanted = {row.cells.get(column, "") for own in rows.values() for row in own for column in columns} - {""}
    named: dict[str, list[SourceFile]] = defaultdict(list)
    for label in labels if wanted else ():
        names = label_names(label)
        for cell in names & {cell.strip("/") for cell in wanted}:
            named[cell].append(label)
    return Draft(loaded, rows, whereabouts.owners(labels, task), named, survey.beside, adopted=adopted)


def _of_task(labels: Iterable[Placed], task: str) -> list[SourceFile]:
    return [label for _, label in labels if label.task in (None, task)]


def _chosen(drafts: Sequence[Draft], survey: _Survey, dealt: Shelves, key: Key) -> Iterator[_Chosen]:
    """Yield every candidate of every task, with what the rules choose of it."""
    for number in range(dealt.count):
        stacks = ingest((file for _, file in dealt.read(number)), survey.damage.codes).stacks
        yield from _chosen_of(drafts, stacks, number, key)


def _chosen_of(drafts: Sequence[Draft], stacks: Sequence[Stack], number: int, key: Key) -> list[_Chosen]:
    """Return the candidates of one shelf; a series that two tasks want is refused for both."""
    chosen = [
        (draft, candidate, _choose(draft.loaded, candidate))
        for draft in drafts
        for candidate in _candidates(draft, stacks, number, key)
    ]
    wanted: dict[SourceRef, set[str]] = defaultdict(set)
    for draft, _, choice in chosen:
        for ref in _chosen_refs(choice):
            wanted[ref].add(draft.task)
    contested = {ref: sorted(names) for ref, names in wanted.items() if len(names) > 1}
    return [(draft, candidate, _uncontested(choice, contested)) for draft, candidate, choice in chosen]


def _candidates(draft: Draft, stacks: Sequence[Stack], number: int, key: Key) -> list[Candidate]:
    """Return a task's candidates among the stacks of one shelf."""
    task = draft.task
    if draft.adopted is not None:
        stacks = draft.adopted if number == 0 else ()
    own = [stack for stack in stacks if stack.task in (None, task)]
    studies = gather(own, draft.owned, lambda study: key.token("candidate", "\x00".join((task, *study))))
    if draft.rows:
        return [_from_table(row, studies, draft, key) for row in draft.rows.get(number, ())]
    wanted = [study for study in studies if _is_candidate(draft.loaded, study)]
    return wanted + _barren_subjects(studies, wanted)


def _is_candidate(loaded: LoadedRules, study: Candidate) -> bool:
    return any(is_wanted(loaded.rules, stack) for stack in study.stacks)


def _barren_subjects(studies: Sequence[Candidate], candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return a study of each bound subject that has none with a wanted series: it is refused, not lost."""
    served = {candidate.subject for candidate in candidates}
    barren: dict[str, Candidate] = {}
    for study in studies:
        if study.subject not in served and study.stacks[0].task is not None:
            barren.setdefault(study.subject, study)
    return list(barren.values())


def _from_table(row: TableRow, studies: Sequence[Candidate], draft: Draft, key: Key) -> Candidate:
    """Return a table's line with the stacks of its subject or study; a named label may lie anywhere."""
    meant = [study for study in studies if row.means(study)] or _named_by(row, studies)
    near = tuple(label for study in meant for label in study.labels)
    if row.cells.get("label"):
        near = ()
    return Candidate(
        key.token("candidate", "\x00".join((row.task, row.case))),
        row.subject,
        tuple(stack for study in meant for stack in study.stacks),
        (*(_named_labels(row, "label", draft) or near), *_named_labels(row, "brain_mask", draft)),
        row.cells,
    )


def _named_labels(row: TableRow, column: str, draft: Draft) -> tuple[SourceFile, ...]:
    """Return the labels that a cell of a table's line names, none where it is empty."""
    return tuple(draft.named.get(row.cells.get(column, "").strip("/"), ()))


def _named_by(row: TableRow, studies: Sequence[Candidate]) -> list[Candidate]:
    """Return the images of files that a table's line names, whatever subject their paths say."""
    named = [
        replace(study, stacks=tuple(stack for stack in study.stacks if _is_file_of(stack, row)))
        for study in studies
    ]
    return [study for study in named if study.stacks]


def _is_file_of(stack: Stack, row: TableRow) -> bool:
    cells = [cell for column, cell in row.cells.items() if cell and column not in NOT_CHANNELS]
    return "source" in stack.facts and any(named_stacks(cell.partition("#")[0], [stack]) for cell in cells)


def _choose(loaded: LoadedRules, candidate: Candidate) -> Choice | CurationError:
    try:
        if candidate.row and not candidate.stacks:
            raise SelectionError(
                "case-table-wrong", wanted="the subject that the table names", found="no series of it"
            )
        if not candidate.subject:
            raise SelectionError("missing-identifier", wanted="a Patient ID", found="none", where="PatientID")
        return match(loaded.rules, candidate)
    except CurationError as error:
        return error


def _chosen_refs(choice: Choice | CurationError) -> list[SourceRef]:
    if isinstance(choice, CurationError):
        return []
    return [stack.files[0].ref for stack in choice.channels.values()]


def _uncontested(
    choice: Choice | CurationError, contested: Mapping[SourceRef, Sequence[str]]
) -> Choice | CurationError:
    for ref in _chosen_refs(choice):
        if ref in contested:
            return SelectionError("two-tasks-want-it", wanted="one task", found=" and ".join(contested[ref]))
    return choice


def _entrant(candidate: Candidate, choice: Choice | CurationError, draft: Draft, key: Key) -> Entrant:
    is_labelled = (
        bool(candidate.labels or candidate.row.get("label"))
        if isinstance(choice, CurationError)
        else choice.label is not None
    )
    return Entrant(
        candidate.name,
        _token(candidate, key),
        is_labelled,
        candidate.row.get("case", ""),
        candidate.row.get("subset", ""),
        _stratum(draft, candidate, choice),
    )


def _stratum(draft: Draft, candidate: Candidate, choice: Choice | CurationError) -> str:
    """Return what the split's strata are told apart by, empty where it is unknown."""
    strata = draft.loaded.rules.cases.split.strata
    if strata is None:
        return ""
    if strata.table_column is not None:
        return candidate.row.get(strata.table_column, "")
    if isinstance(choice, CurationError):
        return ""
    value = choice.channels[draft.loaded.rules.channels[0].name].facts.get(strata.keyword or "", "")
    return json.dumps(value).casefold()


def _deal(workspace: Workspace, draft: Draft, key: Key) -> None:
    """Deal numbers, and remember them."""
    memory = workspace.private / "crosswalk" / f"{draft.task}.json"
    before, cases = ledger.read_crosswalk(memory), draft.loaded.rules.cases
    try:
        draft.dealt = deal(
            draft.entrants,
            cases,
            draft.loaded.published,
            shuffle=lambda subject: key.token(f"deal {cases.split.seed}", subject),
            before=before.cases,
            settled=before.subjects,
        )
    except SelectionError as error:
        # Without numbers there are no cases: the whole task is refused, the others go on.
        draft.refused = error
    memory.parent.mkdir(mode=0o700, exist_ok=True)
    told = {entrant.name: draft.dealt[entrant.name] for entrant in draft.entrants if draft.dealt}
    subjects = {entrant.subject: told[entrant.name][1] for entrant in draft.entrants if told}
    ledger.write_crosswalk(
        memory, ledger.Crosswalk({**before.cases, **told}, {**before.subjects, **subjects})
    )


class _Planner:
    """Write the tasks' plans line by line, and say the fate of each file of a shelf."""

    def __init__(self, workspace: Workspace, drafts: Sequence[Draft], fates: _Fates, key: Key) -> None:
        self._workspace, self._drafts, self._fates, self._key = workspace, drafts, fates, key
        self._writers = {draft.task: PlanWriter(temporary_name(workspace.scratch)) for draft in drafts}
        self._subsets: dict[str, Counter[str]] = {draft.task: Counter() for draft in drafts}
        self._warnings: dict[str, dict[str, Sequence[str]]] = {draft.task: {} for draft in drafts}
        self._proposals: dict[str, list[tuple[str, str, dict[str, str]]]] = {d.task: [] for d in drafts}

    def look_at(self, survey: _Survey, placed: Sequence[Placed], number: int, planned: set[str]) -> None:
        """Plan the cases of one shelf."""
        places: dict[SourceRef, list[int]] = defaultdict(list)
        for place, file in (*placed, *survey.labels):
            places[file.ref].append(place)
        grouping = ingest((file for _, file in placed), survey.damage.codes)
        stacks = grouping.stacks
        for file, code in grouping.set_aside:
            self._say(places[file.ref], Verdict(Fate(fate_of(code)), code, file.task or ""))
        for draft, candidate, choice in _chosen_of(self._drafts, stacks, number, self._key):
            line = self._add(draft, candidate, choice)
            for ref, verdict in _verdicts(draft, candidate, line):
                self._say(places[ref], verdict)
        tabled = {draft.task for draft in self._drafts if draft.rows}
        for stack in stacks:
            code = "not-in-table" if stack.task in tabled else "no-channel-wants-it"
            for file in stack.files:
                self._say(places[file.ref], _left(file, planned, code if file.task else "unbound"))

    def _say(self, places: Iterable[int], verdict: Verdict) -> None:
        for place in places:
            self._fates.say(place, verdict)

    def _add(self, draft: Draft, candidate: Candidate, choice: Choice | CurationError) -> CasePlan | Refusal:
        """Write a candidate's line, and count it."""
        case, subset = draft.dealt.get(candidate.name, ("", ""))
        line = _line(draft, candidate, draft.refused or choice, self._key)
        self._writers[draft.task].add(line)
        if isinstance(line, CasePlan):
            self._subsets[draft.task][subset] += 1
            if line.warnings:
                self._warnings[draft.task][case] = line.warnings
        if draft.bearers is not None:
            refused = (
                "" if isinstance(line, CasePlan) else f"{line.code}: wanted {line.wanted}, found {line.found}"
            )
            chosen = None if isinstance(draft.refused or choice, CurationError) else choice
            finding = Finding(candidate, chosen, case, subset, refused)  # type: ignore[arg-type]
            row = propose(draft.loaded.rules, finding, bearers=draft.bearers, unmet=unmet)
            self._proposals[draft.task].append((case, candidate.name, row))
        return line

    def finish(self) -> list[TaskPlan]:
        """Write the plans."""
        made = []
        for draft in self._drafts:
            task = draft.task
            path = self._workspace.plans / f"{task}.jsonl"
            written = self._writers[task].write(path, _header(draft.loaded))
            self._proposals[task].sort(key=lambda finding: finding[:2])
            proposal = [row for _, _, row in self._proposals[task]]
            warnings = dict(sorted(self._warnings[task].items()))
            made.append(
                TaskPlan(task, written.cases, written.refusals, self._subsets[task], warnings, proposal)
            )
        return made


def _token(candidate: Candidate, key: Key) -> str:
    issuers = sorted({str(stack.facts.get("IssuerOfPatientID", "")) for stack in candidate.stacks})
    return subject_token(key, candidate.subject or candidate.name, issuers[0] if issuers else "")


def _line(draft: Draft, candidate: Candidate, choice: Choice | CurationError, key: Key) -> CasePlan | Refusal:
    case, subset = draft.dealt.get(candidate.name, ("", ""))
    if not isinstance(choice, CurationError) and subset == "training" and choice.label is None:
        choice = SelectionError("no-label", wanted="a label for a training case", found="none")
    if isinstance(choice, CurationError):
        return Refusal.of(choice, task=draft.task, case=case, stage="plan")
    label = None if choice.label is None else _source(choice.label, draft)
    parts = {name: refs_and_frames(stack) for name, stack in choice.channels.items()}
    return CasePlan(
        task=draft.task,
        case=case,
        subset=subset,
        subject="hmac-sha256:" + key.digest("subject", _token(candidate, key)).hex(),
        channels={name: refs for name, (refs, _) in parts.items()},
        frames={name: frames for name, (_, frames) in parts.items() if frames},
        label=label,
        half_turn=_turn(draft.loaded, case, choice),
        warnings=tuple(choice.warnings),
        voxels={name: voxels_of(stack) for name, stack in choice.channels.items()},
        given=_given(draft, choice),
    )


def _source(label: SourceFile, draft: Draft) -> LabelSource:
    """Return a label with what lies beside it."""
    found = draft.beside.get(label.ref, Beside())
    data, names = (None if file is None else file.ref for file in (found.data, found.names))
    return LabelSource(label.kind, label.ref, label.inside, data, names)


def _given(draft: Draft, choice: Choice) -> dict[str, LabelSource]:
    """Return what the rules want beside images and label."""
    given = {} if choice.brain_mask is None else {"brain_mask": _source(choice.brain_mask, draft)}
    atlas = draft.loaded.atlas
    return given if atlas is None else {**given, "atlas": LabelSource(Kind.MASK, atlas, atlas.path)}


def _turn(loaded: LoadedRules, case: str, choice: Choice) -> Mapping[str, str] | None:
    """Return the half turn with the digest of its evidence."""
    reference = choice.channels[loaded.rules.channels[0].name]
    turn = half_turn(loaded.rules, case, reference.facts)
    return None if turn is None else {**turn, "digest": loaded.evidence[turn["evidence"]]}


def _header(loaded: LoadedRules) -> dict[str, Any]:
    published = loaded.published
    return {
        "kind": "header",
        "format": PLAN_FORMAT,
        "task": loaded.rules.task,
        "rules": loaded.rules.model_dump_json(),
        "digest": loaded.digest,
        "document": loaded.document,
        "published": None if published is None else published.model_dump_json(),
    }


def _forget_others(workspace: Workspace, plans: Sequence[TaskPlan], asked: Sequence[str]) -> None:
    """When every task was planned, a plan of a task that no source has any more goes."""
    if not asked:
        current = {made.task for made in plans}
        for path in workspace.plans.glob("*.jsonl"):
            if path.stem not in current:
                path.unlink()


def _verdicts(
    draft: Draft, candidate: Candidate, line: CasePlan | Refusal
) -> Iterator[tuple[SourceRef, Verdict]]:
    """Yield the fates of a candidate's files: in the case, refused with it, or of no use to it."""
    if isinstance(line, CasePlan):
        used = {ref: name for name, refs in line.channels.items() for ref in refs}
        if line.label is not None:
            used[line.label.ref] = "label"
        used |= {source.ref: name for name, source in line.given.items()}
    else:
        wanted = [
            stack for stack in candidate.stacks if is_wanted(draft.loaded.rules, stack)
        ] or candidate.stacks
        used = {file.ref: "image" for stack in wanted for file in stack.files}
        used |= {label.ref: "label" for label in labels_meant(candidate)}
    for file in (*(f for stack in candidate.stacks for f in stack.files), *candidate.labels):
        role = used.get(file.ref, "")
        if not role:
            code = "no-channel-wants-it" if file.kind is Kind.IMAGE else "no-case-wants-it"
            yield file.ref, Verdict(Fate.IGNORED, code, draft.task, line.case)
        elif isinstance(line, CasePlan):
            yield file.ref, Verdict(Fate.USED, "", draft.task, line.case, role)
        else:
            yield file.ref, Verdict(Fate.REFUSED, line.code, draft.task, line.case, role)


def _say_the_rest(survey: _Survey, fates: _Fates, planned: set[str]) -> None:
    """Say the fates of tables, of labels of no candidate, and of what is beside a mask: the mask's own."""
    for place, file in survey.tables:
        fates.say(place, Verdict(Fate.IGNORED, "case-table", file.task or ""))
    masks: dict[SourceRef, int] = {}
    for place, file in survey.labels:
        fates.say(place, _left(file, planned, "no-case-wants-it"))
        masks[file.ref] = place
    # Of two masks that share a description, the one used counts.
    companions: dict[SourceRef, list[int]] = defaultdict(list)
    for place, file in survey.companions:
        companions[file.ref].append(place)
    for mask, found in survey.beside.items():
        for place in (place for file in found.files for place in companions[file.ref]):
            fates.say(place, fates.of(masks[mask]))


def _left(file: SourceFile, planned: set[str], code: str) -> Verdict:
    if file.task is not None and file.task not in planned:
        return Verdict(Fate.PENDING, "", file.task)
    return Verdict(Fate.IGNORED, code, file.task or "")
