"""The table of cases: as CSV with its Frictionless description, and as JSON lines."""

from __future__ import annotations

import csv
from io import StringIO

from pipeline.io.document import canonical, digest_of
from pipeline.metadata.facts import COLUMNS, Facts
from pipeline.metadata.names import package_name, pretty

_WHOLE = ("image_bytes",)
_OPTIONAL = ("label", "label_sha256")


def write(facts: Facts) -> dict[str, bytes]:
    """Return cases.csv, datapackage.json (Frictionless Data Package 1) and metadata.jsonl."""
    text = StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(facts.rows)
    table = text.getvalue().encode()
    return {
        "cases.csv": table,
        "datapackage.json": pretty(_package(facts, table)),
        "metadata.jsonl": b"".join(canonical(dict(row)) + b"\n" for row in facts.rows),
    }


def _package(facts: Facts, table: bytes) -> dict[str, object]:
    terms = facts.publication
    return {
        "profile": "data-package",
        "name": package_name(terms.title),
        "title": terms.title,
        "description": terms.description,
        "version": terms.version,
        "homepage": terms.home,
        "licenses": [{"name": terms.licence, "path": terms.licence_url}],
        "contributors": [{"title": creator.full_name, "role": "author"} for creator in terms.creators],
        "resources": [
            {
                "name": "cases",
                "path": "cases.csv",
                "profile": "tabular-data-resource",
                "format": "csv",
                "mediatype": "text/csv",
                "encoding": "utf-8",
                "bytes": len(table),
                "hash": digest_of(table),
                "schema": {"fields": [_field(name) for name in COLUMNS], "primaryKey": ["task", "case"]},
            }
        ],
    }


def _field(name: str) -> dict[str, object]:
    is_required = name not in _OPTIONAL
    kind = "integer" if name in _WHOLE else "string"
    return {"name": name, "type": kind, "constraints": {"required": is_required}}
