"""Where people would place a window: features without padding, a window within the picture."""

from __future__ import annotations

import torch
from conftest import SAMPLES

from crop_core.detect.candidates import NetworkPass
from crop_core.detect.choose_detector import load_detector
from crop_core.detect.composition_head import CompositionHead, pooled
from crop_core.detect.network_input import View
from crop_core.detect.weights.load import load_tensors
from crop_core.geometry import Size
from crop_core.photo.photo import open_photo


def passed(height: int, width: int, fill: float = 1.0) -> NetworkPass:
    """Return a pass of a picture of that height and width in an input of 416x416, whose padding has wild features."""
    stages = []
    for channels, stride in ((256, 16), (512, 32)):
        stage = torch.full((1, channels, 416 // stride, 416 // stride), 1e6)
        stage[:, :, : -(-height // stride), : -(-width // stride)] = fill
        stages.append(stage)
    return NetworkPass(tuple(stages), torch.empty(1, 3, 416, 416), (height, width), Size(width, height))


def test_padding_has_no_say() -> None:
    for height, width in ((416, 416), (312, 416), (416, 20), (1, 416)):
        assert torch.equal(pooled(passed(height, width)), torch.ones(6912))


def test_window_and_middle_are_the_bias_where_there_is_nothing_and_stay_in_the_picture() -> None:
    tensors = load_tensors("composition.safetensors")
    head = CompositionHead(tensors, torch.device("cpu"))
    (placed,) = head.placed([passed(416, 416, 0)])
    assert torch.allclose(placed, tensors["bias"].clamp(0, 1))
    assert head.placed([passed(416, 416, 1e4)]).clamp(0, 1).equal(head.placed([passed(416, 416, 1e4)]))


def test_mirrored_picture_has_about_the_mirrored_window_and_middle() -> None:
    """It learned from mirror images too."""
    detector = load_detector("fast", torch.device("cpu"), torch.float32)
    for path in sorted(SAMPLES.glob("*.jpg")):
        photo = open_photo(path.read_bytes())
        plain, mirrored = (
            seen.composition
            for seen in detector.see_all(
                [View(pixels, photo.size) for pixels in (photo.pixels(), photo.pixels().flip(-1))], 0.3, 0.5
            )
        )
        assert abs(plain.box.x1 - (photo.size.width - mirrored.box.x2)) < 0.15 * photo.size.width
        assert abs(plain.middle[0] - (photo.size.width - mirrored.middle[0])) < 0.15 * photo.size.width
        assert plain.box.width > 0.2 * photo.size.width
