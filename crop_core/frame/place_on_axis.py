"""Where a window slides to along one axis, in whole pixels. Standard library only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from crop_core.frame.claims import (
    NOT_WHOLE,
    WHOLE,
    Claim,
    Range,
    Span,
    Verdict,
    fits,
    holding,
    nearest,
    placed_at,
    settle_claims,
    span_of,
)
from crop_core.frame.keep_faces import claims_of_faces
from crop_core.frame.rule_of_thirds import well_placed
from crop_core.frame.subjects import Thing
from crop_core.geometry import Box

# How far a window may leave the middle of a thing that it cannot hold anyway, as a fraction of its
# length, where that saves something else.
SLACK = 0.1
# What else deserves a place of its own beside a thing that cannot fit: at least this much of its weight.
WORTH_KEEPING = 0.1
# A thing must be this sure to claim a place beside a heavier one, or to be kept whole where a person would place
# the window without it. A face of low score must not move a window.
SURE_THING = 0.5
# Most boxes below this score are false (see `_likelihood` in `subjects`): a large one must not cost sure people their
# heads.
GUESS_BELOW = 0.3
# A face that weighs less than this beside the main thing, 15 px on a poster, claims nothing.
LEAST_FACE = 0.01
# A thing's box ends about here too early, as a fraction of its side: a box at IoU 0.8 with the truth.
BOX_MARGIN = 0.1
# What a thing is worth when it is not whole: its head alone, and at most its cut body.
HEAD_GAIN, PART_GAIN = 0.5, 0.3
# A thing that no window can hold whole loses this of its worth for each of its lengths that the window is
# off the place where it would sit best, which is its head's or its middle's.
OFF_CENTER_LOSS = 0.15
# How much of all weight a place may give up to sit well on its subject: slivers, never a whole thing.
COMPOSITION = 0.02


@dataclass(frozen=True, slots=True)
class Place:
    """Where a window starts along one axis, and why.

    Attributes:
        offset: Pixels from the picture's border.
        verdicts: What became of the claims, the most important first.
    """

    offset: int
    verdicts: tuple[Verdict, ...] = ()


def best_place(
    things: Sequence[Thing],
    axis: int,
    extent: int,
    length: int,
    middle_at: float | None = None,
    *,
    first: Sequence[Claim] = (),
    at: float | None = None,
) -> Place:
    """Return where a window must start to lose least of the things.

    The claims of `claims_on` narrow the places; within what they leave, as much weight as possible is kept.
    The value of a place changes course only where an edge of a box meets an edge of the window:
    trying those places is an exact search.

    Args:
        things: At least one.
        axis: 0 for x, 1 for y.
        extent: The picture's side, pixels.
        length: The window's side, at most `extent`.
        middle_at: Where the window's middle should be, as far as what it keeps whole leaves that open; none for the
            middle or the rule of thirds.
        first: Claims that come before those of the things.
        at: Where in the window the weightiest thing belongs, as a fraction; none if not given.
    """
    ranked = sorted(things, key=lambda thing: (-thing.weight, thing.ids))
    room, given = settle_claims(first, (0, extent - length), length, axis)
    (low, high), verdicts = settle_claims(claims_on(ranked, axis, room, length, at), room, length, axis)
    voters = [_voter(thing, axis, length) for thing in ranked]

    def value(offset: int) -> float:
        return sum(voter.weight * _gain(voter, offset, length) for voter in voters)

    def whole(offset: int) -> set[Span]:
        return {voter.span for voter in voters if voter.span[0] >= offset and voter.span[1] <= offset + length}

    middle = (extent - length) / 2
    edges = {edge for voter in voters for edge in (*voter.span, *(voter.head or voter.span))}
    turns = {edge - shift for edge in edges for shift in (0, length)} | {round(voter.best) for voter in voters}
    offsets = {min(max(turn, low), high) for turn in turns} | {low, high}
    best = max(sorted(offsets), key=lambda offset: (round(value(offset), 9), -abs(offset - middle)))

    kept = [thing for thing in ranked if span_of(thing.box, axis) in whole(best)]
    binding = [one for one in kept if one.score >= SURE_THING or one.weight >= WORTH_KEEPING * kept[0].weight]
    if middle_at is None:
        target = well_placed(kept or ranked[:1], axis, length)
        loss = COMPOSITION * sum(voter.weight for voter in voters) / extent
        offsets.add(min(max(round(target), low), high))
        composed = (offset for offset in sorted(offsets) if whole(offset) >= whole(best))
        offset = max(composed, key=lambda offset: (value(offset) - loss * abs(offset - target), -abs(offset - middle)))
    else:
        target = middle_at - length / 2
        low, high = _holding_all(binding, axis, (low, high), length)
        offset = round(min(max(target, low), high))
    rest = tuple(
        Verdict("xy"[axis], thing.label, WHOLE if voter.span in whole(offset) else NOT_WHOLE, thing.score)
        for thing, voter in zip(ranked, voters, strict=True)
    )
    return Place(offset, given + verdicts + rest)


def _holding_all(kept: Sequence[Thing], axis: int, room: Range, length: int) -> Range:
    """Return the offsets that hold all of the things whole, and as much of the margin around each as can be."""
    for thing in kept:
        room = nearest(room, holding(span_of(thing.box, axis), length))
    for thing in kept:
        low, high = span_of(thing.box, axis)
        margin = BOX_MARGIN * (high - low)
        first, last = round(high + margin) - length, round(low - margin)
        if first > last:  # there is no room for both margins: half of what there is for each
            first = last = (first + last) // 2
        room = nearest(room, (first, last))
    return room


def claims_on(ranked: Sequence[Thing], axis: int, room: Range, length: int, at: float | None = None) -> list[Claim]:
    """Return what the things claim of a window's place, the most important first.

    All sure faces together with their heads and the air around them; the weightiest thing's own face and head; all
    of the weightiest thing; its place in the window, where the caller says one; where it cannot fit, the weightiest
    sure thing that can. A thing that outweighs all faces comes before them.

    Args:
        ranked: The things, the weightiest first.
        axis: 0 for x, 1 for y.
        room: The offsets to choose from.
        length: The window's side, pixels.
        at: Where in the window the weightiest thing belongs, as a fraction; none if not given.
    """
    main = _main_thing(ranked)
    body = span_of(main.box, axis)
    slack = 0 if fits(body, length) else round(SLACK * length)
    faces = [one for one in ranked if one.sure_face and one.weight >= LEAST_FACE * main.weight]
    of_faces = claims_of_faces(faces, main, axis, room, length, slack)
    claims = of_faces or []
    if not (of_faces and main.sure_face):
        parts = ((main.face, f"the face of the {main.label}"), (main.head, f"the head of the {main.label}"))
        claims += [Claim(what, span_of(part, axis)) for part, what in parts if part]
    claims.append(Claim(f"the {main.label} whole", body, slack))
    if at is not None:
        low, high = body if fits(body, length) else span_of(main.face or main.head or main.box, axis)
        claims.append(placed_at(f"the {main.label}", (low + high) / 2, at, length))
    if slack:
        fitting = (one for one in ranked if one.score >= SURE_THING and fits(span_of(one.box, axis), length))
        other = next(fitting, None)
        if other and other.weight >= WORTH_KEEPING * main.weight:
            claims.append(Claim(f"the {other.label} beside it", span_of(other.box, axis)))
    return claims


def _main_thing(ranked: Sequence[Thing]) -> Thing:
    """Return the weightiest thing; where there is a sure one, the weightiest that is more than a guess."""
    if any(thing.score >= SURE_THING for thing in ranked):
        return next(thing for thing in ranked if thing.score >= GUESS_BELOW)
    return ranked[0]


def place_holding(
    wants: Iterable[tuple[str, Box]],
    target: float,
    axis: int,
    extent: int,
    length: int,
    *,
    first: Sequence[Claim] = (),
    last: Sequence[Claim] = (),
) -> Place:
    """Return the place nearest to `target` from which a window holds the boxes, the first ones first.

    Args:
        wants: What the window should hold, in words, and where it lies.
        target: The offset to be near.
        axis: 0 for x, 1 for y.
        extent: The picture's side, pixels.
        length: The window's side, at most `extent`.
        first: Claims that come before the wants.
        last: Claims that come after them.
    """
    claims = [*first, *(Claim(what, span_of(box, axis), approach=True) for what, box in wants), *last]
    room, verdicts = settle_claims(claims, (0, extent - length), length, axis)
    return Place(min(max(round(target), room[0]), room[1]), verdicts)


@dataclass(frozen=True, slots=True)
class _Voter:
    """What a thing means along one axis: its extent, its head's, and the offset at which it sits best."""

    weight: float
    span: Span
    head: Span | None
    best: float


def _voter(thing: Thing, axis: int, length: int) -> _Voter:
    head = span_of(thing.head, axis) if thing.head else None
    return _Voter(thing.weight, span_of(thing.box, axis), head, well_placed([thing], axis, length))


def _gain(voter: _Voter, offset: int, length: int) -> float:
    """Return what a thing is worth (about 0 to 1) to a window from `offset`, `length` long."""
    low, high = voter.span
    if low >= offset and high <= offset + length:
        return 1.0
    part = max(0, min(high, offset + length) - max(low, offset)) / (high - low)
    has_head = voter.head is not None and voter.head[0] >= offset and voter.head[1] <= offset + length
    if high - low <= length:
        return PART_GAIN * part + HEAD_GAIN * has_head
    off_center = OFF_CENTER_LOSS * abs(offset - voter.best) / (high - low)
    return (PART_GAIN * part + HEAD_GAIN * has_head if voter.head else part) - off_center
