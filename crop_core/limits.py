"""What a picture may cost: the limits, each with its reason, held before memory is spent."""

from __future__ import annotations

from crop_core.errors import ImageError

MAX_BYTES = 256 * 2**20  # a 200-megapixel JPEG has some 80 MB, a large TIFF a few times that
MAX_PIXELS = 210_000_000  # the largest camera phones take 16384 x 12288 = 201 megapixels
MAX_SIDE = 65_535  # px; JPEG's own limit


def check_bytes(length: int) -> None:
    """Refuse a file of more than `MAX_BYTES`.

    Raises:
        ImageError: It has more.
    """
    if length > MAX_BYTES:
        raise ImageError(
            f"The file has {length / 2**20:.0f} MiB; at most {MAX_BYTES // 2**20} MiB are accepted. "
            "Send a smaller or more strongly compressed picture."
        )


def check_pixels(width: int, height: int) -> None:
    """Refuse a picture of more than `MAX_PIXELS`, or a side of more than `MAX_SIDE`.

    Raises:
        ImageError: It has more.
    """
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise too_large(f"{width}x{height} pixels ({width * height / 1e6:.0f} megapixels)")


def too_large(what: str = "too many pixels") -> ImageError:
    """Return the error that says how large a picture may be."""
    return ImageError(
        f"The picture has {what}; at most {MAX_PIXELS // 10**6} megapixels and {MAX_SIDE} pixels a side are "
        "accepted. Send a smaller one."
    )
