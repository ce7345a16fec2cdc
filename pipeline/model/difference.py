"""Where two JSON documents differ, in short texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_TEXT_LIMIT = 120


def changes(
    first: Any, second: Any, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], tuple[str, str]]]:
    """Yield each place where two JSON documents differ, with both texts; lists of two lengths as a whole."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        for name in sorted({*first, *second}):
            yield from changes(first.get(name), second.get(name), (*path, str(name)))
    elif isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        for place, pair in enumerate(zip(first, second, strict=True)):
            yield from changes(*pair, (*path, str(place)))
    elif first != second:
        yield path, (shown(first), shown(second))


def shown(value: Any) -> str:
    """Return a value as short printable ASCII: a manifest may come from anywhere."""
    text = "nothing" if value is None else str(value)
    plain = "".join(c if " " <= c <= "~" else "?" for c in text)
    return plain if len(plain) <= _TEXT_LIMIT else plain[:_TEXT_LIMIT] + "..."
