"""Finished cases, each in a folder named by what it was made from; whole, or not there."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.io.document import canonical, digest_of
from pipeline.io.durable import flush_folder, refusing_unwritable, temporary_name, write_bytes
from pipeline.model.identified import Key
from pipeline.model.record import Json

RECORD = "record.json"
ACTION = "action.json"
_FILES = {"image": "image.nii.gz", "label": "label.nii.gz"}
_BESIDE = {"action": ACTION}
"""What lies in an entry and is no evidence: it says to people what the entry was made from."""


def entry_name(key: Key, action: Json) -> str:
    """Return the folder of an action: `KK/KEY` below the store, keyed, because it depends on source digests."""
    name = key.token("store", canonical(action).decode(), 40)
    return f"{name[:2]}/{name}"


def find(store: Path, entry: str) -> Mapping[str, Any] | None:
    """Return the record of a finished case whose files match its digests, None when there is none to trust."""
    try:
        content = (store / entry / RECORD).read_bytes()
        record: dict[str, Any] = json.loads(content)
        whole = all(
            record[part] is None or digest_of((store / entry / name).read_bytes()) == record[part]["file"]
            for part, name in _FILES.items()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record if whole and canonical(record) == content else None


def glance(store: Path, entry: str) -> Mapping[str, Any] | None:
    """Return the record of a finished case without looking into its files, None when there is none; see `find`."""
    try:
        record: dict[str, Any] = json.loads((store / entry / RECORD).read_bytes())
    except (OSError, ValueError):
        return None
    return record


def content(store: Path, entry: str, part: str) -> bytes:
    """Return the .nii.gz of a finished case: `part` is `image` or `label`."""
    return (store / entry / _FILES[part]).read_bytes()


def pictures(store: Path, entry: str) -> list[Path]:
    """Return the PNGs that a room left beside a case for whoever reviews it, by name."""
    return sorted(path for path in (store / entry).glob("*.png") if path.is_file())


def is_there(store: Path, entry: str) -> bool:
    """Whether a case stands in the store, without looking into its files; for counts."""
    return (store / entry / RECORD).is_file()


def put(store: Path, entry: str, record: Mapping[str, Json], files: Mapping[str, bytes]) -> None:
    """Place a finished case: all its files under a temporary folder, flushed, then renamed into place.

    `files` maps `image`, `label` and `action` to their bytes, and pictures (.png) by their own names. What stood
    there before was not to be trusted (see `find`) or came from a run beside this one, and is replaced.
    """
    target = store / entry
    with refusing_unwritable():
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = temporary_name(target.parent)
        staging.mkdir()
        for part, content in files.items():
            write_bytes(staging / {**_FILES, **_BESIDE}.get(part, part), content)
        write_bytes(staging / RECORD, canonical(dict(record)))
        while not _take_place(staging, target):
            _remove(target, temporary_name(target.parent))
        flush_folder(target.parent)


def actions(store: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (entry, action.json) of the finished cases that have one, by entry; for people, never as evidence."""
    for path in sorted(store.glob(f"??/[0-9a-f]*/{ACTION}")):
        try:
            document = json.loads(path.read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(document, dict):
            yield f"{path.parent.parent.name}/{path.parent.name}", document


def _take_place(staging: Path, target: Path) -> bool:
    """Give a folder its name, unless something stands there: a run that was given up may still be at this case."""
    try:
        staging.rename(target)
    except OSError as fault:
        if fault.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def _remove(target: Path, grave: Path) -> None:
    """Take an entry away in one step, then delete it; gone already is as well."""
    try:
        target.rename(grave)
    except FileNotFoundError:
        return
    for file in grave.iterdir():
        file.unlink()
    grave.rmdir()
