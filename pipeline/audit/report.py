"""What an audit gathers: findings with their places, and counts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from threading import Event
from typing import Any

from pipeline.model.errors import EvidenceError

FINDINGS_LIMIT = 1000
"""Findings listed for one task; further ones are only counted, so that no damage can fill the memory."""


_TEXT_LIMIT = 300


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

    `bytes` counts TAR bytes, `sources` source files hashed again, `unlisted` the findings beyond the limit. Of cases
    whose lines were compared with the workspace's store, `kept` had a record there, `not_kept` none.
    `signature` is none, unchecked (no key was trusted), trusted, stripped, altered, or other key.
    `recomputed` names the cases, as (task, case), that were made again from their sources. `second_reader` counts the
    channels that were read again by each other reader, and for each reason those that none could have a say on.
    """

    findings: tuple[Finding, ...]
    tars: int
    members: int
    cases: int
    bytes: int
    sources: int = 0
    kept: int = 0
    not_kept: int = 0
    unlisted: int = 0
    signature: str = "none"
    recomputed: tuple[tuple[str, str], ...] = ()
    second_reader: Mapping[str, int] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def counts(self) -> dict[str, int]:
        """How much was looked at."""
        return {name: getattr(self, name) for name in _COUNTED}

    def with_recomputed(self, cases: Iterable[tuple[str, str]], findings: Iterable[Finding]) -> AuditReport:
        """Return the report with what was found when cases were made again."""
        return replace(self, findings=(*self.findings, *findings), recomputed=tuple(cases))

    def to_json(self) -> dict[str, Any]:
        """Return the report as one JSON object."""
        return {
            "format": "curate-audit/1",
            "holds": self.holds,
            "signature": self.signature,
            "recomputed": [list(case) for case in self.recomputed],
            "counts": self.counts,
            "second_reader": dict(sorted(self.second_reader.items())),
            "findings": [finding.to_json() for finding in self.findings],
            "unlisted": self.unlisted,
        }


_COUNTED = ("tars", "members", "cases", "bytes", "sources", "kept", "not_kept")


@dataclass(slots=True)
class Run:
    """What one audit has gathered; the only thing that changes while it runs."""

    findings: list[Finding] = field(default_factory=list)
    listed: Counter[str] = field(default_factory=Counter)
    unlisted: int = 0
    signature: str = "none"
    counts: Counter[str] = field(default_factory=Counter)
    digests: dict[str, str] = field(default_factory=dict)
    second_reader: Counter[str] = field(default_factory=Counter)
    stop: Event = field(default_factory=Event)
    """Set where the audit is to end early."""

    def go_on(self) -> None:
        """Say that another piece of work begins.

        Raises
        ------
        KeyboardInterrupt
            If it is not to begin any more.
        """
        if self.stop.is_set():
            raise KeyboardInterrupt

    def add(self, finding: Finding) -> None:
        """Take a finding; beyond the limit of its task it is only counted."""
        named = re.match(r"Task[0-9]{2}_[A-Za-z0-9]+", finding.file)
        task = named[0] if named else ""
        self.listed[task] += 1
        if self.listed[task] <= FINDINGS_LIMIT:
            self.findings.append(finding)
        else:
            self.unlisted += 1

    def take(self, other: Run) -> None:
        """Take what another run gathered of other files."""
        for finding in other.findings:
            self.add(finding)
        self.unlisted += other.unlisted
        self.counts.update(other.counts)
        self.digests |= other.digests

    def report(self) -> AuditReport:
        """Return what was gathered."""
        tars, members, cases, size, sources, kept, not_kept = (self.counts[name] for name in _COUNTED)
        return AuditReport(
            tuple(self.findings), tars, members, cases, size, sources, kept, not_kept, self.unlisted,
            self.signature, second_reader=dict(self.second_reader),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in the release from which findings are reported."""

    run: Run
    file: str
    member: str = ""
    case: str = ""

    def at(self, member: str, case: str = "") -> Spot:
        """Return a place in the same file."""
        return replace(self, member=member, case=case or self.case)

    def report(self, stage: str, *, wanted: str, found: object) -> None:
        """Report what does not hold at this place."""
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
def reporting(spot: Spot, stage: str) -> Iterator[None]:
    """Turn what stops one part of the audit into a finding, so that the other parts go on."""
    try:
        yield
    except EvidenceError as fault:
        spot.report(stage, wanted=fault.wanted, found=fault.found)
    except OSError as fault:
        spot.report(stage, wanted="a file that can be read", found=f"system error {fault.errno}")


def failure(wanted: str, found: object) -> EvidenceError:
    """Return the error that ends one part of the audit and becomes a finding there."""
    return EvidenceError("audit-failed", wanted=wanted, found=str(found))
