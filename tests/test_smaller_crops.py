"""Which crops came out smaller than asked for."""

from __future__ import annotations

from typing import Any

import pytest

from crop_core.request import CropRequest
from crop_core.smaller_crops import count_smaller, sentence


def crop(width: int, height: int, rule: str = "subject", **more: Any) -> dict[str, Any]:
    return {"window": [10, 20, 10 + width, 20 + height], "rule": rule, **more}


@pytest.mark.parametrize(
    ("crops", "inputs", "number"),
    [
        ([], {"width": 1080}, 0),
        ([crop(512, 512)], {}, 0),
        ([crop(512, 512)], {"width": 512}, 0),
        ([crop(512, 512), crop(1080, 1080), crop(512, 288)], {"width": 1080}, 2),
        ([crop(1600, 900)], {"height": 1080}, 1),
        ([crop(512, 512)], {"width": 1080, "height": 1080}, 1),
        ([crop(512, 512)], {"width": 1080, "upscale": "allow"}, 0),
        ([crop(512, 512)], {"width": 1080, "upscale": "pad"}, 0),
        ([crop(512, 512, frame=[0, 0, 1080, 1080])], {"width": 1080, "fit": "pad"}, 0),
        ([crop(512, 512, frame=None)], {"width": 1080}, 1),
        ([crop(512, 512, "full_image")], {"width": 1080, "if_none": "full_image"}, 0),
    ],
    ids=["none", "no size asked", "exact", "two of three", "height", "both", "enlarged", "filled up", "padded shape",
         "no frame in the table", "kept whole"],
)  # fmt: skip
def test_crops_with_fewer_pixels_than_asked_are_counted(
    crops: list[dict[str, Any]], inputs: dict[str, Any], number: int
) -> None:
    assert count_smaller(crops, CropRequest(**inputs)) == number


def test_the_sentence_says_how_many_why_and_what_to_do() -> None:
    assert sentence(1800, 2000) == (
        "1,800 of 2,000 crops are smaller than asked, since the photo has too few pixels there and nothing is "
        "enlarged. To enlarge such crops, add --upscale allow."
    )
    assert sentence(1, 1).startswith("1 of 1 crop is smaller than asked, ")
