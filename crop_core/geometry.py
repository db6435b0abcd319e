"""Sizes, boxes and windows, and the one rule that turns floats into pixels.

The coordinate frame of the whole package: origin at the top left of the upright picture, x to
the right, y down, in pixels of the source picture. Intervals are half-open, so a box's width
is ``x2 - x1``. Boxes are floats, windows are integers, and only `Box.outward` goes from one to
the other. This module knows nothing of detectors, ratios or files.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Size:
    """Width and height in pixels, both at least 1."""

    width: int
    height: int

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"a size needs at least 1x1 pixels, got {self.width}x{self.height}")

    @property
    def area(self) -> int:
        """Return width times height, in pixels."""
        return self.width * self.height


@dataclass(frozen=True, slots=True, order=True)
class Box:
    """A rectangle of floats, half-open, in upright source pixels; it may be empty, never inside out."""

    x1: float
    y1: float
    x2: float
    y2: float

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.x1, self.y1, self.x2, self.y2))):
            raise ValueError(f"a box needs finite numbers, got {self}")
        if self.x2 < self.x1 or self.y2 < self.y1:
            raise ValueError(f"a box needs x1 <= x2 and y1 <= y2, got {self}")

    @property
    def width(self) -> float:
        """Return the width in pixels."""
        return self.x2 - self.x1

    @property
    def height(self) -> float:
        """Return the height in pixels."""
        return self.y2 - self.y1

    @property
    def area(self) -> float:
        """Return the area in square pixels."""
        return self.width * self.height

    @property
    def center(self) -> tuple[float, float]:
        """Return (x, y) of the middle."""
        return (self.x1 + self.x2) / 2, (self.y1 + self.y2) / 2

    @property
    def xyxy(self) -> tuple[float, float, float, float]:
        """Return (x1, y1, x2, y2)."""
        return self.x1, self.y1, self.x2, self.y2

    def intersection_area(self, other: Box | Window) -> float:
        """Return the area of the intersection, in square pixels."""
        width = min(self.x2, other.x2) - max(self.x1, other.x1)
        height = min(self.y2, other.y2) - max(self.y1, other.y1)
        return max(0.0, width) * max(0.0, height)

    def coverage(self, window: Box | Window) -> float:
        """Return the fraction (0 to 1) of this box that lies in `window`; an empty box counts as a point."""
        if self.area > 0:
            return self.intersection_area(window) / self.area
        x, y = self.center
        return float(window.x1 <= x <= window.x2 and window.y1 <= y <= window.y2)

    def grown(self, left: float, top: float, right: float, bottom: float) -> Box:
        """Return the box with its sides moved outward by these many pixels."""
        return Box(self.x1 - left, self.y1 - top, self.x2 + right, self.y2 + bottom)

    def with_margin(self, share: float) -> Box:
        """Return the box with a margin on every side, this share of its own width or height."""
        x, y = share * self.width, share * self.height
        return self.grown(x, y, x, y)

    def scaled(self, scale: float) -> Box:
        """Return the box in the same picture, scaled by this factor."""
        return Box(self.x1 * scale, self.y1 * scale, self.x2 * scale, self.y2 * scale)

    def clipped(self, size: Size) -> Box:
        """Return the part of the box inside a picture of `size`; an empty box on the border if there is none."""
        return Box(
            min(max(self.x1, 0.0), size.width),
            min(max(self.y1, 0.0), size.height),
            min(max(self.x2, 0.0), size.width),
            min(max(self.y2, 0.0), size.height),
        )

    def outward(self) -> Window:
        """Return the smallest window that holds the whole box: the one rounding rule.

        Rounding outward keeps what is whole in floats whole in integers. The tolerance absorbs
        float rounding, so that a box from 10.0 to 20.000001 is ten pixels wide.
        """
        x1, y1 = math.floor(self.x1 + _TOLERANCE), math.floor(self.y1 + _TOLERANCE)
        x2, y2 = math.ceil(self.x2 - _TOLERANCE), math.ceil(self.y2 - _TOLERANCE)
        return Window(x1, y1, max(x2, x1 + 1), max(y2, y1 + 1))


_TOLERANCE = 1e-3  # px; far below what a detector resolves, far above float64's rounding


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """A rectangle of whole pixels, half-open, at least 1x1, in upright source pixels."""

    x1: int
    y1: int
    x2: int
    y2: int

    def __post_init__(self) -> None:
        if self.x2 <= self.x1 or self.y2 <= self.y1:
            raise ValueError(f"a window needs at least 1x1 pixels, got {self}")

    @property
    def width(self) -> int:
        """Return the width in pixels."""
        return self.x2 - self.x1

    @property
    def height(self) -> int:
        """Return the height in pixels."""
        return self.y2 - self.y1

    @property
    def size(self) -> Size:
        """Return width and height."""
        return Size(self.width, self.height)

    @property
    def box(self) -> Box:
        """Return the same rectangle in floats."""
        return Box(self.x1, self.y1, self.x2, self.y2)

    @property
    def xyxy(self) -> tuple[int, int, int, int]:
        """Return (x1, y1, x2, y2)."""
        return self.x1, self.y1, self.x2, self.y2


def union(boxes: Iterable[Box]) -> Box:
    """Return the smallest box that holds all of `boxes`.

    Raises:
        ValueError: There is no box.
    """
    corners = [box.xyxy for box in boxes]
    if not corners:
        raise ValueError("the union of no boxes is not a box")
    x1, y1, x2, y2 = zip(*corners, strict=True)
    return Box(min(x1), min(y1), max(x2), max(y2))
