"""Say by evidence what the numbers of a stack measure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
from pydicom import Dataset

from pipeline.model.errors import IntensityError
from pipeline.model.record import Json, decimal
from pipeline.model.series import Facts, listed
from pipeline.model.syntax import DECODING_ERRORS
from pipeline.model.volume import Linear, Lookup, Measure, Quantity

HU_TYPES = ("", "HU", "US")
"""RescaleType of Hounsfield units in CT: HU, unspecified, or absent in old images (PS3.3 C.11.1.1.2, C.8.2.1)."""

PET_UNITS = {"BQML": Quantity.ACTIVITY, "GML": Quantity.SUV}
"""Units of PET that are known quantities (PS3.3 C.8.9.1.1.3); GML is the SUV by body weight."""

_UNITS = frozenset(
    {
        "CNTS",
        "NONE",
        "CM2",
        "CM2ML",
        "PCNT",
        "CPS",
        "BQML",
        "MGMINML",
        "UMOLMINML",
        "MLMING",
        "MLG",
        "1CM",
        "UMOLML",
    }
    | {"PROPCNTS", "PROPCPS", "MLMINML", "MLML", "GML", "STDDEV"}
)
"""Defined terms of Units (PS3.3 C.8.9.1.1.3)."""

MAPS = {"ADC": Quantity.ADC} | dict.fromkeys(
    ("T1 MAP", "T2 MAP", "T2_STAR MAP", "FA", "MTT", "TTP", "RCBF", "RCBV"), Quantity.OTHER_QUANTITATIVE
)
"""Words of ImageType that name a measured map in MR (PS3.3 C.8.16.1.3 and makers' own)."""

LONGEST_UPTAKE_S = 86400.0
"""A scan that begins more than a day after the injection, or before it, has a wrong time."""

GRAMS = 1000.0
"""In a kilogram: SUV is given in g/ml."""


def quantity_of(facts: Facts) -> tuple[Quantity, str]:
    """Return what a series' numbers mean and the header elements that say so; no value of free text is quoted."""
    modality = str(facts.get("Modality", ""))
    if modality == "CT":
        kind = str(facts.get("RescaleType", "")).upper()
        if kind in HU_TYPES:
            return Quantity.HOUNSFIELD, f"Modality CT, RescaleType {kind or 'absent'}"
        return Quantity.OTHER_QUANTITATIVE, "Modality CT, RescaleType not HU"
    if modality == "PT":
        units = str(facts.get("Units", "")).upper()
        known = PET_UNITS.get(units, Quantity.ARBITRARY)
        return known, f"Units {units if units in PET_UNITS else 'neither BQML nor GML'}"
    words = {str(word).upper() for word in listed(facts.get("ImageType"))}
    for word, quantity in MAPS.items():
        if word in words:
            return quantity, f"ImageType {word}"
    return Quantity.ARBITRARY, f"Modality {modality if modality == 'MR' else 'other'}, no unit"


def quantify(slices: Sequence[Dataset], quantity: Quantity, *, values: str = "rescale") -> Measure:
    """Hold what the rules say of a stack's numbers against its headers, and return how they are to be made.

    Parameters
    ----------
    slices
        De-identified single-frame datasets of one stack.
    quantity
        What the rules say. `suv` is SUV by body weight: read where Units is GML, computed from Bq/ml else.
    values
        `rescale`: the Modality LUT of each slice; `rwvm`: its one Real World Value Mapping.

    Raises
    ------
    IntensityError
        wrong-units, rwvm-missing or suv-missing.
    """
    found, evidence = quantity_of(_facts(slices[0]))
    units = {str(_value(one, "Units")) for one in slices}
    facts: dict[str, Json] = {"quantity_evidence": f"rule; {evidence}", "values": values}
    if len(units) > 1:
        raise _wrong_units("one unit in all slices", f"{len(units)}")
    scales: tuple[Linear | Lookup, ...] = _mapped(slices) if values == "rwvm" else ()
    if quantity is Quantity.HOUNSFIELD and found is Quantity.OTHER_QUANTITATIVE and values == "rescale":
        raise _wrong_units("RescaleType HU", "another")
    if quantity is Quantity.ACTIVITY and units != {"BQML"}:
        raise _wrong_units("PET with Units BQML", _named(units))
    if quantity is Quantity.SUV and units != {"GML"}:
        if units != {"BQML"} or scales:
            raise _wrong_units("PET with Units BQML or GML", _named(units))
        factor = _suv_factor(slices)
        facts["suv_g_per_bq"] = decimal(factor)
        scales = tuple(_activity(one, factor) for one in slices)
    elif quantity is Quantity.SUV and str(_value(slices[0], "SUVType") or "BW") != "BW":
        raise _wrong_units("SUV by body weight", "another kind")
    return Measure(quantity, scales, facts)


def _named(units: set[str]) -> str:
    """Return the one unit by name, unless it is a text that the standard does not know: that may say anything."""
    (unit,) = units
    return f"Units {unit}" if unit in _UNITS else "none" if unit in ("", "None") else "another text"


def _wrong_units(wanted: str, found: str) -> IntensityError:
    return IntensityError("wrong-units", wanted=wanted, found=found, where="quantify")


def _value(dataset: Dataset, keyword: str) -> Any:
    try:
        return dataset.get(keyword)
    except DECODING_ERRORS:
        return None


def _facts(dataset: Dataset) -> dict[str, Any]:
    names = ("Modality", "RescaleType", "Units", "ImageType")
    return {name: value for name in names if (value := _value(dataset, name))}


def _number(dataset: Dataset, keyword: str) -> float:
    try:
        return float(_value(dataset, keyword))
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def _mapped(slices: Sequence[Dataset]) -> tuple[Linear | Lookup, ...]:
    """Return each slice's one Real World Value Mapping, a line or a table (PS3.3 C.7.6.16.2.11)."""
    found = [
        [_mapping(item) for item in _value(one, "RealWorldValueMappingSequence") or ()] for one in slices
    ]
    scales = tuple(mapping for mappings in found for mapping in mappings if mapping is not None)
    if len(scales) != len(slices) or any(len(mappings) != 1 for mappings in found):
        wanted = "one Real World Value Mapping for each slice"
        raise IntensityError(
            "rwvm-missing", wanted=wanted, found="none, several, or no line and no table", where="quantify"
        )
    return scales


def _mapping(item: Dataset) -> Linear | Lookup | None:
    """Return the line or table of a mapping, None where it is neither."""
    first, last = (_end(item, end) for end in ("First", "Last"))
    pair = _number(item, "RealWorldValueSlope"), _number(item, "RealWorldValueIntercept")
    if np.isfinite(pair).all() and pair[0] != 0:
        return Linear(*pair, first, last)
    table = _value(item, "RealWorldValueLUTData")
    values = np.array([] if table is None else table, dtype=np.float64).reshape(-1)
    if first is None or last is None or first != int(first) or values.size != last - first + 1:
        return None
    return Lookup(int(first), tuple(values.tolist())) if np.isfinite(values).all() else None


def _end(item: Dataset, end: str) -> float | None:
    """Return the first or last stored number that a mapping holds for, None where it does not say."""
    for keyword in (f"RealWorldValue{end}ValueMapped", f"DoubleFloatRealWorldValue{end}ValueMapped"):
        if np.isfinite(number := _number(item, keyword)):
            return number
    return None


def _activity(dataset: Dataset, factor: float) -> Linear:
    slope, intercept = _number(dataset, "RescaleSlope"), _number(dataset, "RescaleIntercept")
    if not np.isfinite([slope, intercept]).all() or slope == 0:
        raise _suv_missing("RescaleSlope and RescaleIntercept")
    return Linear(slope * factor, intercept * factor)


def _suv_missing(wanted: str) -> IntensityError:
    found = "an element that is missing or does not fit"
    return IntensityError("suv-missing", wanted=wanted, found=found, where="quantify")


def _suv_factor(slices: Sequence[Dataset]) -> float:
    """Return grams of body per Bq of the dose that is left when the scan begins (PS3.3 C.8.9.1.1.11)."""
    if len({_suv_sources(one) for one in slices}) > 1:
        raise _suv_missing("the same weight, dose, half-life and injection in all slices")
    first = slices[0]
    corrected = {str(word) for word in _value(first, "CorrectedImage") or ()}
    if not {"ATTN", "DECY"} <= corrected:
        raise _suv_missing("CorrectedImage with ATTN and DECY")
    (drug, *others) = list(_value(first, "RadiopharmaceuticalInformationSequence") or [Dataset()])
    weight, dose = _number(first, "PatientWeight"), _number(drug, "RadionuclideTotalDose")
    if others or not (0 < weight < np.inf and 0 < dose < np.inf):
        raise _suv_missing("PatientWeight in kg and one RadionuclideTotalDose in Bq")
    correction = str(_value(first, "DecayCorrection"))
    if correction not in ("START", "ADMIN"):
        raise _suv_missing("DecayCorrection START or ADMIN")
    return weight * GRAMS / (dose * (1.0 if correction == "ADMIN" else _left(slices, drug)))


def _suv_sources(dataset: Dataset) -> tuple[str, ...]:
    """Return all that the factor is made of, as text, but the times of the scan."""
    drug = next(iter(_value(dataset, "RadiopharmaceuticalInformationSequence") or ()), Dataset())
    own = ("PatientWeight", "DecayCorrection", "CorrectedImage", "SeriesDate", "SeriesTime")
    given = (
        "RadionuclideTotalDose", "RadionuclideHalfLife", "RadiopharmaceuticalStartDateTime",
        "RadiopharmaceuticalStartTime",
    )  # fmt: skip
    return (*(str(_value(dataset, name)) for name in own), *(str(_value(drug, name)) for name in given))


def _left(slices: Sequence[Dataset], drug: Dataset) -> float:
    """Return the share of the dose that has not decayed when the series begins."""
    half_life = _number(drug, "RadionuclideHalfLife")
    start = _moment(slices[0], "SeriesDate", "SeriesTime")
    acquired = [_moment(one, "AcquisitionDate", "AcquisitionTime") for one in slices]
    whole = _digits(drug, "RadiopharmaceuticalStartDateTime")
    time = _digits(drug, "RadiopharmaceuticalStartTime")
    injected = _parsed(whole if len(whole) >= 14 else _digits(slices[0], "SeriesDate") + time)
    # Reconstructions made later carry the time of their making in SeriesTime: then only the site knows the start.
    if (
        start is None
        or injected is None
        or None in acquired
        or start > min(a for a in acquired if a is not None)
    ):
        raise _suv_missing("SeriesTime, not after any AcquisitionTime, and the time of injection")
    uptake = (start - injected).total_seconds()
    if not (0 <= uptake <= LONGEST_UPTAKE_S and 0 < half_life < np.inf):
        raise _suv_missing("an injection within the day before the scan, and RadionuclideHalfLife in s")
    return float(2.0 ** (-uptake / half_life))


def _digits(dataset: Dataset, keyword: str) -> str:
    return str(_value(dataset, keyword) or "").partition(".")[0].partition("+")[0].partition("-")[0]


def _moment(dataset: Dataset, date: str, time: str) -> datetime | None:
    return _parsed(_digits(dataset, date) + _digits(dataset, time))


def _parsed(digits: str) -> datetime | None:
    try:
        return datetime.strptime(digits, "%Y%m%d%H%M%S")
    except ValueError:
        return None
