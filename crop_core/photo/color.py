"""Colours: turns whatever a decoder returns into 8-bit RGB or RGBA."""

from __future__ import annotations

import struct
from functools import lru_cache
from io import BytesIO

from PIL import Image, ImageCms

from crop_core.errors import ImageError


def as_rgb(image: Image.Image, profile: bytes | None, has_alpha: bool) -> Image.Image:
    """Return the decoded picture as 8-bit RGB, or RGBA where it has alpha.

    Args:
        image: As its decoder returned it.
        profile: The file's colour profile, or none. It converts CMYK, gray and Lab pictures to sRGB.
        has_alpha: Whether the picture has transparency of any kind.

    Raises:
        ImageError: The picture has 32 bits a channel.
    """
    if image.mode.startswith("I;16"):
        image = _as_8_bits(image)
    if image.mode in ("I", "F"):
        raise ImageError(
            "The picture has 32 bits a channel, for which black and white are not defined. Save it with 8 or 16 bits."
        )
    if image.mode in ("CMYK", "L", "LAB") and not has_alpha:
        return _converted_to_srgb(image, profile)
    if image.mode in ("L", "LA", "La"):
        gray, alpha = image.convert("LA").split()
        image = _converted_to_srgb(gray, profile)
        image.putalpha(alpha)
        return image
    mode = "RGBA" if has_alpha else "RGB"
    return image if image.mode == mode else image.convert(mode)  # convert would copy even an equal mode


def converted_to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Return an RGB or RGBA picture converted to sRGB; unchanged if the profile is broken."""
    return _converted(image, profile) or image


def from_srgb(color: tuple[int, int, int, int], profile: bytes) -> tuple[int, int, int, int]:
    """Return an sRGB colour converted to an RGB profile, its alpha kept; unchanged if the profile is broken."""
    try:
        pixel = ImageCms.profileToProfile(
            Image.new("RGB", (1, 1), color[:3]),
            ImageCms.createProfile("sRGB"),
            ImageCms.ImageCmsProfile(BytesIO(_bounded(profile))),
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return color
    assert pixel is not None
    red, green, blue = pixel.tobytes()
    return red, green, blue, color[3]


@lru_cache(maxsize=16)
def is_srgb(profile: bytes) -> bool:
    """Return whether the profile is sRGB to within two steps of 255, or broken."""
    converted = _converted(_COLORS, profile)
    if converted is None:
        return True
    differences = zip(_COLORS.tobytes(), converted.tobytes(), strict=True)
    return max(abs(before - after) for before, after in differences) <= 2


_STEPS = (0, 64, 128, 192, 255)
_COLORS = Image.frombytes("RGB", (25, 5), bytes(v for r in _STEPS for g in _STEPS for b in _STEPS for v in (r, g, b)))


_TAG = struct.Struct(">4sII")  # an entry of a profile's table of tags: name, offset, length
_FLOATING = {b"D2B0", b"D2B1", b"D2B2", b"D2B3", b"B2D0", b"B2D1", b"B2D2", b"B2D3"}


def _bounded(profile: bytes) -> bytes:
    """Return the profile without conversions of unbounded length (ICC.1:2022, multiProcessElementsType).

    lcms computes each element of such a chain thousands of times before it converts one pixel, so a small profile
    could keep it busy for hours. A profile that has such a conversion has a short form of it as well.
    """
    found = bytearray(profile)
    for at in range(132, min(len(found), 132 + _TAG.size * int.from_bytes(found[128:132], "big")), _TAG.size):
        if bytes(found[at : at + 4]) in _FLOATING:
            found[at : at + 4] = b"none"
    return bytes(found)


def _converted(image: Image.Image, profile: bytes) -> Image.Image | None:
    """Return the picture converted to sRGB; none if lcms cannot use the profile."""
    try:
        return ImageCms.profileToProfile(
            image,
            ImageCms.ImageCmsProfile(BytesIO(_bounded(profile))),
            ImageCms.createProfile("sRGB"),
            outputMode="RGBA" if image.mode == "RGBA" else "RGB",
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def _as_8_bits(image: Image.Image) -> Image.Image:
    """Return a 16-bit gray picture in 8 bits, 65,535 becoming 255; convert("L") alone would clip it to white."""
    transparent = image.info.get("transparency")
    # (value + 128) // 257; the added half keeps float rounding from losing a whole quotient.
    gray = image.point(lambda value: value * (1 / 257) + 128.5 / 257).convert("L")
    if transparent is not None:
        import numpy as np  # here: at the top it would double the start of the decoder's process

        deep = np.asarray(image)
        gray.putalpha(Image.fromarray(np.where(deep == transparent, 0, 255).astype(np.uint8)))
    return gray


def _converted_to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return a CMYK, gray or Lab picture converted to sRGB; without a matching profile Pillow's conversion is used."""
    space = {"CMYK": b"CMYK", "L": b"GRAY", "LAB": b"Lab "}[image.mode]
    if profile is None or profile[16:20] != space:
        if image.mode != "LAB":
            return image.convert("RGB")
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    return _converted(image, profile) or image.convert("RGB")  # a broken profile must not fail the picture
