"""The formats that are opened and decoded in a process of their own: AVIF, HEIC, TIFF and WebP.

Each decoder is imported when it is needed, since the process is started anew for each picture.
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

_THREADS = 4  # however many cores there are, since each takes memory; pillow-heif's own number is 4


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
    """Open the picture that a TIFF is of, by Pillow where it reads that layout as its tags say."""
    layout = layout_of(data)
    if not layout.by_pillow:
        from crop_core.photo.tiff_samples import sampled  # with numpy, which takes as long to import as all the rest

        return sampled(data, layout)
    from PIL import TiffImagePlugin

    TiffImagePlugin.READ_LIBTIFF = layout.photometric == YCBCR  # Pillow itself knows nothing of subsampled colours
    return TiffImagePlugin.TiffImageFile(BytesIO(beginning_at(data, layout.directory)))


_OPENERS: dict[str, Callable[[bytes], Image.Image | SampledTiff]] = {
    "WEBP": _webp,
    "AVIF": _avif,
    "HEIF": _heif,
    "TIFF": _tiff,
}
