from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
import torch
from conftest import ramp
from PIL import Image, ImageCms
from torch import Tensor

from crop_core import Box, Detection, Size, Window
from crop_core.cut.preview import (
    BACKGROUND,
    BOX_COLOR,
    FACE_COLOR,
    GAP,
    SHEET_HEIGHT,
    WINDOW_COLORS,
    Shown,
    draw_preview,
    tile_of,
)
from crop_core.frame.plan import CropPlan

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GRAY = (100, 100, 100)
NAMED = {BACKGROUND, BOX_COLOR, FACE_COLOR, GRAY, *WINDOW_COLORS}


def pixels_of(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def gray(width: int, height: int) -> Tensor:
    return pixels_of(Image.new("RGB", (width, height), GRAY))


def crop(window: Window, pixels: Tensor | None = None) -> Shown:
    """Return a crop of the window; one of a dry run without `pixels`."""
    size = window.size if pixels is None else Size(pixels.shape[-1], pixels.shape[-2])
    plan = CropPlan(window, size, size, "1:1", "dog", (), (), "object")
    return Shown(plan, None if pixels is None else tile_of(pixels))


def drawn(
    pixels: Tensor, size: Size, detections: tuple[Detection, ...] = (), crops: tuple[Shown, ...] = ()
) -> Image.Image:
    data = draw_preview(pixels, size, detections, crops, None)
    image = Image.open(BytesIO(data))
    assert (image.format, image.mode) == ("JPEG", "RGB")
    image.load()
    return image


def color_at(image: Image.Image, x: float, y: float) -> tuple[int, int, int]:
    """Return the named colour nearest to the pixel's: JPEG smears thin lines, and these colours lie far apart."""
    pixel = image.getpixel((round(x), round(y)))
    return min(NAMED, key=lambda color: float(np.abs(np.subtract(color, pixel)).sum()))


class TestWindows:
    def test_each_window_is_drawn_in_its_color_where_it_is(self) -> None:
        windows = [Window(40, 60, 240, 260), Window(300, 100, 500, 500)]
        image = drawn(gray(560, 560), Size(560, 560), crops=tuple(map(crop, windows)))
        assert image.size == (SHEET_HEIGHT, SHEET_HEIGHT)
        for index, (x1, y1, x2, y2) in enumerate(window.xyxy for window in windows):
            inside = 1 + 3 * index  # the middle of a line of 3 px; later windows are inset by as much
            middle = ((x1 + x2) / 2, (y1 + y2) / 2)
            assert color_at(image, x1 + inside, middle[1]) == WINDOW_COLORS[index]
            assert color_at(image, x2 - 1 - inside, middle[1]) == WINDOW_COLORS[index]
            assert color_at(image, middle[0], y1 + inside) == WINDOW_COLORS[index]
            assert color_at(image, middle[0], y2 - 1 - inside) == WINDOW_COLORS[index]
            assert color_at(image, *middle) == GRAY
            assert color_at(image, x1 - 8, middle[1]) == GRAY

    def test_windows_speak_of_the_source_whatever_the_scale_of_the_pixels(self) -> None:
        size, window = Size(4000, 3000), Window(1000, 600, 3000, 2400)
        scale = SHEET_HEIGHT / 3000
        for pixels in (gray(1000, 750), gray(40, 30)):
            image = drawn(pixels, size, crops=(crop(window),))
            assert image.size == (round(4000 * scale), SHEET_HEIGHT)
            assert color_at(image, 1000 * scale + 1, 1500 * scale) == WINDOW_COLORS[0]
            assert color_at(image, 2000 * scale, 2400 * scale - 2) == WINDOW_COLORS[0]
            assert color_at(image, 2000 * scale, 1500 * scale) == GRAY

    def test_windows_that_share_their_border_are_all_seen(self) -> None:
        image = drawn(gray(560, 560), Size(560, 560), crops=(crop(Window(0, 0, 560, 560)),) * 4)
        assert [color_at(image, 1 + 3 * index, 280) for index in range(4)] == list(WINDOW_COLORS[:4])

    def test_windows_of_a_few_pixels_are_seen_however_many_there_are(self) -> None:
        windows = [Window(180 * i + 100, 1000, 180 * i + 130, 1030) for i in range(20)]  # 6 px on the sheet
        image = drawn(gray(400, 300), Size(4000, 3000), crops=tuple(map(crop, windows)))
        scale = SHEET_HEIGHT / 3000
        for index, window in enumerate(windows):
            seen = {
                color_at(image, window.x1 * scale + dx, window.y1 * scale + dy) for dx in range(6) for dy in range(6)
            }
            assert WINDOW_COLORS[index % len(WINDOW_COLORS)] in seen


class TestDetections:
    def test_boxes_are_white_and_faces_pink_with_their_landmarks(self) -> None:
        dog = Detection("dog", 0.5, Box(50, 100, 250, 300))
        face = Detection(
            "face", 0.9, Box(300, 100, 500, 300), ((350, 180), (450, 180), (400, 220), (360, 260), (440, 260))
        )
        pixels = gray(560, 560)
        before, image = drawn(pixels, Size(560, 560)), drawn(pixels, Size(560, 560), (face, dog))
        # Lines and dots of one to three pixels: JPEG halves their contrast at most, so compare with the bare picture.
        change = np.asarray(image).astype(int) - np.asarray(before).astype(int)
        assert (change[250, 250 - 1] > 30).all()  # the right side, x2 - 1
        assert (change[300 - 1, 150] > 30).all()  # the lower side
        for x, y in [(499, 200), *(map(round, point) for point in face.landmarks or ())]:
            red, green, blue = change[y, x]
            assert red > 30
            assert red > blue > green
        assert np.abs(change[400:, :]).max() <= 2  # nothing is drawn elsewhere

    def test_labels_at_the_border_do_not_fail(self) -> None:
        corner = Detection("dog", 0.5, Box(559.9, 559.9, 560, 560))
        empty = Detection("cat", 0.4, Box(0, 0, 0, 0))
        assert drawn(gray(56, 56), Size(560, 560), (corner, empty)).size == (560, 560)


class TestSheet:
    def test_no_detections_and_no_crops_give_the_picture_alone(self) -> None:
        image = drawn(pixels_of(ramp(200, 100)), Size(200, 100))
        assert image.size == (1120, 560)
        x, y = 5.6 * 50.5, 5.6 * 60.5
        # 4: JPEG at quality 85, on top of a bicubic enlargement; the largest difference measured was 1
        assert np.abs(np.subtract(image.getpixel((round(x), round(y))), (50, 60, 128))).max() <= 4

    @pytest.mark.parametrize("count", [1, 2, 3, 20, 100])
    def test_every_crop_follows_under_its_color(self, count: int) -> None:
        crops = (crop(Window(0, 0, 50, 50), pixels_of(Image.new("RGB", (50, 50), GRAY))),) * count
        image = drawn(gray(100, 100), Size(100, 100), crops=crops)
        columns = -(-count // 2)
        width = (image.width - SHEET_HEIGHT) / columns - GAP
        for index in range(count):
            left = SHEET_HEIGHT + GAP + (index // 2) * (width + GAP)
            top = (index % 2) * (SHEET_HEIGHT // 2 + GAP // 2)
            assert color_at(image, left + width - 3, top + 2) == WINDOW_COLORS[index % len(WINDOW_COLORS)]
            assert color_at(image, left + 25, top + 18 + 25) == GRAY
        if count % 2:
            assert color_at(image, image.width - 5, SHEET_HEIGHT - 50) == BACKGROUND

    def test_crops_of_a_dry_run_are_windows_only(self) -> None:
        assert drawn(gray(100, 100), Size(100, 100), crops=(crop(Window(0, 0, 50, 50)),)).size == (560, 560)

    def test_crops_are_shown_beside_the_picture(self) -> None:
        shown = crop(Window(0, 0, 50, 50), pixels_of(Image.new("RGB", (80, 80), WINDOW_COLORS[1])))
        image = drawn(gray(100, 100), Size(100, 100), crops=(shown,))
        assert color_at(image, SHEET_HEIGHT + GAP + 40, 18 + 40) == WINDOW_COLORS[1]

    def test_a_transparent_crop_shows_the_ground(self) -> None:
        shown = crop(Window(0, 0, 50, 50), pixels_of(Image.new("RGBA", (80, 80), (*WINDOW_COLORS[1], 0))))
        image = drawn(gray(100, 100), Size(100, 100), crops=(shown,))
        assert color_at(image, SHEET_HEIGHT + GAP + 40, 18 + 40) == BACKGROUND

    def test_a_large_crop_is_no_bomb(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # Pillow's own limit is 89 megapixels for a warning, which is below the package's; lowered here because a
        # crop of that size would take a gigabyte.
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20_000)
        crops = (crop(Window(0, 0, 50, 50), gray(300, 300)),)
        data = draw_preview(gray(100, 100), Size(100, 100), (), crops, None)
        monkeypatch.undo()
        assert Image.open(BytesIO(data)).width > SHEET_HEIGHT

    @pytest.mark.parametrize(
        ("size", "sheet"),
        [((1, 1), (560, 560)), ((1200, 30), (1120, 560)), ((30, 1200), (14, 560)), ((12000, 1), (1120, 560))],
        ids=["1x1", "40:1", "1:40", "a line"],
    )
    def test_odd_pictures_give_a_sheet(self, size: tuple[int, int], sheet: tuple[int, int]) -> None:
        width, height = size
        window = Window(0, 0, width, height)
        thing = Detection("dog", 0.5, window.box)
        dry = drawn(gray(width, height), Size(width, height), (thing,), (crop(window),))
        assert dry.size == sheet
        assert (
            drawn(gray(width, height), Size(width, height), (thing,), (crop(window, gray(width, height)),)).size > sheet
        )

    def test_the_profile_of_the_pixels_is_embedded(self) -> None:
        data = draw_preview(gray(10, 10), Size(10, 10), (), (), SRGB)
        assert Image.open(BytesIO(data)).info["icc_profile"] == SRGB

    def test_the_pixels_stay_as_they_were(self) -> None:
        pixels = gray(560, 560)
        draw_preview(pixels, Size(560, 560), (Detection("dog", 0.5, Box(0, 0, 9, 9)),), (), None)
        assert torch.equal(pixels, gray(560, 560))
