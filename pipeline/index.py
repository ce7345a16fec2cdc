"""Read every source file into the index: what it is, what its header says, what it is bound to."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from pipeline.io import annotation, ledger
from pipeline.io.dicom import facts_of, is_dicom, read_damaged, read_dataset, read_header
from pipeline.io.imagefile import describe
from pipeline.io.ledger import Row, Stamped
from pipeline.io.source import Entry, entries, files_below, read_entry, stamp_of
from pipeline.io.workspace import Workspace
from pipeline.model.errors import CurationError, SelectionError, UsageError, fate_of
from pipeline.model.series import Facts, Fate, Kind, SourceFile, SourceRef
from pipeline.stages.unfold import READING_ERRORS, unfold

Told = Callable[[str, int, int], None]
"""Told (what, done, of how many) on long work; 0 when the whole is not known."""

TASK_FOLDER = re.compile(r"Task\d{2}_[A-Za-z0-9]+")
TABLE_NAME = "cases.csv"
_SLICE_SUFFIXES = ("", ".dcm", ".dicom", ".ima", ".img")


def index(workspace: Workspace, sources: Sequence[Path], task: str | None, told: Told) -> dict[str, int]:
    """Read every file below the sources into the index; return how many there are of each kind.

    A file whose size and time have not changed since it was indexed is not read again.

    Raises
    ------
    UsageError
        no-sources, when a source is not there or holds no file at all.
    SelectionError
        no-images, when there are files, each with its fate, but none among them that may be an image.
    """
    key = workspace.key()
    for source in sources:
        root = source.resolve()
        path = ledger.index_path(workspace.index, root, key)
        # A source that is not mounted now keeps its index.
        count = ledger.write_index(path, root, _look(root, task, path, told)) if root.exists() else 0
        if count == 0:
            if root.exists():
                path.unlink()
            raise UsageError("no-sources", wanted="files below each SOURCE", found="none")
    kinds: Counter[str] = Counter()
    rows, may_be_images = [], False
    for file in ledger.read_index(workspace.index):
        kinds[file.kind.value] += 1
        may_be_images |= file.kind is Kind.IMAGE or (
            bool(file.facts.get("source")) and "damage" not in file.facts
        )
        rows.append(_first_row(file))
    ledger.write_fates(workspace.private / "fates.csv", rows, key)
    if not may_be_images:
        raise SelectionError(
            "no-images", wanted="CT, MR or PET images", found=f"{kinds.total()} files, none of them one"
        )
    return {"files": kinds.total(), **dict(sorted(kinds.items()))}


def _first_row(file: SourceFile) -> Row:
    if file.code is None:
        return Row(file, Fate.PENDING, task=file.task or "")
    return Row(file, Fate(fate_of(file.code)), file.code, file.task or "")


def look(root: Path, told: Told) -> Iterator[SourceFile]:
    """Yield what every file below a root is, without a workspace."""
    places = list(files_below(root))
    for done, (place, inside, code) in enumerate(places):
        told("files read", done + 1, len(places))
        for entry in entries(place, inside, code):
            yield _line(entry, None)


def _look(root: Path, task: str | None, path: Path, told: Told) -> Iterator[Stamped]:
    """Yield an index line for every file below a root, taking over what has not changed."""
    known: dict[str, list[Stamped]] = defaultdict(list)
    for line in ledger.read_index_file(path) if path.exists() else ():
        known[line[0].ref.path].append(line)
    places = list(files_below(root))
    for done, (place, inside, code) in enumerate(places):
        told("files read", done + 1, len(places))
        before = known.get(str(place), [])
        if before and code is None and before[0][1] == stamp_of(place) != (0, 0):
            for file, stamp in before:
                yield replace(file, task=_binding(file.inside, root, task)), stamp
        else:
            for entry in entries(place, inside, code):
                yield _line(entry, _binding(entry.inside, root, task)), entry.stamp


def _binding(inside: str, root: Path, task: str | None) -> str | None:
    """Return the task a source is bound to: a folder directly below the root says it, else -t, else the root's name.

    So `-t` takes one task out of a tree with a folder for each, and binds a tree without.
    """
    top, _, rest = inside.partition("/")
    if rest and TASK_FOLDER.fullmatch(top):
        return top
    own = root.name.partition(".")[0]
    return task or (own if TASK_FOLDER.fullmatch(own) else None)


def _line(entry: Entry, task: str | None) -> SourceFile:
    """Return the index line of one entry; whatever is wrong with it is its code."""
    ref = SourceRef(entry.path, entry.member, "", 0)
    if entry.code is not None:
        return SourceFile(ref, entry.inside, task, Kind.OTHER, entry.code)
    try:
        content = read_entry(entry)
    except CurationError as error:
        return SourceFile(ref, entry.inside, task, Kind.OTHER, error.code)
    ref = replace(ref, digest=hashlib.sha256(content).hexdigest(), size=len(content))
    if is_dicom(content[:132]):
        return _instance(SourceFile(ref, entry.inside, task, Kind.OTHER), content)
    return _by_name(SourceFile(ref, entry.inside, task, Kind.OTHER), content)


def _instance(file: SourceFile, content: bytes) -> SourceFile:
    """Return the line of a DICOM file; a damaged one keeps what it still says of its series."""
    try:
        header = read_header(content)
    except CurationError as error:
        return replace(file, code=error.code, facts=read_damaged(content))
    found = replace(file, kind=header.kind, code=header.code, facts=header.facts)
    return _unfolded(found, content) if _holds_several(found) else found


def _holds_several(file: SourceFile) -> bool:
    """Whether an image may hold several slices: frames, a mosaic or a grid."""
    words = file.facts.get("ImageType", ())
    is_several = file.facts.get("NumberOfFrames", 1) != 1 or "PixelSpacing" not in file.facts
    return (
        file.kind is Kind.IMAGE
        and file.code is None
        and (is_several or "MOSAIC" in words or "VFRAME" in words)
    )


def _unfolded(file: SourceFile, content: bytes) -> SourceFile:
    """Return the line of an image with several slices: what each of them says differently from the whole."""
    try:
        facts = [facts_of(one) for one in unfold(read_dataset(content))]
    except CurationError as error:
        return replace(file, code=error.code)
    except READING_ERRORS:
        # Not every element is parsed before its frames are.
        return replace(file, code="unreadable")
    if len(facts) == 1:
        return replace(file, facts=facts[0])
    return replace(file, facts={**file.facts, "frames": [_difference(own, file.facts) for own in facts]})


def _difference(own: Facts, shared: Facts) -> Facts:
    changed = {keyword: value for keyword, value in own.items() if shared.get(keyword) != value}
    return {**changed, **{keyword: None for keyword in shared if keyword not in own}}


def _by_name(file: SourceFile, content: bytes) -> SourceFile:
    """Return the line of a file that is no DICOM, by its name; one without content, called like a slice, was cut."""
    name = PurePosixPath(file.inside).name
    if annotation.is_mask(name):
        return replace(file, kind=Kind.MASK, facts=_mask_facts(name, content))
    name = name.lower()
    if name == TABLE_NAME:
        return replace(file, kind=Kind.TABLE)
    if annotation.is_label_names(content):
        return replace(file, code="not-dicom", facts={"describes_labels": True})
    # A DICOM file begins with a preamble that is zero as a rule (PS3.10 7.1).
    is_void = not content.strip(b"\x00")
    if is_void and not name.startswith(".") and PurePosixPath(name).suffix in _SLICE_SUFFIXES:
        return replace(file, code="truncated")
    return replace(file, code="not-dicom")


def _mask_facts(name: str, content: bytes) -> Facts:
    """Return what the header of a mask or image says: its outline, and which file beside it holds its voxels, if any.

    A damaged header says so when it is read.
    """
    facts = describe(content, name)
    try:
        companion = annotation.companion_name(content, name)
    except CurationError:
        return facts
    return facts if companion is None else {**facts, "data_file": companion}
