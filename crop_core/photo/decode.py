"""Decodes an opened picture, with the decoder that opened it."""

from __future__ import annotations

import time
from io import BytesIO
from typing import Protocol

from PIL import Image, ImageFile

from crop_core.photo.color import as_rgb
from crop_core.photo.file_format import broken, refusing
from crop_core.photo.header import Opened
from crop_core.photo.limits import limits, too_slow


class Source(BytesIO):
    """A file's bytes that can be read for a limited time only.

    Pillow feeds a decoder piece by piece, so a failing read stops it. A thread or a signal could
    not.
    """

    def __init__(self, data: bytes) -> None:
        """Start the clock."""
        super().__init__(data)
        self.restart()

    def restart(self) -> None:
        """Restart the clock: a header may have been read long before its picture is decoded."""
        self._until = time.monotonic() + limits().max_decode_s

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes.

        Raises:
            ImageError: The time is up.
        """
        if time.monotonic() > self._until:
            raise too_slow()
        return super().read(size)


class Undecoded(Opened, Protocol):
    """A picture that this package decodes itself."""

    def pixels(self) -> Image.Image:
        """Return the decoded picture."""


def decoded(image: Image.Image | Undecoded, kind: str, size: tuple[int, int], mode: str) -> Image.Image:
    """Return the picture's pixels as 8-bit RGB or RGBA.

    Args:
        image: The picture, opened but not decoded.
        kind: Its format.
        size: The width and height that must come out, in pixels.
        mode: ``RGB``, or ``RGBA`` if the picture has transparency of any kind.

    Raises:
        ImageError: The picture is broken, has 32 bits a channel, or does not decode in time.
    """
    profile = image.info.get("icc_profile")
    if isinstance(image, ImageFile.ImageFile) and isinstance(image.fp, Source):
        image.fp.restart()
    with refusing(kind):
        if isinstance(image, Image.Image):
            image.load()
        else:
            image = image.pixels()
        if image.size != size:
            raise broken(kind)  # libheif may decode another size than the header says
        return as_rgb(image, profile if isinstance(profile, bytes) else None, has_alpha=mode == "RGBA")
