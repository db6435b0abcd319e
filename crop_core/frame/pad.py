"""Windows that hold what must not be cut, and reach beyond the picture where they have to. Standard library only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

from crop_core.frame.place_on_axis import SURE_THING, place_holding
from crop_core.frame.rule_of_thirds import well_placed
from crop_core.frame.subjects import Thing, weightiest
from crop_core.geometry import Box, Size, Window, union
from crop_core.request import CropRequest

# What weighs at least this much of the weightiest thing is a subject beside it, if it is sure.
BESIDE_MAIN = 0.5


def never_cut(group: Sequence[Thing], request: CropRequest) -> list[Thing]:
    """Return the things that ``auto`` and ``pad`` keep whole: what the picture is about, or what `labels` names.

    Args:
        group: The subjects of one crop, at least one.
        request: What the caller wants.
    """
    if request.mode != "subject" or request.label_weights:
        return list(group)
    main = weightiest(group)
    return [
        thing
        for thing in group
        if thing is main or thing.sure_face or (thing.score >= SURE_THING and thing.weight >= BESIDE_MAIN * main.weight)
    ]


def frame_around(
    whole: Sequence[Thing], ratio: Fraction | None, size: Size, request: CropRequest, alone: bool = False
) -> Window:
    """Return the window of the ratio that holds the things, as `frame_holding` does; without any, the whole picture."""
    subject = union(thing.airy_box for thing in whole) if whole else None

    def target(axis: int, length: int) -> float:
        if subject and request.place:
            return subject.center[axis] - request.place[axis] * length
        return well_placed(whole, axis, length)

    return frame_holding(subject, target, ratio, size, request, alone)


def frame_holding(
    subject: Box | None,
    target: Callable[[int, int], float],
    ratio: Fraction | None,
    size: Size,
    request: CropRequest,
    alone: bool = False,
) -> Window:
    """Return the window of the ratio that holds the subject; it may reach beyond the picture.

    It does so along one axis at most, and there its middle is the picture's. Around a thing that is `alone` it reaches
    wherever the padding does, and its middle is the thing's.

    Args:
        subject: At zoom 1 it is held with its padding, at zoom 0 the whole picture is; none for the whole picture.
        target: Says for an axis and the window's side where the window should start.
        ratio: Width over height; none for the shape of what is held.
        size: The picture's.
        request: Its `zoom` and `padding` count.
        alone: Whether the thing lies on a backdrop that goes on beyond the picture.
    """
    picture = Box(0, 0, size.width, size.height)
    zoom = request.effective_zoom
    keep = picture
    if subject is not None and zoom > 0:
        roomy = subject.with_margin(request.padding)
        if alone and zoom == 1:
            wanted = smallest_around(Box(0, 0, roomy.width, roomy.height), ratio)
            x, y = round(subject.center[0] - wanted.width / 2), round(subject.center[1] - wanted.height / 2)
            return Window(x, y, x + wanted.width, y + wanted.height)
        sides = zip(picture.xyxy, roomy.clipped(size).xyxy, strict=True)
        keep = Box(*(a + (b - a) * zoom for a, b in sides))
    wanted = smallest_around(keep, ratio)
    x = _offset(target, keep, 0, size.width, wanted.width)
    y = _offset(target, keep, 1, size.height, wanted.height)
    return Window(x, y, x + wanted.width, y + wanted.height)


def smallest_around(box: Box, ratio: Fraction | None) -> Size:
    """Return the smallest size of the ratio that the box fits in; one side is the box's own."""
    window = box.outward()
    if ratio is None:
        return window.size
    if window.width >= window.height * ratio:
        return Size(window.width, round(window.width / ratio))
    return Size(round(window.height * ratio), window.height)


def within(frame: Window, size: Size) -> Window:
    """Return the part of the frame that lies in the picture; the nearest pixel where none does."""
    x1, y1 = min(max(frame.x1, 0), size.width - 1), min(max(frame.y1, 0), size.height - 1)
    return Window(x1, y1, max(x1 + 1, min(frame.x2, size.width)), max(y1 + 1, min(frame.y2, size.height)))


def _offset(target: Callable[[int, int], float], keep: Box, axis: int, extent: int, length: int) -> int:
    """Return where the window starts along the axis."""
    if length >= extent:
        return (extent - length) // 2
    return place_holding([("what is kept", keep)], target(axis, length), axis, extent, length).offset
