from __future__ import annotations

import itertools

import pytest

from pipeline.demo.cases import TASKS
from pipeline.demo.protocols import image_type, parameters, series_description
from pipeline.io.ruleset import load_rules
from pipeline.stages.match import selects

RULES = load_rules()
VENDORS = ("ge", "siemens", "philips", "canon")
PLANNED = [
    (plan, channel, vendor, plane)
    for plan in TASKS
    for channel, vendor, plane in itertools.product(plan.channels, VENDORS, dict.fromkeys(plan.planes))
]


@pytest.mark.parametrize(
    ("plan", "channel", "vendor", "plane"), PLANNED, ids=lambda part: getattr(part, "task", None)
)
def test_every_vendors_wording_is_selected_for_its_channel_alone(plan, channel, vendor, plane) -> None:  # type: ignore[no-untyped-def]  # parametrized values
    facts = {
        "Modality": plan.modality,
        "BodyPartExamined": plan.region,
        "SeriesDescription": series_description(channel.protocol, vendor, plane),
        "ImageType": list(image_type(channel.protocol, vendor)),
        "plane": "axial" if plane == "axial-tilted" else plane,
        "slices": 14,
        **parameters(channel.protocol, vendor),
    }

    assert [wanted.name for wanted in RULES[plan.task].rules.channels if selects(wanted, facts)] == [
        channel.name
    ]


def test_a_description_fits_its_element() -> None:
    for plan, channel, vendor, plane in PLANNED:
        assert len(series_description(channel.protocol, vendor, plane)) <= 64, plan.task
