"""What a verification gathers: findings that name places and keywords and quote nothing, and what was searched for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.verify.harvest import Harvest
from pipeline.verify.search import Hit

FINDINGS_LIMIT = 1000
"""Findings that are listed; further ones are counted."""


@dataclass(frozen=True, slots=True)
class Leak:
    """Something of a source in released bytes, or a pseudonym, date or mark that is not what it must be.

    `file` and `place` are released names, `origin` is the keyword of the source's element, `found` says how.
    """

    file: str
    place: str
    origin: str
    found: str

    def __str__(self) -> str:
        place = f", {self.place}" if self.place else ""
        return f"{self.file}{place}: {self.origin}: {self.found}"


@dataclass(frozen=True, slots=True)
class PrivacyReport:
    """All leaks, and how much was looked for in how much."""

    findings: tuple[Leak, ...]
    unlisted: int
    counts: dict[str, int]
    common: dict[str, int]
    short: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return the report as one JSON object; no identity."""
        return {
            "findings": [asdict(leak) for leak in self.findings],
            "unlisted": self.unlisted,
            **self.counts,
            "too_common": self.common,
            "too_short": self.short,
        }


@dataclass(slots=True)
class Tally:
    """The leaks found so far, each once."""

    leaks: dict[Leak, None] = field(default_factory=dict)
    unlisted: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, leak: Leak) -> None:
        """Keep a leak; of very many, only their number."""
        if leak in self.leaks:
            return
        if len(self.leaks) < FINDINGS_LIMIT:
            self.leaks[leak] = None
        else:
            self.unlisted += 1

    def add_hits(self, file: str, place: str, hits: Iterable[Hit]) -> None:
        """Keep what was found in released bytes."""
        for hit in hits:
            self.add(Leak(file, place, hit.origin, f"the source's value, {hit.view}"))

    def report(self, harvest: Harvest) -> PrivacyReport:
        """Return what was gathered."""
        words = sum(len(words) for words in harvest.weak.values())
        sought = {"texts": len(harvest.strong), "uids": len(harvest.uids), "words": words}
        return PrivacyReport(
            tuple(self.leaks),
            self.unlisted,
            {name: self.counts[name] for name in ("files", "sources", "bytes")} | sought,
            dict(sorted(harvest.common.items())),
            dict(sorted(harvest.short.items())),
        )
