"""Make one subject of the phantom: every file that the hospital sends, and the truth about them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from pipeline.demo import anatomy, labels
from pipeline.demo.answers import Truth
from pipeline.demo.cases import MASK_KINDS, ChannelPlan, TaskPlan
from pipeline.demo.extras import extras_of
from pipeline.demo.geometry import LPS_TO_RAS, Acquisition, Triple, centred, cosines, half_turn
from pipeline.demo.header import Study
from pipeline.demo.objects import Series, encode, shuffled, slices
from pipeline.demo.placing import Placing, Sent
from pipeline.demo.protocols import image_type, parameters, series_description
from pipeline.demo.sites import SITES, Site, patient

Values = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class CasePlan:
    """One subject: which task, number (from 0), published case and subset if a table says so."""

    task: TaskPlan
    index: int
    seed: int
    case: str | None
    subset: str | None
    is_turned: bool

    @property
    def words(self) -> tuple[str | int, ...]:
        """What every chance and UID of the subject depends on."""
        return (self.seed, self.task.task, self.index)

    @property
    def number(self) -> int:
        """Number of the task."""
        return int(self.task.task[4:6])

    @property
    def site(self) -> Site:
        """The hospital that sends the subject; a task's first four subjects come from four of them."""
        return SITES[(self.index + 3 * self.number) % len(SITES)]

    @property
    def plane(self) -> str:
        """Plane of the reference channel."""
        return self.task.planes[self.index % len(self.task.planes)]

    @property
    def position(self) -> str:
        """Patient position: every third subject lies feet first."""
        return "FFS" if (self.index + self.number) % 3 == 2 else "HFS"

    @property
    def label_kind(self) -> str:
        """How the label is kept, `none` for a subject that nobody labelled."""
        return self.task.labels[self.index % len(self.task.labels)]


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """All that one subject brings: files by path below the task's folder, truth, table row, planted texts."""

    files: dict[str, bytes]
    truth: Truth
    row: dict[str, str]
    strings: frozenset[str]


def build(plan: CasePlan) -> Subject:
    """Return the files and the truth of one subject."""
    site, task = plan.site, plan.task
    study = Study(
        patient(site, seed=plan.words), site, task.modality, task.region, plan.words, plan.is_turned
    )
    placing = Placing(study, plan.index)
    body = anatomy.grow(task.organs, reference_acquisition(plan).grid, seed=plan.words)
    true = {channel.name: _true_values(plan, body, channel) for channel in task.channels}
    series = [_series(plan, channel, n, true[channel.name]) for n, channel in enumerate(task.channels)]
    images = [slices(study, one) for one in series]
    sent = Sent({}, [])
    for number, datasets in enumerate(images):
        handed = shuffled(datasets, anatomy.chance("files", number, *plan.words))
        sent += Sent(placing.series(handed, number + 2), handed)
    label = _true_label(plan, body)
    drawn = Sent({}, []) if label is None else _drawn(plan, label, study, images[0], placing)
    sent += (
        drawn + extras_of(study, plan.index, series[0], placing) + _rivals(plan, study, series[0], placing)
    )
    truth = _truth(plan, study, true, series, label, placing.delivered(drawn.files))
    strings = study.identity.strings() | placing.strings() | _planted(sent.datasets)
    return Subject(placing.packed(sent.files), truth, _row(plan, study, truth), strings)


def _rivals(plan: CasePlan, study: Study, reference: Series, placing: Placing) -> Sent:
    """Return series that rules cannot tell from the right one; the case table says which is meant."""
    noise = anatomy.chance("rival", *plan.words).integers(-40, 40, reference.stored.shape)
    lowest = -2048 if reference.is_signed else 0
    stored = np.clip(reference.stored + noise, lowest, 4095).astype(np.int32)
    if _has_repeat(plan):
        rival, number = replace(reference, name="repeat", number=40, stored=stored), 40
    elif _has_prior(plan):
        who = study.identity
        before = replace(who, study_date=f"{int(who.study_date) - 10000}", accession=f"{who.accession}P")
        study = replace(study, identity=before, words=(*plan.words, "prior"))
        rival, number = replace(reference, stored=stored), 52
    else:
        return Sent({}, [])
    datasets = slices(study, rival)
    return Sent(placing.series(datasets, number), datasets)


def _has_repeat(plan: CasePlan) -> bool:
    """Whether the T2 was measured twice, because the patient moved: some subjects of Task05."""
    return plan.task.task == "Task05_Prostate" and plan.index % 4 == 2


def _has_prior(plan: CasePlan) -> bool:
    """Whether an earlier examination came along: some subjects of Task09."""
    return plan.task.task == "Task09_Spleen" and plan.index % 4 == 1


def _row(plan: CasePlan, study: Study, truth: Truth) -> dict[str, str]:
    """Return the subject's line of the case table, empty cells where the rules can tell by themselves."""
    is_file = truth.label is not None and plan.label_kind in MASK_KINDS
    return {
        "task": plan.task.task,
        "case": plan.case or "",
        "subject": study.identity.patient_id,
        "subset": plan.subset or "",
        "study": study.study_uid if _has_prior(plan) else "",
        **{c.name: "" for c in plan.task.channels[1:]},
        plan.task.channels[0].name: study.series_uid(plan.task.channels[0].name) if _has_repeat(plan) else "",
        "label": truth.label_source if is_file else "",
    }


def reference_acquisition(plan: CasePlan) -> Acquisition:
    """Return where the reference channel's slices lie."""
    n, i = plan.number, plan.index
    shape = (30 + (3 * n + 5 * i) % 10, 24 + (2 * n + 3 * i) % 6, 14 + (n + 2 * i) % 6)
    spacing = _SPACINGS[(n + i) % len(_SPACINGS)]
    if plan.task.modality == "CT":
        # Task06's slices are thin, as its rules expect.
        spacing = (spacing[0], spacing[1], 1.25 if n == 6 else (2.5, 5.0, 3.1)[i % 3])
    return _acquisition(plan, plan.plane, shape, spacing)


_SPACINGS: tuple[Triple, ...] = (
    (0.8, 0.9, 2.9),
    (0.75, 0.7, 2.2),
    (0.9, 0.8, 4.1),
    (1.1, 0.95, 2.3),
    (0.85, 1.05, 3.7),
)
"""Distance between columns, rows and slices in mm.

No slice distance times n / (n - 1) is a round number too, for the 14 to 19 slices there are: a release whose
spacing was miscounted can be told from a right one.
"""

_TILTS = {"oblique": (17.0, -11.0), "axial-tilted": (9.0, 6.0)}
"""Degrees about the left-right and the head-foot axis."""


def _acquisition(plan: CasePlan, plane: str, shape: tuple[int, int, int], spacing: Triple) -> Acquisition:
    base = "axial" if plane in _TILTS else plane
    centre = (12.5 - 7 * plan.index, -31.25 + 3 * plan.number, 120.75 + 11 * plan.index)
    return centred(
        shape,
        cosines(base, plan.position, _TILTS.get(plane, (0.0, 0.0))),
        spacing_mm=spacing,
        centre=centre,
        position=plan.position,
    )


def channel_acquisition(plan: CasePlan, channel: ChannelPlan) -> Acquisition:
    """Return where a channel's slices lie: the ADC map has larger voxels and a field that holds the T2's."""
    reference = reference_acquisition(plan)
    if channel.protocol != "adc":
        return reference
    spacing = ((1.6, 1.8, 2.0)[plan.index % 3], 1.7, 4.4)
    along_row, along_column = cosines("axial", plan.position)
    directions = np.array([along_row, along_column, np.cross(along_row, along_column)])
    extents = (
        np.abs(directions @ (reference.affine[:3, :3] * LPS_TO_RAS.diagonal()[:3, None])) @ reference.shape
    )
    held: list[int] = []
    for extent, step in zip(extents, spacing, strict=True):
        # Two voxels more than it takes, and no axis as long as another.
        needed = int(np.ceil(extent / step)) + 2
        while needed in held:
            needed += 1
        held.append(needed)
    return _acquisition(plan, "axial", (held[0], held[1], held[2]), spacing)


def _true_values(plan: CasePlan, body: anatomy.Body, channel: ChannelPlan) -> Values:
    grid = channel_acquisition(plan, channel).grid
    draw = anatomy.paint if plan.task.modality == "CT" else anatomy.glow
    values = draw(
        body, grid, values=channel.values, marker=plan.task.marker, seed=(*plan.words, channel.name)
    )
    if channel.protocol == "adc":
        # A site that stores steps of 2 measures in steps of 2.
        step = max(1, int(float(_adc_rescale(plan)[0])))
        return (values // step * step).astype(np.int32)
    return _padded(values) if plan.task.modality == "CT" and plan.site.pads else values


def _adc_rescale(plan: CasePlan) -> tuple[str, str]:
    return _ADC_RESCALES[plan.index % len(_ADC_RESCALES)]


def _padded(values: Values) -> Values:
    """Return a CT whose corners lie outside the scanner's round field: the padding value as stored, in HU."""
    columns, rows, _ = values.shape
    i, j = np.indices((columns, rows))
    radius = ((2 * i - columns + 1) / columns) ** 2 + ((2 * j - rows + 1) / rows) ** 2
    return np.where((radius > 1.5)[:, :, None], _PADDING - 1024, values).astype(np.int32)


_MR_RESCALES: tuple[tuple[str, str] | None, ...] = (
    None,
    ("2.3456789", "0"),
    ("1", "0"),
    ("0.0371", "0"),
    ("3.25", "12"),
)
"""What sites write into magnitude images; the numbers mean nothing, and that is the point."""

_PADDING = -2000
"""What one site stores outside its field, where nothing was measured; its rescale makes -3024 of it."""

_ADC_RESCALES: tuple[tuple[str, str], ...] = (("1", "0"), ("2", "0"), ("0.5", "0"))
"""Rescale of an ADC map into 1e-6 mm2/s."""


def _series(plan: CasePlan, channel: ChannelPlan, number: int, true: Values) -> Series:
    site, place = plan.site, channel_acquisition(plan, channel)
    turned = half_turn(true, place.affine).astype(np.int32) if plan.is_turned else true
    stored, rescale = _stored(plan, channel, number, turned)
    return Series(
        name=channel.name,
        number=number + 2,
        description=series_description(channel.protocol, site.vendor, plan.plane),
        image_type=image_type(channel.protocol, site.vendor),
        acquisition=place,
        stored=stored,
        instance_numbers=_instance_numbers(stored.shape[2], plan.index + number),
        is_signed=site.is_signed,
        rescale=rescale,
        elements=_elements(plan, channel),
    )


def _elements(plan: CasePlan, channel: ChannelPlan) -> dict[str, object]:
    elements = parameters(channel.protocol, plan.site.vendor)
    if plan.task.modality == "CT" and plan.site.pads:
        elements["PixelPaddingValue"] = _PADDING
    return elements


def _stored(
    plan: CasePlan, channel: ChannelPlan, number: int, values: Values
) -> tuple[Values, tuple[str, str] | None]:
    """Return the numbers in the file and the rescale that the header gives with them."""
    if plan.task.modality == "CT":
        intercept = -1024 if plan.site.pads or not plan.site.is_signed else 0
        return (values - intercept).astype(np.int32), ("1", str(intercept))
    if channel.protocol == "adc":
        rescale = _adc_rescale(plan)
        return np.rint(values / float(rescale[0])).astype(np.int32), rescale
    # A skull-stripped background must stay 0, so Task01 has no odd intercept.
    choices = _MR_RESCALES[:4] if plan.number == 1 else _MR_RESCALES
    return values, choices[(plan.index + plan.number + number) % len(choices)]


def _instance_numbers(count: int, mode: int) -> tuple[int, ...]:
    """Return each slice's InstanceNumber: along the normal, against it, or every other slice first."""
    if mode % 3 == 0:
        return tuple(range(1, count + 1))
    if mode % 3 == 1:
        return tuple(range(count, 0, -1))
    order = [*range(0, count, 2), *range(1, count, 2)]
    return tuple(order.index(k) + 1 for k in range(count))


def _true_label(plan: CasePlan, body: anatomy.Body) -> labels.LabelMap | None:
    """Return the right label in acquisition order, None for a subject that nobody labelled."""
    if plan.label_kind == "none":
        return None
    label = anatomy.drawn(body, reference_acquisition(plan).grid, marker=plan.task.marker)
    if set(np.unique(label)) != set(range(len(plan.task.class_names) + 1)):
        raise ValueError(f"{plan.task.task}: every class must be in every label")
    return label


def _drawn(
    plan: CasePlan, label: labels.LabelMap, study: Study, images: Sequence[Dataset], placing: Placing
) -> Sent:
    """Return the file that the expert left, drawn on the images as they are stored."""
    kind, place = plan.label_kind, reference_acquisition(plan)
    values = half_turn(label, place.affine).astype(np.uint8) if plan.is_turned else label
    drawing = labels.Drawing(
        plan.task.task, study, plan.task.channels[0].name, place, values, images, plan.index
    )
    if kind in ("seg", "rtstruct"):
        dataset = labels.as_seg(drawing) if kind == "seg" else labels.as_rtstruct(drawing)
        syntax = "explicit" if kind == "seg" else "implicit"
        return Sent(placing.drawing(encode(dataset, syntax, study.site.pacs), kind), [dataset])
    write = {"nifti": labels.as_nifti, "nifti-ras": labels.as_ras_nifti, "nrrd": labels.as_nrrd}[kind]
    return Sent(placing.drawing(write(drawing), kind), [])


def _truth(
    plan: CasePlan,
    study: Study,
    true: dict[str, Values],
    series: Sequence[Series],
    label: npt.NDArray[np.uint8] | None,
    label_source: str,
) -> Truth:
    forced = plan.subset or ("test" if label is None else None)
    quantity = {"CT": "hounsfield", "MR": "arbitrary"}[plan.task.modality]
    return Truth(
        token=f"subject-{plan.index + 1:03d}",
        channels={
            one.name: (
                true[one.name],
                one.acquisition,
                "adc" if one.name == "ADC" else quantity,
                study.series_uid(one.name),
            )
            for one in series
        },
        label=None if label is None else (label, series[0].acquisition),
        label_kind=plan.label_kind,
        label_source=label_source,
        facts={
            "patient_id": study.identity.patient_id,
            "patient_name": study.identity.patient_name,
            "case": plan.case,
            "subset": forced,
            "turned": plan.is_turned,
            "study": study.study_uid,
            "frame_of_reference": study.frame_uid,
            "plane": plan.plane,
            "position": plan.position,
            "vendor": study.site.vendor,
            "syntax": study.site.syntax,
        },
    )


def _planted(datasets: Iterable[Dataset]) -> frozenset[str]:
    """Return every UID of ours, name, date and exact time in the datasets, and what is written about a person."""
    found = set()
    for dataset in datasets:
        for element in dataset.iterall():
            is_ours = element.VR == "UI" and str(element.value).startswith("2.25.")
            is_told = element.keyword in ("AccessionNumber", "ROIDescription")
            if is_ours or is_told or element.VR in ("PN", "DA", "DT", "TM"):
                found.add(str(element.value))
    return frozenset(found)
