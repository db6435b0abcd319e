"""Windows: the largest of a ratio, the tightest around a subject, and those between. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from crop_core.frame.claims import Verdict
from crop_core.frame.composition import well_placed
from crop_core.frame.place_on_axis import Place, best_place, place_holding
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
    return Fraction(size.width, size.height) if name == MATCH_INPUT else ratio


def largest_size(size: Size, ratio: Fraction | None) -> Size:
    """Return the largest size of the ratio in a picture of `size`; the picture's own where there is no ratio."""
    if ratio is None:
        return size
    if Fraction(size.width, size.height) >= ratio:
        return Size(max(1, min(size.width, round(size.height * ratio))), size.height)
    return Size(size.width, max(1, min(size.height, round(size.width / ratio))))


def place_largest(things: Sequence[Thing], largest: Size, size: Size, composition: Box | None = None) -> Placed:
    """Return the largest window at its best place; it touches two opposite borders, so it slides along one axis.

    Args:
        things: What it should hold.
        largest: The window's size.
        size: The picture's.
        composition: The window that a person would draw; it decides what the things leave open.
    """
    middle_x, middle_y = composition.center if composition else (None, None)
    x = best_place(things, 0, size.width, largest.width, middle_x) if largest.width < size.width else Place(0)
    y = best_place(things, 1, size.height, largest.height, middle_y) if largest.height < size.height else Place(0)
    window = Window(x.offset, y.offset, x.offset + largest.width, y.offset + largest.height)
    return Placed(window, x.verdicts + y.verdicts)


def zoom_in(
    focus: Sequence[Thing], largest: Placed, ratio: Fraction | None, size: Size, request: CropRequest
) -> Placed:
    """Return the window at the request's `zoom`, between the largest one and the subject with its padding."""
    zoom, scene = request.effective_zoom, largest.window
    if zoom <= 0:
        return largest
    keep = union(thing.airy_box for thing in focus)
    pad_x, pad_y = request.padding * keep.width, request.padding * keep.height
    roomy = keep.grown(pad_x, pad_y, pad_x, pad_y).clipped(size)
    if ratio is None:
        sides = (a + (b - a) * zoom for a, b in zip(scene.xyxy, roomy.xyxy, strict=True))
        return Placed(Box(*sides).outward())
    wanted = _between(scene.size, _smallest_around(roomy, ratio, scene.size), ratio, zoom)
    if wanted == scene.size:
        return largest
    wants = [
        ("the subject whole", union(thing.box for thing in focus)),
        ("the headroom", keep),
        ("the padding", roomy),
    ]
    faces = [thing.face for thing in focus if thing.face]
    wants = [("the face" if len(faces) == 1 else "all faces together", union(faces)), *wants] if faces else wants
    x = place_holding(wants, well_placed(focus, 0, wanted.width), 0, size.width, wanted.width)
    y = place_holding(wants, well_placed(focus, 1, wanted.height), 1, size.height, wanted.height)
    window = Window(x.offset, y.offset, x.offset + wanted.width, y.offset + wanted.height)
    return Placed(window, x.verdicts + y.verdicts)


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


def free_window(subject: Sequence[Thing], composition: Box, size: Size) -> Window:
    """Return the window that a person would draw, grown to hold the subject whole.

    Args:
        subject: The weightiest thing, if there is one.
        composition: The window that a person would draw.
        size: The picture's.
    """
    return union((composition, *(thing.box for thing in subject))).clipped(size).outward()
