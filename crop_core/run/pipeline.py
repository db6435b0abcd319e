"""Many pieces of work at once: a thread each, or a pipeline with a step that takes several together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from crop_core.run.ordered_pool import batched, in_order
from crop_core.threads import pool_keeping_to

Item = TypeVar("Item")
Made = TypeVar("Made")


def each_in_its_thread(work: Callable[[Item], Made], items: Iterable[Item], threads: int) -> Iterator[Made]:
    """Yield what the work makes of each, in their order, PyTorch itself keeping to one thread in each of ours.

    On two cores that is half as fast again as one picture after another with two threads of
    PyTorch's, which wait for one another at every layer.
    """
    with pool_keeping_to(1, workers=threads) as pool:
        try:
            yield from in_order(pool, work, items, threads)
        finally:
            pool.shutdown(cancel_futures=True)


def in_three_steps(
    first: Callable[[Item], Item],
    together: Callable[[list[Item]], list[Item]],
    last: Callable[[Item], Made],
    items: Iterable[Item],
    size: int,
    threads: int,
) -> Iterator[Made]:
    """Yield what the steps make of each, in their order: the first and the last in threads, several together between.

    Args:
        first: Begun ahead.
        together: Called in the caller's own thread.
        last: Done while the next ones are at the steps before.
        items: Taken as they are needed.
        size: How many go to `together` at once.
        threads: How many there are for the first and the last step.
    """
    pool = ThreadPoolExecutor(threads)
    try:
        ready = in_order(pool, first, items, threads)
        yield from in_order(pool, last, batched(together, ready, size), threads)
    finally:
        pool.shutdown(cancel_futures=True)
