"""The private chain: from the manifest's keyed digests back to the source files."""

from __future__ import annotations

import json
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.audit.document import kind_of, parsed
from pipeline.audit.files import hashed, lines_of, opened, release_files
from pipeline.audit.kept import Kept
from pipeline.audit.report import Run, Spot, failure, reporting
from pipeline.audit.rereading import Origin, read_again
from pipeline.audit.schema import schema_faults
from pipeline.model.errors import EvidenceError, UsageError
from pipeline.model.identified import Key, source_token


@dataclass(frozen=True, slots=True)
class Chain:
    """What the walk back to the sources needs."""

    workspace: Path
    key: Key
    run: Run
    tell: Callable[[str], None]
    kept: Kept


@dataclass(frozen=True, slots=True)
class _Source:
    """One planned source file: its path, its name in an archive, and what it was when it was planned."""

    path: str
    member: str | None
    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a line of the workspace's plan says of one case."""

    case: str
    subset: str
    sources: Mapping[str, Sequence[_Source]]
    frames: Mapping[str, Sequence[tuple[int, int]]]

    def origins(self) -> dict[str, Origin]:
        """Return where each channel, and the label, came from."""
        return {
            name: Origin([(s.path, s.member, s.size) for s in sources], self.frames.get(name, ()))
            for name, sources in self.sources.items()
        }


def read_key(workspace: Path) -> Key:
    """Return the workspace's key.

    Raises
    ------
    UsageError
        If there is none that can be read.
    """
    path = workspace / "private" / "pseudonym.key"
    place = "the workspace given"
    if not path.is_file():
        raise UsageError("workspace-missing", wanted="a workspace with a key", found="none", where=place)
    try:
        content = path.read_bytes()
    except PermissionError:
        raise UsageError("permission-denied", wanted="its key", found="no right", where=place) from None
    if re.fullmatch(rb"[0-9a-fA-F]{64}\n?", content) is None:
        raise UsageError("key-invalid", wanted="64 hex digits", found="something else", where=place)
    return Key(bytes.fromhex(content.decode("ascii").strip()))


def open_case(release: Path, workspace: Path, name: str) -> str:
    """Return the key of one case's sources in hex, for an auditor who is given these files and no others.

    Raises
    ------
    UsageError
        If the release has no case `name`, which is `TaskNN_Name/case`.
    """
    task, _, case = name.partition("/")
    files, manifest = release_files(release), f"{task}.manifest.jsonl"
    lines = readable_lines(files, manifest) if manifest in files else ()
    if not any(line["kind"] == "case" and (line["task"], line["case"]) == (task, case) for line in lines):
        raise UsageError(
            "bad-usage", wanted="a case of the release, as TASK/CASE", found="none", where="--open"
        )
    return read_key(workspace).of_case(task, case).hex()


def audit_sources(name: str, files: Mapping[str, Path], chain: Chain) -> None:
    """Hash the planned source files of every case again and compare them with plan and manifest."""
    spot = Spot(chain.run, name)
    with reporting(spot, "ingest"):
        plan = chain.workspace / "private" / "plan" / f"{name.partition('.')[0]}.jsonl"
        if not plan.is_file():
            raise failure("a plan of the task in the workspace", "none")
        places = {case.case: place for place, case in _planned(plan)}
        for line in readable_lines(files, name):
            here = spot.at("", line["case"])
            place = places.pop(line["case"], None)
            if line["kind"] == "case":
                chain.tell(f"{line['task']}: sources of {line['case']}")
                chain.kept.compare(line, chain.run, here)
                with reporting(here, "ingest"):
                    planned = _planned_at(plan, place)
                    _audit_case_sources(line, planned, chain, here)
                    tar = files.get(f"{line['task']}.tar")
                    read_again(line, planned.origins(), tar, chain.workspace / "private", here)
        for case in sorted(places):
            spot.at("", case).report("ingest", wanted="a line for every planned case", found="none")


def readable_lines(files: Mapping[str, Path], name: str) -> Iterator[dict[str, Any]]:
    """Yield the manifest's case and refusal lines that can be read; the others were reported before."""
    with opened(files, name) as stream:
        for content in lines_of(stream):
            try:
                line = parsed(content.removesuffix(b"\n"))
                kind = kind_of(line)
                if kind in ("case", "refusal") and not any(schema_faults(line, f"manifest-{kind}")):
                    yield line
            except (EvidenceError, RecursionError):
                continue


def _planned(plan: Path) -> Iterator[tuple[int, _Plan]]:
    """Yield each planned case and the place of its line, in bytes."""
    with plan.open("rb") as stream:
        place = 0
        for content in stream:
            if _private(content).get("kind") == "case":
                yield place, _plan_of(_private(content))
            place += len(content)


def _planned_at(plan: Path, place: int | None) -> _Plan:
    if place is None:
        raise failure("the case in the workspace's plan", "none")
    with plan.open("rb") as stream:
        stream.seek(place)
        return _plan_of(_private(stream.readline()))


def _private(content: bytes) -> dict[str, Any]:
    try:
        line: dict[str, Any] = {**json.loads(content)}
    except (ValueError, TypeError):
        raise failure("a plan of JSON lines", "another line") from None
    return line


def _plan_of(line: Mapping[str, Any]) -> _Plan:
    try:
        sources = {name: [_Source(*ref) for ref in refs] for name, refs in line["channels"].items()}
        given = {"label": line["label"], **line.get("given", {})}
        for name, source in given.items():
            refs = [source.get(part) for part in ("ref", "data", "names")] if source is not None else []
            sources |= {name: [_Source(*ref) for ref in refs if ref is not None]} if refs else {}
        frames = {name: [(file, frame) for file, frame in of] for name, of in line.get("frames", {}).items()}
        return _Plan(line["case"], line["subset"], sources, frames)
    except (KeyError, TypeError, AttributeError, ValueError):
        raise failure("a plan that names each case's sources", "a line that does not") from None


def _audit_case_sources(line: Mapping[str, Any], plan: _Plan, chain: Chain, spot: Spot) -> None:
    spot.expect("split", "the planned subset,", wanted=plan.subset, found=line["subset"])
    found = _rehashed([source for sources in plan.sources.values() for source in sources])
    for name, sources in plan.sources.items():
        for number, source in enumerate(sources):
            chain.run.counts["sources"] += 1
            here = spot.at(name if name == "label" else f"{name} slice {number + 1}")
            digests = found.get((source.path, source.member), set())
            if not digests:
                here.report("ingest", wanted="the planned source file", found="none that can be read")
            elif source.digest not in digests:
                here.report("ingest", wanted="the source file as it was planned", found="a changed one")
        # A withheld label has no place in the public line.
        if name != "label" or line["subset"] == "training":
            case_key = chain.key.of_case(line["task"], line["case"])
            _check_keyed(name, sources, line["sources"].get(name, []), case_key, spot)


def _check_keyed(
    name: str, sources: Sequence[_Source], keyed: Sequence[str], case_key: bytes, spot: Spot
) -> None:
    spot.expect("ingest", f"as many sources of {name} as planned,", wanted=len(sources), found=len(keyed))
    for number, (source, told) in enumerate(zip(sources, keyed, strict=False), 1):
        wanted = source_token(case_key, source.digest)
        here = spot.at(name if name == "label" else f"{name} slice {number}")
        here.expect("ingest", "the planned file's keyed digest", wanted=wanted, found=told)


_Found = dict[tuple[str, str | None], set[str]]
"""Path and name in an archive -> hex SHA-256 of what is there; a name may be in an archive twice."""


def _rehashed(sources: Sequence[_Source]) -> _Found:
    """Return the digests of the sources that can be read; each archive is read once."""
    found: _Found = {}
    for path in dict.fromkeys(source.path for source in sources):
        sizes = {source.member: source.size for source in sources if source.path == path}
        try:
            for member, digest in _hashes(Path(path), sizes):
                found.setdefault((path, member), set()).add(digest)
        except _UNREADABLE:
            # What could be read before the damage counts; the rest is missing.
            continue
    return found


_UNREADABLE = (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error, RuntimeError, ValueError)
"""What a missing file and a damaged or encrypted archive raise."""


def _hashes(path: Path, sizes: Mapping[str | None, int]) -> Iterator[tuple[str | None, str]]:
    """Yield name and digest of a plain file or of archive members; their planned sizes bound what is read."""
    if None in sizes:
        with path.open("rb") as stream:
            yield None, hashed(stream, sizes[None])
    elif path.name.lower().endswith(".zip"):
        yield from _zip_hashes(path, sizes)
    else:
        yield from _tar_hashes(path, sizes)


def _zip_hashes(path: Path, sizes: Mapping[str | None, int]) -> Iterator[tuple[str, str]]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.filename in sizes:
                with archive.open(info) as stream:
                    yield info.filename, hashed(stream, sizes[info.filename])


def _tar_hashes(path: Path, sizes: Mapping[str | None, int]) -> Iterator[tuple[str, str]]:
    with tarfile.open(path, "r|*") as archive:
        for info in archive:
            stream = archive.extractfile(info) if info.name in sizes and info.isfile() else None
            if stream is not None:
                yield info.name, hashed(stream, sizes[info.name])
