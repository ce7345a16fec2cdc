"""Check a release against its manifests, with nothing of the code that made it.

How a release is read. `SHA256SUMS` names every file. `release.json` names each task's TAR and manifest with
their digests. The manifest's first line says what the task is, each further line what one case is, or why it
was refused. Each TAR is read once, from front to back, block by block; every member must be the one that a
line describes, and what the line says of its voxels is found again in the voxels. Nothing is unpacked, and no
finding stops the audit: they are gathered, each with its place.

Each module has one duty. Besides the standard library they need numpy, rfc8785, and the JSON Schemas in
manifests/schema; of this project they import errors and the key alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from pipeline.audit.claims import Manifest
from pipeline.audit.document import read_document
from pipeline.audit.files import check_files, content_of, release_files
from pipeline.audit.kept import Kept
from pipeline.audit.manifest import check_manifest, read_manifest
from pipeline.audit.report import AuditReport, Finding, Run, Spot, reporting
from pipeline.audit.signature import audit_signature, read_trust
from pipeline.audit.sources import Chain, audit_sources, read_key
from pipeline.audit.tar import audit_tar
from pipeline.model.identified import Key

__all__ = ["AuditReport", "Finding", "audit"]

MOST_AT_ONCE = 8
"""Most TARs read at once: each thread holds some blocks of its own, and a disk gains little from more."""


def audit(
    release: Path,
    *,
    workspace: Path | None = None,
    trust: Path | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> AuditReport:
    """Check a release; with its workspace also the chain back to the source files.

    Parameters
    ----------
    release
        Folder with SHA256SUMS, release.json, and a TAR and a manifest for each task.
    workspace
        Workspace that made it: its plans say which source files each case came from, its key links them.
    trust
        Public key in PEM, got from who publishes; the release must be signed by it.
    tell
        Called with a line of progress now and then.

    Returns
    -------
    AuditReport
        Every departure with its place, at most `FINDINGS_LIMIT` a task; no finding is raised.

    Raises
    ------
    UsageError
        If `release` is not a release `workspace` not a workspace with a readable key, or `trust` not an
        Ed25519 key.
    """
    key = None if workspace is None else read_key(workspace)
    trusted = None if trust is None else read_trust(trust)
    files = release_files(release)
    run = Run()
    tasks = _audit_release(files, key, run, tell)
    check_files(files, tasks, run)
    audit_signature(files, tasks, trusted, run)
    if workspace is not None and key is not None:
        chain = Chain(workspace, key, run, tell, Kept(workspace))
        for name in sorted(files):
            if re.fullmatch(r"Task[0-9]{2}_[A-Za-z0-9]+\.manifest\.jsonl", name):
                audit_sources(name, files, chain)
    return run.report()


def _audit_release(
    files: Mapping[str, Path], key: Key | None, run: Run, tell: Callable[[str], None]
) -> list[Any]:
    """Check every task that release.json names; return what it says of them."""
    top = Spot(run, "release.json")
    tasks: list[Any] = []
    with reporting(top, "release"):
        document = read_document(content_of(files, "release.json"), "release", top)
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
        for gathered in _side_by_side(
            partial(_audit_task, entry, document["key"], files, tell) for entry in tasks
        ):
            run.take(gathered)
    return tasks


def _side_by_side(jobs: Iterable[Callable[[Event], Run]]) -> list[Run]:
    """Return what each job gathers, in their order; inflating and hashing let threads run at once."""
    stop = Event()
    with ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_AT_ONCE)) as pool:
        try:
            return [job.result() for job in [pool.submit(job, stop) for job in jobs]]
        except BaseException:
            # Whoever interrupts an audit waits for a member of each TAR that is being read, not for its end.
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def _audit_task(
    entry: Mapping[str, Any], key: str, files: Mapping[str, Path], tell: Callable[[str], None], stop: Event
) -> Run:
    """Return what a task's manifest and TAR show; it shares nothing with the other tasks, which go on beside it."""
    run, task = Run(stop=stop), entry["task"]
    top = Spot(run, "release.json", task)
    top.expect("release", "the TAR", wanted=f"{task}.tar", found=entry["tar"]["file"])
    top.expect("release", "the manifest", wanted=f"{task}.manifest.jsonl", found=entry["manifest"]["file"])
    manifest = Manifest(task)
    spot = Spot(run, entry["manifest"]["file"])
    tell(f"{task}: manifest")
    with reporting(spot, "release"):
        read_manifest(manifest, entry["manifest"], files, spot)
    if manifest.header:
        spot.expect("release", "the key of release.json,", wanted=key, found=manifest.header["key"])
        with reporting(spot, "release"):
            check_manifest(manifest, entry, spot)
    tar = Spot(run, entry["tar"]["file"])
    tell(f"{task}: TAR, {entry['tar']['size'] // 10**6} MB")
    # What overflows becomes infinite or NaN, which is then found.
    with reporting(tar, "package"), np.errstate(all="ignore"):
        audit_tar(manifest, entry["tar"], files, tar)
    run.counts["cases"] += len(manifest.cases)
    return run
