"""Give intensities without a unit a common range, and leave quantities alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.model.errors import IntensityError
from pipeline.model.record import Note, Step, decimal
from pipeline.model.rules import Keep, RobustMinMax
from pipeline.model.volume import Volume

FLOAT32_WHOLE = 2**24
"""Whole numbers up to this magnitude are the same number in float32."""


def scale(volume: Volume, rule: RobustMinMax | Keep) -> Step[Volume]:
    """Map the rule's percentiles onto its range and clip, or keep the values.

    Parameters
    ----------
    volume
        Shape (I, J, K), any real dtype.
    rule
        Percentiles in percent and the closed output range, for a volume in arbitrary units; or `keep`, for a
        quantity.

    Returns
    -------
    Step
        Scaled: float32 within the range; the note holds both cut-offs in input units and how many voxels were
        clipped. Kept: int16 stays int16, other values are float32.

    Raises
    ------
    IntensityError
        If the rule does not fit the quantity, a value is not finite, the two percentiles meet, or a whole
        number does not fit into float32.
    """
    _check_rule_fits(volume, rule)
    if not np.isfinite(volume.data).all():
        count = int(volume.data.size - np.isfinite(volume.data).sum())
        raise IntensityError(
            "not-finite", wanted="finite values", found=f"{count} that are not", where="scale"
        )
    return _scaled(volume, rule) if isinstance(rule, RobustMinMax) else _kept(volume)


def _check_rule_fits(volume: Volume, rule: RobustMinMax | Keep) -> None:
    if volume.quantity.is_quantitative != isinstance(rule, Keep):
        wanted = "values kept" if volume.quantity.is_quantitative else "robust_min_max"
        raise IntensityError(
            "out-of-range",
            wanted=f"{wanted} for quantity {volume.quantity.value}",
            found=f"rule {rule.method}",
            where="scale",
        )


def _kept(volume: Volume) -> Step[Volume]:
    facts = {"method": "keep", "quantity": volume.quantity.value}
    if volume.data.dtype == np.int16:
        return Step(volume, Note("scale", facts))
    largest = max(abs(float(volume.data.min())), abs(float(volume.data.max())))
    if volume.data.dtype.kind in "iu" and largest > FLOAT32_WHOLE:
        raise IntensityError(
            "out-of-range",
            wanted=f"whole values within {FLOAT32_WHOLE}, which float32 holds exactly",
            found=f"a value of magnitude {decimal(largest)}",
            where="scale",
        )
    return Step(replace(volume, data=volume.data.astype(np.float32)), Note("scale", facts))


def cut_offs(values: npt.NDArray[Any], rule: RobustMinMax) -> tuple[float, float]:
    """Return the rule's lower and upper percentile of finite values, in their unit.

    Percentiles between two samples are interpolated linearly (Hyndman and Fan's type 7). Where the rule says
    `nonzero`, voxels that are exactly 0 are left out.

    Raises
    ------
    IntensityError
        If both are the same, or no voxel is left.
    """
    considered = values[values != 0] if rule.over == "nonzero" else values.ravel(order="K")
    if considered.size == 0:
        raise IntensityError("constant-intensity", wanted="voxels other than 0", found="none", where="scale")
    # numpy interpolates in the dtype of its input: float32 would be coarse, and int16 overflows.
    low, high = np.percentile(considered.astype(np.float64), [float(p) for p in rule.percentiles])
    if not low < high:
        raise IntensityError(
            "constant-intensity",
            wanted=f"percentiles {rule.percentiles[0]} and {rule.percentiles[1]} that differ",
            found=f"{decimal(low)} for both",
            where=f"scale over {considered.size} voxels",
        )
    return float(low), float(high)


def _scaled(volume: Volume, rule: RobustMinMax) -> Step[Volume]:
    low, high = cut_offs(volume.data, rule)
    bottom, top = float(rule.range[0]), float(rule.range[1])
    values = volume.data.astype(np.float64)
    below, above = int((values < low).sum()), int((values > high).sum())
    values -= low
    values /= high - low
    values *= top - bottom
    values += bottom
    scaled = np.clip(values, bottom, top, out=values).astype(np.float32)
    facts = {
        "method": rule.method,
        "quantity": volume.quantity.value,
        "percentiles": [decimal(percentile) for percentile in rule.percentiles],
        "over": rule.over,
        "low": decimal(low),
        "high": decimal(high),
        "range": [decimal(bottom), decimal(top)],
        "voxels": int(volume.data.size),
        "clipped_below": below,
        "clipped_above": above,
    }
    return Step(replace(volume, data=scaled), Note("scale", facts))
