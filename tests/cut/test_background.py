"""What padding is filled with."""

from __future__ import annotations

import io

import pytest
import torch
from conftest import encoded, ramp
from PIL import Image, ImageCms

from crop_core import Cropper, CropRequest, RequestError, Size, Window
from crop_core.cut.background import blurred, filled, laid_on
from crop_core.cut.render import render
from crop_core.frame.plan import CropPlan
from crop_core.photo.color import from_srgb
from crop_core.photo.photo import open_photo
from crop_core.request_text import Filling, parse_background

AT, CANVAS = Window(2, 1, 6, 4), Size(8, 6)


def flat(*color: int) -> torch.Tensor:
    return torch.tensor(color, dtype=torch.uint8)[:, None, None].repeat(1, 3, 4)


def around(crop: torch.Tensor) -> torch.Tensor:
    outside = torch.ones(crop.shape[-2:], dtype=torch.bool)
    outside[AT.y1 : AT.y2, AT.x1 : AT.x2] = False
    return crop[:, outside]


@pytest.mark.parametrize("text", ["auto", "edge", "blur", "transparent", "#102030", "#10203040"])
@pytest.mark.parametrize("color", [(9, 90, 200), (9, 90, 200, 255)], ids=["rgb", "rgba"])
def test_the_pictures_pixels_stay_as_they_are(text: str, color: tuple[int, ...]) -> None:
    crop = filled(flat(*color), AT, CANVAS, parse_background(text))
    assert crop.shape[-2:] == (6, 8)
    inside = crop[:, AT.y1 : AT.y2, AT.x1 : AT.x2]
    assert (inside[:3] == flat(9, 90, 200)).all()
    assert (inside[3:] == 255).all()


@pytest.mark.parametrize(
    ("text", "color", "filling"),
    [
        ("auto", (1, 2, 3), [255, 255, 255]),
        ("auto", (1, 2, 3, 255), [0, 0, 0, 0]),
        ("#102030", (1, 2, 3), [16, 32, 48]),
        ("#102030", (1, 2, 3, 9), [16, 32, 48, 255]),
        ("#10203040", (1, 2, 3), [16, 32, 48, 64]),
        ("transparent", (1, 2, 3), [0, 0, 0, 0]),
        ("edge", (1, 2, 3), [1, 2, 3]),
        ("edge", (1, 2, 3, 77), [1, 2, 3, 77]),
        ("blur", (1, 2, 3), [1, 2, 3]),
        ("blur", (200, 100, 50, 0), [0, 0, 0, 0]),
    ],
)
def test_what_is_around_a_flat_picture_has_one_color(text: str, color: tuple[int, ...], filling: list[int]) -> None:
    outside = around(filled(flat(*color), AT, CANVAS, parse_background(text)))
    assert (outside == torch.tensor(filling)[:, None]).all()


@pytest.mark.parametrize(
    ("text", "pixel", "seen"),
    [
        ("#102030", (200, 100, 50, 0), (16, 32, 48, 255)),
        ("#102030", (200, 100, 50, 255), (200, 100, 50, 255)),
        ("#102030", (116, 132, 148, 51), (36, 52, 68, 255)),  # a fifth of the picture's, four of the colour
        ("#10203080", (200, 100, 50, 0), (16, 32, 48, 128)),
        ("transparent", (200, 100, 50, 77), (200, 100, 50, 77)),
        ("edge", (200, 100, 50, 77), (200, 100, 50, 77)),
        ("auto", (200, 100, 50, 77), (200, 100, 50, 77)),
    ],
)
def test_a_color_also_lies_behind_what_is_transparent(text: str, pixel: tuple[int, ...], seen: tuple[int, ...]) -> None:
    request = CropRequest(fit="pad", background=text, output_format="png")
    whole = torch.tensor(pixel, dtype=torch.uint8)[:, None, None].repeat(1, 4, 4)
    assert laid_on(whole, request.filling)[:, 2, 2].tolist() == list(seen)


def test_a_cut_out_saved_as_jpeg_shows_the_color_asked_for(cropper: Cropper) -> None:
    cut_out = Image.new("RGBA", (64, 48), (255, 255, 255, 0))
    cut_out.paste((250, 250, 250, 255), (20, 10, 40, 40))
    request = CropRequest(aspect_ratios=("1:1",), fit="pad", background="#203040", output_format="jpg")
    crop = cropper.crop(encoded(cut_out, "PNG"), request).crops[0]
    assert crop.data
    with Image.open(io.BytesIO(crop.data)) as picture:
        corner, frame = picture.getpixel((2, picture.height // 2)), picture.getpixel((2, 2))
    assert isinstance(corner, tuple)
    assert isinstance(frame, tuple)
    assert corner == pytest.approx((32, 48, 64), abs=3)
    assert frame == pytest.approx((32, 48, 64), abs=3)


def test_each_side_is_filled_with_the_middle_color_of_its_own_edge() -> None:
    content = torch.zeros(3, 3, 4, dtype=torch.uint8)
    content[:, :, 0], content[:, :, -1] = 50, 90
    content[:, 1, 0] = 255  # one pixel of something that touches the border
    crop = filled(content, AT, CANVAS, "edge")[0]
    assert (crop[1:4, :2] == 50).all()
    assert (crop[1:4, 6:] == 90).all()
    assert (crop[0] == crop[0, 0]).all()
    assert crop[0, 0] == 0


def test_a_product_on_white_stays_on_exactly_that_white() -> None:
    picture = Image.new("RGB", (60, 30), (254, 253, 255))
    picture.paste((20, 40, 60), (20, 8, 40, 22))
    plan = CropPlan(
        Window(0, 0, 60, 30), Size(40, 40), Size(40, 40), "1:1", "cup", (), (), "subject", frame=Window(0, -15, 60, 45)
    )
    crop = render(open_photo(encoded(picture)), plan, torch.device("cpu"), "edge")
    assert crop.shape == (3, 40, 40)
    assert (crop[:, :10] == torch.tensor([254, 253, 255])[:, None, None]).all()
    assert (crop[:, 30:] == torch.tensor([254, 253, 255])[:, None, None]).all()


def test_a_frame_beyond_the_picture_shows_the_picture_where_it_lies() -> None:
    plan = CropPlan(
        Window(0, 10, 40, 30),
        Size(60, 40),
        Size(60, 40),
        "3:2",
        "dog",
        (),
        (),
        "subject",
        frame=Window(-20, -10, 40, 30),
    )
    crop = render(open_photo(encoded(ramp(50, 30))), plan, torch.device("cpu"), (9, 9, 9, 255))
    assert plan.shown_in == Window(20, 20, 60, 40)
    assert (crop[0, 20:, 20:] == torch.arange(40)).all()
    assert (crop[1, 20:, 20:] == torch.arange(10, 30)[:, None]).all()
    assert (crop[:, :20] == 9).all()
    assert (crop[:, :, :20] == 9).all()


def test_a_blur_shows_the_colors_of_the_picture_and_none_of_its_detail() -> None:
    checks = torch.zeros(3, 128, 128, dtype=torch.uint8)
    checks[:, :, ::2] = 200
    checks[0, :64] = 250
    blur = blurred(checks, Size(200, 200)).float()
    assert blur.shape == (3, 200, 200)
    # The stripes are gone; at the border the last ones weigh more.
    assert (blur[2, :, 30:-30] - 100).abs().max() <= 1
    assert (blur[2] - 100).abs().max() <= 10
    assert (blur[0, :20] - 250).abs().max() <= 1
    assert (blur[0, 180:, 30:-30] - 100).abs().max() <= 1
    assert blur[0].diff(dim=0).abs().max() <= 10  # 150 in one step before


@pytest.mark.parametrize("size", [Size(1, 1), Size(1000, 7), Size(3, 900)])
@pytest.mark.parametrize("shape", [(3, 1, 1), (4, 1, 500), (3, 400, 2)])
def test_a_blur_has_any_size_from_any_picture(shape: tuple[int, ...], size: Size) -> None:
    assert blurred(torch.full(shape, 7, dtype=torch.uint8), size).shape == (shape[0], size.height, size.width)


def test_a_css_color_is_meant_in_srgb_whatever_the_pictures_profile() -> None:
    gray = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert max(abs(a - b) for a, b in zip(from_srgb((200, 30, 60, 255), gray), (200, 30, 60, 255), strict=True)) <= 1
    assert from_srgb((1, 2, 3, 255), b"no profile") == (1, 2, 3, 255)


@pytest.mark.parametrize(("format", "fails"), [("PNG", False), ("JPEG", True)])
def test_a_transparent_background_needs_a_format_that_has_transparency(
    cropper: Cropper, format: str, fails: bool
) -> None:
    request = CropRequest(fit="pad", background="transparent", output_format="match_input")
    picture = encoded(ramp(60, 40), format)
    if fails:
        with pytest.raises(RequestError, match="JPEGs, which have no transparency"):
            cropper.crop(picture, request)
        return
    (crop,) = cropper.crop(picture, request).crops
    assert crop.data is not None
    with Image.open(io.BytesIO(crop.data)) as image:
        assert (image.mode, image.size) == ("RGBA", (60, 60))
        assert image.getpixel((30, 5)) == (0, 0, 0, 0)
        assert image.getpixel((30, 30)) == (30, 20, 128, 255)


@pytest.mark.parametrize("filling", ["auto", "edge", "blur", (1, 2, 3, 255)])
def test_a_padded_crop_says_in_its_record_what_it_shows(cropper: Cropper, filling: Filling) -> None:
    background = filling if isinstance(filling, str) else "#010203"
    result = cropper.crop(encoded(ramp(60, 40)), CropRequest(fit="pad", background=background))
    (crop,) = result.record()["crops"]
    assert (crop["window"], crop["frame"], crop["output_size"]) == ([0, 0, 60, 40], [0, -10, 60, 50], [60, 60])
    (plain,) = cropper.crop(encoded(ramp(60, 40)), CropRequest()).record()["crops"]
    assert "frame" not in plain
