"""A made-up head without symmetry, and a rigid move, for tests of registration."""

from __future__ import annotations

import numpy as np

from pipeline.model.volume import Volume

SHAPE = (32, 36, 28)
AFFINE = np.array([[3.0, 0, 0, -47], [0, 3, 0, -53], [0, 0, 3, -41], [0, 0, 0, 1]])


def head(*, inverted: bool = False) -> np.ndarray:
    """Return a head with four unlike parts, noise and an empty background; inverted, its contrasts are turned."""
    i, j, k = (2 * axis / length - 1 for axis, length in zip(np.indices(SHAPE), SHAPE, strict=True))
    parts = np.zeros(SHAPE)
    parts[(i / 0.8) ** 2 + (j / 0.85) ** 2 + (k / 0.8) ** 2 < 1] = 100
    parts[(i - 0.3) ** 2 + (j - 0.2) ** 2 + (k - 0.1) ** 2 < 0.06] = 180
    parts[(i + 0.3) ** 2 + (j + 0.35) ** 2 + (k + 0.2) ** 2 < 0.05] = 40
    parts[3 * (i + 0.1) ** 2 + (j - 0.45) ** 2 + (k - 0.3) ** 2 < 0.05] = 220
    if inverted:
        parts = np.where(parts == 0, 0, 250 - 0.8 * parts)
    noise = np.random.default_rng(int(inverted)).normal(0, 2, SHAPE)
    return np.asarray(np.where(parts == 0, 0, parts + noise), dtype=np.float32)


def rigid(degrees: tuple[float, float, float], shift_mm: tuple[float, float, float]) -> np.ndarray:
    matrix = np.eye(4)
    for axis, angle in enumerate(np.radians(degrees)):
        turn = np.eye(3)
        first, second = (n for n in range(3) if n != axis)
        turn[[first, second], [first, second]] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        matrix[:3, :3] = turn @ matrix[:3, :3]
    matrix[:3, 3] = shift_mm
    return matrix


MOVED = rigid((4, -6, 8), (5, -7, 3))


def placed(data: np.ndarray, move: np.ndarray | None = None) -> Volume:
    """Return a volume whose frame was moved."""
    return Volume(data, AFFINE if move is None else move @ AFFINE)
