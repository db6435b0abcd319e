"""The opaque part of a picture is found as the object, even a white one on white."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from conftest import STORED_AS, encoded, ramp
from pictures import WRITERS, exif_bytes, stored
from PIL import Image, ImageDraw

from crop_core import Box, Cropper, CropRequest, Size
from crop_core.detect.seen import Seen, with_opaque
from crop_core.detection import Detection
from crop_core.photo.decode_on_gpu import AcceleratedPhoto
from crop_core.photo.photo import open_photo
from crop_core.photo.transparency import on_contrast

WIDTH, HEIGHT, BOX = 640, 240, (440, 60, 600, 180)


def cut_out(color: tuple[int, int, int], box: tuple[int, int, int, int] = BOX) -> Image.Image:
    """Return a thing of one colour on a transparent ground of the same, as editors write it."""
    image = Image.new("RGBA", (WIDTH, HEIGHT), (*color, 0))
    ImageDraw.Draw(image).ellipse((box[0], box[1], box[2] - 1, box[3] - 1), (*color, 255))
    return image


class TestOpaqueBox:
    @pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF"])
    def test_it_is_where_the_picture_is_not_transparent(self, kind: str) -> None:
        found = open_photo(WRITERS[kind](cut_out((255, 255, 255)))).opaque_box
        assert found is not None
        assert np.abs(np.subtract(found.xyxy, BOX)).max() <= (2 if kind == "AVIF" else 0)

    @pytest.mark.parametrize("orientation", STORED_AS)
    def test_it_lies_in_the_upright_picture(self, orientation: int) -> None:
        data = encoded(stored(cut_out((9, 9, 9)), orientation), exif=exif_bytes(orientation))
        assert open_photo(data).opaque_box == Box(*BOX)

    @pytest.mark.parametrize(
        "image",
        [
            ramp(32, 24),
            ramp(32, 24).convert("RGBA"),
            Image.new("RGBA", (32, 24), (255, 255, 255, 0)),
            Image.new("RGBA", (32, 24), (255, 255, 255, 127)),
        ],
        ids=["no transparency", "opaque throughout", "nothing opaque", "a veil"],
    )
    def test_there_is_none_where_it_would_say_nothing(self, image: Image.Image) -> None:
        assert open_photo(encoded(image)).opaque_box is None

    def test_a_picture_on_a_device_has_the_same(self) -> None:
        photo = AcceleratedPhoto(open_photo(encoded(cut_out((255, 255, 255)))), torch.device("cpu"))
        assert photo.opaque_box == Box(*BOX)


class TestGround:
    @pytest.mark.parametrize(("color", "ground"), [((255, 255, 255), 64), ((225, 230, 220), 64), ((20, 30, 40), 255)])
    def test_a_thing_is_seen_on_a_ground_that_it_stands_out_from(
        self, color: tuple[int, int, int], ground: int
    ) -> None:
        pixels = on_contrast(open_photo(encoded(cut_out(color))).pixels())
        assert pixels[:, 0, 0].tolist() == [ground] * 3
        assert pixels[:, 120, 520].tolist() == list(color)

    def test_a_picture_without_transparency_stays_as_it_is(self) -> None:
        pixels = open_photo(encoded(Image.new("RGB", (8, 8), (255, 255, 255)))).pixels()
        assert on_contrast(pixels) is pixels


class TestSeen:
    SIZE, OPAQUE = Size(WIDTH, HEIGHT), Box(*map(float, BOX))
    WINDOW = Box(0, 0, WIDTH, HEIGHT)

    def labels(self, *detections: Detection, opaque: Box | None = OPAQUE) -> list[str]:
        return [one.label for one in with_opaque(Seen(detections, self.WINDOW), opaque, self.SIZE).detections]

    def test_what_is_opaque_and_has_no_name_is_salient_for_certain(self) -> None:
        (found,) = with_opaque(Seen((), self.WINDOW), self.OPAQUE, self.SIZE).detections
        assert (found.label, found.score, found.box) == ("salient", 1.0, self.OPAQUE)

    def test_what_has_a_name_there_already_keeps_it(self) -> None:
        assert self.labels(Detection("cup", 0.6, Box(445, 62, 598, 178))) == ["cup"]

    def test_something_elsewhere_or_unsure_explains_nothing(self) -> None:
        assert self.labels(Detection("cup", 0.6, Box(0, 0, 90, 90))) == ["salient", "cup"]
        assert self.labels(Detection("cup", 0.2, self.OPAQUE)) == ["salient", "cup"]

    def test_rounded_corners_of_a_photo_make_no_thing_of_it(self) -> None:
        most = Box(10, 5, 630, 235)
        assert self.labels(Detection("dog", 0.6, Box(100, 100, 200, 200)), opaque=most) == ["dog"]
        assert self.labels(opaque=most) == ["salient"]

    def test_a_picture_without_transparency_is_seen_as_before(self) -> None:
        assert self.labels(opaque=None) == []


@pytest.mark.parametrize("write", [WRITERS["PNG"], WRITERS["WEBP"], WRITERS["TIFF"]], ids=["PNG", "WebP", "TIFF"])
@pytest.mark.parametrize("color", [(255, 255, 255), (0, 0, 0), (200, 30, 30)], ids=["white", "black", "red"])
def test_a_thing_on_transparency_is_in_the_crop_whatever_its_color(
    color: tuple[int, int, int], write: Callable[[Image.Image], bytes], cropper: Cropper
) -> None:
    (crop,) = cropper.crop(write(cut_out(color)), CropRequest(aspect_ratios=("1:1",)), dry_run=True).crops
    x1, _, x2, _ = crop.window.xyxy
    assert x1 <= BOX[0]
    assert x2 >= BOX[2]


def test_a_preview_shows_a_white_thing(cropper: Cropper) -> None:
    plain, white = (
        cropper.crop(encoded(image), CropRequest(aspect_ratios=("1:1",), preview=True)).preview
        for image in (Image.new("RGBA", (WIDTH, HEIGHT), (255, 255, 255, 0)), cut_out((255, 255, 255)))
    )
    assert plain is not None
    assert white is not None
    assert plain != white
