"""Group indexed files into stacks of slices, and set aside what is no volume."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, pairwise
from math import inf, isfinite, isnan, nan

import numpy as np
import numpy.typing as npt

from pipeline.model.outlier import odd_ones
from pipeline.model.series import Facts, Kind, SourceFile, SourceRef, Stack, listed

Places = npt.NDArray[np.float64]
"""Positions along a normal, in mm, in order."""

ORIENTATION_TOLERANCE = 1e-3
"""Largest difference of a direction cosine within one stack: rounding of scanners, not another plane."""

POSITION_TOLERANCE_MM = 0.01
"""Two slices closer than this along the normal lie at one position; below any slice step in use."""

_LOCALIZER_WORDS = ("LOCALIZER", "SCOUT", "SURVEY")

_LOCALIZER_NAMES = re.compile(
    r"(?<![a-z])(locali[sz]er|scout|survey|surview|topogram|scanogram)(?![a-z])", re.IGNORECASE
)
"""What a SeriesDescription says of an overview, of which makers' ImageType says nothing (Siemens and Philips MR)."""

FEW_OVERVIEWS = 15
"""So many images at most, in three planes at right angles to each other, are a three-plane localizer."""

_SCREEN_WORDS = ("SCREEN SAVE", "SCREENSAVE", "SECONDARY CAPTURE")
LABELS = (Kind.SEG, Kind.RTSTRUCT, Kind.MASK)
"""Kinds of files that hold an expert's drawing."""

_SPLITS: tuple[tuple[str, ...], ...] = (
    ("AcquisitionNumber",),
    ("TemporalPositionIdentifier",),
    ("DiffusionBValue",),
    ("SequenceName",),
    ("DiffusionBValue", "DiffusionGradientOrientation", "DiffusionDirectionality"),
    ("TriggerTime",),
    ("NominalPercentageOfCardiacPhase",),
    ("StackID",),
    ("TemporalPositionTimeOffset",),
    ("AcquisitionTime",),
    ("AcquisitionNumber", "TemporalPositionIdentifier"),
    ("KVP",),
    ("ConvolutionKernel",),
    ("ImageType",),
)
"""What may tell volumes apart when slices share positions, tried in this order."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """All files that were given, each in exactly one place."""

    stacks: Sequence[Stack]
    labels: Sequence[SourceFile]
    tables: Sequence[SourceFile]
    set_aside: Sequence[tuple[SourceFile, str]]


def ingest(files: Iterable[SourceFile], elsewhere: Mapping[str, str] | None = None) -> Grouping:
    """Split images into stacks of one orientation, matrix, spacing, echo and image type.

    Slices at equal positions are told apart by acquisition, temporal position, b-value and gradient direction,
    trigger time, stack or dimension index values, or by the file where each holds a whole volume; when nothing
    does, the stack carries the code duplicate-positions and cannot become a channel.
    Exact duplicates are set aside, conflicting ones give their stack the code conflicting-duplicates.

    Parameters
    ----------
    files
        All files, or all of some subjects.
    elsewhere
        What `damage` says of files that are not among them.
    """
    images: list[SourceFile] = []
    labels: list[SourceFile] = []
    tables: list[SourceFile] = []
    set_aside: list[tuple[SourceFile, str]] = []
    aside: dict[Hashable, list[SourceFile]] = defaultdict(list)
    damaged = Damage(dict(elsewhere or {}))
    for file, code in judged(files):
        if code is not None:
            set_aside.append((file, code))
            aside[_series_key(file)].append(file)
            damaged.meet(file)
        elif file.kind is Kind.TABLE:
            tables.append(file)
        else:
            (labels if file.kind in LABELS else images).extend(file.slices())
    stacks: list[Stack] = []
    known = {file.text("SeriesInstanceUID") for file in images}
    homeless = {_folder(file) for file, code in set_aside if code in _DAMAGED and _is_of_none(file, known)}
    for series in _by_series(images):
        if _is_three_plane(series):
            set_aside += [(file, "localizer") for file in series]
        else:
            of_series = list(_stacks(series))
            is_near = not homeless.isdisjoint(map(_folder, series)) if homeless else False
            whole = _with_gaps(_with_ends(of_series), aside[_series_key(series[0])], is_near=is_near)
            stacks += [_tainted(stack, damaged.codes) for stack in whole]
    nameless = [file for file, code in set_aside if code == "missing-identifier" and file.kind is Kind.IMAGE]
    return Grouping(_numbered(_with_strays(stacks, nameless)), labels, tables, set_aside)


def _numbered(stacks: Sequence[Stack]) -> list[Stack]:
    """Return the stacks, in their order, each with its place (`volume`, from 0) among the `volumes` of its series.

    Volumes come in the order of their first instance number or frame, as the scanner counts them; where files of a
    series each count from 1, as exports of enhanced images do, in that of time points and acquisitions.
    """
    series: dict[Hashable, list[int]] = defaultdict(list)
    for place, stack in enumerate(stacks):
        series[_series_key(stack.files[0])].append(place)
    numbers: dict[int, dict[str, int]] = {}
    for own in series.values():
        # Most series are one volume, whose slices need not be asked.
        counted = (
            own if len(own) == 1 else sorted(own, key=lambda place: min(map(_count, stacks[place].files)))
        )
        numbers |= {place: {"volume": n, "volumes": len(own)} for n, place in enumerate(counted)}
    return [replace(stack, facts={**stack.facts, **numbers[place]}) for place, stack in enumerate(stacks)]


def _count(file: SourceFile) -> tuple[object, ...]:
    """Return where a slice comes in its series, wherever its file lies."""
    times = [float(_numbers(file.facts.get(keyword), 1)[0]) for keyword in _COUNTERS]
    return _instance_number(file.facts), file.frame or 0, *map(_known, times), file.ref.digest


def judged(files: Iterable[SourceFile]) -> Iterator[tuple[SourceFile, str | None]]:
    """Yield each file with the code for which it takes no part, None when it takes part."""
    for file, is_copy in _marking_copies(files):
        yield file, "duplicate" if is_copy else _reason(file)


_UNSEEN = {
    "permission-denied",
    "source-missing",
    "read-failed",
    "input-crashed",
    "input-timeout",
    "memory-short",
}
"""Codes of files and archives of which nothing was read."""

_COUNTERS = ("TemporalPositionIdentifier", "AcquisitionNumber", "TriggerTime", "EchoTime", "DiffusionBValue")
"""What counts volumes where instance numbers do not."""

_DAMAGED = {"truncated", "unreadable", "archive-unreadable"} | _UNSEEN
"""Codes of files that may have been a slice: without it, its series could pass for a shorter one."""


@dataclass(frozen=True, slots=True)
class Damage:
    """Series UID, or folder of files that do not say their series -> code of the damage in it."""

    codes: dict[str, str] = field(default_factory=dict)

    def meet(self, file: SourceFile) -> None:
        """Note a file that may have been a slice and cannot be read, or lost another name than its series'."""
        code = file.code or _reason(file)
        if code in _DAMAGED or (code == "missing-identifier" and file.text("SeriesInstanceUID")):
            self.codes.setdefault(file.text("SeriesInstanceUID") or _folder(file), code)
            if code in _UNSEEN and file.ref.member is None:
                # It may be an archive, of which some members were read.
                self.codes.setdefault(f"archive {file.ref.path}", code)


def _folder(file: SourceFile) -> str:
    """Return a file's folder; an archive that cannot be read to its end stands for all it holds."""
    is_archive = file.code == "archive-unreadable" and file.ref.member is None
    return f"archive {file.ref.path}" if is_archive else "folder " + file.inside.rpartition("/")[0]


def _tainted(stack: Stack, damage: Mapping[str, str]) -> Stack:
    """Return the stack, with the code of a damaged file that belongs, or may belong, to it."""
    places = {stack.series_uid, *(_folder(file) for file in stack.files)}
    places |= {f"archive {file.ref.path}" for file in stack.files if file.ref.member is not None}
    codes = sorted(damage[place] for place in places if place in damage)
    return replace(stack, code=codes[0]) if codes and stack.code is None else stack


def _marking_copies(files: Iterable[SourceFile]) -> Iterable[tuple[SourceFile, bool]]:
    """Yield each file and whether the same instance with the same bytes came before it in the same task."""
    seen: set[tuple[str | None, str, str]] = set()
    for file in files:
        if not file.facts or file.kind is Kind.MASK:
            yield file, False
            continue
        name = (file.task, file.text("SOPInstanceUID"), file.ref.digest)
        yield file, name in seen
        seen.add(name)


def _reason(file: SourceFile) -> str | None:
    """Return why a file takes no part, or None."""
    if file.code is not None or file.kind in (Kind.MASK, Kind.TABLE):
        return file.code
    if not all(file.text(k) for k in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")):
        return "missing-identifier"
    if file.kind is not Kind.IMAGE:
        return None
    words = [str(word).upper() for word in listed(file.facts.get("ImageType"))]
    is_named = _LOCALIZER_NAMES.search(file.text("SeriesDescription"))
    if is_named or any(mark in word for word in words for mark in _LOCALIZER_WORDS):
        return "localizer"
    if file.facts.get("SamplesPerPixel", 1) != 1 or any(word in _SCREEN_WORDS for word in words):
        return "derived-screen"
    return None


def _is_three_plane(series: Sequence[SourceFile]) -> bool:
    """Whether a series is a few images in three planes at right angles: an overview, whatever its header calls it."""
    if len(series) > FEW_OVERVIEWS or any(file.frame is not None for file in series):
        return False
    normals: list[tuple[float, float, float]] = []
    for file in series:
        normal = _normal(file.facts)
        if isnan(sum(normal)):
            return False
        if not any(abs(_dot(normal, other)) > 0.9 for other in normals):
            normals.append(normal)
    return len(normals) == 3 and all(abs(_dot(*pair)) < 0.5 for pair in combinations(normals, 2))


def _dot(first: Sequence[float], second: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(first, second, strict=True))


def _with_ends(stacks: Sequence[Stack]) -> Sequence[Stack]:
    """Return a series' stacks; one that lacks a slice, which lies apart because its header says otherwise, is refused.

    Without it the stack would pass for a shorter one, or for one of every second slice.
    """
    lone = [stack for stack in stacks if len(stack.files) == 1]
    return [replace(stack, code=stack.code or _lack(stack, lone)) for stack in stacks]


def _lack(stack: Stack, lone: Sequence[Stack]) -> str | None:
    """Return the code of a stack to which one of the lone slices of its series belongs, None where none does."""
    if len(stack.files) == 1:
        return None
    if any(_is_placeless(one, stack) for one in lone):
        return "missing-geometry"
    return "mixed-grids" if any(_continues(one, stack) for one in lone) else None


def _is_placeless(lone: Stack, stack: Stack) -> bool:
    """Whether a lone slice of a stack's matrix has lost the place that the stack's slices have."""
    places = [distance_along_normal(one.facts) for one in (lone.files[0], stack.files[0])]
    return _has_matrix_of(lone, stack) and isnan(places[0]) and not isnan(places[1])


_OF_ONE_SERIES = (
    "FrameOfReferenceUID", "SeriesNumber", "SeriesDescription", "Modality", "Rows", "Columns", "SOPClassUID",
)  # fmt: skip
"""What slices of one series share, beside the UIDs and the patient's ID that name it."""


_HOMES = ("StudyInstanceUID", "SeriesInstanceUID")
"""What still says where a stray slice is from when the other name is damaged."""


def _is_of_none(file: SourceFile, known: Collection[str]) -> bool:
    """Whether a damaged file names a series that no image is of: the name may be damaged."""
    name = file.text("SeriesInstanceUID")
    return name != "" and name not in known


def _with_gaps(stacks: Sequence[Stack], set_aside: Sequence[SourceFile], *, is_near: bool) -> Sequence[Stack]:
    """Return a series' stacks; one is refused where a lone slice, or one set aside, has a number between its own.

    `is_near`: a damaged file of no known series lies in their folder; its number is not known, as that of a lone slice
    without one.

    Then another slice is lost besides, so that every second one, or third, is left. What was set aside tells so only
    where not every number between is accounted for: screen shots may lie between slices.
    """
    lone = {_instance_number(stack.files[0].facts) for stack in stacks if len(stack.files) == 1}
    lone |= {0} if is_near else set()
    aside = {_instance_number(file.facts) for file in set_aside}

    def code(stack: Stack) -> str | None:
        between = _between(stack, stacks) if lone or aside else set()
        is_told = lone & (between | {0}) or (aside & between and between - aside)
        return "missing-slice" if between and is_told else None

    return [replace(stack, code=stack.code or code(stack)) for stack in stacks]


def _between(stack: Stack, of_series: Sequence[Stack]) -> set[int]:
    """Return the numbers between those of a stack's instances, where these run evenly and no other stack has them."""
    numbers = np.array([_instance_number(file.facts) for file in stack.files])
    steps = set(np.abs(np.diff(numbers)).tolist())
    if len(steps) != 1 or steps <= {0, 1}:
        return set()
    others = {_instance_number(file.facts) for one in of_series if len(one.files) > 1 for file in one.files}
    return set(range(int(numbers.min()) + 1, int(numbers.max()))) - others


def _with_strays(stacks: Sequence[Stack], nameless: Iterable[SourceFile]) -> list[Stack]:
    """Return all stacks; one of which a slice, alone, names another series, study or patient, or none, is refused.

    Such a slice is all that its series holds. Either it shares everything else with the stack and lies where one is
    missing, or it is of the stack's study or series, and of its matrix, and has a number between those of the stack's
    instances.
    """
    strays: dict[Hashable, list[Stack]] = defaultdict(list)
    by_series: dict[Hashable, list[Stack]] = defaultdict(list)
    for stack in (*stacks, *(_stack([slice_], None) for file in nameless for slice_ in file.slices())):
        by_series[_series_key(stack.files[0])].append(stack)
        if len(stack.files) == 1:
            for name in _HOMES:
                strays[stack.task, name, stack.files[0].text(name)].append(stack)
            if stack.files[0].text("FrameOfReferenceUID"):
                strays[_alike_in(stack)].append(stack)

    def code(stack: Stack) -> str | None:
        # Of a single slice nothing can be missing: studies of thousands of them are not held against each other.
        if len(stack.files) == 1:
            return None
        if any(_continues(one, stack) for one in strays.get(_alike_in(stack), ())):
            return "mixed-grids"
        between = _between(stack, by_series[_series_key(stack.files[0])])
        homes = [(stack.task, name, stack.files[0].text(name)) for name in _HOMES if between]
        near = [one for home in homes for one in strays.get(home, ()) if _has_matrix_of(one, stack)]
        numbers = (_instance_number(one.files[0].facts) for one in near)
        return "missing-slice" if any(number in between for number in numbers) else None

    return [replace(stack, code=stack.code or code(stack)) for stack in stacks]


def _alike_in(stack: Stack) -> Hashable:
    return (stack.task, *(str(stack.facts.get(keyword)) for keyword in _OF_ONE_SERIES))


def _continues(lone: Stack, stack: Stack) -> bool:
    """Whether a lone slice lies where the next one of a stack would, or in the middle between two."""
    step, beyond = stack.facts.get("slice_step_mm"), _beyond(lone, stack)
    if step is None or not isfinite(beyond):
        return False
    is_between = beyond < 0 and abs(beyond % step - step / 2) < POSITION_TOLERANCE_MM
    return bool(is_between or abs(beyond - step) < step / 2 + POSITION_TOLERANCE_MM)


def _beyond(lone: Stack, stack: Stack) -> float:
    """Return how far beyond a stack's ends a lone slice lies, in mm; infinite where it is no slice of such a stack."""
    is_parallel = abs(_dot(_normal(lone.facts), _normal(stack.facts)) - 1) <= ORIENTATION_TOLERANCE
    if not (_has_matrix_of(lone, stack) and is_parallel):
        return inf
    place, first, last = (
        distance_along_normal(file.facts) for file in (lone.files[0], stack.files[0], stack.files[-1])
    )
    return max(first - place, place - last)


def _has_matrix_of(lone: Stack, stack: Stack) -> bool:
    # The same matrix alone: what else differs may be what set the slice apart.
    return all(lone.facts.get(name) == stack.facts.get(name) for name in ("Rows", "Columns", "SOPClassUID"))


def _by_series(images: Iterable[SourceFile]) -> Iterable[list[SourceFile]]:
    series: dict[Hashable, list[SourceFile]] = defaultdict(list)
    for file in images:
        series[_series_key(file)].append(file)
    return series.values()


def _series_key(file: SourceFile) -> Hashable:
    # Pseudonymisers give two persons one UID now and then: a volume never mixes persons.
    return file.task, *map(file.text, ("PatientID", "StudyInstanceUID", "SeriesInstanceUID"))


def _stacks(series: Sequence[SourceFile]) -> Iterable[Stack]:
    """Yield the stacks of one series; the order in which its files came decides nothing."""
    conflicting = _conflicting(series)
    for group in _alike(sorted(series, key=_by_direction)):
        code = "conflicting-duplicates" if any(file.ref in conflicting for file in group) else None
        for volume, fault in _told_apart(group) if code is None else [(group, code)]:
            yield _stack(volume, fault)


def _by_direction(file: SourceFile) -> tuple[object, ...]:
    """Return what slices of a series are sorted by: direction and pixel spacing, then place."""
    return (*map(_known, _plane_numbers(file.facts)), *_by_place(file))


def _by_place(file: SourceFile) -> tuple[object, ...]:
    """Return what slices of one direction are sorted by: the position along the normal, then any difference."""
    return (
        _known(distance_along_normal(file.facts)), file.ref.digest, -1 if file.frame is None else file.frame
    )  # fmt: skip


def _known(number: float) -> tuple[bool, float]:
    """Return a number to sort by: NaN, which would sort nowhere, last."""
    return (True, 0.0) if isnan(number) else (False, number)


def _conflicting(series: Sequence[SourceFile]) -> set[SourceRef]:
    by_uid: dict[Hashable, list[SourceFile]] = defaultdict(list)
    for file in series:
        by_uid[(file.text("SOPInstanceUID"), file.frame)].append(file)
    return {file.ref for files in by_uid.values() if len(files) > 1 for file in files}


def _alike(series: Sequence[SourceFile]) -> Iterable[list[SourceFile]]:
    """Group files by kind, then by direction cosines and pixel spacing within tolerance."""
    groups: dict[Hashable, list[tuple[tuple[float, ...], list[SourceFile]]]] = defaultdict(list)
    for file in series:
        plane = _plane_numbers(file.facts)
        planes = groups[_kind_key(file)]
        near = [files for other, files in planes if _is_near(plane, other)]
        if near:
            near[0].append(file)
        else:
            planes.append((plane, [file]))
    return [files for planes in groups.values() for _, files in planes]


def _kind_key(file: SourceFile) -> Hashable:
    # As text: a damaged element may hold several values, or NaN, which differs from itself.
    names = (
        "Rows", "Columns", "EchoNumbers", "EchoTime", "SOPClassUID", "ComplexImageComponent", "Modality", "Units",
    )  # fmt: skip
    kind = listed(file.facts.get("ImageType"))
    # PS3.3 C.8.2.1.1.1: in CT, what follows the third value is the maker's own. GE marks slices that were made
    # of several rotations there, and they lie beside others in one volume.
    told = kind[:3] if file.facts.get("Modality") == "CT" else kind
    return (*(str(file.facts.get(name)) for name in names), str(told), _unit(file))


def _unit(file: SourceFile) -> str:
    """Return what kind of number the rescale makes; unspecified and, in CT, Hounsfield units are one (PS3.3 C.11.1)."""
    unit = file.text("RescaleType").upper()
    return "" if unit == "US" or (unit == "HU" and file.facts.get("Modality") == "CT") else unit


def _plane_numbers(facts: Facts) -> tuple[float, ...]:
    """Return the six direction cosines and the two pixel spacings, NaN where they are missing."""
    return _numbers(facts.get("ImageOrientationPatient"), 6) + _numbers(facts.get("PixelSpacing"), 2)


def _numbers(value: object, count: int) -> tuple[float, ...]:
    # Plain numbers, not arrays: this is asked of every slice, and arrays so small cost ten times as much.
    items = listed(value)
    numbers = tuple(float(item) for item in items if isinstance(item, (int, float)) and isfinite(item))
    return numbers if len(numbers) == len(items) == count else (nan,) * count


def _is_near(first: Sequence[float], second: Sequence[float]) -> bool:
    pairs = zip(first, second, strict=True)
    return all(abs(a - b) <= ORIENTATION_TOLERANCE or (a != a and b != b) for a, b in pairs)


def distance_along_normal(facts: Facts) -> float:
    """Return a slice's position along its normal in mm (PS3.3 C.7.6.2.1.1), NaN if unknown."""
    x, y, z = _normal(facts)
    i, j, k = _numbers(facts.get("ImagePositionPatient"), 3)
    return x * i + y * j + z * k


def _normal(facts: Facts) -> tuple[float, float, float]:
    """Return the cross product of a slice's row and column direction, NaN if unknown."""
    a, b, c, d, e, f = _numbers(facts.get("ImageOrientationPatient"), 6)
    return b * f - c * e, c * d - a * f, a * e - b * d


def _told_apart(group: Sequence[SourceFile]) -> list[tuple[Sequence[SourceFile], str | None]]:
    """Return volumes with no two slices at one position, or the group with duplicate-positions."""
    is_shared = _shares_positions(group)
    if not is_shared and _is_even(group):
        return [(group, None)]
    for keywords in _SPLITS if is_shared else ():
        parts = _told_by(group, keywords)
        if len(parts) > 1 and _are_alike(parts):
            return [(part, None) for part in parts]
    told = (
        _by_dimensions(group), _repeats(group), _phases(group), *(_in_turn(group, time) for time in _TIMES),
        _told_by(group, ("SOPInstanceUID",)),
    )  # fmt: skip
    for parts in told if is_shared else ():
        if len(parts) > 1 and _are_alike(parts):
            return [(part, None) for part in parts]
    for keywords in (("AcquisitionNumber",), ("TemporalPositionIdentifier",)):
        parts = _told_by(group, keywords)
        if len(parts) > 1 and _are_apart(parts):
            return [(part, None) for part in parts]
    return [(group, "duplicate-positions" if is_shared else None)]


def _told_by(group: Sequence[SourceFile], keywords: Sequence[str]) -> list[list[SourceFile]]:
    return _parts(group, lambda facts: tuple(str(facts.get(name)) for name in keywords))


FEWEST_OF_A_RUN = 4
"""Slices that a run must have at least to be a volume beside another one on other positions."""

EVEN_MM = 0.2
"""Steps that differ by no more, in mm, are even: twice the tolerance of a slice's place."""


def _is_even(group: Sequence[SourceFile]) -> bool:
    places = np.sort([distance_along_normal(file.facts) for file in group])
    return len(places) < 3 or not bool(np.ptp(np.diff(places)) > EVEN_MM)


def _are_apart(parts: Sequence[Sequence[SourceFile]]) -> bool:
    """Whether parts are even runs of slices that lie over each other, each with positions or an extent of its own.

    Runs that only follow each other are one scan in several sweeps. Runs on the same positions of which one lacks a
    slice or two at an end are volumes that lost them.
    """
    if any(len(part) < FEWEST_OF_A_RUN or _shares_positions(part) or not _is_even(part) for part in parts):
        return False
    places = [np.sort([distance_along_normal(file.facts) for file in part]) for part in parts]
    if not all(np.isfinite(run).all() for run in places):
        return False
    runs = sorted(places, key=lambda run: (float(run[0]), -float(run[-1])))
    return all(
        min(run[-1], other[-1]) - other[0] > float(np.median(np.diff(run))) and not _lacks_an_end(run, other)
        for run, other in pairwise(runs)
    )


def _lacks_an_end(run: Places, other: Places) -> bool:
    """Whether one of two runs is the other without a slice or two at one end."""
    shared = sum(bool(np.abs(run - place).min() < POSITION_TOLERANCE_MM) for place in other)
    return len(run) + len(other) - 2 * shared <= 2


def _phases(group: Sequence[SourceFile]) -> list[list[SourceFile]]:
    """Return the cardiac phases of a series whose trigger times differ a little from slice to slice.

    The n-th trigger time of each position is of the n-th phase; only where every position has as many, all
    different, as CardiacNumberOfImages says (PS3.3 C.7.6.18.1).
    """
    if any(not isinstance(file.facts.get("TriggerTime"), (int, float)) for file in group):
        return [list(group)]
    seen: Counter[object] = Counter()
    phases: dict[int, list[SourceFile]] = defaultdict(list)
    for file in sorted(group, key=lambda file: float(file.facts["TriggerTime"])):
        place = _place_number(file.facts)
        phases[seen[place]].append(file)
        seen[place] += 1
    moments = {(_place_number(file.facts), file.facts["TriggerTime"]) for file in group}
    said = {file.text("CardiacNumberOfImages") for file in group}
    is_told = (
        said == {str(len(phases))} and len(moments) == len(group) and not _is_odd_somewhere(phases.values())
    )
    return list(phases.values()) if is_told else [list(group)]


_TIMES = ("TriggerTime", "AcquisitionTime", "ContentTime")
"""What may run on from slice to slice, so that no two of a volume share it."""


def _in_turn(group: Sequence[SourceFile], keyword: str) -> list[list[SourceFile]]:
    """Return the volumes that were made one after the other: all slices of one before any of the next.

    The n-th time of each position is of the n-th volume; only where these times are apart, and instances are numbered
    through: a wrong time of a volume's first slice would keep the times apart.
    """
    times = [_time(file.facts.get(keyword)) for file in group]
    if any(isnan(time) for time in times):
        return [list(group)]
    seen: Counter[object] = Counter()
    volumes: dict[int, list[tuple[float, SourceFile]]] = defaultdict(list)
    for time, number in sorted((time, number) for number, time in enumerate(times)):
        place = _place_number(group[number].facts)
        volumes[seen[place]].append((time, group[number]))
        seen[place] += 1
    runs = [[time for time, _ in volume] for volume in volumes.values()]
    is_told = all(max(run) < min(following) for run, following in pairwise(runs))
    parts = [[file for _, file in volume] for volume in volumes.values()]
    return parts if is_told and _are_counted_through(parts) else [list(group)]


def _time(value: object) -> float:
    """Return a time to sort by: a number, or the digits of a time of day; NaN where it is neither."""
    try:
        return float(value) if isinstance(value, (int, float, str)) else nan
    except ValueError:
        return nan


def _is_odd_somewhere(phases: Iterable[Sequence[SourceFile]]) -> bool:
    """Whether instances are numbered otherwise at a few positions than at all others: there, one number is wrong."""
    numbers: dict[object, list[int]] = defaultdict(list)
    for file in (file for phase in phases for file in phase):
        numbers[_place_number(file.facts)].append(_instance_number(file.facts))
    return bool(odd_ones([tuple(np.argsort(one, kind="stable").tolist()) for one in numbers.values()]))


def _by_dimensions(group: Sequence[SourceFile]) -> list[list[SourceFile]]:
    """Return the volumes that the dimension index values of enhanced frames tell apart (PS3.3 C.7.6.17).

    A dimension that has one value at each position follows the position; the others name the volume.
    """
    values = [listed(file.facts.get("DimensionIndexValues")) for file in group]
    if len({len(one) for one in values}) > 1 or not values[0]:
        return [list(group)]
    places = [_place_number(file.facts) for file in group]
    named = [
        number
        for number in range(len(values[0]))
        if len({(place, str(one[number])) for place, one in zip(places, values, strict=True)})
        > len(set(places))
    ]
    parts: dict[Hashable, list[SourceFile]] = defaultdict(list)
    for file, one in zip(group, values, strict=True):
        parts[tuple(str(one[number]) for number in named)].append(file)
    return list(parts.values())


def _place_number(facts: Facts) -> object:
    """Return a number that slices at one position share; None where there is no position, or none that is finite."""
    place = distance_along_normal(facts) / POSITION_TOLERANCE_MM
    return round(place) if isfinite(place) else None


def _repeats(group: Sequence[SourceFile]) -> list[list[SourceFile]]:
    """Return the time points of a series that says only how many there are, by the order of its instances.

    The n-th instance of each position, counted by InstanceNumber, is of the n-th time point; only where every
    position has as many as NumberOfTemporalPositions says (PS3.3 C.8.13.5.1).
    """
    if any(_place_number(file.facts) is None for file in group):
        return [list(group)]
    ordered = sorted(group, key=lambda file: _instance_number(file.facts))
    seen: Counter[object] = Counter()
    repeats: dict[int, list[SourceFile]] = defaultdict(list)
    for file in ordered:
        place = _place_number(file.facts)
        repeats[seen[place]].append(file)
        seen[place] += 1
    said = {file.text("NumberOfTemporalPositions") for file in group}
    is_told = said == {str(len(repeats))} and _are_counted_through(list(repeats.values()))
    return list(repeats.values()) if is_told else [list(group)]


def _are_counted_through(parts: Sequence[Sequence[SourceFile]]) -> bool:
    """Whether instances are numbered volume by volume, or position by position: else one number is wrong."""
    if len({len(part) for part in parts}) > 1:
        return False
    by_place = [sorted(part, key=lambda file: distance_along_normal(file.facts)) for part in parts]
    rows = [[_instance_number(file.facts) for file in part] for part in by_place]
    columns = sorted(zip(*rows, strict=True))
    return any(all(max(a) < min(b) for a, b in pairwise(runs)) for runs in (rows, columns))


def _instance_number(facts: Facts) -> int:
    number = facts.get("InstanceNumber")
    return number if isinstance(number, int) else 0


def _parts(group: Sequence[SourceFile], name: Callable[[Facts], Hashable]) -> list[list[SourceFile]]:
    parts: dict[Hashable, list[SourceFile]] = defaultdict(list)
    for file in group:
        parts[name(file.facts)].append(file)
    return list(parts.values())


def _are_alike(parts: Sequence[Sequence[SourceFile]]) -> bool:
    """Whether parts are volumes of one grid: more than one slice each, all at the same distinct positions."""
    if len({len(part) for part in parts}) > 1 or len(parts[0]) < 2 or any(map(_shares_positions, parts)):
        return False
    places = np.array([np.sort([distance_along_normal(file.facts) for file in part]) for part in parts])
    return bool((np.ptp(places, axis=0) < POSITION_TOLERANCE_MM).all())


def _shares_positions(group: Sequence[SourceFile]) -> bool:
    places = np.sort([distance_along_normal(file.facts) for file in group])
    return bool((np.diff(places) < POSITION_TOLERANCE_MM).any())


def _stack(files: Sequence[SourceFile], code: str | None) -> Stack:
    """Return a stack with its slices in the order of the normal; ties in the order of the digests."""
    ordered = sorted(files, key=_by_place)
    first: Mapping[str, object] = ordered[0].facts
    derived: dict[str, object] = {"plane": nearest_plane(first), "slices": len(ordered)}
    steps = np.diff([distance_along_normal(file.facts) for file in ordered])
    if len(steps) and np.isfinite(steps).all():
        derived["slice_step_mm"] = float(np.median(steps))
    return Stack(tuple(ordered), {**first, **derived}, code)


def nearest_plane(facts: Facts) -> str:
    """Return the anatomical plane nearest to a slice: axial, sagittal, coronal; `unknown` without cosines."""
    normal = np.abs(_normal(facts))
    if np.isnan(normal).any():
        return "unknown"
    return ("sagittal", "coronal", "axial")[int(np.argmax(normal))]
