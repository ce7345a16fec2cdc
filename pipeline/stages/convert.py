"""Turn the slices of one stack into voxels placed in RAS+ millimetres."""

from __future__ import annotations

import struct
import warnings
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.encaps import generate_frames
from pydicom.errors import BytesLengthException
from pydicom.multival import MultiValue
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_modality_lut
from pydicom.uid import UID

from pipeline.model.codestream import is_irreversible
from pipeline.model.errors import CurationError, GeometryError, IntensityError, SourceError
from pipeline.model.evenstack import EvenStack, Place, Vector, even_stack
from pipeline.model.loosestack import LooseStack, loose_stack, straighten
from pipeline.model.outlier import bears_out, odd_ones, stray
from pipeline.model.ownrescale import OwnRescale, rule_breakers, written
from pipeline.model.record import Json, Note, Step, decimal, decimals
from pipeline.model.rules import Geometry, Outliers, Padding
from pipeline.model.syntax import DECODERS, DECODING_ERRORS, LOSSY_SYNTAXES, PERHAPS_LOSSY_SYNTAXES
from pipeline.model.volume import Linear, Lookup, Measure, Quantity, Volume

Pixels = npt.NDArray[Any]

READING_ERRORS = (*DECODING_ERRORS, BytesLengthException, struct.error)
"""Whatever pydicom raises where an element or the pixel data do not fit their description."""

COSINE_TOLERANCE = 1e-3
"""How far row and column of ImageOrientationPatient may be from unit length and from a right angle: rounding
to four decimals is 1e-4. What they are off in mm is held against the stack's tolerance besides."""

LARGEST_MM = 1e5
"""No position or spacing, in mm, is beyond 100 m: such a number is a damaged header, not a place."""

SMALLEST_MM = 1e-4
"""No pixel spacing, in mm, is below 100 nm."""

THICKNESS_TOLERANCE = 1.01
"""Times SpacingBetweenSlices: a slice thicker than that says that the spacing states something else."""


LUT_TYPES = ("", "HU", "US")
"""ModalityLUTType of Hounsfield units in CT: as with RescaleType, unspecified counts (PS3.3 C.11.1.1.2)."""


_AS_STORED = Linear()


@dataclass(frozen=True, slots=True)
class _Rescale:
    """How stored numbers become values: linear, or by the Modality LUT in `lut` or the table of a mapping.

    `padding` holds the first and last stored number that marks padding, and the value that it becomes.
    """

    scale: Linear | Lookup = _AS_STORED
    lut: Dataset | None = None
    padding: tuple[int, int, float] | None = None


def convert(
    slices: Sequence[Dataset],
    quantity: Quantity | Measure,
    *,
    geometry: Geometry | None = None,
    padding: Padding | None = None,
    outliers: Outliers | None = None,
) -> Step[Volume]:
    """Stack single-frame images by their position along the normal, in their true values.

    Geometry follows PS3.3 C.7.6.2.1.1 and comes from ImageOrientationPatient, ImagePositionPatient and
    PixelSpacing alone; neither file order nor InstanceNumber, SliceThickness or SpacingBetweenSlices places a
    voxel. Values follow PS3.3 C.11.1 (Modality LUT, or rescale slice by slice), computed in float64.

    Parameters
    ----------
    slices
        De-identified single-frame datasets of one stack with their `file_meta`, in any order.
    quantity
        What the numbers mean, as the rules say, with the scales that make the values where these are not the
        slices' own rescale. CT needs its rescale to be in Hounsfield units.
    geometry
        What is interpolated where the slices make no even, untilted stack; None: nothing, they are refused.
    padding
        What the voxels become that each slice's PixelPaddingValue marks; None: they keep their value.
    outliers
        Why a few slices whose header differs from all the others' count as they are written; None: only where
        their voxels bear that out.

    Returns
    -------
    Step
        Volume of shape (columns, rows, slices): i along the image's rows, j along its columns, k along their
        normal; affine orthogonal, to RAS+ mm. int16 when every value is whole and fits, else int32 when it
        fits, else float32; what was interpolated is float32. The note holds geometry, rescale, how the pixels
        were stored, and what was interpolated.

    Raises
    ------
    GeometryError
        If the slices are not one even, untilted stack of at least two equal grids, each at its own place, nor
        one that the rule lets become one.
    IntensityError
        If the pixels are not grayscale, the rescale is missing or not usable, a value is not finite, or one or a
        few slices say otherwise than all the others how values are made, which their voxels do not bear out.
    SourceError
        If pixel data cannot be decoded.
    """
    measure = quantity if isinstance(quantity, Measure) else Measure(quantity)
    _check_images(slices)
    places = [_place(dataset, f"slice {number + 1} as given") for number, dataset in enumerate(slices)]
    stack = _stack(places, _stated_spacing(slices), geometry)
    in_order = [slices[number] for number in stack.order]
    rescales = [_rescale(dataset, measure.quantity, _where(k)) for k, dataset in enumerate(in_order)]
    if measure.scales:
        rescales = [_Rescale(measure.scales[number]) for number in stack.order]
    stored = [_stored(dataset, _where(k)) for k, dataset in enumerate(in_order)]
    if padding is not None:
        pads = [_padding(dataset, padding) for dataset in in_order]
        rescales = [replace(rescale, padding=pad) for rescale, pad in zip(rescales, pads, strict=True)]
    ordered = _Ordered(in_order, stored, rescales)
    odd = _outliers(ordered, stack, outliers)
    placed = _placed(_true_values(stored, rescales), stack)
    facts: dict[str, Json] = {
        "quantity": measure.quantity.value,
        **measure.facts,
        "shape": list(placed.value.shape),
        "dtype": str(placed.value.dtype),
        **placed.note.facts,
        "rescale": _rescale_facts(rescales),
        **_padding_facts(stored, rescales, padding),
        **odd,
        **_storage_facts(in_order, stored),
    }
    return Step(Volume(placed.value, stack.affine, measure.quantity), Note("convert", facts))


def _stack(
    places: Sequence[Place], stated_mm: float | None, geometry: Geometry | None
) -> EvenStack | LooseStack:
    """Return the even stack that the slices make, or the one that the rule lets them be made into."""
    try:
        return even_stack(places, stated_mm=stated_mm)
    except GeometryError as error:
        if geometry is None or error.code not in geometry.mends:
            raise
    return loose_stack(places, stated_mm=stated_mm, rule=geometry)


def _placed(data: Pixels, stack: EvenStack | LooseStack) -> Step[Pixels]:
    """Return the values on the stack's grid and what the note says of their places."""
    if isinstance(stack, EvenStack):
        return Step(data, Note("convert", _geometry_facts(stack)))
    values, measured = straighten(data, stack)
    facts: dict[str, Json] = {
        "mended": list(stack.mended),
        "interpolation": "linear",
        "shape_before": list(data.shape),
        "positions_mm": decimals(np.round(stack.along, 6)),
        "shear_mm_per_mm": decimals(np.round(stack.shear, 9)),
        "planes_interpolated": values.shape[2] - int(np.isin(np.arange(values.shape[2]), stack.planes).sum()),
        "outside_voxels": int(measured.size - measured.sum()),
        "outside_value": decimal(data.min()),
    }
    return Step(
        values,
        Note(
            "convert",
            {
                "affine": decimals(stack.affine),
                "slices": len(stack.order),
                "spacing_mm": decimal(stack.step_mm),
                "straightened": facts,
            },
        ),
    )


def _where(k: int) -> str:
    return f"slice {k + 1} along the normal"


def _check_images(slices: Sequence[Dataset]) -> None:
    """Refuse what is not a set of at least two single-frame grayscale images in one frame of reference."""
    for number, dataset in enumerate(slices):
        where = f"slice {number + 1} as given"
        if _whole(dataset, "NumberOfFrames", 1) != 1:
            raise GeometryError("unsupported-multiframe", wanted="one frame", found="several", where=where)
        is_single = _whole(dataset, "SamplesPerPixel", 0) == 1
        if not is_single or _value(dataset, "PhotometricInterpretation") != "MONOCHROME2":
            wanted = "SamplesPerPixel 1 and PhotometricInterpretation MONOCHROME2"
            raise IntensityError("not-grayscale", wanted=wanted, found="another pixel format", where=where)
    if len(slices) < 2:
        raise GeometryError("single-slice", wanted="at least two slices", found=str(len(slices)))
    frames = {str(_value(dataset, "FrameOfReferenceUID") or "") for dataset in slices}
    if len(frames) > 1:
        raise GeometryError("frame-of-reference", wanted="one frame of reference", found=str(len(frames)))


def _value(dataset: Dataset, keyword: str) -> Any:
    """Return an element's value, None where it is absent or empty, NaN where it does not parse."""
    try:
        return dataset.get(keyword)
    except READING_ERRORS:
        return float("nan")


def _whole(dataset: Dataset, keyword: str, missing: int) -> int:
    """Return an element as a whole number, or `missing` where it is absent, empty or no such number."""
    try:
        return int(_value(dataset, keyword))
    except (TypeError, ValueError, OverflowError):
        return missing


def _number(dataset: Dataset, keyword: str) -> float:
    """Return an element as a number, NaN where it is absent, empty or no such number."""
    try:
        return float(_value(dataset, keyword))
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def _numbers(dataset: Dataset, keyword: str, count: int, where: str) -> Vector:
    """Return an element's finite numbers, as many as `count`."""
    try:
        numbers = np.array(_value(dataset, keyword), dtype=np.float64).reshape(-1)
    except (TypeError, ValueError, OverflowError):
        numbers = np.empty(0)
    if numbers.size != count or not np.isfinite(numbers).all():
        wanted = f"{count} finite numbers in {keyword}"
        raise GeometryError("missing-geometry", wanted=wanted, found="none that are usable", where=where)
    return numbers


def _place(dataset: Dataset, where: str) -> Place:
    """Return where the slice's header puts it."""
    # A cosine beyond 2 is no cosine; cut there, its square cannot overflow.
    orientation = np.clip(_numbers(dataset, "ImageOrientationPatient", 6, where), -2, 2)
    row, column = orientation[:3], orientation[3:]
    lengths = np.sqrt([(row * row).sum(), (column * column).sum()])
    # PS3.3 C.7.6.2.1.1: PixelSpacing is row spacing first: the distance between rows.
    between_rows, between_columns = _numbers(dataset, "PixelSpacing", 2, where).tolist()
    shape = _whole(dataset, "Columns", 0), _whole(dataset, "Rows", 0)
    position = _numbers(dataset, "ImagePositionPatient", 3, where)
    is_skew = max(np.abs(lengths - 1).max(), abs((row * column).sum())) > COSINE_TOLERANCE
    is_far = max(np.abs(position).max(), between_rows, between_columns) > LARGEST_MM
    if is_skew or is_far or min(between_rows, between_columns) < SMALLEST_MM or min(shape) < 1:
        raise GeometryError(
            "missing-geometry",
            wanted="two unit vectors at a right angle, pixel spacing and matrix above 0",
            found="an orientation, spacing, position or matrix that is not usable",
            where=where,
        )
    return Place(row, column, position, between_columns, between_rows, shape)


def _stated_spacing(slices: Sequence[Dataset]) -> float | None:
    """Return the one SpacingBetweenSlices of all slices, in mm, where it can be a distance of centres.

    Some devices state the gap between slices in it; then a slice is thicker than what it says.
    """
    stated = {_number(dataset, "SpacingBetweenSlices") for dataset in slices}
    thicknesses = [_number(dataset, "SliceThickness") for dataset in slices]
    if len(stated) != 1 or not all(0 < thickness < float("inf") for thickness in thicknesses):
        return None
    spacing = stated.pop()
    return spacing if max(thicknesses) <= spacing * THICKNESS_TOLERANCE < float("inf") else None


def _rescale(dataset: Dataset, quantity: Quantity, where: str) -> _Rescale:
    """Return the slice's own rescale; without one, stored numbers are the values, except in CT."""
    luts = _value(dataset, "ModalityLUTSequence")
    if luts:
        kind = str(_value(luts[0], "ModalityLUTType") or "").upper() if len(luts) == 1 else "several"
        if quantity is Quantity.HOUNSFIELD and kind not in LUT_TYPES:
            raise IntensityError("wrong-units", wanted="one Modality LUT to HU", found="another", where=where)
        return _Rescale(lut=dataset)
    given = [name for name in ("RescaleSlope", "RescaleIntercept") if _value(dataset, name) is not None]
    if not given and quantity is not Quantity.HOUNSFIELD:
        return _Rescale()
    slope, intercept = _number(dataset, "RescaleSlope"), _number(dataset, "RescaleIntercept")
    if slope == 0 or not np.isfinite([slope, intercept]).all():
        wanted = "a finite RescaleIntercept and RescaleSlope, which is not 0"
        found = f"{len(given)} of the two, not usable"
        raise IntensityError("rescale-missing", wanted=wanted, found=found, where=where)
    return _Rescale(Linear(slope, intercept))


def _padding(dataset: Dataset, rule: Padding) -> tuple[int, int, float] | None:
    """Return the stored numbers that mark padding, first and last, and what they become; None without such a mark."""
    first = _number(dataset, "PixelPaddingValue")
    if not np.isfinite(first):
        return None
    last = _number(dataset, "PixelPaddingRangeLimit")
    ends = sorted([int(first), int(last) if np.isfinite(last) else int(first)])
    return ends[0], ends[1], float(rule.becomes)


def _padding_facts(
    stored: Sequence[Pixels], rescales: Sequence[_Rescale], rule: Padding | None
) -> dict[str, Json]:
    if rule is None:
        return {}
    counts = [
        int(((pixels >= rescale.padding[0]) & (pixels <= rescale.padding[1])).sum())
        for pixels, rescale in zip(stored, rescales, strict=True)
        if rescale.padding is not None
    ]
    becomes = decimal(float(rule.becomes))
    return {
        "padding": {"becomes": becomes, "voxels": sum(counts), "marked_slices": len(counts), "why": rule.why}
    }


_READ_BY = ("PixelRepresentation", "BitsStored", "HighBit")
"""What of a header says which whole numbers the pixel data are."""


def _table(lut: Dataset) -> tuple[str, bytes]:
    """Return what a Modality LUT makes of which numbers, to compare."""
    data = _value(lut, "LUTData")
    return str(_value(lut, "LUTDescriptor")), data if isinstance(data, bytes) else repr(data).encode()


@dataclass(frozen=True, slots=True)
class _Ordered:
    """The slices along the normal, their stored numbers, and how these become values."""

    datasets: Sequence[Dataset]
    stored: Sequence[Pixels]
    rescales: Sequence[_Rescale]

    def values(self, k: int) -> npt.NDArray[np.float64]:
        return _values(self.stored[k], self.rescales[k], _where(k))

    def said(self, k: int) -> Hashable:
        """Return all of a slice's header that makes its values of its pixel data."""
        rescale, dataset = self.rescales[k], self.datasets[k]
        lut = None if rescale.lut is None else _table(rescale.lut.ModalityLUTSequence[0])
        return rescale.scale, rescale.padding, lut, *(_whole(dataset, keyword, -1) for keyword in _READ_BY)

    def own_rescale(self, k: int) -> OwnRescale:
        """Return what a slice's header says of its rescale, to be held against the other slices'."""
        dataset, pixels = self.datasets[k], self.stored[k]
        return OwnRescale(
            written(_value(dataset, "RescaleSlope")),
            written(_value(dataset, "RescaleIntercept")),
            window=written(_first(_value(dataset, "WindowWidth"))),
            mapped=_line(_value(dataset, "RealWorldValueMappingSequence")),
            smallest=int(pixels.min()),
            largest=int(pixels.max()),
        )

    def as_usual(self, k: int, usual: int) -> npt.NDArray[np.float64]:
        """Return a slice's values if its header said what another one does."""
        dataset = Dataset(dict(self.datasets[k].items()))
        dataset.file_meta = self.datasets[k].file_meta
        for keyword in _READ_BY:
            dataset[keyword] = self.datasets[usual][keyword]
        return _values(_stored(dataset, _where(k)), self.rescales[usual], _where(k))


def _outliers(slices: _Ordered, stack: EvenStack | LooseStack, rule: Outliers | None) -> dict[str, Json]:
    """Refuse few slices that differ from all the others without cause; return what the note says of those accepted."""
    strays = stray(stack.along, _locations(slices.datasets)) if isinstance(stack, EvenStack) else ()
    odd = odd_ones([slices.said(k) for k in range(len(slices.datasets))])
    broken = rule_breakers([slices.own_rescale(k) for k in range(len(slices.datasets))])
    unfounded = sorted({*strays, *broken, *(k for k in odd if not _is_founded(slices, k, odd))})
    if unfounded and rule is None:
        raise IntensityError(
            "slice-outlier",
            wanted=_wanted_of_all(unfounded[0], strays, broken),
            found=f"another in {len(unfounded)} of {len(slices.datasets)}",
            where=_where(unfounded[0]),
        )
    if not odd and not unfounded:
        return {}
    why = {} if rule is None or not unfounded else {"why": rule.why}
    return {"outliers": {"slices": sorted({*odd, *unfounded}), "not_borne_out": unfounded, **why}}


def _wanted_of_all(k: int, strays: Sequence[int], broken: Sequence[int]) -> str:
    if k in strays:
        return "a SliceLocation that runs with the positions, as in all the other slices"
    if k in broken:
        return "a RescaleSlope and RescaleIntercept by the rule that those of all the other slices keep"
    return "rescale, sign, bits or padding as in all the other slices, or borne out by the voxels"


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, MultiValue) and value else value


def _line(mappings: Any) -> tuple[float, float] | None:
    """Return slope and intercept of the one Real World Value Mapping, None where it is no line."""
    if not isinstance(mappings, Sequence) or len(mappings) != 1 or not isinstance(mappings[0], Dataset):
        return None
    slope, intercept = (_number(mappings[0], f"RealWorldValue{end}") for end in ("Slope", "Intercept"))
    return (slope, intercept) if np.isfinite([slope, intercept]).all() else None


def _locations(slices: Sequence[Dataset]) -> Vector:
    return np.array([_number(dataset, "SliceLocation") for dataset in slices])


def _is_founded(slices: _Ordered, k: int, odd: Sequence[int]) -> bool:
    """Whether an odd slice's header changes nothing, or makes it continue its neighbours as the others' would not."""
    others = [n for n in range(len(slices.datasets)) if n not in odd]
    nearest = [
        max((n for n in others if n < k), default=None),
        min((n for n in others if n > k), default=None),
    ]
    try:
        usual = slices.as_usual(k, others[0])
    except CurationError:
        # Its pixel data can be read in one way only.
        return True
    own = slices.values(k)
    neighbours = [slices.values(n) for n in nearest if n is not None]
    return np.array_equal(own, usual) or bears_out(own, usual, neighbours)


def _stored(dataset: Dataset, where: str) -> Pixels:
    """Return the slice's stored numbers (PS3.5 8.1.1), shape (rows, columns)."""
    raw = decoded(dataset, where)
    bits, high = _whole(dataset, "BitsStored", 0), _whole(dataset, "HighBit", -1)
    if raw.shape != (_whole(dataset, "Rows", 0), _whole(dataset, "Columns", 0)) or raw.dtype.kind not in "iu":
        wanted = "Rows x Columns whole numbers"
        raise SourceError("undecodable", wanted=wanted, found="another array", where=where)
    if not 1 <= bits <= high + 1 <= 8 * raw.dtype.itemsize:
        wanted = "BitsStored and HighBit within BitsAllocated"
        raise SourceError("undecodable", wanted=wanted, found="others", where=where)
    unused = high + 1 - bits
    shifted = raw >> unused
    if (shifted << unused != raw).any():
        raise _unused_bits(bits, where)
    low, most = int(shifted.min()), int(shifted.max())
    is_signed, half = raw.dtype.kind == "i", 1 << (bits - 1)
    if (-half <= low and most < half) if is_signed else most < 2 * half:
        return shifted
    if is_signed and low >= 0 and most < 2 * half:
        # The bits above HighBit mean nothing, so the highest stored bit is the sign, extended or not.
        wide = shifted.astype(np.int64)
        return np.where(wide < half, wide, wide - 2 * half).astype(raw.dtype)
    raise _unused_bits(bits, where)


def _unused_bits(bits: int, where: str) -> IntensityError:
    # Overlays in these bits, an undeclared sign, or a wrong header: only the site knows which, and each
    # reading gives other values.
    wanted = f"stored numbers of {bits} bits, the highest at HighBit"
    return IntensityError("out-of-range", wanted=wanted, found="bits set beside them", where=where)


def decoded(dataset: Dataset, where: str) -> Pixels:
    """Return a dataset's pixels as they are stored, every bit of them: (frames,) rows, columns (, colours).

    Raises
    ------
    SourceError
        `undecodable`.
    """
    syntax = str(getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", ""))
    # HighBit and sign are checked in `_stored`, where an unexpected bit is refused, not masked.
    options: dict[str, Any] = {"decoding_plugin": DECODERS.get(syntax, ""), "correct_unused_bits": False}
    try:
        with warnings.catch_warnings():
            # A decoder's doubt is a refusal; but bytes behind the last pixel are none of the image.
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", message="The pixel data is .* excess padding")
            warnings.filterwarnings("ignore", message="The number of bytes of compressed pixel data matches")
            raw, _ = get_decoder(UID(syntax)).as_array(dataset, raw=True, **options)
    except READING_ERRORS as error:
        wanted = "pixel data that fit their description"
        found = f"{type(error).__name__} from the decoder"
        raise SourceError("undecodable", wanted=wanted, found=found, where=where) from error
    return raw


def _true_values(stored: Sequence[Pixels], rescales: Sequence[_Rescale]) -> Pixels:
    """Return the values, shape (columns, rows, slices), in the smallest dtype that holds them."""
    dtype = _dtype(stored, rescales)
    rows, columns = stored[0].shape
    # i runs fastest in NIfTI, and along a stored row here: each slice is copied in one piece.
    data = np.empty((columns, rows, len(stored)), dtype=dtype, order="F")
    with np.errstate(over="ignore"):
        for k, (pixels, rescale) in enumerate(zip(stored, rescales, strict=True)):
            data[:, :, k] = _values(pixels, rescale, _where(k)).T
    if not np.isfinite(data).all():
        raise IntensityError("not-finite", wanted="values that float32 can hold", found="larger ones")
    return data


def _dtype(stored: Sequence[Pixels], rescales: Sequence[_Rescale]) -> type[np.generic]:
    """Return int16 or int32 when every value is whole and fits, else float32."""
    low, high = 0.0, 0.0
    for k, (pixels, rescale) in enumerate(zip(stored, rescales, strict=True)):
        values = _values(pixels, rescale, _where(k))
        if not (values == np.rint(values)).all():
            return np.float32
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    for dtype in (np.int16, np.int32):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return dtype
    return np.float32


def _values(pixels: Pixels, rescale: _Rescale, where: str) -> npt.NDArray[np.float64]:
    """Return one slice's values, shape (rows, columns)."""
    values = _unpadded(pixels, rescale, where)
    if rescale.padding is not None:
        first, last, becomes = rescale.padding
        values = np.where((pixels >= first) & (pixels <= last), becomes, values)
    return values


def _unpadded(pixels: Pixels, rescale: _Rescale, where: str) -> npt.NDArray[np.float64]:
    if rescale.lut is None:
        return _mapped(pixels, rescale.scale, where)
    try:
        return apply_modality_lut(pixels, rescale.lut).astype(np.float64)
    except READING_ERRORS as error:
        found = type(error).__name__
        raise IntensityError("rescale-missing", wanted="a usable LUT", found=found, where=where) from error


def _mapped(pixels: Pixels, scale: Linear | Lookup, where: str) -> npt.NDArray[np.float64]:
    """Return values by a line or a table, which may hold for some stored numbers only."""
    if isinstance(scale, Lookup):
        first, last = float(scale.first), float(scale.first + len(scale.values) - 1)
    else:
        first = -np.inf if scale.first is None else scale.first
        last = np.inf if scale.last is None else scale.last
    if not (first <= int(pixels.min()) and int(pixels.max()) <= last):
        wanted = "stored numbers within the mapping's range"
        raise IntensityError("out-of-range", wanted=wanted, found="others", where=where)
    if isinstance(scale, Lookup):
        return np.array(scale.values)[pixels.astype(np.int64) - scale.first]
    scaled: npt.NDArray[np.float64] = pixels.astype(np.float64) * scale.slope + scale.intercept
    return scaled


def _geometry_facts(stack: EvenStack) -> dict[str, Json]:
    return {
        "affine": decimals(stack.affine),
        "slices": len(stack.order),
        "spacing_mm": decimal(stack.step_mm),
        "spacing_from": stack.step_from,
        "tolerance_mm": decimal(stack.tolerance_mm),
        "largest_deviation_mm": decimal(round(stack.deviation_mm, 6)),
        "positions_mm": decimals(np.round(stack.along, 6)),
    }


def _rescale_facts(rescales: Sequence[_Rescale]) -> Json:
    """Return each distinct rescale with the number of its slices, ordered by slope and intercept."""
    lines = [r.scale for r in rescales if r.lut is None and isinstance(r.scale, Linear)]
    counts = Counter((line.slope, line.intercept) for line in lines)
    facts: list[Json] = [
        {"slope": decimal(slope), "intercept": decimal(intercept), "slices": counts[slope, intercept]}
        for slope, intercept in sorted(counts)
    ]
    looked_up = len(rescales) - counts.total()
    return [*facts, {"lut": True, "slices": looked_up}] if looked_up else facts


def _storage_facts(ordered: Sequence[Dataset], stored: Sequence[Pixels]) -> dict[str, Json]:
    syntaxes = sorted({str(dataset.file_meta.TransferSyntaxUID) for dataset in ordered})
    is_declared_lossy = any(
        str(_value(dataset, "LossyImageCompression") or "") == "01" for dataset in ordered
    )
    bits = {
        f"{p.dtype.name}, {_whole(d, 'BitsStored', 0)} bits" for p, d in zip(stored, ordered, strict=True)
    }
    return {
        "stored": sorted(bits),
        "transfer_syntaxes": syntaxes,
        "decoders": sorted({DECODERS[syntax] for syntax in syntaxes if syntax in DECODERS}),
        "lossy": is_declared_lossy or not LOSSY_SYNTAXES.isdisjoint(syntaxes) or any(map(_has_lost, ordered)),
    }


def _has_lost(dataset: Dataset) -> bool:
    """Whether the codestream of an image says that values were lost, where its syntax leaves that open."""
    if str(dataset.file_meta.TransferSyntaxUID) not in PERHAPS_LOSSY_SYNTAXES:
        return False
    return is_irreversible(next(generate_frames(dataset.PixelData, number_of_frames=1)))
