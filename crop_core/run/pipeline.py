"""Runs many items at once: a thread for each, or a pipeline whose middle step takes several items together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from crop_core.run.ordered_pool import batched, in_order
from crop_core.threads import pool_keeping_to

Item = TypeVar("Item")
Made = TypeVar("Made")


def each_in_its_thread(work: Callable[[Item], Made], items: Iterable[Item], threads: int) -> Iterator[Made]:
    """Yield `work`'s result for each item, in order; in each of our threads PyTorch uses only one thread.

    That is faster than one item after the other with many threads of PyTorch's, which wait for one
    another at every layer.
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
    """Yield the three steps' result for each item, in order.

    Args:
        first: The first step, run ahead in threads.
        together: The middle step, which takes several items, run in the caller's own thread.
        last: The last step, run in threads while later items are at the steps before.
        items: Read as needed.
        size: How many items `together` gets at once.
        threads: How many threads the first and the last step share.
    """
    pool = ThreadPoolExecutor(threads)
    try:
        ready = in_order(pool, first, items, threads)
        yield from in_order(pool, last, batched(together, ready, size), threads)
    finally:
        pool.shutdown(cancel_futures=True)
