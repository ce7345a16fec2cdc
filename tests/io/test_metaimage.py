"""MetaImage files give their voxels and their place, or are refused."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from pipeline.io.metaimage import data_file, read_metaimage
from pipeline.model.errors import CurationError

DATA = np.arange(24, dtype=np.int16).reshape((2, 3, 4), order="F")


def metaimage(payload: bytes = DATA.tobytes(order="F"), **fields: str | None) -> bytes:
    """A file by hand; a field of None is left out."""
    given: dict[str, str | None] = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False",
        "TransformMatrix": "0 1 0 -1 0 0 0 0 1",
        "Offset": "7 8 9",
        "ElementSpacing": "0.5 0.75 2",
        "DimSize": "2 3 4",
        "ElementType": "MET_SHORT",
    }
    given |= fields
    given["ElementDataFile"] = fields.get("ElementDataFile", "LOCAL")
    lines = [f"{name} = {text}" for name, text in given.items() if text is not None]
    return "\n".join([*lines, ""]).encode() + payload


def code(blob: bytes, companion: bytes | None = None) -> str:
    with pytest.raises(CurationError) as refusal:
        read_metaimage(blob, companion)
    return refusal.value.code


def test_the_header_places_the_voxels_axis_by_axis() -> None:
    raster = read_metaimage(metaimage())
    assert np.array_equal(raster.layers[0], DATA)
    assert raster.affine.tolist() == [[0, 0.75, 0, -7], [-0.5, 0, 0, -8], [0, 0, 2, 9], [0, 0, 0, 1]]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
@pytest.mark.parametrize("ending", [".mha", ".mhd"])
@pytest.mark.parametrize("compress", [True, False])
def test_what_simpleitk_writes_comes_back(tmp_path: Path, dtype: str, ending: str, compress: bool) -> None:
    image = SimpleITK.GetImageFromArray(DATA.T.astype(dtype))
    image.SetSpacing((0.7, 0.9, 2.5))
    image.SetDirection((0, 0.6, 0.8, 1, 0, 0, 0, -0.8, 0.6))
    image.SetOrigin((-81.3, 44.125, -617.04))
    path = tmp_path / f"mask{ending}"
    SimpleITK.WriteImage(image, path, useCompression=compress)
    beside = data_file(path.read_bytes())
    assert (beside is None) == (ending == ".mha")
    raster = read_metaimage(path.read_bytes(), None if beside is None else (tmp_path / beside).read_bytes())
    assert np.array_equal(raster.layers[0], DATA)
    corner = image.TransformIndexToPhysicalPoint((1, 2, 3))
    assert np.allclose(raster.affine @ [1, 2, 3, 1], [-corner[0], -corner[1], corner[2], 1], atol=1e-4)


def test_big_endian_voxels_are_read() -> None:
    big = DATA.astype(">i2").tobytes(order="F")
    assert np.array_equal(read_metaimage(metaimage(big, BinaryDataByteOrderMSB="True")).layers[0], DATA)
    packed = metaimage(zlib.compress(big), ElementByteOrderMSB="True", CompressedData="True")
    assert np.array_equal(read_metaimage(packed).layers[0], DATA)


def test_voxels_that_look_like_a_line_end_stay_voxels() -> None:
    data = np.full((2, 3, 4), 0x0A0A, dtype="<i2")
    assert np.array_equal(read_metaimage(metaimage(data.tobytes())).layers[0], data)


def test_other_fields_are_kept() -> None:
    assert read_metaimage(metaimage(Segment0_Name="a = b")).fields["Segment0_Name"] == "a = b"


@pytest.mark.parametrize(
    ("blob", "wanted"),
    [
        (b"", "unreadable"),
        (metaimage(ElementDataFile=None, payload=b""), "unreadable"),
        (metaimage(ElementDataFile="x.raw"), "label-unsupported"),
        (metaimage(DimSize="2 3 x"), "unreadable"),
        (metaimage(DimSize="2 3 nan"), "unreadable"),
        (metaimage(DimSize="2 3 4.5"), "label-unsupported"),
        (metaimage(DimSize="2 12"), "label-unsupported"),
        (metaimage(DimSize="2 3 -4"), "unreadable"),
        (metaimage(DimSize="99999 99999 99999"), "label-too-large"),
        (metaimage(DimSize="2 3 5"), "truncated"),
        (metaimage(DimSize="2 3 3"), "label-inconsistent"),
        (metaimage(ElementNumberOfChannels="3"), "label-unsupported"),
        (metaimage(ElementType="MET_LONG"), "label-unsupported"),
        (metaimage(BinaryData="False"), "label-unsupported"),
        (metaimage(HeaderSize="-1"), "label-unsupported"),
        (metaimage(DistanceUnits="cm"), "label-unsupported"),
        (metaimage(TransformMatrix=None), "missing-geometry"),
        (metaimage(Offset=None), "missing-geometry"),
        (metaimage(ElementSpacing="1 1"), "missing-geometry"),
    ],
)
def test_damage_is_refused_by_name(blob: bytes, wanted: str) -> None:
    assert code(blob) == wanted
