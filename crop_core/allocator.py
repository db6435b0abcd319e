"""What a process that crops and nothing else asks of the C library's allocator."""

from __future__ import annotations

import ctypes

# From glibc's malloc.h. Above the first, a buffer is mapped anew each time (32 MiB is the most that
# can be set); beyond the second, free memory at the heap's end is given back.
_M_MMAP_THRESHOLD, _MMAP_THRESHOLD = -3, 32 * 2**20
_M_TRIM_THRESHOLD, _TRIM_THRESHOLD = -1, 128 * 2**20


def keep_freed_memory() -> bool:
    """Let the process keep the memory of one picture for the next, and say whether it does.

    By default glibc gives the networks' buffers back after every picture, and the system clears
    each page again for the next one: 16,000 page faults a picture, a tenth of its time. The setting
    is the whole process's, so a library must not make it by itself: the command and the served model
    do, at their start. It does nothing where the C library is another.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no glibc: macOS, Windows, musl
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD)) and bool(mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD))
