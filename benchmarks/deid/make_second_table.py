"""Write what dicom-anonymizer knows of PS3.15 Table E.1-1, the second source that the table is compared with.

`python make_second_table.py WHEEL` reads `dicom_anonymizer-2.1.0-py3-none-any.whl` as a file (nothing of it is
run or installed) and writes `dicom-anonymizer-2026c.json`: tags by basic action. It knows no option columns.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

MEMBER = "dicomanonymizer/dicom_anonymization_databases/dicomfields_2026c.py"
ACTIONS = {
    "D_TAGS": "D",
    "Z_TAGS": "Z",
    "X_TAGS": "X",
    "U_TAGS": "U",
    "Z_D_TAGS": "Z/D",
    "X_Z_TAGS": "X/Z",
    "X_D_TAGS": "X/D",
    "X_Z_D_TAGS": "X/Z/D",
    "X_Z_U_STAR_TAGS": "X/Z/U*",
}
"""The package's lists and the action code that each stands for."""


def spelt(tag: tuple[int, ...]) -> str:
    """Return a tag in hex; four numbers are a repeating tag and its mask, whose free digits become `x`."""
    if len(tag) == 2:
        return f"{tag[0]:04X}{tag[1]:04X}"
    value, mask = f"{tag[0]:04X}{tag[1]:04X}", f"{tag[2]:04X}{tag[3]:04X}"
    return "".join(digit if bits == "F" else "x" for digit, bits in zip(value, mask, strict=True))


def actions(source: str) -> dict[str, str]:
    """Return tag -> action from the literal lists of the package's module."""
    found: dict[str, str] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            action = ACTIONS.get(node.targets[0].id)
            if action is not None:
                found |= {spelt(tag): action for tag in ast.literal_eval(node.value)}
    return dict(sorted(found.items()))


def document(wheel: Path) -> dict[str, Any]:
    """Return the facts with where they come from."""
    raw = zipfile.ZipFile(wheel).read(MEMBER)
    return {
        "package": "dicom-anonymizer 2.1.0 (BSD-3-Clause)",
        "edition": "2026c",
        "wheel": "sha256:" + hashlib.sha256(wheel.read_bytes()).hexdigest(),
        "member_digest": "sha256:" + hashlib.sha256(raw).hexdigest(),
        "actions": actions(raw.decode()),
    }


if __name__ == "__main__":
    target = Path(__file__).with_name("dicom-anonymizer-2026c.json")
    target.write_text(json.dumps(document(Path(sys.argv[1])), indent=0) + "\n", encoding="ascii")
    print(f"wrote {target.name}")
