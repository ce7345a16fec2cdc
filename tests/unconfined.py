"""What confined processes do, done here: for tests that put fakes into it, and for fuzzing, which wants faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

from pipeline import export, index
from pipeline.processes import Begun


class OneByOne:
    """Stands for `pipeline.processes.OneByOne`."""

    def __init__(self, *_: object) -> None:
        pass

    def __enter__(self) -> OneByOne:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def done(
        self, function: Callable[..., Any], *arguments: Any, tell: Callable[[Any], None] = lambda _: None
    ) -> Any:
        return function(*arguments, tell)


class Processes:
    """Stands for `pipeline.processes.Processes`."""

    ahead = 1

    def __init__(self, work: Callable[[Sequence[Any]], list[Any]], **_: object) -> None:
        self._work = work

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, chunk: Sequence[Any]) -> Sequence[Any]:
        return chunk

    def answer(self, asked: Sequence[Any]) -> list[Any]:
        return self._work(asked)

    def follow(self, work: Callable[..., None], item: Any) -> Iterator[Any]:
        told: list[Any] = []
        work(item, 0, told.append)
        yield from (said for said in told if not isinstance(said, Begun))


@contextmanager
def unconfined() -> Iterator[None]:
    """Let sources be indexed, converted and de-identified in this process."""
    with mock.patch.object(export, "OneByOne", OneByOne), mock.patch.object(index, "Processes", Processes):
        yield
