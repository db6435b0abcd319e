"""Crops whose sides are multiples of a number: which size, and the window to cut it from. Standard library only."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product

from crop_core.errors import ImageError
from crop_core.frame.place_on_axis import place_holding
from crop_core.geometry import Size, Window
from crop_core.request import MAX_OUTPUT_PIXELS, MAX_OUTPUT_SIDE, CropRequest

SMALLER = 0.9  # the step in which a size is made smaller until it is allowed


def bucket_for(shown: Size, ratio: Fraction | None, within: Size, request: CropRequest) -> Size:
    """Return the size with sides that are multiples of the request's `multiple_of`.

    Of the allowed sizes around the crop's plain size, it is the one with the nearest ratio; of two equal ones the
    larger.

    Args:
        shown: What the crop would show, pixels of the source.
        ratio: Width over height as asked for; none for free.
        within: The largest that a crop can be cut from; without enlarging, no crop has more pixels a side.
        request: Its `multiple_of`, `max_pixels`, `width`, `height` and `upscale` count.

    Raises:
        ImageError: The picture has too few pixels for any, and may not be enlarged.
    """
    unit, enlarge = request.multiple_of, request.upscale != "never"
    most = min(request.max_pixels or MAX_OUTPUT_PIXELS, MAX_OUTPUT_PIXELS)
    longest = Size(MAX_OUTPUT_SIDE, MAX_OUTPUT_SIDE) if enlarge else within
    aim = float(ratio or Fraction(shown.width, shown.height))
    width, height = _plain_size(shown, aim, request)
    if not enlarge:
        scale = min(1.0, shown.width / width, shown.height / height)
        width, height = width * scale, height * scale
    scale = min(1.0, math.sqrt(most / (width * height)), MAX_OUTPUT_SIDE / width, MAX_OUTPUT_SIDE / height)
    width, height = width * scale, height * scale
    while True:
        around = product(_multiples(width, unit), _multiples(height, unit))
        sizes = [Size(*sides) for sides in around if sides[0] * sides[1] <= most]
        allowed = [one for one in sizes if one.width <= longest.width and one.height <= longest.height]
        if allowed:
            return min(allowed, key=lambda one: (abs(math.log(one.width / one.height / aim)), -one.area))
        if max(width, height) <= unit:
            raise ImageError(
                f"The picture has {within.width}x{within.height} pixels, too few for a crop with sides that are "
                f"multiples of {unit}. Set upscale to allow or pad, or take a smaller multiple_of."
            )
        width, height = SMALLER * width, SMALLER * height


def _plain_size(shown: Size, aim: float, request: CropRequest) -> tuple[float, float]:
    """Return width and height that the crop would have if any were allowed."""
    if request.width and request.height:
        return request.width, request.height
    if request.width:
        return request.width, request.width / aim
    if request.height:
        return request.height * aim, request.height
    if request.max_pixels and request.upscale != "never":
        return math.sqrt(request.max_pixels * aim), math.sqrt(request.max_pixels / aim)
    return shown.width, shown.height


def _multiples(side: float, unit: int) -> set[int]:
    """Return the multiples below and above."""
    below = math.floor(side / unit + 1e-9) * unit
    return {max(unit, below), max(unit, math.ceil(side / unit - 1e-9) * unit)}


def grown(window: Window, least: Size, size: Size) -> Window:
    """Return the window with both sides at least that long, its middle where it was as far as the picture allows.

    Args:
        window: In upright source pixels.
        least: Pixels; no more than the picture has.
        size: The picture's.
    """
    sides = []
    for axis, extent, side in ((0, size.width, least.width), (1, size.height, least.height)):
        low, high = window.xyxy[axis], window.xyxy[axis + 2]
        length = max(side, high - low)
        start = place_holding([("it", window.box)], (low + high - length) / 2, axis, extent, length).offset
        sides.append((start, start + length))
    (x1, x2), (y1, y2) = sides
    return Window(x1, y1, x2, y2)
