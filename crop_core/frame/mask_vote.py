"""The vote of the salient mask on every thing: one that it denies loses weight, one that it confirms gains.

Pure arithmetic on the standard library.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from crop_core.detection import FACE, SALIENT
from crop_core.frame.subjects import Thing
from crop_core.geometry import Box, Size

Mask = Sequence[Sequence[float]]  # rows of cells over the whole picture, 0 to 1

# A mask with less than this of the picture says nothing: where no object stands out it is empty.
LEAST_MASK = 0.02
# A thing of this score gets no vote, and neither does a face.
SURE_SCORE = 0.7
# The mask's mean in a thing's box that denies or confirms it, and what its weight then counts. Chosen by
# cross-validation on the photos that the composition head learned from.
DENIED_BELOW, DENIED_WEIGHT = 0.15, 0.3
CONFIRMED_ABOVE, CONFIRMED_WEIGHT = 0.5, 1.3


def voted(things: Sequence[Thing], size: Size, mask: Mask) -> tuple[Thing, ...]:
    """Return the things with the mask's vote in their weights."""
    return tuple(replace(one, weight=one.weight * _factor(one, size, mask)) for one in things)


def is_denied(label: str, score: float, box: Box, size: Size, mask: Mask) -> bool:
    """Return whether the mask says that there is nothing in the box."""
    return _may_vote(label, score, mask) and mean_in(box, size, mask) < DENIED_BELOW


def mean_in(box: Box, size: Size, mask: Mask) -> float:
    """Return the mask's mean over the cells that the box touches, 0 to 1."""
    rows, columns = len(mask), len(mask[0])
    y1, y2 = int(box.y1 / size.height * rows), math.ceil(box.y2 / size.height * rows)
    x1, x2 = int(box.x1 / size.width * columns), math.ceil(box.x2 / size.width * columns)
    touched = [value for row in mask[min(y1, rows - 1) : max(y2, y1 + 1)] for value in row[x1 : max(x2, x1 + 1)]]
    return sum(touched) / len(touched) if touched else 0.0


def _factor(thing: Thing, size: Size, mask: Mask) -> float:
    if not _may_vote(thing.label, thing.score, mask):
        return 1.0
    mean = mean_in(thing.box, size, mask)
    return DENIED_WEIGHT if mean < DENIED_BELOW else CONFIRMED_WEIGHT if mean > CONFIRMED_ABOVE else 1.0


def _may_vote(label: str, score: float, mask: Mask) -> bool:
    if label in (FACE, SALIENT) or score >= SURE_SCORE:
        return False
    return sum(map(sum, mask)) >= LEAST_MASK * len(mask) * len(mask[0])
