"""Nothing is cut: windows that reach beyond the picture, and when they are taken."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scenes import LANDSCAPE, RATIOS, dog, face, only_plan, person, planned, requests_with, scenes

from crop_core.detection import Detection
from crop_core.frame.subjects import subjects_among
from crop_core.geometry import Size, Window
from crop_core.request import CropRequest

Scene = tuple[Size, tuple[Detection, ...]]

padding_requests = requests_with(fit=st.sampled_from(["pad", "auto"]))


@given(scenes(), padding_requests)
def test_a_window_lies_in_the_picture_and_its_frame_around_it(scene: Scene, request_: CropRequest) -> None:
    size, detections = scene
    for plan in planned(detections, size, request_):
        window, frame = plan.window, plan.frame or plan.window
        assert 0 <= window.x1 < window.x2 <= size.width
        assert 0 <= window.y1 < window.y2 <= size.height
        # What the frame holds of the picture is the window, to the pixel.
        assert window == Window(
            max(frame.x1, 0), max(frame.y1, 0), min(frame.x2, size.width), min(frame.y2, size.height)
        )


@given(scenes(), padding_requests)
def test_a_frame_has_its_ratio_to_the_pixel_and_the_crop_its_size(scene: Scene, request_: CropRequest) -> None:
    size, detections = scene
    ((_, ratio),) = request_.ratios
    ratio = ratio or Fraction(size.width, size.height)
    for plan in planned(detections, size, request_):
        frame = plan.frame or plan.window
        assert frame.width == max(1, round(frame.height * ratio)) or frame.height == max(1, round(frame.width / ratio))
        if max(frame.width, frame.height) <= 16_383 and frame.size.area <= 8192**2:
            assert plan.output_size == plan.content_size == frame.size


@given(scenes(), RATIOS, st.floats(0, 1), st.floats(0, 2))
def test_whoever_the_picture_is_about_is_whole_with_pad_in_every_ratio(
    scene: Scene, ratio: str, zoom: float, padding: float
) -> None:
    size, detections = scene
    assume(detections)
    request = CropRequest(aspect_ratios=(ratio,), zoom=zoom, padding=padding)
    main = max(subjects_among(detections, size, request), key=lambda thing: thing.weight)
    for fit in ("pad", "auto"):
        (plan,) = planned(detections, size, replace(request, fit=fit))
        assert set(main.ids) <= set(plan.subjects)
        assert main.box.coverage(plan.window) == pytest.approx(1)


@given(scenes(), RATIOS)
def test_the_whole_picture_is_kept_with_pad_at_zoom_0(scene: Scene, ratio: str) -> None:
    size, detections = scene
    (plan,) = planned(detections, size, CropRequest(aspect_ratios=(ratio,), fit="pad"))
    assert plan.window == Window(0, 0, size.width, size.height)


@given(scenes(), st.integers(5, 400), st.integers(5, 400), st.sampled_from(["never", "allow", "pad"]))
def test_a_padded_crop_has_exactly_the_size_asked_for_and_its_pixels_lie_within(
    scene: Scene, width: int, height: int, upscale: str
) -> None:
    size, detections = scene
    request = CropRequest(width=width, height=height, upscale=upscale, fit="pad")
    (plan,) = planned(detections, size, request)
    at, frame = plan.shown_in, plan.frame or plan.window
    if upscale != "never" or (frame.width >= width and frame.height >= height):
        assert plan.output_size == Size(width, height)
    assert 0 <= at.x1 < at.x2 <= plan.output_size.width
    assert 0 <= at.y1 < at.y2 <= plan.output_size.height


def test_a_wide_picture_in_a_square_lies_in_its_middle() -> None:
    plan = only_plan([dog(10, 10, 590, 390)], fit="pad", width=300)
    assert (plan.window, plan.frame) == (Window(0, 0, 600, 400), Window(0, -100, 600, 500))
    assert (plan.output_size, plan.shown_in) == (Size(300, 300), Window(0, 50, 300, 250))


def test_a_subject_that_fits_is_not_padded() -> None:
    plan = only_plan([dog(100, 100, 200, 200)], fit="pad", zoom=1, padding=0)
    assert (plan.window, plan.frame) == (Window(100, 100, 200, 200), None)


def test_a_subject_that_does_not_fit_takes_the_pictures_own_pixels_before_any_padding() -> None:
    plan = only_plan([dog(50, 150, 550, 250)], fit="pad", zoom=1, padding=0)
    assert (plan.window, plan.frame) == (Window(50, 0, 550, 400), Window(50, -50, 550, 450))


def test_auto_crops_while_the_subject_is_whole_and_pads_where_it_is_cut() -> None:
    whole = only_plan([dog(100, 0, 400, 400)], fit="auto")
    assert (whole.frame, whole.window.size) == (None, Size(400, 400))
    cut = only_plan([dog(50, 0, 550, 400)], fit="auto")
    assert cut.frame == Window(0, -100, 600, 500)


def test_auto_keeps_every_sure_face_and_what_weighs_about_as_much() -> None:
    people = [person(0, 100, 100, 380), person(500, 100, 600, 380)]
    assert only_plan(people, fit="auto").frame is not None
    faces = [person(0, 100, 100, 380), face(560, 150, 575, 170)]
    assert only_plan(faces, fit="auto").frame is not None
    beside = [person(100, 20, 350, 380), dog(550, 350, 580, 380)]
    assert only_plan(beside, fit="auto").frame is None


def test_auto_keeps_everything_that_labels_name() -> None:
    beside = [person(100, 20, 350, 380), dog(550, 350, 580, 380)]
    assert only_plan(beside, fit="auto", labels="dog,person").frame is not None


def test_a_picture_in_which_nothing_is_found_is_whole_with_pad_and_cropped_with_auto() -> None:
    assert only_plan([], fit="pad", if_none="center").window == Window(0, 0, 600, 400)
    assert only_plan([], fit="auto", if_none="center").window.size == Size(400, 400)


@pytest.mark.parametrize("size", [LANDSCAPE, Size(1000, 1), Size(1, 1000), Size(640, 427)])
def test_a_picture_of_the_ratio_asked_for_is_not_padded(size: Size) -> None:
    plan = only_plan([], size, fit="pad", aspect_ratio="match_input")
    assert (plan.frame, plan.window.size) == (None, size)
