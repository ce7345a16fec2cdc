"""What DICOM SEG and RTSTRUCT objects have in common: items, numbers, codes, references."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.errors import BytesLengthException

from pipeline.model.contour import References
from pipeline.model.errors import LabelError

LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])
"""DICOM's x runs to the left and y to the back (PS3.3 C.7.6.2.1.1), ours to the right and the front."""

_UNPARSABLE = (
    ArithmeticError,
    AttributeError,
    BytesLengthException,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    TypeError,
    ValueError,
    struct.error,
)
_SERIES_PATHS = (
    ("ReferencedFrameOfReferenceSequence", "RTReferencedStudySequence", "RTReferencedSeriesSequence"),
    ("ReferencedSeriesSequence",),
)
_INSTANCE_PATHS = (
    (*_SERIES_PATHS[0], "ContourImageSequence"),
    ("ROIContourSequence", "ContourSequence", "ContourImageSequence"),
    ("ReferencedSeriesSequence", "ReferencedInstanceSequence"),
    ("SharedFunctionalGroupsSequence", "DerivationImageSequence", "SourceImageSequence"),
    ("PerFrameFunctionalGroupsSequence", "DerivationImageSequence", "SourceImageSequence"),
)


def inconsistent(wanted: str, found: str, where: str) -> LabelError:
    """Return the refusal of a label that contradicts itself."""
    return LabelError("label-inconsistent", wanted=wanted, found=found, where=where)


def parse(dataset: Dataset) -> None:
    """Convert every element, at any depth, once; refuse with unreadable what cannot be.

    pydicom leaves elements as bytes until somebody asks, and then raises what its parser met.
    """
    with warnings.catch_warnings():
        # pydicom quotes values in its warnings, and in what it raises: neither goes further.
        warnings.simplefilter("ignore")
        try:
            for _ in dataset.iterall():
                pass
        except _UNPARSABLE:
            raise LabelError(
                "unreadable", wanted="elements that parse", found="one that does not", where="label object"
            ) from None


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """Return the items of a sequence, none when it is absent or empty."""
    return list(dataset.get(keyword) or [])


def whole(item: Dataset, keyword: str, where: str) -> int:
    """Return a whole number that must be there, or refuse with label-inconsistent."""
    try:
        return int(item[keyword].value)
    except (KeyError, TypeError, ValueError):
        # Not chained: pydicom quotes the element's value.
        raise inconsistent(f"a whole number in {keyword}", "none", where) from None


def numbers(item: Dataset, keyword: str, where: str) -> npt.NDArray[np.float64]:
    """Return an element's numbers, none when it is absent or empty; refuse what is not a number."""
    try:
        value = item.get(keyword)
        found = np.array([] if value is None else value, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError, OverflowError):
        # Not chained: pydicom quotes the element's value.
        raise inconsistent(f"numbers in {keyword}", "something else", where) from None
    if not np.isfinite(found).all():
        raise inconsistent(f"finite numbers in {keyword}", "others", where)
    return found


def codes(item: Dataset, keyword: str) -> tuple[str, ...]:
    """Return the codes of a code sequence as `SCHEME:VALUE` (PS3.3 table 8.8-1)."""
    found = []
    for code in items(item, keyword):
        value = code.get("CodeValue") or code.get("LongCodeValue") or code.get("URNCodeValue")
        if value:
            found.append(f"{code.get('CodingSchemeDesignator') or ''}:{value}")
    return tuple(found)


def read_references(dataset: Dataset) -> References:
    """Return what a SEG or RTSTRUCT says it was drawn on.

    The object's own frame of reference counts only where no region or reference names one.
    """
    frames = _texts(dataset, ("StructureSetROISequence",), "ReferencedFrameOfReferenceUID")
    frames |= _texts(dataset, ("ReferencedFrameOfReferenceSequence",), "FrameOfReferenceUID")
    return References(
        frame_of_reference_uids=tuple(sorted(frames or _texts(dataset, (), "FrameOfReferenceUID"))),
        series_uids=_all_texts(dataset, _SERIES_PATHS, "SeriesInstanceUID"),
        sop_uids=_all_texts(dataset, _INSTANCE_PATHS, "ReferencedSOPInstanceUID"),
    )


def _all_texts(dataset: Dataset, paths: Sequence[Sequence[str]], keyword: str) -> tuple[str, ...]:
    return tuple(sorted({text for path in paths for text in _texts(dataset, path, keyword)}))


def _texts(dataset: Dataset, path: Sequence[str], keyword: str) -> set[str]:
    """Return an element's texts in all items that a path of sequences leads to, without empty ones."""
    reached = [dataset]
    for step in path:
        reached = [inner for item in reached for inner in items(item, step)]
    return {str(item.get(keyword)) for item in reached if item.get(keyword)}
