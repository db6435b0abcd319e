"""Opens GIFs. The size is checked first, since Pillow only warns of a size that a limit refuses."""

from __future__ import annotations

import struct

from PIL import GifImagePlugin, Image

from crop_core.photo.decode import Source
from crop_core.photo.limits import check_picture, limits

_EXTENSION, _FRAME, _END = 0x21, 0x2C, 0x3B


def open_gif(data: bytes) -> Image.Image:
    """Open a GIF.

    Raises:
        ImageError: The screen or the first frame is beyond the limits.
        struct.error: The file ends before them.
    """
    width, height = _size_of(data)
    check_picture("GIF", max(1, width), max(1, height), len(data))
    return GifImagePlugin.GifImageFile(Source(data))


def _size_of(data: bytes) -> tuple[int, int]:
    """Return the width and height that hold the screen and the first frame (GIF89a, sections 18 to 20).

    The size of the screen alone if there is no frame, or if more than `max_chunks` blocks come before it.
    """
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at, left_to_see = 13 + _table_length(flags), limits().max_chunks
    while left_to_see > 0 and at < len(data) and data[at] not in (_FRAME, _END):
        if data[at] == _EXTENSION:
            at += 2
            while left_to_see > 0 and at < len(data) and data[at]:
                at += 1 + data[at]
                left_to_see -= 1
        at += 1
        left_to_see -= 1
    if data[at : at + 1] != bytes((_FRAME,)):
        return width, height
    left, top, wide, high = struct.unpack_from("<4H", data, at + 1)
    return max(width, left + wide), max(height, top + high)


def _table_length(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
