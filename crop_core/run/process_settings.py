"""Settings of the C library, OpenMP and temporary files, for a process that does nothing but crop.

They apply to the whole process, so a library must not make them by itself. The command and the served
model make them when they start.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import shutil
import sys
import tempfile
import urllib.request
from io import BytesIO
from pathlib import Path
from urllib.response import addinfourl

from crop_core.threads import limit_threads

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]  # it has no limits to set

# From glibc's malloc.h. Buffers above the first threshold are mapped and unmapped each time (32 MiB is the most that
# can be set). If more than the second is free at the heap's end, it is returned to the system.
_M_MMAP_THRESHOLD, _MMAP_THRESHOLD = -3, 32 * 2**20
_M_TRIM_THRESHOLD, _TRIM_THRESHOLD = -1, 128 * 2**20
_M_ARENA_MAX = -8  # one heap for all threads: the thresholds do not apply to heaps of single threads
# How often an idle thread of GNU's OpenMP looks for work before it sleeps. By default it keeps a core busy while the
# crop is resampled, which is very slow if other processes need the cores. If it slept at once, the next layer would
# wait for it.
_SPIN_COUNT = "1000"
# Without this a server downloads from an address until the disk is full. The largest crop, 16,383 pixels a side, has
# 1,024 MiB before it is compressed.
_LARGEST_FILE = 1100 * 2**20


def tune_process() -> None:
    """Set up this process to crop one picture after another; call it before PyTorch is imported.

    Keeps settings already in the environment. Does nothing without glibc and GNU OpenMP.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPIN_COUNT)
    limit_threads()
    keep_freed_memory()


def keep_freed_memory() -> bool:
    """Let the process keep one picture's memory for the next; return whether that worked.

    By default glibc returns the networks' buffers to the system after every picture, and the system
    clears each page again for the next one, which takes a good part of a picture's time.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no glibc: macOS, Windows, musl
        return False
    wanted = ((_M_MMAP_THRESHOLD, _MMAP_THRESHOLD), (_M_TRIM_THRESHOLD, _TRIM_THRESHOLD), (_M_ARENA_MAX, 1))
    return all(mallopt(what, value) for what, value in wanted)


class FreedMemory:
    """Returns freed memory that the heap still holds to the system, once there is much of it.

    The heap fragments: free gaps between live blocks are not returned by themselves. They grow from picture
    to picture, and glibc has no limit for them.
    """

    def __init__(self, most: int) -> None:
        """Return nothing yet.

        Args:
            most: By how many bytes the process may grow before memory is returned again.
        """
        self._most = most
        self._least: int | None = None

    def give_back(self) -> bool:
        """Return freed memory to the system if the process has grown by more than `most`; say whether it did."""
        held = _resident()
        if held is None or (self._least is not None and held <= self._least + self._most):
            return False
        try:
            ctypes.CDLL(None).malloc_trim(0)
        except (AttributeError, OSError, TypeError):  # no glibc
            return False
        self._least = _resident()
        return True


def _resident() -> int | None:
    """Return the resident memory of this process in bytes; none if the system is not Linux."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


class Scratch:
    """The folder for temporary files of a process that works on one picture at a time.

    A server leaves a broken-off download behind. In a folder of its own everything that is left over can
    be removed before the next temporary file is made. So the next download has room, even if the last one
    filled the disk.

    Attributes:
        folder: Where `tempfile` puts its files from now on; removed when the process ends.
        outputs: A folder in it for a picture's results; it does not exist until somebody makes it.
    """

    def __init__(self) -> None:
        """Make the folder, let `tempfile` use it, and limit the size of each file of this process."""
        self.folder = Path(tempfile.mkdtemp(prefix="crop-core-"))
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        self.outputs = self.folder / "outputs"
        tempfile.tempdir = str(self.folder)
        sys.addaudithook(self._clear_for_another)
        if resource is not None:
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            if soft == resource.RLIM_INFINITY or soft > _LARGEST_FILE:
                resource.setrlimit(resource.RLIMIT_FSIZE, (_LARGEST_FILE, hard))

    def _clear_for_another(self, event: str, arguments: tuple[object, ...]) -> None:
        """Empty the folder when `tempfile` is about to make a file in it; see Python's audit events."""
        if event != "tempfile.mkstemp" or Path(str(arguments[0])).parent != self.folder:
            return
        for left in self.folder.iterdir():
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left)
            else:
                left.unlink(missing_ok=True)


class DataOnce(urllib.request.DataHandler):
    """Decodes a data URI once for two calls: Cog opens each URI for its type, and again for its bytes."""

    def __init__(self) -> None:
        """Begin with no URI."""
        self._last: tuple[str, addinfourl, bytes] | None = None

    def data_open(self, request: urllib.request.Request) -> addinfourl:
        """Return what `urllib.request.DataHandler` returns; the second call for a URI does not decode it again."""
        url = request.full_url
        if self._last and self._last[0] == url:
            (_, first, data), self._last = self._last, None  # dropped after the second call: it may be large
        else:
            first = super().data_open(request)
            data = first.read()
            self._last = url, first, data
        return addinfourl(BytesIO(data), first.headers, url)


def open_data_uris_once() -> None:
    """Let `urllib.request.urlopen` of this process use `DataOnce`, which saves decoding a picture twice."""
    urllib.request.install_opener(urllib.request.build_opener(DataOnce))
