"""How many cores this process may use, and how many threads the networks get: the one place that sets them.

OpenVINO takes the number that PyTorch has in the thread that asks.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path


def usable_cores(root: Path = Path("/")) -> int:
    """Return the number of cores, at least 1.

    A container's quota is not seen by PyTorch: it starts a thread for each core of the machine, and
    all of them wait whenever the quota is spent.

    Args:
        root: Where `proc` and `sys` lie.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(cores, _quota(root))))


def limit_threads(root: Path = Path("/")) -> None:
    """Keep OpenMP, and so PyTorch, to the cores that a container's quota pays for; call it before PyTorch is imported.

    A number that the environment sets stands. Without a quota nothing is set.
    """
    if _quota(root) < math.inf:
        os.environ.setdefault("OMP_NUM_THREADS", str(usable_cores(root)))


def keep_to(threads: int) -> None:
    """Let the networks use so many threads where they are asked from this thread, whatever is set in others later."""
    import torch  # not before `limit_threads`

    torch.set_num_threads(threads)
    torch.get_num_threads()  # a thread that has not asked yet takes, when it does, what was set last anywhere


@contextmanager
def pool_keeping_to(threads: int, workers: int) -> Iterator[ThreadPoolExecutor]:
    """Yield a pool of `workers`, in each of which the networks use `threads`; all others keep theirs.

    The pool outlives the block unless it is shut down in it. At the block's end its workers must have started.
    """
    import torch

    before = torch.get_num_threads()
    try:
        yield ThreadPoolExecutor(workers, initializer=keep_to, initargs=(threads,))
    finally:
        torch.set_num_threads(before)  # threads that are yet to come take the number that was set last


def _quota(root: Path) -> float:
    """Return the cores that the control groups allow in all; infinite where none of them says.

    A group's parents bind it too, so the smallest counts; see cgroup-v2 (cpu.max) and sched-bwc
    (cpu.cfs_quota_us) in the kernel's documentation.
    """
    quotas = [math.inf]
    for mount, name in _groups(root):
        folder = mount / name.lstrip("/")
        while True:
            quotas.append(_of_group(folder))
            if folder == mount or mount not in folder.parents:
                break
            folder = folder.parent
    return min(quotas)


def _groups(root: Path) -> list[tuple[Path, str]]:
    """Return where the groups of this process are mounted, and their names below it."""
    base = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # another system
        return []
    groups = []
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if not controllers:
            groups.append((base, name))
        elif "cpu" in controllers.split(","):
            groups.append((base / "cpu", name))
    return groups


def _of_group(folder: Path) -> float:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return math.inf
    try:
        return int(quota) / int(period) if int(quota) > 0 and int(period) > 0 else math.inf  # -1 and max: no quota
    except ValueError:
        return math.inf
