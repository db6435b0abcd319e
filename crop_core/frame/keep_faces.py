"""What faces claim of a window's place: themselves, their heads, the air above them. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from crop_core.frame.claims import GAVE_WAY, Claim, Range, Span, fits, hull, narrowed, settle_claims, span_of
from crop_core.frame.subjects import Thing

# What is kept of a face, from the least to the most.
_HEAD_PARTS = tuple(attrgetter(part) for part in ("face", "head", "roomy_head", "airy_head"))


def claims_of_faces(
    faces: Sequence[Thing], main: Thing, axis: int, room: Range, length: int, slack: int
) -> list[Claim] | None:
    """Return what all sure faces claim together; none where they do not fit together, or the main thing outweighs them.

    In this order: the faces; their heads and the whole of the main thing, where both fit with the faces; the air
    around the heads. Where the air does not fit with the rest, there is as much of it as can be.

    Args:
        faces: Things with a sure face.
        main: The weightiest thing of all.
        axis: 0 for x, 1 for y.
        room: The offsets to choose from.
        length: The window's side, pixels.
        slack: How far the window may leave the main thing.
    """
    if not faces:
        return None
    bare, heads, roomy, airy = (hull([span_of(part(thing), axis) for thing in faces]) for part in _HEAD_PARTS)
    if not fits(bare, length):
        return None
    together = Claim("all faces together" if len(faces) > 1 else "the face", bare)
    air = Claim("room around the heads", _as_much_of(airy, (roomy, heads, bare), length))
    claims = [together, air]
    body = span_of(main.box, axis)
    if body[1] - body[0] <= length:
        with_heads = Claim("the heads", _as_much_of(heads, (bare,), length))
        whole = Claim(f"the {main.label} whole", body)
        _, verdicts = settle_claims((together, with_heads, whole), room, length, axis)
        if verdicts[-1].outcome != GAVE_WAY:
            claims = [together, with_heads, whole, Claim(air.what, air.span, approach=True)]
    if main.weight > sum(thing.weight for thing in faces):
        left, _ = settle_claims(claims, room, length, axis)
        if not narrowed(left, body, length, slack):
            return None
    return claims


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
