from __future__ import annotations

import pytest

from pipeline.io.plainyaml import DEPTH_LIMIT, SIZE_LIMIT, Document, read_plain, spelt


def read(text: str) -> Document:
    return read_plain(text.encode())


def said(text: str) -> list[str]:
    return [str(fault) for fault in read(text).faults]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("no", "no"),
        ("on", "on"),
        ("1e3", 1000.0),
        ("0.5", 0.5),
        (".5", 0.5),
        ("-3", -3),
        ("3D", "3D"),
        ("1.0 04/05/2018", "1.0 04/05/2018"),
        ("2018-05-04", "2018-05-04"),
        ("12:30:00", "12:30:00"),
        ("1_000", "1_000"),
        ("'007'", "007"),
        ('"true"', "true"),
        ("true", True),
        ("~", None),
        (".", "."),
        ("e5", "e5"),
    ],
)
def test_a_plain_word_means_what_yaml_1_2_says(written: str, meant: object) -> None:
    value = read(f"a: {written}\n").value["a"]

    assert value == meant
    assert type(value) is type(meant)


@pytest.mark.parametrize(
    "written", ["007", "0x1F", "0o17", ".inf", "-.inf", ".nan", "1e999", "1234567890123456789"]
)
def test_a_number_that_two_readers_could_read_differently_is_a_fault(written: str) -> None:
    assert said(f"a: {written}\n") == [
        f"$.a: wanted a plain decimal number, or text in quotes, found {written} (line 1)"
    ]


def test_a_key_given_twice_is_a_fault_and_the_first_value_stays() -> None:
    document = read("a:\n  b: 1\n  c: 2\n  b: 3\n")

    assert document.value == {"a": {"b": 1, "c": 2}}
    assert [str(fault) for fault in document.faults] == [
        "$.a.b: wanted the key once, found it again, after line 2 (line 4)"
    ]


def test_aliases_are_not_followed() -> None:
    bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"

    document = read(bomb)

    assert document.value == {"a": ["x", "x"], "b": [None, None], "c": [None, None]}
    assert sum("an alias" in str(fault) for fault in document.faults) == 4


def test_every_fault_is_said_with_its_place_and_line() -> None:
    assert said("a: !!python/object:os.system x\n1: y\n'odd key': [0, 08]\n") == [
        "$.a: wanted a plain value, found a tag (!) (line 1)",
        "$: wanted keys that are text, found the key 1 (line 2)",
        "$['odd key'][1]: wanted a plain decimal number, or text in quotes, found 08 (line 3)",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "$: wanted a document, found an empty file"),
        ("--- 1\n--- 2\n", "$: wanted one document, found a second one (line 2)"),
        ("a: b: c\n", "$: wanted YAML, found mapping values are not allowed here (line 1)"),
        ("? [a]\n: b\n", "$: wanted YAML, found a key that is a list, a mapping or an alias (line 1)"),
        ("a: \x00\n", "$: wanted YAML, found ReaderError"),
    ],
)
def test_what_is_no_single_plain_document_is_refused(text: str, fault: str) -> None:
    assert said(text) == [fault]


def test_bytes_that_are_not_utf8_are_refused() -> None:
    assert [fault.wanted for fault in read_plain(b"a: \xff\n").faults] == ["UTF-8"]


def test_a_file_beyond_the_size_limit_is_not_parsed() -> None:
    assert [fault.wanted for fault in read_plain(b" " * (SIZE_LIMIT + 1)).faults] == [
        f"at most {SIZE_LIMIT} bytes"
    ]


def test_a_deep_file_is_refused_and_not_followed_down() -> None:
    assert said("[" * 5000) == [f"$: wanted YAML, found more than {DEPTH_LIMIT} levels (line 1)"]


def test_a_place_that_is_not_spelt_out_has_the_line_of_what_holds_it() -> None:
    document = read("a:\n  b:\n    - c\n")

    assert document.line_of(("a", "b", 0)) == 3
    assert document.line_of(("a", "missing")) == 2
    assert document.line_of(()) == 1


def test_a_place_is_spelt_as_people_write_it() -> None:
    assert spelt(("channels", 1, "select", "odd key")) == "$.channels[1].select['odd key']"
