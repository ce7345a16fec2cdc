"""What dcmqi makes of a SEG and plastimatch of an RTSTRUCT is, voxel for voxel, what we make of them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK

from pipeline.io.dicom import read_dataset
from pipeline.io.rtstruct import read_rtstruct
from pipeline.io.seg import read_seg
from pipeline.model.volume import Grid
from pipeline.stages.rasterise import rasterise

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
SEGMENTATIONS = "seg-fixtures/segmentations"


def tool(name: str) -> Path:
    """Return a program beside this interpreter or on the path; without it the test is skipped."""
    beside = Path(sys.executable).with_name(name)
    found = beside if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed; see .ci/second-opinion.txt")
    return Path(found)


def run(*words: object) -> None:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def grid_of(folder: Path) -> Grid:
    """The grid of a plain series, from its headers alone."""
    slices = [pydicom.dcmread(path, stop_before_pixels=True) for path in folder.iterdir()]
    row, column = np.array(slices[0].ImageOrientationPatient, dtype=float).reshape(2, 3)
    positions = np.array([each.ImagePositionPatient for each in slices], dtype=float)
    order = np.argsort(positions @ np.cross(row, column))
    first, last = positions[order[0]], positions[order[-1]]
    down, across = (float(value) for value in slices[0].PixelSpacing)
    steps = np.stack([row * across, column * down, (last - first) / (len(slices) - 1), first], axis=1)
    shape = (int(slices[0].Columns), int(slices[0].Rows), len(slices))
    return Grid(shape, LPS @ np.vstack([steps, [0, 0, 0, 1]]))


def on(grid: Grid, path: Path, value: int | None = None) -> np.ndarray:
    """Return a mask that another program wrote (or one value of it), on a grid whose voxels its own must be among."""
    image = SimpleITK.ReadImage(str(path))
    data = np.transpose(SimpleITK.GetArrayFromImage(image))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    to_index = np.linalg.inv(grid.affine) @ LPS @ affine
    drawn = data > 0 if value is None else data == value
    places = np.argwhere(drawn) @ to_index[:3, :3].T + to_index[:3, 3]
    assert np.abs(places - np.rint(places)).max() < 1e-2
    mask = np.zeros(grid.shape, dtype=bool)
    mask[tuple(np.rint(places).astype(int).T)] = True
    return mask


@pytest.mark.parametrize(
    ("segmentation", "image"),
    [
        (f"{SEGMENTATIONS}/liver.dcm", f"{SEGMENTATIONS}/ct-3slice"),
        (f"{SEGMENTATIONS}/partial_overlaps.dcm", f"{SEGMENTATIONS}/ct-3slice"),
        (f"{SEGMENTATIONS}/23x38x3/seg/label.seg", f"{SEGMENTATIONS}/23x38x3/image"),
        (f"{SEGMENTATIONS}/24x38x3/seg/label.seg", f"{SEGMENTATIONS}/24x38x3/image"),
        (f"{SEGMENTATIONS}/sparse-labelmap-noppv.dcm", f"{SEGMENTATIONS}/24x38x3/image"),
        ("breast-ser-06/mask/1-1.dcm", "breast-ser-06/image_dce_ser"),
    ],
)
def test_no_voxel_of_a_real_segmentation_differs_from_dcmqi(
    segmentation: str, image: str, real: Path, tmp_path: Path
) -> None:
    program = tool("segimage2itkimage")
    run(program, "--inputDICOM", real / segmentation, "--outputDirectory", tmp_path, "-t", "nrrd")
    grid = grid_of(real / image)
    ours = list(read_seg(pydicom.dcmread(real / segmentation), grid, threshold=0.5).value.masks.values())
    theirs = sorted(tmp_path.glob("*.nrrd"), key=lambda path: int(path.stem))
    assert len(theirs) == len(ours)
    for mask, path in zip(ours, theirs, strict=True):
        assert mask.any()
        assert np.array_equal(mask, on(grid, path))


def test_where_a_label_map_has_no_frame_dcmqi_writes_the_padding_value_and_we_nothing(
    real: Path, tmp_path: Path
) -> None:
    # The value of Pixel Padding Value says background in a label map (Supplement 243, PS3.3 C.8.20.2): dcmqi fills
    # a slice without a frame with it (its release notes, 1.5.5); a reader of its file must not take it for a segment.
    run(
        tool("segimage2itkimage"), "--inputDICOM", real / SEGMENTATIONS / "sparse-labelmap-ppv5.dcm",
        "--outputDirectory", tmp_path, "-t", "nrrd",
    )  # fmt: skip
    (path,) = tmp_path.glob("*.nrrd")
    dataset = pydicom.dcmread(real / SEGMENTATIONS / "sparse-labelmap-ppv5.dcm")
    grid = grid_of(real / SEGMENTATIONS / "24x38x3/image")
    masks = read_seg(dataset, grid, threshold=None).value.masks
    assert list(masks) == ["Liver"]
    assert np.array_equal(masks["Liver"], on(grid, path, 1))
    filled = on(grid, path, int(dataset.PixelPaddingValue))
    assert [bool(filled[:, :, k].all()) for k in range(3)] == [False, True, False]
    assert np.count_nonzero(filled) == filled[:, :, 1].size == 912


def check_contours(structures: Path, image: Path, folder: Path) -> None:
    """Compare every region of a structure set with what plastimatch makes of it."""
    program = tool("plastimatch")
    run(
        program, "convert", "--input", structures, "--referenced-ct", image,
        "--output-prefix", folder, "--prefix-format", "nrrd",
    )  # fmt: skip
    grid = grid_of(image)
    rois = read_rtstruct(read_dataset(structures.read_bytes())).rois
    masks = rasterise(rois, grid).value.masks
    theirs = [on(grid, path) for path in sorted(folder.glob("*.nrrd"))]
    ours = [mask for mask in masks.values() if mask.any()]
    assert len(theirs) >= len(ours) > 0
    assert all(any(np.array_equal(mask, other) for other in theirs) for mask in ours)


@pytest.mark.parametrize("patient", ["STS_002", "STS_003", "STS_008", "STS_012"])
@pytest.mark.parametrize("modality", ["CT", "PET", "MR_T1"])
def test_no_voxel_of_real_contours_differs_from_plastimatch(
    patient: str, modality: str, real: Path, tmp_path: Path
) -> None:
    folder = real / "ibsi-sts/dicom" / patient / modality
    (structures,) = (folder / "mask").iterdir()
    check_contours(structures, folder / "image", tmp_path)
