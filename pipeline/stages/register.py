"""Find the rigid move that brings one image onto another whose millimetres mean another frame.

Registration looks at two images and says where the one lies in the frame of the other: a rotation and a shift in
millimetres. No voxel changes; the moved image's affine does, and `align` interpolates it once.

The same bytes come out on one machine whatever else it does: one thread, every sample at a place that a fixed seed
chooses, and angles and shifts rounded far below what they are known to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK

from pipeline.model.errors import GeometryError
from pipeline.model.record import Json, Note, Step, decimal, decimals
from pipeline.model.volume import Move, Volume

BINS = 32
"""Of the joint histogram of Mattes' mutual information."""

SEED = 1
"""Of the places of the samples; a number, because 0 means the clock to ITK."""

SAMPLES = 200_000
"""Most voxels that one step looks at."""

COARSEST = (4, 2, 1)
"""Shrink factors of the levels; smoothed by half of each, in voxels."""

STRIDES_MM = (4.0, 1.0)
"""First steps of the searches: a long one leaves a start that is far off, a short one keeps a good one."""

DEGREES, MILLIMETRES = 3, 3
"""Decimals that angles and shifts are rounded to: 0.001 degrees is 2 micrometres in a head."""

SMALLEST_OVERLAP = 0.25
"""Share of the fixed image's voxels that the moving image must cover at the start; with less nothing is compared."""

WORSE = 0.01
"""Share of the metric that the search may lose where the start was the best place there is: then the start stays."""

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""ITK places in LPS+, we in RAS+."""


@dataclass(frozen=True, slots=True, eq=False)
class Registered:
    """How an image is moved into the frame of another, and a picture of it.

    `picture` has shape (rows, columns), uint8: the middle slices of both images in a chequerboard, before above,
    after below.
    """

    move: Move
    picture: npt.NDArray[np.uint8]


def register(moving: Volume, fixed: Volume) -> Step[Registered]:
    """Find the rotation and shift under which two images of one subject share most information.

    It begins from the better of two places: where the headers put the moving image, and centre upon centre.

    Parameters
    ----------
    moving, fixed
        RAS+ images, shape (I, J, K), of any contrast.

    Returns
    -------
    Step
        The move from the moving image's frame to the fixed one's. The note holds its matrix, angles and shift,
        the metric (Mattes' mutual information in nat, more is better) where the headers put the image (none where
        the two do not overlap), at the start and at the end, and why the search stopped.

    Raises
    ------
    GeometryError
        registration-worse, if the metric is worse at the end than where the headers put the image, or than at the
        start; outside-view if the images do not overlap.
    """
    # The sums of ITK's metric depend on its threads, and only this number reaches it.
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    still, mover = _image(fixed), _image(moving)
    starts = {
        how: start for how, start in _starts(still, mover) if _overlap(still, mover, start) > SMALLEST_OVERLAP
    }
    if not starts:
        raise GeometryError(
            "outside-view", wanted="images that overlap", found="two that do not", where="register"
        )
    shared = {how: _information(still, mover, start) for how, start in starts.items()}
    best = max(shared, key=lambda how: (shared[how], how))
    found, after, search = _best(still, mover, starts[best])
    if not after > max(shared.values()) * (1 - WORSE):
        raise GeometryError(
            "registration-worse",
            wanted=f"more shared information than the {max(shared.values()):.6g} at the start",
            found=f"{after:.6g} at the end",
            where="register",
        )
    if after < shared[best]:
        found, after = starts[best], shared[best]
    # ITK's transform takes places of the fixed image to the moving one; the image moves the other way.
    affine = LPS @ np.linalg.inv(_matrix(found)) @ LPS
    facts: dict[str, Json] = {
        "transform": "rigid",
        "affine": decimals(np.round(affine, 9)),
        "angles_degrees": decimals(np.round(np.degrees(found.GetParameters()[:3]), DEGREES)),
        "shift_mm": decimals(np.round(found.GetParameters()[3:], MILLIMETRES)),
        "centre_lps_mm": decimals(np.round(found.GetFixedParameters()[:3], MILLIMETRES)),
        "metric": "Mattes mutual information, nat",
        "metric_by_header": decimal(round(shared["header"], 6)) if "header" in shared else None,
        "metric_before": decimal(round(shared[best], 6)),
        "metric_after": decimal(round(after, 6)),
        "start": best,
        **search,
    }
    picture = np.vstack([_chequered(still, mover, place) for place in (starts[best], found)])
    return Step(Registered(Move(np.round(affine, 9)), picture), Note("register", facts))


def _image(volume: Volume) -> SimpleITK.Image:
    """Return a volume as ITK has it, in LPS+."""
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(volume.data.transpose(), dtype=np.float32))
    columns = (LPS @ volume.affine)[:3]
    spacing = np.linalg.norm(columns[:, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(columns[:, 3].tolist())
    image.SetDirection((columns[:, :3] / spacing).ravel().tolist())
    return image


def _starts(
    fixed: SimpleITK.Image, moving: SimpleITK.Image
) -> Iterator[tuple[str, SimpleITK.Euler3DTransform]]:
    """Yield (how, transform) of the places to begin from; all turn about the fixed image's centre."""
    centres = [
        np.array(image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()]))
        for image in (fixed, moving)
    ]
    for how, shift in (("header", np.zeros(3)), ("centres", centres[1] - centres[0])):
        start = SimpleITK.Euler3DTransform()
        start.SetCenter(np.round(centres[0], MILLIMETRES).tolist())
        start.SetTranslation(np.round(shift, MILLIMETRES).tolist())
        yield how, start


def _overlap(fixed: SimpleITK.Image, moving: SimpleITK.Image, place: SimpleITK.Transform) -> float:
    """Return the share of the fixed image's voxels that the moving image covers."""
    field = SimpleITK.Image(moving.GetSize(), SimpleITK.sitkUInt8) + 1
    field.CopyInformation(moving)
    return float(SimpleITK.GetArrayFromImage(_on(field, fixed, place, SimpleITK.sitkNearestNeighbor)).mean())


def _on(
    image: SimpleITK.Image, fixed: SimpleITK.Image, place: SimpleITK.Transform, how: int
) -> SimpleITK.Image:
    """Return an image on the fixed one's grid, 0 outside of its field."""
    resampler = SimpleITK.ResampleImageFilter()
    resampler.SetNumberOfThreads(1)
    resampler.SetReferenceImage(fixed)
    resampler.SetTransform(place)
    resampler.SetInterpolator(how)
    moved: SimpleITK.Image = resampler.Execute(image)
    return moved


def _method(fixed: SimpleITK.Image) -> SimpleITK.ImageRegistrationMethod:
    """Return the method with what search and measurement have in common."""
    method = SimpleITK.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(min(1.0, SAMPLES / fixed.GetNumberOfPixels()), SEED)
    return method


def _information(fixed: SimpleITK.Image, moving: SimpleITK.Image, place: SimpleITK.Transform) -> float:
    """Return the mutual information of two images, in nat."""
    method = _method(fixed)
    method.SetInitialTransform(place)
    # ITK minimises: its metric is the negative.
    return -float(method.MetricEvaluate(fixed, moving))


def _best(
    fixed: SimpleITK.Image, moving: SimpleITK.Image, start: SimpleITK.Euler3DTransform
) -> tuple[SimpleITK.Euler3DTransform, float, dict[str, Json]]:
    """Return the best place that searches of several strides end at, its metric, and what that search says."""
    ends = []
    for stride in STRIDES_MM:
        place, search = _searched(fixed, moving, start, stride)
        ends.append((_rounded(place), search))
    measured = [_information(fixed, moving, place) for place, _ in ends]
    best = int(np.argmax(measured))
    return ends[best][0], measured[best], ends[best][1]


def _searched(
    fixed: SimpleITK.Image, moving: SimpleITK.Image, start: SimpleITK.Euler3DTransform, stride: float
) -> tuple[SimpleITK.Euler3DTransform, dict[str, Json]]:
    """Return the place that the search ends at, and what it says of itself."""
    method = _method(fixed)
    levels = [factor for factor in COARSEST if min(fixed.GetSize()) // factor >= 4] or [1]
    method.SetShrinkFactorsPerLevel(levels)
    method.SetSmoothingSigmasPerLevel([factor / 2 if factor > 1 else 0.0 for factor in levels])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=stride,
        minStep=1e-4,
        numberOfIterations=300,
        relaxationFactor=0.8,
        gradientMagnitudeTolerance=1e-8,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    found = SimpleITK.Euler3DTransform(start)
    method.SetInitialTransform(found, inPlace=True)
    method.Execute(fixed, moving)
    facts: dict[str, Json] = {
        "levels": list(levels),
        "first_stride_mm": decimal(stride),
        "iterations": int(method.GetOptimizerIteration()),
    }
    return found, facts


def _rounded(place: SimpleITK.Euler3DTransform) -> SimpleITK.Euler3DTransform:
    parameters = np.array(place.GetParameters())
    rounded = SimpleITK.Euler3DTransform(place)
    angles = np.radians(np.round(np.degrees(parameters[:3]), DEGREES))
    rounded.SetParameters([*angles.tolist(), *np.round(parameters[3:], MILLIMETRES).tolist()])
    return rounded


def _matrix(place: SimpleITK.Euler3DTransform) -> npt.NDArray[np.float64]:
    """Return the 4 x 4 matrix of a transform, LPS+ mm to LPS+ mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(place.GetMatrix()).reshape(3, 3)
    centre = np.array(place.GetCenter())
    matrix[:3, 3] = np.array(place.GetTranslation()) + centre - matrix[:3, :3] @ centre
    return matrix


def _chequered(
    fixed: SimpleITK.Image, moving: SimpleITK.Image, place: SimpleITK.Transform
) -> npt.NDArray[np.uint8]:
    """Return the three middle slices side by side, squares of one image between squares of the other."""
    layers = [
        _grey(SimpleITK.GetArrayFromImage(one))
        for one in (fixed, _on(moving, fixed, place, SimpleITK.sitkLinear))
    ]
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
