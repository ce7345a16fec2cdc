"""Write the phantom's images as DICOM: what the scanner, the hospital and the archive put into a file."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import gdcm
import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from pipeline.demo.geometry import Acquisition, decimal_string
from pipeline.demo.header import Study, filled, patient_and_study
from pipeline.demo.private import private_elements
from pipeline.demo.sites import uid

Stored = npt.NDArray[np.int32]
"""Numbers as the file holds them, shape (columns, rows, slices)."""

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
IMPLEMENTATION = uid("phantom", "implementation")

SYNTAXES = {
    "implicit": "1.2.840.10008.1.2",
    "explicit": "1.2.840.10008.1.2.1",
    "deflated": "1.2.840.10008.1.2.1.99",
    "big-endian": "1.2.840.10008.1.2.2",
    "rle": "1.2.840.10008.1.2.5",
    "jpeg-lossless": "1.2.840.10008.1.2.4.70",
    "jpeg-ls": "1.2.840.10008.1.2.4.80",
    "jpeg2000": "1.2.840.10008.1.2.4.90",
}
"""Transfer syntaxes by the names that `sites` uses (PS3.5 A)."""

_ENCODERS = {"rle": "pydicom", "jpeg-ls": "pyjpegls"}
_GDCM_SYNTAXES = {
    # Process 14, selection value 1 (PS3.5 A.4.2).
    "jpeg-lossless": gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    "jpeg2000": gdcm.TransferSyntax.JPEG2000Lossless,
}


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One series: its inner name (never written), what the header says, where it lies, and its numbers."""

    name: str
    number: int
    description: str
    image_type: tuple[str, ...]
    acquisition: Acquisition
    stored: Stored
    instance_numbers: tuple[int, ...]
    is_signed: bool
    rescale: tuple[str, str] | None
    elements: Mapping[str, object] = field(default_factory=dict)


def slices(study: Study, series: Series) -> list[Dataset]:
    """Return the datasets of a series in the order of its slices along the normal, pixels native."""
    shared = patient_and_study(study)
    b_value = series.elements.get("DiffusionBValue")
    shared.update(
        private_elements(
            study.site.vendor, study.identity, b_value=b_value if isinstance(b_value, float) else None
        )
    )
    return [_slice(study, series, k, shared) for k in range(series.stored.shape[2])]


def _slice(study: Study, series: Series, k: int, shared: Dataset) -> Dataset:
    dataset = Dataset()
    dataset.update(shared)
    filled(dataset, _series_values(study, series))
    filled(dataset, _slice_values(study, series, k))
    filled(dataset, _pixel_values(series, k))
    filled(dataset, series.elements)
    return dataset


def _series_values(study: Study, series: Series) -> dict[str, object]:
    place = series.acquisition
    return {
        "SOPClassUID": CT_IMAGE if study.modality == "CT" else MR_IMAGE,
        "Modality": study.modality,
        "SeriesInstanceUID": study.series_uid(series.name),
        "SeriesNumber": str(series.number),
        "SeriesDescription": series.description,
        "ProtocolName": series.description,
        "SeriesDate": study.identity.study_date,
        "SeriesTime": f"1016{series.number % 60:02d}.250000",
        "BodyPartExamined": study.region,
        "PatientPosition": place.position,
        "FrameOfReferenceUID": study.frame_uid,
        "PositionReferenceIndicator": "",
        "ImageType": list(series.image_type),
        "AcquisitionNumber": "1",
        "SliceThickness": decimal_string(place.slice_mm),
        "ImageOrientationPatient": [decimal_string(x) for x in (*place.along_row, *place.along_column)],
        "PixelSpacing": [decimal_string(place.row_mm), decimal_string(place.column_mm)],
    }


def _slice_values(study: Study, series: Series, k: int) -> dict[str, object]:
    origin = series.acquisition.slice_origin(k)
    number = series.instance_numbers[k]
    date = study.identity.study_date
    return {
        "SOPInstanceUID": study.instance_uid(series.name, number),
        "InstanceNumber": str(number),
        "ImagePositionPatient": [decimal_string(x) for x in origin],
        "SliceLocation": decimal_string(round(float(np.dot(origin, series.acquisition.normal)), 3)),
        "InstanceCreationDate": date,
        "InstanceCreationTime": f"1030{number % 60:02d}.500000",
        "AcquisitionDate": date,
        "AcquisitionTime": "101733.750000",
        "AcquisitionDateTime": f"{date}101733.750000",
        "ContentDate": date,
        "ContentTime": f"1018{number % 60:02d}.125000",
    }


def _pixel_values(series: Series, k: int) -> dict[str, object]:
    columns, rows, _ = series.stored.shape
    plane = series.stored[:, :, k].T
    bits = 16 if series.is_signed or plane.max() > 4095 else 12
    values: dict[str, object] = {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": rows,
        "Columns": columns,
        "BitsAllocated": 16,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(series.is_signed),
        "WindowCenter": "40",
        "WindowWidth": "400",
        "PixelData": np.ascontiguousarray(plane.astype("<i2" if series.is_signed else "<u2")).tobytes(),
    }
    if series.rescale is not None:
        values["RescaleSlope"], values["RescaleIntercept"] = series.rescale
    return values


def encode(dataset: Dataset, syntax: str, pacs: str) -> bytes:
    """Return the file of a dataset in a transfer syntax (a name of `SYNTAXES`), pixels encoded without loss.

    `dataset` holds native little-endian pixels and is not changed.
    """
    written = Dataset()
    written.update(dataset)
    written.file_meta = file_meta(dataset, syntax, pacs)
    if "PixelData" in dataset:
        written["PixelData"] = copy(dataset["PixelData"])
        _encode_pixels(written, syntax)
    if dataset.SOPClassUID == MEDIA_DIRECTORY:
        # A directory is no instance: its class and UID stand in the file meta information alone (PS3.10 8.6).
        del written.SOPClassUID, written.SOPInstanceUID
    with BytesIO() as stream:
        dcmwrite(
            stream,
            written,
            enforce_file_format=True,
            little_endian=syntax != "big-endian",
            implicit_vr=syntax == "implicit",
        )
        return stream.getvalue()


def file_meta(dataset: Dataset, syntax: str, pacs: str) -> FileMetaDataset:
    """Return the file meta information (PS3.10 7.1) of a dataset, naming the archive that sent it."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = UID(SYNTAXES[syntax])
    meta.ImplementationClassUID = UID(IMPLEMENTATION)
    meta.ImplementationVersionName = "PHANTOM_1"
    meta.SourceApplicationEntityTitle = pacs
    return meta


def _encode_pixels(dataset: Dataset, syntax: str) -> None:
    """Replace native pixels by the syntax's encoding, in place."""
    native: bytes = dataset.PixelData
    if syntax in _GDCM_SYNTAXES:
        coded = _by_gdcm(dataset, gdcm.TransferSyntax(_GDCM_SYNTAXES[syntax]))
        dataset.PixelData = encapsulate([coded])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
    elif syntax in _ENCODERS:
        meta = dataset.file_meta
        dataset.file_meta = file_meta(dataset, "explicit", "")
        dataset.compress(SYNTAXES[syntax], encoding_plugin=_ENCODERS[syntax], generate_instance_uid=False)
        dataset.file_meta = meta
    else:
        # PS3.5 7.3: 16-bit words are swapped in big endian; pydicom leaves that to the writer.
        swaps = syntax == "big-endian" and dataset.BitsAllocated == 16
        dataset.PixelData = np.frombuffer(native, "<u2").astype(">u2").tobytes() if swaps else native
        dataset["PixelData"].VR = "OW" if dataset.BitsAllocated == 16 else "OB"


def _by_gdcm(dataset: Dataset, syntax: gdcm.TransferSyntax) -> bytes:
    """Return the frame of a dataset in one of gdcm's syntaxes, which it encodes at any size of image."""
    plain = Dataset()
    plain.update(dataset)
    plain.file_meta = file_meta(dataset, "explicit", "")
    with tempfile.TemporaryDirectory() as folder:
        # gdcm owns its images only when its own reader made them, and that reads files.
        path = Path(folder) / "native.dcm"
        dcmwrite(path, plain, enforce_file_format=True)
        reader = gdcm.ImageReader()
        reader.SetFileName(str(path))
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(syntax)
        if not reader.Read():
            raise ValueError("gdcm could not read the frame")
        change.SetInput(reader.GetImage())
        if not change.Change():
            raise ValueError("gdcm refused the frame")
        fragment = change.GetOutput().GetDataElement().GetSequenceOfFragments().GetFragment(0)
        # gdcm hands bytes out as text with surrogates.
        coded: bytes = fragment.GetByteValue().GetBuffer().encode("utf-8", "surrogateescape")
    return coded


def shuffled(items: Sequence[Dataset], rng: np.random.Generator) -> list[Dataset]:
    """Return the instances in another order, as archives hand them out."""
    return [items[int(index)] for index in rng.permutation(len(items))]
