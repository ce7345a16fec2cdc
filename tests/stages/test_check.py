"""The last look refuses what no consumer could use."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.model.errors import CurationError
from pipeline.model.rules import Channel, LabelClass
from pipeline.model.volume import Quantity, Volume
from pipeline.stages.check import check

SHAPE = (3, 4, 5)
AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])


def channel(name: str, quantity: Quantity) -> Channel:
    robust = {"method": "robust_min_max", "percentiles": (1, 99), "over": "all"}
    scale = {"method": "keep"} if quantity.is_quantitative else robust
    return Channel.model_validate(
        {"name": name, "quantity": quantity, "select": {"Modality": {"equals": "X"}}, "scale": scale}
    )


T2, CT = channel("T2", Quantity.ARBITRARY), channel("CT", Quantity.HOUNSFIELD)
CLASSES = tuple(
    LabelClass(value=v, name=n, from_names=(n,), required=v == 1) for v, n in ((1, "liver"), (2, "tumour"))
)


def image(low: float, high: float, dtype: type = np.float32, affine: np.ndarray = AFFINE) -> Volume:
    return Volume(np.linspace(low, high, 60).reshape(SHAPE).astype(dtype), affine)


def label(values=(0, 1), dtype: type = np.uint8, affine: np.ndarray = AFFINE) -> Volume:
    return Volume(np.resize(np.array(values, dtype=dtype), SHAPE), affine)


def code(images, drawn=None, channels=(T2,)) -> str:
    with pytest.raises(CurationError) as refusal:
        check(images, drawn, channels=channels, classes=CLASSES)
    return refusal.value.code


def test_a_sound_case_gets_its_ranges_and_counts():
    note = check([image(0, 1000), image(-1000, 3000, np.int16)], label(), channels=(T2, CT), classes=CLASSES)
    assert note.facts["channels"] == {
        "T2": {"min": "0", "max": "1000"},
        "CT": {"min": "-1000", "max": "3000"},
    }
    assert note.facts["label"] == {"0": 30, "1": 30, "2": 0}
    assert note.facts["warnings"] == []


def test_a_case_without_label_is_sound():
    assert "label" not in check([image(0, 1000)], None, channels=(T2,), classes=CLASSES).facts


def test_a_ct_without_air_is_only_a_warning():
    note = check([image(0, 900, np.int16)], None, channels=(CT,), classes=CLASSES)
    assert note.facts["warnings"] == ["channel CT: no value below -100 HU"]


def test_channels_on_two_grids_are_refused():
    other = image(0, 1000, affine=AFFINE + 1e-9)
    assert code([image(0, 1000), other], channels=(T2, T2)) == "mixed-grids"


def test_an_image_that_is_not_ras_is_refused():
    assert code([image(0, 1000, affine=np.diag([-1.0, 1, 1, 1]))]) == "not-ras"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_voxel_that_is_not_finite_is_refused(bad):
    data = np.linspace(0, 1000, 60, dtype=np.float32).reshape(SHAPE)
    data[1, 2, 3] = bad
    assert code([Volume(data, AFFINE)]) == "not-finite"


def test_a_constant_channel_is_refused():
    assert code([image(5, 5)]) == "constant-intensity"


@pytest.mark.parametrize(("low", "high"), [(-0.1, 1000), (0, 1000.1)])
def test_a_scaled_channel_outside_its_range_is_refused(low, high):
    assert code([image(low, high)]) == "out-of-range"


def test_hounsfield_beyond_int16_are_refused():
    assert code([image(-1000, 40_000)], channels=(CT,)) == "out-of-range"


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.uint8])
def test_other_dtypes_are_refused(dtype):
    assert code([image(0, 200, dtype)]) == "out-of-range"


def test_a_label_off_the_grid_is_refused():
    assert code([image(0, 1000)], label(affine=AFFINE + 1e-9)) == "label-off-grid"


def test_an_undeclared_label_value_is_refused():
    assert code([image(0, 1000)], label((0, 1, 3))) == "label-value-undeclared"
    assert code([image(0, 1000)], label((0, 1, 65535), np.uint16)) == "label-value-undeclared"


def test_a_missing_required_class_is_refused():
    assert code([image(0, 1000)], label((0, 2))) == "label-missing-class"


def test_a_label_that_is_not_unsigned_is_refused():
    assert code([image(0, 1000)], label(dtype=np.float32)) == "label-not-whole"
