"""Runs a function over many items in a pool, and yields the results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from itertools import islice
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


def in_order(pool: Executor, work: Callable[[Given], Made], items: Iterable[Given], ahead: int) -> Iterator[Made]:
    """Yield `work`'s result for each item, in order, with `ahead` more items in work.

    Items are read as needed, so that at most `ahead` + 1 of them are held.
    """
    begun: deque[Future[Made]] = deque()
    for item in items:
        begun.append(pool.submit(work, item))
        if len(begun) > ahead:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()


def batched(work: Callable[[list[Given]], list[Made]], items: Iterable[Given], size: int) -> Iterator[Made]:
    """Yield `work`'s result for each item, in order; `work` gets `size` items at a time."""
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield from work(batch)
