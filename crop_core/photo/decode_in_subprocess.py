"""Decodes AVIF, HEIC, TIFF and WebP in a process of its own.

A C library opens and decodes these formats. Neither the file's size nor its header bounds the time
and the memory of such a call: AV1 can hide a thousand pictures before the first that it shows, and a
small WebP can ask for a gigabyte of tables. So the call is made in a process that has a memory limit
and is killed when the time is up. If the library crashes, one picture fails and the server goes on.

Of the environment the process gets only the limits and what its loader needs. It finds modules where
this process finds them.
"""

from __future__ import annotations

import contextlib
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
from crop_core.photo.file_format import broken, has_heic_decoder
from crop_core.photo.header import Header
from crop_core.photo.limits import PREFIX, limits, too_slow

# -I and -S keep Python from reading its environment and site-packages, and the empty crop_core keeps the package from
# importing what only its users need. Both make the start faster.
_START = """
import sys, types
sys.path[:] = {path!r}
sys.modules["crop_core"] = types.ModuleType("crop_core")
sys.modules["crop_core"].__path__ = [{package!r}]
from crop_core.photo.decoder_process import main
main{arguments!r}
"""
# Without these a Python outside the usual folders does not find its libraries.
_LOADERS = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH", "SYSTEMROOT")


@dataclass(frozen=True, slots=True)
class DecodedApart:
    """A picture that another process decoded.

    Attributes:
        header: What its header says.
        pixels: RGB or RGBA, not turned upright; the error if only the header could be read.
    """

    header: Header
    pixels: Image.Image | ImageError


def decoded_apart(data: bytes, kind: str, limited: bool = True) -> DecodedApart:
    """Return a picture that was opened and decoded in a process of its own.

    Args:
        data: The file.
        kind: Its format.
        limited: Whether to check the limits.

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
            with contextlib.suppress(BrokenPipeError):  # the process has died; `_answer` finds out
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
    if kind == "HEIF" and not has_heic_decoder():
        raise ImageError(
            "This is a HEIC picture, and its decoder is not installed here (it comes with crop-core's extra heic). "
            "Convert the picture to JPEG."
        )


def _answer(out: IO[bytes]) -> DecodedApart | None:
    """Return what the process wrote; none if it was stopped before it had written all."""
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
    # Without these, numpy starts a thread for each core, and each takes memory.
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
