"""What a curator owns: folders, key, settings, lock."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.io.durable import refusing_unwritable, sweep, write_bytes
from pipeline.io.plainyaml import SIZE_LIMIT, read_plain
from pipeline.model.errors import PrivacyError, UsageError
from pipeline.model.exposure import SCREENED, Screening
from pipeline.model.identified import Key
from pipeline.model.publication import Publication

_SETTINGS = """\
# Settings of this workspace. Every key may be left out; `curate doctor -w WORKSPACE` checks the file.
format: curate-workspace/1

# Folder with your own rules (TaskNN_Name.yaml); they add to the shipped ones or replace them by name.
# Relative to this file. `--rules` on the command line wins.
rules: null

# How many cases are built at once; null: one a processor. `--workers` on the command line wins.
workers: null

# Whether each case must be looked at and accepted by a person before it is released: required or optional.
review: optional

# Who publishes, and under which terms. Where it is given, `curate pack` writes README.md, CITATION.cff, Croissant,
# RO-Crate, DataCite and Frictionless metadata beside the TARs; all of it is public.
# publication:
#   title: Ten organs
#   description: What it holds and what it is for.
#   creators:                 # name: of an organisation; or family and given; orcid and affiliation if you like
#     - {family: Doe, given: Alex, orcid: 0000-0000-0000-0000}
#   publisher: The hospital
#   date: "2026-01-31"
#   version: "1.0"
#   licence: CC-BY-SA-4.0     # an SPDX identifier
#   doi: 10.1234/example      # doi or url, or both
publication: null

# Whether pixels are searched for text that is burned in; it needs the extra `ocr`. To go without, say why, which
# every manifest will hold:
# burned_in: {unscreened: Every picture was looked at in the archive before it came here.}
burned_in: screen
"""


class Unscreened(BaseModel):
    """Nobody searches pixels for text, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    unscreened: str = Field(min_length=10)


class Settings(BaseModel):
    """curate.yaml, read strictly."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal["curate-workspace/1"] = "curate-workspace/1"
    rules: str | None = None
    workers: int | None = Field(None, ge=1)
    review: Literal["required", "optional"] = "optional"
    publication: Publication | None = None
    burned_in: Literal["screen"] | Unscreened = "screen"

    @property
    def screening(self) -> Screening:
        """What is done about text in pixels."""
        return SCREENED if isinstance(self.burned_in, str) else Screening(self.burned_in.unscreened)


@dataclass(frozen=True, slots=True)
class Workspace:
    """The places of a workspace; all of them exist."""

    root: Path

    @property
    def private(self) -> Path:
        """Everything that may hold identity (0700)."""
        return self.root / "private"

    @property
    def index(self) -> Path:
        """One file a source root."""
        return self.private / "index"

    @property
    def plans(self) -> Path:
        """One file a task."""
        return self.private / "plan"

    @property
    def withheld(self) -> Path:
        """Labels of test cases."""
        return self.private / "withheld"

    @property
    def pictures(self) -> Path:
        """What stopped a case for its pixels, for the curator's eyes."""
        return self.private / "pictures"

    @property
    def scratch(self) -> Path:
        """Files that live as long as a case."""
        return self.private / "scratch"

    @property
    def crashes(self) -> Path:
        """What processes said that crashed at a case: C libraries may quote what they read."""
        return self.private / "crashes"

    @property
    def runs(self) -> Path:
        """One folder a build: how each case ended, and where (`io/runlog`); no identity."""
        return self.root / "runs"

    @property
    def store(self) -> Path:
        """Finished cases; no identity."""
        return self.root / "store"

    @property
    def refusals(self) -> Path:
        """One record a refused case."""
        return self.root / "refusals"

    @property
    def review(self) -> Path:
        """Pages and decisions."""
        return self.root / "review"

    @property
    def key_file(self) -> Path:
        """64 hex digits and a newline (0600)."""
        return self.private / "pseudonym.key"

    @property
    def settings_file(self) -> Path:
        """Settings, edited by people."""
        return self.root / "curate.yaml"

    def key(self) -> Key:
        """Read the key.

        Raises
        ------
        PrivacyError
            If others than its owner may read it, or it is not a key.
        """
        if self.key_file.stat().st_mode & 0o077:
            raise PrivacyError("key-readable", wanted="mode 0600", found="a key that others may read")
        return Key(_parse_key(self.key_file.read_bytes()))

    @property
    def own_rules(self) -> Path | None:
        """The folder of rules that the settings name, if they name one."""
        folder = self.settings().rules
        return None if folder is None else self.root / folder

    def settings(self) -> Settings:
        """Read curate.yaml; every fault is named with its place."""
        content = self.settings_file.read_bytes()[: SIZE_LIMIT + 1]
        document = read_plain(content if content.strip() else b"{}")
        if document.faults:
            said = "; ".join(map(str, document.faults))
            raise UsageError("workspace-settings", wanted="plain YAML", found=said, where="curate.yaml")
        try:
            # YAML has lists where the model has tuples; nothing else is converted.
            return Settings.model_validate_json(json.dumps(document.value or {}))
        except ValidationError as fault:
            places = "; ".join(f"$.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in fault.errors())
            raise UsageError(
                "workspace-settings", wanted="known settings", found=places, where="curate.yaml"
            ) from None


def _parse_key(content: bytes) -> bytes:
    try:
        secret = bytes.fromhex(content.decode("ascii").strip())
    except ValueError:
        secret = b""
    if len(secret) != 32:
        raise PrivacyError(
            "key-invalid", wanted="64 hex digits", found="something else", where="the key file"
        )
    return secret


def create(root: Path, key_file: Path | None = None) -> Workspace:
    """Make a workspace with a new key, or with the one in `key_file` (64 hex digits).

    Raises
    ------
    UsageError
        If there is a workspace already, or the folder holds something else.
    """
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        code = "workspace-exists" if (root / "curate.yaml").exists() else "output-exists"
        raise UsageError(code, wanted="a new or empty folder", found="one that is in use")
    secret = _parse_key(key_file.read_bytes()) if key_file else secrets.token_bytes(32)
    workspace = Workspace(root)
    for folder in (workspace.root, workspace.store, workspace.refusals, workspace.review):
        folder.mkdir(parents=True, exist_ok=True)
    for folder in (
        workspace.private,
        workspace.index,
        workspace.plans,
        workspace.withheld,
        workspace.pictures,
        workspace.scratch,
    ):
        folder.mkdir(mode=0o700)
        folder.chmod(0o700)
    write_bytes(workspace.key_file, secret.hex().encode() + b"\n", 0o600)
    # Last, because its presence says that the workspace is whole.
    write_bytes(workspace.settings_file, _SETTINGS.encode())
    return workspace


def open_workspace(root: Path) -> Workspace:
    """Return a workspace that exists and whose private folder is private.

    Raises
    ------
    UsageError
        If the folder is no workspace.
    PrivacyError
        If others may enter its private folder or read its key.
    """
    workspace = Workspace(root)
    if not workspace.settings_file.is_file() or not workspace.key_file.is_file():
        raise UsageError("workspace-missing", wanted="a workspace with curate.yaml and a key", found="none")
    if workspace.private.stat().st_mode & 0o077:
        raise PrivacyError(
            "key-readable", wanted="private/ with mode 0700", found="a folder that others may enter"
        )
    workspace.key()
    for folder in (
        workspace.index,
        workspace.plans,
        workspace.withheld,
        workspace.pictures,
        workspace.scratch,
    ):
        folder.mkdir(mode=0o700, exist_ok=True)
    for folder in (workspace.store, workspace.refusals, workspace.review):
        folder.mkdir(exist_ok=True)
    return workspace


def keep_pictures(workspace: Workspace, name: str, pictures: Sequence[bytes]) -> None:
    """Keep what stopped a case for its pixels, in place of what did so before."""
    for path in workspace.pictures.glob(f"{name}-*.png"):
        path.unlink()
    for number, content in enumerate(pictures, start=1):
        write_bytes(workspace.pictures / f"{name}-{number}.png", content, 0o600)


_PEEKS = 3
"""How often the lock is asked for: `holder` may hold it for a moment."""


@contextmanager
def locked(workspace: Workspace) -> Iterator[None]:
    """Keep other runs out of the workspace, and sweep what killed ones left in its folders.

    The lock is the operating system's, on network drives too: it dies with the process, however that ends.

    Raises
    ------
    UsageError
        workspace-locked, saying by whom; not-writable.
    """
    with refusing_unwritable():
        descriptor = os.open(workspace.private / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _take(descriptor)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps({"process": os.getpid(), "host": socket.gethostname()}).encode())
        for folder in (
            workspace.private, workspace.index, workspace.plans, workspace.withheld, workspace.scratch,
            workspace.refusals, workspace.review, workspace.runs,
        ):  # fmt: skip
            sweep(folder)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> None:
    for peek in range(_PEEKS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if peek == _PEEKS - 1:
                raise UsageError(
                    "workspace-locked", wanted="the workspace to ourselves", found=_holder(descriptor)
                ) from None
            time.sleep(0.05)
        else:
            return


def holder(workspace: Workspace) -> int | None:
    """Return the process that is at work in the workspace, None when there is none; it need not be on this host."""
    try:
        descriptor = os.open(workspace.private / "lock", os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        said = os.pread(descriptor, 4096, 0)
        process = json.loads(said)["process"] if said else 0
        return int(process)
    else:
        return None
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> str:
    """Return who holds the lock; between taking it and saying so there is a moment."""
    try:
        said = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {said['process']} on {said['host']}"
    except (ValueError, TypeError, KeyError):
        return "another process"
