"""How the documents spell things alike."""

from __future__ import annotations

import pytest

from pipeline.metadata.names import package_name, pretty


@pytest.mark.parametrize(
    ("title", "name"), [("Ten organs", "ten-organs"), ("A (b), 2.0", "a-b-2-0"), ("äöü", "release")]
)
def test_a_title_becomes_an_identifier(title: str, name: str) -> None:
    assert package_name(title) == name


def test_json_is_ascii_and_keeps_the_order() -> None:
    assert pretty({"b": "é", "a": 1}) == b'{\n "b": "\\u00e9",\n "a": 1\n}\n'
