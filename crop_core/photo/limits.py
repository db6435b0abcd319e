"""What a picture may cost: the limits, each with its reason, held before memory is spent.

Every limit is a field of `Limits`, and an environment variable overrides it: `CROP_CORE_` and the
field's name in capitals, such as ``CROP_CORE_MAX_PIXELS=50000000``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields

from crop_core.errors import ImageError, SettingError

PREFIX = "CROP_CORE_"
_GIF_PIXELS = 89_000_000  # of more Pillow warns, on the standard error of whoever uses this package


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits that hold for a picture.

    Attributes:
        max_bytes: A file's; a 200-megapixel JPEG has some 80 MB, a large TIFF a few times that.
        max_pixels: A JPEG's, which decodes at a fraction of its size; the largest camera phones take
            16384 x 12288 = 201 megapixels.
        max_pixels_at_once: Any other format's, which decodes whole or not at all and takes some 30
            bytes a pixel on the way; the largest medium-format scans and screens have less.
        max_side: Of width and height, in pixels; JPEG's own limit.
        max_pixels_per_byte: Beyond `free_pixels`; photos have 1 to 100 and fax pages 1,500, bombs
            tens of thousands.
        free_pixels: A picture of so many is decoded however few bytes it has: blank canvases are
            pictures, too.
        max_frames: An animation's, where its header counts them; five minutes at 30 frames a second.
            Only the first is decoded, but a header's table of them takes memory.
        max_chunks: A PNG's, and a JPEG's segments before its picture; a PNG's usual 8 KiB a chunk make `max_bytes` in a
            third of that.
        max_tags: A TIFF's; cameras write some 150.
        max_tag_values: Numbers in a TIFF's tags; 210 megapixels in tiles of 16 x 16 are 820,000 tiles
            with an offset and a length each. A fraction counts as eight, since it takes as much memory.
        max_exif_bytes: Of which an object can be made for every two; those of cameras have up to some 100 KB,
            and a JPEG's segment 64.
        max_profile_bytes: A colour profile's; those of presses have up to 3 MB, and each crop carries it.
        max_decode_s: Seconds for one decoding; 200 megapixels take about 5 on a slow machine.
        max_crop_pixels: Of all crops of a picture together, which are kept until the last is done;
            the default 20 crops of 20 megapixels.
    """

    max_bytes: int = 256 * 2**20
    max_pixels: int = 210_000_000
    max_pixels_at_once: int = 100_000_000
    max_side: int = 65_535
    max_pixels_per_byte: int = 2_000
    free_pixels: int = 20_000_000
    max_frames: int = 10_000
    max_chunks: int = 100_000
    max_tags: int = 1_000
    max_tag_values: int = 2_000_000
    max_exif_bytes: int = 2 * 2**20
    max_profile_bytes: int = 4 * 2**20
    max_decode_s: int = 30
    max_crop_pixels: int = 400_000_000


def limits() -> Limits:
    """Return the limits, the environment's where it has them.

    Raises:
        SettingError: A variable is no whole number of at least 1.
    """
    found = {entry.name: os.environ.get(PREFIX + entry.name.upper()) for entry in fields(Limits)}
    return Limits(**{name: _number(name, text) for name, text in found.items() if text is not None})


def _number(name: str, text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 15 and int(text) >= 1:
        return int(text)
    raise SettingError(f"{PREFIX}{name.upper()} is a whole number of at least 1, got {text[:40]!r}.")


def check_bytes(length: int) -> None:
    """Refuse a file of more than `max_bytes`.

    Raises:
        ImageError: It has more.
    """
    if length > (most := limits().max_bytes):
        raise ImageError(
            f"The file has {_mebibytes(length)}; at most {_mebibytes(most)} are accepted. "
            "Send a smaller or more strongly compressed picture."
        )


def check_picture(kind: str, width: int, height: int, length: int, frames: int = 1, profile: int = 0) -> None:
    """Refuse what a header tells of a picture that is beyond a limit.

    Args:
        kind: The format's name, as `format.format_of` returns it.
        width: In pixels.
        height: In pixels.
        length: The file's, in bytes.
        frames: How many pictures the header counts.
        profile: The colour profile's, in bytes.

    Raises:
        ImageError: It has too many pixels or frames, too long a side, too large a profile or too
            few bytes for its pixels.
    """
    most = limits()
    pixels = width * height
    if width > most.max_side or height > most.max_side or pixels > max_pixels_of(kind):
        raise too_large(kind, f"{width}x{height} pixels ({pixels / 1e6:.0f} megapixels)")
    if pixels > most.free_pixels and pixels > length * most.max_pixels_per_byte:
        raise ImageError(
            f"The picture has {width}x{height} pixels in {length} bytes, as only a blank one or a bomb can; above "
            f"{_megapixels(most.free_pixels)} at most {most.max_pixels_per_byte} pixels a byte are accepted. "
            "Send a smaller one."
        )
    if frames > most.max_frames:
        raise ImageError(f"The picture has {frames} frames; at most {most.max_frames} are accepted. Send the first.")
    if profile > most.max_profile_bytes:
        raise ImageError(
            f"The picture has a colour profile of {_mebibytes(profile)}; at most "
            f"{_mebibytes(most.max_profile_bytes)} are accepted. Convert it to sRGB."
        )


def check_exif(length: int) -> None:
    """Refuse EXIF of more than `max_exif_bytes`.

    Raises:
        ImageError: It has more.
    """
    if length > (most := limits().max_exif_bytes):
        raise ImageError(
            f"The picture has {_mebibytes(length)} of EXIF; at most {_mebibytes(most)} are accepted. Save it without."
        )


def max_pixels_of(kind: str) -> int:
    """Return the most pixels that a picture of that format may have."""
    most = limits()
    if kind == "GIF":
        return min(most.max_pixels, most.max_pixels_at_once, _GIF_PIXELS)
    return most.max_pixels if kind == "JPEG" else min(most.max_pixels, most.max_pixels_at_once)


def too_large(kind: str, what: str = "too many pixels") -> ImageError:
    """Return the error that says how large a picture of that format may be."""
    remedy = "Send a smaller one." if kind == "JPEG" else "Send a smaller one, or a JPEG."
    return ImageError(
        f"The picture has {what}; at most {_megapixels(max_pixels_of(kind))} and {limits().max_side} pixels a side "
        f"are accepted. {remedy}"
    )


def too_slow() -> ImageError:
    """Return the error for a picture that does not decode in time."""
    return ImageError(
        f"The picture did not decode within {limits().max_decode_s} seconds. Save it anew as JPEG or PNG, or smaller."
    )


def _mebibytes(length: int) -> str:
    return f"{length / 2**20:.0f} MiB" if length >= 2**20 else f"{length} bytes"


def _megapixels(pixels: int) -> str:
    return f"{pixels / 1e6:.0f} megapixels" if pixels >= 10**6 else f"{pixels} pixels"
