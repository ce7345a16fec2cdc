"""Write files so that whatever stands under its name is whole.

The order is the point: temporary name in the same folder, write, flush to disk, rename, flush the folder. A
process killed anywhere in between leaves a temporary file and nothing else.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pipeline.model.errors import UsageError

TEMPORARY_PREFIX = ".tmp-"
"""Leftovers of a killed run begin like this; `sweep` removes them."""


def flush_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_name(folder: Path) -> Path:
    """Return a name in `folder` that nobody else uses; chance decides it and it is never released."""
    return folder / f"{TEMPORARY_PREFIX}{os.getpid()}-{secrets.token_hex(6)}"


@contextmanager
def refusing_unwritable() -> Iterator[None]:
    """Turn the operating system's `no space` and `not allowed` into refusals with advice."""
    try:
        yield
    except OSError as fault:
        if fault.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise UsageError("disk-full", wanted="space for the output", found="none left") from fault
        if fault.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise UsageError(
                "not-writable", wanted="a folder we may write to", found="no right to write"
            ) from fault
        raise


@contextmanager
def writing(path: Path, mode: int = 0o644) -> Iterator[BinaryIO]:
    """Open a file that appears under `path` whole, when the block ends well, or not at all."""
    temporary = temporary_name(path.parent)
    with refusing_unwritable():
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            temporary.chmod(mode)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    flush_folder(path.parent)


def write_bytes(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a whole file at once; see `writing`."""
    with writing(path, mode) as stream:
        stream.write(content)


def write_named(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file that a user named, whole or not at all; folders above it that are not there yet are made."""
    with refusing_unwritable():
        path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content, mode)


def sweep(folder: Path) -> int:
    """Remove what killed runs left directly in `folder`; return how many there were."""
    leftovers = list(folder.glob(f"{TEMPORARY_PREFIX}*")) if folder.is_dir() else []
    for entry in leftovers:
        try:
            _take_away(entry)
        except OSError as fault:
            # Whoever was given up may be still at it, on a host that cannot be reached; its rest is swept next time.
            if fault.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
                raise
    return len(leftovers)


def _take_away(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        for inner in entry.iterdir():
            inner.unlink()
        entry.rmdir()
    else:
        entry.unlink()
