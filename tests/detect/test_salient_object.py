"""The port of U²-Net-p, its regions, and what becomes of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import SAMPLES, encoded
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw

from crop_core import Cropper, CropRequest
from crop_core.detect.regions import LEAST_SHARE, OF_LARGEST, THRESHOLD, regions_of
from crop_core.detect.salient_object import SIDE, SalientObject, normalized
from crop_core.detect.seen import seen_in
from crop_core.detect.weights.load import load_tensors
from crop_core.detection import SALIENT, Composition, Detection
from crop_core.geometry import Box, Size

SIZE = Size(400, 400)
FULL = (0.0, 0.0, 1.0, 1.0, 0.5, 0.25)


def mask_with(*boxes: tuple[int, int, int, int], value: float = 1.0) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), np.float32)
    for x1, y1, x2, y2 in boxes:
        mask[y1:y2, x1:x2] = value
    return mask


@pytest.mark.parametrize("sample", sorted(path.name for path in SAMPLES.glob("*.jpg")))
def test_map_lies_between_0_and_1_at_every_side(sample: str) -> None:
    network = SalientObject()
    network.load_state_dict(load_tensors("u2netp.safetensors"))
    with Image.open(SAMPLES / sample) as image:
        pixels = torch.from_numpy(np.array(image.convert("RGB").resize((96, 64)))).permute(2, 0, 1)[None]
    with torch.inference_mode():
        (found,) = network.eval()(normalized(pixels))
    assert found.shape == (1, 1, 64, 96)
    assert 0 <= found.min() <= found.max() <= 1


def test_empty_mask_has_no_region() -> None:
    assert regions_of(mask_with()) == []


def test_regions_that_touch_are_one_and_others_are_apart() -> None:
    found = regions_of(mask_with((0, 0, 96, 96), (96, 50, 120, 60), (150, 150, 190, 190)))
    assert [region.box for region in found] == [
        (0, 0, 120 / SIDE, 96 / SIDE),
        (150 / SIDE, 150 / SIDE, 190 / SIDE, 190 / SIDE),
    ]
    assert found[0].share == pytest.approx((96 * 96 + 24 * 10) / SIDE**2)
    assert found[0].mean == pytest.approx(1)


def test_a_ring_is_one_region() -> None:
    mask = mask_with((20, 20, 160, 160))
    mask[40:140, 40:140] = 0
    (region,) = regions_of(mask)
    assert region.box == (20 / SIDE, 20 / SIDE, 160 / SIDE, 160 / SIDE)


def slowly(mask: np.ndarray) -> list[tuple[int, int, int, int, int]]:
    """Return x1, y1, x2, y2 and the cells of each region, found one cell at a time."""
    left = {(int(y), int(x)) for y, x in zip(*np.where(mask >= THRESHOLD), strict=True)}
    found = []
    while left:
        queue = [left.pop()]
        cells = list(queue)
        while queue:
            y, x = queue.pop()
            for near in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                if near in left:
                    left.remove(near)
                    queue.append(near)
                    cells.append(near)
        ys, xs = zip(*cells, strict=True)
        found.append((min(xs), min(ys), max(xs) + 1, max(ys) + 1, len(cells)))
    least = max(LEAST_SHARE * mask.size, OF_LARGEST * max((one[4] for one in found), default=0))
    return sorted(one for one in found if one[4] >= least)


@given(arrays(np.float32, (9, 12), elements=st.sampled_from([np.float32(0), np.float32(0.5), np.float32(1)])))
def test_regions_are_those_that_a_slow_search_finds(mask: np.ndarray) -> None:
    found = [
        (
            *(round(side * scale) for side, scale in zip(region.box, (12, 9, 12, 9), strict=True)),
            round(region.share * 108),
        )
        for region in regions_of(mask)
    ]
    assert sorted(found) == slowly(mask)


def test_a_region_that_nothing_explains_is_a_detection() -> None:
    seen = seen_in(SIZE, (), FULL, mask_with((48, 48, 96, 96)), 0.3)
    (one,) = seen.detections
    assert (one.label, one.box, one.score) == (SALIENT, Box(100, 100, 200, 200), pytest.approx(1))
    assert seen.composition == Composition(Box(0, 0, 400, 400), (200, 100))
    assert seen.mask is not None
    assert (len(seen.mask), len(seen.mask[0])) == (48, 48)


@pytest.mark.parametrize(
    ("detection", "salient"),
    [
        (Detection("cup", 0.4, Box(100, 100, 210, 210)), False),
        (Detection("cup", 0.2, Box(100, 100, 210, 210)), True),
        (Detection("bed", 0.55, Box(0, 250, 400, 400)), True),
        (Detection("person", 0.6, Box(60, 60, 230, 230)), False),
        (Detection("person", 0.9, Box(0, 0, 400, 400)), True),
    ],
    ids=["the same", "too weak", "elsewhere", "around it", "around all"],
)
def test_a_detection_at_the_same_place_explains_a_region(detection: Detection, salient: bool) -> None:
    seen = seen_in(SIZE, (detection,), FULL, mask_with((48, 48, 96, 96)), 0.1)
    assert (SALIENT in {one.label for one in seen.detections}) is salient


def test_an_unsure_region_has_a_low_score() -> None:
    (one,) = seen_in(SIZE, (), FULL, mask_with((48, 48, 96, 96), value=0.6), 0.0).detections
    assert one.score == pytest.approx(0.04)
    assert seen_in(SIZE, (), FULL, mask_with((48, 48, 96, 96), value=0.6), 0.3).detections == ()


def bracket() -> Image.Image:
    """Return a drawn thing of no class on white, at the left."""
    image = Image.new("RGB", (900, 600), "white")
    corners = [(90, 100), (180, 100), (180, 380), (330, 380), (330, 470), (90, 470)]
    ImageDraw.Draw(image).polygon(corners, fill=(90, 60, 40))
    return image


def test_a_thing_of_no_class_is_found_and_cropped(cropper: Cropper) -> None:
    data = encoded(bracket(), "JPEG")
    request = CropRequest(mode="objects", labels="salient", padding=0)
    (crop,) = cropper.crop(data, request, dry_run=True).crops
    assert crop.plan.label == SALIENT
    thing = Box(90, 100, 330, 470)
    window = crop.window.box
    assert thing.coverage(window) > 0.9
    assert window.area < 3 * thing.area
    (square,) = cropper.crop(data, CropRequest(), dry_run=True).crops
    assert thing.coverage(square.window) > 0.95
