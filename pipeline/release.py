"""Build the planned cases and package a task's release."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import metadata
from pipeline.io import ledger, store, tarball
from pipeline.io.decisions import last_decisions
from pipeline.io.document import canonical, digest_of, merkle_root
from pipeline.io.durable import sweep, write_bytes
from pipeline.io.runlog import RunLog, ending, merge
from pipeline.io.signature import ENVELOPE, SIGNATURE, SigningKey, sign
from pipeline.io.workspace import Workspace
from pipeline.model.clusterfile import ClusterFile
from pipeline.model.errors import PrivacyError, UsageError
from pipeline.model.record import Finished, Json, Outcome, Refusal
from pipeline.model.series import Fate
from pipeline.orders import Orders, Request, entry_of, found_finished, software
from pipeline.planned import Planned, kept_out, planned, read_refusals
from pipeline.stages.package import Package, package
from pipeline.stages.review import STAGE as REVIEW
from pipeline.stages.review import review

if TYPE_CHECKING:
    from pipeline.cluster import StageTold
    from pipeline.verify import Part, PrivacyReport

MANIFEST_FORMAT = "curate-manifest/1"
RELEASE_FORMAT = "curate-release/1"
LEAKS_SHOWN = 20
"""Most leaks that a refusal names."""

_READERS = 4
"""Threads that look through the store: reading and hashing let the interpreter go on."""


@dataclass(frozen=True, slots=True)
class Built:
    """How a build ended, in counts, with every refusal and warning."""

    made: int
    reused: int
    refusals: Sequence[Refusal]
    warnings: Sequence[str]

    def to_json(self) -> dict[str, Json]:
        """Return the summary as one JSON object."""
        return {
            "made": self.made,
            "reused": self.reused,
            "refused": [refusal.to_json() for refusal in self.refusals],
            "warnings": list(self.warnings),
        }


def build(
    workspace: Workspace,
    tasks: Sequence[str],
    *,
    workers: int | str | ClusterFile,
    told: StageTold,
    ended: Callable[[Outcome], None],
) -> Built:
    """Make every planned case that is not finished yet; refusals do not stop the others.

    `told` hears (case, stage); `ended` hears how each case ended.
    """
    plans = planned(workspace, tasks)
    _sweep(workspace)
    finished, refusals, warnings = Counter[bool](), [], []
    for outcome in _outcomes(workspace, plans, workers, told):
        ended(outcome)
        if isinstance(outcome, Refusal):
            refusals.append(outcome)
        else:
            finished[outcome.was_made] += 1
            warnings += [f"{outcome.case}: {text}" for text in outcome.warnings]
    if finished[True] or refusals:
        # A worker that was killed as it put a case there left a part of it, and another worker made the case.
        _sweep(workspace)
    refusals.sort(key=lambda refusal: (refusal.task, refusal.case))
    _write_refusals(workspace, plans, refusals)
    _update_fates(workspace, {plan.task for plan in plans}, refusals)
    every = [*(refusal for plan in plans for refusal in plan.refusals), *refusals]
    return Built(finished[True], finished[False], every, sorted(warnings))


def _outcomes(
    workspace: Workspace, plans: Sequence[Planned], workers: int | str | ClusterFile, told: StageTold
) -> Iterator[Outcome]:
    """Yield how each planned case ended: first those that stand in the store, then what workers are started for."""
    runs = workspace.runs / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}"
    log, waiting = RunLog(runs), []
    for plan in plans:
        for request, found in zip(plan.requests, _standing(workspace, plan), strict=True):
            if found is None:
                waiting.append(request)
            else:
                log.append(ending(found))
                yield found
    log.close()
    if waiting:
        yield from _made(workspace, plans, waiting, workers=workers, runs=runs, told=told)
    merge(runs)


def _made(
    workspace: Workspace,
    plans: Sequence[Planned],
    waiting: Sequence[Request],
    *,
    workers: int | str | ClusterFile,
    runs: Path,
    told: StageTold,
) -> Iterator[Outcome]:
    """Yield how the cases end that workers are started for, if this machine has what their gates need."""
    # Here, because most of what starting costs is what makes voxels and Dask, and often nothing is to be made.
    from pipeline import cluster
    from pipeline.facegate import require_template
    from pipeline.pixelgate import Gate

    Gate(workspace.settings().screening).require()
    for plan in plans:
        require_template(plan.rules.face)
    yield from cluster.run_cases(waiting, workers=workers, workspace=workspace, runs=runs, told=told)


def _standing(workspace: Workspace, plan: Planned) -> Iterator[Finished | None]:
    """Yield for each case of a plan what stands in the store, whole by its digests."""
    orders = Orders.of(workspace, plan.rules)
    with ThreadPoolExecutor(_READERS) as pool:
        yield from pool.map(lambda case: found_finished(workspace, orders.order(case)), plan.plans)


def _sweep(workspace: Workspace) -> None:
    """Remove what killed runs and workers left in the store."""
    for folder in (workspace.store, *workspace.store.glob("??")):
        sweep(folder)


def _write_refusals(workspace: Workspace, plans: Sequence[Planned], built: Sequence[Refusal]) -> None:
    """Keep one record for each refused case of the tasks; records of what is well now go."""
    current = [*(refusal for plan in plans for refusal in plan.refusals), *built]
    names = {f"{refusal.task}-{refusal.case or 'all'}.json": refusal for refusal in current}
    for plan in plans:
        for path in workspace.refusals.glob(f"{plan.task}-*.json"):
            if path.name not in names:
                path.unlink()
    for name, refusal in names.items():
        write_bytes(workspace.refusals / name, canonical(refusal.to_json()))


def _keep_out(workspace: Workspace, task: str, refusals: Sequence[Refusal]) -> None:
    """Write down which finished cases review keeps out: a record each, and in the fates of their files."""
    before = kept_out(workspace, task)
    if not before and not refusals:
        return
    for refusal in before:
        (workspace.refusals / f"{task}-{refusal.case}.json").unlink()
    for refusal in refusals:
        write_bytes(workspace.refusals / f"{task}-{refusal.case}.json", canonical(refusal.to_json()))
    _update_fates(workspace, {task}, refusals, REVIEW)


def _update_fates(
    workspace: Workspace, tasks: set[str], refusals: Sequence[Refusal], stage: str = "build"
) -> None:
    """Say in fates.csv which planned files' cases were refused, or no longer are, in a stage after the plan."""
    path = workspace.private / "fates.csv"
    refused = {(refusal.task, refusal.case): refusal.code for refusal in refusals}
    if not refused and not ledger.may_name_stages(path, (stage, REVIEW)):
        return

    def judged(row: dict[str, str]) -> dict[str, str]:
        is_planned = row["fate"] == Fate.USED.value or row["stage"] in (stage, REVIEW)
        if row["task"] in tasks and row["role"] and is_planned:
            code = refused.get((row["task"], row["case"]), "")
            row["code"], row["fate"] = code, (Fate.REFUSED if code else Fate.USED).value
            row["stage"] = stage if code else "plan"
        return row

    # Mostly nothing is otherwise than before, and to write takes twice as long as to read.
    if any(judged(dict(row)) != row for row in ledger.read_fates(path)):
        ledger.rewrite_fates(path, map(judged, ledger.read_fates(path)))


@dataclass(frozen=True, slots=True)
class Packed:
    """One task of a release, in counts."""

    task: str
    entry: Mapping[str, Json]
    missing: int
    missing_cases: Sequence[str] = ()

    def to_json(self) -> dict[str, Json]:
        """Return the task's entry of release.json, and how many published ids it lacks and which."""
        return {**self.entry, "missing": self.missing, "missing_cases": list(self.missing_cases)}


def pack(
    workspace: Workspace,
    release: Path,
    tasks: Sequence[str],
    *,
    told: Callable[[str], None],
    key: SigningKey | None = None,
) -> list[Packed]:
    """Write TAR and manifest of each built task, then release.json, its signatures, and SHA256SUMS.

    Tasks that are in the release already and are not asked for stay. Without a key, signatures stay if they
    still fit, and go if release.json is another now.

    Raises
    ------
    UsageError
        output-exists, build-unfinished, nothing-built when no task has a finished case, or nothing-accepted
        when review keeps all of them out.
    PrivacyError
        leak-found, before anything is written, when anything of a source is in what would be released.
    """
    # What reads DICOM takes long to import, and a build needs none of it here.
    from pipeline.verify import verify_pack

    before = _present_tasks(release)
    plans = planned(workspace, tasks)
    laid_out = _laid_out(workspace, plans)
    refuse_leaks(
        verify_pack(workspace.root, [plan.task for plan, _ in laid_out], lambda: _parts(workspace, laid_out))
    )
    release.mkdir(parents=True, exist_ok=True)
    sweep(release)
    packed = []
    for plan, made in laid_out:
        told(plan.task)
        packed.append(_pack_task(workspace, release, plan, made))
    lacking = {plan.task for plan in plans} - {task.task for task in packed}
    _withdraw(release, [task for task in sorted(lacking) if kept_out(workspace, task)], before)
    entries = {**before, **{task.task: dict(task.entry) for task in packed}}
    _write_release(workspace, release, [entries[task] for task in sorted(entries)], key)
    return packed


def _laid_out(workspace: Workspace, plans: Sequence[Planned]) -> list[tuple[Planned, Package]]:
    """Return the tasks that have a finished case, with what goes into each one's release."""
    laid_out = []
    for plan in plans:
        records, refusals = _reviewed(workspace, plan)
        if records:
            laid_out.append((plan, package(plan.rules, records, refusals, plan.published)))
    if not laid_out:
        code = (
            "nothing-accepted" if any(kept_out(workspace, plan.task) for plan in plans) else "nothing-built"
        )
        raise UsageError(code, wanted="a finished case that review lets through", found="none")
    return laid_out


def _parts(workspace: Workspace, laid_out: Sequence[tuple[Planned, Package]]) -> Iterator[Part]:
    """Yield everything that would be written for the tasks, as the verifier wants it."""
    from pipeline.verify import Part

    for plan, made in laid_out:
        task = plan.task
        yield Part(f"{task}.tar", f"{task}/dataset.json", "", made.dataset)
        manifest = f"{task}.manifest.jsonl"
        yield Part(manifest, "line 1", "", canonical(_header(workspace, plan, made)))
        cases: dict[str, str] = {}
        for number, line in enumerate(made.lines, 2):
            case = f"{task}/{line['case']}"
            yield Part(manifest, f"line {number}", case if line["case"] else "", canonical(line))
            members = line.get("members")
            if isinstance(members, dict):
                cases |= {str(name): case for name in members.values() if name is not None}
        for name, (entry, file) in made.members.items():
            yield Part(f"{task}.tar", f"name of {name}", cases[name], name.encode())
            yield Part(f"{task}.tar", name, cases[name], workspace.store / entry / file)


def refuse_leaks(report: PrivacyReport) -> None:
    """Refuse to go on with what a verifier found something in; names the first places, never a value."""
    if report.findings:
        shown = "; ".join(map(str, report.findings[:LEAKS_SHOWN]))
        more = len(report.findings) + report.unlisted - LEAKS_SHOWN
        raise PrivacyError(
            "leak-found",
            wanted="released bytes without anything of the sources",
            found=shown + (f"; and {more} more" if more > 0 else ""),
        )


def _present_tasks(release: Path) -> dict[str, dict[str, Json]]:
    """Return the tasks of a release that is there, none for a new or empty folder."""
    path = release / "release.json"
    if path.is_file():
        return {entry["task"]: entry for entry in json.loads(path.read_bytes())["tasks"]}
    # A killed pack leaves whole files of ours; anything else is somebody's.
    odd = (
        [p for p in release.iterdir() if not p.name.startswith(("Task", ".tmp-", "SHA256SUMS"))]
        if release.is_dir()
        else []
    )
    if odd or (release.exists() and not release.is_dir()):
        raise UsageError("output-exists", wanted="a release or an empty folder", found="something else")
    return {}


def _finished(workspace: Workspace, plan: Planned) -> tuple[dict[str, Mapping[str, Any]], list[Refusal]]:
    """Return store entry -> record of a plan's finished cases, and the refusals of the others."""
    refused = {refusal.case: refusal for refusal in read_refusals(workspace, plan.task)}
    orders = Orders.of(workspace, plan.rules)
    records: dict[str, Mapping[str, Any]] = {}
    refusals = list(plan.refusals)
    for case in plan.plans:
        entry = entry_of(orders.order(case))
        record = store.find(workspace.store, entry)
        if record is not None:
            records[entry] = record
        elif case.case in refused:
            refusals.append(refused[case.case])
        else:
            raise UsageError(
                "build-unfinished",
                wanted="every planned case finished or refused",
                found=f"{case.case} neither",
            )
    return records, refusals


def _reviewed(workspace: Workspace, plan: Planned) -> tuple[dict[str, Mapping[str, Any]], list[Refusal]]:
    """Return what `_finished` does, judged: records say what the reviewer said, or are refusals."""
    records, refusals = _finished(workspace, plan)
    is_required = workspace.settings().review == "required"
    decisions = last_decisions(workspace, plan.task)
    released: dict[str, Mapping[str, Any]] = {}
    out = []
    for entry, record in records.items():
        judged = review(record, decisions.get(record["case"]), is_required=is_required)
        if judged.refusal is None:
            released[entry] = {**record, "review": judged.note}
        else:
            out.append(judged.refusal)
    _keep_out(workspace, plan.task, out)
    return released, [*refusals, *out]


def _withdraw(release: Path, tasks: Sequence[str], entries: dict[str, dict[str, Json]]) -> None:
    """Take tasks away of which review lets no case through, before release.json stops to name them."""
    for task in tasks:
        if entries.pop(task, None) is not None:
            for name in (f"{task}.tar", f"{task}.manifest.jsonl"):
                (release / name).unlink(missing_ok=True)


def _pack_task(workspace: Workspace, release: Path, plan: Planned, made: Package) -> Packed:
    task = plan.task
    members: list[tuple[str, Path | bytes]] = [(f"{task}/dataset.json", made.dataset)]
    members += [(name, workspace.store / entry / file) for name, (entry, file) in made.members.items()]
    tar = tarball.write(release / f"{task}.tar", members)
    if made.withheld:
        hidden = [(name, workspace.store / entry / file) for name, (entry, file) in made.withheld.items()]
        tarball.write(workspace.withheld / f"{task}_labelsTs.tar", hidden)
    lines = [canonical(line) for line in (_header(workspace, plan, made), *made.lines)]
    content = b"".join(line + b"\n" for line in lines)
    path = release / f"{task}.manifest.jsonl"
    write_bytes(path, content)
    counts = _counts(made)
    manifest: dict[str, Json] = {
        "file": path.name,
        "digest": digest_of(content),
        "lines": len(lines),
        "merkle_root": merkle_root(lines),
    }
    entry: dict[str, Json] = {
        "task": task,
        "tar": tar,
        "manifest": manifest,
        **{k: counts[k] for k in ("training", "test", "refused")},
    }
    return Packed(task, entry, len(made.missing), tuple(made.missing))


def _counts(made: Package) -> dict[str, int]:
    kinds = Counter(str(line.get("subset", "refused")) for line in made.lines)
    return {
        "training": kinds["training"],
        "test": kinds["test"],
        "refused": kinds["refused"],
        "missing": len(made.missing),
    }


def _header(workspace: Workspace, plan: Planned, made: Package) -> dict[str, Json]:
    """Return the manifest's first line."""
    rules = plan.rules
    document = plan.header["document"]
    return {
        "kind": "header",
        "format": MANIFEST_FORMAT,
        "task": plan.task,
        "tar": f"{plan.task}.tar",
        "rules": {"digest": plan.header["digest"], "document": document},
        "dataset": {
            "member": f"{plan.task}/dataset.json",
            "digest": digest_of(made.dataset),
            "size": len(made.dataset),
        },
        "key": workspace.key().fingerprint,
        "channels": [
            {k: channel[k] for k in ("name", "quantity", "scale")} for channel in document["channels"]
        ],
        "classes": {"0": "background", **{str(item.value): item.name for item in rules.label.classes}},
        "counts": _counts(made),
        "missing": list(made.missing),
        "review": workspace.settings().review,
        "software": software(),
    }


def _write_release(
    workspace: Workspace, release: Path, entries: Sequence[Mapping[str, Any]], key: SigningKey | None
) -> None:
    document = canonical(
        {
            "format": RELEASE_FORMAT,
            "key": workspace.key().fingerprint,
            "software": software(),
            "tasks": [dict(entry) for entry in entries],
        }
    )
    digests = {"release.json": digest_of(document), **_write_signatures(release, document, entries, key)}
    for entry in entries:
        for part in ("tar", "manifest"):
            digests[entry[part]["file"]] = entry[part]["digest"]
    digests |= _write_metadata(workspace, release, entries)
    lines = [f"{digests[name].removeprefix('sha256:')}  {name}\n" for name in sorted(digests)]
    write_bytes(release / "SHA256SUMS", "".join(lines).encode("ascii"))


def _write_signatures(
    release: Path, document: bytes, entries: Sequence[Mapping[str, Any]], key: SigningKey | None
) -> dict[str, str]:
    """Write release.json and what signs it; return the digests of the signatures that are there then."""
    path, paths = release / "release.json", [release / name for name in (SIGNATURE, ENVELOPE)]
    is_other = not path.is_file() or path.read_bytes() != document
    if is_other or key is not None:
        # Before release.json is another one: at no moment does it stand beside a signature of its forerunner.
        for signature in paths:
            signature.unlink(missing_ok=True)
    write_bytes(path, document)
    if key is not None:
        for name, content in sign(key, document, entries).items():
            write_bytes(release / name, content)
    return {path.name: digest_of(path.read_bytes()) for path in paths if path.is_file()}


def _write_metadata(
    workspace: Workspace, release: Path, entries: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    """Write what the settings let be said for catalogues; return the digests. What an earlier pack wrote goes."""
    publication = workspace.settings().publication
    made = {} if publication is None else metadata.describe(release, entries, publication)
    for name in _summed(release).intersection(metadata.NAMES).difference(made):
        (release / name).unlink(missing_ok=True)
    for name, content in made.items():
        write_bytes(release / name, content)
    return {name: digest_of(content) for name, content in made.items()}


def _summed(release: Path) -> set[str]:
    """Return the files that SHA256SUMS names: ours, and not what somebody laid beside them."""
    path = release / "SHA256SUMS"
    return {line[66:] for line in path.read_text("ascii").splitlines()} if path.is_file() else set()
