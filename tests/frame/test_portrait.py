"""Portraits: level eyes, the head's size and place, and nothing from beyond the picture."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from test_plan import only_plan, planned

from crop_core.detection import Detection
from crop_core.frame.plan import CropPlan
from crop_core.frame.portrait import corners, coverage, turned
from crop_core.geometry import Box, Size, Window
from crop_core.request import CropRequest

SIZE = Size(1200, 900)


def tilted(x: float, y: float, eyes: float, tilt: float, score: float = 0.9) -> Detection:
    """Return a face whose eyes are so far apart and lie on a line that falls by `tilt` degrees to the right."""

    def at(dx: float, dy: float) -> tuple[float, float]:
        there_x, there_y = turned(dx * eyes, dy * eyes, tilt)
        return x + there_x, y + there_y

    landmarks = (at(-0.5, 0), at(0.5, 0), at(0, 0.6), at(-0.4, 1.1), at(0.4, 1.1))
    middle_x, middle_y = at(0, 0.5)
    box = Box(middle_x - eyes, middle_y - 1.3 * eyes, middle_x + eyes, middle_y + 1.3 * eyes)
    return Detection("face", score, box, landmarks)


def eyes_in(plan: CropPlan, face: Detection) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return where both eyes lie in the crop, in its pixels."""
    assert face.landmarks is not None
    frame = plan.frame or plan.window
    found = []
    for x, y in face.landmarks[:2]:
        dx, dy = turned(x - frame.box.center[0], y - frame.box.center[1], plan.angle)
        scale = plan.output_size.width / frame.width
        found.append((plan.output_size.width / 2 + dx * scale, plan.output_size.height / 2 + dy * scale))
    return found[0], found[1]


faces = st.builds(tilted, st.floats(150, 1050), st.floats(150, 750), st.floats(5, 100), st.floats(-60, 60))
portrait_requests = st.builds(
    lambda mode, ratio, share, line, fit: CropRequest(
        mode=mode, aspect_ratios=(ratio,), align="eyes", face_height=share, eye_line=line, fit=fit
    ),
    st.sampled_from(["subject", "faces"]),
    st.sampled_from(["1:1", "7:9", "16:9", "9:16", "1:5", "5:1"]),
    st.none() | st.floats(0.05, 1),
    st.none() | st.floats(0, 1),
    st.sampled_from(["crop", "pad", "auto"]),
)


@given(faces, portrait_requests)
def test_every_window_lies_in_the_picture_and_without_padding_so_do_its_turned_corners(
    face: Detection, request_: CropRequest
) -> None:
    (plan,) = planned((face,), SIZE, request_)
    assert 0 <= plan.window.x1 < plan.window.x2 <= SIZE.width
    assert 0 <= plan.window.y1 < plan.window.y2 <= SIZE.height
    if request_.fit == "crop":
        assert plan.frame is None
        for x, y in corners(plan.window, plan.angle):
            assert -1e-3 <= x <= SIZE.width + 1e-3
            assert -1e-3 <= y <= SIZE.height + 1e-3


@given(faces, portrait_requests)
def test_every_frame_has_its_ratio_to_the_pixel(face: Detection, request_: CropRequest) -> None:
    (plan,) = planned((face,), SIZE, request_)
    ((_, ratio),) = request_.ratios
    assert ratio is not None
    frame = plan.frame or plan.window
    assert frame.width == max(1, round(frame.height * ratio)) or frame.height == max(1, round(frame.width / ratio))


@given(faces, portrait_requests)
def test_the_eyes_lie_level_in_every_turned_crop(face: Detection, request_: CropRequest) -> None:
    (plan,) = planned((face,), SIZE, request_)
    (left_x, left_y), (right_x, right_y) = eyes_in(plan, face)
    if plan.angle:
        assert abs(plan.angle) <= 30
        assert math.degrees(math.atan2(right_y - left_y, right_x - left_x)) == pytest.approx(0, abs=1.5)


@given(faces, st.floats(0.1, 0.9), st.floats(0.2, 0.7), st.sampled_from(["1:1", "7:9", "3:2"]))
def test_with_padding_the_head_has_exactly_the_size_and_place_asked_for(
    face: Detection, share: float, line: float, ratio: str
) -> None:
    request = CropRequest(
        mode="faces", aspect_ratios=(ratio,), align="eyes", face_height=share, eye_line=line, fit="pad"
    )
    (plan,) = planned((face,), SIZE, request)
    frame = plan.frame or plan.window
    assume(frame.height > 50)
    assert plan.layout is not None
    assert plan.layout.face_height == pytest.approx(share, rel=2 / frame.height + 0.01)
    (_, left_y), (_, right_y) = eyes_in(plan, face)
    assert (left_y + right_y) / 2 / plan.output_size.height == pytest.approx(line, abs=2 / frame.height)


@given(faces, st.sampled_from(["1:1", "7:9", "16:9"]))
def test_a_face_that_is_whole_without_a_turn_is_whole_with_one(face: Detection, ratio: str) -> None:
    request = CropRequest(mode="faces", aspect_ratios=(ratio,), align="eyes")
    (plan,) = planned((face,), SIZE, request)
    (left_x, left_y), (right_x, right_y) = eyes_in(plan, face)
    assert min(left_x, right_x, left_y, right_y) >= 0
    assert max(left_x, right_x) <= plan.output_size.width
    assert max(left_y, right_y) <= plan.output_size.height


@pytest.mark.parametrize(("tilt", "angle"), [(10, -10), (-25, 25), (0.2, 0), (40, 0), (-90, 0)])
def test_a_picture_is_turned_by_at_most_30_degrees_and_not_for_a_hair(tilt: float, angle: float) -> None:
    plan = only_plan([tilted(600, 450, 80, tilt)], SIZE, mode="faces", align="eyes")
    assert plan.angle == pytest.approx(angle)


def test_a_face_in_the_corner_is_not_turned_out_of_the_picture() -> None:
    plan = only_plan([tilted(85, 70, 80, 25)], SIZE, mode="faces", align="eyes")
    assert plan.angle == 0


def test_in_subject_mode_a_single_sure_face_is_a_portrait_and_two_are_not() -> None:
    one, other = tilted(300, 400, 60, 12), tilted(900, 400, 60, 12)
    assert only_plan([one], SIZE, align="eyes").angle == pytest.approx(-12)
    assert only_plan([one, other], SIZE, align="eyes").layout is None
    assert only_plan([one, tilted(900, 400, 60, 12, score=0.4)], SIZE, align="eyes").angle == pytest.approx(-12)


def test_auto_pads_where_the_picture_has_no_room_for_the_layout() -> None:
    inputs = {"mode": "faces", "face_height": 0.3, "eye_line": 0.5}
    assert only_plan([tilted(600, 450, 60, 0)], SIZE, fit="auto", **inputs).frame is None
    assert only_plan([tilted(100, 100, 60, 0)], SIZE, fit="auto", **inputs).frame is not None


def test_without_a_face_nothing_is_laid_out() -> None:
    plan = only_plan([Detection("dog", 0.9, Box(10, 10, 500, 500))], SIZE, align="eyes", face_height=0.5)
    assert (plan.angle, plan.layout) == (0, None)


@given(st.integers(-100, 500), st.integers(-100, 500), st.integers(1, 400), st.integers(1, 400), st.floats(-30, 30))
def test_coverage_of_a_turned_frame_is_the_share_of_the_box_inside(
    x: int, y: int, width: int, height: int, angle: float
) -> None:
    frame, box = Window(x, y, x + width, y + height), Box(100, 100, 300, 250)
    inside = 0
    for i in range(20):
        for j in range(20):
            dx, dy = box.x1 + (i + 0.5) * 10 - frame.box.center[0], box.y1 + (j + 0.5) * 7.5 - frame.box.center[1]
            there_x, there_y = turned(dx, dy, angle)
            inside += abs(there_x) <= width / 2 and abs(there_y) <= height / 2
    assert coverage(box, frame, angle) == pytest.approx(inside / 400, abs=0.11)


def test_the_ratio_of_a_passport_is_kept() -> None:
    plan = only_plan([tilted(600, 450, 60, 8)], SIZE, mode="faces", align="eyes", face_height=0.75, aspect_ratio="7:9")
    assert plan.layout is not None
    assert 0.7 <= plan.layout.face_height <= 0.8
    assert Fraction(plan.window.width, plan.window.height) == pytest.approx(Fraction(7, 9), abs=0.01)
