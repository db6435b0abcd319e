"""How many cores this process may use, and how many threads the networks get: the one place that sets them.

OpenVINO is given the number that PyTorch has in the calling thread.
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

    PyTorch ignores a container's CPU quota: it starts a thread for each core of the machine, and
    all of them stall whenever the quota is used up.

    Args:
        root: The folder that holds `proc` and `sys`.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(cores, _quota(root))))


def limit_threads(root: Path = Path("/")) -> None:
    """Limit OpenMP, and so PyTorch, to the cores of a container's quota; call it before PyTorch is imported.

    Keeps a number already set in the environment. Without a quota it does nothing.
    """
    if _quota(root) < math.inf:
        os.environ.setdefault("OMP_NUM_THREADS", str(usable_cores(root)))


def keep_to(threads: int) -> None:
    """Let networks that run in this thread use `threads` threads, whatever other threads set later."""
    import torch  # not before `limit_threads`

    torch.set_num_threads(threads)
    torch.get_num_threads()  # pins the value; otherwise this thread would pick up what another thread sets later


@contextmanager
def pool_keeping_to(threads: int, workers: int) -> Iterator[ThreadPoolExecutor]:
    """Yield a pool of `workers` threads, in each of which the networks use `threads` threads.

    Other threads keep their number. All workers must have started before the block ends; the pool itself goes on
    after the block unless it is shut down in it.
    """
    import torch

    before = torch.get_num_threads()
    try:
        yield ThreadPoolExecutor(workers, initializer=keep_to, initargs=(threads,))
    finally:
        torch.set_num_threads(before)  # a new thread takes the number that was set last


def _quota(root: Path) -> float:
    """Return how many cores the control groups allow; infinite if none sets a quota.

    The quotas of a group's parents hold too, so the smallest counts; see cgroup-v2 (cpu.max) and sched-bwc
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
    """Return, for each control group of this process, where it is mounted and its name below the mount."""
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
