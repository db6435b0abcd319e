"""Where people would place a window: features without padding, a window within the picture."""

from __future__ import annotations

from dataclasses import replace

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


def test_mirror_image_has_its_padding_on_the_left_and_its_window_mirrored_back() -> None:
    one = passed(416, 200)
    outputs = tuple(stage.flip(-1) for stage in one.outputs)
    assert torch.equal(pooled(replace(one, outputs=outputs), mirrored=True), torch.ones(6912))
    weight, bias = torch.zeros(6912, 6), torch.tensor([0.1, 0.2, 0.5, 0.9, 0.3, 0.6])
    head = CompositionHead({"weight": weight, "bias": bias}, torch.device("cpu"))
    (placed,) = head.placed_in_mirrored([replace(one, outputs=outputs)])
    torch.testing.assert_close(placed, torch.tensor([0.5, 0.2, 0.9, 0.9, 0.7, 0.6]))


def test_doubtful_picture_is_placed_by_the_mean_of_both_looks_and_a_clear_one_by_the_first() -> None:
    detector = load_detector("fast", torch.device("cpu"), torch.float32)
    for sample, is_clear in (("astronaut.jpg", True), ("coffee.jpg", False)):
        photo = open_photo((SAMPLES / sample).read_bytes())
        view = View(photo.pixels(), photo.size)
        with torch.inference_mode():
            glances = detector.look([view])
            first = detector.common.head.placed([glances[0].passes[0]])[0]
            again = detector.look_again(glances, [torch.tensor(False)])
            second = detector.common.head.placed_in_mirrored([again[0].passes[0]])[0]
        expected = first if is_clear else (first + second) / 2
        (seen,) = detector.see_all([view], 0.3, 0.5)
        sides = torch.tensor([photo.size.width, photo.size.height] * 3)
        found = torch.tensor([*seen.composition.box.xyxy, *seen.composition.middle]) / sides
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        assert (first - second).abs().max() > 1e-3


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
