"""What the caller knows of a picture, as text: `focus` and `position`, checked and read. Standard library only.

These fields belong to `CropRequest`. They stand here to keep request.py short.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from crop_core.errors import RequestError
from crop_core.request_fields import an_input
from crop_core.request_text import FREE, MAX_TEXT, shown

FOCUS = an_input(
    "",
    str,
    "What the crop is about, if you know better than the detector: a point x,y, which comes near the middle, or a box "
    "x1,y1,x2,y2, which is kept whole if it fits; several with semicolons. Fractions of the picture (0.42,0.3) or "
    "pixels (420px,300px). Mode subject only.",
)
POSITION = an_input(
    "auto",
    str,
    "Where the middle of the subject sits in the crop, as far as keeping it whole allows: auto, center, a compass "
    "point (north, southwest …: on the lines of thirds), or x,y as fractions of the crop (0.5,0.33).",
)

MAX_FOCI = 20
_NUMBER = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,9})?|\.[0-9]{1,9})(px)?")
# [0-9] and not \d, which matches the digits of every script.
_FRACTIONS = re.compile(r"([01](?:\.[0-9]{1,9})?|\.[0-9]{1,9})\s*,\s*([01](?:\.[0-9]{1,9})?|\.[0-9]{1,9})")
# Where the subject's middle lies, as fractions of the window from its left and its top.
_NEAR, _MIDDLE, _FAR = 1 / 3, 1 / 2, 2 / 3
_PLACES = {
    "center": (_MIDDLE, _MIDDLE),
    "north": (_MIDDLE, _NEAR),
    "northeast": (_FAR, _NEAR),
    "east": (_FAR, _MIDDLE),
    "southeast": (_FAR, _FAR),
    "south": (_MIDDLE, _FAR),
    "southwest": (_NEAR, _FAR),
    "west": (_NEAR, _MIDDLE),
    "northwest": (_NEAR, _NEAR),
}


@dataclass(frozen=True, slots=True)
class Focus:
    """One point or box that the caller named.

    Attributes:
        text: As the caller wrote it.
        numbers: Two for a point (x, y), four for a box (x1, y1, x2, y2), of the upright picture.
        in_pixels: Whether the numbers are pixels; else they are fractions of the width and height.
    """

    text: str
    numbers: tuple[float, ...]
    in_pixels: bool


def parse_focus(text: str) -> tuple[Focus, ...]:
    """Return the points and boxes of text like ``0.42,0.3; 100px,50px,300px,400px``; none for empty text.

    Raises:
        RequestError: One is neither a point nor a box, or there are too many.
    """
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        raise RequestError(
            f"focus is text of at most {MAX_TEXT} characters such as 0.42,0.3 or 0.1,0.2,0.6,0.9, got {shown(text)}."
        )
    parts = text.split(";") if text.strip() else []
    if len(parts) > MAX_FOCI:
        raise RequestError(f"focus takes at most {MAX_FOCI} points and boxes, got {len(parts)}.")
    return tuple(_one_focus(part.strip()) for part in parts)


def _one_focus(text: str) -> Focus:
    found = [_NUMBER.fullmatch(number.strip()) for number in text.split(",")]
    matches = [match for match in found if match]
    if len(matches) != len(found) or len(matches) not in (2, 4):
        raise RequestError(
            "focus is a point x,y or a box x1,y1,x2,y2, as fractions of the picture such as 0.42,0.3 or in pixels such "
            f"as 420px,300px; got {shown(text)}."
        )
    numbers, units = tuple(float(match[1]) for match in matches), {bool(match[2]) for match in matches}
    if len(units) > 1:
        raise RequestError(f"focus {shown(text)} mixes fractions and pixels. Write all of it as one or the other.")
    in_pixels = units.pop()
    if not in_pixels and max(numbers) > 1:
        raise RequestError(
            f"focus {shown(text)} has a fraction above 1. Fractions go from 0 to 1; pixels are written as 420px."
        )
    if len(numbers) == 4 and not (numbers[0] < numbers[2] and numbers[1] < numbers[3]):
        raise RequestError(f"focus {shown(text)} is no box: x1 is less than x2 and y1 less than y2. Swap them.")
    return Focus(text, numbers, in_pixels)


def parse_position(text: str) -> tuple[float, float] | None:
    """Return where in the window the subject's middle belongs, as fractions from left and top; none for ``auto``.

    Raises:
        RequestError: The text is neither a name nor two fractions.
    """
    if text == "auto":
        return None
    if isinstance(text, str) and text in _PLACES:
        return _PLACES[text]
    match = _FRACTIONS.fullmatch(text.strip()) if isinstance(text, str) else None
    if not match or max(float(match[1]), float(match[2])) > 1:
        raise RequestError(
            "position is auto, center, a compass point such as north or southwest, or two fractions from 0 to 1 such "
            f"as 0.5,0.33; got {shown(text)}."
        )
    return float(match[1]), float(match[2])


def check_focus(focus: str, position: str, mode: str, trim: bool, ratios: tuple[tuple[str, Any], ...]) -> None:
    """Refuse a `focus` or a `position` that is malformed, or that another input contradicts.

    Raises:
        RequestError: One is.
    """
    if parse_focus(focus) and mode != "subject":
        raise RequestError(
            f"focus says what one crop is about, and mode {mode} makes a crop of each thing. Leave one out."
        )
    if parse_focus(focus) and trim:
        raise RequestError("focus says where the subject is, and trim finds it by the backdrop. Leave one out.")
    if parse_position(position) and any(name == FREE for name, _ in ratios):
        raise RequestError(
            "position places the subject in a given shape, and aspect_ratio free fits the shape to the subject. Ask "
            "for a ratio, or leave position out."
        )
