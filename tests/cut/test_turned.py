"""Turned parts: every pixel from its place in the picture, and no corner from beyond it."""

from __future__ import annotations

import math
from io import BytesIO

import pytest
import torch
from conftest import STORED_AS, encoded, ramp
from PIL import Image

from crop_core import Cropper, CropRequest, Size, Window
from crop_core.cut.render import render
from crop_core.cut.resample import resampled_turned
from crop_core.frame.plan import CropPlan
from crop_core.photo.photo import open_photo

CPU = torch.device("cpu")


def stored(upright: Image.Image, orientation: int, format: str = "PNG") -> bytes:
    turn = STORED_AS[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(upright if turn is None else upright.transpose(turn), format, exif=exif)


def places(frame: Window, angle: float, size: Size) -> tuple[torch.Tensor, torch.Tensor]:
    """Return x and y of the picture that each pixel of the crop shows, float tensors [height, width]."""
    turn = math.radians(angle)
    across = ((torch.arange(size.width) + 0.5) / size.width - 0.5) * frame.width
    down = (((torch.arange(size.height) + 0.5) / size.height - 0.5) * frame.height)[:, None]
    x = frame.box.center[0] + across * math.cos(turn) + down * math.sin(turn)
    y = frame.box.center[1] - across * math.sin(turn) + down * math.cos(turn)
    return x, y


@pytest.mark.parametrize("orientation", STORED_AS)
@pytest.mark.parametrize("angle", [-30.0, 7.0, 25.0])
@pytest.mark.parametrize("size", [Size(90, 60), Size(31, 21), Size(200, 133)], ids=["same", "shrunk", "enlarged"])
def test_every_pixel_comes_from_its_place(size: Size, angle: float, orientation: int) -> None:
    frame = Window(80, 70, 170, 130)
    crop, there = resampled_turned(open_photo(stored(ramp(250, 200), orientation)), frame, angle, size)
    assert there is None
    assert crop.shape == (3, size.height, size.width)
    x, y = places(frame, angle, size)
    # A pixel's value is its index, and its middle lies half a pixel on; bytes round by up to 0.5.
    assert (crop[0] - (x - 0.5)).abs().max() <= 0.6
    assert (crop[1] - (y - 0.5)).abs().max() <= 0.6


def test_a_turn_of_nothing_is_the_picture_itself() -> None:
    crop, _ = resampled_turned(open_photo(encoded(ramp(120, 90))), Window(10, 20, 70, 60), 0.0, Size(60, 40))
    assert (crop[0] == torch.arange(10, 70)).all()
    assert (crop[1] == torch.arange(20, 60)[:, None]).all()


def test_what_shrinks_far_is_averaged_and_not_picked() -> None:
    stripes = Image.new("RGB", (800, 800), (0, 0, 0))
    for x in range(0, 800, 2):
        stripes.paste((200, 200, 200), (x, 0, x + 1, 800))
    for side in (40, 150, 220):  # stripes of one pixel stay visible where it shrinks by less than 1.5
        crop, _ = resampled_turned(open_photo(encoded(stripes)), Window(200, 200, 600, 600), 9.0, Size(side, side))
        assert (crop.float() - 100).abs().max() <= 20, side


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_reduced_decode_shows_the_same_place(astronaut: bytes, orientation: int) -> None:
    with Image.open(BytesIO(astronaut)) as image:
        data = stored(image.resize((1537, 1537)), orientation, "JPEG")
    quick, full = open_photo(data), open_photo(data)
    full.pixels()
    frame, size = Window(403, 205, 1203, 1005), Size(150, 150)
    one, other = (resampled_turned(photo, frame, 12.0, size)[0].float() for photo in (quick, full))
    assert float(10 * torch.log10(255**2 / (one - other).square().mean())) >= 34  # a pixel off gives 23


def plan(frame: Window, picture: Size, angle: float, output: Size | None = None) -> CropPlan:
    window = Window(max(frame.x1, 0), max(frame.y1, 0), min(frame.x2, picture.width), min(frame.y2, picture.height))
    beyond = None if window == frame else frame
    return CropPlan(window, frame.size, output or frame.size, "1:1", "face", (), (), "face", angle=angle, frame=beyond)


def test_a_frame_in_the_picture_has_no_corner_from_beyond_it() -> None:
    white = open_photo(encoded(Image.new("RGB", (200, 200), (255, 255, 255))))
    side = math.floor(200 / (math.cos(math.radians(20)) + math.sin(math.radians(20))))
    first = (200 - side) // 2
    crop = render(
        white, plan(Window(first, first, first + side, first + side), Size(200, 200), 20.0), CPU, (0, 0, 0, 255)
    )
    assert (crop == 255).all()


@pytest.mark.parametrize(
    ("filling", "corner"), [((9, 80, 7, 255), [9, 80, 7]), ("auto", [255, 255, 255]), ("edge", [120, 130, 140])]
)
def test_what_lies_beyond_the_picture_is_filled(filling: object, corner: list[int]) -> None:
    photo = open_photo(encoded(Image.new("RGB", (100, 100), (120, 130, 140))))
    crop = render(photo, plan(Window(-20, -20, 120, 120), Size(100, 100), 20.0), CPU, filling)  # type: ignore[arg-type]
    assert crop.shape == (3, 140, 140)
    assert crop[:, 0, 0].tolist() == crop[:, -1, -1].tolist() == corner
    assert crop[:, 70, 70].tolist() == [120, 130, 140]


def test_transparent_corners_have_soft_edges_and_no_foreign_color() -> None:
    photo = open_photo(encoded(Image.new("RGB", (100, 100), (200, 30, 60))))
    crop = render(photo, plan(Window(-20, -20, 120, 120), Size(100, 100), 20.0, Size(160, 150)), CPU, (0, 0, 0, 0))
    assert crop.shape == (4, 150, 160)
    assert crop[3, 0, 0] == 0
    seen = crop[3] > 8
    assert (crop[0][seen].int() - 200).abs().max() <= 8
    assert crop[3, 75, 80] == 255


@pytest.mark.parametrize("tilt", [-14.0, 9.0, 20.0])
@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_a_tilted_face_comes_out_level(tilt: float, fit: str, cropper: Cropper, astronaut: bytes) -> None:
    with Image.open(BytesIO(astronaut)) as image:
        turned = image.rotate(tilt, Image.Resampling.BICUBIC, fillcolor=(200, 190, 185))
    request = CropRequest(mode="faces", align="eyes", face_height=0.5, fit=fit, output_format="png")
    result = cropper.crop(encoded(turned), request)
    (crop,) = result.crops
    assert crop.data is not None
    (record,) = result.record()["crops"]
    assert record["angle"] == pytest.approx(tilt, abs=3)  # Pillow turns the other way, and the face itself is level
    if fit == "pad":
        assert record["face_height"] == pytest.approx(0.5, abs=0.01)


def test_a_turned_face_is_hidden_where_it_lies(cropper: Cropper, astronaut: bytes) -> None:
    with Image.open(BytesIO(astronaut)) as image:
        turned = image.rotate(15, Image.Resampling.BICUBIC, fillcolor=(200, 190, 185))
    request = CropRequest(mode="faces", align="eyes", face_height=0.4, redact="pixelate", output_format="png")
    (crop,) = cropper.crop(encoded(turned), request).crops
    assert crop.data is not None
    assert crop.plan.angle
    assert cropper.crop(crop.data, CropRequest(mode="faces", if_none="empty"), dry_run=True).crops == ()
