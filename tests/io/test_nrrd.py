"""NRRD files give their voxels and their place, or are refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from pipeline.io.nrrd import data_file, read_nrrd
from pipeline.model.errors import CurationError

DATA = np.arange(24, dtype=np.int16).reshape((2, 3, 4), order="F")


def nrrd(payload: bytes = DATA.tobytes(order="F"), **fields: str | None) -> bytes:
    """A file by hand; a field of None is left out, `_` in a name is a blank."""
    given: dict[str, str | None] = {
        "type": "short",
        "dimension": "3",
        "space": "left-posterior-superior",
        "sizes": "2 3 4",
        "space directions": "(0.5,0,0) (0,0.75,0) (0,0,2)",
        "kinds": "domain domain domain",
        "endian": "little",
        "encoding": "raw",
        "space origin": "(7,8,9)",
    }
    given |= {name.replace("_", " "): text for name, text in fields.items()}
    lines = [
        "NRRD0004",
        "# a comment",
        *(f"{name}: {text}" for name, text in given.items() if text is not None),
    ]
    return "\n".join([*lines, "", ""]).encode() + payload


def code(blob: bytes, companion: bytes | None = None) -> str:
    with pytest.raises(CurationError) as refusal:
        read_nrrd(blob, companion)
    return refusal.value.code


def test_the_header_places_the_voxels() -> None:
    raster = read_nrrd(nrrd())
    assert np.array_equal(raster.layers[0], DATA)
    assert raster.affine.tolist() == [[-0.5, 0, 0, -7], [0, -0.75, 0, -8], [0, 0, 2, 9], [0, 0, 0, 1]]


@pytest.mark.parametrize(
    ("space", "signs"),
    [("RAS", (1, 1)), ("right-anterior-superior", (1, 1)), ("LAS", (-1, 1)), ("lps", (-1, -1))],
)
def test_every_named_space_of_the_body_is_turned_to_ras(space: str, signs: tuple[int, int]) -> None:
    affine = read_nrrd(nrrd(space=space)).affine
    assert affine[:3, 3].tolist() == [signs[0] * 7, signs[1] * 8, 9]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
@pytest.mark.parametrize("compress", [True, False])
def test_what_simpleitk_writes_comes_back(tmp_path: Path, dtype: str, compress: bool) -> None:
    image = SimpleITK.GetImageFromArray(DATA.T.astype(dtype))
    image.SetSpacing((0.7, 0.9, 2.5))
    image.SetDirection((0, 0.6, 0.8, 1, 0, 0, 0, -0.8, 0.6))
    image.SetOrigin((-81.3, 44.125, -617.04))
    SimpleITK.WriteImage(image, tmp_path / "mask.nrrd", useCompression=compress)
    raster = read_nrrd((tmp_path / "mask.nrrd").read_bytes())
    assert np.array_equal(raster.layers[0], DATA)
    corner = image.TransformIndexToPhysicalPoint((1, 2, 3))
    assert np.allclose(raster.affine @ [1, 2, 3, 1], [-corner[0], -corner[1], corner[2], 1])


def test_big_endian_and_other_encodings_are_read() -> None:
    big = DATA.astype(">i2").tobytes(order="F")
    assert np.array_equal(read_nrrd(nrrd(big, endian="big")).layers[0], DATA)
    assert np.array_equal(read_nrrd(nrrd(gzip.compress(big), endian="big", encoding="gz")).layers[0], DATA)
    words = " ".join(str(number) for number in range(24)).encode()
    assert np.array_equal(read_nrrd(nrrd(words, encoding="ascii", endian=None)).layers[0], DATA)


def test_line_ends_of_another_system_are_read() -> None:
    header, payload = nrrd().split(b"\n\n", 1)
    assert np.array_equal(read_nrrd(header.replace(b"\n", b"\r\n") + b"\r\n\r\n" + payload).layers[0], DATA)


def test_layers_come_first_wherever_their_axis_stands() -> None:
    stacked = np.stack([DATA, DATA + 100])
    fields = {
        "dimension": "4",
        "sizes": "2 2 3 4",
        "space directions": "none (0.5,0,0) (0,0.75,0) (0,0,2)",
        "kinds": "list domain domain domain",
    }
    raster = read_nrrd(nrrd(stacked.tobytes(order="F"), **fields))
    assert np.array_equal(raster.layers, stacked)
    last = {**fields, "sizes": "2 3 4 2", "space directions": "(0.5,0,0) (0,0.75,0) (0,0,2) none"}
    raster = read_nrrd(nrrd(np.moveaxis(stacked, 0, -1).tobytes(order="F"), **last))
    assert np.array_equal(raster.layers, stacked)


def test_key_value_pairs_are_kept_apart_from_fields() -> None:
    blob = nrrd().replace(b"kinds:", b"Segment0_Name:=a: b:=c\nkinds:")
    assert read_nrrd(blob).fields == {"Segment0_Name": "a: b:=c"}


def test_a_header_alone_names_its_data_file() -> None:
    payload = DATA.tobytes(order="F")
    alone = nrrd(b"", data_file="mask.raw")
    assert data_file(alone) == "mask.raw"
    assert data_file(nrrd()) is None
    assert np.array_equal(read_nrrd(alone, payload).layers[0], DATA)
    assert np.array_equal(read_nrrd(alone.rstrip(b"\n") + b"\n", payload).layers[0], DATA)
    assert code(alone) == "label-unsupported"
    assert code(nrrd(), payload) == "label-unsupported"


@pytest.mark.parametrize(
    ("blob", "wanted"),
    [
        (b"", "unreadable"),
        (b"NRRD0009\n\n", "unreadable"),
        (nrrd(type=None), "unreadable"),
        (nrrd(type="block"), "label-unsupported"),
        (nrrd(sizes=None), "unreadable"),
        (nrrd(sizes="2 3 x"), "unreadable"),
        (nrrd(sizes="2 3 4 1"), "unreadable"),
        (nrrd(sizes="2 3 0"), "unreadable"),
        (nrrd(sizes="99999 99999 99999"), "label-too-large"),
        (nrrd(sizes="2 3 5"), "truncated"),
        (nrrd(sizes="2 3 3"), "label-inconsistent"),
        (nrrd(dimension="x"), "unreadable"),
        (nrrd(encoding="zrl"), "label-unsupported"),
        (nrrd(encoding=None), "unreadable"),
        (nrrd(endian=None), "unreadable"),
        (nrrd(endian="middle"), "unreadable"),
        (nrrd(byte_skip="4"), "label-unsupported"),
        (nrrd(space=None), "missing-geometry"),
        (nrrd(space="scanner-xyz"), "missing-geometry"),
        (nrrd(space_origin=None), "missing-geometry"),
        (nrrd(space_origin="(1,2)"), "missing-geometry"),
        (nrrd(space_origin="(1,2,nan)"), "missing-geometry"),
        (nrrd(space_directions=None), "missing-geometry"),
        (nrrd(space_directions="(1,0,0) (0,1,0)"), "missing-geometry"),
        (nrrd(space_directions="(1,0,0) (0,1,0) (0,0)"), "missing-geometry"),
        (nrrd(space_directions="(1,0,0) (0,1,0) none"), "label-unsupported"),
        (nrrd(space_units='"cm" "cm" "cm"'), "label-unsupported"),
        (nrrd(dimension="2", sizes="2 12", space_directions="(1,0,0) (0,1,0)"), "label-unsupported"),
    ],
)
def test_damage_is_refused_by_name(blob: bytes, wanted: str) -> None:
    assert code(blob) == wanted
