"""Labels, ratios and backgrounds as text: ``dog:3,person:1``, ``4:5,16:9``, ``#fff``, checked and read.

Standard library only.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from fractions import Fraction

from crop_core.css_color import Color, parse_color
from crop_core.detection import LABELS, SALIENT
from crop_core.errors import RequestError

Filling = str | Color  # auto, edge or blur, or a colour
FILLINGS = ("auto", "edge", "blur")

MATCH_INPUT = "match_input"
FREE = "free"
RATIO_CHOICES = ("auto", "closest")  # written before a list of ratios, of which one is then picked

KNOWN = (*LABELS, SALIENT)

MAX_RATIO = 100  # to 1, either way
MAX_RATIOS = 20
NEAR = 0.7  # difflib's similarity from which a word may be meant; at its own 0.6, gpu would be taken for cpu
MAX_TEXT = 2000  # characters of `labels` or `aspect_ratio`

# [0-9] and not \d, which matches the digits of every script: they would reach file names.
_RATIO = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?):([0-9]{1,6}(?:\.[0-9]{1,6})?)")


def parse_labels(labels: str, name: str = "labels") -> dict[str, float]:
    """Return label -> weight for text like ``dog:3,person:1``; empty for empty text.

    Args:
        labels: The text.
        name: The input's name, for the errors.

    Raises:
        RequestError: A label is unknown, or a weight is not a number above 0 and up to 1000.
    """
    if not isinstance(labels, str) or len(labels) > MAX_TEXT:
        raise RequestError(f"{name} is text of at most {MAX_TEXT} characters such as dog,person, got {shown(labels)}.")
    weights: dict[str, float] = {}
    for part in labels.split(",") if labels.strip() else []:
        given, colon, number = part.partition(":")
        label = " ".join(given.split()).lower()
        if label not in KNOWN:
            hint = did_you_mean(label, KNOWN) or "Use COCO's 80 names (person, dog, car, …), face or salient."
            raise RequestError(f"{name} names {shown(given.strip())}, which no detector here knows. {hint}")
        try:
            weight = float(number) if colon else 1.0
        except ValueError:
            weight = math.nan
        if not 0 < weight <= 1000:
            raise RequestError(
                f"{name} gives {label} the weight {shown(number)}; a weight is a number above 0 and up to 1000, "
                f"as in {label}:3."
            )
        weights[label] = weight
    return weights


def split_choice(texts: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Return ``auto`` or ``closest`` if one of the ratios is to be picked, else an empty text; and the ratios."""
    head, colon, rest = texts[0].strip().partition(":")
    return (head, (rest, *texts[1:])) if colon and head in RATIO_CHOICES else ("", texts)


def parse_ratios(texts: tuple[str, ...]) -> tuple[tuple[str, Fraction | None], ...]:
    """Return name and width over height of each ratio; repeats count once.

    Raises:
        RequestError: A text is neither `match_input`, `free` nor a ratio between 1:100 and 100:1, or stands in a list
            after ``auto`` or ``closest`` where it cannot be picked.
    """
    if not isinstance(texts, tuple) or not all(isinstance(text, str) for text in texts):
        raise RequestError(f"aspect_ratios is a tuple of texts such as ('1:1', '16:9'), got {shown(texts)}.")
    if not 1 <= len(texts) <= MAX_RATIOS:
        raise RequestError(f"aspect_ratio takes 1 to {MAX_RATIOS} ratios, got {len(texts)}.")
    ratios: dict[str, Fraction | None] = {}
    choice, texts = split_choice(texts)
    for text in texts:
        name = text.strip()
        match = _RATIO.fullmatch(name)
        if name in (MATCH_INPUT, FREE):
            if choice:
                raise RequestError(
                    f"aspect_ratio {choice}: picks one of several ratios, and {name} is not a ratio. Leave {name} out."
                )
            ratios[name] = None
            continue
        if name.partition(":")[0] in RATIO_CHOICES or (choice and not name):
            raise RequestError(
                f"aspect_ratio takes {choice or name.partition(':')[0]} once, before a list of ratios: "
                f"auto:1:1,4:5,16:9 or closest:1:1,4:5,16:9; got {shown(name)}."
            )
        if not match:
            raise RequestError(
                "aspect_ratio is width:height such as 16:9, match_input, free, or auto: or closest: before several "
                f"ratios, such as auto:1:1,16:9; got {shown(name)}."
            )
        width, height = Fraction(match[1]), Fraction(match[2])
        if not width or not height:
            raise RequestError(f"A side of aspect_ratio cannot be zero, got {shown(name)}. Use for instance 1:1.")
        if not 1 <= MAX_RATIO * width / height <= MAX_RATIO**2:
            raise RequestError(f"aspect_ratio lies between 1:{MAX_RATIO} and {MAX_RATIO}:1, got {shown(name)}.")
        ratios[name] = width / height
    return tuple(ratios.items())


def parse_background(text: str) -> Filling:
    """Return what `background` means; ``transparent`` is the colour (0, 0, 0, 0).

    Raises:
        RequestError: The text is neither one of `FILLINGS` nor a colour.
    """
    color = parse_color(text[:MAX_TEXT]) if isinstance(text, str) else None
    if color is None and text not in FILLINGS:
        raise RequestError(
            "background is a CSS colour such as white, #f5f5f5 or rgb(0, 0, 0), or edge, blur, transparent or auto; "
            f"got {shown(text)}."
        )
    return color or text


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the question whether the nearest of the known words is meant; empty if none is near.

    A part of a known word is nearest: ``ratio`` of ``aspect_ratio``.
    """
    words, part = list(known), word.strip("-")
    close = [one for one in words if part and part in re.split("[-_ ]", one)]
    close += difflib.get_close_matches(word[:MAX_TEXT], words, n=1, cutoff=NEAR)
    return f"Did you mean {close[0]}?" if close else ""


def shown(value: object) -> str:
    """Return the value as a message quotes it: one line, at most 60 characters."""
    if isinstance(value, int) and abs(value) > 10**50:
        return "a number of more than 50 digits"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
