"""Hold plain values against a model, and say every fault in words with its place."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.io.plainyaml import Document, Fault, Place

M = TypeVar("M", bound=BaseModel)

_FOUND_LENGTH = 60

_WANTED: Mapping[str, str] = {
    "missing": "this key",
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "union_tag_not_found": "a mapping with the key {discriminator}",
    "union_tag_invalid": "{expected_tags} as {discriminator}",
    "literal_error": "{expected}",
    "enum": "{expected}",
    "string_too_short": "text of at least {min_length} characters",
    "string_pattern_mismatch": "text like {pattern}",
    "too_short": "at least {min_length} entries",
    "too_long": "at most {max_length} entries",
    "greater_than": "more than {gt}",
    "less_than": "less than {lt}",
    "greater_than_equal": "{ge} or more",
    "less_than_equal": "{le} or less",
}
"""pydantic's error type -> what was wanted, with the error's own context filled in."""


def suggest(name: str, names: Iterable[str]) -> str:
    """Return the one of `names` that is most like `name`, regardless of case; empty when none is."""
    by_folded = {other.casefold(): other for other in sorted(names)}
    near = get_close_matches(name.casefold(), list(by_folded), n=1, cutoff=0.6)
    return by_folded[near[0]] if near else ""


def quoted(value: object) -> str:
    """Return a value as it would stand in a file, cut short."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _FOUND_LENGTH else text[: _FOUND_LENGTH - 3] + "..."


def held_against(model: type[M], document: Document, keys: Sequence[str]) -> tuple[M | None, list[Fault]]:
    """Return a document as a model's value, or None and every fault with its place.

    Parameters
    ----------
    model
        A strict model that forbids unknown keys.
    document
        What the file says.
    keys
        All keys that the model knows at any place, for suggestions.
    """
    try:
        return model.model_validate_json(json.dumps(document.value)), []
    except ValidationError as error:
        return None, list(_faults(error.errors(include_url=False), document, keys))


def _faults(errors: Iterable[ErrorDetails], document: Document, keys: Sequence[str]) -> Iterator[Fault]:
    """Yield one fault a place: what several branches of a union wanted there stands in one line."""
    gathered: dict[tuple[Place, str], list[str]] = {}
    for error in errors:
        place = _place(error, document.value)
        if error["type"] == "too_short" and len(at(document.value, place)) >= error["ctx"]["min_length"]:
            continue  # pydantic counts entries that are right; those that are wrong have faults of their own
        wanted = gathered.setdefault((place, _found(error, place, document.value, keys)), [])
        text = _wanted(error)
        if text not in wanted:
            wanted.append(text)
    for (place, found), texts in gathered.items():
        yield Fault(place, _either(texts), found, document.line_of(place))


def _either(texts: list[str]) -> str:
    if "a number" in texts and "a whole number" in texts:
        texts = [text for text in texts if text != "a whole number"]
    return " or ".join(texts)


def _place(error: ErrorDetails, value: Any) -> Place:
    """Return where an error is; pydantic also names branches of unions, which are no place in a document."""
    place: list[str | int] = []
    for step in error["loc"]:
        inner = _inside(value, step)
        if inner is not None:
            value = inner[0]
        elif error["type"] != "missing" or step != error["loc"][-1]:
            continue
        place.append(step)
    return tuple(place)


def _inside(value: Any, step: str | int) -> tuple[Any] | None:
    """Return what stands at a step inside a value, in a tuple; None when nothing does."""
    if isinstance(value, dict) and step in value:
        return (value[step],)
    if isinstance(value, list) and isinstance(step, int) and 0 <= step < len(value):
        return (value[step],)
    return None


def _wanted(error: ErrorDetails) -> str:
    if error["type"] == "extra_forbidden":
        return "known keys only"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"]).removeprefix("wanted ")
    pattern = _WANTED.get(error["type"])
    return error["msg"] if pattern is None else pattern.format(**error.get("ctx", {}))


def _found(error: ErrorDetails, place: Place, document: Any, keys: Sequence[str]) -> str:
    if error["type"] == "missing":
        return "nothing"
    if error["type"] == "extra_forbidden":
        taken = at(document, place[:-1])
        near = suggest(str(place[-1]), set(keys) - set(taken if isinstance(taken, dict) else ()))
        return f"an unknown key, perhaps meant as {near}" if near else "an unknown key"
    return quoted(at(document, place))


def at(value: Any, place: Place) -> Any:
    """Return what a document says at a place, None where it says nothing."""
    for step in place:
        inner = _inside(value, step)
        if inner is None:
            return None
        value = inner[0]
    return value


def model_keys(model: type[BaseModel]) -> tuple[str, ...]:
    """Return every key that a model and the models inside it know, sorted."""
    definitions = model.model_json_schema().get("$defs", {}).values()
    inner = {key for definition in definitions for key in definition.get("properties", {})}
    return tuple(sorted(inner | set(model.model_fields)))
