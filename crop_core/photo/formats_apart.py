"""Opens the formats that get a process of their own: AVIF, HEIC, TIFF and WebP.

Each decoder is imported only when it is needed, since a new process is started for each picture.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING

from PIL import Image

from crop_core.photo.file_format import refusing
from crop_core.photo.limits import check_exif
from crop_core.photo.tiff_layout import YCBCR, layout_of
from crop_core.photo.tiff_tags import beginning_at

if TYPE_CHECKING:
    from crop_core.photo.tiff_samples import SampledTiff

_THREADS = 4  # on any number of cores, since each thread takes memory; pillow-heif uses 4, too


def opened(data: bytes, kind: str) -> Image.Image | SampledTiff:
    """Return the picture with its header read, by the decoder of that format.

    Raises:
        ImageError: The header is broken, or its parts are more than the limits allow.
    """
    with refusing(kind):
        image = _OPENERS[kind](data)
        exif = image.info.get("exif")
        check_exif(len(exif) if isinstance(exif, bytes) else 0)
        return image


def _webp(data: bytes) -> Image.Image:
    from PIL import WebPImagePlugin

    return WebPImagePlugin.WebPImageFile(BytesIO(data))


def _avif(data: bytes) -> Image.Image:
    from PIL import AvifImagePlugin

    AvifImagePlugin.DEFAULT_MAX_THREADS = _THREADS
    return AvifImagePlugin.AvifImageFile(BytesIO(data))


def _heif(data: bytes) -> Image.Image:
    from pillow_heif import HeifImageFile  # the extra `heic`

    image = HeifImageFile(BytesIO(data))
    assert isinstance(image, Image.Image)
    return image


def _tiff(data: bytes) -> Image.Image | SampledTiff:
    """Open a TIFF's main picture, with Pillow if Pillow reads this layout correctly."""
    layout = layout_of(data)
    if not layout.by_pillow:
        from crop_core.photo.tiff_samples import sampled  # here: it imports numpy, which is slow

        return sampled(data, layout)
    from PIL import TiffImagePlugin

    TiffImagePlugin.READ_LIBTIFF = layout.photometric == YCBCR  # without libtiff Pillow ignores subsampled colours
    return TiffImagePlugin.TiffImageFile(BytesIO(beginning_at(data, layout.directory)))


_OPENERS: dict[str, Callable[[bytes], Image.Image | SampledTiff]] = {
    "WEBP": _webp,
    "AVIF": _avif,
    "HEIF": _heif,
    "TIFF": _tiff,
}
