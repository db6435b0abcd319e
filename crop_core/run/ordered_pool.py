"""The order of work when many items are in work at once; what the work is, others know."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from itertools import islice
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


def in_order(pool: Executor, work: Callable[[Given], Made], items: Iterable[Given], ahead: int) -> Iterator[Made]:
    """Yield what the work makes of each item, in their order, with so many items begun ahead.

    Items are taken as they are needed, so that no more than `ahead` and one are held.
    """
    begun: deque[Future[Made]] = deque()
    for item in items:
        begun.append(pool.submit(work, item))
        if len(begun) > ahead:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()


def batched(work: Callable[[list[Given]], list[Made]], items: Iterable[Given], size: int) -> Iterator[Made]:
    """Yield what the work makes of each item, in their order, given to it `size` at a time."""
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield from work(batch)
