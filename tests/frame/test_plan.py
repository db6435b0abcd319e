import random
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scenes import LANDSCAPE, RATIOS, dog, face, only_plan, person, planned, requests_with, scenes

from crop_core.detection import Detection, in_order
from crop_core.errors import ImageError
from crop_core.frame.place_on_axis import LEAST_FACE
from crop_core.frame.subjects import subjects_among, weightiest
from crop_core.geometry import Box, Size, Window
from crop_core.request import CropRequest

requests = requests_with(headroom=st.floats(0, 2))


# What holds for every scene


@given(scenes(), requests, st.floats(0, 1))
def test_every_window_lies_in_the_picture(
    scene: tuple[Size, tuple[Detection, ...]], request_: CropRequest, threshold: float
) -> None:
    size, seen = scene
    detections = [detection for detection in seen if detection.score >= threshold]
    weak = [detection for detection in seen if detection.score < threshold]
    for plan in planned(detections, size, request_, weak=weak):
        assert set(plan.subjects) <= set(range(len(detections)))
        assert plan.window.x1 >= 0
        assert plan.window.y1 >= 0
        assert plan.window.x2 <= size.width
        assert plan.window.y2 <= size.height


@given(scenes(), requests)
def test_every_window_has_its_ratio_to_the_pixel(
    scene: tuple[Size, tuple[Detection, ...]], request_: CropRequest
) -> None:
    size, detections = scene
    ((name, ratio),) = request_.ratios
    ratio = ratio or Fraction(size.width, size.height)
    for plan in planned(detections, size, request_):
        width, height = plan.window.width, plan.window.height
        # One side is the other's exact partner, rounded to the pixel and at least one.
        assert width == max(1, round(height * ratio)) or height == max(1, round(width / ratio)), name


@given(scenes(), RATIOS)
def test_a_window_at_zoom_0_is_the_largest_of_its_ratio(scene: tuple[Size, tuple[Detection, ...]], ratio: str) -> None:
    size, detections = scene
    for plan in planned(detections, size, CropRequest(aspect_ratios=(ratio,))):
        assert plan.window.width == size.width or plan.window.height == size.height


@given(scenes(labels=("person", "dog")), RATIOS, st.floats(0, 1))
def test_the_weightiest_thing_that_is_more_than_a_guess_is_whole_when_it_fits(
    scene: tuple[Size, tuple[Detection, ...]], ratio: str, zoom: float
) -> None:
    size, detections = scene
    assume(detections)
    request = CropRequest(aspect_ratios=(ratio,), zoom=zoom)
    things = subjects_among(detections, size, request)
    sure = any(thing.score >= 0.5 for thing in things)
    main = max((thing for thing in things if thing.score >= 0.3 or not sure), key=lambda thing: thing.weight)
    (largest,) = planned((), size, replace(request, if_none="center"))
    needed = main.box.outward()
    (plan,) = planned(detections, size, request)
    if needed.width <= largest.window.width and needed.height <= largest.window.height:
        assert set(main.ids) <= set(plan.subjects)
        assert all(plan.coverage[index] == pytest.approx(1) for index in main.ids)


@given(st.integers(200, 338), st.integers(0, 62), st.floats(0, 1), st.floats(0.02, 1), st.floats(0, 2))
def test_a_person_who_just_fits_is_whole_wherever_the_face_is(
    height: int, top: int, face_from: float, face_share: float, headroom: float
) -> None:
    y1 = top + face_from * (1 - face_share) * height
    detections = [person(200, top, 400, top + height), face(260, y1, 340, y1 + face_share * height)]
    plan = only_plan(detections, aspect_ratio="16:9", headroom=headroom)  # a window of 338 px in the 400
    assert plan.coverage == pytest.approx((1, 1))


@given(scenes(labels=("face",)), RATIOS)
def test_all_sure_heads_that_claim_a_place_are_whole_when_they_fit_together(
    scene: tuple[Size, tuple[Detection, ...]], ratio: str
) -> None:
    size, detections = scene
    detections = tuple(detection for detection in detections if detection.score >= 0.5)
    assume(detections)
    request = CropRequest(aspect_ratios=(ratio,))
    things = subjects_among(detections, size, request)
    assume(min(thing.weight for thing in things) >= LEAST_FACE * weightiest(things).weight)
    heads = [thing.box.outward() for thing in things]
    (plan,) = planned(detections, size, request)
    width = max(head.x2 for head in heads) - min(head.x1 for head in heads)
    height = max(head.y2 for head in heads) - min(head.y1 for head in heads)
    if width <= plan.window.width and height <= plan.window.height:
        assert plan.coverage == pytest.approx([1] * len(detections))


@given(scenes(), requests)
def test_coverage_is_the_share_of_each_box_inside(
    scene: tuple[Size, tuple[Detection, ...]], request_: CropRequest
) -> None:
    size, detections = scene
    for plan in planned(detections, size, request_):
        assert set(plan.subjects) <= set(range(len(detections)))
        assert len(plan.coverage) == len(detections)
        for detection, share in zip(detections, plan.coverage, strict=True):
            box, window = detection.box, plan.window
            width = max(0.0, min(box.x2, window.x2) - max(box.x1, window.x1))
            height = max(0.0, min(box.y2, window.y2) - max(box.y1, window.y1))
            assert share * box.width * box.height == pytest.approx(width * height, abs=1e-6)


def random_scene(seed: int) -> tuple[Size, tuple[Detection, ...]]:
    """Return a scene without ties, which would leave a mirrored window more than one right place."""
    draw = random.Random(seed)
    size = Size(draw.randrange(200, 1200), draw.randrange(200, 1200))
    detections = []
    for _ in range(draw.randrange(1, 6)):
        x1, y1 = draw.uniform(0, size.width * 0.8), draw.uniform(0, size.height * 0.8)
        box = Box(x1, y1, draw.uniform(x1 + 9, size.width), draw.uniform(y1 + 9, size.height))
        detections.append(Detection(draw.choice(("person", "dog", "cat")), draw.uniform(0.2, 1), box))
    return size, in_order(detections)


def mirrored(box: Box, size: Size) -> Box:
    return Box(size.width - box.x2, box.y1, size.width - box.x1, box.y2)


@pytest.mark.parametrize("ratio", ["1:1", "4:5", "16:9"])
@pytest.mark.parametrize("zoom", [0.0, 0.5, 1.0])
def test_a_mirrored_scene_gives_the_mirrored_window(ratio: str, zoom: float) -> None:
    request = CropRequest(aspect_ratios=(ratio,), zoom=zoom)
    for seed in range(100):
        size, detections = random_scene(seed)
        flipped = [replace(detection, box=mirrored(detection.box, size)) for detection in detections]
        (plan,) = planned(detections, size, request)
        (other,) = planned(flipped, size, request)
        expected = mirrored(plan.window.box, size).xyxy
        # Half a pixel is rounded to the even one, which need not be the mirrored one.
        assert other.window.xyxy == pytest.approx(expected, abs=1), seed


@pytest.mark.parametrize("ratio", ["1:1", "9:16"])
def test_the_scale_of_the_scene_does_not_matter(ratio: str) -> None:
    request = CropRequest(aspect_ratios=(ratio,))
    for seed in range(100):
        size, detections = random_scene(seed)
        larger = [replace(d, box=Box(*(4 * side for side in d.box.xyxy))) for d in detections]
        (plan,) = planned(detections, size, request)
        (other,) = planned(larger, Size(4 * size.width, 4 * size.height), request)
        # A place is rounded by less than one small pixel, four large ones; the size by half of that.
        assert other.window.xyxy == pytest.approx([4 * side for side in plan.window.xyxy], abs=6), seed


# What matters is kept


def test_a_subject_at_the_border_is_kept_where_the_center_would_cut_it() -> None:
    plan = only_plan([dog(0, 100, 150, 300)], aspect_ratio="1:1")
    assert plan.coverage == (1.0,)
    assert plan.rule == "subject"


def test_a_head_comes_before_the_feet_when_the_person_does_not_fit() -> None:
    plan = only_plan([person(100, 0, 300, 800), face(160, 40, 240, 140)], Size(400, 800), aspect_ratio="16:9")
    assert plan.window.y1 == 0
    assert plan.coverage[1] == 1.0
    assert plan.subjects == (0, 1)
    assert plan.coverage[0] < 0.5


def test_the_feet_come_before_the_air_above_a_head_when_the_person_fits() -> None:
    plan = only_plan([person(200, 40, 400, 370), face(260, 60, 340, 160)], aspect_ratio="16:9")  # the window: 338 px
    assert plan.coverage == (1.0, 1.0)
    assert plan.window.y1 == 40 - 8  # what is left is the air's, which would go up to -1


def test_a_head_comes_before_the_feet_when_no_face_is_seen() -> None:
    plan = only_plan([person(100, 50, 300, 800)], Size(400, 800), aspect_ratio="16:9")
    assert plan.window.y1 <= 50
    assert plan.coverage[0] < 0.5


@pytest.mark.parametrize("headroom", [0.0, 0.4, 1.0])
def test_headroom_is_kept_above_a_face(headroom: float) -> None:
    plan = only_plan([face(250, 500, 350, 600)], Size(600, 1200), aspect_ratio="3:1", headroom=headroom)
    assert plan.window.y1 <= 500 - headroom * 100


def test_weak_boxes_have_a_say_in_where_the_window_lies_and_are_no_subjects() -> None:
    strong, weak = dog(200, 100, 300, 300), dog(350, 100, 590, 300, score=0.25)
    request = CropRequest(aspect_ratios=("1:1",))
    (alone,) = planned([strong], LANDSCAPE, request)
    (both,) = planned([strong], LANDSCAPE, request, weak=[weak])
    assert alone.window == Window(50, 0, 450, 400)
    assert both.window.x1 >= 190  # both are whole now
    assert (both.subjects, both.coverage) == ((0,), (1.0,))


def test_a_face_in_a_weak_person_is_the_subject_and_keeps_its_name() -> None:
    request = CropRequest(aspect_ratios=("1:1",), zoom=1)
    (alone,) = planned([face(200, 100, 260, 180)], LANDSCAPE, request)
    (both,) = planned([face(200, 100, 260, 180)], LANDSCAPE, request, weak=[person(150, 80, 400, 400, score=0.25)])
    assert both == alone
    assert (both.label, both.subjects) == ("face", (0,))


def test_weak_boxes_alone_are_nothing_found() -> None:
    (plan,) = planned([], LANDSCAPE, CropRequest(if_none="center"), weak=[dog(0, 0, 100, 100, score=0.25)])
    assert plan.rule == "center"


def test_of_two_that_do_not_fit_together_the_weightier_is_whole() -> None:
    plan = only_plan([dog(0, 0, 180, 400), dog(450, 100, 600, 250)], aspect_ratio="1:2")
    assert plan.coverage == (1.0, 0.0)
    assert plan.subjects == (0,)


def test_a_label_weight_changes_who_is_kept() -> None:
    detections = [dog(0, 0, 180, 400), person(450, 100, 600, 250)]
    assert only_plan(detections, aspect_ratio="1:2").label == "dog"
    assert only_plan(detections, aspect_ratio="1:2", labels="dog,person:50").label == "person"


def test_labels_leave_out_what_they_do_not_name() -> None:
    detections = [dog(0, 0, 180, 400), person(450, 100, 600, 250, score=0.4)]
    plan = only_plan(detections, aspect_ratio="1:2", labels="person")
    assert plan.subjects == (1,)
    assert plan.coverage == (0.0, 1.0)


# Zoom and padding


def test_zoom_goes_from_the_whole_scene_to_the_subject() -> None:
    subject = dog(200, 150, 300, 250)
    sizes = [only_plan([subject], aspect_ratio="1:1", zoom=zoom).window.width for zoom in (0, 0.25, 0.5, 0.75, 1)]
    assert sizes == sorted(sizes, reverse=True)
    assert (sizes[0], sizes[-1]) == (400, 120)  # the picture's height; 100 px and a tenth on either side


@pytest.mark.parametrize(
    ("padding", "window"),
    [(0, Window(200, 150, 300, 250)), (0.1, Window(190, 140, 310, 260)), (0.5, Window(150, 100, 350, 300))],
)
def test_padding_is_a_fraction_of_the_subjects_side(padding: float, window: Window) -> None:
    assert only_plan([dog(200, 150, 300, 250)], aspect_ratio="1:1", zoom=1, padding=padding).window == window


def test_padding_at_the_border_is_clamped_and_never_an_error() -> None:
    assert only_plan([dog(0, 0, 100, 100)], mode="objects", aspect_ratio="free", padding=1).window == Window(
        0, 0, 200, 200
    )


def test_a_tight_window_grows_its_short_side_to_the_ratio_and_shifts_at_the_border() -> None:
    plan = only_plan([dog(0, 100, 40, 300)], mode="objects", aspect_ratio="1:1", padding=0)
    assert plan.window == Window(0, 100, 200, 300)


# Ratios


def test_match_input_at_zoom_0_is_the_whole_picture() -> None:
    plan = only_plan([dog(200, 150, 300, 250)], aspect_ratio="match_input")
    assert plan.window == Window(0, 0, 600, 400)


def test_free_fits_the_subject_and_its_padding() -> None:
    plan = only_plan([dog(200, 150, 300, 250)], aspect_ratio="free", zoom=1)
    assert plan.window == Window(190, 140, 310, 260)
    assert only_plan([dog(200, 150, 300, 250)], aspect_ratio="free").window == Window(0, 0, 600, 400)


def test_several_ratios_give_a_crop_each_in_their_order() -> None:
    request = CropRequest.from_inputs(aspect_ratio="16:9,1:1,free")
    plans = planned([dog(200, 150, 300, 250)], LANDSCAPE, request)
    assert [plan.aspect_ratio for plan in plans] == ["16:9", "1:1", "free"]


# One crop per object or face


def test_objects_get_a_crop_each_and_faces_are_no_objects() -> None:
    detections = in_order([dog(0, 0, 100, 100, 0.6), person(300, 0, 400, 300, 0.9), face(330, 10, 360, 50, 0.8)])
    plans = planned(detections, LANDSCAPE, CropRequest(mode="objects"))
    assert [(plan.label, plan.rule) for plan in plans] == [("person", "object"), ("dog", "object")]


def test_faces_get_a_crop_each_with_headroom() -> None:
    plans = planned(
        [person(0, 0, 300, 400), face(100, 100, 150, 150)],
        LANDSCAPE,
        CropRequest(mode="faces", aspect_ratios=("free",), padding=0, headroom=0.4),
    )
    assert [(plan.label, plan.rule, plan.subjects) for plan in plans] == [("face", "face", (1,))]
    assert plans[0].window == Window(100, 80, 150, 150)


@pytest.mark.parametrize(
    ("order", "expected"),
    [("score", [0, 1, 2]), ("area", [2, 0, 1]), ("left_to_right", [1, 2, 0])],
)
def test_order_says_which_comes_first(order: str, expected: list[int]) -> None:
    detections = [dog(400, 0, 450, 50, 0.9), dog(0, 0, 40, 40, 0.8), dog(100, 0, 300, 300, 0.7)]
    plans = planned(detections, LANDSCAPE, CropRequest(mode="objects", order=order))
    assert [plan.subjects[0] for plan in plans] == expected


@pytest.mark.parametrize("most", [1, 3, 4])
def test_no_more_than_max_crops_come_out(most: int) -> None:
    detections = [dog(100 * i, 0, 100 * i + 90, 90, 0.9 - i / 10) for i in range(5)]
    request = CropRequest(mode="objects", aspect_ratios=("1:1", "16:9"), max_crops=most)
    plans = planned(detections, LANDSCAPE, request)
    assert [plan.subjects[0] for plan in plans] == [0, 0, 1, 1][:most]


# Nothing found


def test_empty_gives_no_crops() -> None:
    assert planned([], LANDSCAPE, CropRequest(if_none="empty")) == ()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "Nothing was found in the picture at score_threshold 0.3"),
        ({"mode": "faces"}, "No face was found"),
        ({"labels": "dog,cat"}, "Nothing of dog,cat was found"),
    ],
)
def test_error_says_what_was_not_found_and_what_to_do(inputs: dict[str, str], message: str) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        only_plan([], if_none="error", **inputs)
    assert "Lower it, or set if_none" in str(caught.value)


def test_center_is_the_largest_window_in_the_middle() -> None:
    plan = only_plan([], aspect_ratio="1:1", if_none="center")
    assert (plan.window, plan.rule, plan.label, plan.subjects) == (Window(100, 0, 500, 400), "center", "center", ())


def test_full_image_is_not_cropped_whatever_the_ratio() -> None:
    plan = only_plan([], aspect_ratio="1:1", if_none="full_image", width=300)
    assert (plan.window, plan.output_size, plan.rule) == (Window(0, 0, 600, 400), Size(300, 200), "full_image")


def test_saliency_goes_where_a_person_would_put_the_window() -> None:
    request = CropRequest(aspect_ratios=("1:1",))
    (plan,) = planned([], LANDSCAPE, request, composition=Box(0, 50, 300, 350))
    assert (plan.window, plan.rule) == (Window(0, 0, 400, 400), "saliency")
    (plan,) = planned([], LANDSCAPE, request)
    assert plan.window == Window(100, 0, 500, 400)


def test_free_is_the_window_that_a_person_would_draw_grown_to_hold_the_subject() -> None:
    composition = Box(100, 50, 400, 350)
    (plan,) = planned([], LANDSCAPE, CropRequest(aspect_ratios=("free",)), composition=composition)
    assert plan.window == Window(100, 50, 400, 350)
    (plan,) = planned(
        [dog(50, 100, 300, 200)], LANDSCAPE, CropRequest(aspect_ratios=("free",)), composition=composition
    )
    assert plan.window == Window(50, 50, 400, 350)


@pytest.mark.parametrize(("middle", "x1"), [(500, 160), (300, 100), (0, 50)], ids=["right", "there", "left"])
def test_a_composition_decides_what_the_subject_leaves_open(middle: float, x1: int) -> None:
    """A dog from 200 to 400, whole in a window of 400 px with a tenth of its width to either side."""
    composition = Box(middle - 10, 100, middle + 10, 300) if middle else Box(0, 100, 20, 300)
    (plan,) = planned([dog(200, 100, 400, 300)], LANDSCAPE, CropRequest(), composition=composition)
    assert plan.window.x1 == pytest.approx(x1, abs=30)
    assert plan.window.x1 <= 200
    assert plan.window.x2 >= 400


@given(scenes(), st.floats(0, 1), st.floats(0, 1))
def test_a_composition_never_costs_a_lone_subject_that_fits(
    scene: tuple[Size, tuple[Detection, ...]], across: float, down: float
) -> None:
    size, detections = scene[0], scene[1][:1]
    assume(detections)
    x, y = across * size.width, down * size.height
    (alone,) = planned(detections, size, CropRequest())
    (led,) = planned(detections, size, CropRequest(), composition=Box(x, y, x, y))
    if alone.coverage[0] == pytest.approx(1):
        assert led.coverage[0] == pytest.approx(1)


def test_labels_that_nothing_bears_use_the_fallback_and_say_so() -> None:
    plan = only_plan([person(0, 0, 100, 400)], labels="dog", aspect_ratio="1:1", if_none="center")
    assert plan.rule == "center"
    assert plan.coverage == (0.0,)


# Sizes


@pytest.mark.parametrize(
    ("inputs", "content", "output"),
    [
        pytest.param({}, Size(400, 400), Size(400, 400), id="unasked"),
        pytest.param({"width": 200}, Size(200, 200), Size(200, 200), id="smaller"),
        pytest.param({"height": 100}, Size(100, 100), Size(100, 100), id="height alone"),
        pytest.param({"width": 900}, Size(400, 400), Size(400, 400), id="never enlarged"),
        pytest.param({"width": 900, "upscale": "allow"}, Size(900, 900), Size(900, 900), id="enlarged"),
        pytest.param({"width": 900, "upscale": "pad"}, Size(400, 400), Size(900, 900), id="padded"),
        pytest.param({"width": 200, "upscale": "pad"}, Size(200, 200), Size(200, 200), id="nothing to pad"),
    ],
)
def test_the_output_has_the_size_asked_for(inputs: dict[str, object], content: Size, output: Size) -> None:
    plan = only_plan([dog(200, 150, 300, 250)], aspect_ratio="1:1", **inputs)
    assert (plan.content_size, plan.output_size) == (content, output)


def test_width_and_height_cut_their_own_ratio() -> None:
    plan = only_plan([dog(200, 150, 300, 250)], width=100, height=200)
    assert (plan.aspect_ratio, plan.window.size, plan.output_size) == ("1:2", Size(200, 400), Size(100, 200))


def test_width_alone_keeps_the_ratio_to_the_pixel() -> None:
    assert only_plan([], Size(4000, 3000), aspect_ratio="16:9", width=1000).output_size == Size(1000, 562)


def test_a_crop_too_long_for_any_format_comes_out_smaller() -> None:
    assert only_plan([], Size(40_000, 1000), aspect_ratio="match_input").output_size == Size(16_383, 410)


def test_one_pixel_can_be_cropped() -> None:
    plan = only_plan([], Size(1, 1), aspect_ratio="16:9")
    assert plan.window == Window(0, 0, 1, 1)


@pytest.mark.parametrize("if_none", ["center", "full_image"])
@pytest.mark.parametrize(
    ("size", "inputs"),
    [(Size(16_384, 12_288), {}), (Size(12_288, 16_384), {}), (Size(9_000, 16_000), {"width": 8192})],
    ids=["landscape", "portrait", "a width alone"],
)
def test_a_crop_has_at_most_as_many_pixels_as_the_largest_that_can_be_asked_for(
    size: Size, inputs: dict[str, object], if_none: str
) -> None:
    output = only_plan([], size, aspect_ratio="match_input", if_none=if_none, **inputs).output_size
    assert 0.999 * 8192**2 < output.width * output.height <= 8192**2
    assert abs(output.width / output.height - size.width / size.height) < 1e-3
