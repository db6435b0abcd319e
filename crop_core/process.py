"""What a process that crops and nothing else asks of the C library and of OpenMP.

Both settings are the whole process's, so a library must not make them by itself: the command and
the served model do, at their start.
"""

from __future__ import annotations

import ctypes
import os

# From glibc's malloc.h. Above the first, a buffer is mapped anew each time (32 MiB is the most that
# can be set); beyond the second, free memory at the heap's end is given back.
_M_MMAP_THRESHOLD, _MMAP_THRESHOLD = -3, 32 * 2**20
_M_TRIM_THRESHOLD, _TRIM_THRESHOLD = -1, 128 * 2**20
# How often an idle thread of GNU's OpenMP looks for work before it sleeps. By default it looks for so long that
# it holds a core while the crop is resampled, and where others want the cores a picture takes tenfold the time;
# one that sleeps at once comes late to the next layer.
_SPIN_COUNT = "1000"


def tune_process() -> None:
    """Let this process crop one picture after another without waste; call it before PyTorch is imported.

    A wish of the environment's own stands. Where the C library or OpenMP is another, it does nothing.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPIN_COUNT)
    keep_freed_memory()


def keep_freed_memory() -> bool:
    """Let the process keep the memory of one picture for the next, and say whether it does.

    By default glibc gives the networks' buffers back after every picture, and the system clears
    each page again for the next one: 16,000 page faults a picture, a sixth of its time.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no glibc: macOS, Windows, musl
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD)) and bool(mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD))
