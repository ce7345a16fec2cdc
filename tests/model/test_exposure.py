from __future__ import annotations

import numpy as np
import pytest

from pipeline.model.exposure import hides_bits


@pytest.mark.parametrize(
    ("numbers", "dtype"),
    [([0, 4095], "u2"), ([-2048, 2047], "i2"), ([0, 4095], "i2")],
    ids=["unsigned", "sign extended", "sign not extended"],
)
def test_numbers_of_twelve_bits_hide_nothing(numbers: list[int], dtype: str) -> None:
    assert not hides_bits(np.array(numbers, dtype), 12, 11)
    assert not hides_bits(
        np.array(numbers, dtype) << (4 if dtype == "u2" else 0), 12, 15 if dtype == "u2" else 11
    )


@pytest.mark.parametrize(
    ("number", "dtype", "high"),
    [(4096, "u2", 11), (0x8000, "u2", 11), (-2049, "i2", 11), (0x4000, "i2", 11), (1, "u2", 15)],
)
def test_a_bit_beside_the_numbers_is_seen(number: int, dtype: str, high: int) -> None:
    assert hides_bits(np.array([0, number], dtype), 12, high)


def test_full_numbers_leave_no_room() -> None:
    assert not hides_bits(np.array([-32768, 32767], "i2"), 16, 15)
    assert not hides_bits(np.array([0, 65535], "u2"), 16, 15)


def test_a_header_that_gives_the_numbers_no_bits_hides_them_all() -> None:
    assert hides_bits(np.array([0], "u2"), 0, 11)
    assert hides_bits(np.array([0], "u2"), 12, 7)
