"""The mask's vote on things, and who is a subject then."""

from __future__ import annotations

import pytest

from crop_core.detection import SALIENT, Detection, in_order
from crop_core.frame.mask_vote import CONFIRMED_WEIGHT, DENIED_WEIGHT, mean_in
from crop_core.frame.scene import Scene
from crop_core.geometry import Box, Size
from crop_core.request import CropRequest

SIZE = Size(480, 480)
LEFT, RIGHT = Box(0, 0, 200, 480), Box(280, 0, 480, 480)
# What stands out is the left half.
MASK = tuple(tuple(float(column < 24) for column in range(48)) for _ in range(48))
EMPTY = tuple((0.0,) * 48 for _ in range(48))
PORTRAIT = ((0.0, 0.0),) * 5


def scene(*detections: Detection, mask: tuple[tuple[float, ...], ...] | None = MASK, **inputs: object) -> Scene:
    return Scene.of(in_order(detections), SIZE, CropRequest(**inputs), mask=mask)


def weights(*detections: Detection, mask: tuple[tuple[float, ...], ...] | None = MASK) -> dict[str, float]:
    return {thing.label: thing.weight for thing in scene(*detections, mask=mask).subjects}


@pytest.mark.parametrize(
    ("box", "mean"),
    [(LEFT, 1), (RIGHT, 0), (Box(120, 0, 360, 480), 0.5), (Box(0, 0, 0, 0), 1), (Box(480, 480, 480, 480), 0)],
)
def test_mean_is_that_of_the_cells_in_the_box(box: Box, mean: float) -> None:
    assert mean_in(box, SIZE, MASK) == pytest.approx(mean)


@pytest.mark.parametrize(
    ("detection", "factor"),
    [
        (Detection("cup", 0.5, LEFT), CONFIRMED_WEIGHT),
        (Detection("bed", 0.55, RIGHT), DENIED_WEIGHT),
        (Detection("dog", 0.5, Box(170, 0, 370, 480)), 1),
        (Detection("person", 0.7, RIGHT), 1),
        (Detection("face", 0.4, RIGHT, PORTRAIT), 1),
    ],
    ids=["confirmed", "denied", "half", "a sure person", "a face"],
)
def test_the_mask_votes_on_what_is_not_sure(detection: Detection, factor: float) -> None:
    (plain,), (voted) = weights(detection, mask=None).values(), weights(detection)
    assert voted[detection.label] == pytest.approx(factor * plain)


def test_an_empty_mask_says_nothing() -> None:
    bed = Detection("bed", 0.55, RIGHT)
    assert weights(bed, mask=EMPTY) == weights(bed, mask=None)


def test_a_wrong_weak_box_does_not_outweigh_what_stands_out() -> None:
    bed, salient = Detection("bed", 0.55, RIGHT), Detection(SALIENT, 0.8, LEFT)
    found = weights(bed, salient)
    assert found[SALIENT] > found["bed"]


def test_what_stands_out_is_no_subject_beside_a_sure_thing_unless_it_is_asked_for() -> None:
    person, salient = Detection("person", 0.8, RIGHT), Detection(SALIENT, 0.8, LEFT)
    assert {thing.label for thing in scene(person, salient).subjects} == {"person"}
    assert {thing.label for thing in scene(person, salient, labels="salient").subjects} == {SALIENT}
    assert {thing.label for thing in scene(person, salient, mode="objects").subjects} == {"person", SALIENT}
