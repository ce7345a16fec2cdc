"""What names a person is not shown by accident, and its pseudonyms come from the key alone."""

from __future__ import annotations

import copy
import logging
import pickle
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.model.identified import Identified, Key

PERSON = "DOE^JANE"


@dataclass(frozen=True)
class Holder:
    """A value of ours that holds an identified one."""

    name: str
    value: Identified[str]


def test_no_way_of_showing_it_shows_it(caplog: pytest.LogCaptureFixture) -> None:
    value = Identified(PERSON)
    logging.getLogger("test").warning("%s %r", value, [value])
    shown = [
        repr(value), str(value), f"{value}", f"{value!r:>30}", "%s" % value, f"{[value]} {({1: value})}",  # noqa: UP031
        repr(Holder("a", value)), str(ValueError(value)), repr(ValueError(value)), caplog.text, repr(Identified(value)),
    ]  # fmt: skip

    assert not any(PERSON in text or "JANE" in text for text in shown)


def test_it_has_no_other_attribute_that_shows_it() -> None:
    value = Identified(PERSON)

    assert not hasattr(value, "__dict__")
    with pytest.raises((TypeError, AttributeError)):
        value.name = "x"  # type: ignore[attr-defined]  # nothing can be hung on it


class Unpicklable:
    """As a dataset that holds an open file."""

    def __reduce__(self) -> str:
        raise TypeError("cannot be pickled")

    def __repr__(self) -> str:
        return PERSON


def test_failing_to_pickle_it_shows_nothing() -> None:
    with pytest.raises(TypeError) as failure:
        pickle.dumps(Identified(Unpicklable()))

    assert PERSON not in str(failure.value)


def test_only_revealing_hands_the_value_out() -> None:
    assert Identified(PERSON).reveal() == PERSON
    assert pickle.loads(pickle.dumps(Identified(PERSON))).reveal() == PERSON
    assert copy.deepcopy(Identified([PERSON])).reveal() == [PERSON]


def test_two_identified_values_are_not_compared() -> None:
    # Equality would let a value be tried out.
    assert Identified(PERSON) != Identified(PERSON)


def test_the_key_shows_nothing() -> None:
    secret = bytes(range(32))
    key = Key(secret)

    for text in (repr(key), f"{key}", str([key]), repr(Holder("a", Identified(key)))):  # type: ignore[arg-type]
        assert secret.hex() not in text
        assert repr(secret) not in text
    assert pickle.loads(pickle.dumps(key)).secret == secret


def test_the_fingerprint_tells_keys_apart_and_not_the_key() -> None:
    keys = [Key(bytes([number]) * 32) for number in range(20)]

    assert len({key.fingerprint for key in keys}) == 20
    assert all(len(key.fingerprint) == 16 for key in keys)
    assert all(key.fingerprint not in key.secret.hex() for key in keys)


@settings(max_examples=50, deadline=None)
@given(st.text(), st.text(), st.text(max_size=5), st.text(max_size=5))
def test_a_pseudonym_depends_on_purpose_and_value_alone(
    first: str, second: str, purpose: str, other: str
) -> None:
    key = Key(bytes(32))

    assert (key.token(purpose, first) == key.token(purpose, second)) == (first == second)
    assert (key.token(purpose, first) == key.token(other, first)) == (purpose == other)
    assert key.token(purpose, first) != Key(b"\x01" * 32).token(purpose, first)


def test_a_token_is_the_beginning_of_the_digest() -> None:
    key = Key(bytes(32))

    assert key.token("a", "b", 10) == key.digest("a", "b").hex()[:10]
    # Pinned: another derivation would give every subject a new pseudonym.
    assert key.token("subject", PERSON, 16) == "39d732cfffc0f2f1"
