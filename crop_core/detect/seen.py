"""What a detector knows of a picture once it has looked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from crop_core.detect.regions import Region, regions_of
from crop_core.detection import SALIENT, Composition, Detection, in_order
from crop_core.geometry import Box, Size

Mask = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """One picture.

    Attributes:
        detections: In total order, in upright source pixels.
        composition: Where a person would place a window.
        mask: What stands out, rows of cells over the whole picture, 0 to 1; none where the detections left no
            doubt, so that nobody looked.
    """

    detections: tuple[Detection, ...]
    composition: Composition
    mask: Mask | None = None


MASK_CELLS = 48  # along each side of what framing is told of a mask
# A detection explains a region where it is about as large, or where a sure one holds most of it.
EXPLAINING_SCORE, SAME_PLACE_IOU = 0.3, 0.5
SURE_SCORE, HELD_SHARE, MOST_TIMES_AS_LARGE = 0.5, 0.7, 4


def seen_in(
    size: Size,
    detections: Sequence[Detection],
    composition: Sequence[float],
    mask: NDArray[np.float32] | None,
    score_threshold: float,
) -> Seen:
    """Return what is known of a picture; a region of the mask that no detection explains becomes one.

    Args:
        size: The upright source picture's.
        detections: In upright source pixels, down to `EXPLAINING_SCORE` at least.
        composition: The window's x1, y1, x2, y2 and the middle's x, y, as fractions of the sides.
        mask: [rows, columns], 0 to 1, or none.
        score_threshold: What a score must reach.
    """
    x1, x2 = sorted((composition[0] * size.width, composition[2] * size.width))
    y1, y2 = sorted((composition[1] * size.height, composition[3] * size.height))
    middle = (composition[4] * size.width, composition[5] * size.height)
    placed = Composition(Box(x1, y1, x2, y2), middle)
    asked = tuple(one for one in detections if one.score >= score_threshold)
    if mask is None:
        return Seen(asked, placed)
    found = (_as_detection(region, size) for region in regions_of(mask))
    salient = [one for one in found if one.score >= score_threshold and not _is_explained(one.box, detections)]
    rows, columns = mask.shape
    cells = mask.reshape(MASK_CELLS, rows // MASK_CELLS, MASK_CELLS, columns // MASK_CELLS).mean((1, 3))
    return Seen(in_order((*asked, *salient)), placed, tuple(tuple(row) for row in cells.astype(float).tolist()))


# Where what is opaque is most of the picture, its edge is a frame or a rounded corner and no object's.
MOST_OPAQUE = 0.7


def with_opaque(seen: Seen, opaque: Box | None, size: Size) -> Seen:
    """Return what is known of a picture of which parts are transparent: where it is opaque, there is a thing.

    Args:
        seen: What the detector saw.
        opaque: Where it is opaque, in upright source pixels; none where that says nothing.
        size: The upright source picture's.
    """
    if opaque is None or _is_explained(opaque, seen.detections):
        return seen
    if opaque.area > MOST_OPAQUE * size.area and any(one.score >= EXPLAINING_SCORE for one in seen.detections):
        return seen
    return replace(seen, detections=in_order((*seen.detections, Detection(SALIENT, 1.0, opaque))))


def _as_detection(region: Region, size: Size) -> Detection:
    """Return the region as a detection.

    Its score is 0 at the mask's own threshold and 1 where the mask is certain. Squared, so that half of it takes a
    mean of 0.85: of regions that are less certain people drew the window as if they were not there.
    """
    x1, y1, x2, y2 = region.box
    box = Box(x1 * size.width, y1 * size.height, x2 * size.width, y2 * size.height)
    return Detection(SALIENT, max(0.0, 2 * region.mean - 1) ** 2, box)


def _is_explained(box: Box, detections: Sequence[Detection]) -> bool:
    for one in detections:
        if one.score < EXPLAINING_SCORE:
            continue
        shared = one.box.intersection_area(box)
        if shared >= SAME_PLACE_IOU * (one.box.area + box.area - shared):
            return True
        held = shared >= HELD_SHARE * box.area and one.box.area < MOST_TIMES_AS_LARGE * box.area
        if held and one.score >= SURE_SCORE:
            return True
    return False
