"""Decoding in a process of its own, for the decoders that can be stopped in no other way.

AVIF, HEIC and TIFF are decoded in one call of a C library, whose time and memory have no bound in
what the header tells: AV1 can hide a thousand pictures before the first that it shows. So the call
is made in a process that is killed when the time is over, and whose memory has a limit; a crash of
the library costs the picture and not the server. The process costs a tenth of a second.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from pathlib import Path

from PIL import Image

from crop_core.errors import ImageError
from crop_core.format import broken, decoded, opened
from crop_core.limits import limits, too_slow

_PIXELS, _ERROR = b"+", b"-"  # what the process answers with, in its first byte
_BASE_MEMORY = 2**30  # bytes of address space; most of what Python and its threads take is never touched
_MEMORY_A_PIXEL = 40  # bytes; a decoder takes up to 20, and the conversion of colours as much again
_ROWS = 256  # how many rows are sent at once

_START = "import sys; sys.path.insert(0, {root!r}); from crop_core.decoder import main; main({arguments!r})"


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
    root, seconds = str(Path(__file__).parents[1]), limits().max_decode_s
    code = _START.format(root=root, arguments=(kind, size, mode))
    pixels = bytearray(size[0] * size[1] * len(mode))
    until = time.monotonic() + seconds
    with subprocess.Popen(  # noqa: S603 (this interpreter, with arguments of this module)
        [sys.executable, "-P", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
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


def main(arguments: tuple[str, tuple[int, int], str]) -> None:
    """Decode the file on standard input and write what `decoded_apart` reads, on standard output."""
    kind, size, mode = arguments
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


def _limit_memory(length: int) -> None:
    try:
        import resource  # not everywhere
    except ImportError:
        return
    with contextlib.suppress(ValueError, OSError):  # a lower limit stands already
        resource.setrlimit(resource.RLIMIT_AS, (length, resource.RLIM_INFINITY))
