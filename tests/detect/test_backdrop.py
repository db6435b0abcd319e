"""The object on a plain backdrop, to the pixel."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from conftest import encoded
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from crop_core import Box, Cropper, CropRequest
from crop_core.detect.backdrop import object_on_backdrop
from crop_core.photo.photo import as_tensor

PLACE = (70, 40, 130, 160)  # of the object, in 200 x 200


def product(
    backdrop: tuple[int, ...] = (255, 255, 255), color: tuple[int, ...] = (40, 60, 90), side: int = 200
) -> Image.Image:
    image = Image.new("RGB" if len(backdrop) == 3 else "RGBA", (side, side), backdrop)
    image.paste(color, PLACE)
    return image


def found(image: Image.Image, threshold: int = 12) -> tuple[float, ...] | None:
    box = object_on_backdrop(as_tensor(image), threshold)
    return box and box.xyxy


def gradient(strength: int) -> np.ndarray:
    """Return a backdrop that is brightest in a corner and darker by as much in the other."""
    y, x = np.mgrid[0:200, 0:200] / 199
    return (240 - strength * (0.5 * x + 0.3 * y + 0.2 * x * x))[..., None].repeat(3, 2)


@pytest.mark.parametrize("backdrop", [(255, 255, 255), (0, 0, 0), (120, 121, 119), (250, 200, 30)])
def test_an_object_on_one_color_is_found_to_the_pixel(backdrop: tuple[int, ...]) -> None:
    assert found(product(backdrop)) == PLACE


@given(st.integers(0, 90), st.integers(0, 90), st.integers(2, 60), st.integers(2, 60), st.integers(13, 200))
def test_any_rectangle_is_found_to_the_pixel(x: int, y: int, width: int, height: int, color: int) -> None:
    image = Image.new("RGB", (160, 160), (230, 230, 230))
    image.paste((230 - color,) * 3, (x + 4, y + 4, x + 4 + width, y + 4 + height))
    assert found(image) == (x + 4, y + 4, x + 4 + width, y + 4 + height)


@pytest.mark.parametrize("strength", [20, 60, 120])
def test_a_soft_gradient_is_a_plain_backdrop(strength: int) -> None:
    image = Image.fromarray(gradient(strength).round().astype(np.uint8))
    image.paste((20, 20, 120), PLACE)
    assert found(image) == PLACE


def test_light_noise_of_a_jpeg_moves_no_side_by_more_than_its_blocks_ringing() -> None:
    with Image.open(io.BytesIO(encoded(product(), "JPEG", quality=80))) as image:
        box = found(image.convert("RGB"))
    assert box is not None
    assert max(abs(a - b) for a, b in zip(box, PLACE, strict=True)) <= 2


def test_the_noise_of_a_camera_is_no_object() -> None:
    noise = np.random.default_rng(0).normal(0, 1.5, (200, 200, 3))
    image = Image.fromarray((gradient(30) + noise).round().clip(0, 255).astype(np.uint8))
    image.paste((20, 20, 120), PLACE)
    assert found(image) == PLACE


def test_a_shadow_counts_or_not_by_the_threshold() -> None:
    image = product()
    image.paste((225, 225, 225), (130, 120, 170, 160))
    assert found(image, 12) == (70, 40, 170, 160)
    assert found(image, 40) == PLACE


def test_a_speck_of_one_pixel_is_no_object() -> None:
    image = product()
    image.putpixel((10, 10), (0, 0, 0))
    assert found(image) == PLACE


def test_an_object_may_touch_the_border() -> None:
    image = Image.new("RGB", (200, 200), (255, 255, 255))
    image.paste((10, 10, 10), (60, 80, 140, 200))
    assert found(image) == (60, 80, 140, 200)


def test_transparency_is_a_backdrop() -> None:
    assert found(product((90, 200, 10, 0), (255, 255, 255, 255))) == PLACE


def test_a_picture_of_one_color_holds_no_object() -> None:
    assert found(Image.new("RGB", (200, 200), (250, 250, 250))) is None


@pytest.mark.parametrize("sample", ["cat", "coffee", "astronaut"])
def test_a_photo_has_no_plain_backdrop(sample: str, request: pytest.FixtureRequest) -> None:
    with Image.open(request.config.rootpath / "samples" / f"{sample}.jpg") as image:
        assert found(image.convert("RGB")) is None


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2), (3, 700)])
def test_a_picture_of_any_size_is_looked_at(size: tuple[int, int]) -> None:
    assert found(Image.new("RGB", size, (9, 9, 9))) is None


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40))
def test_whatever_is_found_lies_in_the_picture(seed: int, width: int, height: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    box = object_on_backdrop(torch.randint(250, 256, (3, height, width), generator=generator, dtype=torch.uint8), 3)
    assert box is None or (0 <= box.x1 < box.x2 <= width and 0 <= box.y1 < box.y2 <= height)


class TestCrops:
    """The shop's layout: centred, the same margin for all."""

    @pytest.mark.parametrize("place", [(70, 40, 130, 160), (5, 20, 125, 80), (2, 2, 198, 198), (150, 150, 190, 199)])
    def test_every_object_lies_in_the_middle_with_the_same_margin(
        self, place: tuple[int, int, int, int], cropper: Cropper
    ) -> None:
        image = Image.new("RGB", (200, 200), (250, 250, 250))
        image.paste((40, 60, 90), place)
        request = CropRequest(trim=True, fit="pad", background="edge", padding=0.25, output_format="png")
        (crop,) = cropper.crop(encoded(image), request).crops
        assert crop.data is not None
        side = math.ceil(max(place[2] - place[0], place[3] - place[1]) * 1.5)
        with Image.open(io.BytesIO(crop.data)) as cut:
            assert cut.size == (side, side)
            assert cut.getpixel((0, 0)) == (250, 250, 250)
            box = found(cut)
        assert box is not None
        assert Box(*box).width == place[2] - place[0]
        assert Box(*box).center == pytest.approx((side / 2, side / 2), abs=1)

    def test_free_without_padding_is_the_object_itself(self, cropper: Cropper) -> None:
        request = CropRequest(trim=True, aspect_ratios=("free",), padding=0.0)
        result = cropper.crop(encoded(product()), request)
        (record,) = result.record()["crops"]
        assert (record["window"], record["object"], record["trim"]) == (list(PLACE), list(PLACE), "backdrop")

    def test_a_photo_says_what_stood_in(self, cropper: Cropper, astronaut: bytes, rocket: bytes) -> None:
        (person,) = cropper.crop(astronaut, CropRequest(trim=True)).record()["crops"]
        assert (person["trim"], person["subjects"] != []) == ("detection", True)
        (nothing,) = cropper.crop(rocket, CropRequest(trim=True, score_threshold=1.0)).record()["crops"]
        assert (nothing["trim"], nothing["object"]) in ((None, None), ("backdrop", nothing["object"]))

    def test_without_trim_the_record_says_nothing_of_it(self, cropper: Cropper) -> None:
        (record,) = cropper.crop(encoded(product()), CropRequest()).record()["crops"]
        assert not {"trim", "object"} & record.keys()

    def test_a_drawing_of_an_object_on_white_is_drawn_around(self, cropper: Cropper) -> None:
        image = Image.new("RGB", (300, 200), (255, 255, 255))
        ImageDraw.Draw(image).ellipse((60, 50, 159, 119), fill=(200, 20, 20))
        result = cropper.crop(encoded(image), CropRequest(trim=True))
        assert result.record()["crops"][0]["object"] == [60, 50, 160, 120]
