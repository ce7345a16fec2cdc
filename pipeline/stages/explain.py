"""Say in words what a task's rules do, one paragraph a room, as a methods section would."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pipeline.model.rules import (
    BurnedIn,
    Channel,
    Criterion,
    Face,
    Geometry,
    HalfTurn,
    Label,
    LabelClass,
    PublishedSplit,
    RobustMinMax,
    TaskRules,
)
from pipeline.model.volume import Quantity

WIDTH = 100
"""Characters a line."""

_UNITS: Mapping[Quantity, str] = {
    Quantity.HOUNSFIELD: "CT in Hounsfield units",
    Quantity.ADC: "apparent diffusion coefficient, in the unit of its DICOM rescale",
    Quantity.ACTIVITY: "PET activity in Bq/ml",
    Quantity.SUV: "PET, standardised uptake value by body weight in g/ml",
    Quantity.OTHER_QUANTITATIVE: "a measured quantity, in the unit of its DICOM rescale",
    Quantity.ARBITRARY: "arbitrary units",
}


def explain(rules: TaskRules, published: PublishedSplit | None = None) -> str:
    """Return the task's methods section as plain text, the same text for the same rules.

    Parameters
    ----------
    rules
        The task.
    published
        The ids of the published task, for its counts; None for a task of a curator's own.
    """
    paragraphs = [
        ("Sources", f"{rules.about.sources} {rules.about.labels}"),
        ("Selection (ingest, match)", _selection(rules.channels) if rules.source is None else _files(rules)),
        ("De-identification (deidentify)", _DEIDENTIFICATION if rules.source is None else _SCRUBBING),
        ("Burned-in text (screen)", _burned_in(rules.burned_in)),
        ("Conversion (convert)", _conversion(rules.channels) if rules.source is None else _ACCEPTANCE),
        ("Orientation (orient)", _ORIENTATION),
        ("Alignment (register, align, strip)", _alignment(rules)),
        ("Half turns (fix)", _half_turns(rules.half_turns)),
        ("Faces (face)", _faces(rules.face)),
        ("Scaling (scale)", _scaling(rules.channels)),
        ("Label (rasterise, label)", _label(rules.label, rules.channels)),
        ("Check (check)", _check(rules.channels)),
        ("Split (split)", _split(rules, published)),
        ("Package (package)", _package(rules)),
    ]
    head = f"{rules.task}: {rules.header.description}"
    lines = [head, "=" * len(head), ""]
    for title, text in paragraphs:
        first, *points = text.split("\n")
        lines += [
            *_wrapped(f"{title}. {first}", ""),
            *(line for point in points for line in _wrapped(point, "- ")),
            "",
        ]
    if rules.about.notes:
        lines += ["Notes.", *(line for note in rules.about.notes for line in _wrapped(note, "- "))]
    return "\n".join(lines).rstrip() + "\n"


def _wrapped(text: str, bullet: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=bullet,
        subsequent_indent=" " * len(bullet),
        break_on_hyphens=False,
        break_long_words=False,
    )


_DEIDENTIFICATION = (
    "Of every header only elements on an allow-list by purpose pass; identifiers become pseudonyms under the "
    "workspace's key, dates shift by one amount per subject. What conversion needs stays."
)

_SCRUBBING = (
    "Of every file voxels and place are read; no text of its header comes through, and how many there were is "
    "counted. Subjects become pseudonyms under the workspace's key."
)

_ACCEPTANCE = (
    "The files place their voxels themselves; one whose qform and sform disagree, whose axes are not at right angles, "
    "or that says no place is refused. Values are as stored, and what they measure is by rule."
)


_FACES: Mapping[str, str] = {
    "removed upstream": "Faces were taken away before; a head whose voxels still show one is refused.",
    "deface": "A head template is registered to the image, and what its face mask covers takes the smallest value.",
    "keep": "Heads keep their faces.",
}


def _faces(rule: Face | None) -> str:
    return (
        "A head that may show its face is refused."
        if rule is None
        else f"{_FACES[rule.treatment]} {rule.why}"
    )


def _burned_in(rule: BurnedIn | None) -> str:
    text = (
        "The pixels of each series are searched for lettering, in what does not change along the stack, unless the "
        "workspace says why not; the manifest tells. "
    )
    if rule is None:
        return text + "A case with lettering is refused."
    return text + f"Lettering is covered with the image's smallest value and counted. {rule.why}"


_ORIENTATION = (
    "Axes are permuted and reversed, never resampled, so that the voxels' i, j and k run as closely as possible "
    "towards right, anterior and superior; every voxel keeps its millimetre."
)


def _selection(channels: Sequence[Channel]) -> str:
    count = "one volume" if len(channels) == 1 else f"{len(channels)} volumes of one study"
    lines = [
        f"A case is {count}. Localizers, screen captures and reports are set aside before. Each channel is the one "
        "series whose header meets all that stands here, without regard to case; when none does, or more than one, "
        "the case is refused until a case table names the series. Patterns are shown without their word limits.",
        *(_channel(number, channel) for number, channel in enumerate(channels)),
    ]
    return "\n".join(lines)


_FORMATS: Mapping[str, str] = {"nifti": "NIfTI", "nrrd": "NRRD", "mha": "MetaImage"}


def _files(rules: TaskRules) -> str:
    """Return how images that are no longer DICOM are chosen."""
    source = rules.source
    subject = "the folder in which its images lie"
    if source is not None and source.subject is not None:
        subject = f"what `{source.subject}` finds in the path"
    form = _FORMATS[source.format] if source is not None else ""
    lines = [
        f"The images are no longer DICOM: they are {form} files. A case is of one subject, which is {subject}, under "
        "the workspace's key. Each channel is the one volume that meets all that stands here, without regard to "
        "case; when none does, or more than one, the case is refused until a case table names the file.",
        *(_channel(number, channel) for number, channel in enumerate(rules.channels)),
    ]
    return "\n".join(lines)


def _channel(number: int, channel: Channel) -> str:
    parts = "; ".join(
        f"{_DERIVED.get(keyword, keyword)} {_criterion(criterion)}"
        for keyword, criterion in channel.select.items()
    )
    expected = [_measure(keyword, _range(e.min, e.max)) for keyword, e in channel.expected.items()]
    reported = f" Expected is {_listed(expected)}; a case outside of it gets a warning." if expected else ""
    return f"Channel {number}, `{channel.name}` ({_UNITS[channel.quantity]}): {parts}.{reported}"


_DERIVED: Mapping[str, str] = {
    "plane": "the slices' plane",
    "slices": "the number of slices",
    "file": "the path of the file",
    "volume": "the volume's place in its series or file, from 0,",
}
"""What no header element says, in words."""

_MEASURES: Mapping[str, tuple[str, str]] = {
    "slice_step_mm": ("a step from slice to slice", " mm"),
    "voxel_size_mm": ("voxel edges", " mm"),
    "SliceThickness": ("a slice thickness", " mm"),
    "SpacingBetweenSlices": ("a slice spacing", " mm"),
    "PixelSpacing": ("a pixel spacing", " mm"),
    "KVP": ("a tube voltage", " kV"),
    "MagneticFieldStrength": ("a field strength", " T"),
    "EchoTime": ("an echo time", " ms"),
    "RepetitionTime": ("a repetition time", " ms"),
    "InversionTime": ("an inversion time", " ms"),
    "FlipAngle": ("a flip angle", " degrees"),
    "slices": ("a number of slices", ""),
}
"""Keyword -> how a methods section says it, and its unit."""


def _measure(keyword: str, numbers: str) -> str:
    words, unit = _MEASURES.get(keyword, (keyword, ""))
    return f"{words} of {numbers}{unit}"


def _range(low: float, high: float) -> str:
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _criterion(criterion: Criterion) -> str:
    """Return a criterion in words, to stand after a keyword."""
    texts: Mapping[str, Callable[[Any], str]] = {
        "equals": lambda value: f"is {value}",
        "any_of": lambda values: f"is {_listed(map(str, values), 'or')}",
        "matches": lambda pattern: f"contains {_terms(pattern)}",
        "not_matches": lambda pattern: f"does not contain {_terms(pattern)}",
        "has_all": lambda values: f"has the values {_listed(values)}",
        "has_none": lambda values: f"has none of the values {_listed(values)}",
        "min": lambda value: f"is at least {value:g}",
        "max": lambda value: f"is at most {value:g}",
        "absent": lambda value: "is missing" if value else "is there",
    }
    return _listed(texts[part](value) for part, value in criterion.model_dump(exclude_none=True).items())


def _terms(pattern: str) -> str:
    return _listed((f"`{_bare(term)}`" for term in alternatives(pattern)), "or")


def _bare(term: str) -> str:
    """Return a pattern without the limits that make it a word."""
    return term.removeprefix("(?<![a-z])").removesuffix("(?![a-z])")


def alternatives(pattern: str) -> list[str]:
    """Split a regular expression at those `|` that lie outside of groups and classes."""
    terms, start, depth = [], 0, 0
    is_class = False
    for token in re.finditer(r"\\.|.", pattern, re.DOTALL):
        if is_class:
            is_class = token[0] != "]"
        elif token[0] == "[":
            is_class = True
        elif token[0] in "()":
            depth += 1 if token[0] == "(" else -1
        elif token[0] == "|" and depth == 0:
            terms.append(pattern[start : token.start()])
            start = token.end()
    return [*terms, pattern[start:]]


def _listed(texts: Iterable[str], word: str = "and") -> str:
    items = list(texts)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {word} {items[-1]}"


def _conversion(channels: Sequence[Channel]) -> str:
    kept = [channel.name for channel in channels if channel.quantity.is_quantitative]
    text = (
        "Slices are ordered by their position along the normal; the affine follows from positions, orientation and "
        "pixel spacing alone. Stored values become real ones by each slice's own rescale. A gap, a doubled position, "
        "uneven spacing or a tilted gantry is refused."
    )
    mended = "".join(f" {_geometry(c.name, c.geometry)}" for c in channels if c.geometry is not None)
    mapped = [f"`{channel.name}`" for channel in channels if channel.values == "rwvm"]
    mended += "".join(
        f" In `{c.name}`, voxels marked as padding become {c.padding.becomes}. Why: {c.padding.why.strip()}"
        for c in channels if c.padding is not None
    )  # fmt: skip
    mended += "".join(
        f" In `{c.name}`, a slice whose rescale or bits differ from all the others' counts as it is written. "
        f"Why: {c.outliers.why.strip()}"
        for c in channels if c.outliers is not None
    )  # fmt: skip
    mended += f" In {_listed(mapped)} the Real World Value Mapping makes the values." if mapped else ""
    return text + (f" Values of {_listed(kept)} stay quantities." if kept else "") + mended


def _geometry(name: str, rule: Geometry) -> str:
    """Return what is interpolated in a channel instead of being refused."""
    asked = {
        "slices of a tilted gantry": rule.tilt == "resample",
        "unevenly spaced slices": rule.spacing == "resample",
        f"at most {rule.missing} missing slices": rule.missing > 0,
    }
    what = _listed(text for text, is_asked in asked.items() if is_asked)
    return f"But in `{name}`, {what} are interpolated linearly onto an even grid. Why: {rule.why.strip()}"


def _alignment(rules: TaskRules) -> str:
    first, *others = [f"`{channel.name}`" for channel in rules.channels]
    text = "There is one channel; nothing is resampled." if not others and rules.atlas is None else ""
    if others:
        text = (
            f"{first} is the reference grid. {_listed(others)} {'is' if len(others) == 1 else 'are'} brought onto it "
            "by linear interpolation where the grid differs, and left untouched where it does not."
        )
    return " ".join([text, *_moves(rules)]).strip()


def _moves(rules: TaskRules) -> Iterator[str]:
    """Yield what is registered and masked."""
    for channel in rules.channels:
        if channel.registration is not None:
            rule = channel.registration
            when = "always" if rule.when == "always" else "where its frame of reference is another"
            yield (
                f"`{channel.name}` is first moved rigidly onto `{rules.channels[0].name}`, {when}, by mutual "
                f"information; a move that ends worse than it began is refused. Why: {rule.why.strip()}"
            )
    if rules.atlas is not None:
        yield (
            f"`{rules.channels[0].name}` is moved rigidly onto the atlas {rules.atlas.file}, and all others and the "
            f"label with it; the atlas' grid is the case's. Why: {rules.atlas.why.strip()}"
        )
    if rules.brain_mask is not None:
        yield "Outside of the brain mask that the curator gave every channel is 0."


def _half_turns(turns: Sequence[HalfTurn]) -> str:
    if not turns:
        return "No case is turned."
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for turn in turns:
        where = _listed(f"{keyword} {_criterion(criterion)}" for keyword, criterion in turn.where.items())
        reasons.setdefault((where, turn.why.strip(), turn.evidence), []).append(turn.case)
    texts = [
        f"{_listed(cases)}, where {where}. Why: {why} Evidence: {evidence}."
        for (where, why, evidence), cases in reasons.items()
    ]
    return (
        "The voxels of image and label are turned by 180 degrees in the axial plane and the affine stays, in "
        + " ".join(texts)
    )


def _scaling(channels: Sequence[Channel]) -> str:
    ways: dict[str, list[str]] = {}
    for channel in channels:
        ways.setdefault(_scale(channel), []).append(f"`{channel.name}`")
    return " ".join(f"{_listed(names)}: {way}" for way, names in ways.items())


def _scale(channel: Channel) -> str:
    rule = channel.scale
    if not isinstance(rule, RobustMinMax):
        return "quantitative, and left as it is."
    over = "all voxels" if rule.over == "all" else "the voxels that are not 0"
    low, high = rule.percentiles
    return (
        f"percentiles {low:g} and {high:g} of {over} become {rule.range[0]:g} and {rule.range[1]:g}, linearly; "
        "what lies outside is clipped."
    )


def _label(label: Label, channels: Sequence[Channel]) -> str:
    drawn_on = label.channel or channels[0].name
    if label.precedence:
        overlaps = f"Where drawings overlap, the first of {_listed(label.precedence)} wins. "
    else:
        overlaps = "Drawings that overlap are refused. " if len(label.classes) > 1 else ""
    ignored = f"Drawings called {_terms('|'.join(label.ignore))} are left out. " if label.ignore else ""
    lines = [
        f"The expert drew on `{drawn_on}`: a mask file, a DICOM SEG or an RTSTRUCT, whose contours are filled "
        "even-odd at the voxels' centres of the slice that they lie on, or lie nearer to than half a slice distance. "
        "The label is brought onto the image's grid by permuting and reversing axes only. "
        f"{_resampling(label)}{overlaps}{_fraction(label)}{ignored}A name or value that is not declared "
        "is refused. 0 is background.",
        *(_class(klass) for klass in label.classes),
    ]
    return "\n".join(lines)


def _resampling(label: Label) -> str:
    if label.resample is None:
        return "A drawing on another grid is refused. "
    return (
        "A mask on another grid is resampled by the nearest voxel, and the change of each class's volume is recorded: "
        f"{label.resample.why.strip().rstrip('.')}. "
    )


def _fraction(label: Label) -> str:
    if label.threshold is None:
        return "A FRACTIONAL segmentation is refused unless it knows nothing between 0 and its maximum. "
    return f"Of a FRACTIONAL segmentation a voxel counts from {label.threshold:g} of the maximum on. "


def _class(klass: LabelClass) -> str:
    values = _listed(map(str, klass.from_values or (klass.value,)), "or")
    sources = [f"value {values} of a mask"]
    if klass.from_codes:
        sources.append(f"segments coded {_listed(klass.from_codes, 'or')}")
    if klass.from_names:
        sources.append(f"drawings called {_listed((f'`{name}`' for name in klass.from_names), 'or')}")
    need = "every label holds it" if klass.required else "it may be missing"
    return f"{klass.value} is {klass.name}; {need}. From {_listed(sources)}."


def _check(channels: Sequence[Channel]) -> str:
    ranged = [c.name for c in channels if not c.quantity.is_quantitative]
    text = "All grids must be one and RAS+, values finite and not constant, label values declared"
    return f"{text}, {_listed(ranged)} within the range of the scaling." if ranged else f"{text}."


def _split(rules: TaskRules, published: PublishedSplit | None) -> str:
    split = rules.cases.split
    share = f"{split.training} to {split.test}"
    if split.strata is not None:
        share += f", in like shares of each {split.strata.keyword or split.strata.table_column}"
    fixed = "A case table fixes id and subset; all cases of a subject lie in one subset."
    if published is None:
        return f"Ids are like {rules.cases.id}. {fixed} Other subjects are dealt by a keyed shuffle, {share}."
    return (
        f"Ids and subsets are those of the published task: {len(published.training)} for training and "
        f"{len(published.test)} for test ({published.source}). {fixed} Subjects that no table names are dealt to "
        f"these ids by a keyed shuffle, {share}; a release says which ids it lacks."
    )


def _package(rules: TaskRules) -> str:
    size = "4D" if len(rules.channels) > 1 else "3D"
    names = ", ".join(f"{number}: {channel.name}" for number, channel in enumerate(rules.channels))
    return (
        f"{rules.task}.tar holds dataset.json ({rules.header.name}; release {rules.header.release}; licence "
        f"{rules.header.licence}; {size}; modality {names}), imagesTr, labelsTr and imagesTs. Labels of test cases "
        "are withheld."
    )
