"""Two networks at once on a CPU, each with half of the cores.

Threads that share a network wait for one another at every layer, which is very slow if other programs
want the cores. If the cores are free, sharing is faster.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Barrier
from typing import TypeVar

import torch

from crop_core.threads import pool_keeping_to

First = TypeVar("First")
Second = TypeVar("Second")


class TwoThreads:
    """Two threads, in each of which PyTorch has half of the threads that it had in the one that made them."""

    def __init__(self) -> None:
        """Start the threads; PyTorch's number of threads stays as it was for all others."""
        with pool_keeping_to(max(1, torch.get_num_threads() // 2), workers=2) as pool:
            together = Barrier(2)
            for started in [pool.submit(together.wait) for _ in range(2)]:
                started.result()
        self._pool = pool

    def run(self, one: Callable[[], First], other: Callable[[], Second]) -> tuple[First, Second]:
        """Return what the two return.

        Raises:
            Exception: What one of them raised, the first one before the other.
        """
        running = self._pool.submit(one), self._pool.submit(other)
        return running[0].result(), running[1].result()


def cores_are_free(loadavg: Path = Path("/proc/loadavg")) -> bool:
    """Return whether no other thread wants a core now; false if the system does not say.

    Args:
        loadavg: What Linux says of its load; its fourth field counts the threads that run or could, see proc(5).
    """
    try:
        return int(loadavg.read_text().split()[3].partition("/")[0]) <= 1
    except (OSError, IndexError, ValueError):  # another system
        return False
