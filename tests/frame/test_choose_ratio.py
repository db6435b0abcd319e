"""One ratio of several: the closest to the picture's own, or the one that keeps most."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scenes import LANDSCAPE, dog, only_plan, person, planned, scenes

from crop_core.detection import Detection
from crop_core.frame.pad import never_cut
from crop_core.frame.subjects import subjects_among
from crop_core.geometry import Size, Window
from crop_core.request import CropRequest

LISTS = st.lists(st.sampled_from(["1:1", "4:5", "3:2", "16:9", "9:16", "1:3"]), min_size=1, max_size=4, unique=True)
Scene = tuple[Size, tuple[Detection, ...]]


@given(scenes(), LISTS)
def test_the_closest_ratio_is_the_nearest_to_the_pictures_own(scene: Scene, names: list[str]) -> None:
    size, detections = scene
    (plan,) = planned(detections, size, CropRequest.from_inputs(aspect_ratio="closest:" + ",".join(names)))

    def off(name: str) -> float:
        width, height = map(int, name.split(":"))
        ratio = Fraction(width * size.height, height * size.width)
        return float(max(ratio, 1 / ratio))

    assert off(plan.aspect_ratio) == pytest.approx(min(map(off, names)))


@given(scenes(), LISTS, st.sampled_from([None, 0.5, 1]))
def test_no_ratio_of_the_list_keeps_more_of_the_subject(scene: Scene, names: list[str], zoom: float | None) -> None:
    size, detections = scene
    assume(detections)
    request = CropRequest.from_inputs(aspect_ratio="auto:" + ",".join(names), zoom=zoom)
    each = planned(detections, size, CropRequest(aspect_ratios=tuple(names), zoom=zoom))
    (plan,) = planned(detections, size, request)
    assert plan in each
    about = never_cut(subjects_among(detections, size, request), request)

    def kept(window: Window) -> float:
        return sum(one.weight * one.airy_box.coverage(window) for one in about) / sum(one.weight for one in about)

    assert kept(plan.window) >= max(kept(other.window) for other in each) - 0.011


def test_of_ratios_that_keep_all_of_the_subject_the_one_that_loses_least_of_the_scene_is_taken() -> None:
    plan = only_plan([dog(250, 150, 350, 250)], aspect_ratio="auto:1:1,4:5,16:9")
    assert (plan.aspect_ratio, plan.window.size) == ("16:9", Size(600, 338))


def test_a_ratio_that_cuts_the_subject_is_not_taken_though_it_shows_more() -> None:
    plan = only_plan([person(250, 0, 330, 400)], aspect_ratio="auto:16:9,1:1")  # 16:9 has 338 px of the 400
    assert (plan.aspect_ratio, plan.coverage) == ("1:1", (1.0,))
    assert plan.why_ratio.startswith("1:1 keeps 100 % of the subject and 67 % of the scene; 16:9 keeps ")


def test_a_tight_crop_takes_the_ratio_that_fits_the_subject() -> None:
    tall, wide = dog(100, 50, 160, 350), dog(250, 150, 550, 210)
    request = CropRequest.from_inputs(aspect_ratio="auto:16:9,1:1,9:16", mode="objects", order="left_to_right")
    assert [plan.aspect_ratio for plan in planned([tall, wide], LANDSCAPE, request)] == ["9:16", "16:9"]


def test_a_focus_is_the_subject() -> None:
    assert only_plan([dog(0, 0, 600, 200)], focus="0.4,0,0.5,1", aspect_ratio="auto:16:9,1:1").aspect_ratio == "1:1"


def test_where_nothing_was_found_the_scene_decides() -> None:
    assert only_plan([], aspect_ratio="auto:9:16,1:1,16:9").aspect_ratio == "16:9"


def test_a_chosen_ratio_counts_as_one_crop() -> None:
    (plan,) = planned([dog(250, 150, 350, 250)], LANDSCAPE, CropRequest.from_inputs(aspect_ratio="closest:1:1,3:2"))
    assert (plan.aspect_ratio, plan.window) == ("3:2", Window(0, 0, 600, 400))
    assert plan.why_ratio == "3:2 is the closest to 600:400"
