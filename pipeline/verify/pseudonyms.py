"""What the key makes of a subject, a UID, a date and a file: derived here a second time, from RFC 2104 alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import date, timedelta

_BLOCK = 64
"""Bytes of a block of SHA-256 (FIPS 180-4)."""

SUBJECT_PREFIX = "sub-"


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Pseudonyms:
    """The mapping under one key, with what was derived so far.

    `least_days` and `most_days` bound the shift, `standard` are the UIDs that stay.
    """

    secret: bytes
    least_days: int
    most_days: int
    standard: frozenset[str]
    _known: dict[tuple[str, str], bytes] = field(default_factory=dict)

    def keyed(self, purpose: str, value: str) -> bytes:
        """Return HMAC-SHA-256 of a value under the purpose's own key."""
        found = self._known.get((purpose, value)) if value else None
        if found is None:
            own = self._known.setdefault((purpose, ""), _hmac(self.secret, purpose.encode()))
            found = _hmac(own, value.encode("utf-8", "surrogatepass"))
            self._known[purpose, value] = found
        return found

    def subject(self, patient_id: str, issuer: str = "") -> str:
        """Return the 64 hex digits that stand for a patient ID."""
        parts = [part for part in (patient_id.strip(" \0"), issuer.strip(" \0")) if part]
        return self.keyed("subject", "\0".join(parts)).hex()

    def released(self, subject: str) -> str:
        """Return what a manifest says instead of a subject's token."""
        return "hmac-sha256:" + self.keyed("subject", subject).hex()

    def name(self, subject: str) -> str:
        """Return what stands for name and ID of a subject."""
        return SUBJECT_PREFIX + subject[:12]

    def uid(self, original: str) -> str:
        """Return the UID that stands for another; one of the standard's stays."""
        if original in self.standard:
            return original
        return f"2.25.{int.from_bytes(self.keyed('uid', original)[:16], 'big')}"

    def days(self, subject: str) -> int:
        """Return by how many days a subject's dates go back."""
        span = self.most_days - self.least_days + 1
        return self.least_days + int.from_bytes(self.keyed("shift", subject), "big") % span

    def moved(self, day: str, subject: str) -> str:
        """Return the date that stands for YYYYMMDD; empty when that is no date."""
        try:
            moved = date(int(day[:4]), int(day[4:6]), int(day[6:8])) - timedelta(days=self.days(subject))
        except (ValueError, OverflowError):
            return ""
        return f"{moved.year:04d}{moved.month:02d}{moved.day:02d}"

    def source(self, digest: str) -> str:
        """Return what a manifest says instead of a source file's digest."""
        return "hmac-sha256:" + self.keyed("source", digest).hex()


_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))


def _hmac(key: bytes, message: bytes) -> bytes:
    """Return HMAC-SHA-256 as RFC 2104 writes it down, of a key no longer than a block."""
    padded = key.ljust(_BLOCK, b"\0")
    inner = hashlib.sha256(padded.translate(_INNER) + message).digest()
    return hashlib.sha256(padded.translate(_OUTER) + inner).digest()
