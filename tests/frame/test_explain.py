"""Where a crop's window lies and why, in words."""

from __future__ import annotations

import pytest
from scenes import LANDSCAPE, dog, only_plan, planned

from crop_core.frame.explain import explained, without_subject
from crop_core.request import CropRequest


@pytest.mark.parametrize(
    ("inputs", "how"),
    [
        ({}, "it was cut where people would most likely cut it (if_none saliency)"),
        ({"if_none": "center"}, "it was cut in the middle (if_none center)"),
        ({"if_none": "full_image"}, "all of it was kept (if_none full_image)"),
        ({"fit": "pad", "aspect_ratio": "9:16"}, "all of it was kept (fit pad)"),
    ],
    ids=["saliency", "center", "full_image", "pad"],
)
def test_a_crop_without_a_subject_says_what_was_done_and_by_what(inputs: dict[str, str], how: str) -> None:
    plan = only_plan([], **inputs)
    assert without_subject(plan) == how
    head, why = explained(0, plan, on_backdrop=False).splitlines()
    assert head.endswith(", for no subject")
    assert why == f"  nothing that was asked for was found, so {how}"


def test_a_crop_of_a_subject_names_it_and_what_its_place_was_decided_by() -> None:
    plan = only_plan([dog(100, 100, 200, 200)])
    assert without_subject(plan) == ""
    assert explained(0, plan, on_backdrop=False).splitlines() == [
        "00 1:1: 400x400 pixels from (0, 0), for dog",
        "  left to right: the dog whole: held",
        "  left to right: dog (score 0.90): whole",
    ]


def test_the_object_on_a_backdrop_is_called_so() -> None:
    plan = only_plan([dog(100, 100, 200, 200)])
    assert explained(3, plan, on_backdrop=True).splitlines()[0].endswith(", for the object on the backdrop")


def test_a_market_of_unsure_boxes_adds_one_line() -> None:
    weak = [dog(10 * n, 0, 10 * n + 5, 300, 0.25) for n in range(40)]
    (plan,) = planned([dog(100, 100, 200, 200)], LANDSCAPE, CropRequest(), weak=weak)
    sure, unsure = explained(0, plan, on_backdrop=False).splitlines()[2:]
    assert sure == "  left to right: dog (score 0.90): whole"
    assert "left to right: 40 unsure boxes (score below" in unsure
