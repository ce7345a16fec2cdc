"""Numbers measure what their headers prove, and SUV is computed only from a header that is whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydicom import Dataset

from pipeline.model.errors import IntensityError
from pipeline.model.volume import Linear, Lookup, Quantity
from pipeline.stages.quantify import quantify, quantity_of


def pet(second: int = 0, **elements: Any) -> Dataset:
    """A PET slice of 60 kg and 300 MBq, scanned one half-life after the injection."""
    drug = Dataset()
    drug.RadionuclideTotalDose, drug.RadionuclideHalfLife = 3e8, 3600
    drug.RadiopharmaceuticalStartTime = "090000.00"
    dataset = Dataset()
    dataset.Modality, dataset.Units, dataset.DecayCorrection = "PT", "BQML", "START"
    dataset.CorrectedImage, dataset.PatientWeight = ["DECY", "ATTN", "SCAT"], 60
    dataset.SeriesDate = dataset.AcquisitionDate = "20200102"
    dataset.SeriesTime, dataset.AcquisitionTime = "100000", f"1000{second:02d}.5"
    dataset.RescaleSlope, dataset.RescaleIntercept = 2 + second, 0
    dataset.RadiopharmaceuticalInformationSequence = [drug]
    for keyword, value in elements.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def mapped(*pairs: tuple[float, float]) -> Dataset:
    dataset = Dataset()
    dataset.Modality, items = "MR", []
    for slope, intercept in pairs:
        item = Dataset()
        item.RealWorldValueSlope, item.RealWorldValueIntercept = slope, intercept
        items.append(item)
    dataset.RealWorldValueMappingSequence = items
    return dataset


def code(slices: list[Dataset], quantity: Quantity, values: str = "rescale") -> str:
    with pytest.raises(IntensityError) as refusal:
        quantify(slices, quantity, values=values)
    return refusal.value.code


@pytest.mark.parametrize(
    ("facts", "quantity"),
    [
        ({"Modality": "CT"}, Quantity.HOUNSFIELD),
        ({"Modality": "CT", "RescaleType": "HU"}, Quantity.HOUNSFIELD),
        ({"Modality": "CT", "RescaleType": "Z_EFF"}, Quantity.OTHER_QUANTITATIVE),
        ({"Modality": "PT", "Units": "BQML"}, Quantity.ACTIVITY),
        ({"Modality": "PT", "Units": "GML"}, Quantity.SUV),
        ({"Modality": "PT", "Units": "CNTS"}, Quantity.ARBITRARY),
        ({"Modality": "PT"}, Quantity.ARBITRARY),
        ({"Modality": "MR", "ImageType": ["DERIVED", "PRIMARY", "ADC"]}, Quantity.ADC),
        ({"Modality": "MR", "ImageType": ["DERIVED", "PRIMARY", "T1 MAP"]}, Quantity.OTHER_QUANTITATIVE),
        ({"Modality": "MR", "ImageType": ["ORIGINAL", "PRIMARY", "M"]}, Quantity.ARBITRARY),
    ],
)
def test_a_quantity_follows_from_modality_units_and_image_type(
    facts: dict[str, Any], quantity: Quantity
) -> None:
    assert quantity_of(facts)[0] is quantity


def test_suv_is_the_activity_by_weight_and_the_dose_left_at_the_start_of_the_series() -> None:
    measure = quantify([pet(0), pet(30)], Quantity.SUV)
    per_bq = 60_000 / (3e8 / 2)
    np.testing.assert_allclose(
        [scale.slope for scale in measure.scales], [2 * per_bq, 32 * per_bq], rtol=1e-12
    )
    assert float(measure.facts["suv_g_per_bq"]) == pytest.approx(per_bq)


def test_a_dose_corrected_to_the_injection_does_not_decay_again() -> None:
    measure = quantify([pet(DecayCorrection="ADMIN")], Quantity.SUV)
    assert measure.scales == (Linear(2 * 60_000 / 3e8, 0.0),)


def test_what_is_in_grams_per_millilitre_already_is_taken_as_it_is() -> None:
    assert quantify([pet(Units="GML")], Quantity.SUV).scales == ()
    assert code([pet(Units="GML", SUVType="LBM")], Quantity.SUV) == "wrong-units"


@pytest.mark.parametrize(
    "elements",
    [
        {"PatientWeight": None},
        {"PatientWeight": 0},
        {"RadiopharmaceuticalInformationSequence": None},
        {"DecayCorrection": "NONE"},
        {"CorrectedImage": ["DECY"]},
        {"SeriesTime": "113000"},
        {"SeriesTime": "083000"},
        {"SeriesDate": "20200104", "AcquisitionDate": "20200105"},
        {"AcquisitionTime": None},
        {"RescaleSlope": None},
    ],
)
def test_suv_is_refused_when_its_header_is_not_whole(elements: dict[str, Any]) -> None:
    slices = [pet(**elements)]
    if elements.get("SeriesDate"):
        slices[0].RadiopharmaceuticalInformationSequence[
            0
        ].RadiopharmaceuticalStartDateTime = "20200102090000"
    assert code(slices, Quantity.SUV) == "suv-missing"


@pytest.mark.parametrize(
    ("units", "quantity"),
    [("CNTS", Quantity.ACTIVITY), ("CNTS", Quantity.SUV), ("GML", Quantity.ACTIVITY)],
)
def test_pet_in_other_units_than_the_rule_wants_is_refused(units: str, quantity: Quantity) -> None:
    assert code([pet(Units=units)], quantity) == "wrong-units"


@pytest.mark.parametrize(
    ("units", "found"), [("GML", "Units GML"), ("JANE DOE", "another text"), ("", "none"), (None, "none")]
)
def test_a_unit_is_named_if_it_is_a_term_and_never_quoted_else(units: str | None, found: str) -> None:
    with pytest.raises(IntensityError) as caught:
        quantify([pet(Units=units)], Quantity.ACTIVITY)
    assert caught.value.found == found


def test_slices_in_two_units_are_refused() -> None:
    assert code([pet(), pet(Units="GML")], Quantity.SUV) == "wrong-units"


def test_real_world_values_are_used_only_where_the_rule_asks() -> None:
    slices = [mapped((0.5, 3)), mapped((0.25, 0))]
    assert quantify(slices, Quantity.OTHER_QUANTITATIVE).scales == ()
    asked = quantify(slices, Quantity.OTHER_QUANTITATIVE, values="rwvm")
    assert asked.scales == (Linear(0.5, 3.0), Linear(0.25, 0.0))


@pytest.mark.parametrize("pairs", [(), ((1.0, 0.0), (2.0, 0.0)), ((0.0, 1.0),), ((float("nan"), 0.0),)])
def test_a_mapping_that_is_not_one_line_is_refused(pairs: tuple[tuple[float, float], ...]) -> None:
    assert code([mapped(*pairs)], Quantity.OTHER_QUANTITATIVE, "rwvm") == "rwvm-missing"


def test_a_table_of_real_world_values_is_taken_whole_or_not_at_all() -> None:
    item = Dataset()
    item.add_new("RealWorldValueFirstValueMapped", "SS", -1)
    item.add_new("RealWorldValueLastValueMapped", "SS", 1)
    item.RealWorldValueLUTData = [0.5, 2.0, 9.0]
    slices = [mapped()]
    slices[0].RealWorldValueMappingSequence = [item]

    made = quantify(slices, Quantity.OTHER_QUANTITATIVE, values="rwvm")
    assert made.scales == (Lookup(-1, (0.5, 2.0, 9.0)),)
    item.RealWorldValueLUTData = [0.5, 2.0]
    assert code(slices, Quantity.OTHER_QUANTITATIVE, "rwvm") == "rwvm-missing"


def test_a_line_holds_for_the_stored_numbers_that_it_names() -> None:
    slices = [mapped((0.5, 3))]
    item = slices[0].RealWorldValueMappingSequence[0]
    item.add_new("RealWorldValueFirstValueMapped", "US", 0)
    item.DoubleFloatRealWorldValueLastValueMapped = 4095.0
    made = quantify(slices, Quantity.OTHER_QUANTITATIVE, values="rwvm")
    assert made.scales == (Linear(0.5, 3.0, 0.0, 4095.0),)
