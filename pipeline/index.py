"""Read every source file into the index: what it is, what its header says, what it is bound to.

Files are read in confined processes: one that crashes, stops or fills what reads it is refused, and the others go on.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, groupby
from pathlib import Path, PurePosixPath

from pipeline.confined import Ended
from pipeline.io import annotation, ledger
from pipeline.io.dicom import facts_of, is_dicom, read_damaged, read_dataset, read_header
from pipeline.io.imagefile import describe
from pipeline.io.ledger import Row, Stamped
from pipeline.io.source import (
    TRIED_AGAIN,
    Entry,
    count_below,
    entries,
    files_below,
    is_archive,
    read_entry,
    stamp_of,
    walk_order,
)  # fmt: skip
from pipeline.io.workspace import Workspace
from pipeline.model.errors import CurationError, SelectionError, UsageError, fate_of
from pipeline.model.series import Facts, Fate, Kind, SourceFile, SourceRef, listed
from pipeline.processes import Asked, Begun, Processes, Tell, refusal_of
from pipeline.stages.unfold import READING_ERRORS, unfold

Told = Callable[[str, int, int], None]
"""Told (what, done, of how many) on long work; 0 when the whole is not known."""

TASK_FOLDER = re.compile(r"Task\d{2}_[A-Za-z0-9]+")
TABLE_NAME = "cases.csv"
CHUNK = 64
"""Files that a process reads at once: enough that handing them over costs nothing beside reading them."""

FEW = 1000
"""So many files are read by one process: more would take as long to start."""

LARGE_ARCHIVE = 16 * 2**20
"""Bytes of an archive whose lines are not kept together in memory: they come member by member."""

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
    workers = workspace.settings().workers or os.cpu_count() or 1
    for source in sources:
        root = source.resolve()
        path = ledger.index_path(workspace.index, root, key)
        # A source that is not mounted now keeps its index.
        search = _Search(root, task, workers, workspace.crashes)
        lines = _lines(search, _Before(path, root), told) if root.exists() else iter(())
        first = next(lines, None)
        if first is None:
            if root.exists():
                path.unlink(missing_ok=True)
            raise UsageError("no-sources", wanted="files below each SOURCE", found="none")
        ledger.write_index(path, root, chain([first], lines))
    kinds: Counter[str] = Counter()
    ledger.write_fates(workspace.private / "fates.csv", _first_rows(workspace, kinds), key)
    if not kinds.pop(_MAY_BE_IMAGES, 0):
        raise SelectionError(
            "no-images", wanted="CT, MR or PET images", found=f"{kinds.total()} files, none of them one"
        )
    return {"files": kinds.total(), **dict(sorted(kinds.items()))}


_MAY_BE_IMAGES = ""
"""Under this, kinds are counted that may be images by a task's rules: DICOM, and files that are no longer it."""


def _first_rows(workspace: Workspace, kinds: Counter[str]) -> Iterator[Row]:
    """Yield each indexed file's fate before any plan, counting their kinds, and what may be an image."""
    for file in ledger.read_index(workspace.index):
        kinds[file.kind.value] += 1
        is_image_file = bool(file.facts.get("source")) and "damage" not in file.facts
        kinds[_MAY_BE_IMAGES] += file.kind is Kind.IMAGE or is_image_file
        fate = Fate.PENDING if file.code is None else Fate(fate_of(file.code))
        yield Row(file, fate, file.code or "", file.task or "")


def look(root: Path, told: Told, logs: Path | None = None) -> Iterator[SourceFile]:
    """Yield what every file below a root is, without a workspace; the log of a crash is kept where `logs` says."""
    search = _Search(root, None, os.cpu_count() or 1, logs)
    for line in _lines(search, _Before(None, root), told):
        file, _ = ledger.parsed(line)
        yield replace(file, task=None)


@dataclass(frozen=True, slots=True)
class _Search:
    """Where to read, what to bind it to, with how many processes, and where the logs of those that crash stay."""

    root: Path
    task: str | None
    workers: int
    logs: Path | None


_Place = tuple[Path, str, str | None]
"""A file on disk: its path, its place below the root, and a code if it cannot be read."""


def _archive(file: SourceFile) -> str:
    """Return the archive that a file is, or is a member of; nothing for any other."""
    return file.ref.path if is_archive(file.ref.path) else ""


_Known = tuple[bytes, Stamped]
"""A line of the index as it was, and what it says."""


class _Before:
    """The index as it was, read along with the walk: both go through the tree in the same order."""

    def __init__(self, path: Path | None, root: Path) -> None:
        is_there = path is not None and path.exists()
        lines = ledger.read_index_lines(path) if path is not None and is_there else iter(())
        said = ((line, ledger.parsed(line)) for line in lines)
        # What could not be read is tried again; an archive with such a member as a whole, from front to back.
        archives = set() if path is None or not is_there else set(map(_archive, ledger.to_read_again(path)))
        known = (line for line in said if line[1][1] != (0, 0) and line[1][0].ref.path not in archives)
        self._files = groupby(known, key=lambda line: line[1][0].ref.path)
        self._root = str(root)
        self._go_on()

    def _go_on(self) -> None:
        self._next = next(self._files, None)
        self._order = () if self._next is None else walk_order(self._next[0], self._root)

    def lines_of(self, place: Path, code: str | None) -> Iterator[_Known] | None:
        """Return the lines of a file that has not changed since, to be read before the next is asked for."""
        path = str(place)
        wanted = walk_order(path, self._root)
        while self._next is not None and self._order < wanted:
            self._go_on()
        if code is not None or self._next is None or self._next[0] != path:
            return None
        first = next(self._next[1], None)
        if first is None or first[1][1] != stamp_of(place):
            return None
        return chain([first], self._next[1])


_Walk = Iterator[tuple[_Place, Iterator[bytes] | None]]
"""Each file of the tree in order, with its lines if they are known; to be read before the next is asked for."""


def _lines(search: _Search, before: _Before, told: Told) -> Iterator[bytes]:
    """Yield an index line for every file below a root, taking over what has not changed."""
    total = count_below(search.root)
    found = _read_beside(search, _walk(search, before), 1 if total < FEW else search.workers)
    for done, lines in enumerate(found, start=1):
        told("files read", done, max(done, total))
        yield from lines


def _walk(search: _Search, before: _Before) -> _Walk:
    for place, inside, code in files_below(search.root):
        known = before.lines_of(place, code)
        yield (place, inside, code), None if known is None else _bound(search, known)


def _bound(search: _Search, known: Iterator[_Known]) -> Iterator[bytes]:
    for line, (file, stamp) in known:
        task = _binding(file.inside, search.root, search.task)
        yield line if task == file.task else ledger.index_line(replace(file, task=task), stamp)


def _read_beside(search: _Search, walk: _Walk, workers: int) -> Iterator[Iterator[bytes]]:
    """Yield the lines of each file, read by other processes: chunk by chunk, large archives member by member."""
    portion: list[tuple[_Place, list[bytes] | None]] = []
    waiting: deque[tuple[list[list[bytes] | None], Asked[_Place, list[bytes]]]] = deque()
    lost, work = partial(_lost, search), partial(_read_chunk, search)
    with Processes(work, lost=lost, count=workers, logs=search.logs, preload=__name__) as processes:

        def hand_out() -> None:
            unread = [place for place, known in portion if known is None]
            waiting.append(([known for _, known in portion], processes.ask(unread)))
            portion.clear()

        def taken_in(most: int) -> Iterator[Iterator[bytes]]:
            while len(waiting) > most:
                known, asked = waiting.popleft()
                fresh = iter(processes.answer(asked))
                yield from (iter(next(fresh) if lines is None else lines) for lines in known)

        for place, known in walk:
            if is_archive(place[0].name) and stamp_of(place[0])[0] > LARGE_ARCHIVE:
                hand_out()
                yield from taken_in(0)
                yield _members(search, place, processes) if known is None else known
                continue
            portion.append((place, None if known is None else list(known)))
            if len(portion) == CHUNK:
                hand_out()
                yield from taken_in(processes.ahead)
        hand_out()
        yield from taken_in(0)


def _read_chunk(search: _Search, places: Sequence[_Place]) -> list[list[bytes]]:
    return [list(_read(search, place)) for place in places]


def _read(search: _Search, place: _Place) -> Iterator[bytes]:
    """Yield the lines of one file on disk: its own, or one for each member of an archive."""
    for entry in entries(*place):
        yield _line_of(search, entry)


def _line_of(search: _Search, entry: Entry) -> bytes:
    file = seen(entry, _binding(entry.inside, search.root, search.task))
    return ledger.index_line(file, (0, 0) if file.code in TRIED_AGAIN else entry.stamp)


def _members(search: _Search, place: _Place, processes: Processes[_Place, list[bytes]]) -> Iterator[bytes]:
    """Yield the lines of a large archive as another process reads them."""
    for lines in processes.follow(partial(_read_along, search), place):
        yield from lines


def _read_along(search: _Search, place: _Place, skip: int, tell: Tell) -> None:
    for number, entry in enumerate(entries(*place)):
        if number >= skip:
            tell(Begun(entry.member or ""))
            tell([_line_of(search, entry)])


def _lost(search: _Search, place: _Place, member: str, ended: Ended) -> list[bytes]:
    """Return the line of a file, or of the member of an archive, that ended every process that read it."""
    path, inside, _ = place
    inside = PurePosixPath(inside, member).as_posix() if member else inside or path.name
    code, task = refusal_of(ended).code, _binding(inside, search.root, search.task)
    file = SourceFile(SourceRef(str(path), member or None, "", 0), inside, task, Kind.OTHER, code)
    # It is tried again next time: what ended its process may have been the machine, or be mended by then.
    return [ledger.index_line(file, (0, 0))]


def _binding(inside: str, root: Path, task: str | None) -> str | None:
    """Return the task a source is bound to: a folder directly below the root says it, else -t, else the root's name.

    So `-t` takes one task out of a tree with a folder for each, and binds a tree without.
    """
    top, _, rest = inside.partition("/")
    if rest and TASK_FOLDER.fullmatch(top):
        return top
    own = root.name.partition(".")[0]
    return task or (own if TASK_FOLDER.fullmatch(own) else None)


def seen(entry: Entry, task: str | None) -> SourceFile:
    """Return what one entry is, read by this process; whatever is wrong with it is its code."""
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
    words = listed(file.facts.get("ImageType"))
    is_several = file.facts.get("NumberOfFrames", 1) != 1 or "PixelSpacing" not in file.facts
    return (
        file.kind is Kind.IMAGE
        and file.code is None
        and (is_several or "MOSAIC" in words or "VFRAME" in words)
    )


def _unfolded(file: SourceFile, content: bytes) -> SourceFile:
    """Return the line of an image with several slices: what each of them says differently from the whole."""
    try:
        dataset = read_dataset(content)
        slices = unfold(dataset)
        facts = [facts_of(one) for one in slices]
    except CurationError as error:
        return replace(file, code=error.code)
    except READING_ERRORS:
        # Not every element is parsed before its frames are.
        return replace(file, code="unreadable")
    if slices[0] is dataset:
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
