"""How many pixels a crop comes out with: `width`, `height`, `upscale` and the limits. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction

from crop_core.errors import RequestError
from crop_core.geometry import Size, Window
from crop_core.request import MAX_OUTPUT_PIXELS, MAX_OUTPUT_SIDE, CropRequest


def output_sizes(window: Window, ratio: Fraction | None, request: CropRequest) -> tuple[Size, Size]:
    """Return what the window is resized to, and the size of the crop with its padding."""
    ratio = ratio or Fraction(window.width, window.height)
    width, height = request.width, request.height
    if width is None and height is None:
        whole = (
            _of_area(request.max_pixels, ratio) if request.max_pixels and request.upscale != "never" else window.size
        )
        asked = _shrunk_into(whole, Size(MAX_OUTPUT_SIDE, MAX_OUTPUT_SIDE))
    elif width is not None and height is not None:
        asked = Size(width, height)
    elif width is not None:
        asked = Size(width, min(MAX_OUTPUT_SIDE, max(1, round(width / ratio))))
    else:
        assert height is not None
        asked = Size(min(MAX_OUTPUT_SIDE, max(1, round(height * ratio))), height)
    return content_and_output(window, _shrunk_to_the_limit(asked, request), request)


def content_and_output(window: Window, asked: Size, request: CropRequest) -> tuple[Size, Size]:
    """Return what the window is resized to for a crop of the size asked for, and the crop's size, by `upscale`."""
    if request.upscale == "allow" or (asked.width <= window.width and asked.height <= window.height):
        return asked, asked
    content = Size(min(asked.width, window.width), min(asked.height, window.height))
    return content, asked if request.upscale == "pad" else content


def _shrunk_into(size: Size, limit: Size) -> Size:
    """Return the size scaled down, its ratio kept, until it fits the limit."""
    scale = min(1.0, limit.width / size.width, limit.height / size.height)
    return Size(max(1, round(size.width * scale)), max(1, round(size.height * scale)))


def _of_area(pixels: int, ratio: Fraction) -> Size:
    """Return the largest size of the ratio with at most so many pixels."""
    return Size(max(1, math.floor(math.sqrt(pixels * ratio))), max(1, math.floor(math.sqrt(pixels / ratio))))


def _shrunk_to_the_limit(size: Size, request: CropRequest) -> Size:
    """Return the size scaled down, its ratio kept, until it has at most as many pixels as a crop may have."""
    most = min(request.max_pixels or MAX_OUTPUT_PIXELS, MAX_OUTPUT_PIXELS)
    scale = math.sqrt(most / (size.width * size.height))
    return Size(math.floor(size.width * scale), math.floor(size.height * scale)) if scale < 1 else size


def full_image_sizes(window: Window, request: CropRequest) -> tuple[Size, Size]:
    """Return the sizes of an uncropped picture: within `width` and `height`, the ratio kept."""
    asked = Size(request.width or MAX_OUTPUT_SIDE, request.height or MAX_OUTPUT_SIDE)
    content = _shrunk_to_the_limit(_shrunk_into(window.size, asked), request)
    padded = request.upscale == "pad" and request.width is not None and request.height is not None
    return content, asked if padded else content


def check_together(sizes: Iterable[Size], most: int) -> None:
    """Refuse crops of together more pixels than `most`.

    Args:
        sizes: Of each crop.
        most: The limit `max_crop_pixels`.

    Raises:
        RequestError: They have more.
    """
    pixels = [size.area for size in sizes]
    if sum(pixels) > most:
        raise RequestError(
            f"All crops together would have {_megapixels(sum(pixels))}; at most {_megapixels(most)} are allowed for a "
            f"picture. Ask for a smaller width or height, or a smaller max_crops."
        )


def _megapixels(pixels: int) -> str:
    return f"{pixels / 1e6:.0f} megapixels" if pixels >= 10**6 else f"{pixels} pixels"
