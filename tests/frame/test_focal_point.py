"""A web page can crop by itself: `object-position` shows the same window, the focal point what matters."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import LANDSCAPE, RATIOS, dog, face, planned, scenes

from crop_core.detection import Composition, Detection
from crop_core.frame.focal_point import focal_point, object_position
from crop_core.frame.scene import Scene
from crop_core.geometry import Box, Size, Window
from crop_core.request import CropRequest


def shown_by_a_browser(size: Size, ratio: Fraction, position: str) -> tuple[float, float, float, float]:
    """Return what `object-fit: cover` shows of a picture in a box of the ratio, in the picture's pixels.

    The picture is scaled until it covers the box; a percentage aligns that point of the picture with that of the box.
    """
    box_width, box_height = float(ratio) * 1000, 1000.0
    scale = max(box_width / size.width, box_height / size.height)
    x, y = (float(part.removesuffix("%")) / 100 for part in position.split())
    left = (box_width - size.width * scale) * x
    top = (box_height - size.height * scale) * y
    return -left / scale, -top / scale, (box_width - left) / scale, (box_height - top) / scale


@given(scenes(), RATIOS, st.sampled_from(["", "0.2,0.7", "0.6,0.1,0.9,0.4"]))
def test_a_browser_shows_the_same_window_to_the_pixel(
    scene: tuple[Size, tuple[Detection, ...]], ratio: str, focus: str
) -> None:
    size, detections = scene
    request = CropRequest(aspect_ratios=(ratio,), focus=focus)
    (plan,) = planned(detections, size, request)
    position = object_position(plan.window, size)
    assert position is not None
    exact = request.ratios[0][1] or Fraction(size.width, size.height)
    assert shown_by_a_browser(size, exact, position) == pytest.approx(plan.window.xyxy, abs=1)


@given(st.integers(1, 65_535), st.integers(1, 65_535), st.floats(0, 1))
def test_the_percentages_are_fine_enough_for_the_largest_picture(extent: int, length: int, share: float) -> None:
    length, size = min(length, extent), Size(extent, 10)
    x1 = round(share * (extent - length))
    position = object_position(Window(x1, 0, x1 + length, 10), size)
    assert position is not None
    shown = shown_by_a_browser(size, Fraction(length, 10), position)
    assert shown == pytest.approx((x1, 0, x1 + length, 10), abs=0.1)


def test_no_position_shows_a_window_that_is_not_the_largest() -> None:
    assert object_position(Window(10, 10, 110, 110), LANDSCAPE) is None
    assert object_position(Window(0, 0, 600, 400), LANDSCAPE) == "50% 50%"
    assert object_position(Window(25, 0, 425, 400), LANDSCAPE) == "12.5% 50%"


@given(scenes())
def test_a_focal_point_lies_in_the_picture(scene: tuple[Size, tuple[Detection, ...]]) -> None:
    size, detections = scene
    x, y = focal_point(Scene.of(detections, size, CropRequest()))
    assert 0 <= x <= 1
    assert 0 <= y <= 1


def test_the_focal_point_is_what_the_picture_is_about() -> None:
    def point(*detections: Detection, **inputs: str) -> tuple[float, float]:
        return focal_point(Scene.of(detections, LANDSCAPE, CropRequest(**inputs)))  # type: ignore[arg-type]

    body = Detection("person", 0.9, Box(100, 40, 300, 400))
    assert point(dog(0, 100, 150, 300)) == (0.125, 0.5)
    assert point(body, face(180, 60, 240, 140)) == (0.35, 0.25)
    assert point(face(60, 100, 120, 200), face(480, 100, 540, 200)) == pytest.approx((0.5, 0.375))
    assert point(dog(0, 0, 500, 400), face(560, 0, 580, 20)) == pytest.approx((250 / 600, 0.5))
    assert point(dog(0, 0, 500, 400), focus="0.9,0.1") == pytest.approx((0.9, 0.1))
    assert point() == (0.5, 0.5)
    composed = replace(Scene.of((), LANDSCAPE, CropRequest()), composition=Composition(Box(0, 0, 600, 400), (30, 200)))
    assert focal_point(composed) == (0.05, 0.5)
