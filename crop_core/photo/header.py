"""What a file's header tells of its picture."""

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
        orientation: As in EXIF, what the decoded pixels still need: 1 to 8.
        has_alpha: Whether it has transparency of any kind.
        is_rgb: Whether its colours are RGB, also where a palette has them.
        frames: How many pictures the header counts; 1 where counting would mean to read the whole file.
        profile: The colour profile of whatever kind, empty for none.
    """

    width: int
    height: int
    orientation: int
    has_alpha: bool
    is_rgb: bool
    frames: int
    profile: bytes


class Opened(Protocol):
    """An image of Pillow's, or what looks like one."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""

    @property
    def mode(self) -> str:
        """Pillow's name of what a pixel is."""

    @property
    def info(self) -> dict[Any, Any]:
        """What else the header tells."""


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
    """Return the orientation that EXIF asks for, else that of XMP; 1 where neither does, or is damaged.

    Args:
        exif: With or without the ``Exif`` before it.
        xmp: As the file has it.
    """
    try:
        entry = first_directory(exif.removeprefix(b"Exif\0\0")).one_number(ORIENTATION) if exif else None
    except (struct.error, ValueError):  # an ImageError is one, and so absurd EXIF is none
        entry = None
    if entry is None and (found := _XMP_ORIENTATION.search(xmp)):
        return int(found[1])
    return entry if entry is not None and 1 <= entry <= 8 else 1


def _xmp_of(info: dict[Any, Any]) -> bytes:
    return _bytes(info.get("xmp") or info.get("XML:com.adobe.xmp"))


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else value.encode(errors="replace") if isinstance(value, str) else b""
