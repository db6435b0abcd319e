"""What the caller says the crop is about: points and boxes as claims, and the window on them. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crop_core.errors import RequestError
from crop_core.frame.claims import Claim, Span, hull, placed_at, span_of
from crop_core.geometry import Box, Size, union
from crop_core.request import CropRequest
from crop_core.request_text import shown

Point = tuple[float, float]
MIDDLE = 0.5


@dataclass(frozen=True, slots=True)
class FocusAreas:
    """The caller's points and boxes in one picture, upright source pixels, within the picture.

    Attributes:
        boxes: Each is kept whole while there is room.
        points: The window's middle comes as near to them as it can; to the mean of several.
        at: Where in the window they belong instead, as fractions from left and top; none if not given.
    """

    boxes: tuple[Box, ...]
    points: tuple[Point, ...]
    at: Point | None = None

    @property
    def hull(self) -> Box:
        """Return the smallest box that holds all of them."""
        return union((*self.boxes, *(Box(x, y, x, y) for x, y in self.points)))

    @property
    def middle(self) -> Point:
        """Return what belongs in the window's middle: the mean of the points, or the middle of the boxes."""
        if not self.points:
            return self.hull.center
        return sum(x for x, _ in self.points) / len(self.points), sum(y for _, y in self.points) / len(self.points)

    def start(self, axis: int, length: int) -> float:
        """Return where a window of that length starts with the middle where it belongs."""
        return self.middle[axis] - (self.at[axis] if self.at else MIDDLE) * length


def focus_in(size: Size, request: CropRequest) -> FocusAreas | None:
    """Return the request's focus in a picture of that size; none where it has none.

    What a box has outside of the picture does not count.

    Raises:
        RequestError: A point or a box in pixels lies outside of the picture.
    """
    boxes, points = [], []
    for focus in request.foci:
        scale = (1, 1) if focus.in_pixels else (size.width, size.height)
        numbers = [number * scale[index % 2] for index, number in enumerate(focus.numbers)]
        beyond = numbers[0] > size.width or numbers[1] > size.height
        if beyond or (len(numbers) == 4 and (numbers[0] >= size.width or numbers[1] >= size.height)):
            raise RequestError(
                f"focus {shown(focus.text)} lies outside of the picture, which has {size.width}x{size.height} pixels. "
                "Name a place in it."
            )
        if len(numbers) == 4:
            boxes.append(Box(*numbers).clipped(size))
        else:
            points.append((numbers[0], numbers[1]))
    return FocusAreas(tuple(boxes), tuple(points), request.place) if boxes or points else None


def claims_of_focus(areas: FocusAreas, axis: int, length: int, kept: Sequence[tuple[str, Box]] = ()) -> list[Claim]:
    """Return what the focus claims of a window's place, before all others.

    All boxes together where they fit, else each in the caller's order; all points in the window; the window's middle
    near the points.

    Args:
        areas: The points and boxes.
        axis: 0 for x, 1 for y.
        length: The window's side, pixels.
        kept: What else is whole, in words, before the points have their place.
    """
    spans = [span_of(box, axis) for box in areas.boxes]
    claims = []
    if len(spans) > 1 and _length(hull(spans)) <= length:
        claims.append(Claim("all focus boxes together", hull(spans)))
    else:
        names = [f"focus box {number}" for number in range(1, len(spans) + 1)] if len(spans) > 1 else ["the focus box"]
        claims += [Claim(name, span, approach=True) for name, span in zip(names, spans, strict=False)]
    claims += [Claim(what, span_of(box, axis), approach=True) for what, box in kept]
    name = "the focus points" if len(areas.points) > 1 else "the focus point"
    if areas.points:
        coordinates = [point[axis] for point in areas.points]
        inside = span_of(Box(min(coordinates), min(coordinates), max(coordinates), max(coordinates)), axis)
        claims.append(Claim(name, inside, approach=True))
    if areas.points or areas.at:
        at = areas.at[axis] if areas.at else MIDDLE
        claims.append(placed_at(name if areas.points else "the focus", areas.middle[axis], at, length))
    return claims


def _length(span: Span) -> int:
    return span[1] - span[0]
