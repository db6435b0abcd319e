"""Where a window slides to: places along one axis, in whole pixels.

A window of `length` on an axis of `extent` pixels starts at an offset of 0 to extent - length.
What it should hold are spans (first, last), half-open. A span longer than the window cannot be
held; then the window should lie inside of it. Pure arithmetic on the standard library.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter

from crop_core.frame.subjects import Thing
from crop_core.geometry import Box

Span = tuple[int, int]
Range = tuple[int, int]  # the first and the last offset that will do

# What is kept of a face, from the least to the most.
_HEAD_PARTS = tuple(attrgetter(part) for part in ("face", "head", "roomy_head", "airy_head"))

# A box this much longer than the window counts as fitting, its two ends cut alike: a box at IoU 0.9 with
# the truth, which COCO counts among the best, is off by about as much.
NEARLY = 1.06
# How far a window may leave the middle of a thing that it cannot hold anyway, as a fraction of its
# length, where that saves something else.
SLACK = 0.1
# What else deserves a place of its own beside a thing that cannot fit: at least this much of its weight.
WORTH_KEEPING = 0.1
# A thing must be this sure to claim a place beside a heavier one.
SURE_THING = 0.5
# What a thing is worth when it is not whole: its head alone, and at most its cut body.
HEAD_GAIN, PART_GAIN = 0.5, 0.3
# A thing that no window can hold whole loses this of its worth for each of its lengths that the window is
# off the place where it would sit best, which is its head's or its middle's.
OFF_CENTER_LOSS = 0.15
# How much of all weight a place may give up to sit well on its subject: slivers, never a whole thing.
COMPOSITION = 0.02
# The lines of thirds: the eyes of a lone face lie on the upper one; a turned head looks into at
# most the larger two thirds.
THIRD = 1 / 3


def span_of(box: Box, axis: int) -> Span:
    """Return the box's extent along axis 0 (x) or 1 (y), in whole pixels, rounded outward."""
    window = box.outward()
    return (window.x1, window.x2) if axis == 0 else (window.y1, window.y2)


def best_offset(things: Sequence[Thing], axis: int, extent: int, length: int) -> int:
    """Return where a window must start to lose least of the things.

    In this order, each as far as the one before leaves room: all sure faces together, and what fits
    of their heads; the weightiest thing; the air around the heads; where the weightiest cannot fit, the
    weightiest sure one that can; then as much weight as possible. A thing that outweighs all faces
    comes before them.

    The value of a place changes course only where an edge of a box meets an edge of the window:
    trying those places is an exact search.

    Args:
        things: At least one.
        axis: 0 for x, 1 for y.
        extent: The picture's side, pixels.
        length: The window's side, at most `extent`.
    """
    ranked = sorted(things, key=lambda thing: (-thing.weight, thing.ids))
    low, high = _range_for(ranked, axis, (0, extent - length), length)
    claims = [_claim(thing, axis, length) for thing in ranked]

    def value(offset: int) -> float:
        return sum(claim.weight * _gain(claim, offset, length) for claim in claims)

    def whole(offset: int) -> set[Span]:
        return {claim.span for claim in claims if claim.span[0] >= offset and claim.span[1] <= offset + length}

    middle = (extent - length) / 2
    edges = {edge for claim in claims for edge in (*claim.span, *(claim.head or claim.span))}
    turns = {edge - shift for edge in edges for shift in (0, length)} | {round(claim.best) for claim in claims}
    offsets = {min(max(turn, low), high) for turn in turns} | {low, high}
    best = max(sorted(offsets), key=lambda offset: (round(value(offset), 9), -abs(offset - middle)))

    kept = whole(best)
    held = [thing for thing in ranked if span_of(thing.box, axis) in kept]
    target = well_placed(held or ranked[:1], axis, length)
    loss = COMPOSITION * sum(claim.weight for claim in claims) / extent
    offsets.add(min(max(round(target), low), high))
    composed = (offset for offset in sorted(offsets) if whole(offset) >= kept)
    return max(composed, key=lambda offset: (value(offset) - loss * abs(offset - target), -abs(offset - middle)))


def offset_holding(wants: Iterable[Box], target: float, axis: int, extent: int, length: int) -> int:
    """Return the offset nearest to `target` from which a window holds the boxes, the first ones first."""
    room = (0, extent - length)
    for box in wants:
        first, last = _holding(span_of(box, axis), length)
        # What no longer fits leaves the range at the end that is nearest to it.
        room = max(room[0], min(first, room[1])), min(room[1], max(last, room[0]))
    return min(max(round(target), room[0]), room[1])


def well_placed(things: Sequence[Thing], axis: int, length: int) -> float:
    """Return the offset at which a window sits best on the things: their middle, or by the rule of thirds.

    A lone face has its eyes on the upper third, and room to look into where its head is turned.
    What does not fit is placed by its head.
    """
    if len(things) == 1 and things[0].gaze is not None:
        x, y, turn = things[0].gaze
        if axis == 1:
            return y - THIRD * length
        low, high = span_of(things[0].box, axis)
        middle = (low + high) / 2 if high - low <= length else x
        return middle - length / 2 + turn * (0.5 - THIRD) * length
    low, high = _hull([span_of(thing.box, axis) for thing in things])
    faces = [thing.face for thing in things if thing.face]
    if high - low > length and faces:
        low, high = span_of(faces[0], axis)
    return (low + high - length) / 2


def _range_for(ranked: Sequence[Thing], axis: int, room: Range, length: int) -> Range:
    """Return the offsets that the first claims of `best_offset` leave."""
    main = ranked[0]
    slack = 0 if _fits(main, axis, length) else round(SLACK * length)
    faces = [thing for thing in ranked if thing.sure_face]
    with_faces = _with_faces(faces, main, axis, room, length)
    outweighed = main.weight > sum(thing.weight for thing in faces)
    if with_faces and outweighed and not _narrowed(with_faces, span_of(main.box, axis), length, slack):
        with_faces = None
    room = with_faces or room
    if not (with_faces and main.sure_face):
        for part in (main.face, main.head):
            room = (part and _narrowed(room, span_of(part, axis), length)) or room
    room = _narrowed(room, span_of(main.box, axis), length, slack) or room
    if slack:
        other = next((thing for thing in ranked if thing.score >= SURE_THING and _fits(thing, axis, length)), None)
        if other and other.weight >= WORTH_KEEPING * main.weight:
            room = _narrowed(room, span_of(other.box, axis), length) or room
    return room


def _with_faces(faces: Sequence[Thing], main: Thing, axis: int, room: Range, length: int) -> Range | None:
    """Return the offsets that hold all faces, if they fit together, and what else fits with them.

    That is, in this order: their heads, the whole of the main thing, the air around the heads. Where the air
    does not fit with the rest, there is as much of it as can be.
    """
    if not faces:
        return None
    bare, heads, roomy, airy = (_hull([span_of(part(thing), axis) for thing in faces]) for part in _HEAD_PARTS)
    if bare[1] - bare[0] > NEARLY * length:
        return None
    held = _narrowed(room, bare, length)
    if not held:
        return None
    air = _as_much_of(airy, (roomy, heads, bare), length)
    body = span_of(main.box, axis)
    if body[1] - body[0] <= length:
        with_heads = _narrowed(held, _as_much_of(heads, (bare,), length), length) or held
        whole = _narrowed(with_heads, body, length)
        if whole:
            return _nearest(whole, _holding(air, length))
    return _narrowed(held, air, length) or held


def _as_much_of(wanted: Span, parts: Sequence[Span], length: int) -> Span:
    """Return what fits of the wanted span: all of it, else the first part that fits, and the rest shared by both ends.

    Each end gets half, and what the other end has no use for.
    """
    if wanted[1] - wanted[0] <= length:
        return wanted
    low, high = next((part for part in parts if part[1] - part[0] <= length), parts[-1])
    room = max(0, length - (high - low))
    before, after = low - wanted[0], wanted[1] - high
    start = low - min(before, max(room // 2, room - after))
    return start, start + max(length, high - low)


def _fits(thing: Thing, axis: int, length: int) -> bool:
    low, high = span_of(thing.box, axis)
    return high - low <= NEARLY * length


def _holding(span: Span, length: int) -> Range:
    """Return the offsets from which a window holds the span, or lies inside of it where it is longer."""
    low, high = span
    return (high - length, low) if high - low <= length else (low, high - length)


def _narrowed(room: Range, span: Span, length: int, slack: int = 0) -> Range | None:
    """Return what holding the span leaves of the offsets; none if nothing."""
    first, last = _holding(span, length)
    low, high = max(room[0], first - slack), min(room[1], last + slack)
    return (low, high) if low <= high else None


def _nearest(room: Range, wanted: Range) -> Range:
    """Return what the two share, or where they share nothing the offset of `room` that is nearest to the wanted."""
    return min(max(room[0], wanted[0]), room[1]), max(min(room[1], wanted[1]), room[0])


def _hull(spans: Sequence[Span]) -> Span:
    return min(low for low, _ in spans), max(high for _, high in spans)


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a thing means along one axis: its extent, its head's, and the offset at which it sits best."""

    weight: float
    span: Span
    head: Span | None
    best: float


def _claim(thing: Thing, axis: int, length: int) -> _Claim:
    head = span_of(thing.head, axis) if thing.head else None
    return _Claim(thing.weight, span_of(thing.box, axis), head, well_placed([thing], axis, length))


def _gain(claim: _Claim, offset: int, length: int) -> float:
    """Return what a thing is worth (about 0 to 1) to a window from `offset`, `length` long."""
    low, high = claim.span
    if low >= offset and high <= offset + length:
        return 1.0
    part = max(0, min(high, offset + length) - max(low, offset)) / (high - low)
    has_head = claim.head is not None and claim.head[0] >= offset and claim.head[1] <= offset + length
    if high - low <= length:
        return PART_GAIN * part + HEAD_GAIN * has_head
    off_center = OFF_CENTER_LOSS * abs(offset - claim.best) / (high - low)
    return (PART_GAIN * part + HEAD_GAIN * has_head if claim.head else part) - off_center
