"""Every compressed transfer syntax has its one decoder, and it is there."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from io import BytesIO
from pathlib import Path

import gdcm
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
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


# --- Lossy sources, and high-throughput JPEG 2000 -------------------------------------------------------------------


def ramp(bits: int) -> list[pydicom.Dataset]:
    """Return two slices of 64 x 48 smooth pixels, with noise, of so many bits."""
    noise = np.random.default_rng(3).integers(0, 5, (2, 48, 64))
    smooth = np.add.outer(np.arange(48), np.arange(64)) * ((1 << bits) - 8) // 112
    slices = []
    for z, pixels in enumerate((smooth + noise).astype(np.uint8 if bits == 8 else np.uint16)):
        dataset = pydicom.Dataset()
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", f"1.2.{z}"
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = pixels.dtype.itemsize * 8, bits, bits - 1
        dataset.PixelRepresentation, dataset.PixelSpacing = 0, [1, 1]
        dataset.ImageOrientationPatient, dataset.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, z]
        dataset.PixelData = pixels.tobytes()
        dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
        slices.append(dataset)
    return slices


def lossy_by_gdcm(dataset: pydicom.Dataset, syntax: int, folder: Path) -> pydicom.Dataset:
    dataset.save_as(folder / "in.dcm", enforce_file_format=True)
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(folder / "in.dcm"))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(folder / "out.dcm"))
    assert writer.Write()
    return read_dataset((folder / "out.dcm").read_bytes())


def check_lossy(slices: list[pydicom.Dataset], wanted: list[pydicom.Dataset], off: int) -> None:
    for dataset in slices:
        # What the encoder declared is taken away: the syntax or the codestream itself must tell.
        dataset.pop("LossyImageCompression", None)
    found, truth = (convert(given, Quantity.ARBITRARY) for given in (slices, wanted))
    apart = np.abs(found.value.data.astype(int) - truth.value.data)
    assert 0 < apart.max() <= off
    assert (found.note.facts["lossy"], truth.note.facts["lossy"]) == (True, False)


@pytest.mark.parametrize(
    "syntax", [gdcm.TransferSyntax.JPEGBaselineProcess1, gdcm.TransferSyntax.JPEGExtendedProcess2_4]
)
def test_lossy_jpeg_is_read_and_flagged(syntax: int, tmp_path: Path) -> None:
    made = [lossy_by_gdcm(dataset, syntax, tmp_path) for dataset in ramp(8)]
    check_lossy(made, ramp(8), off=16)


def test_extended_jpeg_of_twelve_bits_is_read_and_flagged(tmp_path: Path) -> None:
    extended = gdcm.TransferSyntax.JPEGExtendedProcess2_4
    made = [lossy_by_gdcm(dataset, extended, tmp_path) for dataset in ramp(12)]
    check_lossy(made, ramp(12), off=256)


@pytest.mark.parametrize(
    ("syntax", "options"),
    [("1.2.840.10008.1.2.4.81", {"jls_error": 3}), ("1.2.840.10008.1.2.4.91", {"j2k_cr": [12]})],
)
def test_near_lossless_and_irreversible_streams_are_flagged_though_nobody_declared_it(
    syntax: str, options: dict[str, object]
) -> None:
    made = ramp(12)
    for dataset in made:
        dataset.compress(syntax, generate_instance_uid=False, **options)
    check_lossy(made, ramp(12), off=256)


def high_throughput(dataset: pydicom.Dataset, folder: Path, *, is_reversible: bool) -> pydicom.Dataset:
    pixels = dataset.pixel_array
    (folder / "in.pgm").write_bytes(b"P5\n64 48\n4095\n" + pixels.astype(">u2").tobytes())
    words = [
        "ojph_compress",
        "-i",
        str(folder / "in.pgm"),
        "-o",
        str(folder / "out.j2c"),
        "-num_decomps",
        "3",
    ]
    words += ["-reversible", "true"] if is_reversible else ["-reversible", "false", "-qstep", "0.02"]
    subprocess.run(words, check=True, capture_output=True)
    uid = "1.2.840.10008.1.2.4.201" if is_reversible else "1.2.840.10008.1.2.4.203"
    dataset.file_meta.TransferSyntaxUID = uid
    dataset.PixelData = encapsulate([(folder / "out.j2c").read_bytes()])
    dataset["PixelData"].VR = "OB"
    return dataset


def test_high_throughput_jpeg_2000_by_another_encoder_is_the_same_or_flagged(tmp_path: Path) -> None:
    if shutil.which("ojph_compress") is None:
        pytest.skip("ojph_compress (Debian: openjph-tools) is not there")
    same = [high_throughput(dataset, tmp_path, is_reversible=True) for dataset in ramp(12)]
    found, truth = (convert(given, Quantity.ARBITRARY) for given in (same, ramp(12)))
    assert np.array_equal(found.value.data, truth.value.data)
    assert found.note.facts["lossy"] is False
    check_lossy([high_throughput(d, tmp_path, is_reversible=False) for d in ramp(12)], ramp(12), off=256)
