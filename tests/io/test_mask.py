"""A label map becomes masks under the names its file gives them."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from pipeline.io.mask import MOST_VALUES, companion_name, is_mask, read_label_names, read_mask
from pipeline.model.errors import CurationError, LabelError
from pipeline.model.rules import Label, LabelClass
from pipeline.model.volume import Grid
from pipeline.stages.label import label

REAL = Path(__file__).parents[2].parent / "shared/data/real"
DATA = np.array(np.random.default_rng(0).integers(0, 4, (5, 4, 3)), dtype=np.uint8)
AFFINE = np.array([[0.7, 0, 0, -81.3], [0, 0.9, 0, 44.125], [0, 0, 2.5, -617.04], [0, 0, 0, 1]])


def nifti(data: np.ndarray = DATA, affine: np.ndarray = AFFINE) -> bytes:
    return nib.Nifti1Image(data, affine).to_bytes()


def nrrd(data: np.ndarray = DATA, pairs: str = "", sizes: str = "5 4 3", lists: str = "") -> bytes:
    header = f"""NRRD0005
type: {"uint8" if data.dtype == np.uint8 else "float"}
dimension: {data.ndim}
space: left-posterior-superior
sizes: {sizes}
space directions: {lists}(0.7,0,0) (0,0.9,0) (0,0,2.5)
encoding: raw
endian: little
space origin: (81.3,-44.125,-617.04)
{pairs}
"""
    return header.encode() + (b"\n" if pairs else b"") + data.tobytes(order="F")


SLICER = """Segment0_LabelValue:=2
Segment0_Layer:=0
Segment0_Name:=Liver
Segment0_Tags:=Segmentation.Status:inprogress|TerminologyEntry:Segmentation category and type - 3D Slicer \
General Anatomy list~SCT^123037004^Anatomical Structure~SCT^10200004^Liver~^^~Anatomic codes~^^~^^|
Segment1_LabelValue:=1
Segment1_Layer:=0
Segment1_Name:=Spleen
Segment1_Tags:=|"""


def code(blob: bytes, name: str, **others: object) -> str:
    with pytest.raises(CurationError) as refusal:
        read_mask(blob, name, **others)
    return refusal.value.code


def test_every_value_but_zero_is_a_mask() -> None:
    step = read_mask(nifti(), "label.nii")
    assert list(step.value.masks) == ["value 1", "value 2", "value 3"]
    for value in (1, 2, 3):
        assert np.array_equal(step.value.masks[f"value {value}"], value == DATA)
    assert step.value.grid.equals(Grid(DATA.shape, AFFINE))
    assert step.note.facts == {"source": "NIfTI", "dtype": "uint8", "layers": 1, "masks": 3}


def test_negative_values_are_masks_of_their_own() -> None:
    data = DATA.astype(np.int16)
    data[0, 0, 0] = -5
    assert list(read_mask(nifti(data), "x.nii").value.masks) == ["value -5", "value 1", "value 2", "value 3"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_that_are_whole_are_taken_as_whole_numbers(dtype: type) -> None:
    step = read_mask(nifti(DATA.astype(dtype)), "x.nii")
    assert np.array_equal(step.value.masks["value 3"], DATA == 3)
    assert step.note.facts["dtype"] == np.dtype(dtype).name


@pytest.mark.parametrize("value", [0.5, 1.0000001, np.nan, np.inf, -np.inf, 1e20])
def test_floats_that_are_not_whole_are_refused(value: float) -> None:
    data = DATA.astype(np.float64)
    data[1, 1, 1] = value
    assert code(nifti(data), "x.nii") == "label-not-whole"


def test_an_image_is_not_taken_for_a_label_map() -> None:
    data = np.arange(MOST_VALUES + 2, dtype=np.int16).reshape(-1, 1, 1)
    assert code(nifti(data), "x.nii") == "label-unsupported"
    assert len(read_mask(nifti(data[:-1]), "x.nii").value.masks) == MOST_VALUES


def test_segments_that_slicer_names_bear_their_names_and_codes() -> None:
    step = read_mask(nrrd(pairs=SLICER), "x.seg.nrrd")
    assert list(step.value.masks) == ["Liver", "Spleen", "value 3"]
    assert np.array_equal(step.value.masks["Liver"], DATA == 2)
    assert np.array_equal(step.value.masks["Spleen"], DATA == 1)
    assert step.value.codes == {"Liver": ("SCT:10200004",)}
    assert "Liver" not in str(step.note.to_json())


def test_slicer_says_that_a_file_may_hold_a_part_of_the_image() -> None:
    part = SLICER + "\nSegmentation_ReferenceImageExtentOffset:=10 20 3"
    assert read_mask(nrrd(pairs=part), "x.seg.nrrd").value.is_part
    assert not read_mask(nrrd(pairs=SLICER), "x.seg.nrrd").value.is_part


def test_layers_of_slicer_may_overlap() -> None:
    second = (np.random.default_rng(1).random(DATA.shape) < 0.5).astype(np.uint8)
    pairs = SLICER + "\nSegment2_LabelValue:=1\nSegment2_Layer:=1\nSegment2_Name:=Lesion"
    pairs += "\nSegment3_LabelValue:=3\nSegment3_Name:=Other\nSegment3_Layer:=0"
    blob = nrrd(np.stack([DATA, second]), pairs=pairs, sizes="2 5 4 3", lists="none ")
    step = read_mask(blob, "x.seg.nrrd")
    assert np.array_equal(step.value.masks["Lesion"], second == 1)
    assert np.array_equal(step.value.masks["Liver"], DATA == 2)
    undeclared = nrrd(np.stack([DATA, second]), pairs=SLICER, sizes="2 5 4 3", lists="none ")
    assert code(undeclared, "x.nrrd") == "label-value-undeclared"


def test_old_segmentations_of_slicer_have_a_layer_for_each_segment() -> None:
    layers = np.stack([DATA == 1, DATA == 2]).astype(np.uint8)
    blob = nrrd(layers, pairs="Segment0_Name:=a\nSegment1_Name:=b", sizes="2 5 4 3", lists="none ")
    step = read_mask(blob, "x.nrrd")
    assert np.array_equal(step.value.masks["a"], DATA == 1)
    assert np.array_equal(step.value.masks["b"], DATA == 2)


@pytest.mark.parametrize(
    ("pairs", "wanted"),
    [
        ("Segment0_LabelValue:=x\nSegment0_Name:=a", "unreadable"),
        ("Segment0_Layer:=1\nSegment0_Name:=a", "label-inconsistent"),
        ("Segment0_LabelValue:=0\nSegment0_Name:=a", "label-inconsistent"),
        ("Segment0_Name:=a\nSegment1_Name:=b", "label-inconsistent"),
    ],
)
def test_segments_that_contradict_each_other_are_refused(pairs: str, wanted: str) -> None:
    assert code(nrrd(pairs=pairs), "x.nrrd") == wanted


def test_names_of_values_may_come_from_a_list_beside_the_file() -> None:
    names = read_label_names(
        '# comment\n\n    0     0    0    0        0  0  0    "Clear Label"\n'
        '    1   255    0    0        1  1  1    "Left "lobe""\n    3     0  255    0     0.5  1  0    "Cyst"\n'
    )
    assert names == {0: "Clear Label", 1: 'Left "lobe"', 3: "Cyst"}
    step = read_mask(nifti(), "x.nii", names=names)
    assert list(step.value.masks) == ['Left "lobe"', "Cyst", "value 2"]
    assert np.array_equal(step.value.masks["Cyst"], DATA == 3)


@pytest.mark.parametrize("text", ["1 Liver", '1 0 0 0 1 1 1 "a"\n1 0 0 0 1 1 1 "b"', "<xml>"])
def test_another_list_of_names_is_refused(text: str) -> None:
    with pytest.raises(CurationError, match="unreadable"):
        read_label_names(text)


def test_axes_that_span_no_volume_are_refused() -> None:
    blob = bytearray(nifti())
    blob[312:328] = bytes(16)
    assert code(bytes(blob), "x.nii") == "missing-geometry"


def test_a_nifti_mask_of_several_volumes_is_refused() -> None:
    made = nib.Nifti1Image(np.ones((2, 3, 4, 2), np.uint8), np.eye(4))
    with pytest.raises(LabelError) as refusal:
        read_mask(made.to_bytes(), "label.nii")
    assert refusal.value.code == "label-unsupported"


def test_another_ending_is_refused_without_quoting_the_name() -> None:
    with pytest.raises(CurationError) as refusal:
        read_mask(b"", "Doe^Jane.png")
    assert refusal.value.code == "label-unsupported"
    assert "Doe" not in str(refusal.value)


def test_masks_are_known_by_their_endings() -> None:
    assert all(
        is_mask(f"a/b.{end}") for end in ("nii", "NII.GZ", "hdr", "nrrd", "seg.nrrd", "nhdr", "mha", "MHD")
    )
    assert not any(is_mask(name) for name in ("a.dcm", "a.img", "nii", "a.gz", "a.nii.bz2", "a.raw"))


def test_a_header_alone_says_which_file_it_needs() -> None:
    assert companion_name(b"", "a/label.hdr") == "a/label.img"
    assert companion_name(nifti(), "label.nii") is None
    assert companion_name(nrrd(), "label.nrrd") is None
    alone = nrrd().replace(b"encoding:", b"data file: label.raw.gz\nencoding:")
    assert companion_name(alone, "label.nhdr") == "label.raw.gz"
    for elsewhere in (b"../label.raw", b"/etc/passwd", b"a b", b"LIST", b"x%03d.raw", b"..", b"c:x", b"a\\b"):
        with pytest.raises(CurationError, match="label-unsupported"):
            companion_name(alone.replace(b"label.raw.gz", elsewhere), "label.nhdr")


def test_what_simpleitk_writes_as_analyze_is_a_nifti_pair_and_is_read(tmp_path: Path) -> None:
    image = SimpleITK.GetImageFromArray(DATA.T)
    SimpleITK.WriteImage(image, tmp_path / "label.hdr")
    header = (tmp_path / "label.hdr").read_bytes()
    step = read_mask(header, "label.hdr", companion=(tmp_path / "label.img").read_bytes())
    assert np.array_equal(step.value.masks["value 3"], DATA == 3)


def test_plain_analyze_does_not_say_where_it_lies_and_is_refused() -> None:
    files = nib.AnalyzeImage.make_file_map()
    for holder in files.values():
        holder.fileobj = io.BytesIO()
    nib.AnalyzeImage(DATA, AFFINE).to_file_map(files)
    header, voxels = (files[name].fileobj.getvalue() for name in ("header", "image"))
    assert code(header, "label.hdr", companion=voxels) == "missing-geometry"


# On the image's grid, however the file was turned


def written(kind: str, data: np.ndarray, affine: np.ndarray, folder: Path) -> bytes:
    """A file by another program: nibabel writes NIfTI, SimpleITK the others."""
    if kind.startswith(".nii"):
        nib.save(nib.Nifti1Image(data, affine), folder / f"label{kind}")
        return (folder / f"label{kind}").read_bytes()
    lps = np.diag([-1, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(data.T))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    SimpleITK.WriteImage(image, folder / f"label{kind}")
    return (folder / f"label{kind}").read_bytes()


@pytest.mark.parametrize("kind", [".nii.gz", ".nrrd", ".mha"])
def test_each_of_the_48_orientations_lands_on_the_image(kind: str, tmp_path: Path) -> None:
    rule = Label(
        classes=tuple(LabelClass(value=value, name=f"class {value}", from_names=()) for value in (1, 2, 3))
    )
    ways = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))
    assert len(ways) == 48
    for axes, signs in ways:
        change = np.zeros((4, 4))
        change[3, 3] = 1
        for place, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
            change[axis, place] = sign
            change[axis, 3] = 0 if sign > 0 else DATA.shape[axis] - 1
        turned = np.transpose(DATA, axes)[tuple(slice(None, None, sign) for sign in signs)]
        blob = written(kind, turned, AFFINE @ change, tmp_path)
        step = label(read_mask(blob, kind).value, Grid(DATA.shape, AFFINE), rule)
        assert np.array_equal(step.value.data, DATA), (axes, signs)
        assert step.value.affine.tobytes() == AFFINE.tobytes()


@pytest.mark.skipif(not (REAL / "seg-fixtures").is_dir(), reason="the SEG fixtures are not beside the repo")
@pytest.mark.parametrize("name", ["liver_spine_seg.nrrd", "24x38x3/nrrd/label.nrrd", "heart_seg.nrrd"])
def test_real_masks_read_as_simpleitk_reads_them(name: str) -> None:
    path = REAL / "seg-fixtures/segmentations" / name
    image = SimpleITK.ReadImage(path)
    voxels = np.transpose(SimpleITK.GetArrayFromImage(image))
    step = read_mask(path.read_bytes(), name)
    assert len(step.value.masks) == len(np.unique(voxels)) - 1
    for key, mask in step.value.masks.items():
        assert np.array_equal(mask, voxels == int(key.removeprefix("value ")))
    last = [size - 1 for size in voxels.shape]
    corner = np.array(image.TransformIndexToPhysicalPoint(last)) * [-1, -1, 1]
    assert np.allclose(step.value.grid.affine @ [*last, 1], [*corner, 1], atol=1e-6)
