"""JSON: strict, canonical (RFC 8785), and as the schemas say."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

import rfc8785

from pipeline.audit.report import Spot, failure
from pipeline.audit.schema import schema_faults


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key given twice")
    return document


def _no_fraction(text: str) -> Any:
    raise ValueError("a number with a fraction")


def parsed(content: bytes) -> Any:
    """Return what JSON without a key given twice and without fractions says.

    Raises
    ------
    EvidenceError
        If it is not such JSON.
    """
    try:
        return json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_no_key_twice,
            parse_float=_no_fraction,
            parse_constant=_no_fraction,
        )
    except json.JSONDecodeError as fault:
        raise failure("JSON", f"a fault at character {fault.pos}") from None
    except (ValueError, RecursionError) as fault:
        raise failure("plain JSON", fault) from None


def canonical(document: Any) -> bytes:
    """Return the one byte string that RFC 8785 allows for a document.

    Raises
    ------
    EvidenceError
        If it holds what RFC 8785 cannot write.
    """
    try:
        return rfc8785.dumps(document)
    except (ValueError, RecursionError):
        raise failure("a document that RFC 8785 can write", "a number or text beyond it") from None


def read_document(content: bytes, schema: str, spot: Spot, *, is_canonical: bool = True) -> Any:
    """Return a document that its schema allows; report when it is not written canonically.

    Raises
    ------
    EvidenceError
        If it does not parse, or has faults; all of them are named with their places.
    """
    document = parsed(content)
    if is_canonical and canonical(document) != content:
        spot.report(
            "release", wanted="canonical JSON (RFC 8785)", found="the same document written otherwise"
        )
    try:
        faults = list(itertools.islice(schema_faults(document, schema), 5))
    except RecursionError:
        faults = ["$: nested too deeply"]
    if faults:
        raise failure(f"what {schema}.schema.json allows", "; ".join(faults))
    return document


def kind_of(document: Any) -> str:
    """Return the kind that a manifest line gives itself, `none` when it gives none."""
    return str(document.get("kind", "none")) if isinstance(document, dict) else "none"


def parts_of(document: Any, key: str) -> list[Mapping[str, Any]]:
    """Return the objects in a list of a rules document, none where there is no such list."""
    listed = document.get(key) if isinstance(document, dict) else None
    return [part for part in listed if isinstance(part, dict)] if isinstance(listed, list) else []
