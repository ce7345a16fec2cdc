"""Find and read the rules of all tasks.

A rules file is checked as YAML (`plainyaml`), against the model (`strict`) and across its parts with the
files that it names (`rulecheck`); all that was found is said at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.io.document import canonical, digest_of
from pipeline.io.plainyaml import SIZE_LIMIT, TWICE, Document, Fault, read_plain
from pipeline.io.rulecheck import crossed, split_faults
from pipeline.io.strict import at, held_against, model_keys, quoted, suggest
from pipeline.model.errors import RulesError
from pipeline.model.record import Json, decimal
from pipeline.model.rules import PublishedSplit, TaskRules
from pipeline.model.series import SourceRef

__all__ = ["LoadedRules", "load_rules", "load_task", "rules_schema", "shipped_rules", "suggest"]

FAULT_LIMIT = 50
"""How many faults one message names; nobody corrects more in one go."""


@dataclass(frozen=True, slots=True)
class LoadedRules:
    """A task's rules as read: the values, the published ids, and the canonical form with its digest.

    `document` holds every key, defaults too, with numbers as decimal text; `digest` is that of its canonical
    JSON, so that comments, order and layout of the file do not matter.
    """

    rules: TaskRules
    digest: str
    published: PublishedSplit | None
    document: Json
    evidence: Mapping[str, str] = field(default_factory=dict)
    """What a half turn names as evidence -> the digest of the file, empty for a reference."""
    atlas: SourceRef | None = None
    """The file that `atlas` names."""


def shipped_rules() -> Path:
    """Return the folder of the rules that ship: inside the wheel, or `rules/` beside the package."""
    return _shipped("rules")


def _shipped(name: str) -> Path:
    package = Path(__file__).resolve().parents[1]
    inside = package / "_shipped" / name
    return inside if inside.is_dir() else package.parent / name


def load_rules(folder: Path | None = None) -> dict[str, LoadedRules]:
    """Return the rules of every task, by task name, sorted.

    Parameters
    ----------
    folder
        A curator's own rules: each `*.yaml` in it adds a task or replaces the shipped one of that name.

    Raises
    ------
    RulesError
        rules-not-found, when the folder holds no rules; rules-invalid, with the faults of all files.
    """
    loaded = _load_folder(shipped_rules())
    if folder is not None:
        loaded |= _load_folder(folder)
    return dict(sorted(loaded.items()))


def load_task(path: Path) -> LoadedRules:
    """Return the rules that one file holds.

    Raises
    ------
    RulesError
        rules-not-found, or rules-invalid with every fault and its place.
    """
    loaded, faults = _load(path)
    if loaded is None:
        raise _invalid(faults, path)
    return loaded


def rules_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a rules file."""
    schema = TaskRules.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _load_folder(folder: Path) -> dict[str, LoadedRules]:
    loaded: dict[str, LoadedRules] = {}
    faults: list[str] = []
    paths = sorted(p for p in folder.glob("*.y*ml") if p.suffix in (".yaml", ".yml"))
    if not paths:
        raise RulesError(
            "rules-not-found", wanted="a folder with rules, TaskNN_Name.yaml", found="none", where=str(folder)
        )
    for path in paths:
        one, found = _load(path)
        faults += [f"{path.name}: {fault}" for fault in found]
        if one is not None and one.rules.task in loaded:
            faults.append(f"{path.name}: $.task: wanted one file a task, found {one.rules.task} again")
        elif one is not None:
            loaded[one.rules.task] = one
    if faults:
        raise _invalid(faults, folder)
    return loaded


def _invalid(faults: list[str], where: Path) -> RulesError:
    shown = faults[:FAULT_LIMIT]
    if len(faults) > FAULT_LIMIT:
        shown.append(f"and {len(faults) - FAULT_LIMIT} more")
    return RulesError("rules-invalid", wanted="valid rules", found="\n".join(shown), where=str(where))


def _load(path: Path) -> tuple[LoadedRules | None, list[str]]:
    """Return the rules of a file, or None and its faults as text."""
    document = _read(path)
    rules, found = held_against(TaskRules, document, model_keys(TaskRules))
    folders = (path.parent, _shipped("manifests"))
    across = [replace(f, line=document.line_of(f.place)) for f in crossed(document.value, folders)]
    odd = {fault.place for fault in document.faults if fault.wanted != TWICE}
    kept = [fault for fault in found if fault.place not in odd and not _is_said_by(fault, across)]
    ordered = sorted([*document.faults, *kept, *across], key=lambda fault: (fault.line or 0, str(fault)))
    faults = [str(fault) for fault in ordered]
    published: PublishedSplit | None = None
    missing: list[str] = []
    name = at(document.value, ("cases", "published"))
    if isinstance(name, str):
        published, missing = _load_split(path.parent, name, rules)
    atlas, lost = _load_atlas(path.parent, at(document.value, ("atlas", "file")))
    if rules is None or faults or missing or lost:
        return None, faults + missing + lost
    form = canonical_form(rules)
    named = {turn.evidence: _evidence_digest(turn.evidence, folders) for turn in rules.half_turns}
    return LoadedRules(rules, digest_of(canonical(form)), published, form, named, atlas), []


def _load_atlas(folder: Path, name: Any) -> tuple[SourceRef | None, list[str]]:
    """Return the file that a rules file names as its atlas: beside it, or by a full path."""
    if not isinstance(name, str):
        return None, []
    path = (folder / name).resolve()
    if not path.is_file():
        return None, [f"$.atlas.file: wanted a file beside the rules, found no {quoted(name)} there"]
    digest, size = hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size
    return SourceRef(str(path), None, digest, size), []


def _evidence_digest(evidence: str, folders: Sequence[Path]) -> str:
    for folder in folders:
        if (folder / evidence).is_file():
            return digest_of((folder / evidence).read_bytes())
    return ""


def _is_said_by(fault: Fault, across: list[Fault]) -> bool:
    """Whether a check across parts says more precisely what a model said of the whole."""
    is_of_whole = fault.found.startswith("{")
    return is_of_whole and any(other.place[: len(fault.place)] == fault.place for other in across)


def _read(path: Path) -> Document:
    try:
        with path.open("rb") as stream:
            return read_plain(stream.read(SIZE_LIMIT + 1))
    except OSError as fault:
        raise RulesError(
            "rules-not-found",
            wanted="a rules file that can be read",
            found=type(fault).__name__,
            where=str(path),
        ) from fault


def canonical_form(rules: TaskRules) -> Json:
    """Return rules as a JSON document: every key that has a value, numbers as decimal text."""
    return _decimal_texts(rules.model_dump(mode="json", exclude_none=True))


def _decimal_texts(value: Any) -> Json:
    if isinstance(value, dict):
        return {key: _decimal_texts(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_decimal_texts(inner) for inner in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return decimal(value)
    text: Json = value
    return text


def _load_split(folder: Path, name: str, rules: TaskRules | None) -> tuple[PublishedSplit | None, list[str]]:
    """Return the published ids that a rules file names: beside it, else among those that ship."""
    if PurePosixPath(name).name != name or name.startswith("."):
        return None, [f"$.cases.published: wanted a file's name under splits/, found {quoted(name)}"]
    paths = [root / "splits" / name for root in (folder, shipped_rules())]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        return None, [f"$.cases.published: wanted a file under splits/, found no {quoted(name)} there"]
    document = _read(path)
    split, found = held_against(PublishedSplit, document, model_keys(PublishedSplit))
    found = [*document.faults, *found]
    if split is not None and rules is not None:
        found += [replace(f, line=document.line_of(f.place)) for f in split_faults(split, rules)]
    return split, [f"splits/{name}: {fault}" for fault in found]
