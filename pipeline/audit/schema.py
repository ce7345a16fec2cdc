"""JSON Schema (2020-12), as far as manifests/schema uses it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any


@cache
def schema_named(name: str) -> dict[str, Any]:
    """Return manifests/schema/NAME.schema.json."""
    shipped = Path(__file__).parents[1] / "_shipped" / "manifests" / "schema"
    folder = shipped if shipped.is_dir() else Path(__file__).parents[2] / "manifests" / "schema"
    schema: dict[str, Any] = json.loads((folder / f"{name}.schema.json").read_text("ascii"))
    return schema


def schema_faults(document: Any, name: str) -> Iterator[str]:
    """Yield each place where a document departs from manifests/schema/NAME.schema.json.

    Only the keywords that those schemas use are known (JSON Schema 2020-12); another one is an error here, so
    that no rule is passed over.
    """
    schema = schema_named(name)
    return departures(document, schema, schema, "$")


def departures(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], place: str) -> Iterator[str]:
    """Yield each place where a value departs from a part of the schema `root`."""
    for keyword, rule in schema.items():
        if keyword in _ANNOTATIONS:
            continue
        if keyword == "$ref":
            yield from departures(value, root["$defs"][rule.rpartition("/")[2]], root, place)
        elif keyword in _SIMPLE:
            if not _SIMPLE[keyword](value, rule):
                yield f"{place}: wanted {keyword} {json.dumps(rule)}"
        else:
            yield from _NESTED[keyword](value, schema, root, place)


_ANNOTATIONS = ("$schema", "$defs", "title", "description", "properties")


_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}


def _is_type(value: Any, names: str | list[str]) -> bool:
    return any(_TYPES[name](value) for name in ([names] if isinstance(names, str) else names))


def _is_one_of(value: Any, choices: list[Any]) -> bool:
    # In JSON true is not 1.
    return any(value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in choices)


def _matches(text: Any, pattern: str) -> bool:
    # Python's $ also matches before a last newline.
    return not isinstance(text, str) or (re.search(pattern, text) is not None and not text.endswith("\n"))


_SIMPLE: dict[str, Callable[[Any, Any], bool]] = {
    "type": _is_type,
    "enum": _is_one_of,
    "const": lambda value, rule: _is_one_of(value, [rule]),
    "pattern": _matches,
    "minimum": lambda value, rule: not _TYPES["integer"](value) or value >= rule,
    "maximum": lambda value, rule: not _TYPES["integer"](value) or value <= rule,
    "minLength": lambda value, rule: not isinstance(value, str) or len(value) >= rule,
    "minItems": lambda value, rule: not isinstance(value, list) or len(value) >= rule,
    "maxItems": lambda value, rule: not isinstance(value, list) or len(value) <= rule,
    "required": lambda value, rule: not isinstance(value, dict) or set(rule) <= set(value),
}


def _item_faults(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], place: str) -> Iterator[str]:
    for number, item in enumerate(value if isinstance(value, list) else ()):
        yield from departures(item, schema["items"], root, f"{place}[{number}]")


def _key_faults(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], place: str) -> Iterator[str]:
    known = schema.get("properties", {})
    for key, item in value.items() if isinstance(value, dict) else ():
        rule = known.get(key, schema["additionalProperties"])
        if rule is False:
            yield f"{place}: unknown key {key}"
        else:
            yield from departures(item, rule, root, f"{place}.{key}")


def _name_faults(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], place: str) -> Iterator[str]:
    for key in value if isinstance(value, dict) else ():
        yield from departures(key, schema["propertyNames"], root, f"{place}, key {key}")


def _choice_faults(
    value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], place: str
) -> Iterator[str]:
    if all(any(True for _ in departures(value, choice, root, place)) for choice in schema["anyOf"]):
        yield f"{place}: wanted one of {len(schema['anyOf'])} forms"


_NESTED: dict[str, Callable[[Any, Mapping[str, Any], Mapping[str, Any], str], Iterator[str]]] = {
    "items": _item_faults,
    # Each schema of an object with properties also says what other keys may hold.
    "additionalProperties": _key_faults,
    "propertyNames": _name_faults,
    "anyOf": _choice_faults,
}
