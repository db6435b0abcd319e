"""Which crops came out smaller than asked for, and the sentence that closes a run with it. Standard library only.

The crops are those of detections.json, since `batch` has no others when it closes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crop_core.request import CropRequest


def count_smaller(crops: Sequence[Mapping[str, Any]], request: CropRequest) -> int:
    """Return how many crops show fewer pixels than `width` and `height` ask for, and were not enlarged.

    A picture that `if_none` kept whole has its own size, and is not counted.

    Args:
        crops: The crops of detections.json.
        request: What they were made for.
    """
    if request.upscale != "never":
        return 0
    return sum(crop["rule"] != "full_image" and _is_smaller(crop, request) for crop in crops)


def _is_smaller(crop: Mapping[str, Any], request: CropRequest) -> bool:
    x1, y1, x2, y2 = crop.get("frame") or crop["window"]
    return bool(x2 - x1 < (request.width or 0) or y2 - y1 < (request.height or 0))


def sentence(smaller: int, crops: int) -> str:
    """Return what to say of a run's crops of which some came out smaller."""
    are = "crop is" if crops == 1 else "crops are"
    return (
        f"{smaller:,} of {crops:,} {are} smaller than asked, since the photo has too few pixels there and nothing is "
        "enlarged. To enlarge such crops, add --upscale allow."
    )
