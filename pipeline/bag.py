"""Lay a release into a bag (BagIt, RFC 8493), the form that archives take in.

A bag wants its payload below `data/`, and a release has its TARs on top, so the bag is a folder of its own. Its files
are links to the release's where the disk allows that, and copies elsewhere; packing anew changes neither.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from pipeline.io.durable import refusing_unwritable, temporary_name, write_bytes
from pipeline.model.errors import UsageError

_CHUNK = 2**20
_DECLARATION = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"


def write_bag(release: Path, folder: Path) -> int:
    """Write a bag of a release under a name that is free; return the number of payload files.

    Nothing in it comes from a clock: the same release gives the same bag.

    Raises
    ------
    UsageError
        not-a-release, or output-exists.
    """
    if not (release / "release.json").is_file():
        raise UsageError("not-a-release", wanted="a release with release.json", found="none")
    if folder.exists():
        raise UsageError("output-exists", wanted="a new folder for the bag", found="one that is there")
    names = sorted(path.name for path in release.iterdir() if path.is_file() and path.name[0] != ".")
    staging = temporary_name(folder.resolve().parent)
    with refusing_unwritable():
        try:
            (staging / "data").mkdir(parents=True)
            for name in names:
                _lay(release / name, staging / "data" / name)
            _write_tags(staging, names)
            staging.rename(folder)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
    return len(names)


def _lay(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        # Another file system, or one without links.
        shutil.copyfile(source, target)


def _write_tags(bag: Path, names: list[str]) -> None:
    payload = [bag / "data" / name for name in names]
    size = sum(path.stat().st_size for path in payload)
    tags = {
        "bagit.txt": _DECLARATION,
        "bag-info.txt": f"Bag-Software-Agent: curate\nPayload-Oxum: {size}.{len(payload)}\n".encode(),
        "manifest-sha256.txt": "".join(f"{_digest(p)}  data/{p.name}\n" for p in payload).encode(),
    }
    for name, content in tags.items():
        write_bytes(bag / name, content)
    sums = "".join(f"{hashlib.sha256(tags[name]).hexdigest()}  {name}\n" for name in sorted(tags))
    write_bytes(bag / "tagmanifest-sha256.txt", sums.encode())


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()
