"""What differs between tasks: a task's rules, read strictly."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from pipeline.model.volume import Quantity

RULES_FORMAT = "curate-rules/1"


def _is_regex(text: str) -> str:
    try:
        re.compile(text)
    except re.error as fault:
        raise ValueError(f"wanted a regular expression ({fault})") from fault
    return text


Regex = Annotated[str, AfterValidator(_is_regex)]
Number = int | float

NUMBER_KEYWORDS = (
    "AcquisitionNumber", "Columns", "DiffusionBValue", "EchoNumbers", "EchoTime", "FlipAngle",
    "InversionTime", "KVP", "MagneticFieldStrength", "PixelSpacing", "RepetitionTime", "Rows", "SeriesNumber",
    "SliceThickness", "SpacingBetweenSlices", "slices", "volume",
)  # fmt: skip
"""Header elements that are numbers, in DICOM's own units (mm, ms, degree, T, kV); `slices` are counted; `volume` is
the place, from 0, of a volume in a series or file that holds several."""

TEXT_KEYWORDS = (
    "BodyPartExamined", "ContrastBolusAgent", "ConvolutionKernel", "ImageType", "MRAcquisitionType",
    "Manufacturer", "ManufacturerModelName", "Modality", "PatientPosition", "ProtocolName", "SOPClassUID",
    "ScanningSequence", "SequenceName", "SequenceVariant", "SeriesDescription", "StationName",
    "StudyDescription", "Units", "file", "plane",
)  # fmt: skip
"""Header elements that are text; `plane`, the nearest of `PLANES`, which grouping derives; `file`, the path below
SOURCE of an image that is no longer DICOM."""

FILE_KEYWORDS = ("Columns", "PixelSpacing", "Rows", "file", "plane", "slices", "volume")
"""All that a criterion may ask about an image that is no longer DICOM: its header says no more."""

_FILE_ONLY = {"file"}

SELECT_KEYWORDS = tuple(sorted(NUMBER_KEYWORDS + TEXT_KEYWORDS))
"""All that a criterion may ask about a series."""

EXPECTED_KEYWORDS = (
    *(word for word in NUMBER_KEYWORDS if word != "volume"),
    "slice_step_mm",
    "voxel_size_mm",
)
"""All that may be reported as a range; `slice_step_mm` is the distance from slice to slice, as their positions say;
`voxel_size_mm` holds for every edge of a voxel."""

PLANES = ("axial", "coronal", "sagittal")
"""The anatomical plane that the slices are nearest to; a tilted plane is the nearest of the three."""
CaseId = Annotated[str, Field(pattern=r"^[A-Za-z]+_[0-9]+$")]
TaskName = Annotated[str, Field(pattern=r"^Task[0-9]{2}_[A-Za-z0-9]+$")]


class Rule(BaseModel):
    """Strict and frozen: an unknown key or a value of another type is a fault."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Criterion(Rule):
    """What one header element of a series must be; all parts given must hold, at least one is given.

    Text is compared without regard to case. A missing element meets only `absent`, `not_matches` and
    `has_none`.
    """

    equals: str | Number | None = Field(
        None, description="The value, as text without regard to case, or as a number."
    )
    any_of: tuple[str | Number, ...] | None = Field(None, min_length=1, description="One of these values.")
    matches: Regex | None = Field(
        None, description="A regular expression found in the text, without regard to case."
    )
    not_matches: Regex | None = Field(None, description="A regular expression not found in the text.")
    has_all: tuple[str, ...] | None = Field(
        None, min_length=1, description="Each is one of the values of a multi-valued element."
    )
    has_none: tuple[str, ...] | None = Field(
        None, min_length=1, description="None is one of the values of a multi-valued element."
    )
    min: Number | None = Field(None, description="Smallest number allowed.")
    max: Number | None = Field(None, description="Largest number allowed.")
    absent: bool | None = Field(
        None, description="true: the element is missing or empty; false: it is there."
    )

    @model_validator(mode="after")
    def _says_something(self) -> Criterion:
        given = self.model_dump(exclude_none=True)
        if not given:
            raise ValueError(f"wanted at least one of {', '.join(Criterion.model_fields)}")
        if self.absent and len(given) > 1:
            raise ValueError("wanted absent: true alone, because a missing element has no value")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("wanted min <= max")
        return self


def _are_known(criteria: dict[str, Criterion]) -> dict[str, Criterion]:
    unknown = sorted(set(criteria) - set(SELECT_KEYWORDS))
    if unknown:
        raise ValueError(f"wanted known keywords, not {', '.join(unknown)}")
    return criteria


Criteria = Annotated[
    dict[str, Criterion],
    Field(min_length=1, json_schema_extra={"propertyNames": {"enum": [*SELECT_KEYWORDS]}}),
    AfterValidator(_are_known),
]
"""Keyword -> criterion; a series meets them when it meets each."""


class Envelope(Rule):
    """A range that is reported of such images; outside it the case gets a warning, never a refusal."""

    min: Number
    max: Number

    @model_validator(mode="after")
    def _is_a_range(self) -> Envelope:
        if self.min > self.max:
            raise ValueError("wanted min <= max")
        return self


def _are_percentiles(pair: tuple[Number, Number]) -> tuple[Number, Number]:
    if not 0 <= pair[0] < pair[1] <= 100:
        raise ValueError("wanted 0 <= lower < upper <= 100")
    return pair


def _is_range(pair: tuple[Number, Number]) -> tuple[Number, Number]:
    if pair[0] >= pair[1]:
        raise ValueError("wanted lower < upper")
    return pair


class RobustMinMax(Rule):
    """Map two percentiles linearly onto a range and clip, for intensities without a unit."""

    method: Literal["robust_min_max"]
    percentiles: Annotated[tuple[Number, Number], AfterValidator(_are_percentiles)] = Field(
        description="Lower and upper percentile, in percent."
    )
    over: Literal["all", "nonzero"] = Field(
        description="`nonzero` leaves out voxels that are 0: skull-stripped images."
    )
    range: Annotated[tuple[Number, Number], AfterValidator(_is_range)] = Field(
        (0, 1000), description="What the two percentiles become; what lies outside is clipped to it."
    )


class Keep(Rule):
    """Leave the values as they are: they are quantities."""

    method: Literal["keep"]


class Geometry(Rule):
    """Which slices that make no even, untilted stack are interpolated onto one instead of being refused."""

    tilt: Literal["refuse", "resample"] = Field(
        "refuse", description="Slices sheared against their normal: a tilted gantry."
    )
    spacing: Literal["refuse", "resample"] = Field(
        "refuse", description="Slices that do not follow each other evenly."
    )
    missing: int = Field(
        0,
        ge=0,
        le=20,
        description="As many missing slices are interpolated, linearly; with more it is refused.",
    )
    why: str = Field(min_length=10, description="Why voxels that were not measured are acceptable.")

    @property
    def mends(self) -> frozenset[str]:
        """The codes of the refusals that interpolation takes the place of."""
        asked = {
            "gantry-tilt": self.tilt == "resample",
            "variable-spacing": self.spacing == "resample",
            "missing-slice": self.missing > 0,
        }
        return frozenset(code for code, is_asked in asked.items() if is_asked)

    @model_validator(mode="after")
    def _mends_something(self) -> Geometry:
        if not self.mends:
            raise ValueError(
                "wanted tilt: resample, spacing: resample or missing above 0; without it, leave it out"
            )
        return self


class Padding(Rule):
    """Voxels that were never measured, which PixelPaddingValue marks, take another value (PS3.3 C.7.5.1.1.2)."""

    becomes: Number = Field(description="Their value in the channel's unit, such as -1024 HU.")
    why: str = Field(min_length=10, description="Why the padding is not kept.")


class Outliers(Rule):
    """A few slices whose rescale, sign, bits or SliceLocation differ from all the others' count as they are written."""

    treatment: Literal["keep"]
    why: str = Field(min_length=10, description="Why such a slice is no damaged one.")


class Source(Rule):
    """Images that are no longer DICOM: what they are, and what of their paths names the subject."""

    format: Literal["nifti", "nrrd", "mha"] = Field(description="What the images are; masks may be any.")
    subject: Regex | None = Field(
        None,
        description="Found in the path below SOURCE of images and masks; its groups are the subject. "
        "None: the folder in which an image lies is.",
    )

    @model_validator(mode="after")
    def _names_a_subject(self) -> Source:
        if self.subject is not None and re.compile(self.subject).groups == 0:
            raise ValueError("wanted a group, in round brackets, around what names the subject")
        return self


class BurnedIn(Rule):
    """Lettering that is found in the pixels is covered instead of refusing the case."""

    treatment: Literal["mask"]
    why: str = Field(min_length=10, description="Why the covered places hold nothing that is needed.")


class Registration(Rule):
    """A channel is moved rigidly onto the first one before it is interpolated."""

    when: Literal["other_frame", "always"] = Field(
        "other_frame",
        description="`other_frame`: only where the frames of reference differ; `always`: whatever the headers say.",
    )
    why: str = Field(min_length=10, description="Why the headers' millimetres do not suffice.")


class Face(Rule):
    """What is done where a head may show its face."""

    treatment: Literal["removed upstream", "deface", "keep"]
    why: str = Field(min_length=10, description="Why that is right for the images of this task.")


class Channel(Rule):
    """One image of a case: which series it is, what its numbers mean, how they are scaled."""

    name: str = Field(min_length=1, description="As published in dataset.json's `modality`.")
    quantity: Quantity
    select: Criteria = Field(description="DICOM keyword (or plane, slices) -> criterion; all must be met.")
    scale: Annotated[RobustMinMax | Keep, Field(discriminator="method")]
    values: Literal["rescale", "rwvm"] | None = Field(
        None, description="`rwvm`: the Real World Value Mapping makes the values; None: the rescale."
    )
    geometry: Geometry | None = Field(
        None, description="What is interpolated onto an even, untilted grid; None: nothing, it is refused."
    )
    padding: Padding | None = Field(
        None, description="What voxels marked by PixelPaddingValue become; None: they keep their value."
    )
    outliers: Outliers | None = Field(
        None,
        description="Take a slice that says otherwise than all the others how its values are made; None: it is "
        "refused unless its voxels bear it out.",
    )
    window: Annotated[tuple[Number, Number], AfterValidator(_is_range)] | None = Field(
        None,
        description="Values that reviewers see as black and white; None: soft tissue in CT, else the channel's own.",
    )
    registration: Registration | None = Field(
        None, description="Move the channel rigidly onto the first one; None: another frame is refused."
    )
    expected: dict[str, Envelope] = Field(
        default_factory=dict,
        description="DICOM keyword, voxel_size_mm, slice_step_mm or slices -> range reported of such images.",
        json_schema_extra={"propertyNames": {"enum": [*sorted(EXPECTED_KEYWORDS)]}},
    )

    @model_validator(mode="after")
    def _scales_what_may_be_scaled(self) -> Channel:
        if self.quantity.is_quantitative and self.scale.method != "keep":
            raise ValueError("wanted scale: {method: keep}, because the channel is quantitative")
        if not self.quantity.is_quantitative and self.scale.method == "keep":
            raise ValueError("wanted scale: {method: robust_min_max, ...}, because the unit is arbitrary")
        return self


class LabelClass(Rule):
    """One class of the label: its value and the names that experts gave it."""

    value: int = Field(ge=1, le=65535)
    name: str = Field(min_length=1, description="As published in dataset.json's `labels`.")
    from_names: tuple[Regex, ...] = Field(
        description="Regular expressions of whole ROI names and segment labels, without regard to case."
    )
    from_codes: tuple[str, ...] = Field(
        (), description="Segment type codes, `SCHEME:VALUE`, such as SCT:10200004."
    )
    from_values: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = Field(
        (), description="Values of a mask file; empty: the class's own value."
    )
    required: bool = Field(
        True, description="Whether every labelled case must hold at least one voxel of it."
    )


def mask_values(classes: tuple[LabelClass, ...]) -> list[int]:
    """Return the values of a mask file that the classes claim, class by class."""
    return [value for c in classes for value in (c.from_values or (c.value,))]


class Resample(Rule):
    """A mask on another grid than the image's is brought onto it, each voxel the nearest one's, not refused."""

    why: str = Field(
        min_length=10, description="Why the drawing lies on another grid, and why its change is acceptable."
    )


class Label(Rule):
    """How the expert's drawing becomes the label."""

    channel: str | None = Field(None, description="Channel on which it was drawn; None: the first one.")
    file: Regex | None = Field(
        None, description="Found in the path below SOURCE of a mask that is a label; None: any may be one."
    )
    classes: tuple[LabelClass, ...] = Field(min_length=1)
    ignore: tuple[Regex, ...] = Field((), description="ROI and segment names to leave out.")
    threshold: Number | None = Field(
        None,
        gt=0,
        le=1,
        description="Fraction from which a voxel of a FRACTIONAL segmentation counts; None: only 0 and 1 are taken.",
    )
    precedence: tuple[str, ...] = Field((), description="Class names, strongest first, where masks overlap.")
    resample: Resample | None = Field(
        None, description="Take masks on another grid, by the nearest voxel; None: they are refused."
    )

    @model_validator(mode="after")
    def _is_consistent(self) -> Label:
        values, names = [c.value for c in self.classes], [c.name for c in self.classes]
        if values != list(range(1, len(values) + 1)):
            raise ValueError("wanted class values 1, 2, ... in order")
        if len(set(names)) != len(names) or "background" in names:
            raise ValueError("wanted class names that differ from each other and from background")
        if len(set(taken := mask_values(self.classes))) != len(taken):
            raise ValueError("wanted each mask value in one class")
        if set(self.precedence) - set(names):
            raise ValueError("wanted precedence to name classes of the label")
        return self


class Atlas(Rule):
    """A reference image that the first channel is moved onto; its grid becomes that of the case."""

    file: str = Field(
        min_length=3, description="NIfTI, NRRD or MetaImage: a path beside the rules, or a full one."
    )
    why: str = Field(min_length=10, description="Why the images of the task lie in another's frame.")


class BrainMask(Rule):
    """A mask given by the curator, outside of which every channel becomes 0."""

    file: Regex = Field(description="Found in the mask's path below SOURCE; such a file is no label.")
    channel: str | None = Field(None, description="Channel whose grid it lies on; None: the first one.")
    resample: Resample | None = Field(
        None, description="Take a mask on another grid, by the nearest voxel; None: it is refused."
    )


class HalfTurn(Rule):
    """A turn by 180 degrees in the axial plane of one case whose header is wrong: voxels turn, affine stays.

    It is done only when the case's reference series meets `where`, so that evidence gathered on one source
    never turns the voxels of another.
    """

    case: CaseId
    where: Criteria = Field(description="What the turned series' header must say.")
    why: str = Field(min_length=10)
    evidence: str = Field(
        min_length=3, description="Path below manifests/ or beside the rules file, or a reference."
    )


class Strata(Rule):
    """What training and test are to hold in like shares: a header element, or a column of the case table."""

    keyword: str | None = Field(
        None,
        description="Header element of the first channel, such as Manufacturer.",
        json_schema_extra={"enum": [*SELECT_KEYWORDS, None]},
    )
    table_column: str | None = Field(
        None,
        min_length=1,
        description="Column of the case table; its lines may then leave `subset` empty.",
    )

    @model_validator(mode="after")
    def _is_one(self) -> Strata:
        if (self.keyword is None) is (self.table_column is None):
            raise ValueError("wanted either keyword or table_column")
        if self.keyword is not None and self.keyword not in SELECT_KEYWORDS:
            raise ValueError("wanted a keyword that the index keeps")
        return self


class Split(Rule):
    """How subjects are dealt to training and test when no table says so."""

    training: int = Field(ge=0, description="Share of training, as a count.")
    test: int = Field(ge=0, description="Share of test, as a count.")
    seed: int = 0
    strata: Strata | None = Field(
        None, description="Deal within groups of subjects that are alike in this; None: all together."
    )


class Cases(Rule):
    """How cases are called and dealt."""

    id: str = Field(
        pattern=r"^[A-Za-z]+_\{:(0[1-9])?d\}$", description="Such as BRATS_{:03d}; no other underscore."
    )
    published: str | None = Field(
        None, description="File under splits/ that lists the published training and test ids."
    )
    split: Split


class Header(Rule):
    """The fixed texts of dataset.json; counts are counted, never typed."""

    name: str
    description: str
    reference: str
    licence: str
    release: str
    quantitative: bool = Field(
        False, description="Whether dataset.json carries `quantitative`, one flag per channel."
    )


class About(Rule):
    """What a methods section says of the task; nothing here changes a voxel."""

    sources: str = Field(description="Where the images came from.")
    labels: str = Field(description="How and by whom the labels were drawn.")
    notes: tuple[str, ...] = ()


class TaskRules(Rule):
    """All that makes one task's release differ from another's."""

    format: Literal["curate-rules/1"]
    task: TaskName
    header: Header
    cases: Cases
    channels: tuple[Channel, ...] = Field(
        min_length=1, description="In published order; the first is the reference grid."
    )
    label: Label
    source: Source | None = Field(None, description="Images that are no longer DICOM; None: they are DICOM.")
    atlas: Atlas | None = Field(
        None, description="What the case is moved onto; None: it stays in its own frame."
    )
    brain_mask: BrainMask | None = Field(
        None, description="Mask outside of which is 0; None: nothing is masked."
    )
    half_turns: tuple[HalfTurn, ...] = ()
    burned_in: BurnedIn | None = Field(
        None, description="What is done where text is found in the pixels; None: the case is refused."
    )
    face: Face | None = Field(
        None, description="What is done where a head may show its face; None: the case is refused."
    )
    about: About

    @model_validator(mode="after")
    def _moves_what_may_be_moved(self) -> TaskRules:
        first, *others = self.channels
        drawn_on = next((c for c in others if c.name == self.label.channel), first)
        if first.registration is not None:
            raise ValueError("wanted no registration of the first channel: the others are moved onto it")
        if self.source is not None and any(
            c.registration and c.registration.when != "always" for c in others
        ):
            raise ValueError(
                "wanted registration with when: always, because files name no frame of reference"
            )
        if (self.atlas or drawn_on.registration) and self.label.resample is None:
            raise ValueError(
                "wanted label.resample, because the label moves with the channel it was drawn on"
            )
        return self

    @model_validator(mode="after")
    def _masks_what_may_be_masked(self) -> TaskRules:
        mask = self.brain_mask
        if mask is not None and any(c.quantity.is_quantitative for c in self.channels):
            raise ValueError("wanted brain_mask with arbitrary units only: in a quantity 0 is a value")
        if mask is not None and mask.channel not in (None, *(c.name for c in self.channels)):
            raise ValueError("wanted brain_mask.channel to name a channel")
        return self

    @model_validator(mode="after")
    def _asks_what_can_be_known(self) -> TaskRules:
        asked = {keyword for channel in self.channels for keyword in channel.select}
        if self.source is None and asked & _FILE_ONLY:
            raise ValueError("wanted file only with source: it is not asked of DICOM")
        if self.source is not None and asked - set(FILE_KEYWORDS):
            raise ValueError(f"wanted only {', '.join(FILE_KEYWORDS)} of files that are no longer DICOM")
        if self.source is not None and any(
            c.values or c.geometry or c.padding or c.outliers for c in self.channels
        ):
            raise ValueError(
                "wanted no values, no geometry, no padding and no outliers of files that are no longer DICOM"
            )
        return self

    @model_validator(mode="after")
    def _is_consistent(self) -> TaskRules:
        names = [channel.name for channel in self.channels]
        if len(set(names)) != len(names):
            raise ValueError("wanted a name of its own for each channel")
        if self.label.channel is not None and self.label.channel not in names:
            raise ValueError("wanted label.channel to name a channel")
        if len({turn.case for turn in self.half_turns}) != len(self.half_turns):
            raise ValueError("wanted each case once in half_turns")
        return self


class PublishedSplit(Rule):
    """The case ids of a published task, in published order."""

    task: TaskName
    source: str
    training: tuple[CaseId, ...]
    test: tuple[CaseId, ...]
