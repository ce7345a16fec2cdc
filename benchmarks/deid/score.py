"""Count what survived of what was planted, and what was lost of what conversion needs."""

from __future__ import annotations

import base64
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from plant import DATES, KEPT, SAFE_PRIVATE, Planted, Source
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

NAMES_OF_FILES = {"folder name", "file name"}


@dataclass(slots=True)
class Score:
    """One tool's result: planted and surviving identifiers by kind, needed elements kept and lost."""

    written: int = 0
    planted: int = 0
    survivors: Counter[str] = field(default_factory=Counter)
    kept: int = 0
    lost: Counter[str] = field(default_factory=Counter)


def score(sources: Sequence[Source], outputs: Path) -> Score:
    """Compare the planted files with whatever stands below the output folder."""
    files = {
        path.relative_to(outputs).as_posix(): path.read_bytes()
        for path in sorted(outputs.rglob("*"))
        if path.is_file()
    }
    result = Score(written=len(files))
    haystack = b"\n".join([*(name.encode() for name in files), *map(expanded, files.values())])
    folded = haystack.lower()
    for source in sources:
        output = _output_of(source, files)
        own = folded if output is None else expanded(output).lower()
        for planted in source.planted:
            result.planted += 1
            # A shifted date of another person may be this one's: a date is looked for in its own file.
            where = own if re.fullmatch(r"\d{8}", planted.text) and planted.kind in DATES else folded
            if any(form in where for form in forms(planted)):
                result.survivors[planted.kind] += 1
        if source.kept is not None:
            _losses(source, None if output is None else _read(output), result)
    return result


def _output_of(source: Source, files: dict[str, bytes]) -> bytes | None:
    """Return the output file of a source, known by its kind and its pixels."""
    before = pydicom.dcmread(BytesIO(source.content))
    for content in files.values():
        after = _read(content)
        if after is not None and _is_same(before, after):
            return content
    return None


def expanded(content: bytes) -> bytes:
    """Return a file's bytes and, where its dataset is deflated, that dataset's own."""
    if DeflatedExplicitVRLittleEndian.encode() not in content[:1000]:
        return content
    dataset = pydicom.dcmread(BytesIO(content))
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    stream = BytesIO()
    dataset.save_as(stream)
    return content + stream.getvalue()


def forms(planted: Planted) -> Iterator[bytes]:
    """Yield the lower-case byte strings in which an identifier may hide."""
    text = planted.text.lower()
    yield text.encode()
    yield text.encode("utf-16-le")
    yield text.encode("utf-16-be")
    for spelt in (planted.text, planted.text.upper(), text):
        yield spelt.encode().hex().encode()
        for shift in range(3):
            # Base64 of a text depends on where it begins; the outermost characters on its neighbours.
            yield (
                base64.b64encode(b"\0" * shift + spelt.encode())[4 if shift else 0 : -4].lower()
                or text.encode()
            )


def _losses(source: Source, after: Dataset | None, result: Score) -> None:
    """Count the needed elements of a source that its output lacks."""
    before = pydicom.dcmread(BytesIO(source.content))
    assert source.kept is not None
    for keyword in KEPT:
        if keyword in source.kept:
            same = after is not None and _plain(before, keyword) == _plain(after, keyword)
            result.kept += same
            result.lost[keyword] += not same
    for group, creator, offset in SAFE_PRIVATE:
        wanted = _private(before, group, creator, offset)
        if isinstance(wanted, str) or wanted is None:
            continue
        same = after is not None and _private(after, group, creator, offset) == wanted
        result.kept += same
        result.lost[f"{creator} ({group:04x},xx{offset:02x})"] += not same


def _read(content: bytes) -> Dataset | None:
    try:
        return pydicom.dcmread(BytesIO(content))
    except (pydicom.errors.InvalidDicomError, OSError, ValueError):
        return None


def _is_same(before: Dataset, after: Dataset) -> bool:
    # One of the tools removes the SOP class.
    if after.get("SOPClassUID") not in {None, before.get("SOPClassUID")}:
        return False
    if "PixelData" not in before or "PixelData" not in after:
        return "PixelData" not in before and "PixelData" not in after
    try:
        return bool(np.array_equal(before.pixel_array, after.pixel_array))
    except (ValueError, AttributeError, RuntimeError):
        return False


def _plain(dataset: Dataset, keyword: str) -> Any:
    """Return a needed element's value; of a sequence, the numbers and codes in it that conversion reads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        element = dataset.get(keyword)
    if element is None or not isinstance(element, pydicom.Sequence):
        return element
    items = [[(e.keyword, _plain(item, e.keyword)) for e in item if _is_needed(e)] for item in element]
    return [item for item in items if item]


NEEDED_INSIDE = {
    *KEPT,
    *[
        "PixelMeasuresSequence",
        "PlanePositionSequence",
        "PlaneOrientationSequence",
        "PixelValueTransformationSequence",
        "SegmentNumber",
        "SegmentedPropertyTypeCodeSequence",
        "CodeValue",
        "RadionuclideTotalDose",
        "RadionuclideHalfLife",
        "RadiopharmaceuticalStartTime",
        "ROINumber",
        "ReferencedROINumber",
        "ContourSequence",
        "ContourGeometricType",
        "ContourData",
    ],
}
"""What is compared inside a sequence."""


def _is_needed(element: pydicom.DataElement) -> bool:
    return element.keyword in NEEDED_INSIDE


def _private(dataset: Dataset, group: int, creator: str, offset: int) -> Any:
    try:
        value = dataset.private_block(group, creator)[offset].value
    except KeyError:
        return None
    return value
