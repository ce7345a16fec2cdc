"""Plan which files make which case, and give every input file its fate."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.io import ledger
from pipeline.io.document import escaped, write_lines
from pipeline.io.ledger import Row
from pipeline.io.ruleset import LoadedRules, load_rules
from pipeline.io.table import NOT_CHANNELS, CaseTable, TableRow, read_table
from pipeline.io.workspace import Workspace
from pipeline.model.errors import CurationError, RulesError, SelectionError, UsageError, fate_of
from pipeline.model.identified import Key
from pipeline.model.plan import Candidate, CasePlan, Choice, LabelSource, refs_and_frames, voxels_of
from pipeline.model.record import Json, Refusal
from pipeline.model.rules import TaskRules
from pipeline.model.series import Fate, Kind, SourceFile, SourceRef, Stack
from pipeline.stages.adopt import adopt
from pipeline.stages.deidentify import subject_token
from pipeline.stages.draft import DraftChannel, learn
from pipeline.stages.gather import gather
from pipeline.stages.ingest import Grouping, ingest
from pipeline.stages.match import half_turn, is_wanted, labels_meant, match, named_stacks, unmet
from pipeline.stages.pair import Beside, pair
from pipeline.stages.propose import Finding, propose
from pipeline.stages.split import Entrant, deal

PLAN_FORMAT = "curate-plan/1"


@dataclass(frozen=True, slots=True)
class Draft:
    """One task's plan while it is made: its rules, its candidates, and what was chosen of each."""

    loaded: LoadedRules
    candidates: Sequence[Candidate]
    chosen: Mapping[str, Choice | CurationError]
    has_table: bool
    labels: Sequence[SourceFile]
    beside: Mapping[SourceRef, Beside] = field(default_factory=dict)

    @property
    def task(self) -> str:
        """The task's name."""
        return self.loaded.rules.task


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """A finished plan of one task, as the summary tells it."""

    task: str
    cases: Sequence[CasePlan]
    refusals: Sequence[Refusal]
    proposal: Sequence[Mapping[str, str]] = ()
    """The plan as lines of a case table; private."""

    def to_json(self) -> dict[str, Json]:
        """Return counts, case ids and refusals; no identity."""
        return {
            "task": self.task,
            "training": sum(case.subset == "training" for case in self.cases),
            "test": sum(case.subset == "test" for case in self.cases),
            "refused": [refusal.to_json() for refusal in self.refusals],
            "warnings": [f"{case.case}: {text}" for case in self.cases for text in case.warnings],
        }


@dataclass(slots=True)
class _Fates:
    """The fate of every file while plans are made: a used file stays used, whatever another task says."""

    rows: dict[SourceRef, Row] = field(default_factory=dict)

    def say(self, row: Row) -> None:
        before = self.rows.get(row.file.ref)
        if before is None or _WEIGHT[row.fate] > _WEIGHT[before.fate]:
            self.rows[row.file.ref] = row


_WEIGHT = {Fate.PENDING: 0, Fate.IGNORED: 1, Fate.REFUSED: 2, Fate.USED: 3}


def plan(
    workspace: Workspace, tasks: Sequence[str], *, rules: Path | None = None, cases: Path | None = None
) -> list[TaskPlan]:
    """Plan every task that is asked for, or that the index is bound to; write plans and fates.

    Raises
    ------
    UsageError
        nothing-indexed, rules-not-found, rules-invalid, or a case table that does not read.
    """
    known = load_rules(rules or _own_rules(workspace))
    files = list(ledger.read_index(workspace.index))
    if not files:
        raise UsageError("nothing-indexed", wanted="an index", found="none")
    beside = pair(files)
    belonging = {file.ref for found in beside.values() for file in found.files}
    grouping = ingest(file for file in files if file.ref not in belonging)
    key = workspace.key()
    tables = _tables(grouping, cases, known)
    data = {ref: found.data for ref, found in beside.items() if found.data is not None}
    drafts = [
        _draft(_rules_of(task, known), _adopted(grouping, _rules_of(task, known).rules, data), tables, key)
        for task in _asked(tasks, files, known)
    ]
    drafts = _refuse_contested([draft for draft in drafts if draft.candidates or draft.task in tasks])
    fates = _Fates()
    drafts = [replace(draft, beside=beside) for draft in drafts]
    plans = [_finish(workspace, draft, key, fates) for draft in drafts]
    _forget_others(workspace, plans, tasks)
    _say_the_rest(grouping, drafts, fates, set(_asked(tasks, files, known)))
    _say_what_is_beside(beside, fates)
    ledger.write_fates(workspace.private / "fates.csv", [fates.rows[file.ref] for file in files], key)
    return plans


def learn_channels(workspace: Workspace, table: Path, task: str) -> list[DraftChannel]:
    """Return a channel for each column of a case table, learnt from the indexed series that it names for a task.

    Raises
    ------
    UsageError
        case-table-wrong if a cell names no series or several, or a column none at all.
    """
    grouping = ingest(ledger.read_index(workspace.index))
    told = read_table(table, None)
    named: dict[str, list[Stack]] = {column: [] for column in told.channels}
    for number, row in enumerate(told.rows, start=1):
        own = [stack for stack in grouping.stacks if stack.subject == row.subject]
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


def _own_rules(workspace: Workspace) -> Path | None:
    folder = workspace.settings().rules
    return None if folder is None else (workspace.root / folder)


def _asked(tasks: Sequence[str], files: Iterable[SourceFile], known: Mapping[str, LoadedRules]) -> list[str]:
    """Return the tasks to plan: those named, else those bound, and all others too if a source is unbound."""
    if tasks:
        return sorted(set(tasks))
    bound = {file.task for file in files}
    named = {task for task in bound if task is not None}
    return sorted(named | set(known) if None in bound else named)


def _rules_of(task: str, known: Mapping[str, LoadedRules]) -> LoadedRules:
    if task not in known:
        raise RulesError(
            "rules-not-found", wanted=f"{task}.yaml", found="rules for " + ", ".join(sorted(known))
        )
    return known[task]


def _tables(grouping: Grouping, given: Path | None, known: Iterable[str]) -> list[CaseTable]:
    found = [read_table(Path(file.ref.path), file) for file in grouping.tables]
    tables = [read_table(given, None)] if given is not None else found
    for number, row in ((n, row) for table in tables for n, row in enumerate(table.rows, start=1)):
        # A misspelt task must not mean that its cases are dealt out as if there were no table.
        if row.task not in known:
            raise UsageError(
                "case-table-wrong", wanted="a task with rules", found="another", where=f"row {number}, task"
            )
    return tables


def _adopted(grouping: Grouping, rules: TaskRules, data: Mapping[SourceRef, SourceFile]) -> Grouping:
    """Return a grouping as a task sees it: files that are no longer DICOM are images where its rules say so."""
    if rules.source is None:
        return grouping
    own = [label for label in grouping.labels if label.task in (None, rules.task)]
    files = [label for label in own if label.kind is Kind.MASK]
    taken = adopt(files, rules.source, is_wanted=lambda stack: is_wanted(rules, stack), data=data)
    objects = [label for label in own if label.kind is not Kind.MASK]
    return replace(grouping, stacks=taken.stacks, labels=[*objects, *taken.masks])


def _draft(loaded: LoadedRules, grouping: Grouping, tables: Sequence[CaseTable], key: Key) -> Draft:
    task = loaded.rules.task
    stacks = [stack for stack in grouping.stacks if stack.task in (None, task)]
    labels = [label for label in grouping.labels if label.task in (None, task)]
    rows = [row for table in tables for row in table.rows_of(loaded.rules)]
    studies = gather(stacks, labels, lambda study: key.token("candidate", "\x00".join((task, *study))))
    if rows:
        candidates = [_from_table(row, studies, labels, key) for row in rows]
    else:
        candidates = [study for study in studies if _is_candidate(loaded, study)]
        candidates += _barren_subjects(studies, candidates)
    chosen = {candidate.name: _choose(loaded, candidate) for candidate in candidates}
    return Draft(loaded, candidates, chosen, bool(rows), labels)


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


def _from_table(
    row: TableRow, studies: Sequence[Candidate], labels: Sequence[SourceFile], key: Key
) -> Candidate:
    """Return a table's line with the stacks of its subject or study; a named label may lie anywhere."""
    meant = [study for study in studies if row.means(study)] or _named_by(row, studies)
    near = tuple(label for study in meant for label in study.labels)
    return Candidate(
        key.token("candidate", "\x00".join((row.task, row.case))),
        row.subject,
        tuple(stack for study in meant for stack in study.stacks),
        tuple(labels) if row.cells.get("label") else near,
        row.cells,
    )


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


def _refuse_contested(drafts: Sequence[Draft]) -> list[Draft]:
    """Refuse, for every task, a series of an unbound source that more than one of them chose."""
    wanted: dict[SourceRef, set[str]] = defaultdict(set)
    for draft in drafts:
        for ref in (ref for choice in draft.chosen.values() for ref in _chosen_refs(choice)):
            wanted[ref].add(draft.task)
    contested = {ref: sorted(names) for ref, names in wanted.items() if len(names) > 1}
    return [
        replace(draft, chosen={n: _uncontested(c, contested) for n, c in draft.chosen.items()})
        for draft in drafts
    ]


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


def _finish(workspace: Workspace, draft: Draft, key: Key, fates: _Fates) -> TaskPlan:
    """Deal numbers, write the task's plan, and say the fates of its files."""
    memory = workspace.private / "crosswalk" / f"{draft.task}.json"
    before = ledger.read_crosswalk(memory)
    try:
        dealt = deal(
            [_entrant(candidate, draft, key) for candidate in draft.candidates],
            draft.loaded.rules.cases,
            draft.loaded.published,
            shuffle=lambda subject: key.token(f"deal {draft.loaded.rules.cases.split.seed}", subject),
            before=before.cases,
            settled=before.subjects,
        )
    except SelectionError as error:
        # Without numbers there are no cases: the whole task is refused, the others go on.
        dealt = {candidate.name: ("", "") for candidate in draft.candidates}
        draft = replace(draft, chosen=dict.fromkeys(dealt, error))
    lines = [_line(draft, candidate, dealt[candidate.name], key) for candidate in draft.candidates]
    made = TaskPlan(
        draft.task,
        sorted((line for line in lines if isinstance(line, CasePlan)), key=lambda line: line.case),
        sorted((line for line in lines if isinstance(line, Refusal)), key=lambda line: line.case),
        _proposal(draft, [(c, dealt[c.name], line) for c, line in zip(draft.candidates, lines, strict=True)]),
    )
    memory.parent.mkdir(mode=0o700, exist_ok=True)
    ledger.write_crosswalk(memory, _remembered(before, draft.candidates, dealt, key))
    _write(workspace, draft.loaded, made)
    for candidate, line in zip(draft.candidates, lines, strict=True):
        _say(draft, candidate, line, fates)
    return made


def _proposal(
    draft: Draft, lines: Sequence[tuple[Candidate, tuple[str, str], CasePlan | Refusal]]
) -> list[dict[str, str]]:
    """Return the plan as lines of a case table, by case."""
    findings = []
    for candidate, (case, subset), line in lines:
        refused = (
            f"{line.code}: wanted {line.wanted}, found {line.found}" if isinstance(line, Refusal) else ""
        )
        choice = draft.chosen[candidate.name]
        chosen = None if isinstance(choice, CurationError) else choice
        findings.append(Finding(candidate, chosen, case, subset, refused))
    findings.sort(key=lambda finding: (finding.case, finding.candidate.name))
    labels = draft.labels
    return [propose(draft.loaded.rules, finding, labels=labels, unmet=unmet) for finding in findings]


def _remembered(
    before: ledger.Crosswalk, candidates: Sequence[Candidate], dealt: Mapping[str, tuple[str, str]], key: Key
) -> ledger.Crosswalk:
    """Return what this plan and the earlier ones dealt."""
    told = {candidate.name: dealt[candidate.name] for candidate in candidates if dealt[candidate.name][0]}
    subjects = {
        _token(candidate, key): told[candidate.name][1] for candidate in candidates if candidate.name in told
    }
    return ledger.Crosswalk({**before.cases, **told}, {**before.subjects, **subjects})


def _entrant(candidate: Candidate, draft: Draft, key: Key) -> Entrant:
    choice = draft.chosen[candidate.name]
    is_labelled = bool(candidate.labels) if isinstance(choice, CurationError) else choice.label is not None
    subject = _token(candidate, key)
    return Entrant(
        candidate.name,
        subject,
        is_labelled,
        candidate.row.get("case", ""),
        candidate.row.get("subset", ""),
        _stratum(draft, candidate),
    )


def _stratum(draft: Draft, candidate: Candidate) -> str:
    """Return what the split's strata are told apart by, empty where it is unknown."""
    strata, choice = draft.loaded.rules.cases.split.strata, draft.chosen[candidate.name]
    if strata is None:
        return ""
    if strata.table_column is not None:
        return candidate.row.get(strata.table_column, "")
    if isinstance(choice, CurationError):
        return ""
    value = choice.channels[draft.loaded.rules.channels[0].name].facts.get(strata.keyword or "", "")
    return json.dumps(value).casefold()


def _token(candidate: Candidate, key: Key) -> str:
    issuers = sorted({str(stack.facts.get("IssuerOfPatientID", "")) for stack in candidate.stacks})
    return subject_token(key, candidate.subject or candidate.name, issuers[0] if issuers else "")


def _line(draft: Draft, candidate: Candidate, dealt: tuple[str, str], key: Key) -> CasePlan | Refusal:
    choice, (case, subset) = draft.chosen[candidate.name], dealt
    if not isinstance(choice, CurationError) and subset == "training" and choice.label is None:
        choice = SelectionError("no-label", wanted="a label for a training case", found="none")
    if isinstance(choice, CurationError):
        return Refusal.of(choice, task=draft.task, case=case, stage="plan")
    label = None
    if choice.label is not None:
        found = draft.beside.get(choice.label.ref, Beside())
        data, names = (None if file is None else file.ref for file in (found.data, found.names))
        label = LabelSource(choice.label.kind, choice.label.ref, choice.label.inside, data, names)
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
    )


def _turn(loaded: LoadedRules, case: str, choice: Choice) -> Mapping[str, str] | None:
    """Return the half turn with the digest of its evidence."""
    reference = choice.channels[loaded.rules.channels[0].name]
    turn = half_turn(loaded.rules, case, reference.facts)
    return None if turn is None else {**turn, "digest": loaded.evidence[turn["evidence"]]}


def _write(workspace: Workspace, loaded: LoadedRules, made: TaskPlan) -> None:
    published = loaded.published
    header: dict[str, Any] = {
        "kind": "header",
        "format": PLAN_FORMAT,
        "task": made.task,
        "rules": loaded.rules.model_dump_json(),
        "digest": loaded.digest,
        "document": loaded.document,
        "published": None if published is None else published.model_dump_json(),
    }
    lines = [case.to_json() for case in made.cases]
    lines += [{"kind": "refusal", **refusal.to_json()} for refusal in made.refusals]
    write_lines(workspace.plans / f"{made.task}.jsonl", [header, *lines], mode=0o600, encode=escaped)


def _forget_others(workspace: Workspace, plans: Sequence[TaskPlan], asked: Sequence[str]) -> None:
    """When every task was planned, a plan of a task that no source has any more goes."""
    if not asked:
        current = {made.task for made in plans}
        for path in workspace.plans.glob("*.jsonl"):
            if path.stem not in current:
                path.unlink()


def _say(draft: Draft, candidate: Candidate, line: CasePlan | Refusal, fates: _Fates) -> None:
    """Say the fates of a candidate's files: in the case, refused with it, or of no use to it."""
    if isinstance(line, CasePlan):
        used = {ref: name for name, refs in line.channels.items() for ref in refs}
        if line.label is not None:
            used[line.label.ref] = "label"
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
            fates.say(Row(file, Fate.IGNORED, code, draft.task, line.case))
        elif isinstance(line, CasePlan):
            fates.say(Row(file, Fate.USED, "", draft.task, line.case, role))
        else:
            fates.say(Row(file, Fate.REFUSED, line.code, draft.task, line.case, role))


def _say_the_rest(grouping: Grouping, drafts: Sequence[Draft], fates: _Fates, planned: set[str]) -> None:
    """Say the fates of files that are in no candidate."""
    tabled = {draft.task for draft in drafts if draft.has_table}
    for file, code in grouping.set_aside:
        fates.say(Row(file, Fate(fate_of(code)), code, file.task or ""))
    for file in grouping.tables:
        fates.say(Row(file, Fate.IGNORED, "case-table", file.task or ""))
    for stack in grouping.stacks:
        code = "not-in-table" if stack.task in tabled else "no-channel-wants-it"
        for file in stack.files:
            fates.say(_left(file, planned, code if file.task else "unbound"))
    for label in grouping.labels:
        fates.say(_left(label, planned, "no-case-wants-it"))


def _say_what_is_beside(beside: Mapping[SourceRef, Beside], fates: _Fates) -> None:
    """Give what belongs to a mask the mask's fate; of two masks that share it, the one used counts."""
    for mask, found in beside.items():
        for file in found.files:
            fates.say(replace(fates.rows[mask], file=file))


def _left(file: SourceFile, planned: set[str], code: str) -> Row:
    if file.task is not None and file.task not in planned:
        return Row(file, Fate.PENDING, "", file.task)
    return Row(file, Fate.IGNORED, code, file.task or "")
