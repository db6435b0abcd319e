"""Opens JPEGs with Pillow and decodes them with libjpeg-turbo through simplejpeg, which passes on its warnings.

libjpeg fills missing pixels with gray and only warns. Pillow drops that warning, and so would accept
half a JPEG.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple

import simplejpeg
from PIL import Image, JpegImagePlugin

from crop_core.errors import ImageError
from crop_core.photo.decode import Source
from crop_core.photo.file_format import broken
from crop_core.photo.limits import check_exif, limits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_END = b"\xff\xd9"
_MARKER = re.compile(rb"\xff([^\x00\xff])")
_SCAN, _APP1 = 0xDA, 0xE1
# The segments that a picture needs: frames, tables, and those that tell the colours.
_NEEDED = {*range(0xC0, 0xD0), 0xDB, 0xDD, 0xE0, 0xEE}

# ---- the header

# Divided by the picture's pixels: how many bytes of a JPEG of several scans Pillow decodes between two looks at the
# clock, some two seconds' worth. A scan of the whole picture can have 10 bytes, so Pillow's usual 65,536 could hold
# thousands of them.
_SCANS_PIECE = 40_000_000_000


class JpegFile(JpegImagePlugin.JpegImageFile):
    """A JPEG file of Pillow's.

    Attributes:
        several_scans: Whether the picture consists of several scans of any kind.
    """

    several_scans = False

    def _read_dpi_from_exif(self) -> None:
        """Do nothing: Pillow would read the density, which nobody needs, and warn if it is damaged."""


def open_jpeg(data: bytes) -> Image.Image:
    """Open a JPEG, or the first picture of an MPO, such that decoding stops when the time is up.

    Raises:
        ImageError: The header has more parts than the limits allow.
    """
    components = _check_segments(data)
    image = JpegFile(Source(data))
    image.several_scans = "progressive" in image.info or components < image.layers
    if image.several_scans:
        image.decodermaxblock = max(64, min(image.decodermaxblock, _SCANS_PIECE // (image.width * image.height)))
    return image


class _Segment(NamedTuple):
    """A part of the header: its marker, where the marker begins, and where the body begins and ends."""

    marker: int
    at: int
    start: int
    end: int


def _segments(data: bytes) -> Iterator[_Segment]:
    """Yield the segments that have a body, as Pillow finds them, up to the first scan's header."""
    at = 2
    while found := _MARKER.search(data, at):
        at = found.end()
        known = JpegImagePlugin.MARKER.get(0xFF00 + found[1][0])
        if (known is None or known[2] is None) and found[1][0] != _SCAN:
            continue  # one without a body
        length = max(2, int.from_bytes(data[at : at + 2], "big"))
        yield _Segment(found[1][0], found.start(), at, at + length)
        if found[1][0] == _SCAN:
            return
        at += length


def _check_segments(data: bytes) -> int:
    """Return how many components the first scan has.

    Raises:
        ImageError: There are more than `max_chunks` segments before the picture, each of which takes memory in
            Pillow, or more EXIF than `max_exif_bytes`.
    """
    exif, most = 0, limits().max_chunks
    for count, segment in enumerate(_segments(data)):
        if segment.marker == _SCAN:
            check_exif(exif)
            return data[segment.start + 2] if segment.start + 2 < len(data) else 0
        if segment.marker == _APP1 and data.startswith(b"Exif\0\0", segment.start + 2):
            exif += segment.end - segment.start
        if count >= most:
            raise ImageError(f"The JPEG has more than {most} segments before its picture. Save it again.")
    check_exif(exif)
    return 0


# ---- the pixels

_COLORS = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
# The most seconds for each pixel on a slow machine: of one scan, however few bytes it has, and of colours and scaling.
_A_SCAN, _A_PIXEL = 0.6e-9, 25e-9
# The warnings of libjpeg that mean damage. A few extra bytes before the end marker are some encoders' padding.
_DAMAGE = re.compile(r"premature end|bad huffman|bad arithmetic|instead of rst|before marker 0xd[0-7]", re.IGNORECASE)
_LEFT_OVER = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_MOST_PADDING = 16


def decoded_jpeg(data: bytes, mode: str, size: tuple[int, int], scaled: tuple[int, int]) -> NDArray[np.uint8] | None:
    """Return a JPEG's pixels, uint8 [h, w, channels]; none if Pillow must decode it, which can stop on time.

    Args:
        data: The file; its end marker may be missing.
        mode: Pillow's mode of it: L, RGB or CMYK.
        size: Width and height as stored.
        scaled: Width and height of the result: 1, 1/2, 1/4 or 1/8 of `size`, rounded up.

    Raises:
        ImageError: The JPEG is damaged or cut off.
    """
    scans = data.count(b"\xff\xda")
    takes_long = size[0] * size[1] * (_A_PIXEL + _A_SCAN * scans) > limits().max_decode_s / 2
    if mode not in _COLORS or takes_long:
        return None
    whole = data if data.endswith(_END) else data + _END
    found = _without_complaint(whole, mode, scaled)
    if isinstance(found, str):  # the warning may be about junk in the header and hide one about the pixels
        found = _without_complaint(_without_extras(whole), mode, scaled)
    if isinstance(found, str):
        if _is_damage(found):
            raise broken("JPEG")
        return None
    if found.shape[:2] != (scaled[1], scaled[0]):
        return None
    return 255 - found if mode == "CMYK" else found  # as Adobe stores it and Pillow reads it


def _without_complaint(data: bytes, mode: str, scaled: tuple[int, int]) -> NDArray[np.uint8] | str:
    """Return the pixels, or the decoder's first warning."""
    try:
        found: NDArray[np.uint8] = simplejpeg.decode_jpeg(
            data, _COLORS[mode], min_height=scaled[1], min_width=scaled[0], strict=True
        )
    except ValueError as error:
        return str(error)
    return found


def _is_damage(complaint: str) -> bool:
    left_over = _LEFT_OVER.search(complaint)
    return bool(_DAMAGE.search(complaint)) or (left_over is not None and int(left_over[1]) > _MOST_PADDING)


def _without_extras(data: bytes) -> bytes:
    """Return the file with only those header segments that its picture needs."""
    kept = BytesIO()
    kept.write(data[:2])
    for marker, at, start, end in _segments(data):
        if marker == _SCAN:
            kept.write(data[at:])
        elif marker in _NEEDED:
            kept.write(bytes((0xFF, marker)) + data[start:end])
    return kept.getvalue()
