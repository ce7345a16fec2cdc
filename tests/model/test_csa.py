"""A CSA header keeps the numbers that are asked for, in both of its forms, and nothing else."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import pydicom
import pytest

from pipeline.model.csa import read_csa, reduced_csa

RANGES = {"NumberOfImagesInMosaic": (1.0, 8191.0), "SliceNormalVector": (-1.01, 1.01)}
NAMES: Mapping[str, Sequence[str]] = {
    "NumberOfImagesInMosaic": ["36"],
    "SliceNormalVector": ["0.00000000", "-0.25", "0.96824584"],
    "PatientName": ["Quendel^Zora"],
    "Empty": [],
}


def header(names: Mapping[str, Sequence[str]], is_new: bool) -> bytes:
    """A header as scanners write it, with six items a name of which the last ones are empty."""
    out = b"SV10\x04\x03\x02\x01" if is_new else b""
    out += struct.pack("<II", len(names), 77)
    for name, texts in names.items():
        out += struct.pack("<64si4siii", name.encode(), len(texts), b"IS", 6, 6, 77)
        for index in range(6):
            raw = texts[index].encode() + b"\0" if index < len(texts) else b""
            first = len(raw) if is_new else len(raw) + 6
            out += struct.pack("<4i", first, len(raw), 77, len(raw)) + raw + b"\0" * (-len(raw) % 4)
    return out


@pytest.mark.parametrize("is_new", [True, False])
def test_asked_numbers_stay_as_they_stood_and_all_else_goes(is_new: bool) -> None:
    reduced = reduced_csa(header(NAMES, is_new), RANGES)
    assert reduced is not None
    assert b"Quendel" not in reduced
    assert len(reduced) % 2 == 0
    assert {name: texts for name, (_, texts) in read_csa(reduced).items()} == {
        name: NAMES[name] for name in RANGES
    }


def test_a_reduced_header_is_reduced_already() -> None:
    once = reduced_csa(header(NAMES, True), RANGES)
    assert once is not None
    assert reduced_csa(once, RANGES) == once


@pytest.mark.parametrize("text", ["Quendel", "2", "nan", "1e999", "0.5 Zora", "0x1", "٣"])
def test_a_text_that_is_no_number_in_its_range_drops_the_name(text: str) -> None:
    spoilt = dict(NAMES) | {"SliceNormalVector": ["0", text.encode().decode("latin-1"), "1"]}
    reduced = reduced_csa(header(spoilt, True), RANGES)
    assert reduced is not None
    assert set(read_csa(reduced)) == {"NumberOfImagesInMosaic"}


def test_what_is_no_header_is_nothing() -> None:
    for damaged in (
        b"",
        b"SV10",
        header(NAMES, True)[:-9],
        b"SV10\x04\x03\x02\x01" + b"\xff" * 200,
        b"Quendel^Zora" * 20,
    ):
        assert reduced_csa(damaged, RANGES) is None


def test_a_real_header_keeps_its_mosaic(real: Path) -> None:
    dataset = pydicom.dcmread(min((real / "mr-4d/siemens-mosaic").glob("*.dcm")))
    whole = dataset.private_block(0x0029, "SIEMENS CSA HEADER")[0x10].value
    reduced = reduced_csa(whole, RANGES)
    assert reduced is not None
    assert {name: read_csa(whole)[name] for name in RANGES} == read_csa(reduced)
    assert len(reduced) < 600 < len(whole)
