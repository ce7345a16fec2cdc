"""Source folders and archives: which files there are, and their bytes; nothing is unpacked."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from pipeline.model.errors import CurationError, SourceError
from pipeline.model.series import SourceRef

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
EXPANSION_LIMIT = 2**30
"""Bytes that any archive may expand to; beyond that at most `EXPANSION_RATIO` times its own size."""
EXPANSION_RATIO = 100
MEMBER_LIMIT = 4 * 2**30
"""Largest single file or member in bytes."""
HEADER_LIMIT = 2**16
"""Largest extended header of a TAR member (a long name, PAX records) in bytes: tarfile reads it whole.

Below the 128 KiB that a cell of a CSV table may hold.
"""


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
    """Yield every file below a root in byte order: path, place below the root, and a code if unreadable.

    A root that is not there holds no file.
    """
    if not root.is_dir():
        if (code := _code_of(root)) != "source-missing":
            # The root archive itself is no folder of what it holds.
            yield root, "" if is_archive(root.name) else root.name, code
        return
    unlisted: list[OSError] = []
    for folder, folders, names in os.walk(root, onerror=unlisted.append, followlinks=False):
        place = Path(folder)
        closed = {name: code for name in sorted(folders) if (code := _folder_code(place / name))}
        for name, code in closed.items():
            yield place / name, _inside(place / name, root), code
        inside = "" if place == root else _inside(place, root) + "/"
        for name in sorted(names):
            path = place / name
            yield path, inside + name, _code_of(path)
        folders[:] = sorted(set(folders) - set(closed))
    for fault in unlisted:
        # A folder that was there a moment ago: its files must not be lost without a word.
        path = Path(fault.filename)
        yield path, _inside(path, root), _folder_code(path) or _fault_code(fault) or "permission-denied"


def count_below(root: Path) -> int:
    """Return how many files lie below a root, for progress alone: nothing but names is looked at."""
    if not root.is_dir():
        return 1
    return sum(len(names) for _, _, names in os.walk(root, followlinks=False))


def walk_order(path: str, root: str) -> tuple[tuple[int, str], ...]:
    """Return what to sort paths by to have them as `files_below` gives them: a folder's files, then its folders."""
    folders, _, name = path[len(root) :].strip("/").rpartition("/")
    return (*((1, folder) for folder in folders.split("/") if folder), (0, name))


def _inside(path: Path, root: Path) -> str:
    return path.name if path == root else path.relative_to(root).as_posix()


TRIED_AGAIN = frozenset({"source-missing", "permission-denied", "read-failed"})
"""Codes that say nothing of what a file holds: the machine did not hand it out, and may do so next time."""

_FAILING = {errno.EIO, errno.ENXIO, errno.ENODEV, errno.ESTALE, errno.ETIMEDOUT, errno.EREMOTEIO, errno.ENOTCONN,
            errno.ECONNRESET, errno.ECONNABORTED, errno.EHOSTDOWN, errno.EHOSTUNREACH}  # fmt: skip
"""What the system says of a failing drive, or of a share whose server is gone."""


def _fault_code(fault: BaseException) -> str | None:
    """Return the code of a fault that is the machine's; None for what may be the file's own."""
    if isinstance(fault, FileNotFoundError | NotADirectoryError):
        return "source-missing"
    if isinstance(fault, PermissionError):
        return "permission-denied"
    return "read-failed" if isinstance(fault, OSError) and fault.errno in _FAILING else None


def _folder_code(path: Path) -> str | None:
    if path.is_symlink():
        return "not-a-file"
    try:
        path.stat()
    except OSError as fault:
        return _fault_code(fault) or "read-failed"
    return None if os.access(path, os.R_OK | os.X_OK) else "permission-denied"


def _code_of(path: Path) -> str | None:
    try:
        mode = path.stat().st_mode
    except OSError as fault:
        # A link that leads to itself, or a name that no file system takes, is no file that anybody could read.
        is_none = fault.errno in (errno.ELOOP, errno.ENAMETOOLONG)
        return "not-a-file" if is_none else _fault_code(fault) or "read-failed"
    if not stat.S_ISREG(mode):
        return "not-a-file"
    return None if os.access(path, os.R_OK) else "permission-denied"


def entries(path: Path, inside: str, code: str | None) -> Iterator[Entry]:
    """Yield what one file on disk holds: itself, or each member of an archive (member by member)."""
    # The folder may have been listed long ago.
    code = code or _code_of(path)
    stamp = stamp_of(path) if code is None else (0, 0)
    if code is None and is_archive(path.name):
        yield from _members(path, inside, stamp)
    else:
        yield Entry(str(path), None, inside or path.name, stamp, lambda: _read(path), code)


def stamp_of(path: Path) -> tuple[int, int]:
    """Return size and modification time (ns) of a file, (0, 0) when it cannot be asked."""
    try:
        status = path.stat()
    except OSError:
        return (0, 0)
    return status.st_size, status.st_mtime_ns


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MEMBER_LIMIT:
            raise SourceError("unreadable", wanted=f"at most {MEMBER_LIMIT} bytes", found="a larger file")
        return path.read_bytes()
    except OSError as fault:
        raise _unread(fault) or SourceError(
            "unreadable", wanted="a readable file", found=f"error {fault.errno}"
        ) from None


def _unread(fault: BaseException) -> SourceError | None:
    """Return the refusal that a fault of the machine is, None for what may be the file's own."""
    match _fault_code(fault):
        case "source-missing":
            return SourceError("source-missing", wanted="the indexed file", found="none")
        case "permission-denied":
            return SourceError("permission-denied", wanted="a file we may read", found="no right to read")
        case "read-failed":
            number = fault.errno if isinstance(fault, OSError) else None
            return SourceError(
                "read-failed", wanted="a file that the system hands out", found=f"error {number}"
            )
    return None


_ARCHIVE_FAULTS = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError,
                   NotImplementedError, KeyError)  # fmt: skip
"""What the two archive libraries raise on damaged, encrypted or odd archives."""


def _members(path: Path, inside: str, stamp: tuple[int, int]) -> Iterator[Entry]:
    """Yield the members of an archive; a damaged one ends in an entry with a code, an empty one is one."""
    walk = _zip_members if path.name.lower().endswith(".zip") else _tar_members
    limit = max(EXPANSION_LIMIT, EXPANSION_RATIO * stamp[0])
    total = count = 0
    try:
        for name, size, code, content in walk(path):
            count += 1
            total += size
            if total > limit:
                raise ValueError("expands beyond the limit")
            place = PurePosixPath(inside, name).as_posix() if code is None else inside or path.name
            nested = code or ("archive-unreadable" if is_archive(name) else None)
            yield Entry(str(path), name, place, stamp, content, nested)
    except _ARCHIVE_FAULTS as fault:
        code = _fault_code(fault) or "archive-unreadable"
        yield Entry(str(path), None, inside or path.name, stamp, bytes, code)
    else:
        if count == 0:
            yield Entry(str(path), None, inside or path.name, stamp, bytes, "not-dicom")


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


class _Header(tarfile.TarInfo):
    """A TAR header that says so when it is damaged, cut or huge; tarfile takes damage for the archive's end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as fault:
            is_end_mark = len(buf) == tarfile.BLOCKSIZE and not any(buf)
            raise fault if is_end_mark else tarfile.ReadError("a damaged header, or no end mark") from None
        if header.type in _EXTENDED and header.size > HEADER_LIMIT:
            raise tarfile.ReadError("an extended header beyond the limit")
        return header


_EXTENDED = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE,
             tarfile.SOLARIS_XHDTYPE)  # fmt: skip


def _tar_members(path: Path) -> Iterator[_Member]:
    with _opened(path) as stream, tarfile.open(fileobj=stream, mode="r|*", tarinfo=_Header) as archive:
        for info in archive:
            if info.isdir():
                continue
            if not info.isfile() or info.issparse() or _unsafe(info.name):
                yield info.name, info.size, "unsafe-member", bytes
                continue
            if info.size > MEMBER_LIMIT:
                raise ValueError("a member beyond the limit")
            yield info.name, info.size, None, lambda info=info: _tar_read(archive, info)  # type: ignore[misc]
        _refuse_more(archive)


def _opened(path: Path) -> BinaryIO:
    """Open a TAR, decompressed by what checks gzip's CRC: tarfile itself does not."""
    with path.open("rb") as stream:
        is_gzip = stream.read(2) == b"\x1f\x8b"
    # Only read from, as a binary stream.
    return cast(BinaryIO, gzip.open(path)) if is_gzip else path.open("rb")


def _refuse_more(archive: tarfile.TarFile) -> None:
    """Refuse what comes after a TAR's end mark and is not padding, such as a second TAR; check gzip's CRC."""
    rest, total = cast(BinaryIO, archive.fileobj), 0
    while chunk := rest.read(2**20):
        total += len(chunk)
        if chunk.strip(b"\x00") or total > EXPANSION_LIMIT:
            raise tarfile.ReadError("data after the end mark")


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
    except _ARCHIVE_FAULTS as fault:
        raise _unread(fault) or SourceError(
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
    found: dict[SourceRef, bytes | None] = {}
    for path in dict.fromkeys(ref.path for ref in refs):
        found.update(_read_from(Path(path), {ref for ref in refs if ref.path == path}))
    contents = []
    for number, ref in enumerate(refs, start=1):
        content, where = found.get(ref), f"file {number} of {len(refs)}"
        if ref not in found:
            raise SourceError("source-missing", wanted="the indexed file", found="none", where=where)
        if content is None:
            raise SourceError("source-changed", wanted="the indexed digest", found="another", where=where)
        contents.append(content)
    return contents


def _read_from(path: Path, wanted: set[SourceRef]) -> Iterable[tuple[SourceRef, bytes | None]]:
    """Yield what a file on disk holds of the files wanted; None for one whose digest is another now.

    An archive may hold a name twice (TAR appends): the digest says which of them was indexed.
    """
    code = _code_of(path)
    if code is not None:
        raise SourceError(code, wanted="the indexed file", found="none that can be read")
    missing = set(wanted)
    for entry in entries(path, path.name, None):
        named = [ref for ref in missing if ref.member == entry.member]
        if named and entry.code is None:
            content = read_entry(entry)
            digest = hashlib.sha256(content).hexdigest()
            for ref in named:
                yield ref, content if ref.digest == digest else None
            missing -= {ref for ref in named if ref.digest == digest}
        if not missing:
            break
