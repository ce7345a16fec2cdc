"""Source folders and archives: which files there are, and their bytes; nothing is unpacked."""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.model.errors import CurationError, SourceError
from pipeline.model.series import SourceRef

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
EXPANSION_LIMIT = 2**30
"""Bytes that any archive may expand to; beyond that at most `EXPANSION_RATIO` times its own size."""
EXPANSION_RATIO = 100
MEMBER_LIMIT = 4 * 2**30
"""Largest single file or member in bytes."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file below a source root: where it is, its place below the root, and how to read it.

    `stamp` (size and modification time of the file on disk) only speeds up a second look. `code` says why
    it cannot be read; then `content` is not called.
    """

    path: str
    member: str | None
    inside: str
    stamp: tuple[int, int]
    content: Callable[[], bytes]
    code: str | None = None


def is_archive(name: str) -> bool:
    """Whether a file name is that of an archive that we look into."""
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def files_below(root: Path) -> Iterator[tuple[Path, str, str | None]]:
    """Yield every file below a root in byte order: path, place below the root, and a code if unreadable."""
    if not root.is_dir():
        # The root archive itself is no folder of what it holds.
        yield root, "" if is_archive(root.name) else root.name, _code_of(root)
        return
    for folder, folders, names in os.walk(root, onerror=None, followlinks=False):
        folders.sort()
        place = Path(folder)
        for name in sorted(folders):
            if (place / name).is_symlink() or not os.access(place / name, os.R_OK | os.X_OK):
                code = "not-a-file" if (place / name).is_symlink() else "permission-denied"
                yield place / name, _inside(place / name, root), code
        for name in sorted(names):
            yield place / name, _inside(place / name, root), _code_of(place / name)


def _inside(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _code_of(path: Path) -> str | None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "source-missing"
    except OSError:
        return "permission-denied"
    if not stat.S_ISREG(mode):
        return "not-a-file"
    return None if os.access(path, os.R_OK) else "permission-denied"


def entries(path: Path, inside: str, code: str | None) -> Iterator[Entry]:
    """Yield what one file on disk holds: itself, or each member of an archive (member by member)."""
    stamp = _stamp(path) if code is None else (0, 0)
    if code is None and is_archive(path.name):
        yield from _members(path, inside, stamp)
    else:
        yield Entry(str(path), None, inside or path.name, stamp, lambda: _read(path), code)


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def stamp_of(path: Path) -> tuple[int, int]:
    """Return size and modification time (ns) of a file, (0, 0) when it cannot be asked."""
    try:
        return _stamp(path)
    except OSError:
        return (0, 0)


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MEMBER_LIMIT:
            raise SourceError("unreadable", wanted=f"at most {MEMBER_LIMIT} bytes", found="a larger file")
        return path.read_bytes()
    except FileNotFoundError:
        raise SourceError("source-missing", wanted="the indexed file", found="none") from None
    except PermissionError:
        raise SourceError(
            "permission-denied", wanted="a file we may read", found="no right to read"
        ) from None
    except OSError as fault:
        raise SourceError("unreadable", wanted="a readable file", found=f"error {fault.errno}") from None


_ARCHIVE_FAULTS = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError,
                   NotImplementedError, KeyError)  # fmt: skip
"""What the two archive libraries raise on damaged, encrypted or odd archives."""


def _members(path: Path, inside: str, stamp: tuple[int, int]) -> Iterator[Entry]:
    """Yield the members of an archive; a damaged one ends in an entry with a code."""
    walk = _zip_members if path.name.lower().endswith(".zip") else _tar_members
    limit = max(EXPANSION_LIMIT, EXPANSION_RATIO * stamp[0])
    total = 0
    try:
        for name, size, code, content in walk(path):
            total += size
            if total > limit:
                raise ValueError("expands beyond the limit")
            place = PurePosixPath(inside, name.lstrip("/")).as_posix() if code is None else inside
            nested = code or ("archive-unreadable" if is_archive(name) else None)
            yield Entry(str(path), name, place, stamp, content, nested)
    except _ARCHIVE_FAULTS:
        yield Entry(str(path), None, inside or path.name, stamp, bytes, "archive-unreadable")


_Member = tuple[str, int, str | None, Callable[[], bytes]]


def _unsafe(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return (
        name.startswith(("/", "\\")) or ".." in parts or "\x00" in name or (len(name) > 1 and name[1] == ":")
    )


def _zip_members(path: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            is_link = stat.S_ISLNK(info.external_attr >> 16)
            code = "unsafe-member" if is_link or _unsafe(info.filename) else None
            if info.file_size > MEMBER_LIMIT:
                raise ValueError("a member beyond the limit")
            yield info.filename, info.file_size, code, lambda info=info: archive.read(info)  # type: ignore[misc]


def _tar_members(path: Path) -> Iterator[_Member]:
    with tarfile.open(path, "r|*") as archive:
        for info in archive:
            if info.isdir():
                continue
            if not info.isfile() or info.issparse() or _unsafe(info.name):
                yield info.name, 0, "unsafe-member", bytes
                continue
            if info.size > MEMBER_LIMIT:
                raise ValueError("a member beyond the limit")
            yield info.name, info.size, None, lambda info=info: _tar_read(archive, info)  # type: ignore[misc]


def _tar_read(archive: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(info)
    content = stream.read() if stream else b""
    if len(content) != info.size:
        raise EOFError("a member ends early")
    return content


def read_entry(entry: Entry) -> bytes:
    """Return an entry's bytes.

    Raises
    ------
    SourceError
        If it is gone, may not be read, or its archive is damaged.
    """
    try:
        return entry.content()
    except CurationError:
        raise
    except _ARCHIVE_FAULTS:
        raise SourceError(
            "archive-unreadable", wanted="a whole member", found="damage or a password"
        ) from None


def read_refs(refs: Sequence[SourceRef]) -> list[bytes]:
    """Return the bytes of indexed files, in the order asked, each checked against its indexed digest.

    Archives are opened once and read from front to back.

    Raises
    ------
    SourceError
        source-missing or source-changed; `where` says which of the files asked for, by number.
    """
    contents: dict[SourceRef, bytes] = {}
    for path in dict.fromkeys(ref.path for ref in refs):
        wanted = {ref.member: ref for ref in refs if ref.path == path}
        contents.update(_read_from(Path(path), wanted))
    for number, ref in enumerate(refs):
        if ref not in contents:
            raise SourceError(
                "source-missing",
                wanted="the indexed file",
                found="none",
                where=f"file {number + 1} of {len(refs)}",
            )
        if hashlib.sha256(contents[ref]).hexdigest() != ref.digest:
            raise SourceError(
                "source-changed",
                wanted="the indexed digest",
                found="another",
                where=f"file {number + 1} of {len(refs)}",
            )
    return [contents[ref] for ref in refs]


def _read_from(path: Path, wanted: dict[str | None, SourceRef]) -> Iterable[tuple[SourceRef, bytes]]:
    code = _code_of(path)
    if code is not None:
        raise SourceError(code, wanted="the indexed file", found="none that can be read")
    missing = dict(wanted)
    for entry in entries(path, path.name, None):
        if not missing:
            break
        if entry.member in missing and entry.code is None:
            yield missing.pop(entry.member), read_entry(entry)
