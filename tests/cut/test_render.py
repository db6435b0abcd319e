from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
import torch
from conftest import STORED_AS, encoded, ramp
from PIL import Image

from crop_core import ImageError, Size, Window
from crop_core.cut.render import render
from crop_core.frame.plan import CropPlan
from crop_core.photo.photo import open_photo
from crop_core.photo.transparency import on_white

CPU = torch.device("cpu")


def plan(window: Window, content: Size | None = None, output: Size | None = None) -> CropPlan:
    content = content or window.size
    return CropPlan(window, content, output or content, "free", "center", (), (), "center")


def turned(upright: Image.Image, orientation: int, format: str = "PNG", **options: object) -> bytes:
    turn = STORED_AS[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(upright if turn is None else upright.transpose(turn), format, exif=exif, **options)


class TestCoordinates:
    @pytest.mark.parametrize("orientation", STORED_AS)
    @pytest.mark.parametrize(
        "window",
        [Window(0, 0, 1, 1), Window(119, 79, 120, 80), Window(0, 0, 120, 80), Window(17, 5, 60, 44)],
        ids=["first-pixel", "last-pixel", "whole", "inside"],
    )
    def test_a_crop_holds_exactly_the_pixels_of_its_window(self, window: Window, orientation: int) -> None:
        crop = render(open_photo(turned(ramp(120, 80), orientation)), plan(window), CPU)
        assert crop.dtype == torch.uint8
        assert crop.shape == (3, window.height, window.width)
        assert (crop[0] == torch.arange(window.x1, window.x2)).all()  # red says x
        assert (crop[1] == torch.arange(window.y1, window.y2)[:, None]).all()  # green says y

    @pytest.mark.parametrize("orientation", STORED_AS)
    def test_a_shrunk_crop_still_shows_its_window(self, orientation: int) -> None:
        window, size = Window(20, 10, 100, 70), Size(40, 30)
        crop = render(open_photo(turned(ramp(120, 80), orientation)), plan(window, size), CPU).float()
        # 0.5: a pixel of half the size is the mean of two, and uint8 rounds it. The outermost two, where the
        # bicubic filter is cut off, are left out.
        inner = crop[:, 2:-2, 2:-2]
        assert (inner[0] - (20.5 + 2 * torch.arange(2, 38))).abs().max() <= 0.5
        assert (inner[1] - (10.5 + 2 * torch.arange(2, 28))[:, None]).abs().max() <= 0.5

    def test_red_stays_red(self) -> None:
        crop = render(open_photo(encoded(Image.new("RGB", (8, 8), (250, 20, 10)))), plan(Window(0, 0, 8, 4)), CPU)
        assert crop[:, 0, 0].tolist() == [250, 20, 10]


class TestSize:
    @pytest.mark.parametrize(
        ("content", "output"),
        [
            (Size(1, 1), Size(1, 1)),
            (Size(64, 48), Size(64, 48)),
            (Size(63, 47), Size(63, 47)),
            (Size(65, 49), Size(65, 49)),
            (Size(640, 7), Size(640, 7)),
            (Size(30, 20), Size(31, 41)),
            (Size(64, 48), Size(100, 48)),
        ],
        ids=["one-pixel", "as-it-is", "smaller", "larger", "other-shape", "padded", "padded-one-way"],
    )
    @pytest.mark.parametrize("mode", ["RGB", "RGBA"])
    def test_a_crop_has_exactly_the_size_asked_for(self, mode: str, content: Size, output: Size) -> None:
        photo = open_photo(encoded(ramp(100, 80).convert(mode)))
        crop = render(photo, plan(Window(4, 8, 68, 56), content, output), CPU)
        assert crop.shape == (len(mode), output.height, output.width)

    def test_enlarging_keeps_flat_colors(self) -> None:
        photo = open_photo(encoded(Image.new("RGB", (3, 2), (40, 90, 200))))
        crop = render(photo, plan(Window(0, 0, 3, 2), Size(300, 200)), CPU)
        assert (crop == torch.tensor([40, 90, 200])[:, None, None]).all()

    def test_an_enlarged_ramp_is_a_ramp(self) -> None:
        crop = render(open_photo(encoded(ramp(60, 40))), plan(Window(10, 10, 50, 30), Size(160, 80)), CPU)
        x = 10 + (torch.arange(160) + 0.5) / 4 - 0.5
        # 0.5: uint8 rounds by up to that. What the filter's cut edge shapes, two source pixels, is left out.
        assert (crop[0, :, 8:-8].float() - x[8:-8]).abs().max() <= 0.5


class TestPadding:
    @pytest.mark.parametrize(
        ("mode", "filling"), [("RGB", [255, 255, 255]), ("RGBA", [0, 0, 0, 0])], ids=["white", "transparent"]
    )
    def test_padding_is_white_or_transparent_around_the_middle(self, mode: str, filling: list[int]) -> None:
        photo = open_photo(encoded(ramp(40, 30).convert(mode)))
        crop = render(photo, plan(Window(5, 5, 25, 15), Size(20, 10), Size(27, 14)), CPU)
        middle = crop[:, 2:12, 3:23]
        assert (middle[0] == torch.arange(5, 25)).all()
        assert (middle[1] == torch.arange(5, 15)[:, None]).all()
        around = torch.ones(14, 27, dtype=torch.bool)
        around[2:12, 3:23] = False
        assert (crop[:, around] == torch.tensor(filling)[:, None]).all()


class TestAlpha:
    def test_hidden_colors_do_not_bleed(self) -> None:
        image = Image.new("RGBA", (64, 64), (0, 255, 0, 0))  # green, and wholly transparent
        image.paste((255, 0, 0, 255), (0, 0, 31, 64))  # red; the edge falls inside of a pixel of the crop
        crop = render(open_photo(encoded(image)), plan(Window(0, 0, 64, 64), Size(16, 16)), CPU)
        seen = crop[3] > 0
        assert seen[:, 7].all()
        assert (crop[3, :, 7] < 255).all()  # the edge is soft
        assert (crop[1][seen] == 0).all()
        assert (crop[0][seen] == 255).all()
        assert (crop[3, :, 10:] == 0).all()

    def test_an_opaque_picture_with_alpha_is_resized_as_one_without(self) -> None:
        window, size = Window(0, 0, 60, 40), Size(23, 17)
        with_alpha = render(open_photo(encoded(ramp(60, 40).convert("RGBA"))), plan(window, size), CPU)
        without = render(open_photo(encoded(ramp(60, 40))), plan(window, size), CPU)
        assert (with_alpha[3] == 255).all()
        # 1: the one is resized in floats and the other in bytes; 1 was the largest difference measured
        assert (with_alpha[:3].int() - without.int()).abs().max() <= 1

    @pytest.mark.parametrize(
        ("alpha", "expected"), [(0, [255, 255, 255]), (255, [10, 100, 200]), (51, [206, 224, 244])]
    )
    def test_transparency_lies_on_white(self, alpha: int, expected: list[int]) -> None:
        pixels = torch.tensor([10, 100, 200, alpha], dtype=torch.uint8).view(4, 1, 1)
        assert on_white(pixels).flatten().tolist() == expected  # 255 - (255 - color) x alpha / 255

    def test_pixels_without_alpha_stay_as_they_are(self) -> None:
        pixels = open_photo(encoded(ramp(8, 4))).pixels()
        assert torch.equal(on_white(pixels), pixels)


def psnr(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the peak signal-to-noise ratio in dB."""
    return float(10 * torch.log10(255**2 / (one.float() - other.float()).square().mean()))


class TestReduction:
    """JPEG decodes at 1/2, 1/4 and 1/8, and that must not be seen."""

    @pytest.fixture
    def large(self, astronaut: bytes) -> Image.Image:
        with Image.open(BytesIO(astronaut)) as picture:
            return picture.resize((2047, 1533), Image.Resampling.BICUBIC)  # sides that no reduction divides

    def both(self, data: bytes, window: Window, size: Size) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the crop as it is made, and as it is made from the full decode."""
        quick, full = open_photo(data), open_photo(data)
        full.pixels()  # a decode that is there is used
        return render(quick, plan(window, size), CPU), render(full, plan(window, size), CPU)

    @pytest.mark.parametrize("orientation", STORED_AS)
    @pytest.mark.parametrize(
        ("window", "size"),
        [
            (Window(0, 0, 1533, 1533), Size(127, 127)),
            (Window(5, 3, 1505, 1503), Size(281, 281)),
            (Window(255, 0, 1788, 1533), Size(560, 560)),
            (Window(514, 0, 2047, 1533), Size(574, 574)),
        ],
        ids=["an-eighth", "a-quarter-off-its-grid", "a-half-off-its-grid", "a-half-at-the-border"],
    )
    def test_a_crop_from_a_reduced_decode_looks_like_one_from_the_full_decode(
        self, large: Image.Image, orientation: int, window: Window, size: Size
    ) -> None:
        quick, full = self.both(turned(large, orientation, "JPEG", quality=90), window, size)
        assert not torch.equal(quick, full)
        assert psnr(quick, full) >= 40

    def test_a_window_between_the_pixels_of_a_reduced_decode_is_cut_where_it_lies(self) -> None:
        window, size = Window(41, 33, 201, 193), Size(30, 30)
        quick, full = self.both(encoded(Image.linear_gradient("L").convert("RGB"), "JPEG", quality=95), window, size)
        # Down the gradient a pixel is one value: a window that slid by one would differ by as much. The DCT's
        # rounding alone makes 0.4.
        assert (quick.float() - full.float()).mean().abs() <= 0.5

    def test_what_needs_every_pixel_is_cut_from_the_full_decode(self, large: Image.Image) -> None:
        quick, full = self.both(encoded(large, "JPEG"), Window(3, 5, 803, 605), Size(320, 240))
        assert torch.equal(quick, full)


def test_a_broken_picture_is_an_image_error() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = encoded(noise, "JPEG")
    with pytest.raises(ImageError, match="damaged"):
        render(open_photo(data[: len(data) // 2]), plan(Window(0, 0, 32, 32)), CPU)
