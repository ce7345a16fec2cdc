"""Draw the phantom's bodies, which have no symmetry: tissue at a place in the patient, values of each tissue."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.demo.geometry import Triple
from pipeline.model.volume import Grid

AIR, BODY, MARKER = "air", "body", "marker"
"""Tissues that every phantom has; the marker is a small bright box in one corner: no flip can hide."""


def chance(*words: str | int) -> np.random.Generator:
    """Return a generator that depends on the words alone: the same in any process and order."""
    digest = hashlib.sha256("/".join(str(word) for word in words).encode()).digest()
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(list(digest))))


@dataclass(frozen=True, slots=True)
class Organ:
    """An ellipsoid, in the body's own units: 0 is its middle, 1 half the extent of the field of view, RAS+.

    `klass` is the label's value, 0 for what no expert draws. Later organs lie over earlier ones.
    """

    tissue: str
    centre: Triple
    radii: Triple
    klass: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """One person's inside: organs with this person's own sizes, in RAS+ mm about `middle_mm`."""

    organs: tuple[Organ, ...]
    middle_mm: npt.NDArray[np.float64]
    half_mm: npt.NDArray[np.float64]

    @property
    def tissues(self) -> tuple[str, ...]:
        """Names of the values that `tissue_map` gives, in order."""
        return (AIR, BODY, *(organ.tissue for organ in self.organs), MARKER)

    @property
    def classes(self) -> npt.NDArray[np.uint8]:
        """Label value of each tissue, in the order of `tissues`."""
        return np.array([0, 0, *(organ.klass for organ in self.organs), 0], dtype=np.uint8)

    def places(self, grid: Grid) -> npt.NDArray[np.float64]:
        """Return the voxel centres in the body's units, shape (I, J, K, 3), RAS+."""
        indices = np.moveaxis(np.indices(grid.shape, dtype=np.float64), 0, -1)
        millimetres = indices @ grid.affine[:3, :3].T + grid.affine[:3, 3]
        placed: npt.NDArray[np.float64] = (millimetres - self.middle_mm) / self.half_mm
        return placed

    def tissue_map(self, places: npt.NDArray[np.float64], *, marker: Triple) -> npt.NDArray[np.uint8]:
        """Return the index into `tissues` at each place."""
        found = np.zeros(places.shape[:3], dtype=np.uint8)
        found[_within(places, (0.03, -0.05, 0.04), (0.86, 0.74, 1.25))] = 1
        for index, organ in enumerate(self.organs, start=2):
            found[_within(places, organ.centre, organ.radii)] = index
        found[(np.abs(places - np.array(marker)) <= 0.13).all(axis=-1)] = len(self.organs) + 2
        return found


def _within(places: npt.NDArray[np.float64], centre: Triple, radii: Triple) -> npt.NDArray[np.bool_]:
    inside: npt.NDArray[np.bool_] = (((places - np.array(centre)) / np.array(radii)) ** 2).sum(axis=-1) <= 1
    return inside


def grow(organs: Sequence[Organ], grid: Grid, *, seed: Sequence[str | int]) -> Body:
    """Return one person's body within the field of view of `grid`, each organ shifted and sized by chance."""
    rng = chance("body", *seed)
    grown = []
    for organ in organs:
        shift, size = rng.uniform(-0.05, 0.05, 3), rng.uniform(0.9, 1.12, 3)
        x, y, z = (float(value) for value in np.array(organ.centre) + shift)
        rx, ry, rz = (float(value) for value in np.array(organ.radii) * size)
        grown.append(Organ(organ.tissue, (x, y, z), (rx, ry, rz), organ.klass))
    ends = np.array([(i, j, k, 1) for i in (0, 1) for j in (0, 1) for k in (0, 1)]) * [
        *(n - 1 for n in grid.shape),
        1,
    ]
    corners = (ends @ grid.affine.T)[:, :3]
    # The extent along a patient axis is that of the nearest voxel axis: a tilt does not change organs' sizes.
    spans = np.abs(grid.affine[:3, :3]) * (np.array(grid.shape) - 1)
    return Body(tuple(grown), corners.mean(axis=0), spans.max(axis=1) / 2 + 1e-9)


def paint(
    body: Body, grid: Grid, *, values: Mapping[str, float], marker: Triple, seed: Sequence[str | int]
) -> npt.NDArray[np.int32]:
    """Return a CT in Hounsfield units, -1000 (air) to 1200 (bone), whole numbers."""
    tissues = body.tissue_map(body.places(grid), marker=marker)
    table = np.array([values[name] for name in body.tissues])
    noise = chance("noise", *seed).normal(0, 7, grid.shape)
    slope = body.places(grid) @ np.array([9.0, -6.0, 4.0])
    painted: npt.NDArray[np.int32] = np.clip(np.rint(table[tissues] + noise + slope), -1000, 1200).astype(
        np.int32
    )
    return painted


def glow(
    body: Body, grid: Grid, *, values: Mapping[str, float], marker: Triple, seed: Sequence[str | int]
) -> npt.NDArray[np.int32]:
    """Return MRI magnitudes or ADC: positive whole numbers with a coil's uneven field, 0 where `values` says 0."""
    places = body.places(grid)
    tissues = body.tissue_map(places, marker=marker)
    table = np.array([values[name] for name in body.tissues])[tissues]
    rng = chance("noise", *seed)
    field = 1 + places @ np.array([0.10, -0.07, 0.05])
    noisy = np.abs(table * field * rng.normal(1, 0.02, grid.shape) + rng.normal(0, 4, grid.shape))
    glowing: npt.NDArray[np.int32] = np.where(table > 0, np.clip(np.rint(noisy), 1, 4000), 0).astype(np.int32)
    return glowing


def drawn(body: Body, grid: Grid, *, marker: Triple) -> npt.NDArray[np.uint8]:
    """Return the expert's label on `grid`, shape (I, J, K)."""
    labels: npt.NDArray[np.uint8] = body.classes[body.tissue_map(body.places(grid), marker=marker)]
    return labels
