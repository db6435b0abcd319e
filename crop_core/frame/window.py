"""Windows: the largest of a ratio, the tightest around a subject, and those between. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from crop_core.detection import Composition
from crop_core.frame.claims import Verdict, placed_at
from crop_core.frame.focus import FocusAreas, claims_of_focus
from crop_core.frame.place_on_axis import Place, best_place, place_holding
from crop_core.frame.rule_of_thirds import well_placed
from crop_core.frame.subjects import Thing
from crop_core.geometry import Box, Size, Window, union
from crop_core.request import MATCH_INPUT, CropRequest


@dataclass(frozen=True, slots=True)
class Placed:
    """A window, and what became of the claims on its place.

    Attributes:
        window: In upright source pixels.
        verdicts: The most important first; none where there was nothing to decide.
    """

    window: Window
    verdicts: tuple[Verdict, ...] = ()


def exact_ratio(name: str, ratio: Fraction | None, size: Size) -> Fraction | None:
    """Return width over height; none for free."""
    return Fraction(size.width, size.height) if name == MATCH_INPUT and ratio is None else ratio


def largest_size(size: Size, ratio: Fraction | None) -> Size:
    """Return the largest size of the ratio in a picture of `size`; the picture's own where there is no ratio."""
    if ratio is None:
        return size
    if Fraction(size.width, size.height) >= ratio:
        return Size(max(1, min(size.width, round(size.height * ratio))), size.height)
    return Size(size.width, max(1, min(size.height, round(size.width / ratio))))


def place_largest(
    things: Sequence[Thing],
    largest: Size,
    size: Size,
    composition: Composition | None = None,
    *,
    focus: FocusAreas | None = None,
    at: tuple[float, float] | None = None,
) -> Placed:
    """Return the largest window at its best place; it touches two opposite borders, so it slides along one axis.

    Args:
        things: What it should hold.
        largest: The window's size.
        size: The picture's.
        composition: Where a person would place a window; it decides what the things leave open.
        focus: What the caller says the crop is about; its claims come before those of the things.
        at: Where in the window the weightiest thing belongs, as fractions; none if not given.
    """
    middle = composition.middle if composition else (None, None)

    def place(axis: int, extent: int, length: int) -> Place:
        if length == extent:
            return Place(0)
        first = claims_of_focus(focus, axis, length) if focus else []
        if focus and not things:
            return place_holding((), focus.start(axis, length), axis, extent, length, first=first)
        return best_place(things, axis, extent, length, middle[axis], first=first, at=at[axis] if at else None)

    x, y = place(0, size.width, largest.width), place(1, size.height, largest.height)
    window = Window(x.offset, y.offset, x.offset + largest.width, y.offset + largest.height)
    return Placed(window, x.verdicts + y.verdicts)


def zoom_in(
    focus: Sequence[Thing], largest: Placed, ratio: Fraction | None, size: Size, request: CropRequest
) -> Placed:
    """Return the window at the request's `zoom`, between the largest one and the subject with its padding."""
    keep = union(thing.airy_box for thing in focus)
    subject = union(thing.box for thing in focus)
    faces = [thing.face for thing in focus if thing.face]
    wants = [("the face" if len(faces) == 1 else "all faces together", union(faces))] if faces else []
    wants += [("the subject whole", subject), ("the headroom", keep)]

    def place(axis: int, extent: int, length: int, roomy: Box) -> Place:
        at = [placed_at("the subject", subject.center[axis], request.place[axis], length)] if request.place else []
        wanted = [*wants, ("the padding", roomy)]
        return place_holding(wanted, well_placed(focus, axis, length), axis, extent, length, last=at)

    return _closed_in(keep, place, largest, ratio, size, request)


def _closed_in(
    keep: Box,
    place: Callable[[int, int, int, Box], Place],
    largest: Placed,
    ratio: Fraction | None,
    size: Size,
    request: CropRequest,
) -> Placed:
    """Return the window at the request's `zoom`, between the largest one and the box with its padding.

    `place` says for an axis, the picture's side and the window's where the window starts; it is told the padded box.
    """
    zoom, scene = request.effective_zoom, largest.window
    if zoom <= 0:
        return largest
    roomy = keep.with_margin(request.padding).clipped(size)
    if ratio is None:
        sides = (a + (b - a) * zoom for a, b in zip(scene.xyxy, roomy.xyxy, strict=True))
        return Placed(Box(*sides).outward())
    wanted = _between(scene.size, _smallest_around(roomy, ratio, scene.size), ratio, zoom)
    if wanted == scene.size:
        return largest
    x = place(0, size.width, wanted.width, roomy)
    y = place(1, size.height, wanted.height, roomy)
    window = Window(x.offset, y.offset, x.offset + wanted.width, y.offset + wanted.height)
    return Placed(window, x.verdicts + y.verdicts)


def window_on_focus(
    focus: FocusAreas,
    things: Sequence[Thing],
    voters: Sequence[Thing],
    composition: Composition | None,
    ratio: Fraction | None,
    size: Size,
    request: CropRequest,
) -> Placed:
    """Return the window on what the caller named; what was detected decides what that leaves open.

    With `zoom` it closes in on the boxes, or on the smallest thing that each point lies in; a point on nothing gives
    the largest window.

    Args:
        focus: The caller's points and boxes.
        things: What was detected.
        voters: What was detected with less certainty; it has a say in where the window lies.
        composition: Where a person would place a window.
        ratio: Width over height; none for free.
        size: The picture's.
        request: Its `zoom` and `padding` count.
    """
    largest = place_largest((*things, *voters), largest_size(size, ratio), size, composition, focus=focus)
    kept = [(f"the {thing.label} at the focus", thing.box) for thing in _things_at(focus, things)]
    keep = aimed_at(focus, things)

    def place(axis: int, extent: int, length: int, roomy: Box) -> Place:
        first = claims_of_focus(focus, axis, length, kept)
        return place_holding([("the padding", roomy)], focus.start(axis, length), axis, extent, length, first=first)

    if ratio is None and request.zoom is None and composition is not None:
        free = union((composition.box, keep)).clipped(size).outward()
        first = [claims_of_focus(focus, axis, length, kept) for axis, length in ((0, free.width), (1, free.height))]
        x = place_holding((), free.x1, 0, size.width, free.width, first=first[0])
        y = place_holding((), free.y1, 1, size.height, free.height, first=first[1])
        return Placed(Window(x.offset, y.offset, x.offset + free.width, y.offset + free.height))
    if min(keep.width, keep.height) < 1:
        return largest
    return _closed_in(keep, place, largest, ratio, size, request)


def aimed_at(focus: FocusAreas, things: Sequence[Thing]) -> Box:
    """Return what a tight window holds: the boxes, the points, and the smallest thing that each point lies in."""
    return union((focus.hull, *(thing.airy_box for thing in _things_at(focus, things))))


def _things_at(focus: FocusAreas, things: Sequence[Thing]) -> list[Thing]:
    around = [[thing for thing in things if Box(x, y, x, y).coverage(thing.box)] for x, y in focus.points]
    return [min(found, key=lambda thing: (thing.box.area, thing.ids)) for found in around if found]


def smallest_holding(window: Window, ratio: Fraction, size: Size) -> Window:
    """Return the smallest window of the ratio that holds another one, as far as the picture allows."""
    wanted = _smallest_around(window.box, ratio, largest_size(size, ratio))
    x, y = (
        place_holding([("it", window.box)], window.box.center[axis] - length / 2, axis, extent, length).offset
        for axis, extent, length in ((0, size.width, wanted.width), (1, size.height, wanted.height))
    )
    return Window(x, y, x + wanted.width, y + wanted.height)


def _smallest_around(box: Box, ratio: Fraction, largest: Size) -> Size:
    """Return the smallest size of the ratio that the box fits in, as far as the picture allows."""
    window = box.outward()
    width = max(window.width, math.ceil(window.height * ratio))
    height = max(window.height, round(width / ratio))
    if width >= largest.width or height >= largest.height:
        return largest
    return Size(width, height)


def _between(largest: Size, tight: Size, ratio: Fraction, zoom: float) -> Size:
    """Return the size of the ratio that lies at `zoom`, above 0, between the two."""
    if zoom >= 1:
        return tight
    if ratio >= 1:
        width = round(largest.width + (tight.width - largest.width) * zoom)
        return Size(width, min(largest.height, max(1, tight.height, round(width / ratio))))
    height = round(largest.height + (tight.height - largest.height) * zoom)
    return Size(min(largest.width, max(1, tight.width, round(height * ratio))), height)


def free_window(subject: Sequence[Thing], drawn: Box, size: Size) -> Window:
    """Return the window that a person would draw, grown to hold the subject whole.

    Args:
        subject: The weightiest thing, if there is one.
        drawn: The window that a person would draw.
        size: The picture's.
    """
    return union((drawn, *(thing.box for thing in subject))).clipped(size).outward()
