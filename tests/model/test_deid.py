"""Checks judge values one by one; the gate follows the table's actions under the chosen options."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model.deid import (
    Act,
    Clock,
    Day,
    Found,
    KnownUid,
    Lut,
    Moment,
    Number,
    Pointer,
    Row,
    Subject,
    Uid,
    Vocabulary,
    Words,
    gate,
    padded,
)  # fmt: skip
from pipeline.model.identified import Key

CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
SUBJECT = Subject("ab" * 32, 10, Key(bytes(32)), frozenset({CT_STORAGE}))


def text(value: bytes, vr: str = "DS") -> Found:
    return Found(value, vr, True)


@pytest.mark.parametrize("value", [b"1", b"-1.5", b"+.5", b"1e3", b"1.\\2", b" 7 ", b"0012", b"-0.0"])
def test_a_number_passes(value: bytes) -> None:
    assert Number(-1e6, 1e6).clean(text(value), SUBJECT) is not None


@pytest.mark.parametrize(
    "value",
    [
        b"nan",
        b"inf",
        b"1_0",
        b"0x1",
        b"1 2",
        b"1\\",
        b"1\\\\2",
        b"1e7",
        b"2,5",
        b"\xd9\xa1",
        b"12a",
        b"1" * 20,
    ],
)
def test_what_is_no_number_or_out_of_range_does_not(value: bytes) -> None:
    assert Number(-1e6, 1e6).clean(text(value), SUBJECT) is None


def test_a_number_is_written_without_what_pads_it() -> None:
    assert Number(0, 9).clean(text(b"  1 \\ 2\0\0"), SUBJECT) == b"1\\2 "


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=4), st.booleans())
def test_packed_numbers_pass_in_both_byte_orders(numbers: list[float], little: bool) -> None:
    value = struct.pack(f"{'<' if little else '>'}{len(numbers)}d", *numbers)
    if value.isascii() and value.decode().isprintable():
        return
    assert Number(-1, 1).clean(Found(value, "FD", little), SUBJECT) == value


@pytest.mark.parametrize("numbers", [[float("nan")], [float("inf")], [1.5]])
def test_packed_numbers_that_are_none_or_out_of_range_do_not(numbers: list[float]) -> None:
    assert Number(-1, 1).clean(Found(struct.pack("<d", *numbers), "FD", True), SUBJECT) is None


@pytest.mark.parametrize(
    ("value", "vr"), [(b"Quende", "US"), (b"Zora", "UL"), (b"QuendelZ", "FD"), (b"Quendel^", "FL")]
)
def test_text_in_packed_numbers_does_not(value: bytes, vr: str) -> None:
    assert Number(-1e300, 1e300).clean(Found(value, vr, True), SUBJECT) is None


def test_packed_numbers_of_the_wrong_length_do_not() -> None:
    assert Number(0, 1e9).clean(Found(b"\0\0\0", "US", True), SUBJECT) is None


def test_a_vocabulary_takes_whole_values_only() -> None:
    vocabulary = Vocabulary(frozenset({"axial"}), words=frozenset({"t2", "tra", "1", "2", "3"}))
    assert vocabulary.holds("AXIAL")
    assert vocabulary.holds("t2_TRA 3")
    assert not vocabulary.holds("AXIAL Quendel")
    assert not vocabulary.holds("t2_tra_quendel")
    assert not vocabulary.holds(" - ")


def test_listed_digits_do_not_make_a_date() -> None:
    vocabulary = Vocabulary(words=frozenset("0123456789"))
    assert vocabulary.holds("1 2 3 4")
    assert not vocabulary.holds("1 9 5 1 0 2 0 3")


def test_one_unknown_value_drops_the_element_or_becomes_what_stands_for_it() -> None:
    vocabulary = Vocabulary(frozenset({"original", "primary"}))
    found = text(b"ORIGINAL\\Quendel\\PRIMARY", "CS")
    assert Words(vocabulary).clean(found, SUBJECT) is None
    assert Words(vocabulary, "OTHER").clean(found, SUBJECT) == b"ORIGINAL\\OTHER\\PRIMARY"


def test_a_uid_is_mapped_by_its_value_alone() -> None:
    mapped = Uid().clean(text(b"1.2.3\0", "UI"), SUBJECT)
    assert mapped == Uid().clean(text(b"1.2.3 ", "UI"), SUBJECT)
    assert mapped is not None
    assert mapped.startswith(b"2.25.")
    assert len(mapped) % 2 == 0


def test_a_uid_of_the_standard_is_nobodys() -> None:
    assert Uid().clean(text(CT_STORAGE.encode() + b"\0", "UI"), SUBJECT) == padded(
        [CT_STORAGE.encode()], b"\0"
    )
    assert KnownUid().clean(text(CT_STORAGE.encode(), "UI"), SUBJECT) is not None
    assert KnownUid().clean(text(b"1.2.3", "UI"), SUBJECT) is None


@given(st.lists(st.integers(0, 2**40), min_size=2, max_size=50, unique=True))
def test_different_uids_stay_different(numbers: list[int]) -> None:
    assert len({SUBJECT.uid(f"1.2.{number}") for number in numbers}) == len(numbers)


def test_dates_move_back_by_the_subjects_days() -> None:
    assert Day().clean(text(b"20200301", "DA"), SUBJECT) == b"20200220"
    assert Day().clean(text(b"20200105\\20200111", "DA"), SUBJECT) == b"20191226\\20200101 "
    assert Moment().clean(text(b"20200105235959.25+0100", "DT"), SUBJECT) == b"20191226235959.25+0100"


@pytest.mark.parametrize("value", [b"2020", b"202001", b"00010105", b"20201301", b"2020-01-05", b"Quendel"])
def test_a_moment_without_a_day_goes(value: bytes) -> None:
    assert Moment().clean(text(value, "DT"), SUBJECT) is None
    assert Day().clean(text(value, "DA"), SUBJECT) is None


@pytest.mark.parametrize(
    ("value", "passes"),
    [
        (b"235959.999999", True),
        (b"23", True),
        (b"240000", False),
        (b"23:59:59", False),
        (b"235", False),
        (b"4711", False),
    ],
)
def test_times_of_day_pass_as_such(value: bytes, passes: bool) -> None:
    assert (Clock().clean(text(value, "TM"), SUBJECT) is not None) == passes


def test_a_pointer_passes_when_its_tag_is_known() -> None:
    known = Pointer(frozenset({0x00200032}))
    assert known.clean(Found(b"\x20\0\x32\0", "AT", True), SUBJECT) is not None
    assert known.clean(Found(b"Quen", "AT", True), SUBJECT) is None


def test_a_table_that_neither_rises_nor_falls_goes() -> None:
    assert Lut().clean(Found(struct.pack("<3H", 1, 1, 5), "OW", True), SUBJECT) is not None
    assert Lut().clean(Found(struct.pack(">3H", 9, 4, 4), "OW", False), SUBJECT) is not None
    assert Lut().clean(Found(b"Quendel^", "OW", True), SUBJECT) is None


ROWS = (
    Row("00100010", "name", "Z", {}),
    Row("00081140", "reference", "X/Z/U*", {}),
    Row("00080020", "date", "Z", {"full": "K", "modified": "C"}),
    Row("00101030", "weight", "X", {"characteristics": "K"}),
    Row("60xx3000", "overlay", "X", {"graphics": "C"}),
    Row("PRIVATE", "private", "X", {"safe": "C"}),
)


@pytest.mark.parametrize(
    ("tag", "options", "admitted"),
    [
        (0x00100010, (), {Act.EMPTIED, Act.REPLACED}),
        (0x00081140, (), {Act.EMPTIED, Act.REPLACED, Act.REMAPPED, Act.RECURSED}),
        (0x00080020, (), {Act.EMPTIED, Act.REPLACED}),
        (0x00080020, ("modified",), {Act.SHIFTED, Act.CLEANED, Act.EMPTIED, Act.REPLACED, Act.RECURSED}),
        (
            0x00080020,
            ("full", "modified"),
            {Act.SHIFTED, Act.CLEANED, Act.EMPTIED, Act.REPLACED, Act.RECURSED},
        ),
        (0x00080020, ("full",), set(Act)),
        (0x00101030, (), set()),
        (0x00101030, ("characteristics",), set(Act)),
        (0x60023000, (), set()),
        (0x60023001, (), set(Act)),
        (0x00091001, (), set()),
        (0x00280010, (), set(Act)),
    ],
)
def test_the_gate_admits_what_the_action_says(tag: int, options: tuple[str, ...], admitted: set[Act]) -> None:
    second = gate(ROWS, frozenset(options))
    assert {act for act in Act if second.admits(tag, act)} == admitted
