from __future__ import annotations

import io

import pytest
from pydicom import Dataset, dcmread

from pipeline.demo.objects import encode
from pipeline.demo.private import private_elements
from pipeline.demo.sites import SITES, patient

WHO = patient(SITES[0], seed=(0,))
VENDORS = ("ge", "siemens", "philips", "canon")
B_VALUES = {"ge": 0x00431039, "siemens": 0x0019100C, "philips": 0x20011003}


@pytest.mark.parametrize("vendor", sorted(B_VALUES))
def test_a_b_value_lies_where_the_vendor_keeps_it_and_only_for_diffusion(vendor: str) -> None:
    diffusion, other = (private_elements(vendor, WHO, b_value=b_value) for b_value in (800.0, None))
    value = diffusion[B_VALUES[vendor]].value

    assert float(value[0] if vendor == "ge" else value) == 800
    assert B_VALUES[vendor] not in other


@pytest.mark.parametrize("vendor", VENDORS)
def test_every_vendor_names_somebody_in_private(vendor: str) -> None:
    dataset = private_elements(vendor, WHO, b_value=None)
    texts = {
        value.decode("latin-1") if isinstance(value, bytes) else str(value)
        for value in (element.value for element in dataset if element.tag.is_private)
    }

    assert any(name in text for name in WHO.strings() for text in texts)


@pytest.mark.parametrize("syntax", ["implicit", "explicit", "big-endian"])
def test_private_blocks_are_read_back_at_any_depth(syntax: str) -> None:
    dataset = private_elements("ge", WHO, b_value=None)
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", "2.25.1"
    read = dcmread(io.BytesIO(encode(dataset, syntax, "PACS")))

    assert read.private_block(0x0009, "GEMS_IDEN_01")[0x17].value == WHO.private_note
    if syntax != "implicit":
        visit: Dataset = read.private_block(0x0031, "PHANTOM RIS 1")[0x10].value[0]
        contact = visit.private_block(0x0031, "PHANTOM RIS 1")[0x11].value[0]
        assert contact.PatientName == WHO.mother
