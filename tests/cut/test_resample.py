"""Parts of a picture at sizes of their own, held to what Pillow makes of them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from crop_core.cut.resample import Part as Box
from crop_core.cut.resample import resampled_image as resampled

SIZE = (300, 240)


def smooth(mode: str = "RGB") -> Image.Image:
    """Return a picture without sharp edges, whose values differ from pixel to pixel."""
    small = np.random.default_rng(0).integers(0, 256, (40, 50, 4), dtype=np.uint8)
    return Image.fromarray(small, "RGBA").convert(mode).resize(SIZE, Image.Resampling.BICUBIC)


def difference(image: Image.Image, box: Box, size: tuple[int, int], border: int) -> int:
    """Return the largest difference from Pillow's result, the outermost pixels left out."""
    ours = resampled(image, box, size).permute(1, 2, 0).numpy().astype(int)
    if image.mode == "RGBA":
        pillows = np.asarray(image.convert("RGBa").resize(size, Image.Resampling.BICUBIC, box).convert("RGBA"))
    else:
        pillows = np.asarray(image.resize(size, Image.Resampling.BICUBIC, box))
    assert ours.shape == pillows.shape
    inner = slice(border, -border) if border else slice(None)
    return int(np.abs(ours - pillows)[inner, inner].max())


@pytest.mark.parametrize(
    ("box", "size"),
    [
        pytest.param((0, 0, 300, 240), (107, 85), id="whole"),
        pytest.param((40, 30, 290, 230), (180, 144), id="begins on a pixel"),
        pytest.param((40.5, 30.5, 290.5, 230.5), (180, 144), id="begins between two, and a few back on one"),
        pytest.param((40.25, 31.75, 290, 231.5), (90, 72), id="in quarters"),
        pytest.param((40.5, 30, 240.5, 230), (100, 100), id="begins between two as every one before does"),
        pytest.param((0.5, 0.5, 200.5, 200.5), (77, 133), id="too near the border to begin before"),
        pytest.param((99.5, 100, 140.5, 140), (164, 160), id="enlarged"),
        pytest.param((299, 239, 300, 240), (5, 4), id="the last pixel"),
        pytest.param((100.5, 80, 250, 201), (1, 1), id="to one pixel"),
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_part_comes_out_as_pillow_makes_it(mode: str, box: Box, size: tuple[int, int]) -> None:
    assert difference(smooth(mode), box, size, border=0) <= 3


def test_noise_comes_out_as_pillow_makes_it_but_at_the_border() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*SIZE[::-1], 3), dtype=np.uint8))
    assert difference(noise, (40.5, 30.5, 290.5, 230.5), (180, 144), border=3) <= 6


def test_the_halves_of_a_resized_part_meet_without_a_seam() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*SIZE[::-1], 3), dtype=np.uint8))
    assert difference(noise, (3.5, 5, 181.5, 235), (89, 115), border=0) <= 1  # what rounding makes of it


@pytest.mark.parametrize("size", [(1, 1), (3, 700), (299, 239)])
def test_every_part_has_its_size(size: tuple[int, int]) -> None:
    image = smooth()
    for box in [(0, 0, 300, 240), (0, 0, 1, 1), (12.5, 7.25, 293.125, 239.75), (299.5, 239.5, 300, 240)]:
        assert resampled(image, box, size).shape == (3, size[1], size[0])
