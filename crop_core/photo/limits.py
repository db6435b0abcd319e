"""The limits on a picture, each with its reason. They are checked before memory is spent.

Each limit is a field of `Limits`. An environment variable overrides it: `CROP_CORE_` and the field's
name in capitals, such as ``CROP_CORE_MAX_PIXELS=50000000``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields

from crop_core.errors import ImageError, SettingError

PREFIX = "CROP_CORE_"
_GIF_PIXELS = 89_000_000  # above this Pillow prints a warning on standard error


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits on a picture.

    Attributes:
        max_bytes: Bytes of a file. A 200-megapixel JPEG has some 80 MB, a large TIFF a few times that.
        max_pixels: Pixels of a JPEG, which decodes at a fraction of its size. The largest camera
            phones take 16384 x 12288 = 201 megapixels.
        max_pixels_at_once: Pixels of any other format, which decodes only whole and takes some 30
            bytes a pixel while it does. The largest medium-format scans and screens have less.
        max_side: Pixels of the width and of the height; JPEG's own limit.
        max_pixels_per_byte: Pixels for each byte of a picture of more than `free_pixels`. Photos have
            1 to 100, fax pages 1,500, decompression bombs tens of thousands.
        free_pixels: A picture of at most this many pixels may have any number of bytes, since blank
            canvases are pictures, too.
        max_frames: Frames of an animation whose header counts them: five minutes at 30 frames a second.
            Only the first is decoded, but the header's table of frames takes memory.
        max_chunks: Chunks of a PNG, or segments of a JPEG before its picture. A PNG of `max_bytes` in
            the usual 8 KiB chunks has a third of that.
        max_tags: Tags of a TIFF. Cameras write some 150.
        max_tag_values: Numbers in the tags of a TIFF. 210 megapixels in tiles of 16 x 16 are 820,000
            tiles with an offset and a length each. A fraction counts as eight, for the memory it takes.
        max_exif_bytes: Bytes of EXIF. Pillow can create one object for every two bytes. Cameras write
            up to some 100 KB, and a JPEG's segment holds 64 KB.
        max_profile_bytes: Bytes of a colour profile, which each crop carries. Presses' profiles have
            up to 3 MB.
        max_decode_s: Seconds for one decoding, several times what the largest picture needs.
        max_crop_pixels: Pixels of all crops of a picture together, which are kept until the last is
            done: 20 crops of 20 megapixels.
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
    """Return the limits; environment variables override the defaults.

    Raises:
        SettingError: A variable is not a whole number of at least 1.
    """
    found = {entry.name: os.environ.get(PREFIX + entry.name.upper()) for entry in fields(Limits)}
    return Limits(**{name: _number(name, text) for name, text in found.items() if text is not None})


def _number(name: str, text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 15 and int(text) >= 1:
        return int(text)
    raise SettingError(
        f"{PREFIX}{name.upper()} is a whole number of at least 1, got {text[:40]!r}. Change or unset it."
    )


def check_bytes(length: int) -> None:
    """Refuse a file of more than `max_bytes`.

    Raises:
        ImageError: The file has more.
    """
    if length > (most := limits().max_bytes):
        raise ImageError(
            f"The file has {_mebibytes(length)}; at most {_mebibytes(most)} are accepted. "
            "Send a smaller or more strongly compressed picture."
        )


def check_picture(kind: str, width: int, height: int, length: int, frames: int = 1, profile: int = 0) -> None:
    """Refuse a picture whose header says that it is beyond a limit.

    Args:
        kind: The format's name, as `file_format.format_of` returns it.
        width: In pixels.
        height: In pixels.
        length: Bytes of the file.
        frames: How many pictures the header counts.
        profile: Bytes of the colour profile.

    Raises:
        ImageError: The picture has too many pixels or frames, too long a side, too large a profile or
            too few bytes for its pixels.
    """
    most = limits()
    pixels = width * height
    if width > most.max_side or height > most.max_side or pixels > max_pixels_of(kind):
        raise too_large(kind, f"{width}x{height} pixels ({pixels / 1e6:.0f} megapixels)")
    if pixels > most.free_pixels and pixels > length * most.max_pixels_per_byte:
        raise ImageError(
            f"The picture has {width}x{height} pixels in only {length} bytes. Above {_megapixels(most.free_pixels)} at "
            f"most {most.max_pixels_per_byte} pixels for each byte are accepted, which keeps out decompression bombs. "
            "Send a smaller one."
        )
    if frames > most.max_frames:
        raise ImageError(
            f"The picture has {frames} frames; at most {most.max_frames} are accepted. Send its first frame alone."
        )
    if profile > most.max_profile_bytes:
        raise ImageError(
            f"The picture has a colour profile of {_mebibytes(profile)}; at most "
            f"{_mebibytes(most.max_profile_bytes)} are accepted. Convert it to sRGB."
        )


def check_exif(length: int) -> None:
    """Refuse EXIF of more than `max_exif_bytes`.

    Raises:
        ImageError: The picture has more.
    """
    if length > (most := limits().max_exif_bytes):
        raise ImageError(
            f"The picture has {_mebibytes(length)} of EXIF; at most {_mebibytes(most)} are accepted. Remove the EXIF."
        )


def max_pixels_of(kind: str) -> int:
    """Return the most pixels that a picture of that format may have."""
    most = limits()
    if kind == "GIF":
        return min(most.max_pixels, most.max_pixels_at_once, _GIF_PIXELS)
    return most.max_pixels if kind == "JPEG" else min(most.max_pixels, most.max_pixels_at_once)


def too_large(kind: str, what: str = "too many pixels") -> ImageError:
    """Return the error for a picture that is too large for its format."""
    remedy = "Send a smaller one." if kind == "JPEG" else "Send a smaller one, or a JPEG."
    return ImageError(
        f"The picture has {what}; at most {_megapixels(max_pixels_of(kind))} and {limits().max_side} pixels a side "
        f"are accepted. {remedy}"
    )


def too_slow() -> ImageError:
    """Return the error for a picture that does not decode in time."""
    return ImageError(
        f"The picture did not decode within {limits().max_decode_s} seconds. Save it again as JPEG or PNG, or smaller."
    )


def _mebibytes(length: int) -> str:
    return f"{length / 2**20:.0f} MiB" if length >= 2**20 else f"{length} bytes"


def _megapixels(pixels: int) -> str:
    return f"{pixels / 1e6:.0f} megapixels" if pixels >= 10**6 else f"{pixels} pixels"
