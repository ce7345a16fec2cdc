"""Contours become the voxels whose centres they enclose, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pydicom
import pytest

from pipeline.model.contour import Contour, Geometric, Roi
from pipeline.model.errors import LabelError
from pipeline.model.volume import Grid
from pipeline.stages.rasterise import rasterise

REAL = Path(__file__).parents[2].parent / "shared/data/real"
SHAPE = (23, 17, 6)
CLOSED = Geometric.CLOSED_PLANAR
Ring = Sequence[tuple[float, float]]


def affine(row: Sequence[float], column: Sequence[float]) -> npt.NDArray[np.float64]:
    """An acquisition's affine in RAS+ mm, from DICOM direction cosines (LPS+); 0.7 x 0.9 x 2.5 mm."""
    steps = np.stack([row, column, np.cross(row, column)], axis=1) * [0.7, 0.9, 2.5]
    placed = np.eye(4)
    placed[:3, :3] = np.diag([-1, -1, 1]) @ steps
    placed[:3, 3] = [-81.3, 44.125, -617.04]
    return placed


def turned(degrees: float, about: int, vector: Sequence[float]) -> npt.NDArray[np.float64]:
    angle = np.radians(degrees)
    first, second = (axis for axis in range(3) if axis != about)
    turn = np.eye(3)
    turn[first, first] = turn[second, second] = np.cos(angle)
    turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
    return turn @ np.array(vector, dtype=float)


GRIDS = {
    "axial": affine([1, 0, 0], [0, 1, 0]),
    "feet first": affine([-1, 0, 0], [0, 1, 0]),
    "sagittal": affine([0, 1, 0], [0, 0, -1]),
    "coronal": affine([1, 0, 0], [0, 0, -1]),
    "oblique": affine(
        turned(17.3, 0, turned(-31.7, 2, [1, 0, 0])), turned(17.3, 0, turned(-31.7, 2, [0, 1, 0]))
    ),
}


@pytest.fixture(params=GRIDS, ids=str)
def grid(request: pytest.FixtureRequest) -> Grid:
    return Grid(SHAPE, GRIDS[request.param])


def contour(grid: Grid, k: float, ring: Ring, kind: Geometric = CLOSED) -> Contour:
    """A contour whose corners are given as voxel indices (i, j)."""
    indices = np.array([[i, j, k, 1] for i, j in ring])
    return Contour((indices @ grid.affine.T)[:, :3], kind)


def circle(i: float, j: float, radius: float, corners: int = 32) -> Ring:
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return [(i + radius * np.cos(angle), j + radius * np.sin(angle)) for angle in angles]


def box(i: float, j: float, width: float, height: float) -> Ring:
    return [(i, j), (i + width, j), (i + width, j + height), (i, j + height)]


def is_inside(i: int, j: int, ring: Ring) -> bool:
    """Even-odd by a ray towards higher i, in exact arithmetic: an independent second opinion."""
    inside = False
    for (i0, j0), (i1, j1) in zip(ring, [*ring[1:], ring[0]], strict=True):
        a, b, c, d = Fraction(i0), Fraction(j0), Fraction(i1), Fraction(j1)
        if (b > j) != (d > j) and i < (c - a) * (j - b) / (d - b) + a:
            inside = not inside
    return inside


def truth(slices: dict[int, Sequence[Ring]]) -> npt.NDArray[np.bool_]:
    """Voxels that an odd number of rings encloses."""
    mask = np.zeros(SHAPE, dtype=bool)
    for k, rings in slices.items():
        for i, j in np.ndindex(SHAPE[:2]):
            mask[i, j, k] = sum(is_inside(i, j, ring) for ring in rings) % 2
    return mask


def drawn(grid: Grid, slices: dict[int, Sequence[Ring]], kind: Geometric = CLOSED) -> npt.NDArray[np.bool_]:
    contours = [contour(grid, k, ring, kind) for k, rings in slices.items() for ring in rings]
    return rasterise([Roi(1, "roi", contours)], grid).value.masks["roi"]


def report(grid: Grid, contours: Sequence[Contour]) -> dict[str, object]:
    (roi,) = rasterise([Roi(1, "roi", contours)], grid).note.facts["rois"]
    return dict(roi)


def test_a_circle_holds_the_centres_nearer_than_its_radius(grid: Grid) -> None:
    mask = drawn(grid, {2: [circle(11.3, 8.2, 5.4, 4096)]})
    i, j, k = np.indices(SHAPE)
    distance = np.hypot(i - 11.3, j - 8.2)
    assert np.abs(distance - 5.4).min() > 1e-4
    assert np.array_equal(mask, (distance < 5.4) & (k == 2))


def test_an_inner_contour_is_a_hole_and_one_inside_it_an_island(grid: Grid) -> None:
    rings = [circle(11.3, 8.2, 7.1), circle(10.9, 8.6, 4.6), circle(11.1, 8.4, 1.7)]
    mask = drawn(grid, {3: rings})
    assert np.array_equal(mask, truth({3: rings}))
    assert mask[11, 8, 3]
    assert not mask[8, 8, 3]
    assert mask[5, 8, 3]


def test_a_keyhole_is_the_same_as_a_hole(grid: Grid) -> None:
    outer, inner = circle(11.3, 8.2, 7.1), circle(11.3, 8.2, 3.3)
    # The channel from the outer to the inner ring is walked in and out on the same line, through centres.
    channel = [(20.0, 8.0), (15.0, 8.0)]
    keyhole = [channel[0], *outer[:1], *outer, outer[0], channel[0], channel[1], *inner, inner[0], channel[1]]
    assert np.array_equal(drawn(grid, {1: [keyhole]}), drawn(grid, {1: [outer, inner]}))


def test_the_xor_type_combines_like_closed_planar(grid: Grid) -> None:
    rings = [circle(9.3, 8.2, 5.1), circle(13.2, 8.4, 4.9)]
    mask = drawn(grid, {4: rings}, Geometric.CLOSEDPLANAR_XOR)
    assert np.array_equal(mask, truth({4: rings}))
    assert np.array_equal(mask, drawn(grid, {4: rings}))


def test_islands_in_one_slice_stay_apart(grid: Grid) -> None:
    rings = [box(1.5, 1.5, 4, 4), box(10.25, 9.75, 7, 5)]
    mask = drawn(grid, {0: rings, 5: rings[:1]})
    assert np.array_equal(mask, truth({0: rings, 5: rings[:1]}))
    assert mask.sum() == 16 + 7 * 5 + 16


def test_half_outside_the_field_is_clipped_and_counted(grid: Grid) -> None:
    rings = [circle(-0.7, 8.1, 4.3), circle(22.2, 16.4, 6.1)]
    assert np.array_equal(drawn(grid, {2: rings}), truth({2: rings}))
    facts = report(grid, [contour(grid, 2, ring) for ring in rings])
    assert (facts["clipped"], facts["outside"]) == (2, 0)


def test_a_contour_that_surrounds_the_field_fills_the_slice(grid: Grid) -> None:
    mask = drawn(grid, {1: [box(-1000, -1000, 3000, 3000)]})
    assert mask[:, :, 1].all()
    assert mask.sum() == SHAPE[0] * SHAPE[1]


def test_a_contour_outside_the_field_leaves_nothing_and_is_counted(grid: Grid) -> None:
    rings = [circle(-30, 8, 5), circle(60, 8, 5), circle(8, -20, 5), circle(8, 40, 5)]
    assert not drawn(grid, {2: rings}).any()
    assert report(grid, [contour(grid, 2, ring) for ring in rings])["outside"] == 4


def test_a_radius_below_a_voxel_holds_the_centre_it_surrounds_or_none(grid: Grid) -> None:
    mask = drawn(grid, {2: [circle(5, 5, 0.2), circle(9.5, 9.5, 0.4)]})
    assert np.argwhere(mask).tolist() == [[5, 5, 2]]


def test_points_and_open_contours_are_skipped_and_counted(grid: Grid) -> None:
    ring = box(3.5, 3.5, 5, 5)
    contours = [
        contour(grid, 2, ring[:1], Geometric.POINT),
        contour(grid, 2, ring, Geometric.OPEN_PLANAR),
        contour(grid, 2, ring, Geometric.OPEN_NONPLANAR),
        contour(grid, 2, ring, Geometric.OTHER),
        contour(grid, 2, ring[:2]),
        contour(grid, 2, ring),
    ]
    facts = report(grid, contours)
    assert facts["skipped"] == {"OPEN_PLANAR": 1, "OPEN_NONPLANAR": 1, "POINT": 1, "OTHER": 1}
    assert (facts["contours"], facts["used"], facts["degenerate"]) == (6, 1, 1)
    assert (facts["voxels"], facts["ml"]) == (25, "0.039375")


def test_a_region_without_contours_is_an_empty_mask(grid: Grid) -> None:
    step = rasterise([Roi(1, "nothing", [])], grid)
    assert step.value.masks["nothing"].shape == SHAPE
    assert not step.value.masks["nothing"].any()
    assert step.note.facts["rois"][0]["gaps"] == 0


def test_slices_without_a_contour_between_others_are_counted_as_gaps(grid: Grid) -> None:
    contours = [contour(grid, k, circle(9, 9, 3.3)) for k in (0, 1, 4, 5)]
    facts = report(grid, contours)
    assert (facts["slices"], facts["gaps"]) == (4, 2)
    mask = rasterise([Roi(1, "roi", contours)], grid).value.masks["roi"]
    assert mask.any(axis=(0, 1)).tolist() == [True, True, False, False, True, True]


def test_a_contour_off_its_plane_goes_to_the_nearest_slice_and_is_counted(grid: Grid) -> None:
    ring = circle(9.1, 8.3, 4.2)
    assert np.array_equal(drawn(grid, {3.4: [ring]}), truth({3: [ring]}))
    assert np.array_equal(drawn(grid, {5.4: [ring]}), truth({5: [ring]}))
    assert np.array_equal(drawn(grid, {2.49: [ring]}), truth({2: [ring]}))
    assert np.array_equal(drawn(grid, {2.51: [ring]}), truth({3: [ring]}))
    facts = report(grid, [contour(grid, 3.4, ring), contour(grid, 2.01, ring)])
    assert (facts["off_plane"], facts["off_plane_slices"]) == (1, "0.4")


@pytest.mark.parametrize("k", [-0.6, 5.6, 2.5, 2.4975, 2.5025, 40.0, -1e4])
def test_a_contour_half_a_slice_or_more_from_every_slice_is_refused(grid: Grid, k: float) -> None:
    with pytest.raises(LabelError, match="contour-off-plane"):
        drawn(grid, {k: [circle(9, 9, 3)]})


def test_contours_of_two_planes_in_one_slice_are_refused(grid: Grid) -> None:
    with pytest.raises(LabelError, match="contour-off-plane"):
        drawn(grid, {2.0: [circle(9, 9, 5)], 2.4: [circle(9, 9, 4)]})


def test_a_tilted_contour_is_refused(grid: Grid) -> None:
    indices = np.array([[i, j, 2 + 0.05 * i, 1] for i, j in circle(9, 9, 5)])
    with pytest.raises(LabelError, match="contour-not-parallel"):
        report(grid, [Contour((indices @ grid.affine.T)[:, :3], CLOSED)])


def test_a_contour_drawn_twice_counts_once_unless_it_is_of_the_xor_type(grid: Grid) -> None:
    ring = circle(9.1, 8.3, 4.2, 32)
    again = [*ring[7:], *ring[:7]][::-1]
    assert np.array_equal(drawn(grid, {2: [ring, again]}), truth({2: [ring]}))
    assert report(grid, [contour(grid, 2, ring), contour(grid, 2, again)])["repeated"] == 1
    assert not drawn(grid, {2: [ring, ring]}, Geometric.CLOSEDPLANAR_XOR).any()


def test_a_contour_drawn_twice_counts_once_also_if_one_of_them_repeats_its_first_point(grid: Grid) -> None:
    ring = [*circle(9.1, 8.3, 4.2, 32)]
    assert np.array_equal(drawn(grid, {2: [ring, [*ring, ring[0]]]}), truth({2: [ring]}))


def test_a_centre_on_a_line_belongs_to_the_side_of_higher_index(grid: Grid) -> None:
    mask = drawn(grid, {2: [box(2, 3, 4, 5)]})
    wanted = np.zeros(SHAPE, dtype=bool)
    wanted[2:6, 3:8, 2] = True
    assert np.array_equal(mask, wanted)


def test_a_slanted_line_through_a_centre_gives_it_to_the_side_of_higher_index() -> None:
    grid, chance = Grid(SHAPE, GRIDS["axial"]), np.random.default_rng(0)
    for across, up in chance.integers(1, 1 << 26, size=(200, 2)) / 2**24:
        # From far below the centre to just above it: the crossing is not computed exactly.
        low, high = (8 - 29 * across, 8 - 29 * up), (8 + across, 8 + up)
        assert drawn(grid, {2: [[low, high, (16.0, 8.0)]]})[8, 8, 2]
        assert not drawn(grid, {2: [[low, high, (0.0, 8.0)]]})[8, 8, 2]


@pytest.mark.parametrize("cut", [(7, 7), (2, 12), (12, 2)], ids=["straight", "falling", "rising"])
def test_regions_that_share_a_line_through_centres_neither_overlap_nor_leave_a_gap(
    grid: Grid, cut: tuple[float, float]
) -> None:
    low, high = cut
    left = [(0.0, 0.0), (low, 0.0), (high, 10.0), (0.0, 10.0)]
    right = [(low, 0.0), (20.0, 0.0), (20.0, 10.0), (high, 10.0)]
    first, second = (drawn(grid, {2: [ring]}) for ring in (left, right))
    assert not (first & second).any()
    assert np.array_equal(first | second, drawn(grid, {2: [box(0, 0, 20, 10)]}))


@pytest.mark.parametrize("seed", range(6))
def test_any_polygon_agrees_with_exact_arithmetic(seed: int) -> None:
    chance = np.random.default_rng(seed)
    # Sixteenths of a voxel: many corners and crossings fall on centres and rows.
    rings = [
        [(float(i) / 16, float(j) / 16) for i, j in chance.integers(-64, 400, size=(corners, 2))]
        for corners in (3, 4, 9, 40)
    ]
    for grid_affine in (GRIDS["axial"], GRIDS["oblique"]):
        assert np.array_equal(drawn(Grid(SHAPE, grid_affine), {2: rings}), truth({2: rings}))


def test_many_crossings_are_worked_off_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    grid, rings = Grid(SHAPE, GRIDS["axial"]), [circle(11.3, 8.2, 7.1), circle(10.9, 8.6, 4.6)]
    whole = drawn(grid, {2: rings})
    monkeypatch.setattr("pipeline.stages.rasterise.CROSSINGS_AT_ONCE", 7)
    assert np.array_equal(drawn(grid, {2: rings}), whole)


def test_names_and_codes_pass_but_the_note_holds_numbers_only(grid: Grid) -> None:
    rois = [
        Roi(3, "Doe^Jane", [], ("SCT:10200004",)),
        Roi(4, "twice", []),
        Roi(9, "twice", []),
        Roi(10, "", []),
    ]
    step = rasterise(rois, grid)
    assert list(step.value.masks) == ["Doe^Jane", "twice #2", "twice #3", "#4"]
    assert step.value.names == {"twice #2": "twice", "twice #3": "twice", "#4": ""}
    assert step.value.codes == {"Doe^Jane": ("SCT:10200004",)}
    assert [roi["number"] for roi in step.note.facts["rois"]] == [3, 4, 9, 10]
    assert "Doe" not in str(step.note.to_json())
    assert "twice" not in str(step.note.to_json())


# The IBSI soft-tissue sarcoma set: every reference mask from its RTSTRUCT


def real_grid(folder: Path) -> Grid:
    """The grid of a plain series, from its headers alone."""
    slices = [pydicom.dcmread(path, stop_before_pixels=True) for path in folder.iterdir()]
    row, column = np.array(slices[0].ImageOrientationPatient, dtype=float).reshape(2, 3)
    positions = np.array([item.ImagePositionPatient for item in slices], dtype=float)
    order = np.argsort(positions @ np.cross(row, column))
    first, last = positions[order[0]], positions[order[-1]]
    down, across = (float(value) for value in slices[0].PixelSpacing)
    steps = np.stack([row * across, column * down, (last - first) / (len(slices) - 1), first], axis=1)
    lps = np.vstack([steps, [0, 0, 0, 1]])
    return Grid(
        (int(slices[0].Columns), int(slices[0].Rows), len(slices)), np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps
    )


@pytest.mark.skipif(not (REAL / "ibsi-sts").is_dir(), reason="the IBSI set is not beside the repo")
@pytest.mark.parametrize("patient", ["STS_002", "STS_003", "STS_008", "STS_012"])
@pytest.mark.parametrize("modality", ["CT", "PET", "MR_T1"])
def test_the_ibsi_reference_mask_is_met_voxel_for_voxel(patient: str, modality: str) -> None:
    folder = REAL / "ibsi-sts/dicom" / patient / modality
    (path,) = (folder / "mask").iterdir()
    item = pydicom.dcmread(path).ROIContourSequence[0]
    contours = [
        Contour(np.array(each.ContourData, dtype=float).reshape(-1, 3) * [-1, -1, 1], CLOSED)
        for each in item.ContourSequence
    ]
    reference = nib.load(REAL / "ibsi-sts/nifti" / patient / f"{modality}_mask.nii.gz")
    grid = real_grid(folder / "image")
    step = rasterise([Roi(1, "GTV", contours)], grid)
    assert grid.equals(Grid(reference.shape, reference.affine), tolerance_mm=0.01)
    assert np.array_equal(step.value.masks["GTV"], np.asarray(reference.dataobj) > 0)


def test_refusals_name_the_contour_and_no_name(grid: Grid) -> None:
    make: Callable[[], object] = lambda: rasterise(  # noqa: E731 - one expression under test
        [Roi(7, "Doe^Jane", [contour(grid, 9, circle(9, 9, 3))])], grid
    )
    with pytest.raises(LabelError) as refusal:
        make()
    assert "closed contour 1 of ROI number 7" in str(refusal.value)
    assert "Doe" not in str(refusal.value)
