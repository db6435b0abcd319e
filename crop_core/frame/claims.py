"""Claims on where a window lies along one axis: an ordered list of them, narrowed in turn by one loop.

A window of `length` on an axis of `extent` pixels starts at an offset of 0 to extent - length. What
it should hold are spans (first, last), half-open. A span longer than the window cannot be held;
then the window should lie inside of it. Pure arithmetic on the standard library.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from crop_core.geometry import Box

Span = tuple[int, int]
Range = tuple[int, int]  # the first and the last offset that will do

# A box this much longer than the window counts as fitting, its two ends cut alike: a box at IoU 0.9 with
# the truth, which COCO counts among the best, is off by about as much.
NEARLY = 1.06

HELD, IN_PART, GAVE_WAY = "held", "held in part", "gave way"
WHOLE, NOT_WHOLE = "whole", "not whole"  # of a single thing, which claims nothing: it only weighs


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim on the window's place.

    Attributes:
        what: What it wants in the window, in words.
        span: Where that lies on the axis.
        slack: How far the window may leave the places that hold the span.
        approach: Whether the window comes as near as it can where it cannot hold the span; else the
            claim then gives way whole.
    """

    what: str
    span: Span
    slack: int = 0
    approach: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a claim.

    Attributes:
        axis: ``x`` or ``y``.
        what: The claim's own words.
        outcome: `HELD`, `IN_PART` or `GAVE_WAY`; of a single thing `WHOLE` or `NOT_WHOLE`, of several how many of each.
        score: How sure the detector is of a single thing; none for a claim.
    """

    axis: str
    what: str
    outcome: str
    score: float | None = None

    def __str__(self) -> str:
        score = "" if self.score is None else f" (score {self.score:.2f})"
        return f"{'left to right' if self.axis == 'x' else 'top to bottom'}: {self.what}{score}: {self.outcome}"


def folded(verdicts: Iterable[Verdict], unsure_below: float) -> tuple[Verdict, ...]:
    """Return the verdicts, those on boxes below a score put into one for each axis, after the others of that axis."""
    kept: dict[str, list[Verdict]] = {"x": [], "y": []}
    unsure: dict[str, Counter[str]] = {"x": Counter(), "y": Counter()}
    for one in verdicts:
        if one.score is not None and one.score < unsure_below:
            unsure[one.axis][one.outcome] += 1
        elif one.score is not None or one not in kept[one.axis]:  # a claim that is made twice is told once
            kept[one.axis].append(one)
    for axis, outcomes in unsure.items():
        if number := outcomes.total():
            boxes = f"{number} unsure box{'es' if number > 1 else ''} (score below {unsure_below:g})"
            told = ", ".join(f"{outcomes[one]} {one}" for one in (WHOLE, NOT_WHOLE) if one in outcomes)
            kept[axis].append(Verdict(axis, boxes, told if len(outcomes) > 1 else next(iter(outcomes))))
    return (*kept["x"], *kept["y"])


def settle_claims(claims: Iterable[Claim], room: Range, length: int, axis: int) -> tuple[Range, tuple[Verdict, ...]]:
    """Return the offsets that the claims leave, the first claims first, and what became of each.

    Args:
        claims: In the order of their importance; a claim that the ones before leave no room for gives way.
        room: The offsets to begin with.
        length: The window's side, pixels.
        axis: 0 for x, 1 for y; for the verdicts.
    """
    verdicts = []
    for claim in claims:
        left = narrowed(room, claim.span, length, claim.slack)
        outcome = HELD if claim.span[1] - claim.span[0] <= length else IN_PART
        if left is None and claim.approach:
            left, outcome = nearest(room, holding(claim.span, length)), IN_PART
        elif left is None:
            left, outcome = room, GAVE_WAY
        room = left
        verdicts.append(Verdict("xy"[axis], claim.what, outcome))
    return room, tuple(verdicts)


def span_of(box: Box, axis: int) -> Span:
    """Return the box's extent along axis 0 (x) or 1 (y), in whole pixels, rounded outward."""
    window = box.outward()
    return (window.x1, window.x2) if axis == 0 else (window.y1, window.y2)


def placed_at(what: str, middle: float, at: float, length: int) -> Claim:
    """Return the claim that a thing's middle lies at a fraction of the window, or as near to that as can be.

    Args:
        what: The thing, in words.
        middle: Where its middle lies, pixels.
        at: The fraction of the window, from its left or top.
        length: The window's side, pixels.
    """
    start = round(middle - at * length)
    place = "in the middle" if at == 0.5 else f"at {100 * at:.0f} % of the window"
    return Claim(f"{what} {place}", (start, start + length), approach=True)


def hull(spans: Sequence[Span]) -> Span:
    """Return the smallest span that holds all of them."""
    return min(low for low, _ in spans), max(high for _, high in spans)


def fits(span: Span, length: int) -> bool:
    """Return whether a window of that length holds the span, or nearly."""
    return span[1] - span[0] <= NEARLY * length


def holding(span: Span, length: int) -> Range:
    """Return the offsets from which a window holds the span, or lies inside of it where it is longer."""
    low, high = span
    return (high - length, low) if high - low <= length else (low, high - length)


def narrowed(room: Range, span: Span, length: int, slack: int = 0) -> Range | None:
    """Return what holding the span leaves of the offsets; none if nothing."""
    first, last = holding(span, length)
    low, high = max(room[0], first - slack), min(room[1], last + slack)
    return (low, high) if low <= high else None


def nearest(room: Range, wanted: Range) -> Range:
    """Return what the two share, or where they share nothing the offset of `room` that is nearest to the wanted."""
    return min(max(room[0], wanted[0]), room[1]), max(min(room[1], wanted[1]), room[0])
