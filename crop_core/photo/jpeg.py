"""JPEG: opened by Pillow, decoded by libjpeg-turbo through simplejpeg, which tells what the decoder complains of.

libjpeg fills what is missing with gray and only warns of it. Pillow does not hand that warning on, so
half a JPEG with an end marker would be a picture for it.
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
# What is kept of a header whose other parts made the decoder complain: frames, tables, and what tells the colours.
_NEEDED = {*range(0xC0, 0xD0), 0xDB, 0xDD, 0xE0, 0xEE}

# ---- the header

# A JPEG of several scans can hold one of the whole picture in 10 bytes, which takes up to 0.6 ns a pixel. So many
# bytes, divided by its pixels, are decoded by Pillow between two looks at the clock: some two seconds' worth. Its
# usual are 65,536.
_SCANS_PIECE = 40_000_000_000


class JpegFile(JpegImagePlugin.JpegImageFile):
    """A JPEG that knows whether it takes several scans to make its picture, whatever their kind.

    Attributes:
        several_scans: Whether it does.
    """

    several_scans = False

    def _read_dpi_from_exif(self) -> None:
        """Leave out what Pillow would read, and warn of, for a density that nobody asks for."""


def open_jpeg(data: bytes) -> Image.Image:
    """Open a JPEG of which the clock can be kept; the first picture of an MPO is one, too.

    Raises:
        ImageError: Its header has more parts than the limits allow.
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
    """Yield the segments that have a body, as Pillow finds them; the first scan's header is the last."""
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
        ImageError: There are more than `max_chunks` segments before the picture, of each of which Pillow keeps a
            hundred bytes, or more EXIF than `max_exif_bytes`.
    """
    exif, most = 0, limits().max_chunks
    for count, segment in enumerate(_segments(data)):
        if segment.marker == _SCAN:
            check_exif(exif)
            return data[segment.start + 2] if segment.start + 2 < len(data) else 0
        if segment.marker == _APP1 and data.startswith(b"Exif\0\0", segment.start + 2):
            exif += segment.end - segment.start
        if count >= most:
            raise ImageError(f"The JPEG has more than {most} segments. Save it anew.")
    check_exif(exif)
    return 0


# ---- the pixels

_COLORS = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
# Seconds: one scan takes up to 0.6 ns a pixel however few bytes it has, and colours and sizes 25 ns on a slow machine.
_A_SCAN, _A_PIXEL = 0.6e-9, 25e-9
# Of which libjpeg warns. Bytes before the end are some encoders' padding, as long as they are few.
_DAMAGE = re.compile(r"premature end|bad huffman|bad arithmetic|instead of rst|before marker 0xd[0-7]", re.IGNORECASE)
_LEFT_OVER = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_MOST_PADDING = 16


def decoded_jpeg(data: bytes, mode: str, size: tuple[int, int], scaled: tuple[int, int]) -> NDArray[np.uint8] | None:
    """Return a JPEG's pixels, uint8 [h, w, channels]; none where Pillow must decode it, which keeps the clock.

    Args:
        data: The file; its end marker may be missing.
        mode: L, RGB or CMYK, as Pillow tells it.
        size: Width and height as stored.
        scaled: Those of the result, at 1, 1/2, 1/4 or 1/8 of it, rounded up.

    Raises:
        ImageError: It is damaged or cut off.
    """
    scans = data.count(b"\xff\xda")
    takes_long = size[0] * size[1] * (_A_PIXEL + _A_SCAN * scans) > limits().max_decode_s / 2
    if mode not in _COLORS or takes_long:
        return None
    whole = data if data.endswith(_END) else data + _END
    found = _without_complaint(whole, mode, scaled)
    if isinstance(found, str):  # perhaps of junk in the header, which would hide what else there is to complain of
        found = _without_complaint(_without_extras(whole), mode, scaled)
    if isinstance(found, str):
        if _is_damage(found):
            raise broken("JPEG")
        return None
    if found.shape[:2] != (scaled[1], scaled[0]):
        return None
    return 255 - found if mode == "CMYK" else found  # as Adobe stores it and Pillow reads it


def _without_complaint(data: bytes, mode: str, scaled: tuple[int, int]) -> NDArray[np.uint8] | str:
    """Return the pixels, or the first thing that the decoder complains of."""
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
    """Return the file with no more in its header than its picture needs."""
    kept = BytesIO()
    kept.write(data[:2])
    for marker, at, start, end in _segments(data):
        if marker == _SCAN:
            kept.write(data[at:])
        elif marker in _NEEDED:
            kept.write(bytes((0xFF, marker)) + data[start:end])
    return kept.getvalue()
