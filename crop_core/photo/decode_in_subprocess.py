"""Decoding in a process of its own, for the decoders that can be stopped in no other way.

AVIF, HEIC, TIFF and WebP are opened and decoded in calls of a C library, whose time or memory has no
bound in what the file's size or the header tells: AV1 can hide a thousand pictures before the first that
it shows, and 300 KB of WebP can ask for a gigabyte of tables. So the calls
are made in a process that is killed when the time is over, and whose memory has a limit; a crash of
the library costs the picture and not the server. The process costs a tenth of a second. It gets nothing
of the environment but the limits and what its loader needs, and finds modules where this process finds them.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from PIL import Image

from crop_core.errors import ImageError
from crop_core.photo.decoder_process import DAY_S, ERROR, GOOD, LENGTH
from crop_core.photo.file_format import broken
from crop_core.photo.header import Header
from crop_core.photo.limits import PREFIX, limits, too_slow

# -I and -S leave out what else Python would read at its start, and take 30 ms off it. The package's own module, which
# imports what a user needs of it, is left out as well: another 50.
_START = """
import sys, types
sys.path[:] = {path!r}
sys.modules["crop_core"] = types.ModuleType("crop_core")
sys.modules["crop_core"].__path__ = [{package!r}]
from crop_core.photo.decoder_process import main
main{arguments!r}
"""
# Without them the process of a Python that lies in an odd place does not find its libraries.
_LOADERS = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH", "SYSTEMROOT")


@dataclass(frozen=True, slots=True)
class DecodedApart:
    """A picture that another process decoded.

    Attributes:
        header: What its header tells.
        pixels: RGB or RGBA, not turned upright; the error where the header is well and the pixels are not.
    """

    header: Header
    pixels: Image.Image | ImageError


def decoded_apart(data: bytes, kind: str, limited: bool = True) -> DecodedApart:
    """Return a picture as a process of its own opens and decodes it.

    Args:
        data: The file.
        kind: Its format.
        limited: Whether the limits hold for it.

    Raises:
        ImageError: The header is broken or beyond a limit, or the picture does not decode in time.
    """
    _check_decoder(kind)
    seconds = min(limits().max_decode_s, DAY_S)
    path = [entry for entry in sys.path if isinstance(entry, str)]
    code = _START.format(path=path, package=str(Path(__file__).parents[1]), arguments=(kind, limited))
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
            answer = _answer(process.stdout)
        finally:
            timer.cancel()
            process.kill()
    if answer is None:
        raise too_slow() if time.monotonic() >= until else broken(kind)
    return answer


def _check_decoder(kind: str) -> None:
    if kind == "HEIF" and importlib.util.find_spec("pillow_heif") is None:
        raise ImageError(
            "This is a HEIC picture, and no HEIC decoder is installed: pip install 'crop-core[heic]', "
            "or convert the picture to JPEG."
        )


def _answer(out: IO[bytes]) -> DecodedApart | None:
    """Return what the process wrote, or none where it was stopped before it had written all of it."""
    if (sign := out.read(1)) != GOOD:
        if sign == ERROR:
            raise ImageError(out.read().decode())
        return None
    try:
        header = Header(**json.loads(_block(out)), profile=_block(out))
    except EOFError:
        return None
    sign = out.read(1)
    if sign == ERROR:
        return DecodedApart(header, ImageError(out.read().decode()))
    mode = "RGBA" if header.has_alpha else "RGB"
    pixels = bytearray(header.width * header.height * len(mode) if sign == GOOD else 0)
    if sign != GOOD or out.readinto(pixels) != len(pixels):  # type: ignore[attr-defined]
        return None
    return DecodedApart(header, Image.frombuffer(mode, (header.width, header.height), pixels, "raw", mode, 0, 1))


def _block(out: IO[bytes]) -> bytes:
    head = out.read(LENGTH.size)
    length = LENGTH.unpack(head)[0] if len(head) == LENGTH.size else -1
    block = out.read(length) if length >= 0 else b""
    if len(block) != length:
        raise EOFError
    return block


def _started(code: str) -> subprocess.Popen[bytes]:
    # numpy's own threads would each take memory, and there is nothing for them to do.
    kept = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    kept |= {name: value for name, value in os.environ.items() if name.startswith(PREFIX) or name in _LOADERS}
    try:
        return subprocess.Popen(  # noqa: S603 (this interpreter, with arguments of this module)
            [sys.executable, "-I", "-S", "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=kept,
        )
    except OSError as error:
        raise ImageError(
            f"The decoder for this kind of picture cannot be started here: {error.strerror}. "
            "Send it again later, or as JPEG or PNG."
        ) from error
