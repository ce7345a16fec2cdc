"""Write the vendors' private elements: what conversion may want, beside what names the patient."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pydicom import Dataset
from pydicom.sequence import Sequence as Items

from pipeline.demo.sites import Identity

_Item = tuple[int, str, object]
"""Offset in the private block (PS3.5 7.8.1), value representation, value."""


def private_elements(vendor: str, who: Identity, *, b_value: float | None) -> Dataset:
    """Return a vendor's private blocks, and one of the hospital's own system with a name three levels deep.

    `b_value` (s/mm2) is written where the vendor keeps it, for diffusion images only.
    """
    dataset = Dataset()
    for (group, creator), items in _BLOCKS[vendor](who, b_value).items():
        block = dataset.private_block(group, creator, create=True)
        for offset, representation, value in items:
            block.add_new(offset, representation, value)
    dataset.private_block(0x0031, "PHANTOM RIS 1", create=True).add_new(0x10, "SQ", Items([_visit(who)]))
    return dataset


def _visit(who: Identity) -> Dataset:
    visit, contact = Dataset(), Dataset()
    contact.private_block(0x0031, "PHANTOM RIS 1", create=True).add_new(0x20, "LO", who.private_note)
    contact.PatientName = who.mother
    visit.private_block(0x0031, "PHANTOM RIS 1", create=True).add_new(0x11, "SQ", Items([contact]))
    visit.AdmissionID = who.order
    return visit


_Blocks = Mapping[tuple[int, str], list[_Item]]


def _ge(who: Identity, b_value: float | None) -> _Blocks:
    diffusion: list[_Item] = [] if b_value is None else [(0x39, "IS", [int(b_value), 8, 0, 0])]
    return {
        (0x0009, "GEMS_IDEN_01"): [
            (0x01, "LO", "GE_GENESIS_FF"),
            (0x02, "SH", "CT01"),
            (0x17, "LT", who.private_note),
        ],
        (0x0011, "GEMS_PATI_01"): [(0x10, "SS", 0), (0x11, "LO", who.comment)],
        (0x0043, "GEMS_PARM_01"): [(0x12, "SS", [14, 2, 3]), (0x16, "SS", 2), *diffusion],
    }


def _siemens(who: Identity, b_value: float | None) -> _Blocks:
    diffusion: list[_Item] = [] if b_value is None else [(0x0C, "IS", int(b_value))]
    card = f"SV10\x04\x03\x02\x01 tPatientName = {who.patient_name}; tReferring = {who.referring} ".encode()
    return {
        (0x0019, "SIEMENS MR HEADER"): [(0x08, "CS", "IMAGE NUM 4"), (0x09, "LO", "1.0"), *diffusion],
        (0x0029, "SIEMENS CSA HEADER"): [
            (0x08, "CS", "IMAGE NUM 4"),
            (0x10, "OB", card + b"\0" * (len(card) % 2)),
        ],
        (0x0051, "SIEMENS MR HEADER"): [(0x0C, "SH", "FoV 33*26"), (0x13, "SH", "+LPH")],
    }


def _philips(who: Identity, b_value: float | None) -> _Blocks:
    diffusion: list[_Item] = [] if b_value is None else [(0x03, "FL", b_value)]
    return {
        (0x2001, "Philips Imaging DD 001"): [(0x0A, "IS", 5), (0x0B, "CS", "TRANSVERSAL"), *diffusion],
        (0x2005, "Philips MR Imaging DD 001"): [(0x0D, "FL", 0.0), (0x0E, "FL", 0.01246)],
        (0x2001, "Philips Imaging DD 002"): [(0x73, "LO", who.private_note)],
    }


def _canon(who: Identity, b_value: float | None) -> _Blocks:
    # Canon writes b-values in the standard's own element.
    return {
        (0x7005, "TOSHIBA_MEC_CT3"): [
            (0x0A, "DS", "0.5"),
            (0x0B, "SH", "1.0"),
            (0x11, "LT", who.private_note),
        ],
        (0x700D, "TOSHIBA_MEC_MR3"): [(0x00, "DS", "1.25"), (0xF5, "PN", who.operator)],
    }


_BLOCKS: Mapping[str, Callable[[Identity, float | None], _Blocks]] = {
    "ge": _ge,
    "siemens": _siemens,
    "philips": _philips,
    "canon": _canon,
}
