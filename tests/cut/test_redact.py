"""Hidden parts: nothing of them is left in the crops."""

from __future__ import annotations

from io import BytesIO

import pytest
import torch
from conftest import SAMPLES
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from crop_core import Box, Cropper, CropRequest, CropResult, Size, Window
from crop_core.cut.redact import hidden
from crop_core.frame.plan import CropPlan

HOW = ("blur", "pixelate")


def noise(channels: int = 3, height: int = 60, width: int = 80) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (channels, height, width), generator=generator, dtype=torch.uint8)


def faces_in(cropper: Cropper, data: bytes) -> list[Box]:
    """Return the faces that the network finds at the thresholds of a request."""
    found = cropper.crop(data, CropRequest(mode="faces", if_none="full_image"), dry_run=True)
    return [one.box for one in found.detections if one.label == "face"]


def faces_left(cropper: Cropper, result: CropResult) -> list[Box]:
    """Return the faces that the network finds in the crops where one was hidden."""
    left = []
    for crop in result.crops:
        assert crop.data is not None
        assert crop.redacted
        places = [crop.plan.in_crop(box) for box in crop.redacted]
        left += [
            face for face in faces_in(cropper, crop.data) if any(face.intersection_area(place) > 0 for place in places)
        ]
    return left


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(
    "inputs",
    [
        {"aspect_ratio": "match_input,9:16"},
        {"mode": "faces", "aspect_ratio": "1:1,4:5"},
        {"mode": "faces", "width": 700, "height": 700, "upscale": "allow"},
        {"width": 64, "height": 64},
        {"fit": "pad", "background": "blur", "aspect_ratio": "9:16"},
    ],
    ids=["cut", "tight", "enlarged", "small", "padded"],
)
def test_the_face_network_finds_nothing_where_a_face_was_hidden(
    inputs: dict[str, object], how: str, cropper: Cropper, astronaut: bytes
) -> None:
    request = CropRequest.from_inputs(redact=how, output_format="png", **inputs)
    assert faces_left(cropper, cropper.crop(astronaut, request)) == []


def test_the_same_crop_without_redact_shows_the_face(cropper: Cropper, astronaut: bytes) -> None:
    (crop,) = cropper.crop(astronaut, CropRequest(mode="faces", output_format="png")).crops
    assert crop.data is not None
    assert len(faces_in(cropper, crop.data)) == 1


def test_the_preview_hides_what_the_crops_hide(cropper: Cropper, astronaut: bytes) -> None:
    request = CropRequest(redact="pixelate", preview=True)
    result = cropper.crop(astronaut, request)
    assert result.preview is not None
    assert faces_in(cropper, result.preview) == []


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("channels", [3, 4])
def test_what_is_outside_of_a_hidden_part_and_its_margin_stays(how: str, channels: int) -> None:
    before = noise(channels)
    kept = before.clone()
    after = hidden(before, [Box(20, 10, 40, 30)], how)
    assert torch.equal(before, kept)  # the caller's own pixels are not written to
    changed = (before != after).any(0)
    assert changed[3:37, 13:47].float().mean() > 0.9
    changed[3:37, 13:47] = False
    assert not changed.any()
    assert torch.equal(after[3:], before[3:])


def test_a_hidden_part_keeps_a_few_means_of_its_colors_and_no_more() -> None:
    after = hidden(noise(), [Box(20, 10, 40, 30)], "pixelate")[:, 3:37, 13:47]
    assert len({tuple(color) for color in after.flatten(1).T.tolist()}) <= 4


@pytest.mark.parametrize(
    "box", [Box(-50, -50, 500, 500), Box(70, 50, 300, 300), Box(79.6, 59.6, 80, 60), Box(0, 0, 1, 1)]
)
@pytest.mark.parametrize("how", HOW)
def test_a_part_may_lie_anywhere(box: Box, how: str) -> None:
    assert hidden(noise(), [box], how).shape == (3, 60, 80)


@pytest.mark.parametrize("box", [Box(-90, 0, -80, 10), Box(200, 200, 300, 300)])
def test_a_part_outside_of_the_crop_hides_nothing(box: Box) -> None:
    pixels = noise()
    assert hidden(pixels, [box], "blur") is pixels


def test_labels_say_what_is_hidden_and_the_record_says_where(cropper: Cropper, astronaut: bytes) -> None:
    for labels, wanted in (
        ("face", {"face"}),
        ("person", {"person"}),
        ("face,person", {"face", "person"}),
        ("dog", set()),
    ):
        request = CropRequest(redact="blur", redact_labels=labels, aspect_ratios=("match_input",))
        result = cropper.crop(astronaut, request, dry_run=True)
        (crop,) = result.record()["crops"]
        found = [one.box for one in result.detections if one.label in wanted]
        assert len(crop["redacted"]) >= len(found)
        for box in found:
            assert [round(side, 2) for side in box.xyxy] in crop["redacted"]
        assert bool(crop["redacted"]) == bool(wanted)
    assert "redacted" not in cropper.crop(astronaut, CropRequest(), dry_run=True).record()["crops"][0]


boxes = st.tuples(*[st.floats(-50, 250)] * 4).map(
    lambda t: Box(min(t[0], t[2]), min(t[1], t[3]), max(t[0], t[2]), max(t[1], t[3]))
)


@given(boxes, st.integers(1, 300), st.integers(1, 300))
def test_a_box_lies_in_the_crop_where_its_pixels_do(box: Box, width: int, height: int) -> None:
    window = Window(10, 20, 110, 90)
    plan = CropPlan(window, Size(width, height), Size(width, height), "free", "dog", (), (), "subject")
    there = plan.in_crop(box)
    assert there.x1 == pytest.approx((box.x1 - 10) * width / 100, abs=1e-6)
    assert there.y2 == pytest.approx((box.y2 - 20) * height / 70, abs=1e-6)


def test_the_sample_has_the_face_that_these_tests_hide(cropper: Cropper) -> None:
    data = (SAMPLES / "astronaut.jpg").read_bytes()
    with Image.open(BytesIO(data)) as image:
        assert image.size == (512, 512)
    assert len(faces_in(cropper, data)) == 1
