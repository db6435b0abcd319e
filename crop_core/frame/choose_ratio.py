"""Which of several ratios suits a picture best: `auto:` and `closest:`. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from crop_core.geometry import Box, Size, Window, union
from crop_core.request import CropRequest

# Below this, two windows keep as much of the subject: a hundredth is less than what a detector is sure of.
SAME_SHARE = 0.01

Subject = Sequence[tuple[Box, float]]  # what must not be cut, and how much each weighs


def closest_ratio(ratios: Sequence[tuple[str, Fraction | None]], size: Size) -> int:
    """Return which of the ratios is nearest to the picture's own; of two that are as near, the first."""
    own = size.width / size.height
    return min(range(len(ratios)), key=lambda index: abs(math.log((ratios[index][1] or 1) / own)))


def best_ratio(shown: Sequence[Window], subject: Subject, size: Size, request: CropRequest) -> tuple[int, str]:
    """Return which of the windows suits the picture best, and what each keeps, in words.

    It is the one that keeps most of the subject; of those that keep as much of it, the one that shares most with the
    window that no ratio binds: at zoom 0 the whole picture, at zoom 1 the subject with its padding.

    Args:
        shown: A window for each ratio; one may reach beyond the picture.
        subject: Boxes in upright source pixels; none where nothing was found.
        size: The picture's.
        request: Its ratios, `zoom` and `padding` count.
    """
    unbound = _unbound(subject, size, request)
    total = sum(weight for _, weight in subject)
    kept = [
        sum(weight * box.coverage(window) for box, weight in subject) / total if subject else 1.0 for window in shown
    ]
    scene = [_shared(window.box, unbound) for window in shown]
    best = max(range(len(shown)), key=lambda index: (round(kept[index] / SAME_SHARE), scene[index], -index))
    told = [
        f"{name} keeps {100 * part:.0f} % of the subject and {100 * rest:.0f} % of the scene"
        for (name, _), part, rest in zip(request.ratios, kept, scene, strict=True)
    ]
    return best, "; ".join([told[best], *(text for index, text in enumerate(told) if index != best)])


def _unbound(subject: Subject, size: Size, request: CropRequest) -> Box:
    picture, zoom = Box(0, 0, size.width, size.height), request.effective_zoom
    if not subject or zoom <= 0:
        return picture
    roomy = union(box for box, _ in subject).with_margin(request.padding).clipped(size)
    return Box(*(a + (b - a) * zoom for a, b in zip(picture.xyxy, roomy.xyxy, strict=True)))


def _shared(one: Box, other: Box) -> float:
    """Return the area that two boxes share, as a fraction of what they have together."""
    shared = one.intersection_area(other)
    return shared / (one.area + other.area - shared)
