"""Values that may hold a person's identity, and the key that replaces them."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T", covariant=True)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Identified(Generic[T]):
    """A value from before the door; printing, logging or formatting it shows nothing.

    Only `stages.deidentify` (and what reads or plans inside the private zone) may `reveal` it.
    """

    _value: T

    def reveal(self) -> T:
        """Hand out the value. What receives it is in the private zone from then on."""
        return self._value

    def __repr__(self) -> str:
        return "Identified(...)"


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Key:
    """The workspace's secret: 32 bytes, from which every pseudonym is derived (RFC 2104, SHA-256).

    Keyed and without state: the same value gives the same pseudonym in any process and order, and without
    the key nobody can try out patient numbers.
    """

    secret: bytes

    def __repr__(self) -> str:
        return "Key(...)"

    def digest(self, purpose: str, value: str) -> bytes:
        """Return 32 bytes that stand for `value` in one `purpose` and tell nothing of it."""
        subkey = hmac.new(self.secret, purpose.encode(), hashlib.sha256).digest()
        # Names on Linux may be any bytes; Python gives those that are not UTF-8 as lone surrogates.
        text = value.encode("utf-8", "surrogatepass")
        return hmac.new(subkey, text, hashlib.sha256).digest()

    def token(self, purpose: str, value: str, length: int = 32) -> str:
        """Return the first `length` hex digits of `digest`."""
        return self.digest(purpose, value).hex()[:length]

    def of_case(self, task: str, case: str) -> bytes:
        """Return the 32 bytes that key one case's sources: who gets them can link this case and no other."""
        return self.digest("sources of a case", f"{task}/{case}")

    @property
    def fingerprint(self) -> str:
        """A public name of the key, 16 hex digits, that tells two keys apart and neither of them."""
        return self.token("fingerprint", "", 16)


def source_token(case_key: bytes, digest: str) -> str:
    """Return what stands for a source file in its case's line: HMAC-SHA-256 of its hex digest under the case's key."""
    return "hmac-sha256:" + hmac.new(case_key, digest.encode("ascii"), hashlib.sha256).hexdigest()
