"""What the caller names comes first: focus boxes whole, focus points in the middle, the rest left to the detections."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scenes import RATIOS, dog, face, only_plan, person, planned, scenes

from crop_core.detection import Detection
from crop_core.errors import RequestError
from crop_core.frame.window import exact_ratio, largest_size
from crop_core.geometry import Box, Size, Window
from crop_core.request import CropRequest

Scene = tuple[Size, tuple[Detection, ...]]
fractions = st.integers(0, 1000).map(lambda number: number / 1000)
boxes = st.tuples(fractions, fractions, fractions, fractions).filter(lambda b: b[0] < b[2] and b[1] < b[3])
ZOOMS = st.sampled_from([None, 0, 0.3, 1])


def text_of(*foci: tuple[float, ...]) -> str:
    return ";".join(",".join(map(str, numbers)) for numbers in foci)


def in_pixels(numbers: tuple[float, ...], size: Size) -> tuple[float, ...]:
    return tuple(number * (size.width, size.height)[index % 2] for index, number in enumerate(numbers))


# What holds for every scene


@given(scenes(), RATIOS, ZOOMS, st.lists(st.one_of(boxes, st.tuples(fractions, fractions)), min_size=1, max_size=3))
def test_a_window_on_a_focus_lies_in_the_picture_and_has_its_ratio_to_the_pixel(
    scene: Scene, ratio: str, zoom: float | None, foci: list[tuple[float, ...]]
) -> None:
    size, detections = scene
    request = CropRequest(aspect_ratios=(ratio,), zoom=zoom, focus=text_of(*foci))
    (plan,) = planned(detections, size, request)
    window = plan.window
    assert window.x1 >= 0
    assert window.y1 >= 0
    assert window.x2 <= size.width
    assert window.y2 <= size.height
    exact = request.ratios[0][1] or Fraction(size.width, size.height)
    assert window.width == max(1, round(window.height * exact)) or window.height == max(1, round(window.width / exact))
    assert plan.rule == "focus"


@given(scenes(), RATIOS, ZOOMS, boxes)
def test_a_focus_box_is_whole_whenever_it_fits(scene: Scene, ratio: str, zoom: float | None, box: tuple[float]) -> None:
    size, detections = scene
    (plan,) = planned(detections, size, CropRequest(aspect_ratios=(ratio,), zoom=zoom, focus=text_of(box)))
    needed = Box(*in_pixels(box, size)).outward()
    largest = largest_size(size, exact_ratio(ratio, CropRequest(aspect_ratios=(ratio,)).ratios[0][1], size))
    for axis, room in ((0, largest.width), (1, largest.height)):
        low, high = needed.xyxy[axis], needed.xyxy[axis + 2]
        first, last = plan.window.xyxy[axis], plan.window.xyxy[axis + 2]
        if high - low <= room:
            assert first <= low
            assert high <= last
        else:  # the window shows nothing but the box
            assert low <= first
            assert last <= high


@given(scenes(), RATIOS, st.tuples(fractions, fractions))
def test_no_other_place_brings_the_middle_nearer_to_a_focus_point(
    scene: Scene, ratio: str, point: tuple[float, float]
) -> None:
    size, detections = scene
    (plan,) = planned(detections, size, CropRequest(aspect_ratios=(ratio,), focus=text_of(point)))
    for axis, extent in ((0, size.width), (1, size.height)):
        first, last = plan.window.xyxy[axis], plan.window.xyxy[axis + 2]
        aim, length = point[axis] * extent, last - first
        best = min(abs(start + length / 2 - aim) for start in range(extent - length + 1))
        assert abs(first + length / 2 - aim) <= best + 1e-6


@given(scenes(), RATIOS, boxes, boxes)
def test_all_focus_boxes_are_whole_whenever_they_fit_together(
    scene: Scene, ratio: str, one: tuple[float], other: tuple[float]
) -> None:
    size, detections = scene
    (plan,) = planned(detections, size, CropRequest(aspect_ratios=(ratio,), focus=text_of(one, other)))
    spans = [Box(*in_pixels(box, size)).outward() for box in (one, other)]
    low_x, high_x = min(span.x1 for span in spans), max(span.x2 for span in spans)
    low_y, high_y = min(span.y1 for span in spans), max(span.y2 for span in spans)
    if high_x - low_x <= plan.window.width and high_y - low_y <= plan.window.height:
        assert plan.window.x1 <= low_x
        assert high_x <= plan.window.x2
        assert plan.window.y1 <= low_y
        assert high_y <= plan.window.y2


@given(scenes(), boxes)
def test_a_free_window_holds_the_focus_box(scene: Scene, box: tuple[float]) -> None:
    size, detections = scene
    request = CropRequest(aspect_ratios=("free",), focus=text_of(box))
    composition = Box(size.width / 4, size.height / 4, size.width / 2, size.height / 2)
    for one in (request, replace(request, zoom=1)):
        (plan,) = planned(detections, size, one, composition=composition)
        needed = Box(*in_pixels(box, size)).outward()
        assert plan.window.x1 <= needed.x1
        assert plan.window.y1 <= needed.y1
        assert plan.window.x2 >= needed.x2
        assert plan.window.y2 >= needed.y2


# What the caller says and what the detections say


def test_a_focus_comes_before_the_surest_thing() -> None:
    plan = only_plan([dog(400, 100, 600, 300)], focus="0,0,0.2,1")
    assert plan.window == Window(0, 0, 400, 400)
    assert (plan.rule, plan.label, plan.subjects) == ("focus", "focus", ())


def test_the_detections_decide_what_a_focus_box_leaves_open() -> None:
    left, right = dog(0, 100, 100, 300), dog(500, 100, 600, 300)  # the box is from 250 to 350, the window 400 wide
    assert only_plan([left], focus="250px,0px,350px,100px").window.x1 == 0
    plan = only_plan([right], focus="250px,0px,350px,100px")
    assert plan.window.x2 == 600
    assert (plan.label, plan.subjects) == ("dog", (0,))


def test_a_box_where_nothing_was_found_sits_in_the_middle() -> None:
    assert only_plan([], focus="250px,0px,350px,100px").window == Window(100, 0, 500, 400)


def test_a_focus_is_enough_where_nothing_was_found() -> None:
    for policy in ("error", "empty", "full_image"):
        assert only_plan([], focus="0.1,0.5", if_none=policy).window == Window(0, 0, 400, 400)


def test_pixels_and_fractions_mean_the_same_place() -> None:
    assert only_plan([], focus="0.5,0.25").window == only_plan([], focus="300px,100px").window


def test_several_points_count_alike() -> None:
    plan = only_plan([], focus="0.25,0.5;0.5,0.5;0.75,0.1")
    assert plan.window == Window(100, 0, 500, 400)
    assert only_plan([], focus="0.4,0.5;0.6,0.5;0.35,0.5").window.x1 == round(0.45 * 600 - 200)


def test_boxes_come_before_points_and_the_first_box_before_the_second() -> None:
    assert only_plan([], focus="0.9,0.5;0,0,0.1,1").window.x1 == 0
    assert only_plan([], focus="0,0,0.1,1;0.9,0,1,1").window.x1 == 0
    assert only_plan([], focus="0.9,0,1,1;0,0,0.1,1").window.x1 == 200


def test_the_claims_of_a_focus_are_told_before_those_of_the_detections() -> None:
    box = only_plan([dog(400, 100, 600, 300)], focus="0,0,0.2,1")
    assert str(box.verdicts[0]) == "left to right: the focus box: held"
    assert "left to right: the dog whole: gave way" in map(str, box.verdicts)
    point = only_plan([dog(400, 100, 600, 300)], focus="0.1,0.5")
    assert [str(verdict) for verdict in point.verdicts][:2] == [
        "left to right: the focus point: held",
        "left to right: the focus point in the middle: held in part",
    ]


# Zoom


def test_zoom_closes_in_on_the_focus_with_its_padding() -> None:
    plan = only_plan([dog(400, 100, 600, 300)], focus="100px,100px,200px,200px", zoom=1)
    assert plan.window == Window(90, 90, 210, 210)


def test_zoom_closes_in_on_what_a_point_lies_in_and_keeps_it_whole() -> None:
    things = [person(100, 50, 300, 350), dog(200, 200, 280, 280)]
    plan = only_plan(things, focus="210px,210px", zoom=1, padding=0)
    assert (plan.window, plan.label) == (Window(200, 200, 280, 280), "dog")
    assert only_plan(things, focus="110px,60px", zoom=1, padding=0, aspect_ratio="1:1").coverage[0] == 1


def test_a_point_on_nothing_leaves_zoom_nothing_to_close_in_on() -> None:
    assert only_plan([dog(400, 100, 600, 300)], focus="0.1,0.5", zoom=1).window == Window(0, 0, 400, 400)


# Outside of the picture


@pytest.mark.parametrize("focus", ["601px,10px", "10px,401px", "600px,0px,700px,100px"])
def test_a_focus_outside_of_the_picture_is_refused(focus: str) -> None:
    with pytest.raises(RequestError, match=r"lies outside of the picture, which has 600x400 pixels"):
        only_plan([], focus=focus)


def test_the_refusal_of_a_focus_is_one_line_however_it_was_written() -> None:
    with pytest.raises(RequestError) as caught:
        only_plan([], focus="601px\n,\n10px" + " " * 100)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_what_a_box_has_outside_of_the_picture_does_not_count() -> None:
    assert only_plan([], focus="500px,0px,900px,900px").window == only_plan([], focus="500px,0px,600px,400px").window


# Position


@pytest.mark.parametrize(
    ("position", "x1"), [("center", 200), ("west", 267), ("east", 133), ("0,0.5", 300), ("1,0.5", 100)]
)
def test_a_position_places_the_subject_in_the_window(position: str, x1: int) -> None:
    plan = only_plan([dog(350, 100, 450, 300)], Size(1000, 400), aspect_ratio="1:1", position=position)
    assert plan.window.x1 == {"0,0.5": 350, "1,0.5": 50}.get(position, x1)  # whole comes first


@given(scenes(labels=("person", "dog")), RATIOS, st.tuples(fractions, fractions))
def test_a_position_never_cuts_the_weightiest_thing(scene: Scene, ratio: str, at: tuple[float, float]) -> None:
    size, detections = scene
    assume(detections)
    request = CropRequest(aspect_ratios=(ratio,))
    (plain,) = planned(detections[:1], size, request)
    (placed,) = planned(detections[:1], size, replace(request, position=text_of(at)))
    if plain.coverage[0] == pytest.approx(1):
        assert placed.coverage[0] == pytest.approx(1)
    assert placed.window.size == plain.window.size


def test_a_position_counts_down_as_well_and_after_the_headroom() -> None:
    tall = Size(400, 1000)
    assert only_plan([dog(100, 450, 300, 550)], tall, position="north").window.y1 == round(500 - 400 / 3)
    assert only_plan([dog(100, 450, 300, 550)], tall, position="south").window.y1 == round(500 - 800 / 3)
    top = only_plan([face(150, 500, 250, 600)], tall, position="0.5,0", headroom=0.4).window.y1
    assert top <= 500 - 40


@pytest.mark.parametrize(("position", "y1"), [("center", 100), ("north", 133), ("south", 67)])
def test_a_position_places_a_tight_window_where_the_ratio_leaves_room(position: str, y1: int) -> None:
    plan = only_plan([dog(200, 150, 400, 250)], mode="objects", aspect_ratio="1:1", padding=0, position=position)
    assert plan.window == Window(200, y1, 400, y1 + 200)


def test_a_position_places_a_focus_too() -> None:
    wide = Size(1000, 400)
    assert only_plan([], wide, focus="0.5,0.5", position="west").window.x1 == round(500 - 400 / 3)
    assert only_plan([], wide, focus="450px,0px,550px,400px", position="east").window.x1 == round(500 - 800 / 3)


# Fit


def test_a_focus_that_a_crop_would_cut_is_padded_and_any_other_cropped() -> None:
    plan = only_plan([], focus="0,0,1,0.5", aspect_ratio="1:1", fit="auto")
    assert (plan.window, plan.frame) == (Window(0, 0, 600, 400), Window(0, -100, 600, 500))
    plan = only_plan([], focus="0.4,0,0.6,0.5", aspect_ratio="1:1", fit="auto")
    assert (plan.window, plan.frame) == (Window(100, 0, 500, 400), None)


def test_a_tight_frame_holds_the_focus_and_what_a_point_lies_in() -> None:
    inputs: dict[str, object] = {"fit": "pad", "zoom": 1, "padding": 0, "aspect_ratio": "1:2"}
    plan = only_plan([dog(100, 0, 500, 100)], focus="300px,50px", **inputs)
    assert (plan.window, plan.frame) == (Window(100, 0, 500, 400), Window(100, -200, 500, 600))
    assert plan.label == "dog"
