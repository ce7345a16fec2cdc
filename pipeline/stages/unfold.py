"""Turn an image that holds many slices into single-frame images.

Three kinds of image hold many slices. An enhanced multi-frame image (PS3.3 A.36, A.38, A.56 and their legacy
converted forms) describes each frame in functional groups, shared by all frames or its own. A Siemens mosaic and
a United Imaging grid lay the slices of one volume side by side in one large image and tell the layout in private
elements. What comes out looks as if the scanner had sent one classic image for each slice.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator, Mapping, Sequence
from math import isqrt, prod
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.errors import BytesLengthException
from pydicom.pixels.decoders.base import get_decoder
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian
from pydicom.valuerep import DSfloat

from pipeline.model.errors import GeometryError, SourceError
from pipeline.model.syntax import DECODERS, DECODING_ERRORS, LOSSY_SYNTAXES

Numbers = npt.NDArray[np.float64]

READING_ERRORS = (*DECODING_ERRORS, BytesLengthException, OSError, struct.error)
"""Whatever pydicom raises where an element or the pixel data do not fit their description."""

CLASSIC = {
    "1.2.840.10008.5.1.4.1.1.2.1": "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.2.2": "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.4.1": "1.2.840.10008.5.1.4.1.1.4",
    "1.2.840.10008.5.1.4.1.1.4.4": "1.2.840.10008.5.1.4.1.1.4",
    "1.2.840.10008.5.1.4.1.1.130": "1.2.840.10008.5.1.4.1.1.128",
    "1.2.840.10008.5.1.4.1.1.128.1": "1.2.840.10008.5.1.4.1.1.128",
}
"""SOP class of enhanced and legacy converted CT, MR and PET images -> that of the classic image."""

GROUPS: Mapping[str, Mapping[str, str]] = {
    "PixelMeasuresSequence": {
        "PixelSpacing": "PixelSpacing",
        "SliceThickness": "SliceThickness",
        "SpacingBetweenSlices": "SpacingBetweenSlices",
    },
    "PlanePositionSequence": {"ImagePositionPatient": "ImagePositionPatient"},
    "PlaneOrientationSequence": {"ImageOrientationPatient": "ImageOrientationPatient"},
    "PixelValueTransformationSequence": {
        "RescaleIntercept": "RescaleIntercept",
        "RescaleSlope": "RescaleSlope",
        "RescaleType": "RescaleType",
    },
    "FrameContentSequence": {
        "FrameAcquisitionNumber": "AcquisitionNumber",
        "FrameAcquisitionDateTime": "AcquisitionDateTime",
        "StackID": "StackID",
        "InStackPositionNumber": "InStackPositionNumber",
        "TemporalPositionIndex": "TemporalPositionIdentifier",
        "DimensionIndexValues": "DimensionIndexValues",
    },
    "TemporalPositionSequence": {"TemporalPositionTimeOffset": "TemporalPositionTimeOffset"},
    "CardiacSynchronizationSequence": {
        "NominalCardiacTriggerDelayTime": "TriggerTime",
        "NominalPercentageOfCardiacPhase": "NominalPercentageOfCardiacPhase",
    },
    "MREchoSequence": {"EffectiveEchoTime": "EchoTime"},
    "MRTimingAndRelatedParametersSequence": {
        "RepetitionTime": "RepetitionTime",
        "FlipAngle": "FlipAngle",
        "EchoTrainLength": "EchoTrainLength",
    },
    "MRModifierSequence": {"InversionTimes": "InversionTime", "InversionTime": "InversionTime"},
    "MRAveragesSequence": {"NumberOfAverages": "NumberOfAverages"},
    "MRImagingModifierSequence": {"PixelBandwidth": "PixelBandwidth"},
    "MRDiffusionSequence": {
        "DiffusionBValue": "DiffusionBValue",
        "DiffusionDirectionality": "DiffusionDirectionality",
    },
    "MRImageFrameTypeSequence": {
        "FrameType": "ImageType",
        "ComplexImageComponent": "ComplexImageComponent",
        "AcquisitionContrast": "AcquisitionContrast",
    },
    "CTImageFrameTypeSequence": {"FrameType": "ImageType"},
    "PETFrameTypeSequence": {"FrameType": "ImageType"},
    "CTReconstructionSequence": {
        "ConvolutionKernel": "ConvolutionKernel",
        "ReconstructionDiameter": "ReconstructionDiameter",
    },
    "CTAcquisitionDetailsSequence": {"GantryDetectorTilt": "GantryDetectorTilt"},
    "CTXRayDetailsSequence": {"KVP": "KVP"},
    "CTExposureSequence": {"ExposureTimeInms": "ExposureTime", "XRayTubeCurrentInmA": "XRayTubeCurrent"},
}
"""Functional group -> its elements that are handed on -> their keyword in a classic image, where they have the
same unit (PS3.3 C.7.6.16.2, C.8.13.5, C.8.15.3)."""

CONVERTED = ("UnassignedSharedConvertedAttributesSequence", "UnassignedPerFrameConvertedAttributesSequence")
"""Functional groups of legacy converted images: classic elements that had no other place."""

PET = "1.2.840.10008.5.1.4.1.1.128"
"""SOP class of a classic PET image, which names its unit in Units; an enhanced one has no such element."""

UNITS = {"Bq/ml": "BQML", "{SUVbw}g/ml": "GML"}
"""Unit of a Real World Value Mapping (UCUM; PS3.16 CID 84, CID 85) -> Units of PET (PS3.3 C.8.9.1.1.3)."""

MULTIFRAME_KEYWORDS = (
    "DimensionIndexSequence",
    "DimensionOrganizationSequence",
    "DimensionOrganizationType",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "FrameIncrementPointer",
    "NumberOfFrames",
    "PerFrameFunctionalGroupsSequence",
    "PixelData",
    "SharedFunctionalGroupsSequence",
)
"""What a single-frame image cannot have, or has for itself."""

TILED_KEYWORDS = ("PixelData", "SliceLocation", "SmallestImagePixelValue", "LargestImagePixelValue")
"""What is true of a mosaic or grid as a whole and not of one tile."""

SIEMENS, SIEMENS_CSA, UIH = "SIEMENS MR HEADER", "SIEMENS CSA HEADER", "Image Private Header"
"""Private creators of the layout: groups 0019, 0029 and 0065."""

NORMAL_TOLERANCE = 1e-3
"""How far the stated direction of a mosaic's slices may be from the normal of its plane, as a cosine."""


def unfold(dataset: Dataset) -> tuple[Dataset, ...]:
    """Return one classic single-frame image for each slice that the image holds.

    Parameters
    ----------
    dataset
        A CT, MR or PET image with its `file_meta`: classic, enhanced multi-frame, legacy converted, Siemens
        mosaic or United Imaging grid.

    Returns
    -------
    tuple of Dataset
        Enhanced: one dataset a frame in the order of the frames, with InstanceNumber counting several; several
        volumes may be among them. Mosaic or grid: one dataset a tile in the order of the tiles, all of one
        volume. Classic: the dataset itself. SOPInstanceUID stays that of the image.

    Raises
    ------
    GeometryError
        If the image holds several frames in another way, its functional groups do not fit its frames, or the
        elements that tell the layout of a mosaic or grid are gone.
    SourceError
        If the pixel data do not hold the frames.
    """
    if "PerFrameFunctionalGroupsSequence" in dataset:
        return tuple(_frames(dataset))
    if _whole(_value(dataset, "NumberOfFrames"), 1) != 1 or str(_value(dataset, "SOPClassUID")) in CLASSIC:
        wanted = "functional groups for each frame"
        raise GeometryError("unsupported-multiframe", wanted=wanted, found="none", where="unfold")
    kinds = [str(word).upper() for word in _listed(_value(dataset, "ImageType"))]
    if "MOSAIC" in kinds:
        return _mosaic(dataset)
    if "VFRAME" in kinds and "ImagePositionPatient" not in dataset:
        return _grid(dataset)
    return (dataset,)


def _value(dataset: Dataset, keyword: str) -> Any:
    """Return an element's value, None where it is absent, empty or does not parse."""
    try:
        return dataset.get(keyword)
    except READING_ERRORS:
        return None


def _whole(value: object, missing: int) -> int:
    try:
        return int(value)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError, OverflowError):
        return missing


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return [value] if isinstance(value, str) or not isinstance(value, Sequence) else list(value)


# Enhanced multi-frame images


def _frames(dataset: Dataset) -> Iterator[Dataset]:
    """Yield each frame with the elements of its functional groups, its own before the shared ones."""
    classic = CLASSIC.get(str(_value(dataset, "SOPClassUID")))
    if classic is None:
        wanted = "an enhanced CT, MR or PET image"
        raise GeometryError("unsupported-multiframe", wanted=wanted, found="another kind", where="unfold")
    own = _items(dataset, "PerFrameFunctionalGroupsSequence")
    if not own or len(own) != _whole(_value(dataset, "NumberOfFrames"), 0):
        wanted, found = "one item of functional groups for each frame", f"{len(own)} items"
        raise GeometryError("unsupported-multiframe", wanted=wanted, found=found, where="unfold")
    shared = _items(dataset, "SharedFunctionalGroupsSequence")
    base = _without(dataset, MULTIFRAME_KEYWORDS)
    _put(base, "SOPClassUID", classic)
    syntax = _syntax(dataset)
    for number, (groups, pixels) in enumerate(
        zip(own, _frame_pixels(dataset, len(own)), strict=True), start=1
    ):
        frame = _without(base, ())
        for level in (*shared, groups):
            _flatten(level, frame)
        if len(own) > 1:
            _put(frame, "InstanceNumber", number)
        if classic == PET and "Units" not in frame and (unit := _mapped_unit(frame)):
            _put(frame, "Units", unit)
        _set_pixels(frame, pixels, syntax)
        yield frame


def _items(dataset: Dataset, keyword: str) -> Sequence[Dataset]:
    """Return the items of a sequence, none where it is absent or no sequence."""
    return [item for item in _listed(_value(dataset, keyword)) if isinstance(item, Dataset)]


def _without(dataset: Dataset, keywords: Sequence[str]) -> Dataset:
    """Return a new dataset of the same elements but those named; values are shared, not copied."""
    dropped = {tag_for_keyword(keyword) for keyword in keywords}
    rest = Dataset()
    is_implicit, is_little = dataset.original_encoding
    rest.set_original_encoding(is_implicit, is_little, dataset.original_character_set)
    for tag in dataset.keys():  # noqa: SIM118 - iterating over a dataset would parse each value
        if tag not in dropped:
            rest[tag] = dataset.get_item(tag)
    return rest


def _put(dataset: Dataset, keyword: str, value: Any) -> None:
    """Write an element that only this dataset holds; assigning to an attribute would change a shared one."""
    dataset[keyword] = DataElement(Tag(keyword), dictionary_VR(keyword), value)


def _flatten(groups: Dataset, frame: Dataset) -> None:
    """Write what functional groups say into the frame as classic elements."""
    for keyword in CONVERTED:
        for item in _items(groups, keyword):
            frame.update({tag: item.get_item(tag) for tag in item.keys()})  # noqa: SIM118 - see `_without`
    for keyword, elements in GROUPS.items():
        for item in _items(groups, keyword)[:1]:
            for source, target in elements.items():
                if source in item:
                    _hand_on(item, source, frame, target)
    for item in _items(groups, "MRDiffusionSequence"):
        for direction in _items(item, "DiffusionGradientDirectionSequence")[:1]:
            _hand_on(direction, "DiffusionGradientOrientation", frame, "DiffusionGradientOrientation")
    if "RealWorldValueMappingSequence" in groups:
        _hand_on(groups, "RealWorldValueMappingSequence", frame, "RealWorldValueMappingSequence")


def _mapped_unit(frame: Dataset) -> str:
    """Return the unit that a frame's rescale makes, where its one Real World Value Mapping is the same line."""
    mappings = _items(frame, "RealWorldValueMappingSequence")
    if len(mappings) != 1:
        return ""
    (item,) = mappings
    line = [_floats(_value(frame, keyword), 1)[0] for keyword in ("RescaleSlope", "RescaleIntercept")]
    mapped = [_floats(_value(item, f"RealWorldValue{end}"), 1)[0] for end in ("Slope", "Intercept")]
    codes = [str(_value(code, "CodeValue")) for code in _items(item, "MeasurementUnitsCodeSequence")]
    # RescaleSlope has 16 characters, the mapping's slope is a double.
    is_same = np.allclose(line, mapped, rtol=1e-6, atol=1e-9)
    return UNITS.get(codes[0], "") if is_same and len(codes) == 1 else ""


def _hand_on(item: Dataset, source: str, frame: Dataset, target: str) -> None:
    """Write an element into the frame under another keyword; one that does not fit there is left out."""
    if source == target:
        if source in item:
            frame[target] = item.get_item(source)
        return
    vr = dictionary_VR(target)
    try:
        value = item[source].value
        if vr == "DS":
            value = DSfloat(float(value), auto_format=True)
        elif vr == "IS":
            value = round(float(value))
        _put(frame, target, value)
    except READING_ERRORS:
        return


def _syntax(dataset: Dataset) -> UID:
    return UID(str(getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", "")))


def _undecodable(wanted: str, found: str) -> SourceError:
    return SourceError("undecodable", wanted=wanted, found=found, where="unfold")


_FRAME_SIZE = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")
"""Their product is the size of a frame that is not compressed, in bits."""


def _frame_pixels(dataset: Dataset, count: int) -> Sequence[bytes]:
    """Return the pixel data of each frame, encapsulated one by one where they are compressed."""
    try:
        pixels = dataset.PixelData
        if _syntax(dataset).is_encapsulated:
            compressed = list(generate_frames(pixels, number_of_frames=count))
            frames = [encapsulate([frame]) for frame in compressed]
        else:
            # Where one is no number, the product of the four could fill the memory.
            bits = prod(int(dataset[keyword].value) for keyword in _FRAME_SIZE)
            size = bits // 8
            frames = [pixels[begin : begin + size] for begin in range(0, size * count, size)]
            frames = [frame for frame in frames if len(frame) == size and bits % 8 == 0]
    except READING_ERRORS as error:
        raise _undecodable("pixel data that fit their description", type(error).__name__) from error
    if len(frames) != count:
        raise _undecodable(f"{count} frames of pixel data", f"{len(frames)}")
    return frames


def _set_pixels(frame: Dataset, pixels: bytes, syntax: UID) -> None:
    """Give the frame its pixel data and its file meta information."""
    element = DataElement(Tag("PixelData"), "OB" if syntax.is_encapsulated else "OW", pixels)
    element.is_undefined_length = syntax.is_encapsulated
    frame.add(element)
    frame.file_meta = FileMetaDataset()
    frame.file_meta.TransferSyntaxUID = syntax
    frame.file_meta.MediaStorageSOPClassUID = frame.get("SOPClassUID", "")
    frame.file_meta.MediaStorageSOPInstanceUID = frame.get("SOPInstanceUID", "")


# Mosaic and grid


def _mosaic(dataset: Dataset) -> tuple[Dataset, ...]:
    """Return the slices of a Siemens mosaic: a square of tiles, slice by slice along the stated normal."""
    header = _csa(_private(dataset, 0x0029, SIEMENS_CSA, 0x10))
    counts = _private(dataset, 0x0019, SIEMENS, 0x0A), _first(header, COUNT)
    stated = {_whole(count, 0) for count in counts if count}
    if len(stated) != 1 or min(stated) < 1:
        raise _layout("one number of images in the mosaic")
    count = stated.pop()
    side = isqrt(count - 1) + 1
    tiles, rest = _tiles(dataset, side, side, count)
    if any(np.ptp(tile) for tile in rest):
        raise _layout("nothing in the mosaic's tiles beyond the number of its images")
    first, step = _mosaic_places(dataset, _floats(header.get(NORMAL), 3), tiles[0].shape, side)
    base = _tile_base(dataset, "MOSAIC")
    _set_diffusion(base, _private(dataset, 0x0019, SIEMENS, 0x0C), _private(dataset, 0x0019, SIEMENS, 0x0E))
    return tuple(_tile(base, tile, first + step * k, k) for k, tile in enumerate(tiles))


def _mosaic_places(
    dataset: Dataset, stated: Numbers, shape: tuple[int, ...], side: int
) -> tuple[Numbers, Numbers]:
    """Return the position of a mosaic's first slice and the step to the next, LPS+ mm."""
    row, column = np.split(_floats(_value(dataset, "ImageOrientationPatient"), 6), 2)
    between_rows, between_columns = _floats(_value(dataset, "PixelSpacing"), 2)
    normal = np.cross(row, column)
    # The header states on which side of the plane the next slice lies; its digits are fewer than the plane's.
    way = float(np.dot(normal, stated))
    # The position is the corner of an image of the mosaic's size whose centre is that of the first slice.
    rows, columns = shape[0] * (side - 1) / 2, shape[1] * (side - 1) / 2
    corner = _floats(_value(dataset, "ImagePositionPatient"), 3)
    first = corner + row * between_columns * columns + column * between_rows * rows
    step = normal * np.sign(way) * _floats(_value(dataset, "SpacingBetweenSlices"), 1)
    # Not a number fails every comparison, so the good case is the one that is asked for.
    if not (abs(abs(way) - 1) < NORMAL_TOLERANCE and np.isfinite([first, step]).all()):
        raise _layout("a mosaic's position, spacing, and normal along that of its plane")
    return first, step


def _grid(dataset: Dataset) -> tuple[Dataset, ...]:
    """Return the slices of a United Imaging grid: rows of tiles, each with a position of its own."""
    places = [item for item in _listed(_private(dataset, 0x0065, UIH, 0x51)) if isinstance(item, Dataset)]
    count = _whole(_private(dataset, 0x0065, UIH, 0x50), 0)
    positions = [_floats(_value(item, "ImagePositionPatient"), 3) for item in places]
    if count < 1 or count != len(places) or not np.isfinite(positions).all():
        raise _layout("a grid's number of images and the position of each")
    across = isqrt(count - 1) + 1
    tiles, _ = _tiles(dataset, -(-count // across), across, count)
    base = _tile_base(dataset, "VFRAME")
    _set_diffusion(base, _private(dataset, 0x0065, UIH, 0x09), _private(dataset, 0x0065, UIH, 0x37))
    return tuple(_tile(base, tile, positions[k], k) for k, tile in enumerate(tiles))


def _layout(wanted: str) -> GeometryError:
    return GeometryError(
        "layout-missing", wanted=wanted, found="elements that are gone or do not fit", where="unfold"
    )


def _private(dataset: Dataset, group: int, creator: str, offset: int) -> Any:
    """Return the value of a private element, None where it or its creator is absent or does not parse."""
    try:
        return dataset.private_block(group, creator)[offset].value
    except READING_ERRORS:
        return None


def _floats(value: Any, count: int) -> Numbers:
    """Return `count` numbers; NaN, so that no comparison holds, where they are not that."""
    try:
        numbers = np.array([float(item) for item in _listed(value)])
    except (TypeError, ValueError, OverflowError):
        numbers = np.empty(0)
    return numbers if numbers.size == count else np.full(count, np.nan)


def _tiles(
    dataset: Dataset, down: int, across: int, count: int
) -> tuple[Sequence[npt.NDArray[Any]], Sequence[npt.NDArray[Any]]]:
    """Return the first `count` tiles of an image cut evenly into `down` x `across`, row by row, and the rest."""
    syntax = _syntax(dataset)
    options: dict[str, Any] = {"decoding_plugin": DECODERS.get(syntax, ""), "correct_unused_bits": False}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", message="The pixel data is .* excess padding")
            warnings.filterwarnings("ignore", message="The number of bytes of compressed pixel data matches")
            pixels, _ = get_decoder(syntax).as_array(dataset, raw=True, **options)
    except READING_ERRORS as error:
        raise _undecodable("pixel data that fit their description", type(error).__name__) from error
    if pixels.ndim != 2 or pixels.shape[0] % down or pixels.shape[1] % across:
        raise _layout(f"an image of {down} x {across} equal tiles")
    rows, columns = pixels.shape[0] // down, pixels.shape[1] // across
    cut = pixels.reshape(down, rows, across, columns).transpose(0, 2, 1, 3)
    tiles = list(cut.reshape(down * across, rows, columns))
    return tiles[:count], tiles[count:]


def _tile_base(dataset: Dataset, kind: str) -> Dataset:
    """Return what all tiles have in common."""
    base = _without(dataset, TILED_KEYWORDS)
    _put(
        base,
        "ImageType",
        [word for word in _listed(_value(dataset, "ImageType")) if str(word).upper() != kind],
    )
    if _syntax(dataset) in LOSSY_SYNTAXES:
        _put(base, "LossyImageCompression", "01")
    return base


def _set_diffusion(base: Dataset, b_value: Any, direction: Any) -> None:
    """Write the private b-value in s/mm2 and gradient direction where the public elements are."""
    b, xyz = _floats(b_value, 1), _floats(direction, 3)
    if np.isfinite(b).all():
        _put(base, "DiffusionBValue", float(b[0]))
    if np.isfinite(xyz).all():
        _put(base, "DiffusionGradientOrientation", xyz.tolist())


def _tile(base: Dataset, pixels: npt.NDArray[Any], position: Numbers, k: int) -> Dataset:
    """Return slice k (from 0) as an image of its own, uncompressed."""
    tile = _without(base, ())
    _put(tile, "Rows", pixels.shape[0])
    _put(tile, "Columns", pixels.shape[1])
    _put(tile, "ImagePositionPatient", [DSfloat(float(x), auto_format=True) for x in position])
    _put(tile, "InStackPositionNumber", k + 1)
    _set_pixels(tile, pixels.astype(pixels.dtype.newbyteorder("<")).tobytes(), ExplicitVRLittleEndian)
    return tile


COUNT, NORMAL = "NumberOfImagesInMosaic", "SliceNormalVector"
"""Names in Siemens' CSA header."""

_CSA_NAMES = struct.Struct("<64si4siii")
"""Name, multiplicity, VR, type, number of items, check value."""

_CSA_ITEM = struct.Struct("<4i")
"""Four lengths, of which the second is the item's, or the first in the older form with an offset."""


def _first(header: Mapping[str, Sequence[str]], name: str) -> str:
    return next(iter(header.get(name, ())), "")


def _csa(header: Any) -> dict[str, list[str]]:
    """Return the texts of a Siemens CSA header by name, none where it is absent or damaged."""
    if not isinstance(header, bytes):
        return {}
    is_new = header.startswith(b"SV10")
    start = 8 if is_new else 0
    found: dict[str, list[str]] = {}
    try:
        (names,) = struct.unpack_from("<I", header, start)
        place, older = start + 8, 0
        for number in range(names):
            name, _, _, _, items, _ = _CSA_NAMES.unpack_from(header, place)
            place += _CSA_NAMES.size
            older = items if number == 0 else older
            texts, place = _csa_items(header, place, items, None if is_new else older)
            found[_text(name)] = texts
    except struct.error:
        return {}
    return found


def _csa_items(header: bytes, place: int, count: int, older: int | None) -> tuple[list[str], int]:
    """Return the texts of one name that are not empty, and where the next name begins."""
    texts = []
    for _ in range(count):
        lengths = _CSA_ITEM.unpack_from(header, place)
        length = lengths[1] if older is None else lengths[0] - older
        place += _CSA_ITEM.size
        if length < 0 or place + length > len(header):
            raise struct.error("an item reaches beyond the header")
        if length:
            texts.append(_text(header[place : place + length]))
        place += length + -length % 4
    return [text for text in texts if text], place


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("latin-1").strip()
