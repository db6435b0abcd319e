"""The program of the decoder's own process; `decode_in_subprocess` starts it and reads its answer.

It reads the file from standard input. It writes the header with the profile, then the pixels, or an
error in place of either.
"""

from __future__ import annotations

import json
import signal
import struct
import sys
from contextlib import suppress
from dataclasses import asdict

from crop_core.errors import ImageError
from crop_core.photo.decode import decoded
from crop_core.photo.formats_apart import opened
from crop_core.photo.header import header_of
from crop_core.photo.limits import check_picture, limits

GOOD, ERROR = b"+", b"-"  # what each part begins with
LENGTH = struct.Struct(">I")
DAY_S = 86_400

_BASE_MEMORY = 192 * 2**20  # bytes, for Python and the decoder's threads
_MEMORY_A_PIXEL = 24  # bytes; a HEIC of 16 bits a channel needs most
_ROWS = 256  # how many rows are sent at once


def main(kind: str, limited: bool) -> None:
    """Open and decode the file on standard input.

    Args:
        kind: Its format.
        limited: Whether to check the limits.
    """
    _limit_time()
    data = sys.stdin.buffer.read()
    out = sys.stdout.buffer
    most = _allowed_memory()
    base = _BASE_MEMORY + 3 * len(data)
    _limit_memory(min(most, base), may_rise=True)
    try:
        image = opened(data, kind)
        header = header_of(image, kind)
        if limited:
            check_picture(kind, header.width, header.height, len(data), header.frames, len(header.profile))
        facts = asdict(header)
        profile = facts.pop("profile")
        text = json.dumps(facts).encode()
        out.write(GOOD + LENGTH.pack(len(text)) + text + LENGTH.pack(len(profile)) + profile)
        _limit_memory(min(most, base + _MEMORY_A_PIXEL * header.width * header.height), may_rise=False)
        mode = "RGBA" if header.has_alpha else "RGB"
        pixels = decoded(image, kind, (header.width, header.height), mode)
    except ImageError as error:
        out.write(ERROR + str(error).encode())
        return
    out.write(GOOD)
    for top in range(0, header.height, _ROWS):
        out.write(pixels.crop((0, top, header.width, min(header.height, top + _ROWS))).tobytes())
    out.flush()


def _limit_time() -> None:
    """End this process when the time is up, even if the process that waits for it is gone."""
    if hasattr(signal, "alarm"):  # Windows has none
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the parent may have set it to be ignored
        signal.alarm(min(limits().max_decode_s, DAY_S) + 1)


def _allowed_memory() -> int:
    """Return how many bytes this process may have, by the limits that it was started with."""
    try:
        import resource  # Windows has none
    except ImportError:
        return sys.maxsize
    return min(sys.maxsize if limit == resource.RLIM_INFINITY else limit for limit in resource.getrlimit(_limit_kind()))


def _limit_memory(length: int, may_rise: bool) -> None:
    """Limit this process's memory.

    Args:
        length: In bytes. No more than the limit it has already: only root can raise that.
        may_rise: Whether a later call may allow more.
    """
    try:
        import resource
    except ImportError:
        return
    _, hard = resource.getrlimit(_limit_kind())
    with suppress(ValueError, OSError):  # some systems know the limit but do not let it be set
        resource.setrlimit(_limit_kind(), (length, hard if may_rise else length))


def _limit_kind() -> int:
    """Return which limit to set. Not RLIMIT_AS: threads reserve address space that they never use."""
    import resource

    return resource.RLIMIT_DATA
