"""Decoding in a process of its own, for the decoders that can be stopped in no other way.

AVIF, HEIC, TIFF and lossless or transparent WebP are decoded in one call of a C library, whose time or
memory has no bound in what the header tells: AV1 can hide a thousand pictures before the first that it
shows, and 300 KB of WebP can ask for a gigabyte of tables. So the call
is made in a process that is killed when the time is over, and whose memory has a limit; a crash of
the library costs the picture and not the server. The process costs a tenth of a second; it gets no
setting of the environment's but the limits, and finds modules where this process finds them.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from PIL import AvifImagePlugin, Image

from crop_core.errors import ImageError
from crop_core.photo.file_format import broken, decoded, opened
from crop_core.photo.limits import limits, too_slow

_PIXELS, _ERROR = b"+", b"-"  # what the process answers with, in its first byte
_BASE_MEMORY = 192 * 2**20  # bytes, of which Python takes a tenth and each of the decoder's threads some more
_MEMORY_A_PIXEL = 24  # bytes; a HEIC of 16 bits a channel took 20, the others up to 12
_THREADS = 4  # however many cores there are, since each takes memory
_ROWS = 256  # how many rows are sent at once
_DAY_S = 86_400

# -I and -S leave out what else Python would read at its start, and take 30 ms off it.
_START = (
    "import sys; sys.path[:] = {path!r}; from crop_core.photo.decode_in_subprocess import main; main({arguments!r})"
)


def decoded_apart(data: bytes, kind: str, size: tuple[int, int], mode: str) -> Image.Image:
    """Return the picture in RGB or RGBA, not turned upright, as a process of its own decodes it.

    Args:
        data: The file.
        kind: Its format.
        size: Its width and height by its header.
        mode: ``RGB`` or ``RGBA``, which of them it is.

    Raises:
        ImageError: The picture is broken, or does not decode in time.
    """
    seconds = min(limits().max_decode_s, _DAY_S)
    path = [str(Path(__file__).parents[2]), *(entry for entry in sys.path if isinstance(entry, str))]
    code = _START.format(path=path, arguments=(kind, size, mode))
    pixels = bytearray(size[0] * size[1] * len(mode))
    until = time.monotonic() + seconds
    with _started(code) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(seconds, process.kill)
        timer.start()
        try:
            with contextlib.suppress(BrokenPipeError):  # it has died, which its answer tells
                process.stdin.write(data)
                process.stdin.close()
            answer = process.stdout.read(1)
            if answer == _ERROR:
                raise ImageError(process.stdout.read().decode())
            whole = answer == _PIXELS and process.stdout.readinto(pixels) == len(pixels)  # type: ignore[attr-defined]
        finally:
            timer.cancel()
            process.kill()
    if not whole:
        raise too_slow() if time.monotonic() >= until else broken(kind)
    return Image.frombuffer(mode, size, pixels, "raw", mode, 0, 1)


def _started(code: str) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(  # noqa: S603 (this interpreter, with arguments of this module)
            [sys.executable, "-I", "-S", "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError as error:
        raise ImageError(
            f"The decoder for this kind of picture cannot be started here: {error.strerror}. "
            "Send it again later, or as JPEG or PNG."
        ) from error


def main(arguments: tuple[str, tuple[int, int], str]) -> None:
    """Decode the file on standard input and write what `decoded_apart` reads, on standard output."""
    kind, size, mode = arguments
    _limit_time()
    AvifImagePlugin.DEFAULT_MAX_THREADS = _THREADS  # pillow-heif's own number is 4
    data = sys.stdin.buffer.read()
    _limit_memory(_BASE_MEMORY + 3 * len(data) + _MEMORY_A_PIXEL * size[0] * size[1])
    out = sys.stdout.buffer
    try:
        image = decoded(opened(data, kind), kind, size, mode)
    except ImageError as error:
        out.write(_ERROR + str(error).encode())
        return
    out.write(_PIXELS)
    for top in range(0, size[1], _ROWS):
        out.write(image.crop((0, top, size[0], min(size[1], top + _ROWS))).tobytes())
    out.flush()


def _limit_time() -> None:
    """End this process in any case, also when the one that waits for it is no more."""
    if hasattr(signal, "alarm"):  # not everywhere
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # who started this process may ignore it
        signal.alarm(min(limits().max_decode_s, _DAY_S) + 1)


def _limit_memory(length: int) -> None:
    try:
        import resource  # not everywhere
    except ImportError:
        return
    with contextlib.suppress(ValueError, OSError):  # a lower limit stands already
        # Not the address space: what threads reserve of it and never touch grows with the cores.
        resource.setrlimit(resource.RLIMIT_DATA, (length, resource.RLIM_INFINITY))
