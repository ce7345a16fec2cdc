"""Take the face away from a head: register a template to it, and empty what the template's mask says.

The registration is affine, by mutual information, in one thread and on a regular sample of voxels, so that it is
the same on every run. It is believed only when it ends better than it began, scales like a head, and takes away a
plausible share, in front of and below the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK

from pipeline.model.errors import CurationError
from pipeline.model.exposure import Template
from pipeline.model.record import Json, Note, Step, decimal
from pipeline.model.volume import Quantity, Volume

COARSE_MM = 4.0
"""Edge of the voxels on which heads are registered."""

SOFT_HU = (-300.0, 300.0)
"""Hounsfield units that are told apart in CT."""

SCALES = (0.6, 1.6)
"""How much larger or smaller than the template a head's volume may be, as a ratio."""

SHARES = (0.02, 0.45)
"""Share of a head's tissue that may go."""

_TO_LPS = np.diag([-1.0, -1.0, 1.0])


def deface(volumes: Sequence[Volume], template: Template) -> Step[tuple[Volume, ...]]:
    """Return volumes of one grid without the face, which takes the smallest value of each.

    Parameters
    ----------
    volumes
        Channels on one RAS+ grid; the first is registered.
    template
        A mean head and what stays of it.

    Returns
    -------
    Step
        The volumes; the note counts voxels removed and says how the registration went.

    Raises
    ------
    CurationError
        deface-failed.
    """
    head = _image(_clipped(volumes[0]), volumes[0])
    found, began, ended = _registered(head, _image(template.head.data, template.head))
    scale = float(abs(np.linalg.det(np.array(found.GetMatrix()).reshape(3, 3))))
    if ended > began or not SCALES[0] <= 1 / scale <= SCALES[1]:
        raise _failed("a registration that ends better than it began, at the scale of a head")
    stays = SimpleITK.Resample(
        _image(template.stays.data, template.stays), head, found, SimpleITK.sitkLinear, 1.0
    )
    gone = SimpleITK.GetArrayFromImage(stays).transpose(2, 1, 0) < 0.5
    share = _checked_share(gone, volumes[0])
    emptied = tuple(replace(v, data=np.where(gone, v.data.min(), v.data)) for v in volumes)
    facts: dict[str, Json] = {
        "removed_voxels": int(gone.sum()),
        "removed_share_of_tissue": decimal(round(share, 4)),
        "scale": decimal(round(1 / scale, 4)),
    }
    return Step(emptied, Note("deface", facts))


def _failed(wanted: str) -> CurationError:
    return CurationError("deface-failed", wanted=wanted, found="another")


def _clipped(volume: Volume) -> npt.NDArray[Any]:
    is_ct = volume.quantity is Quantity.HOUNSFIELD
    low, high = SOFT_HU if is_ct else np.percentile(volume.data, [0.5, 99.5])
    clipped: npt.NDArray[Any] = np.clip(volume.data.astype(np.float32), low, high)
    return clipped


def _image(data: npt.NDArray[Any], volume: Volume) -> SimpleITK.Image:
    """Return an array where the volume's affine puts it, in LPS+."""
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(data.astype(np.float32).transpose(2, 1, 0)))
    spacing = np.array(volume.grid.spacing_mm)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((_TO_LPS @ volume.affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin((_TO_LPS @ volume.affine[:3, 3]).tolist())
    return image


def _coarse(image: SimpleITK.Image) -> SimpleITK.Image:
    """Return an image on voxels of about `COARSE_MM`, smoothed before, where it is finer."""
    factors = [max(round(COARSE_MM / spacing), 1) for spacing in image.GetSpacing()]
    shrunk: SimpleITK.Image = SimpleITK.BinShrink(image, factors)
    return shrunk


def _registered(
    head: SimpleITK.Image, template: SimpleITK.Image
) -> tuple[SimpleITK.AffineTransform, float, float]:
    """Return the transform from the head's millimetres to the template's, and the metric before and after."""
    fixed, moving = _coarse(head), _coarse(template)
    start = SimpleITK.CenteredTransformInitializer(
        fixed, moving, SimpleITK.AffineTransform(3), SimpleITK.CenteredTransformInitializerFilter.MOMENTS
    )
    method = SimpleITK.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.NONE)
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=2.0, minStep=1e-3, numberOfIterations=120, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([1, 0])
    method.SetInitialTransform(start, inPlace=False)
    began = float(method.MetricEvaluate(fixed, moving))
    try:
        found = method.Execute(fixed, moving)
    except RuntimeError:
        raise _failed("a head that overlaps the template") from None
    method.SetInitialTransform(found, inPlace=False)
    ended = float(method.MetricEvaluate(fixed, moving))
    affine = SimpleITK.AffineTransform(SimpleITK.CompositeTransform(found).GetBackTransform())
    return affine, began, ended


def _checked_share(gone: npt.NDArray[np.bool_], volume: Volume) -> float:
    """Return the share of tissue that goes; refuse one that cannot be a face."""
    values = _clipped(volume)
    tissue = values > values.min() + 0.1 * (values.max() - values.min())
    share = float((gone & tissue).sum() / max(tissue.sum(), 1))
    if not SHARES[0] <= share <= SHARES[1]:
        raise _failed(f"between {SHARES[0]:.0%} and {SHARES[1]:.0%} of the tissue to go")
    removed, kept = (np.argwhere(part & tissue).mean(axis=0) for part in (gone, ~gone))
    if not (removed[1] > kept[1] and removed[2] < kept[2]):
        raise _failed("a face in front of and below the rest of the head")
    return share
