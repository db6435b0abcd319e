"""Sides that are multiples, and no more pixels than asked for: the buckets of training data."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import LANDSCAPE, RATIOS, dog, only_plan, planned, scenes

from crop_core.detection import Detection
from crop_core.errors import ImageError
from crop_core.frame.plan import CropPlan, plan_crops
from crop_core.frame.scene import Scene as Scene_
from crop_core.geometry import Box, Size, Window
from crop_core.request import CropRequest

Scene = tuple[Size, tuple[Detection, ...]]
UNITS, ZOOMS = st.sampled_from([8, 14, 16, 64]), st.sampled_from([None, 0.5, 1])
PIXELS = st.sampled_from([None, 4096, 65_536, 1_048_576])


def plans_of(scene: Scene, **inputs: object) -> tuple[CropPlan, ...]:
    """Return the plans, none for a picture that is too small for the multiples."""
    try:
        return planned(scene[1], scene[0], CropRequest.from_inputs(**inputs))
    except ImageError as error:
        assert "too few for a crop with sides that are multiples of" in str(error)  # noqa: PT017 (a right answer)
        assert min(scene[0].width, scene[0].height) < inputs["multiple_of"]  # type: ignore[operator]
        return ()


@given(scenes(), RATIOS | st.just("free"), UNITS, PIXELS, ZOOMS, st.sampled_from(["subject", "objects"]))
def test_sides_are_multiples_cut_from_a_window_of_their_ratio_that_is_no_smaller(
    scene: Scene, ratio: str, unit: int, most: int | None, zoom: float | None, mode: str
) -> None:
    inputs = {"aspect_ratio": ratio, "multiple_of": unit, "max_pixels": most, "zoom": zoom, "mode": mode}
    for plan in plans_of(scene, **inputs):
        window, output = plan.window, plan.output_size
        assert output == plan.content_size
        assert (output.width % unit, output.height % unit) == (0, 0)
        assert output.area <= (most or output.area)
        assert 0 <= window.x1 <= window.x2 - output.width
        assert 0 <= window.y1 <= window.y2 - output.height
        assert window.x2 <= scene[0].width
        assert window.y2 <= scene[0].height
        exact = Fraction(output.width, output.height)
        assert abs(window.width - window.height * exact) <= max(1, exact)
        assert plan.coverage == tuple(one.box.coverage(window) for one in scene[1])


@given(scenes(), RATIOS, UNITS, PIXELS, st.sampled_from(["allow", "pad"]))
def test_with_enlarging_or_padding_every_picture_gives_multiples(
    scene: Scene, ratio: str, unit: int, most: int | None, upscale: str
) -> None:
    inputs = {"aspect_ratio": ratio, "multiple_of": unit, "max_pixels": most, "upscale": upscale}
    for plan in planned(scene[1], scene[0], CropRequest.from_inputs(**inputs)):
        assert (plan.output_size.width % unit, plan.output_size.height % unit) == (0, 0)
        assert plan.output_size.area <= (most or plan.output_size.area)
        assert plan.content_size.width <= plan.output_size.width
        assert plan.content_size.height <= plan.output_size.height


@given(scenes(), RATIOS, st.sampled_from([1024, 65_536]), st.sampled_from(["never", "allow", "pad"]))
def test_no_crop_has_more_pixels_than_asked_for(scene: Scene, ratio: str, most: int, upscale: str) -> None:
    for plan in planned(scene[1], scene[0], CropRequest(aspect_ratios=(ratio,), max_pixels=most, upscale=upscale)):
        assert plan.output_size.area <= most


# The buckets that SDXL was trained in: multiples of 64 around a megapixel.
@pytest.mark.parametrize(
    ("ratio", "size"),
    [
        ("1:1", (1024, 1024)),
        ("4:3", (1152, 896)),
        ("3:2", (1216, 832)),
        ("16:9", (1344, 768)),
        ("2:1", (1408, 704)),
        ("21:9", (1536, 640)),
        ("3:4", (896, 1152)),
        ("9:16", (768, 1344)),
    ],
)
def test_multiples_of_64_around_a_megapixel_are_the_usual_buckets(ratio: str, size: tuple[int, int]) -> None:
    plan = only_plan([], Size(4000, 4000), aspect_ratio=ratio, multiple_of=64, max_pixels=1_048_576)
    assert plan.output_size == Size(*size)


def test_the_closest_of_a_list_gives_each_picture_its_bucket() -> None:
    buckets = {
        size: only_plan(
            [], Size(*size), aspect_ratio="closest:1:1,4:3,3:4,16:9,9:16", multiple_of=64, max_pixels=1_048_576
        ).output_size
        for size in ((4000, 3000), (3000, 4000), (4000, 2250), (3000, 3100))
    }
    assert list(buckets.values()) == [Size(1152, 896), Size(896, 1152), Size(1344, 768), Size(1024, 1024)]


def test_a_small_picture_gives_the_multiples_that_it_has_pixels_for_unless_it_may_be_enlarged() -> None:
    inputs: dict[str, object] = {"aspect_ratio": "1:1", "multiple_of": 64, "max_pixels": 1_048_576}
    assert only_plan([], **inputs).output_size == Size(384, 384)
    assert only_plan([], **inputs, upscale="allow").content_size == Size(1024, 1024)
    padded = only_plan([], **inputs, upscale="pad")
    assert (padded.content_size, padded.output_size) == (Size(400, 400), Size(1024, 1024))


def test_a_picture_with_too_few_pixels_for_one_multiple_is_refused() -> None:
    with pytest.raises(ImageError, match=r"has 600x40 pixels, too few for a crop with sides that are multiples of 64"):
        only_plan([], Size(600, 40), aspect_ratio="1:1", multiple_of=64)


def test_a_tight_window_grows_to_the_multiple() -> None:
    plan = only_plan([dog(300, 200, 310, 210)], mode="objects", aspect_ratio="1:1", multiple_of=64)
    assert (plan.window.size, plan.output_size) == (Size(64, 64), Size(64, 64))
    assert plan.coverage == (1.0,)


def test_a_free_window_is_held_by_one_of_multiples() -> None:
    inputs: dict[str, object] = {"mode": "objects", "aspect_ratio": "free", "padding": 0}
    free = only_plan([dog(200, 150, 303, 251)], **inputs).window
    plan = only_plan([dog(200, 150, 303, 251)], **inputs, multiple_of=16)
    assert plan.window.box.coverage(free) < 1
    assert free.box.coverage(plan.window) == 1
    assert plan.output_size == Size(112, 112)


def test_a_width_keeps_its_value_and_the_height_is_the_nearest_multiple() -> None:
    assert only_plan([], aspect_ratio="16:9", width=320, multiple_of=16).output_size == Size(320, 176)


@given(scenes(), RATIOS, UNITS)
def test_a_focus_box_is_whole_whenever_a_window_of_the_multiples_can_hold_it(
    scene: Scene, ratio: str, unit: int
) -> None:
    for plan in plans_of(scene, aspect_ratio=ratio, multiple_of=unit, focus="0.3,0.4,0.5,0.6"):
        size = scene[0]
        needed = Box(0.3 * size.width, 0.4 * size.height, 0.5 * size.width, 0.6 * size.height).outward()
        if needed.width <= plan.window.width and needed.height <= plan.window.height:
            assert needed.box.coverage(plan.window) == 1


def test_what_is_padded_comes_in_multiples_too() -> None:
    plan = only_plan([], LANDSCAPE, aspect_ratio="1:1", fit="pad", multiple_of=64)
    assert (plan.frame is not None, plan.output_size) == (True, Size(576, 576))


def test_a_frame_around_a_trimmed_object_comes_in_multiples_and_keeps_its_middle() -> None:
    request = CropRequest.from_inputs(aspect_ratio="free", trim=True, fit="pad", padding=0.5, multiple_of=16)
    scene, _ = Scene_.of((), LANDSCAPE, request).trimmed(Box(0, 0, 100, 50))
    (plan,) = plan_crops(scene, request)
    assert plan.frame is not None
    assert (plan.output_size, plan.window) == (Size(192, 96), Window(0, 0, plan.frame.x2, plan.frame.y2))
    assert plan.frame.box.center == pytest.approx((50, 25), abs=1)
    assert abs(plan.frame.width / plan.frame.height - 192 / 96) < 0.02
