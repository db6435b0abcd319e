"""Two networks at once on a CPU, each with half of the cores.

Threads that share every layer of a network wait for one another at each: where other programs want
the cores too, a picture takes twenty times as long so. Where the cores are free, they are the
faster way by a quarter.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import TypeVar

import torch

First = TypeVar("First")
Second = TypeVar("Second")


class TwoThreads:
    """Two threads, in each of which PyTorch has half of the threads that it had in the one that made them."""

    def __init__(self) -> None:
        """Start the threads; PyTorch's number of threads stays as it was for all others."""
        before = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(2, initializer=_keep_to, initargs=(max(1, before // 2),))
        together = Barrier(2)
        for started in [self._pool.submit(together.wait) for _ in range(2)]:
            started.result()
        torch.set_num_threads(before)  # threads that are yet to come take the number that was set last

    def run(self, one: Callable[[], First], other: Callable[[], Second]) -> tuple[First, Second]:
        """Return what the two return.

        Raises:
            Exception: What one of them raised, the first one before the other.
        """
        running = self._pool.submit(one), self._pool.submit(other)
        return running[0].result(), running[1].result()


def cores_are_free(loadavg: Path = Path("/proc/loadavg")) -> bool:
    """Return whether no thread but the asking one wants a core at this moment; false where nothing says so.

    Args:
        loadavg: What Linux says of its load; its fourth field counts the threads that run or could, see proc(5).
    """
    try:
        return int(loadavg.read_text().split()[3].partition("/")[0]) <= 1
    except (OSError, IndexError, ValueError):  # another system
        return False


def _keep_to(threads: int) -> None:
    """Let PyTorch use so many threads in this one, whatever is set in others later."""
    torch.set_num_threads(threads)
    torch.get_num_threads()  # a thread that has not asked yet takes, when it does, what was set last anywhere
