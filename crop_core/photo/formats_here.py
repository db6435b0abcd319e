"""Opens the formats that are decoded in this process: JPEG, PNG, BMP and GIF.

The header bounds the cost of each, or a clock that is checked on every read.
"""

from __future__ import annotations

from collections.abc import Callable

from PIL import BmpImagePlugin, Image

from crop_core.photo.decode import Source
from crop_core.photo.file_format import refusing
from crop_core.photo.gif import open_gif
from crop_core.photo.jpeg import open_jpeg
from crop_core.photo.png import open_png

_OPENERS: dict[str, Callable[[bytes], Image.Image]] = {
    "JPEG": open_jpeg,
    "PNG": open_png,
    "BMP": lambda data: BmpImagePlugin.BmpImageFile(Source(data)),
    "GIF": open_gif,
}


def opened(data: bytes, kind: str) -> Image.Image:
    """Return the picture with its header read, by the decoder of that format.

    Raises:
        ImageError: The header is broken, or its parts are more than the limits allow.
    """
    with refusing(kind):
        return _OPENERS[kind](data)
