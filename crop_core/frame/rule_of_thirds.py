"""Where a window sits best on what it holds: in the middle, or by the rule of thirds. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence

from crop_core.frame.claims import hull, span_of
from crop_core.frame.subjects import Thing

# The lines of thirds: the eyes of a lone face lie on the upper one; a turned head looks into at
# most the larger two thirds.
THIRD = 1 / 3


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
    low, high = hull([span_of(thing.box, axis) for thing in things])
    faces = [thing.face for thing in things if thing.face]
    if high - low > length and faces:
        low, high = span_of(faces[0], axis)
    return (low + high - length) / 2
