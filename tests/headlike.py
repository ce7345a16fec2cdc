"""Heads, brains and bodies made of ellipsoids, in RAS+; nobody's."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.model.volume import Quantity, Volume

SPACING = 3.0


def _places(shape: tuple[int, int, int]) -> list[npt.NDArray[Any]]:
    return [(np.arange(n) - (n - 1) / 2) * SPACING for n in shape]


def ellipsoid(
    shape: tuple[int, int, int], middle: tuple[float, float, float], radii: tuple[float, float, float]
) -> npt.NDArray[np.bool_]:
    """A mask about the middle of the grid, in mm."""
    x, y, z = np.meshgrid(*_places(shape), indexing="ij")
    inside: npt.NDArray[np.bool_] = (
        ((x - middle[0]) / radii[0]) ** 2
        + ((y - middle[1]) / radii[1]) ** 2
        + ((z - middle[2]) / radii[2]) ** 2
    ) <= 1
    return inside


def _volume(data: npt.NDArray[Any], quantity: Quantity = Quantity.ARBITRARY) -> Volume:
    return Volume(data.astype(np.float32), np.diag([SPACING, SPACING, SPACING, 1.0]), quantity)


def head(*, face: bool = True, air: float = 20.0, ct: bool = False) -> Volume:
    """Skin, skull and brain, with a face in front and below, in noise unless `air` is 0."""
    shape = (72, 84, 84)
    noise = np.random.default_rng(3).normal(air, air / 4, shape)
    data = np.abs(noise)
    skin, bone, brain = (ellipsoid(shape, (0, 0, 20), (76 - d, 95 - d, 88 - d)) for d in (0, 6, 13))
    jaw = ellipsoid(shape, (0, 50, -62), (55, 48, 60))
    neck = ellipsoid(shape, (0, -20, -90), (60, 55, 90))
    tissue = skin | neck | (jaw if face else np.zeros(shape, bool))
    for mask, value in ((tissue, 800.0), (bone & skin, 150.0), (brain, 600.0)):
        data[mask] = value + noise[mask]
    if not face:
        data[:, 50:, :35] = air
    if ct:
        return _volume(np.where(tissue, np.where(bone & ~brain, 900.0, 40.0), -1000.0), Quantity.HOUNSFIELD)
    return _volume(data)


def brain() -> Volume:
    """A brain without skull in exactly 0."""
    shape = (72, 84, 84)
    inside = ellipsoid(shape, (0, 0, 0), (66, 84, 66))
    return _volume(np.where(inside, np.random.default_rng(4).normal(600, 40, shape), 0.0))


def abdomen(*, ct: bool = True) -> Volume:
    """A trunk that runs through the field of view."""
    shape = (130, 90, 60)
    x, y, _ = np.meshgrid(*_places(shape), indexing="ij")
    inside = (x / 170) ** 2 + (y / 115) ** 2 <= 1
    if ct:
        return _volume(np.where(inside, 40.0, -1000.0), Quantity.HOUNSFIELD)
    return _volume(np.where(inside, 500.0, 0.0) + np.abs(np.random.default_rng(5).normal(15, 5, shape)))


def cut_out(size: int = 36) -> Volume:
    """A block out of the middle of a brain: tissue to its edges."""
    return _volume(np.random.default_rng(6).normal(600, 60, (size, size, size)))
