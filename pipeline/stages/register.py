"""Find the rigid move that brings one image onto another whose millimetres mean another frame.

Registration looks at two images and says where the one lies in the frame of the other: a rotation and a shift in
millimetres. No voxel changes; the moved image's affine does, and `align` interpolates it once.

What is sought is the place where the images share most: the mutual information of their joint histogram, times the
share of the fixed image that the moving one covers. Information alone grows where images slide apart until only an
edge of them is compared; that is how a search gets lost in a few thick slices (a diffusion image of 19 slices ended
21 mm from where it belongs, with more information a voxel than in its place).

A search begins from many places on coarse voxels, of equal edges whatever the slices' distance, goes on with the
best of them on finer ones, and trusts a place only if no other is nearly as good, and if halves of the field,
searched by themselves, stay there. There is no chance in it: every voxel of a level is looked at, in one thread, and
angles and shifts are rounded far below what they are known to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK

from pipeline.model.errors import GeometryError
from pipeline.model.record import Json, Note, Step, decimal, decimals
from pipeline.model.volume import Move, Volume

BINS = 32
"""Of each side of the joint histogram, between percentiles 0.5 and 99.5."""

LEVELS = (6_000, 40_000, 200_000)
"""Voxels of the fixed image that are compared, level after level; never finer than the image's smallest edge."""

STRIDES_MM = ((8.0, 1.0), (3.0, 0.4), (0.8, 0.05))
"""First and smallest step of the search in each level."""

TURNS_DEGREES = (-15.0, 0.0, 15.0)
"""Angles about each axis that a search begins with; from between them a search finds its way."""

TURNED, KEPT = 6, 3
"""Most starts with a turn that are searched from, and places that the finer levels go on with."""

DEGREES, MILLIMETRES = 3, 3
"""Decimals that angles and shifts are rounded to: 0.001 degrees is 2 micrometres in a head."""

SMALLEST_OVERLAP = 0.25
"""Share of the smaller image that the two must have in common; with less nothing is compared."""

ALIKE_MM = 1.0
"""Places nearer to each other than this are one."""

REFINED = 0.97
"""Places that reach this share of the best one's metric are searched on in the finest level."""

NEARLY, APART_MM = 0.99, 5.0
"""A place is ambiguous if another reaches this share of its metric this far off, at a corner of half the image."""

STRAYED = 0.999
"""Share of the metric that a smooth search must keep: of thick slices it slides across them."""

LEAST_SHARED = 0.1
"""Nat: of two images that share less no place is trusted. Real images with less (an ADC map and T2 of a prostate: 0.06)
were put up to 17 mm off, with more the search ended near the truth."""

HALF_LEVEL, HALF_STRIDES_MM = 1, (3.0, 0.2)
"""Level of the voxels on which the halves of the fixed image are compared, and steps of that search."""

HALVES_MM = 2.1
"""Largest distance from the place of the whole at which the second furthest of four halves of the fixed image, each
searched by itself, would put its centre. Chosen on four pairs of real volumes, half way (by ratio) between right places
(up to 1.25) and wrong ones (from 3.65 on), and tried on seven others: see benchmarks/registration."""

SEED = 1
"""Of the places of the samples; a number, because 0 means the clock to ITK."""

WORSE = 0.01
"""Share of the metric that rounding may lose against the start."""

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""ITK places in LPS+, we in RAS+."""

OUTSIDE = -1e9
"""What a voxel outside of the moving image's field becomes; no value of an image is that small."""

Parameters = npt.NDArray[np.float64]
"""Three angles in degrees about the fixed image's centre, and three shifts in mm, LPS+."""


@dataclass(frozen=True, slots=True, eq=False)
class Registered:
    """How an image is moved into the frame of another, and a picture of it.

    `picture` has shape (rows, columns), uint8: the middle slices of both images in a chequerboard, before above,
    after below.
    """

    move: Move
    picture: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """Where the moving image may lie, what the images share there, and from where the search came."""

    how: str
    start: Parameters
    parameters: Parameters
    shared: float


class _Level:
    """Two images on voxels of one size, and what they share for a given place."""

    def __init__(self, fixed: SimpleITK.Image, moving: SimpleITK.Image, voxels: int) -> None:
        self.centre = _centre(fixed)
        self.fixed, self.moving = (_coarse(image, voxels) for image in (fixed, moving))
        values = SimpleITK.GetArrayFromImage(self.fixed).ravel()
        self._rows = _binned(values, *_ends(values)) * BINS
        self._ends = _ends(SimpleITK.GetArrayFromImage(self.moving))
        self._least = SMALLEST_OVERLAP * min(1.0, _volume_mm3(moving) / _volume_mm3(fixed))

    def shared(self, parameters: Parameters) -> float:
        """Return the mutual information in nat times the covered share; 0 where too little is covered."""
        place = _transform(self.centre, parameters)
        moved = SimpleITK.GetArrayFromImage(_on(self.moving, self.fixed, place, OUTSIDE)).ravel()
        inside = moved > OUTSIDE / 2
        covered = float(inside.mean())
        if covered < self._least:
            return 0.0
        bins = self._rows[inside] + _binned(moved[inside], *self._ends)
        joint = np.bincount(bins, minlength=BINS * BINS).reshape(BINS, BINS) / len(bins)
        information = _entropy(joint.sum(axis=0)) + _entropy(joint.sum(axis=1)) - _entropy(joint)
        # Rounded, so that the last digits of a logarithm decide nothing.
        return round(information * covered, 9)


def register(moving: Volume, fixed: Volume) -> Step[Registered]:
    """Find the rotation and shift under which two images of one subject share most information.

    It begins from where the headers put the moving image, from centre upon centre and from centre of mass upon
    centre of mass, each as it is and turned.

    Parameters
    ----------
    moving, fixed
        RAS+ images, shape (I, J, K), of any contrast.

    Returns
    -------
    Step
        The move from the moving image's frame to the fixed one's. The note holds its matrix, angles and shift,
        the metric (mutual information in nat times the covered share, more is better) where the headers put the image
        (none where the two do not overlap), at the start and at the end, and what share of it another place reached.

    Raises
    ------
    GeometryError
        registration-worse, if the metric is worse at the end than where the headers put the image, or than at the
        start; registration-ambiguous, if another place is nearly as good, if the images share less than
        LEAST_SHARED, or if halves of the fixed image by themselves would go elsewhere; outside-view if the images do
        not overlap.
    """
    still, mover = _image(fixed), _image(moving)
    levels = [_Level(still, mover, voxels) for voxels in LEVELS]
    finest = levels[-1]
    found, *others = _best(finest, _found(levels[:-1], _starts(levels[0], still, mover)))
    end = _rounded(found.parameters)
    by_header, before, after = (finest.shared(place) for place in (np.zeros(6), found.start, end))
    _refuse_worse(after, max(by_header, before))
    far = [place.shared for place in others if _apart_mm(place.parameters, end, still) > APART_MM]
    rival = max(far, default=0.0) / found.shared
    _refuse_ambiguous(rival, after)
    halves = _halves_apart_mm(still, mover, end)
    _refuse_torn(halves)
    # ITK's transform takes places of the fixed image to the moving one; the image moves the other way.
    affine = LPS @ np.linalg.inv(_matrix(_transform(finest.centre, end))) @ LPS
    facts: dict[str, Json] = {
        "transform": "rigid",
        "affine": decimals(np.round(affine, 9)),
        "angles_degrees": decimals(end[:3]),
        "shift_mm": decimals(end[3:]),
        "centre_lps_mm": decimals(np.round(finest.centre, MILLIMETRES)),
        "metric": "mutual information in nat, times the covered share",
        "metric_by_header": decimal(round(by_header, 6)) if by_header else None,
        "metric_before": decimal(round(before, 6)),
        "metric_after": decimal(round(after, 6)),
        "rival_share": decimal(round(rival, 6)),
        "halves_apart_mm": decimal(round(halves, MILLIMETRES)),
        "start": found.how,
        "start_angles_degrees": decimals(found.start[:3]),
        "levels": [level.fixed.GetNumberOfPixels() for level in levels],
    }
    pictures = [_chequered(still, mover, _transform(finest.centre, place)) for place in (found.start, end)]
    return Step(Registered(Move(np.round(affine, 9)), np.vstack(pictures)), Note("register", facts))


def _refuse_worse(after: float, before: float) -> None:
    """Refuse an end that is worse than the beginning."""
    if not after > before * (1 - WORSE):
        raise GeometryError(
            "registration-worse",
            wanted=f"more shared information than the {before:.6g} at the start",
            found=f"{after:.6g} at the end",
            where="register",
        )


def _refuse_ambiguous(rival: float, after: float) -> None:
    """Refuse a place when another, far from it, is nearly as good, and images that share nearly nothing."""
    if rival > NEARLY:
        raise GeometryError(
            "registration-ambiguous",
            wanted=f"no other place with more than {NEARLY:.0%} of the best one's metric",
            found=f"one with {rival:.1%}",
            where="register",
        )
    if after < LEAST_SHARED:
        raise GeometryError(
            "registration-ambiguous",
            wanted=f"images that share at least {LEAST_SHARED} nat",
            found=f"{after:.3g}",
            where="register",
        )


def _refuse_torn(halves: float) -> None:
    """Refuse a place from which halves of the image would go: they lie wrong, or no rigid move is right."""
    if halves > HALVES_MM:
        raise GeometryError(
            "registration-ambiguous",
            wanted=f"halves of the image that lie within {HALVES_MM:g} mm of where the whole puts them",
            found=f"two that would go {halves:.3g} mm or more",
            where="register",
        )


# Images


def _image(volume: Volume) -> SimpleITK.Image:
    """Return a volume as ITK has it, in LPS+."""
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(volume.data.transpose(), dtype=np.float32))
    columns = (LPS @ volume.affine)[:3]
    spacing = np.linalg.norm(columns[:, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(columns[:, 3].tolist())
    image.SetDirection((columns[:, :3] / spacing).ravel().tolist())
    return image


def _centre(image: SimpleITK.Image) -> npt.NDArray[np.float64]:
    """Return the centre of an image's field, LPS+ mm."""
    return np.array(image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()]))


def _centre_of_mass(image: SimpleITK.Image) -> npt.NDArray[np.float64]:
    """Return the mean place of what is brighter than the darkest quarter, by brightness, LPS+ mm."""
    data = SimpleITK.GetArrayFromImage(image).astype(np.float64)
    low, high = np.percentile(data, [25, 99])
    weight = np.clip(data, low, high) - low
    if not weight.any():
        return _centre(image)
    k, j, i = (float((axis * weight).sum() / weight.sum()) for axis in np.indices(data.shape))
    return np.array(image.TransformContinuousIndexToPhysicalPoint([i, j, k]))


def _volume_mm3(image: SimpleITK.Image) -> float:
    return float(np.prod(image.GetSize()) * np.prod(image.GetSpacing()))


def _coarse(image: SimpleITK.Image, voxels: int) -> SimpleITK.Image:
    """Return an image of about so many voxels with equal edges: means of voxels, interpolated."""
    spacing, size = np.array(image.GetSpacing()), np.array(image.GetSize())
    edge = max((_volume_mm3(image) / voxels) ** (1 / 3), spacing.min())
    factors = np.clip(np.floor(edge / spacing + 1e-6), 1, size).astype(int)
    count = np.maximum(np.rint(size * spacing / edge), 4).astype(int)
    shrink = SimpleITK.BinShrinkImageFilter()
    shrink.SetNumberOfThreads(1)
    shrink.SetShrinkFactors(factors.tolist())
    direction = np.array(image.GetDirection()).reshape(3, 3)
    wanted = size * spacing / count
    resampler = SimpleITK.ResampleImageFilter()
    resampler.SetNumberOfThreads(1)
    resampler.SetSize(count.tolist())
    resampler.SetOutputSpacing(wanted.tolist())
    resampler.SetOutputDirection(image.GetDirection())
    resampler.SetOutputOrigin((np.array(image.GetOrigin()) + direction @ ((wanted - spacing) / 2)).tolist())
    # Outer halves of voxels lie beyond the last centres.
    resampler.SetUseNearestNeighborExtrapolator(True)
    coarse: SimpleITK.Image = resampler.Execute(shrink.Execute(image))
    return coarse


def _on(
    image: SimpleITK.Image, fixed: SimpleITK.Image, place: SimpleITK.Transform, outside: float
) -> SimpleITK.Image:
    """Return an image on the fixed one's grid, linearly; `outside` where its field ends."""
    resampler = SimpleITK.ResampleImageFilter()
    resampler.SetNumberOfThreads(1)
    resampler.SetReferenceImage(fixed)
    resampler.SetTransform(place)
    resampler.SetDefaultPixelValue(outside)
    moved: SimpleITK.Image = resampler.Execute(image)
    return moved


# What two images share


def _ends(values: npt.NDArray[Any]) -> tuple[float, float]:
    """Return the values between which the bins lie."""
    low, high = (float(value) for value in np.percentile(values, [0.5, 99.5]))
    return low, max(high, low + 1e-6)


def _binned(values: npt.NDArray[Any], low: float, high: float) -> npt.NDArray[np.int64]:
    return np.clip((values - low) * (BINS / (high - low)), 0, BINS - 1).astype(np.int64)


def _entropy(shares: npt.NDArray[np.float64]) -> float:
    some = shares[shares > 0]
    return float(-(some * np.log(some)).sum())


# The search


def _starts(coarsest: _Level, fixed: SimpleITK.Image, moving: SimpleITK.Image) -> list[_Place]:
    """Return the places to search from: all that are not turned, and the best of those that are."""
    mass = _centre_of_mass(coarsest.moving) - _centre_of_mass(coarsest.fixed)
    shifts = {"header": np.zeros(3), "centres": _centre(moving) - _centre(fixed), "moments": mass}
    tried: list[_Place] = []
    for how, shift in shifts.items():
        for turn in product(TURNS_DEGREES, repeat=3):
            start = _rounded(np.array([*turn, *shift]))
            tried.append(_Place(how, start, start, coarsest.shared(start)))
    best = sorted((place for place in tried if place.shared), key=lambda place: -place.shared)
    if not best:
        raise GeometryError(
            "outside-view", wanted="images that overlap", found="two that do not", where="register"
        )
    turned = [place for place in best if place.start[:3].any()]
    return [place for place in best if not place.start[:3].any()] + turned[:TURNED]


def _found(levels: Sequence[_Level], starts: Sequence[_Place]) -> list[_Place]:
    """Return the places where searches through all levels end, the best first."""
    places = list(starts)
    for level, (stride, least) in zip(levels, STRIDES_MM, strict=False):
        ends = [_searched(level, place, stride, least) for place in places]
        places = _unlike(sorted(ends, key=lambda place: -place.shared), level.fixed)[:KEPT]
    return places


def _best(finest: _Level, places: Sequence[_Place]) -> list[_Place]:
    """Return the best place on the finest voxels, and those of the others that were nearly as good on coarser ones."""
    near = [place for place in places if place.shared > REFINED * places[0].shared]
    ends = [_polished(finest, _searched(finest, place, *STRIDES_MM[-1])) for place in near]
    return sorted(ends, key=lambda place: -place.shared)


def _unlike(places: Sequence[_Place], fixed: SimpleITK.Image) -> list[_Place]:
    """Return places without those that lie where a better one does."""
    kept: list[_Place] = []
    for place in places:
        if all(_apart_mm(place.parameters, other.parameters, fixed) > ALIKE_MM for other in kept):
            kept.append(place)
    return kept


def _searched(level: _Level, place: _Place, stride: float, least: float) -> _Place:
    """Return where steps along each axis end that no further step makes better (Hooke and Jeeves, J. ACM 1961).

    Strides are in mm; an angle's stride moves a corner of the fixed image's half size by as much.
    """
    reach = np.linalg.norm(np.array(level.fixed.GetSize()) * level.fixed.GetSpacing()) / 4
    scale = np.array([np.degrees(1 / reach)] * 3 + [1.0] * 3)
    best = replace(place, shared=level.shared(place.parameters))
    while stride > least:
        before = best
        for axis in range(6):
            best = _better(level, best, np.eye(6)[axis] * scale * stride)
        if best is before:
            stride /= 2
        else:
            best = _further(level, best, best.parameters - before.parameters)
    return best


def _polished(level: _Level, place: _Place) -> _Place:
    """Return the place that Mattes' smooth information leads to; the place itself if that leads away.

    Steps see a histogram's bins, and the grid on which both images were sampled; a smooth histogram of samples off the
    grid sees less of either.
    """
    method = SimpleITK.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(1.0, SEED)
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=0.3,
        minStep=1e-3,
        numberOfIterations=200,
        relaxationFactor=0.7,
        gradientMagnitudeTolerance=1e-8,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    moved = _transform(level.centre, place.parameters)
    method.SetInitialTransform(moved, inPlace=True)
    # The sums of ITK's metric depend on its threads, and only this number reaches it.
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    method.Execute(level.fixed, level.moving)
    parameters = np.array(moved.GetParameters())
    parameters[:3] = np.degrees(parameters[:3])
    shared = level.shared(parameters)
    is_near = _apart_mm(parameters, place.parameters, level.fixed) <= APART_MM
    return (
        replace(place, parameters=parameters, shared=shared)
        if is_near and shared >= STRAYED * place.shared
        else place
    )


def _better(level: _Level, place: _Place, step: Parameters) -> _Place:
    """Return the place one step on or back, if more is shared there; else the place itself."""
    for parameters in (place.parameters + step, place.parameters - step):
        shared = level.shared(parameters)
        if shared > place.shared:
            return replace(place, parameters=parameters, shared=shared)
    return place


def _further(level: _Level, place: _Place, step: Parameters) -> _Place:
    """Return the place one step on, if more is shared there; else the place itself."""
    shared = level.shared(place.parameters + step)
    return (
        replace(place, parameters=place.parameters + step, shared=shared) if shared > place.shared else place
    )


def _halves_apart_mm(fixed: SimpleITK.Image, moving: SimpleITK.Image, place: Parameters) -> float:
    """Return how far the second furthest half of the fixed image would go by itself, in mm, along its two longest axes.

    What an image shares in a place is a sum over the whole field: it may be best where one part lies right and
    another wrong. Halves of two images of one rigid body agree. One of the four may show too little to be placed by
    itself (a right place: 2.75 mm), hence the second; the shortest axis has too few slices to halve.
    """
    extent = np.array(fixed.GetSize()) * fixed.GetSpacing()
    whole, apart = _centre(fixed), [0.0, 0.0]
    for axis in np.argsort(extent, kind="stable")[1:].tolist():
        for half in _halves(fixed, axis):
            level = _Level(half, moving, LEVELS[HALF_LEVEL])
            # Turns and shifts stay those of the whole, or its place would mean another.
            level.centre = whole
            found = _searched(level, _Place("whole", place, place, 0.0), *HALF_STRIDES_MM).parameters
            centre = _centre(half).tolist()
            went = np.subtract(
                _transform(whole, found).TransformPoint(centre),
                _transform(whole, place).TransformPoint(centre),
            )
            apart.append(float(np.linalg.norm(went)))
    return sorted(apart)[-2]


def _halves(image: SimpleITK.Image, axis: int) -> list[SimpleITK.Image]:
    """Return the two halves of an image along an axis, each in its place."""
    middle, halves = image.GetSize()[axis] // 2, []
    for start, stop in ((0, middle), (middle, image.GetSize()[axis])):
        index, size = [0, 0, 0], list(image.GetSize())
        index[axis], size[axis] = start, stop - start
        halves.append(SimpleITK.RegionOfInterest(image, size, index))
    return halves


# Places


def _transform(centre: npt.NDArray[np.float64], parameters: Parameters) -> SimpleITK.Euler3DTransform:
    """Return the transform about a centre, LPS+ mm."""
    place = SimpleITK.Euler3DTransform()
    place.SetCenter(np.round(centre, MILLIMETRES).tolist())
    place.SetParameters([*np.radians(parameters[:3]).tolist(), *parameters[3:].tolist()])
    return place


def _rounded(parameters: Parameters) -> Parameters:
    # Adding 0 makes -0 positive.
    return np.concatenate([np.round(parameters[:3], DEGREES), np.round(parameters[3:], MILLIMETRES)]) + 0.0


def _apart_mm(first: Parameters, second: Parameters, fixed: SimpleITK.Image) -> float:
    """Return how far apart two places put a corner of the fixed image's half size, in mm."""
    centre = _centre(fixed)
    direction = np.array(fixed.GetDirection()).reshape(3, 3)
    quarter = np.array(fixed.GetSize()) * fixed.GetSpacing() / 4
    corners = centre + np.array(list(product((-1, 1), repeat=3))) * quarter @ direction.T
    moved = [
        np.array([transform.TransformPoint(corner.tolist()) for corner in corners])
        for transform in (_transform(centre, first), _transform(centre, second))
    ]
    return float(np.linalg.norm(moved[0] - moved[1], axis=1).max())


def _matrix(place: SimpleITK.Euler3DTransform) -> npt.NDArray[np.float64]:
    """Return the 4 x 4 matrix of a transform, LPS+ mm to LPS+ mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(place.GetMatrix()).reshape(3, 3)
    centre = np.array(place.GetCenter())
    matrix[:3, 3] = np.array(place.GetTranslation()) + centre - matrix[:3, :3] @ centre
    return matrix


# The picture


def _chequered(
    fixed: SimpleITK.Image, moving: SimpleITK.Image, place: SimpleITK.Transform
) -> npt.NDArray[np.uint8]:
    """Return the three middle slices side by side, squares of one image between squares of the other."""
    layers = [_grey(SimpleITK.GetArrayFromImage(one)) for one in (fixed, _on(moving, fixed, place, 0.0))]
    k, j, i = (length // 2 for length in layers[0].shape)
    panels = []
    for slices in (
        (k, slice(None), slice(None)),
        (slice(None), j, slice(None)),
        (slice(None), slice(None), i),
    ):
        first, second = (layer[slices][::-1] for layer in layers)
        rows, columns = np.indices(first.shape)
        step = max(4, max(first.shape) // 8)
        panels.append(np.where((rows // step + columns // step) % 2 == 0, first, second))
    height = max(panel.shape[0] for panel in panels)
    padded = [np.pad(panel, ((0, height - panel.shape[0]), (0, 2))) for panel in panels]
    return np.hstack(padded).astype(np.uint8)


def _grey(data: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return values as grey: percentiles 1 and 99 are black and white."""
    low, high = (float(value) for value in np.percentile(data, [1, 99]))
    scaled = np.clip((data - low) / max(high - low, 1e-6), 0, 1) * 255
    return np.asarray(np.round(scaled), dtype=np.uint8)
