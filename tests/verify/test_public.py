from __future__ import annotations

import pytest

from pipeline.verify.public import public

CT = "1.2.840.10008.5.1.4.1.1.2"
PET = "1.2.840.10008.5.1.4.1.1.128"


@pytest.mark.parametrize("text", ["SIEMENS", "t2 tse tra", "ORIGINAL", "Liver", "T-A0100", "left kidney"])
def test_what_the_policy_publishes_is_nobodys(text: str) -> None:
    assert public().holds(text)


@pytest.mark.parametrize("text", ["Doe^Jane", "Quavex", "t2 tse Quavex", "tra 19570301", "47110"])
def test_a_name_a_number_or_a_text_with_one_is_somebodys(text: str) -> None:
    assert not public().holds(text)


def test_every_row_of_the_table_is_known() -> None:
    assert len(public().rows) + len(public().patterns) == 657


def test_a_row_of_repeating_groups_is_found_in_each_of_them() -> None:
    for tag in (0x60003000, 0x601E3000, 0x50020010, 0x00291010):
        assert public().row(tag) is not None


def test_patient_characteristics_stay_in_pet_alone() -> None:
    assert "retain_patient_characteristics" in public().options(PET)
    assert "retain_patient_characteristics" not in public().options(CT)


def test_words_of_a_releases_own_rules_are_public_there() -> None:
    assert not public().holds("Quavex Clinic")
    assert public().saying(["Images of the Quavex clinic."]).holds("Quavex Clinic")
