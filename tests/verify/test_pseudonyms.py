from __future__ import annotations

import hashlib
import hmac

import pytest

from pipeline.model.deid import Subject
from pipeline.model.identified import Key
from pipeline.stages.deidentify import subject_token
from pipeline.verify.pseudonyms import Pseudonyms

SECRET = bytes(range(32))


@pytest.fixture
def keys() -> Pseudonyms:
    return Pseudonyms(SECRET, 1, 3650, frozenset({"1.2.840.10008.1.1"}))


def test_a_keyed_value_is_what_the_standard_library_makes_of_it(keys: Pseudonyms) -> None:
    own = hmac.new(SECRET, b"uid", hashlib.sha256).digest()
    assert keys.keyed("uid", "1.2.3") == hmac.new(own, b"1.2.3", hashlib.sha256).digest()


def test_both_derivations_agree_on_subject_uid_and_days(keys: Pseudonyms) -> None:
    key = Key(SECRET)
    token = subject_token(key, "4711 ", "Clinic")
    days = keys.days(token)
    subject = Subject(token, days, key, keys.standard)

    assert keys.subject("4711", "Clinic") == token
    assert keys.name(token) == subject.name
    assert keys.uid("1.2.3") == subject.uid("1.2.3")
    assert keys.moved("20200229", token) == subject.day("20200229")
    assert 1 <= days <= 3650


def test_a_uid_of_the_standard_stays(keys: Pseudonyms) -> None:
    assert keys.uid("1.2.840.10008.1.1") == "1.2.840.10008.1.1"


def test_what_is_no_date_is_not_moved(keys: Pseudonyms) -> None:
    assert keys.moved("20201341", keys.subject("4711")) == ""
