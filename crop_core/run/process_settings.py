"""What a process that crops and nothing else asks of the C library, of OpenMP and of the disk.

These settings are the whole process's, so a library must not make them by itself: the command and
the served model do, at their start.
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

# From glibc's malloc.h. Above the first, a buffer is mapped anew each time (32 MiB is the most that
# can be set); beyond the second, free memory at the heap's end is given back.
_M_MMAP_THRESHOLD, _MMAP_THRESHOLD = -3, 32 * 2**20
_M_TRIM_THRESHOLD, _TRIM_THRESHOLD = -1, 128 * 2**20
_M_ARENA_MAX = -8  # one heap for all threads: those of their own know no such thresholds
# How often an idle thread of GNU's OpenMP looks for work before it sleeps. By default it looks for so long that
# it holds a core while the crop is resampled, and where others want the cores a picture takes tenfold the time;
# one that sleeps at once comes late to the next layer.
_SPIN_COUNT = "1000"
# A server downloads whatever an address gives, to its end or until the disk is full. The largest crop, 16,383 pixels
# a side, has 1,024 MiB before it is compressed.
_LARGEST_FILE = 1100 * 2**20


def tune_process() -> None:
    """Let this process crop one picture after another without waste; call it before PyTorch is imported.

    A wish of the environment's own stands. Where the C library or OpenMP is another, it does nothing.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPIN_COUNT)
    limit_threads()
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
    wanted = ((_M_MMAP_THRESHOLD, _MMAP_THRESHOLD), (_M_TRIM_THRESHOLD, _TRIM_THRESHOLD), (_M_ARENA_MAX, 1))
    return all(mallopt(what, value) for what, value in wanted)


class FreedMemory:
    """Gives memory back to the system that was freed and that the heap still holds, when it is much.

    What is freed between two things that stay cannot be given back from the heap's end. Picture by picture
    such gaps become more, as they are seldom where the next one needs them, and no limit of glibc's counts them.
    """

    def __init__(self, most: int) -> None:
        """Give nothing back yet.

        Args:
            most: Bytes that the process may have more than it had after the last time.
        """
        self._most = most
        self._least: int | None = None

    def give_back(self) -> bool:
        """Give back what there is, if it may be much, and say whether that was done."""
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
    """Return the bytes of this process that lie in memory; none where the system is not Linux."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


class Scratch:
    """The folder of the temporary files of a process that works on one picture at a time.

    What a server could not download to its end it leaves behind, among the files of others. Here
    all that is left can be told by its place, and goes before the next temporary file is made: the
    next download finds room, also where the last one filled the disk.

    Attributes:
        folder: Where `tempfile` puts its files from now on; removed when the process ends.
        outputs: A folder in it for a picture's results; not there until it is made.
    """

    def __init__(self) -> None:
        """Make the folder, let `tempfile` use it, and let no file of this process grow without end."""
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
        """Remove what is in the folder when `tempfile` says that it makes a file there; see Python's audit events."""
        if event != "tempfile.mkstemp" or Path(str(arguments[0])).parent != self.folder:
            return
        for left in self.folder.iterdir():
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left)
            else:
                left.unlink(missing_ok=True)


class DataOnce(urllib.request.DataHandler):
    """Decodes a data URI once for two calls: Cog opens each for its type, then again for its bytes."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._last: tuple[str, addinfourl, bytes] | None = None

    def data_open(self, request: urllib.request.Request) -> addinfourl:
        """Return what `urllib.request.DataHandler` does; at the second call for one URI without decoding it again."""
        url = request.full_url
        if self._last and self._last[0] == url:
            (_, first, data), self._last = self._last, None  # not kept for a third: it may be large
        else:
            first = super().data_open(request)
            data = first.read()
            self._last = url, first, data
        return addinfourl(BytesIO(data), first.headers, url)


def open_data_uris_once() -> None:
    """Let `urllib.request.urlopen` of this process use `DataOnce`; a 3 MB picture takes 14 ms less."""
    urllib.request.install_opener(urllib.request.build_opener(DataOnce))
