"""Check a release against its manifests, with nothing of the code that made it.

How a release is read. `SHA256SUMS` names every file. `release.json` names each task's TAR and manifest with
their digests. The manifest's first line says what the task is, each further line what one case is, or why it
was refused. Each TAR is read once, from front to back, block by block; every member must be the one that a
line describes, and what the line says of its voxels is found again in the voxels. Nothing is unpacked, and no
finding stops the audit: they are gathered, each with its place.

This is one file on purpose: an auditor can read it from top to bottom and run it apart from the rest. Besides
the standard library it needs numpy, rfc8785, and the JSON Schemas in manifests/schema.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
import struct
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
import numpy.typing as npt
import rfc8785

from pipeline.model.errors import EvidenceError, UsageError
from pipeline.model.identified import Key

FINDINGS_LIMIT = 1000
"""Findings listed for one task; further ones are only counted, so that no damage can fill the memory."""

DOCUMENT_LIMIT = 64 * 2**20
"""Largest JSON document or manifest line that is read, in bytes; 2,000 slices need a quarter of a MiB."""

QFORM_TOLERANCE_MM = 0.05
"""How far apart qform and sform may place a corner: the qform is the rotation nearest to rounded cosines."""

ORTHONORMAL_TOLERANCE = 1e-4
"""How far the direction cosines may be from orthonormal; beyond it ITK refuses the image."""

CORNER_TOLERANCE_MM = 1e-3
"""Two places are one within this many millimetres."""

_CHUNK = 2**18
_TEXT_LIMIT = 300


# ----------------------------------------------------------------------------------------------------
# Findings


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not hold: its place, what was wanted there, and what was found.

    `file` is below the release, `member` a TAR member or `line N` of a manifest, `stage` the room whose claim
    fails (`release` and `package` for the containers). Texts are printable ASCII whatever the release holds.
    """

    file: str
    member: str
    case: str
    stage: str
    wanted: str
    found: str

    def to_json(self) -> dict[str, str]:
        """Return the finding as one JSON object."""
        return asdict(self)

    def __str__(self) -> str:
        place = ", ".join(
            part for part in (self.file, self.member, self.case and f"case {self.case}") if part
        )
        return f"{place} ({self.stage}): wanted {self.wanted}, found {self.found}"


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit found and how much it looked at.

    `bytes` counts TAR bytes, `sources` source files hashed again, `unlisted` the findings beyond the limit.
    """

    findings: tuple[Finding, ...]
    tars: int
    members: int
    cases: int
    bytes: int
    sources: int = 0
    unlisted: int = 0

    @property
    def holds(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def counts(self) -> dict[str, int]:
        """How much was looked at."""
        return {name: getattr(self, name) for name in _COUNTED}

    def to_json(self) -> dict[str, Any]:
        """Return the report as one JSON object."""
        return {
            "format": "curate-audit/1",
            "holds": self.holds,
            "counts": self.counts,
            "findings": [finding.to_json() for finding in self.findings],
            "unlisted": self.unlisted,
        }


_COUNTED = ("tars", "members", "cases", "bytes", "sources")


@dataclass(slots=True)
class _Run:
    """What one audit has gathered; the only thing that changes while it runs."""

    findings: list[Finding] = field(default_factory=list)
    listed: Counter[str] = field(default_factory=Counter)
    unlisted: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    digests: dict[str, str] = field(default_factory=dict)

    def add(self, finding: Finding) -> None:
        named = re.match(r"Task[0-9]{2}_[A-Za-z0-9]+", finding.file)
        task = named[0] if named else ""
        self.listed[task] += 1
        if self.listed[task] <= FINDINGS_LIMIT:
            self.findings.append(finding)
        else:
            self.unlisted += 1

    def report(self) -> AuditReport:
        tars, members, cases, size, sources = (self.counts[name] for name in _COUNTED)
        return AuditReport(tuple(self.findings), tars, members, cases, size, sources, self.unlisted)


@dataclass(frozen=True, slots=True)
class _Spot:
    """A place in the release from which findings are reported."""

    run: _Run
    file: str
    member: str = ""
    case: str = ""

    def at(self, member: str, case: str = "") -> _Spot:
        return replace(self, member=member, case=case or self.case)

    def report(self, stage: str, *, wanted: str, found: object) -> None:
        self.run.add(
            Finding(
                _plain(self.file),
                _plain(self.member),
                _plain(self.case),
                stage,
                _plain(wanted),
                _plain(found),
            )
        )

    def expect(self, stage: str, what: str, *, wanted: object, found: object) -> None:
        """Report unless both are equal."""
        if wanted != found:
            self.report(stage, wanted=f"{what} {wanted}", found=found)


def _plain(text: object) -> str:
    """Return printable ASCII, cut: what a hostile release holds must not steer a terminal."""
    shown = "".join(c if " " <= c <= "~" else f"\\u{ord(c):04x}" for c in str(text)[: _TEXT_LIMIT + 1])
    return shown if len(shown) <= _TEXT_LIMIT else shown[:_TEXT_LIMIT] + "..."


@contextmanager
def _reporting(spot: _Spot, stage: str) -> Iterator[None]:
    """Turn what stops one part of the audit into a finding, so that the other parts go on."""
    try:
        yield
    except EvidenceError as fault:
        spot.report(stage, wanted=fault.wanted, found=fault.found)
    except OSError as fault:
        spot.report(stage, wanted="a file that can be read", found=f"system error {fault.errno}")


def _fault(wanted: str, found: object) -> EvidenceError:
    return EvidenceError("audit-failed", wanted=wanted, found=str(found))


# ----------------------------------------------------------------------------------------------------
# JSON: strict, canonical (RFC 8785), and as the schemas say


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key given twice")
    return document


def _no_fraction(text: str) -> Any:
    raise ValueError("a number with a fraction")


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_no_key_twice,
            parse_float=_no_fraction,
            parse_constant=_no_fraction,
        )
    except json.JSONDecodeError as fault:
        raise _fault("JSON", f"a fault at character {fault.pos}") from None
    except (ValueError, RecursionError) as fault:
        raise _fault("plain JSON", fault) from None


def _canonical(document: Any) -> bytes:
    try:
        return rfc8785.dumps(document)
    except (ValueError, RecursionError):
        raise _fault("a document that RFC 8785 can write", "a number or text beyond it") from None


def _document(content: bytes, schema: str, spot: _Spot, *, is_canonical: bool = True) -> Any:
    """Return a document that its schema allows; report when it is not written canonically.

    Raises
    ------
    EvidenceError
        If it does not parse, or has faults; all of them are named with their places.
    """
    document = _parsed(content)
    if is_canonical and _canonical(document) != content:
        spot.report(
            "release", wanted="canonical JSON (RFC 8785)", found="the same document written otherwise"
        )
    try:
        faults = list(itertools.islice(schema_faults(document, schema), 5))
    except RecursionError:
        faults = ["$: nested too deeply"]
    if faults:
        raise _fault(f"what {schema}.schema.json allows", "; ".join(faults))
    return document


@cache
def _schema(name: str) -> dict[str, Any]:
    shipped = Path(__file__).parent / "_shipped" / "manifests" / "schema"
    folder = shipped if shipped.is_dir() else Path(__file__).parents[1] / "manifests" / "schema"
    schema: dict[str, Any] = json.loads((folder / f"{name}.schema.json").read_text("ascii"))
    return schema


def schema_faults(document: Any, name: str) -> Iterator[str]:
    """Yield each place where a document departs from manifests/schema/NAME.schema.json.

    Only the keywords that those schemas use are known (JSON Schema 2020-12); another one is an error here, so
    that no rule is passed over.
    """
    schema = _schema(name)
    return _departures(document, schema, schema, "$")


def _departures(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], place: str) -> Iterator[str]:
    for keyword, rule in schema.items():
        if keyword in _ANNOTATIONS:
            continue
        if keyword == "$ref":
            yield from _departures(value, root["$defs"][rule.rpartition("/")[2]], root, place)
        elif keyword in _SIMPLE:
            if not _SIMPLE[keyword](value, rule):
                yield f"{place}: wanted {keyword} {json.dumps(rule)}"
        else:
            yield from _NESTED[keyword](value, schema, root, place)


_ANNOTATIONS = ("$schema", "$defs", "title", "description", "properties")
_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}


def _is_type(value: Any, names: str | list[str]) -> bool:
    return any(_TYPES[name](value) for name in ([names] if isinstance(names, str) else names))


def _is_one_of(value: Any, choices: list[Any]) -> bool:
    # In JSON true is not 1.
    return any(value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in choices)


def _matches(text: Any, pattern: str) -> bool:
    # Python's $ also matches before a last newline.
    return not isinstance(text, str) or (re.search(pattern, text) is not None and not text.endswith("\n"))


_SIMPLE: dict[str, Callable[[Any, Any], bool]] = {
    "type": _is_type,
    "enum": _is_one_of,
    "const": lambda value, rule: _is_one_of(value, [rule]),
    "pattern": _matches,
    "minimum": lambda value, rule: not _TYPES["integer"](value) or value >= rule,
    "maximum": lambda value, rule: not _TYPES["integer"](value) or value <= rule,
    "minLength": lambda value, rule: not isinstance(value, str) or len(value) >= rule,
    "minItems": lambda value, rule: not isinstance(value, list) or len(value) >= rule,
    "maxItems": lambda value, rule: not isinstance(value, list) or len(value) <= rule,
    "required": lambda value, rule: not isinstance(value, dict) or set(rule) <= set(value),
}


def _item_faults(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], place: str) -> Iterator[str]:
    for number, item in enumerate(value if isinstance(value, list) else ()):
        yield from _departures(item, schema["items"], root, f"{place}[{number}]")


def _key_faults(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], place: str) -> Iterator[str]:
    known = schema.get("properties", {})
    for key, item in value.items() if isinstance(value, dict) else ():
        rule = known.get(key, schema["additionalProperties"])
        if rule is False:
            yield f"{place}: unknown key {key}"
        else:
            yield from _departures(item, rule, root, f"{place}.{key}")


def _name_faults(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], place: str) -> Iterator[str]:
    for key in value if isinstance(value, dict) else ():
        yield from _departures(key, schema["propertyNames"], root, f"{place}, key {key}")


def _choice_faults(
    value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], place: str
) -> Iterator[str]:
    if all(any(True for _ in _departures(value, choice, root, place)) for choice in schema["anyOf"]):
        yield f"{place}: wanted one of {len(schema['anyOf'])} forms"


_NESTED: dict[str, Callable[[Any, Mapping[str, Any], Mapping[str, Any], str], Iterator[str]]] = {
    "items": _item_faults,
    # Each schema of an object with properties also says what other keys may hold.
    "additionalProperties": _key_faults,
    "propertyNames": _name_faults,
    "anyOf": _choice_faults,
}


# ----------------------------------------------------------------------------------------------------
# The folder: SHA256SUMS and release.json


def audit(
    release: Path, *, workspace: Path | None = None, tell: Callable[[str], None] = lambda _: None
) -> AuditReport:
    """Check a release; with its workspace also the chain back to the source files.

    Parameters
    ----------
    release
        Folder with SHA256SUMS, release.json, and a TAR and a manifest for each task.
    workspace
        Workspace that made it: its plans say which source files each case came from, its key links them.
    tell
        Called with a line of progress now and then.

    Returns
    -------
    AuditReport
        Every departure with its place, at most `FINDINGS_LIMIT` a task; no finding is raised.

    Raises
    ------
    UsageError
        If `release` is not a release or `workspace` not a workspace with a readable key.
    """
    key = None if workspace is None else _read_key(workspace)
    files = _release_files(release)
    run = _Run()
    # What overflows becomes infinite or NaN, which is then found.
    with np.errstate(all="ignore"):
        _audit_release(files, key, run, tell)
    if workspace is not None and key is not None:
        chain = _Chain(workspace, key, run, tell)
        for name in sorted(files):
            if re.fullmatch(r"Task[0-9]{2}_[A-Za-z0-9]+\.manifest\.jsonl", name):
                _audit_sources(name, files, chain)
    return run.report()


def _audit_release(
    files: Mapping[str, Path], key: Key | None, run: _Run, tell: Callable[[str], None]
) -> None:
    top = _Spot(run, "release.json")
    tasks: list[Any] = []
    with _reporting(top, "release"):
        document = _document(_content(files, "release.json"), "release", top)
        tasks = document["tasks"]
        names = [entry["task"] for entry in tasks]
        if names != sorted(set(names)):
            top.report("release", wanted="each task once, sorted", found=", ".join(names))
        if key is not None:
            top.expect(
                "release",
                "a release under the workspace's key,",
                wanted=key.fingerprint,
                found=document["key"],
            )
        for entry in tasks:
            _audit_task(entry, document["key"], files, run, tell)
    _check_files(files, tasks, run)


def _release_files(release: Path) -> dict[str, Path]:
    if not release.is_dir():
        raise UsageError("bad-usage", wanted="a release folder", found="no folder", where="the release given")
    files = {
        path.relative_to(release).as_posix(): path
        for path in sorted(release.rglob("*"))
        if path.is_symlink() or not path.is_dir()
    }
    if not any(name in ("release.json", "SHA256SUMS") or name.endswith(".manifest.jsonl") for name in files):
        raise UsageError(
            "bad-usage",
            wanted="release.json, SHA256SUMS and manifests",
            found="none of them",
            where="the release given",
        )
    return files


def _opened(files: Mapping[str, Path], name: str) -> BinaryIO:
    path = files.get(name)
    if path is None:
        raise _fault("the file", "none")
    if path.is_symlink() or not path.is_file():
        raise _fault("a plain file", "a link or device")
    return path.open("rb")


def _content(files: Mapping[str, Path], name: str) -> bytes:
    with _opened(files, name) as stream:
        # A read of up to the limit would set that much memory aside.
        content = b"".join(
            itertools.islice(iter(lambda: stream.read(_CHUNK), b""), DOCUMENT_LIMIT // _CHUNK + 1)
        )
    if len(content) > DOCUMENT_LIMIT:
        raise _fault(f"at most {DOCUMENT_LIMIT} bytes", "more")
    return content


def _hashed(stream: IO[bytes], limit: int | None = None) -> str:
    """Return the hex SHA-256 of a stream, or of one byte more than the limit."""
    digest, left = hashlib.sha256(), -1 if limit is None else limit + 1
    while left and (block := stream.read(_CHUNK if left < 0 else min(_CHUNK, left))):
        digest.update(block)
        left -= len(block) if left > 0 else 0
    return digest.hexdigest()


def _check_files(files: Mapping[str, Path], tasks: Sequence[Mapping[str, Any]], run: _Run) -> None:
    """Compare every file with SHA256SUMS; say of a TAR or manifest whether some task claims it."""
    sums: dict[str, str] = {}
    spot = _Spot(run, "SHA256SUMS")
    with _reporting(spot, "release"):
        sums = _read_sums(_content(files, "SHA256SUMS"), spot)
    claims = {part["file"]: part["digest"] for entry in tasks for part in (entry["tar"], entry["manifest"])}
    for name in sorted(set(sums) - set(files)):
        spot.at(name).report("release", wanted="a file for each line", found="none")
    for name in sorted(set(files) - {"SHA256SUMS"}):
        with _reporting(_Spot(run, name), "release"):
            _check_file(name, files, sums, claims, run)


def _check_file(
    name: str, files: Mapping[str, Path], sums: Mapping[str, str], claims: Mapping[str, str], run: _Run
) -> None:
    spot = _Spot(run, name)
    if name.endswith((".tar", ".manifest.jsonl")) and name not in claims:
        spot.report("release", wanted="only what release.json names", found="another TAR or manifest")
    if name not in run.digests:
        with _opened(files, name) as stream:
            run.digests[name] = _hashed(stream)
    found = run.digests[name]
    if name not in sums:
        spot.report("release", wanted="a line in SHA256SUMS", found="none")
    elif sums[name] != found and (claims.get(name) == f"sha256:{found}" or _is_near(sums[name], found)):
        # Two against one, or a digit astray: the sum is wrong, not the file.
        _Spot(run, "SHA256SUMS", name).report(
            "release", wanted=f"the file's digest {found}", found=sums[name]
        )
    elif sums[name] != found:
        spot.report("release", wanted=f"the digest in SHA256SUMS, {sums[name]}", found=found)


def _is_near(one: str, other: str) -> bool:
    """Whether two digests differ in a few digits only: a changed file's digest differs in nearly all."""
    return sum(a != b for a, b in zip(one, other, strict=True)) <= 8


def _read_sums(content: bytes, spot: _Spot) -> dict[str, str]:
    """Return file name -> hex digest of the lines that `sha256sum -c` would read."""
    sums: dict[str, str] = {}
    lines = content.split(b"\n")
    if lines.pop() != b"":
        spot.report("release", wanted="a newline at the end", found="none")
    for number, line in enumerate(lines, 1):
        parts = re.fullmatch(rb"([0-9a-f]{64})  ([!-~]+)", line)
        if parts is None:
            spot.at(f"line {number}").report(
                "release", wanted="digest, two spaces, name", found="another line"
            )
        else:
            sums[parts[2].decode("ascii")] = parts[1].decode("ascii")
    if list(sums) != sorted(sums) or len(sums) != len(lines):
        spot.report("release", wanted="each file once, sorted by name", found="another order or number")
    return sums


# ----------------------------------------------------------------------------------------------------
# Claims: what the manifest says, as values


@dataclass(frozen=True, slots=True)
class _Channel:
    """One channel: its name, what its numbers mean, how they were scaled."""

    name: str
    quantity: str
    percentiles: tuple[float, float] | None
    over: str
    range: tuple[float, float] | None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> _Channel:
        scale = document["scale"]
        if scale["method"] == "keep":
            return cls(document["name"], document["quantity"], None, "all", None)
        low, high = (float(number) for number in scale["percentiles"])
        first, last = (float(number) for number in scale["range"])
        if not (0 <= low < high <= 100 and -_FLOAT32_MAX <= first < last <= _FLOAT32_MAX):
            raise _fault("percentiles and range in order", f"{low:g} {high:g} and {first:g} {last:g}")
        return cls(document["name"], document["quantity"], (low, high), scale["over"], (first, last))


_FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True, eq=False)
class _Claim:
    """What a line says of one NIfTI member."""

    member: str
    case: str
    kind: str
    shape: tuple[int, ...]
    dtype: str
    affine: npt.NDArray[np.float64]
    voxels: str
    file: str
    size: int
    classes: Mapping[str, Mapping[str, Any]]
    notes: Sequence[Mapping[str, Any]]

    @classmethod
    def of(cls, line: Mapping[str, Any], kind: str) -> _Claim:
        part = line[kind]
        return cls(
            line["members"][kind] or "",
            line["case"],
            kind,
            tuple(part["shape"]),
            part["dtype"],
            np.array([[float(number) for number in row] for row in part["affine"]]),
            part["voxels"],
            part["file"],
            part["size"],
            part.get("classes", {}),
            [note for note in line["notes"] if note["stage"] in ("scale", "check", "label")],
        )

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in ml."""
        return float(abs(np.linalg.det(self.affine[:3, :3])) / 1000)


@dataclass(slots=True)
class _Manifest:
    """What a task's manifest says; `header` is empty when its first line is not one."""

    task: str
    header: dict[str, Any] = field(default_factory=dict)
    channels: tuple[_Channel, ...] = ()
    claims: dict[str, _Claim] = field(default_factory=dict)
    members: dict[str, list[str]] = field(default_factory=lambda: {"training": [], "test": []})
    subjects: dict[str, set[str]] = field(default_factory=lambda: {"training": set(), "test": set()})
    refused: list[str] = field(default_factory=list)
    cases: list[str] = field(default_factory=list)

    @property
    def classes(self) -> list[str]:
        return [name for _, name in sorted(self.header["classes"].items(), key=lambda item: int(item[0]))]


# ----------------------------------------------------------------------------------------------------
# The manifest: each line by itself, then all of them together


def _audit_task(
    entry: Mapping[str, Any], key: str, files: Mapping[str, Path], run: _Run, tell: Callable[[str], None]
) -> None:
    task = entry["task"]
    top = _Spot(run, "release.json", task)
    top.expect("release", "the TAR", wanted=f"{task}.tar", found=entry["tar"]["file"])
    top.expect("release", "the manifest", wanted=f"{task}.manifest.jsonl", found=entry["manifest"]["file"])
    manifest = _Manifest(task)
    spot = _Spot(run, entry["manifest"]["file"])
    tell(f"{task}: manifest")
    with _reporting(spot, "release"):
        _read_manifest(manifest, entry["manifest"], files, spot)
    if manifest.header:
        spot.expect("release", "the key of release.json,", wanted=key, found=manifest.header["key"])
        with _reporting(spot, "release"):
            _check_manifest(manifest, entry, spot)
    tar = _Spot(run, entry["tar"]["file"])
    tell(f"{task}: TAR, {entry['tar']['size'] // 10**6} MB")
    with _reporting(tar, "package"):
        _audit_tar(manifest, entry["tar"], files, tar)
    run.counts["cases"] += len(manifest.cases)


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """Yield lines with their newline; a line beyond the limit ends the walk."""
    while line := stream.readline(DOCUMENT_LIMIT):
        if len(line) == DOCUMENT_LIMIT and not line.endswith(b"\n"):
            raise _fault(f"lines of at most {DOCUMENT_LIMIT} bytes", "a longer one")
        yield line


def _read_manifest(
    manifest: _Manifest, entry: Mapping[str, Any], files: Mapping[str, Path], spot: _Spot
) -> None:
    digest, leaves = hashlib.sha256(), []
    with _opened(files, spot.file) as stream:
        for number, line in enumerate(_lines(stream), 1):
            digest.update(line)
            leaves.append(hashlib.sha256(b"\x00" + line.removesuffix(b"\n")).digest())
            here = spot.at(f"line {number}")
            if not line.endswith(b"\n"):
                here.report("release", wanted="a newline at the end", found="none")
            with _reporting(here, "release"):
                _read_line(manifest, number, line.removesuffix(b"\n"), here)
    spot.run.digests[spot.file] = digest.hexdigest()
    spot.expect(
        "release", "the digest in release.json,", wanted=entry["digest"], found=f"sha256:{digest.hexdigest()}"
    )
    spot.expect("release", "the number of lines in release.json,", wanted=entry["lines"], found=len(leaves))
    spot.expect(
        "release", "the Merkle root in release.json,", wanted=entry["merkle_root"], found=merkle_root(leaves)
    )


def merkle_root(leaves: Sequence[bytes]) -> str:
    """Return the hex root over leaf hashes, SHA-256(0x00 || line) each (RFC 6962 section 2.1)."""
    return _subtree(leaves).hex() if leaves else hashlib.sha256().hexdigest()


def _subtree(leaves: Sequence[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    # RFC 6962: split at the largest power of two that is smaller than the number of leaves.
    middle = 1 << ((len(leaves) - 1).bit_length() - 1)
    return hashlib.sha256(b"\x01" + _subtree(leaves[:middle]) + _subtree(leaves[middle:])).digest()


def _read_line(manifest: _Manifest, number: int, content: bytes, spot: _Spot) -> None:
    document = _parsed(content)
    kind = _kind_of(document)
    if (kind == "header") != (number == 1) or kind not in ("header", "case", "refusal"):
        raise _fault("a header in the first line, then cases, then refusals", f"kind {kind} in line {number}")
    with _reporting(spot.at(spot.member, str(document.get("case", ""))), "release"):
        _take(manifest, _document(content, f"manifest-{kind}", spot), spot)


def _take(manifest: _Manifest, line: dict[str, Any], spot: _Spot) -> None:
    """Take over what a line of one of the three kinds says."""
    kind = line["kind"]
    spot.expect("release", "the task", wanted=manifest.task, found=line["task"])
    if kind == "header":
        manifest.channels = tuple(_Channel.of(channel) for channel in line["channels"])
        manifest.header = line
    elif kind == "refusal":
        manifest.refused.append(line["case"])
    elif not manifest.header:
        raise _fault("a header before the case", "none that can be read")
    else:
        _read_case(manifest, line, spot.at(spot.member, line["case"]))


def _kind_of(document: Any) -> str:
    return str(document.get("kind", "none")) if isinstance(document, dict) else "none"


def _read_case(manifest: _Manifest, line: Mapping[str, Any], spot: _Spot) -> None:
    """Take over what a case line claims, after what the line alone can tell."""
    case, subset = line["case"], line["subset"]
    if manifest.refused:
        spot.report("release", wanted="cases before refusals", found="a case after one")
    if manifest.cases and case <= manifest.cases[-1]:
        spot.report("release", wanted=f"a case id after {manifest.cases[-1]}", found=case)
    manifest.cases.append(case)
    manifest.members[subset].append(case)
    manifest.subjects[subset].add(line["subject"])
    claims = [_Claim.of(line, kind) for kind in ("image", "label") if line[kind] is not None]
    manifest.claims.update({claim.member: claim for claim in claims})
    _check_parts(line, spot)
    _check_image_claim(claims[0], manifest, spot)
    if len(claims) > 1:
        _check_label_claim(claims[1], claims[0], manifest, spot)
    _check_notes(line, manifest, spot)


def _check_parts(line: Mapping[str, Any], spot: _Spot) -> None:
    """Report unless a training case has image and label and a test case an image, under their own names."""
    task, case = line["task"], line["case"]
    is_training = line["subset"] == "training"
    folder = "imagesTr" if is_training else "imagesTs"
    label = f"{task}/labelsTr/{case}.nii.gz" if is_training else None
    spot.expect(
        "package", "the image", wanted=f"{task}/{folder}/{case}.nii.gz", found=line["members"]["image"]
    )
    spot.expect("package", "the label", wanted=label, found=line["members"]["label"])
    if is_training != (line["label"] is not None):
        spot.report(
            "label", wanted="a label in training and none in test", found=f"the opposite in {line['subset']}"
        )


def _check_image_claim(claim: _Claim, manifest: _Manifest, spot: _Spot) -> None:
    channels = manifest.channels
    wanted = (len(channels),) if len(channels) > 1 else ()
    spot.expect("package", "a fourth axis of", wanted=wanted, found=claim.shape[3:])
    if any(channel.percentiles for channel in channels):
        spot.expect("scale", "the dtype of a scaled image,", wanted="float32", found=claim.dtype)
    _check_affine(claim.affine, spot)


def _check_label_claim(claim: _Claim, image: _Claim, manifest: _Manifest, spot: _Spot) -> None:
    spot.expect("label", "the image's shape", wanted=image.shape[:3], found=claim.shape)
    if not np.array_equal(claim.affine, image.affine):
        spot.report("label", wanted="the image's affine", found=f"another: {_matrix(claim.affine)}")
    names = manifest.classes
    wanted = "uint8" if len(names) <= 256 else "uint16"
    spot.expect("label", "the dtype", wanted=wanted, found=claim.dtype)
    for value, part in claim.classes.items():
        declared = names[int(value)] if int(value) < len(names) else "no such class"
        spot.expect("label", f"class {value} to be", wanted=declared, found=part["name"])
        if not _is_volume_of(part["ml"], part["voxels"] * claim.voxel_ml):
            millilitres = f"{part['voxels'] * claim.voxel_ml:.6g}"
            spot.report("label", wanted=f"{millilitres} ml in class {value}", found=f"{part['ml']} ml")
    for value in _required_classes(manifest.header["rules"]["document"]):
        if not claim.classes.get(value, {}).get("voxels"):
            spot.report("label", wanted=f"voxels of class {value}, which the rules require", found="none")


def _required_classes(rules: Mapping[str, Any]) -> list[str]:
    classes = _parts(rules.get("label"), "classes")
    return [str(part.get("value")) for part in classes if part.get("required") is True]


def _parts(document: Any, key: str) -> list[Mapping[str, Any]]:
    """Return the objects in a list of a rules document, none where there is no such list."""
    listed = document.get(key) if isinstance(document, dict) else None
    return [part for part in listed if isinstance(part, dict)] if isinstance(listed, list) else []


def _is_volume_of(text: str, millilitres: float) -> bool:
    """Whether a decimal text is a volume in ml, rounded to the digits it shows."""
    # A float32 affine changes a volume by 1e-7 of itself.
    tolerance = 1e-5 * abs(millilitres)
    if "." in text and "e" not in text:
        tolerance = max(tolerance, 0.5 * 10.0 ** -len(text.partition(".")[2]))
    return abs(float(text) - millilitres) <= tolerance


def _check_affine(affine: npt.NDArray[np.float64], spot: _Spot) -> None:
    """Report an affine that is not RAS+, not orthonormal, or no affine."""
    if not np.isfinite(affine).all() or affine[3].tolist() != [0, 0, 0, 1]:
        spot.report("orient", wanted="a finite affine with 0 0 0 1 below", found=_matrix(affine))
        return
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if spacing.min() <= 0:
        spot.report("convert", wanted="a spacing above 0 mm", found=_row(spacing))
        return
    directions = affine[:3, :3] / spacing
    off = float(np.abs(directions.T @ directions - np.eye(3)).max())
    if off > ORTHONORMAL_TOLERANCE:
        spot.report("convert", wanted="orthonormal direction cosines", found=f"{off:.2g} off")
    if not is_ras(directions):
        spot.report("orient", wanted="axes closest to R, A, S", found=_matrix(directions))


def is_ras(directions: npt.NDArray[np.float64]) -> bool:
    """Whether i, j, k run closest to right, anterior, superior: the closest pair of axes first."""
    left = {0, 1, 2}
    while left:
        closest = max(abs(directions[row, axis]) for row in left for axis in left)
        own = max(left, key=lambda axis: abs(directions[axis, axis]))
        # At 45 degrees two answers are right.
        if directions[own, own] < closest - ORTHONORMAL_TOLERANCE:
            return False
        left.remove(own)
    return True


def _points(directions: npt.NDArray[np.float64], codes: object) -> bool:
    """Whether letters such as LPS say where i, j and k run closest to."""
    ways = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
    named = [ways[letter] for letter in codes if letter in ways] if isinstance(codes, str) else []
    if sorted(row for row, _ in named) != [0, 1, 2]:
        return False
    turned = np.zeros((3, 3))
    for axis, (row, sign) in enumerate(named):
        turned[:, row] = sign * directions[:, axis]
    return is_ras(turned)


def _row(numbers: Iterable[Any]) -> str:
    return " ".join(f"{number:.6g}" for number in numbers)


def _matrix(matrix: npt.NDArray[np.float64]) -> str:
    return "; ".join(_row(row) for row in matrix[:3])


_LABEL_ROOMS = ("label", "rasterise")
_CHANNEL_ROOMS = ("deidentify", "convert", "orient", "scale")


def _check_notes(line: Mapping[str, Any], manifest: _Manifest, spot: _Spot) -> None:
    names = [channel.name for channel in manifest.channels]
    for channel in manifest.channels:
        notes = {note["stage"]: note for note in line["notes"] if note.get("channel") == channel.name}
        missing = [room for room in _CHANNEL_ROOMS if room not in notes]
        if missing:
            spot.report(
                missing[0],
                wanted=f"a note of every room on channel {channel.name}",
                found=f"none of {missing}",
            )
        if "scale" in notes:
            _check_scale_note(notes["scale"], channel, line["image"]["shape"], spot)
        if "convert" in notes:
            _check_convert_note(notes["convert"], spot)
        if {"convert", "orient"} <= set(notes):
            _check_orient_note(notes["orient"], notes["convert"], spot)
        if channel.name == names[0] and "orient" in notes:
            last = _affine_of(notes["orient"], "affine_after").astype(np.float32)
            if not np.array_equal(last, _affine_of(line["image"], "affine").astype(np.float32)):
                spot.report("orient", wanted="the affine that orient left", found="another in the image")
    _check_sources(line, names, spot)
    _check_withheld(line, spot)
    _check_turns([note for note in line["notes"] if note["stage"] == "fix"], line, manifest, spot)


def _check_sources(line: Mapping[str, Any], names: Sequence[str], spot: _Spot) -> None:
    wanted = {*names, "label"} if line["subset"] == "training" else set(names)
    spot.expect("ingest", "sources of", wanted=sorted(wanted), found=sorted(line["sources"]))
    for note in line["notes"]:
        keyed = line["sources"].get(note.get("channel"))
        if note["stage"] == "deidentify" and "objects" in note and keyed is not None:
            spot.expect(
                "ingest",
                f"as many sources of {note['channel']} as noted,",
                wanted=note["objects"],
                found=len(keyed),
            )


def _check_withheld(line: Mapping[str, Any], spot: _Spot) -> None:
    """Report what a test case's line tells of its label."""
    for note in line["notes"] if line["subset"] == "test" else ():
        if note["stage"] in _LABEL_ROOMS or note.get("channel") == "label" or "label" in note:
            spot.report(note["stage"], wanted="nothing of a withheld label", found="a note of it")


def _affine_of(note: Mapping[str, Any], name: str) -> npt.NDArray[np.float64]:
    """Return an affine that a note holds; what is none becomes NaN, which equals nothing."""
    try:
        affine = np.array(note.get(name), dtype=np.float64)
    except (TypeError, ValueError):
        affine = np.empty(0)
    return affine if affine.shape == (4, 4) else np.full((4, 4), np.nan)


def _check_convert_note(note: Mapping[str, Any], spot: _Spot) -> None:
    """Report unless the slice positions, where the note lists them, make the spacing and the affine."""
    if "positions_mm" not in note:
        return
    texts, shape = note["positions_mm"], _shape_of(note, "shape")
    positions = [_number({"": text}, "") for text in texts] if isinstance(texts, list) else []
    if not shape or len(positions) != shape[2]:
        spot.report("convert", wanted="a position of each slice", found=f"{len(positions)} for shape {shape}")
        return
    spacing = float(np.linalg.norm(_affine_of(note, "affine")[:3, 2]))
    off = np.abs(np.diff(positions) - spacing).max(initial=0.0)
    if not off <= _number(note, "tolerance_mm"):
        spot.report(
            "convert", wanted=f"slices {spacing:g} mm apart, as in the affine", found=f"{off:g} mm off"
        )


def _check_orient_note(orient: Mapping[str, Any], convert: Mapping[str, Any], spot: _Spot) -> None:
    """Report unless orient begins where convert ended and leaves every corner at its millimetre."""
    before, after = _affine_of(orient, "affine_before"), _affine_of(orient, "affine_after")
    if orient.get("shape_before") != convert.get("shape"):
        spot.report("orient", wanted="to begin with the shape of convert", found=orient.get("shape_before"))
    if not np.array_equal(before, _affine_of(convert, "affine")):
        spot.report("orient", wanted="to begin with the affine of convert", found=_matrix(before))
    shapes = [_shape_of(orient, name) for name in ("shape_before", "shape_after")]
    if not all(shapes):
        spot.report("orient", wanted="the shape before and after", found="none")
        return
    first, last = (corners(shape, affine) for shape, affine in zip(shapes, (before, after), strict=True))
    apart = np.abs(first[:, np.newaxis] - last[np.newaxis]).max(axis=2)
    for when, affine in (("before", before), ("after", after)):
        if not _points(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0), orient.get(f"axes_{when}")):
            spot.report(
                "orient", wanted=f"the axis codes of the affine {when}", found=orient.get(f"axes_{when}")
            )
    # NaN compares as not near.
    if not (apart.min(axis=1) <= CORNER_TOLERANCE_MM).all():
        spot.report("orient", wanted="every corner at the same millimetre as before", found=_matrix(after))


def _shape_of(note: Mapping[str, Any], name: str) -> list[int]:
    """Return the three lengths that a note holds, none when it does not."""
    shape = note.get(name)
    is_shape = (
        isinstance(shape, list) and len(shape) == 3 and all(isinstance(n, int) and n > 0 for n in shape)
    )
    return shape if is_shape and isinstance(shape, list) else []


def corners(shape: Sequence[int], affine: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the millimetres of the eight outermost voxel centres, shape (8, 3)."""
    ends = np.array([[*index, 1] for index in itertools.product(*((0, n - 1) for n in shape[:3]))])
    placed: npt.NDArray[np.float64] = (ends @ affine.T)[:, :3]
    return placed


def _check_scale_note(note: Mapping[str, Any], channel: _Channel, shape: Sequence[int], spot: _Spot) -> None:
    """Compare what scale says of itself with the rule that the header gives for the channel."""
    document = {"name": channel.name, "quantity": channel.quantity, "scale": _part(note, _SCALE_KEYS)}
    if any(_channel_faults(document)) or _Channel.of(document) != channel:
        spot.report(
            "scale", wanted=f"the rule of channel {channel.name}", found=f"a note of {note.get('method')}"
        )
        return
    spot.expect("scale", "the quantity", wanted=channel.quantity, found=note.get("quantity"))
    if channel.percentiles is None:
        return
    low, high, voxels = _number(note, "low"), _number(note, "high"), math.prod(shape[:3])
    if not low < high:
        spot.report("scale", wanted="a lower cut-off below the upper one", found=f"{low:g} and {high:g}")
    spot.expect("scale", "the number of voxels", wanted=voxels, found=note.get("voxels"))
    for name, share in zip(_CLIPPED, _clipped_shares(channel), strict=True):
        # No more voxels than the percentile leaves outside can lie beyond its cut-off; zeros left out may.
        if channel.over == "all" and not 0 <= _number(note, name) <= _rank(voxels, share):
            spot.report(
                "scale", wanted=f"{name} of at most {_rank(voxels, share)} voxels", found=note.get(name)
            )


_SCALE_KEYS = ("method", "percentiles", "over", "range")
_CLIPPED = ("clipped_below", "clipped_above")


def _part(note: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: note[key] for key in keys if key in note}


def _number(note: Mapping[str, Any], name: str) -> float:
    """Return a number that a note holds as text or count; NaN, which nothing equals, when it holds none."""
    value = note.get(name)
    try:
        return float(value) if isinstance(value, str | int) else float("nan")
    except (ValueError, OverflowError):
        return float("nan")


def _clipped_shares(channel: _Channel) -> tuple[float, float]:
    """Return the shares of voxels outside the lower and the upper percentile."""
    low, high = channel.percentiles or (0.0, 100.0)
    return low / 100, 1 - high / 100


def _rank(voxels: int, share: float) -> int:
    """Return how many of the sorted voxels lie at or beyond a percentile between samples (type 7)."""
    return math.floor((voxels - 1) * share + 1e-9 * voxels) + 1 if voxels else 0


def _check_turns(
    notes: Sequence[Mapping[str, Any]], line: Mapping[str, Any], manifest: _Manifest, spot: _Spot
) -> None:
    """Report unless all of a case is turned or nothing, with the why and evidence of the rules for it."""
    if not notes:
        return
    wanted = {channel.name for channel in manifest.channels} | (
        {"label"} if line["label"] is not None else set()
    )
    turned = [str(note.get("channel")) for note in notes]
    spot.expect("fix", "a half turn of", wanted=sorted(wanted), found=sorted(turned))
    rules = _parts(manifest.header["rules"]["document"], "half_turns")
    listed = [rule for rule in rules if rule.get("case") == spot.case]
    for note, word in itertools.product(notes, ("why", "evidence")):
        text = note.get(word)
        if not isinstance(text, str) or not text.strip():
            spot.report("fix", wanted=f"a half turn that says its {word}", found="none")
        elif not any(rule.get(word) == text for rule in listed):
            spot.report("fix", wanted=f"the {word} that the rules give for this case", found=text)


def _check_manifest(manifest: _Manifest, entry: Mapping[str, Any], spot: _Spot) -> None:
    """Check what all lines together can tell."""
    header = manifest.header
    _check_counts(manifest, entry, spot)
    here = spot.at("line 1")
    here.expect("package", "the TAR", wanted=f"{manifest.task}.tar", found=header["tar"])
    here.expect(
        "package",
        "the dataset member",
        wanted=f"{manifest.task}/dataset.json",
        found=header["dataset"]["member"],
    )
    digest = hashlib.sha256(_canonical(header["rules"]["document"])).hexdigest()
    here.expect(
        "release",
        "the digest of the rules document,",
        wanted=f"sha256:{digest}",
        found=header["rules"]["digest"],
    )
    _check_rules(manifest, here)
    if manifest.refused != sorted(manifest.refused):
        spot.report("release", wanted="refusals sorted by case", found="another order")
    for case in sorted(set(manifest.refused) & set(manifest.cases)):
        spot.at("", case).report(
            "package", wanted="no image of a refused case", found="a case line beside the refusal"
        )
    for subject in sorted(manifest.subjects["training"] & manifest.subjects["test"]):
        spot.report("split", wanted="each subject in one subset", found=f"{subject} in both")


def _check_counts(manifest: _Manifest, entry: Mapping[str, Any], spot: _Spot) -> None:
    counts, missing = manifest.header["counts"], manifest.header["missing"]
    counted = {
        "training": len(manifest.members["training"]),
        "test": len(manifest.members["test"]),
        "refused": len(manifest.refused),
        "missing": len(missing),
    }
    spot.at("line 1").expect(
        "release", "the counts", wanted=counted, found={name: counts[name] for name in counted}
    )
    told = {name: entry[name] for name in ("training", "test", "refused")}
    wanted = {name: counted[name] for name in told}
    _Spot(spot.run, "release.json", manifest.task).expect("release", "the counts", wanted=wanted, found=told)
    if len(set(missing)) != len(missing) or set(missing) & set(manifest.cases):
        spot.at("line 1").report(
            "release", wanted="missing ids once, and none that is there", found="another list"
        )


def _check_rules(manifest: _Manifest, spot: _Spot) -> None:
    """Compare the header with the rules document that it carries."""
    header, rules = manifest.header, manifest.header["rules"]["document"]
    spot.expect("release", "rules of the task", wanted=manifest.task, found=rules.get("task"))
    told = [_Channel.of(part) for part in _parts(rules, "channels") if not any(_channel_faults(part))]
    spot.expect("scale", "the channels of the rules,", wanted=told, found=list(manifest.channels))
    names = ["background", *(part.get("name") for part in _parts(rules.get("label"), "classes"))]
    spot.expect("label", "the classes of the rules,", wanted=names, found=manifest.classes)
    values = [str(value) for value in range(len(header["classes"]))]
    spot.expect("label", "the class values", wanted=values, found=sorted(header["classes"], key=int))
    pattern = _id_pattern(rules.get("cases"))
    for case in (*manifest.cases, *header["missing"]):
        if not pattern.fullmatch(case):
            spot.at(spot.member, case).report("split", wanted="an id as the rules form them", found=case)


def _channel_faults(channel: Mapping[str, Any]) -> Iterator[str]:
    schema = _schema("manifest-header")
    rule = schema["properties"]["channels"]["items"]
    part = {name: channel.get(name) for name in rule["required"]}
    return _departures(part, rule, schema, "$")


def _id_pattern(cases: Any) -> re.Pattern[str]:
    """Return what matches ids such as BRATS_{:03d} makes."""
    form = cases.get("id") if isinstance(cases, dict) else None
    parts = re.fullmatch(r"([A-Za-z]+_)\{:(?:0([1-9]))?d\}", form) if isinstance(form, str) else None
    if parts is None:
        return re.compile(r"[A-Za-z]+_[0-9]+")
    width = int(parts[2] or 1)
    return re.compile(rf"{parts[1]}([0-9]{{{width}}}|[1-9][0-9]{{{width},}})")


# ----------------------------------------------------------------------------------------------------
# The TAR: once, from front to back


class _Tape:
    """A file read from front to back, with the digest and the number of the bytes that went by."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()
        self.position = 0

    def take(self, size: int) -> bytes:
        """Return exactly `size` bytes.

        Raises
        ------
        EvidenceError
            If the file ends before.
        """
        content = self._stream.read(size)
        self.digest.update(content)
        self.position += len(content)
        if len(content) != size:
            raise _fault(f"{size} more bytes at byte {self.position - len(content)}", f"{len(content)} bytes")
        return content

    def rest(self) -> Iterator[bytes]:
        """Yield what is left, block by block."""
        while block := self._stream.read(_CHUNK):
            self.digest.update(block)
            self.position += len(block)
            yield block


_BLOCK = 512
_ZEROS = bytes(_BLOCK)
_TAR_NUMBERS = (("mode", 100, 8, 0o644), ("uid", 108, 8, 0), ("gid", 116, 8, 0), ("mtime", 136, 12, 0),
                ("devmajor", 329, 8, 0), ("devminor", 337, 8, 0))  # fmt: skip
_TAR_TEXTS = (("typeflag", 156, b"0"), ("linkname", 157, bytes(100)), ("magic", 257, b"ustar\x0000"),
              ("uname", 265, bytes(32)), ("gname", 297, bytes(32)), ("prefix", 345, bytes(155)),
              ("filling", 500, bytes(12)))  # fmt: skip
"""Fields of a USTAR header (POSIX.1-1988): name, place, and what every member of a release has there."""


@dataclass(frozen=True, slots=True)
class _Member:
    """What the manifest wants of one TAR member; `claim` is None for dataset.json."""

    size: int
    digest: str
    case: str
    claim: _Claim | None


@dataclass(slots=True)
class _Walk:
    """What a walk through a TAR has seen of the members it wants."""

    manifest: _Manifest
    wanted: dict[str, _Member]
    seen: set[str] = field(default_factory=set)
    last: str = ""
    headers: dict[str, _Nifti] = field(default_factory=dict)
    voxels: dict[str, str] = field(default_factory=dict)


def _audit_tar(manifest: _Manifest, entry: Mapping[str, Any], files: Mapping[str, Path], spot: _Spot) -> None:
    walk = _Walk(manifest, _wanted_members(manifest))
    with _opened(files, spot.file) as stream:
        tape = _Tape(stream)
        with _reporting(spot, "package"):
            _walk_tar(tape, walk, spot)
        for _ in tape.rest():
            pass
    digest = tape.digest.hexdigest()
    spot.run.digests[spot.file] = digest
    spot.run.counts.update(tars=1, bytes=tape.position, members=len(walk.seen))
    spot.expect("package", "the digest in release.json,", wanted=entry["digest"], found=f"sha256:{digest}")
    spot.expect("package", "the size in release.json,", wanted=entry["size"], found=tape.position)
    for name in sorted(set(walk.wanted) - walk.seen):
        spot.at(name, walk.wanted[name].case).report(
            "package", wanted="the member of a manifest line", found="none"
        )


def _wanted_members(manifest: _Manifest) -> dict[str, _Member]:
    wanted = {
        name: _Member(claim.size, claim.file, claim.case, claim) for name, claim in manifest.claims.items()
    }
    if manifest.header:
        dataset = manifest.header["dataset"]
        wanted[dataset["member"]] = _Member(dataset["size"], dataset["digest"], "", None)
    return wanted


def _walk_tar(tape: _Tape, walk: _Walk, spot: _Spot) -> None:
    while (block := tape.take(_BLOCK)) != _ZEROS:
        name, size = _member_of(block, walk, spot)
        here = spot.at(name, walk.wanted[name].case if name in walk.wanted else "")
        if name.encode() <= walk.last.encode():
            here.report("package", wanted=f"a name after {walk.last}", found=name)
        walk.last = name
        _audit_member(tape, name, size, walk, here)
        if any(tape.take(-size % _BLOCK)):
            here.report("package", wanted="zeros up to the next block", found="other bytes")
    _check_end(tape, spot.at("end of archive"))


def _member_of(block: bytes, walk: _Walk, spot: _Spot) -> tuple[str, int]:
    """Return name and size of the member that a header block announces; report what is wrong in the block.

    Where the block's checksum fails, the member is taken for the wanted one whose name is nearest, with the
    size that the manifest gives, so that the walk goes on behind one damaged header.
    """
    text, _, filling = block[:100].partition(b"\x00")
    name, size = text.decode("ascii", "backslashreplace"), _octal(block[124:136])
    if block[148:156] != _checksum(block):
        name = _nearest(block, walk)
        size = walk.wanted[name].size
        here = spot.at(name, walk.wanted[name].case)
        here.report("package", wanted="a header block with its checksum", found="a damaged one")
    else:
        here = spot.at(name, walk.wanted[name].case if name in walk.wanted else "")
    if size < 0 or any(filling) or not text.isascii():
        here.report("package", wanted="an ASCII name and an octal size", found="other bytes")
    for what, place, width, wanted in _TAR_NUMBERS:
        here.expect("package", what, wanted=oct(wanted), found=oct(_octal(block[place : place + width])))
    for what, place, content in _TAR_TEXTS:
        found = block[place : place + len(content)]
        here.expect("package", what, wanted=content.rstrip(b"\x00"), found=found.rstrip(b"\x00"))
    return name, max(size, 0)


def _octal(content: bytes) -> int:
    """Return the number in a header field, -1 when it is none."""
    digits = content.rstrip(b"\x00 ")
    return int(digits or b"0", 8) if re.fullmatch(rb"[0-7]*", digits) else -1


def _checksum(block: bytes) -> bytes:
    # The checksum counts its own field as blanks.
    return b"%06o\x00 " % (sum(block) - sum(block[148:156]) + 8 * 0x20)


def _nearest(block: bytes, walk: _Walk) -> str:
    names = sorted(set(walk.wanted) - walk.seen)
    if names:
        field_of = np.array(names, dtype="S100").view(np.uint8).reshape(len(names), 100)
        differing = (field_of != np.frombuffer(block[:100], dtype=np.uint8)).sum(axis=1)
        if differing.min() <= 4:
            return names[int(differing.argmin())]
    raise _fault("a header block or the end of the archive", "a block that is neither")


def _check_end(tape: _Tape, spot: _Spot) -> None:
    if tape.take(_BLOCK) != _ZEROS or any(any(block) for block in tape.rest()):
        spot.report("package", wanted="zeros from the first zero block on", found="other bytes")
    if tape.position % _BLOCK:
        spot.report("package", wanted=f"whole blocks of {_BLOCK} bytes", found=f"{tape.position} bytes")


def _audit_member(tape: _Tape, name: str, size: int, walk: _Walk, spot: _Spot) -> None:
    digest = hashlib.sha256()
    pieces = _pieces(tape, size, digest)
    member = walk.wanted.get(name)
    if member is None:
        spot.report("package", wanted="a member that a manifest line explains", found="none")
    elif name in walk.seen:
        spot.report("package", wanted="each member once", found="a second one")
    else:
        walk.seen.add(name)
        spot.expect("package", "a size of", wanted=member.size, found=size)
        with _reporting(spot, "package"):
            if member.claim is None:
                _audit_dataset(
                    b"".join(itertools.islice(pieces, DOCUMENT_LIMIT // _CHUNK)), walk.manifest, spot
                )
            else:
                _audit_nifti(pieces, member.claim, walk, spot)
    # Whatever the content's audit left unread still counts in the digests.
    for _ in pieces:
        pass
    if member is not None:
        found = f"sha256:{digest.hexdigest()}"
        spot.expect("package", "the digest in the manifest,", wanted=member.digest, found=found)


def _pieces(tape: _Tape, size: int, digest: Any) -> Iterator[bytes]:
    while size:
        piece = tape.take(min(size, _CHUNK))
        digest.update(piece)
        size -= len(piece)
        yield piece


# ----------------------------------------------------------------------------------------------------
# dataset.json


def _audit_dataset(content: bytes, manifest: _Manifest, spot: _Spot) -> None:
    if not content.isascii():
        spot.report("package", wanted="ASCII", found="other bytes")
    document = _document(content, "dataset", spot, is_canonical=False)
    header, channels = manifest.header, manifest.channels
    names = {str(place): channel.name for place, channel in enumerate(channels)}
    spot.expect("package", "modality", wanted=list(names.items()), found=list(document["modality"].items()))
    classes = {str(value): name for value, name in enumerate(manifest.classes)}
    spot.expect("package", "labels", wanted=list(classes.items()), found=list(document["labels"].items()))
    size = "4D" if len(channels) > 1 else "3D"
    spot.expect("package", "tensorImageSize", wanted=size, found=document["tensorImageSize"])
    if "quantitative" in document:
        flags = [int(channel.quantity != "arbitrary") for channel in channels]
        spot.expect("package", "quantitative", wanted=flags, found=document["quantitative"])
    texts = header["rules"]["document"].get("header")
    for key in ("name", "description", "reference", "licence", "release"):
        wanted = texts.get(key) if isinstance(texts, dict) else None
        spot.expect("package", key, wanted=wanted, found=document[key])
    _check_lists(document, manifest, spot)


def _check_lists(document: Mapping[str, Any], manifest: _Manifest, spot: _Spot) -> None:
    """Report unless each case of the manifest is listed once, in its subset, under its own paths."""
    training, test = document["training"], document["test"]
    spot.expect("package", "numTraining", wanted=len(training), found=document["numTraining"])
    spot.expect("package", "numTest", wanted=len(test), found=document["numTest"])
    listed = sorted((pair["image"], pair["label"]) for pair in training)
    wanted = [
        (f"./imagesTr/{case}.nii.gz", f"./labelsTr/{case}.nii.gz") for case in manifest.members["training"]
    ]
    _expect_same(wanted, listed, "training", spot)
    _expect_same([f"./imagesTs/{case}.nii.gz" for case in manifest.members["test"]], test, "test", spot)


def _expect_same(wanted: Sequence[Any], listed: Sequence[Any], what: str, spot: _Spot) -> None:
    lacking, surplus = Counter(wanted) - Counter(listed), Counter(listed) - Counter(wanted)
    if lacking:
        spot.report("package", wanted=f"every {what} case listed", found=f"none of {sorted(lacking)[:5]}")
    if surplus:
        spot.report("package", wanted=f"each {what} case once, as in the manifest", found=sorted(surplus)[:5])


# ----------------------------------------------------------------------------------------------------
# NIfTI: gzip member, header, voxels


def _inflated(pieces: Iterator[bytes], spot: _Spot) -> Iterator[bytes]:
    """Yield the content of the one gzip member (RFC 1952) that the pieces are, `_CHUNK` bytes at most.

    Raises
    ------
    EvidenceError
        If it is not one whole member, or has optional header fields.
    """
    first = next(pieces, b"")
    if first[:3] != b"\x1f\x8b\x08" or first[3:4] != b"\x00":
        raise _fault("a gzip member without name, comment or extra field", first[:10].hex(" "))
    spot.expect(
        "package", "a gzip header without time, OS 255,", wanted="0000000000ff", found=_stamp(first[:10])
    )
    inflate, crc, size, tail = zlib.decompressobj(wbits=-15), 0, 0, b""
    for piece in itertools.chain([first[10:]], pieces):
        if inflate.eof:
            tail += piece[:9]
            continue
        for block in _inflate(inflate, piece):
            crc, size = zlib.crc32(block, crc), size + len(block)
            yield block
        tail = inflate.unused_data[:9]
    if not inflate.eof:
        raise _fault("a whole gzip member", "one that ends early")
    if tail != struct.pack("<II", crc, size & 0xFFFFFFFF):
        raise _fault("CRC-32 and size at the end, and nothing behind", tail.hex(" "))


def _stamp(header: bytes) -> str:
    # Byte 8 only names the compressor's effort.
    return (header[3:8] + header[9:10]).hex()


def _inflate(inflate: Any, piece: bytes) -> Iterator[bytes]:
    while True:
        try:
            block = inflate.decompress(piece, _CHUNK)
        except zlib.error:
            raise _fault("deflated data", "damage") from None
        if block:
            yield block
        piece = inflate.unconsumed_tail
        if inflate.eof or (not piece and len(block) < _CHUNK):
            return


_DTYPES = {2: ("uint8", "<u1"), 4: ("int16", "<i2"), 16: ("float32", "<f4"), 512: ("uint16", "<u2")}
"""NIfTI-1 datatype codes that a release may hold."""

_NIFTI_FIELDS = ((0, 4), (40, 56), (70, 74), (76, 120), (123, 124), (252, 328), (344, 348))
"""Bytes of the header that say something; all others, every text among them, are zero."""

_VOXEL_OFFSET = 352


@dataclass(frozen=True, slots=True, eq=False)
class _Nifti:
    """What a NIfTI-1 header says (nifti1.h)."""

    shape: tuple[int, ...]
    dtype: str
    code: str
    sform: npt.NDArray[np.float64]


def _audit_nifti(pieces: Iterator[bytes], claim: _Claim, walk: _Walk, spot: _Spot) -> None:
    content = _inflated(pieces, spot)
    begin = b""
    while len(begin) < _VOXEL_OFFSET:
        piece = next(content, b"")
        if not piece:
            raise _fault("a NIfTI-1 header of 348 bytes and 4 more", f"{len(begin)} bytes")
        begin += piece
    header = _read_nifti_header(begin[:_VOXEL_OFFSET], spot)
    _check_against_claim(header, claim, spot)
    if claim.kind == "image":
        walk.headers[claim.case] = header
    elif claim.case in walk.headers:
        _check_same_grid(header, walk.headers[claim.case], spot)
    voxels = itertools.chain([begin[_VOXEL_OFFSET:]], content)
    if claim.kind == "image":
        digest = _audit_image(voxels, header, claim, walk.manifest.channels, spot)
        if digest in walk.voxels:
            spot.report("package", wanted="voxels of its own", found=f"those of {walk.voxels[digest]}")
        walk.voxels.setdefault(digest, claim.member)
    else:
        digest = _audit_label(voxels, header, claim, walk.manifest.classes, spot)
    spot.expect(
        "package", "the voxels' digest in the manifest,", wanted=claim.voxels, found=f"sha256:{digest}"
    )


def _read_nifti_header(content: bytes, spot: _Spot) -> _Nifti:
    """Read 352 bytes as a single-file NIfTI-1 header, report what a release may not have in it.

    Raises
    ------
    EvidenceError
        If shape or datatype cannot be told from it.
    """
    ndim, *axes = struct.unpack_from("<8h", content, 40)
    code, bits = struct.unpack_from("<2h", content, 70)
    shape = tuple(axes[:ndim]) if 0 < ndim <= 7 else ()
    if content[:4] != b"\x5c\x01\x00\x00" or code not in _DTYPES or not 3 <= ndim <= 4 or min(shape) < 1:
        raise _fault(
            "NIfTI-1, little-endian, X,Y,Z or X,Y,Z,channel, of a known dtype", f"shape {shape}, dtype {code}"
        )
    dtype, layout = _DTYPES[code]
    offset, slope, intercept = struct.unpack_from("<3f", content, 108)
    for what, wanted, found in (
        ("magic and no extension", b"n+1\x00" + bytes(4), content[344:]),
        ("bits per voxel", 8 * np.dtype(layout).itemsize, bits),
        ("voxels from byte", _VOXEL_OFFSET, offset),
        ("no scaling, slope and intercept", True, slope in (0, 1) and intercept == 0),
        ("millimetres (2)", 2, content[123] & 7),
        ("unused axes of one voxel", True, set(axes[ndim:]) <= {0, 1}),
        ("no bytes in fields without meaning", b"", _surplus(content)),
    ):
        spot.expect("package", what, wanted=wanted, found=found)
    return _Nifti(shape, dtype, layout, _check_forms(content, shape, spot))


def _surplus(content: bytes) -> bytes:
    """Return what stands in header fields that say nothing."""
    silent = bytearray(content[:348])
    for begin, end in _NIFTI_FIELDS:
        silent[begin:end] = bytes(end - begin)
    return bytes(silent).strip(b"\x00")


def _check_forms(content: bytes, shape: Sequence[int], spot: _Spot) -> npt.NDArray[np.float64]:
    """Return the sform, shape (4, 4); report when qform, codes or spacing do not agree with it."""
    pixdim = struct.unpack_from("<8f", content, 76)
    codes = struct.unpack_from("<2h", content, 252)
    numbers = np.frombuffer(content, dtype="<f4", count=18, offset=256).astype(np.float64)
    sform = np.vstack([numbers[6:].reshape(3, 4), [0, 0, 0, 1]])
    if min(codes) < 1:
        spot.report("package", wanted="qform and sform codes above 0", found=codes)
    if not np.isfinite(numbers).all() or not np.isfinite(pixdim).all():
        spot.report("package", wanted="finite qform, sform and spacing", found=_row(numbers))
        return sform
    spacing = np.linalg.norm(sform[:3, :3], axis=0)
    if not np.allclose(pixdim[1:4], spacing, rtol=1e-5, atol=0):
        spot.report(
            "package", wanted=f"the sform's spacing, {_row(spacing)} mm", found=f"{_row(pixdim[1:4])} mm"
        )
    qform = _qform(numbers[:6], pixdim)
    apart = float(np.abs(corners(shape, qform) - corners(shape, sform)).max())
    if not apart <= QFORM_TOLERANCE_MM:
        spot.report("package", wanted="a qform equal to the sform", found=f"corners {apart:.3g} mm apart")
    return sform


def _qform(numbers: npt.NDArray[np.float64], pixdim: Sequence[float]) -> npt.NDArray[np.float64]:
    """Return the affine that quaternion, offset and spacing mean (nifti1.h, method 2)."""
    b, c, d = numbers[:3]
    a = math.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d)))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    mirror = -1.0 if pixdim[0] < 0 else 1.0
    affine = np.eye(4)
    affine[:3, :3] = rotation * [pixdim[1], pixdim[2], mirror * pixdim[3]]
    affine[:3, 3] = numbers[3:6]
    return affine


def _check_against_claim(header: _Nifti, claim: _Claim, spot: _Spot) -> None:
    spot.expect("package", "the manifest's shape,", wanted=claim.shape, found=header.shape)
    spot.expect("package", "the manifest's dtype,", wanted=claim.dtype, found=header.dtype)
    # The file holds float32: the claim must be the same number in it.
    if not np.array_equal(claim.affine.astype(np.float32), header.sform.astype(np.float32)):
        spot.report(
            "orient", wanted=f"the manifest's affine, {_matrix(claim.affine)}", found=_matrix(header.sform)
        )
    if np.isfinite(header.sform).all():
        _check_affine(header.sform, spot)


def _check_same_grid(label: _Nifti, image: _Nifti, spot: _Spot) -> None:
    spot.expect("label", "the image's shape,", wanted=image.shape[:3], found=label.shape)
    if not np.array_equal(label.sform, image.sform):
        spot.report("label", wanted=f"the image's affine, {_matrix(image.sform)}", found=_matrix(label.sform))


def _blocks(pieces: Iterable[bytes], header: _Nifti, digest: Any) -> Iterator[npt.NDArray[Any]]:
    """Yield the voxels in file order, block by block; report-worthy are too few or too many bytes.

    Raises
    ------
    EvidenceError
        If there are not exactly the bytes that shape and dtype need.
    """
    dtype = np.dtype(header.code)
    left, carried = math.prod(header.shape) * dtype.itemsize, b""
    for piece in pieces:
        digest.update(piece)
        left -= len(piece)
        if left < 0:
            raise _fault("as many voxels as the header says", "more bytes")
        content = carried + piece if carried else piece
        whole = len(content) // dtype.itemsize
        carried = content[whole * dtype.itemsize :]
        yield np.frombuffer(content, dtype=dtype, count=whole)
    if left:
        raise _fault("as many voxels as the header says", f"{left} bytes less")


class _Tally:
    """Running numbers of one channel: range, voxels at the ends of the scale, whether all are whole."""

    def __init__(self, channel: _Channel) -> None:
        self._ends = channel.range
        self._asks_whole = channel.quantity == "hounsfield"
        self.lows: list[float] = []
        self.highs: list[float] = []
        self.at_ends = [0, 0]
        self.is_whole = True

    def add(self, values: npt.NDArray[Any]) -> None:
        # NaN and infinity always show in the extremes.
        self.lows.append(float(values.min()))
        self.highs.append(float(values.max()))
        if self._ends is not None:
            for place, end in enumerate(self._ends):
                self.at_ends[place] += int(np.count_nonzero(values == end))
        if self._asks_whole and self.is_whole and values.dtype.kind == "f":
            self.is_whole = bool((values == np.rint(values)).all())

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest value; NaN if there is one."""
        # Python's min would lose a NaN that is not first.
        return float(np.min(self.lows)), float(np.max(self.highs))


def _audit_image(
    pieces: Iterable[bytes], header: _Nifti, claim: _Claim, channels: Sequence[_Channel], spot: _Spot
) -> str:
    """Check values against what quantity and scaling allow; return the hex digest of the voxels."""
    digest = hashlib.sha256()
    tallies = [_Tally(channel) for channel in channels]
    per_channel, position = math.prod(header.shape[:3]), 0
    for block in _blocks(pieces, header, digest):
        while block.size:
            place = position // per_channel
            part = block[: (place + 1) * per_channel - position]
            # A fourth axis that is too long was reported; its surplus has no rule.
            if place < len(tallies):
                tallies[place].add(part)
            position += part.size
            block = block[part.size :]
    for channel, tally in zip(channels, tallies, strict=True):
        if tally.lows:
            _check_channel(channel, tally, header, claim, spot)
    return digest.hexdigest()


def _check_channel(channel: _Channel, tally: _Tally, header: _Nifti, claim: _Claim, spot: _Spot) -> None:
    low, high = tally.range
    if not (math.isfinite(low) and math.isfinite(high)):
        spot.report("check", wanted=f"finite values in channel {channel.name}", found="NaN or infinity")
        return
    if low == high:
        spot.report(
            "check", wanted=f"values that differ in channel {channel.name}", found=f"{low:g} everywhere"
        )
    fits = low >= -32768 and high <= 32767
    if (
        channel.quantity == "hounsfield"
        and header.dtype == "float32"
        and len(header.shape) == 3
        and fits
        and tally.is_whole
    ):
        spot.report("convert", wanted="int16, because all values are whole and fit", found="float32")
    for note in claim.notes:
        ranges = note.get("channels") if note["stage"] == "check" else None
        told = ranges.get(channel.name) if isinstance(ranges, dict) else None
        if isinstance(told, dict) and (_number(told, "min"), _number(told, "max")) != (low, high):
            spot.report(
                "check", wanted=f"the noted range of channel {channel.name}", found=f"{low:.9g} to {high:.9g}"
            )
    if channel.range is not None:
        spot.expect("scale", f"channel {channel.name} over exactly", wanted=channel.range, found=(low, high))
        _check_percentiles(channel, tally, math.prod(header.shape[:3]), claim, spot)


def _check_percentiles(channel: _Channel, tally: _Tally, voxels: int, claim: _Claim, spot: _Spot) -> None:
    """Report unless each end of the range holds at least the share of voxels that its percentile clips."""
    notes = [n for n in claim.notes if n["stage"] == "scale" and n.get("channel") == channel.name]
    counted = voxels
    if channel.over == "nonzero":
        # Zeros went to the lower end if the lower cut-off is not below them; all others were surely counted.
        is_above = all(_number(note, "low") >= 0 for note in notes)
        counted = voxels - tally.at_ends[0] if is_above else 0
    for place, share in enumerate(_clipped_shares(channel)):
        least = _rank(voxels if place == 0 and channel.over == "all" else counted, share) - 1
        clipped = [_number(note, _CLIPPED[place]) for note in notes]
        least = max([least, *(int(number) for number in clipped if math.isfinite(number))])
        if tally.at_ends[place] < least:
            end = f"{(channel.range or (0, 0))[place]:g}"
            wanted = f"at least {least} voxels at {end} in channel {channel.name}"
            spot.report("scale", wanted=wanted, found=tally.at_ends[place])


def _audit_label(
    pieces: Iterable[bytes], header: _Nifti, claim: _Claim, classes: Sequence[str], spot: _Spot
) -> str:
    """Check that values are declared and as many as claimed; return the hex digest of the voxels."""
    digest = hashlib.sha256()
    counts, unknown = [0] * len(classes), set()
    for block in _blocks(pieces, header, digest):
        here = [int(np.count_nonzero(block == value)) for value in range(len(classes))]
        counts = [total + more for total, more in zip(counts, here, strict=True)]
        if sum(here) != block.size:
            unknown |= set(np.unique(block).tolist()) - set(range(len(classes)))
    if unknown:
        declared = ", ".join(map(str, range(len(classes))))
        spot.report("label", wanted=f"the values {declared}", found=f"also {sorted(unknown)[:10]}")
    for value in range(1, len(classes)):
        told = claim.classes.get(str(value), {}).get("voxels", 0)
        spot.expect(
            "label",
            f"as many voxels of class {value} as the manifest says,",
            wanted=told,
            found=counts[value],
        )
    _check_label_notes(counts, claim, spot)
    return digest.hexdigest()


def _check_label_notes(counts: Sequence[int], claim: _Claim, spot: _Spot) -> None:
    """Report unless label and check counted what is there."""
    for note in claim.notes:
        told = note.get("classes") if note["stage"] == "label" else note.get("label")
        for value, part in told.items() if isinstance(told, dict) else ():
            number = part.get("voxels") if isinstance(part, dict) else part
            wanted = counts[int(value)] if value.isdecimal() and int(value) < len(counts) else None
            spot.expect(
                note["stage"], f"as many voxels of value {value} as noted,", wanted=number, found=wanted
            )


# ----------------------------------------------------------------------------------------------------
# The private chain: from the manifest's keyed digests back to the source files


@dataclass(frozen=True, slots=True)
class _Chain:
    """What the walk back to the sources needs."""

    workspace: Path
    key: Key
    run: _Run
    tell: Callable[[str], None]


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


def _read_key(workspace: Path) -> Key:
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


def _audit_sources(name: str, files: Mapping[str, Path], chain: _Chain) -> None:
    """Hash the planned source files of every case again and compare them with plan and manifest."""
    spot = _Spot(chain.run, name)
    with _reporting(spot, "ingest"):
        plan = chain.workspace / "private" / "plan" / f"{name.partition('.')[0]}.jsonl"
        if not plan.is_file():
            raise _fault("a plan of the task in the workspace", "none")
        places = {case.case: place for place, case in _planned(plan)}
        for line in _readable_lines(files, name):
            here = spot.at("", line["case"])
            place = places.pop(line["case"], None)
            if line["kind"] == "case":
                chain.tell(f"{line['task']}: sources of {line['case']}")
                with _reporting(here, "ingest"):
                    _audit_case_sources(line, _planned_at(plan, place), chain, here)
        for case in sorted(places):
            spot.at("", case).report("ingest", wanted="a line for every planned case", found="none")


def _readable_lines(files: Mapping[str, Path], name: str) -> Iterator[dict[str, Any]]:
    """Yield the manifest's case and refusal lines that can be read; the others were reported before."""
    with _opened(files, name) as stream:
        for content in _lines(stream):
            try:
                line = _parsed(content.removesuffix(b"\n"))
                kind = _kind_of(line)
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
        raise _fault("the case in the workspace's plan", "none")
    with plan.open("rb") as stream:
        stream.seek(place)
        return _plan_of(_private(stream.readline()))


def _private(content: bytes) -> dict[str, Any]:
    try:
        line: dict[str, Any] = {**json.loads(content)}
    except (ValueError, TypeError):
        raise _fault("a plan of JSON lines", "another line") from None
    return line


def _plan_of(line: Mapping[str, Any]) -> _Plan:
    try:
        sources = {name: [_Source(*ref) for ref in refs] for name, refs in line["channels"].items()}
        if line["label"] is not None:
            sources["label"] = [_Source(*line["label"]["ref"])]
        return _Plan(line["case"], line["subset"], sources)
    except (KeyError, TypeError, AttributeError):
        raise _fault("a plan that names each case's sources", "a line that does not") from None


def _audit_case_sources(line: Mapping[str, Any], plan: _Plan, chain: _Chain, spot: _Spot) -> None:
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
            _check_keyed(name, sources, line["sources"].get(name, []), chain, spot)


def _check_keyed(
    name: str, sources: Sequence[_Source], keyed: Sequence[str], chain: _Chain, spot: _Spot
) -> None:
    spot.expect("ingest", f"as many sources of {name} as planned,", wanted=len(sources), found=len(keyed))
    for number, (source, told) in enumerate(zip(sources, keyed, strict=False), 1):
        wanted = "hmac-sha256:" + chain.key.digest("source", source.digest).hex()
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
            yield None, _hashed(stream, sizes[None])
    elif path.name.lower().endswith(".zip"):
        yield from _zip_hashes(path, sizes)
    else:
        yield from _tar_hashes(path, sizes)


def _zip_hashes(path: Path, sizes: Mapping[str | None, int]) -> Iterator[tuple[str, str]]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.filename in sizes:
                with archive.open(info) as stream:
                    yield info.filename, _hashed(stream, sizes[info.filename])


def _tar_hashes(path: Path, sizes: Mapping[str | None, int]) -> Iterator[tuple[str, str]]:
    with tarfile.open(path, "r|*") as archive:
        for info in archive:
            stream = archive.extractfile(info) if info.name in sizes and info.isfile() else None
            if stream is not None:
                yield info.name, _hashed(stream, sizes[info.name])
