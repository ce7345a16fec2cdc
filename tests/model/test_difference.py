"""Where two documents differ."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.model.difference import changes, shown


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, [(("a", "b"), ("1", "2"))]),
        ({"a": [1, 2]}, {"a": [1, 3]}, [(("a", "1"), ("2", "3"))]),
        ({"a": [1]}, {"a": [1, 2]}, [(("a",), ("[1]", "[1, 2]"))]),
        ({}, {"a": "x"}, [(("a",), ("nothing", "x"))]),
        ({"a": {}}, {"a": "x"}, [(("a",), ("{}", "x"))]),
    ],
)
def test_each_place_is_named_with_both_texts(first: Any, second: Any, wanted: Any) -> None:
    assert list(changes(first, second)) == wanted


def test_texts_are_short_printable_ascii() -> None:
    assert shown("\x1b\n\u202eé") == "????"
    assert len(shown("x" * 10_000)) == 123
