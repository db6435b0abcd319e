"""Portraits: the picture turned until the eyes lie level, and a head's size and place in the crop.

Pure arithmetic on the standard library. A crop that is turned by an angle shows its frame turned the other way about
the frame's middle.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from crop_core.detection import FACE, Detection
from crop_core.frame.pad import smallest_around
from crop_core.frame.subjects import SURE_FACE
from crop_core.geometry import Box, Size, Window
from crop_core.request import CropRequest

# The most that a picture is turned: a lying person is meant to lie. Below the least, turning would only cost sharpness.
MOST_TURN, LEAST_TURN = 30.0, 0.5
# The eyes lie halfway between crown and chin (the artists' canon); a face's box ends at the chin.
EYES = 0.5
# Without `eye_line`, this much of the room that the head leaves is above the crown.
ABOVE_CROWN = 0.4
SMALLER = 0.98  # a window that does not fit is tried this much smaller

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Head:
    """A head, seen from between its eyes, in a picture that is turned until they lie level.

    Attributes:
        eyes: The point between the eyes, in upright source pixels.
        angle: By how many degrees the picture is turned, clockwise.
        face: Its box from there, turned.
        height: From chin to crown, pixels.
    """

    eyes: Point
    angle: float
    face: Box
    height: float


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a portrait is cut, and how the head lies in it.

    Attributes:
        frame: What is shown, turned about its middle.
        angle: As `CropPlan.angle`.
        face_height: From chin to crown, as a fraction of the crop's height.
        eye_line: The eyes' distance from the crop's top, as a fraction of its height.
    """

    frame: Window
    angle: float
    face_height: float
    eye_line: float


def portrait_faces(detections: Sequence[Detection], request: CropRequest) -> list[int]:
    """Return the indices of the faces that may become portraits.

    In faces mode that is every face, else the one sure face of the picture; none where there are several.
    """
    if not request.is_portrait:
        return []
    faces = [i for i, one in enumerate(detections) if one.label == FACE and one.landmarks]
    if request.mode == "faces":
        return faces
    sure = [i for i in faces if detections[i].score >= SURE_FACE]
    return sure if len(sure) == 1 else []


def lay_out(
    base: Window, face: Detection, ratio: Fraction, size: Size, request: CropRequest, tilt: float | None = None
) -> Layout:
    """Return where the portrait is cut.

    Where `fit` is ``crop`` the frame shrinks until it lies in the picture however it is turned, and moves no farther
    than it must; where turning would cut the face, the picture is not turned.

    Args:
        base: The window without a turn; the eyes keep their place in it, as far as the request does not say another.
        face: With its landmarks.
        ratio: Width over height.
        size: The picture's.
        request: What the caller wants.
        tilt: By how many degrees the line between the eyes falls to the right; none for what the landmarks say.
    """
    head = _head(face, tilt, turn=request.align == "eyes")
    wanted, center = _wanted(base, head, ratio, size, request)
    if request.fit == "pad":
        return _layout(_around(center, wanted), head)
    fitting = _fitted(wanted, center, head, ratio, size)
    if request.fit == "auto" and (fitting is None or fitting != _around(center, wanted)):
        return _layout(_around(center, wanted), head)
    if fitting is None and head.angle:
        head = _head(face, tilt, turn=False)
        wanted, center = _wanted(base, head, ratio, size, request)
        fitting = _fitted(wanted, center, head, ratio, size)
    return _layout(fitting or base, head)


def turned(x: float, y: float, angle: float) -> Point:
    """Return the point turned clockwise about the origin, by degrees."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return x * cos - y * sin, x * sin + y * cos


def corners(frame: Window, angle: float) -> list[Point]:
    """Return the four points of the picture that a crop of the frame has as its corners, clockwise."""
    x, y = frame.box.center
    around = ((frame.x1, frame.y1), (frame.x2, frame.y1), (frame.x2, frame.y2), (frame.x1, frame.y2))
    offsets = [turned(corner_x - x, corner_y - y, -angle) for corner_x, corner_y in around]
    return [(x + dx, y + dy) for dx, dy in offsets]


def coverage(box: Box, frame: Window, angle: float) -> float:
    """Return the share (0 to 1) of the box that the turned frame shows."""
    if not angle or box.area <= 0:
        return box.coverage(frame)
    shape = corners(frame, angle)
    for axis, limit, sign in ((0, box.x1, 1), (0, box.x2, -1), (1, box.y1, 1), (1, box.y2, -1)):
        shape = _clipped(shape, axis, limit, sign)
    twice = sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(shape, shape[1:] + shape[:1], strict=True))
    return min(1.0, abs(twice) / 2 / box.area)


def _clipped(shape: list[Point], axis: int, limit: float, sign: int) -> list[Point]:
    """Return the part of a convex shape on one side of a line (Sutherland and Hodgman)."""
    kept: list[Point] = []
    for one, other in zip(shape, shape[1:] + shape[:1], strict=True):
        a, b = sign * (one[axis] - limit), sign * (other[axis] - limit)
        if a >= 0:
            kept.append(one)
        if a * b < 0:
            t = a / (a - b)
            kept.append((one[0] + t * (other[0] - one[0]), one[1] + t * (other[1] - one[1])))
    return kept


def _head(face: Detection, tilt: float | None, turn: bool) -> Head:
    assert face.landmarks is not None
    (left_x, left_y), (right_x, right_y), *_ = face.landmarks
    x, y = (left_x + right_x) / 2, (left_y + right_y) / 2
    if tilt is None:
        tilt = math.degrees(math.atan2(right_y - left_y, right_x - left_x))
    angle = -tilt if turn and LEAST_TURN <= abs(tilt) <= MOST_TURN else 0.0
    middle_x, middle_y = turned(face.box.center[0] - x, face.box.center[1] - y, angle)
    half_w, half_h = face.box.width / 2, face.box.height / 2
    box = Box(middle_x - half_w, middle_y - half_h, middle_x + half_w, middle_y + half_h)
    return Head((x, y), angle, box, max(box.y2, half_h) / (1 - EYES))


def _wanted(base: Window, head: Head, ratio: Fraction, size: Size, request: CropRequest) -> tuple[Size, Point]:
    """Return the frame's size and its middle, wherever that lies."""
    x, y = base.box.center[0] - head.eyes[0], base.box.center[1] - head.eyes[1]
    wanted, share, line = base.size, request.face_height, request.eye_line
    if share is not None:
        wanted = _sized(head.height / share, ratio)
        x = head.face.center[0]
        line = ABOVE_CROWN * (1 - share) + EYES * share if line is None else line
    elif head.angle and request.fit != "crop" and base.width >= size.width and base.height >= size.height:
        width, height = _extent(size, head.angle)  # all of the turned picture
        wanted = smallest_around(Box(0, 0, width, height), ratio)
    if line is not None:
        y = (0.5 - line) * wanted.height
    dx, dy = turned(x, y, -head.angle)
    return wanted, (head.eyes[0] + dx, head.eyes[1] + dy)


def _sized(height: float, ratio: Fraction) -> Size:
    """Return the size of the ratio, exact to the pixel, that is nearest to this height."""
    if ratio >= 1:
        width = max(1, round(height * ratio))
        return Size(width, max(1, round(width / ratio)))
    whole = max(1, round(height))
    return Size(max(1, round(whole * ratio)), whole)


def _extent(size: Size, angle: float) -> Point:
    """Return width and height of what a frame of the size needs when it is turned, or is not."""
    cos, sin = math.cos(math.radians(angle)), abs(math.sin(math.radians(angle)))
    return (
        max(size.width, size.width * cos + size.height * sin),
        max(size.height, size.width * sin + size.height * cos),
    )


def _around(center: Point, size: Size) -> Window:
    x, y = round(center[0] - size.width / 2), round(center[1] - size.height / 2)
    return Window(x, y, x + size.width, y + size.height)


def _fitted(wanted: Size, center: Point, head: Head, ratio: Fraction, size: Size) -> Window | None:
    """Return the largest frame in the picture that holds the face, turned; none where there is none."""
    width, height = _extent(wanted, head.angle)
    scale = min(1.0, size.width / width, size.height / height)
    while scale * min(wanted.width, wanted.height) >= 1:
        tried = wanted if scale == 1 else _sized(scale * wanted.height, ratio)
        width, height = _extent(tried, head.angle)
        x = _shifted(center[0], tried.width, width, size.width)
        y = _shifted(center[1], tried.height, height, size.height)
        if x is not None and y is not None:
            frame = Window(x, y, x + tried.width, y + tried.height)
            if _holds_face(frame, head):
                return frame
        scale *= SMALLER
    return None


def _shifted(middle: float, length: int, need: float, extent: int) -> int | None:
    """Return where a side starts that needs more room than its length; none where there is none."""
    first = math.ceil((need - length) / 2 - 1e-6)
    last = math.floor(extent - (need + length) / 2 + 1e-6)
    return min(max(round(middle - length / 2), first), last) if first <= last else None


def _holds_face(frame: Window, head: Head) -> bool:
    """Return whether the frame shows the whole face, to a pixel."""
    x, y = frame.box.center
    dx, dy = turned(head.eyes[0] - x, head.eyes[1] - y, head.angle)
    box, half = head.face, (frame.width / 2 + 1, frame.height / 2 + 1)
    return -half[0] <= dx + box.x1 and dx + box.x2 <= half[0] and -half[1] <= dy + box.y1 and dy + box.y2 <= half[1]


def _layout(frame: Window, head: Head) -> Layout:
    x, y = frame.box.center
    _, down = turned(head.eyes[0] - x, head.eyes[1] - y, head.angle)
    return Layout(frame, head.angle, head.height / frame.height, 0.5 + down / frame.height)
