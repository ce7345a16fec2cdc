"""Every compressed transfer syntax has its one decoder, and it is there."""

from __future__ import annotations

import contextlib
from io import BytesIO
from pathlib import Path

import gdcm
import numpy as np
import pydicom
import pytest
from pydicom.misc import is_dicom
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from pipeline.io.dicom import read_dataset
from pipeline.model.syntax import DECODERS, LOSSY_SYNTAXES
from pipeline.model.volume import Quantity
from pipeline.stages.convert import convert


@pytest.mark.parametrize("syntax", DECODERS)
def test_the_decoder_of_a_syntax_is_installed(syntax):
    assert DECODERS[syntax] in get_decoder(UID(syntax)).available_plugins


def test_every_compressed_syntax_that_pydicom_can_decode_has_its_decoder():
    decodable = set()
    for uid in filter(lambda uid: uid.is_encapsulated, AllTransferSyntaxes):
        with contextlib.suppress(NotImplementedError):
            decodable.add(get_decoder(uid).UID)
    assert decodable == set(DECODERS)


def test_lossy_syntaxes_are_among_them():
    assert set(DECODERS) > LOSSY_SYNTAXES


# --- The same voxels in every syntax --------------------------------------------------------------------------------

REAL = Path(__file__).parents[3] / "shared/data/real"
PLAIN = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
ENCODED = (RLELossless, JPEG2000Lossless, JPEGLSLossless)
BY_GDCM = {
    "1.2.840.10008.1.2.4.57": gdcm.TransferSyntax.JPEGLosslessProcess14,
    "1.2.840.10008.1.2.4.70": gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    "1.2.840.10008.1.2.4.80": gdcm.TransferSyntax.JPEGLSLossless,
    "1.2.840.10008.1.2.4.90": gdcm.TransferSyntax.JPEG2000Lossless,
    "1.2.840.10008.1.2.5": gdcm.TransferSyntax.RLELossless,
}
"""What a second encoder writes; the codestreams differ from the first one's."""

SERIES = {"ct": "crlm-ct-1004", "mr": "mr-decubitus-hfdr"}
WAYS = [*((uid, "pydicom") for uid in (*PLAIN, *ENCODED)), *((uid, "gdcm") for uid in BY_GDCM)]


def sources(name: str) -> list[Path]:
    folder = REAL / SERIES[name]
    if not folder.is_dir():
        pytest.skip("../shared/data/real is not there")
    return sorted(path for path in folder.rglob("*") if path.is_file() and is_dicom(path))


def by_gdcm(path: Path, uid: str, target: Path) -> bytes:
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(BY_GDCM[uid]))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(target))
    assert writer.Write()
    return target.read_bytes()


def by_pydicom(path: Path, uid: str) -> bytes:
    dataset = pydicom.dcmread(path)
    if uid in ENCODED:
        dataset.compress(uid, generate_instance_uid=False)
    else:
        if uid == ExplicitVRBigEndian:
            words = dataset.pixel_array
            dataset.PixelData = words.astype(words.dtype.newbyteorder(">")).tobytes()
            dataset["PixelData"].VR = "OW"
        dataset.file_meta.TransferSyntaxUID = uid
    stream = BytesIO()
    is_implicit, is_little = uid == ImplicitVRLittleEndian, uid != ExplicitVRBigEndian
    encoding = {"implicit_vr": is_implicit, "little_endian": is_little, "force_encoding": True}
    pydicom.dcmwrite(stream, dataset, **encoding)
    return stream.getvalue()


def transcoded(path: Path, uid: str, encoder: str, folder: Path) -> pydicom.Dataset:
    content = by_gdcm(path, uid, folder / "out.dcm") if encoder == "gdcm" else by_pydicom(path, uid)
    dataset = read_dataset(content)
    assert dataset.file_meta.TransferSyntaxUID == uid
    return dataset


def check_same(paths: list[Path], way: tuple[str, str], folder: Path) -> None:
    wanted = convert([read_dataset(path.read_bytes()) for path in paths], Quantity.ARBITRARY)
    found = convert([transcoded(path, *way, folder) for path in paths], Quantity.ARBITRARY)
    assert np.array_equal(found.value.data, wanted.value.data)
    assert found.value.data.dtype == wanted.value.data.dtype
    assert np.array_equal(found.value.affine, wanted.value.affine)
    assert found.note.facts["lossy"] == wanted.note.facts["lossy"]
    assert found.note.facts["transfer_syntaxes"] == [way[0]]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{UID(way[0]).name}, {way[1]}")
@pytest.mark.parametrize("name", SERIES)
def test_two_slices_hold_the_same_voxels_in_every_syntax(
    name: str, way: tuple[str, str], tmp_path: Path
) -> None:
    by_number = {
        int(pydicom.dcmread(path, stop_before_pixels=True).InstanceNumber): path for path in sources(name)
    }
    check_same([by_number[number] for number in sorted(by_number)[5:7]], way, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{UID(way[0]).name}, {way[1]}")
@pytest.mark.parametrize("name", SERIES)
def test_a_series_holds_the_same_voxels_in_every_syntax(
    name: str, way: tuple[str, str], tmp_path: Path
) -> None:
    check_same(sources(name), way, tmp_path)
