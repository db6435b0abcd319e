"""What a file's header says of its picture."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Any, Protocol

from PIL import Image

from crop_core.photo.tiff_tags import first_directory

ORIENTATION = 0x0112
TRANSPOSE = {  # EXIF orientation -> what makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TURNED_BY_DECODER = ("TIFF", "HEIF")
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([1-8])["<]')
_TRANSPARENT_MODES = ("RGBA", "LA", "PA", "RGBa", "La")


@dataclass(frozen=True, slots=True)
class Header:
    """A picture before it is decoded.

    Attributes:
        width: In pixels, as stored.
        height: In pixels, as stored.
        orientation: The EXIF orientation that the decoded pixels still need, 1 to 8.
        has_alpha: Whether it has transparency of any kind.
        is_rgb: Whether its colours are RGB, or a palette of RGB colours.
        frames: How many pictures the header counts; 1 if the whole file would have to be read to count them.
        profile: The colour profile of any kind; empty for none.
    """

    width: int
    height: int
    orientation: int
    has_alpha: bool
    is_rgb: bool
    frames: int
    profile: bytes


class Opened(Protocol):
    """An image of Pillow's, or an object with the same attributes."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""

    @property
    def mode(self) -> str:
        """Pillow's name of the kind of pixels, such as RGB."""

    @property
    def info(self) -> dict[Any, Any]:
        """What else the header says."""


def header_of(image: Opened, kind: str) -> Header:
    """Return what Pillow read of a header.

    Args:
        image: As its plugin opened it.
        kind: Its format, by Pillow's name.
    """
    info, (width, height) = image.info, image.size
    profile = info.get("icc_profile")
    return Header(
        width,
        height,
        1 if kind in _TURNED_BY_DECODER else orientation_in(_bytes(info.get("exif")), _xmp_of(info)),
        image.mode in _TRANSPARENT_MODES or "transparency" in info,
        image.mode in ("RGB", "RGBA", "RGBX", "P", "PA"),
        int(getattr(image, "n_frames", 1)) if kind in ("WEBP", "AVIF") else int(info.get("frames", 1)),
        _bytes(profile),
    )


def orientation_in(exif: bytes, xmp: bytes = b"") -> int:
    """Return the orientation in EXIF, else the one in XMP; 1 if neither has one or both are damaged.

    Args:
        exif: With or without the leading ``Exif``.
        xmp: As the file has it.
    """
    try:
        entry = first_directory(exif.removeprefix(b"Exif\0\0")).one_number(ORIENTATION) if exif else None
    except (struct.error, ValueError):  # ImageError is a ValueError, too: EXIF beyond the limits counts as none
        entry = None
    if entry is None and (found := _XMP_ORIENTATION.search(xmp)):
        return int(found[1])
    return entry if entry is not None and 1 <= entry <= 8 else 1


def _xmp_of(info: dict[Any, Any]) -> bytes:
    return _bytes(info.get("xmp") or info.get("XML:com.adobe.xmp"))


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else value.encode(errors="replace") if isinstance(value, str) else b""
