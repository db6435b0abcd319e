"""Makes photos of any size to measure with."""

from __future__ import annotations

from io import BytesIO
from math import sqrt
from pathlib import Path

import numpy as np
from PIL import Image

from crop_core.errors import RequestError

# A phone's 12-megapixel JPEG has about 0.27 bytes a pixel. Without noise an enlarged sample has a tenth of that.
NOISE = 8  # standard deviation, of 255
QUALITY = 90
STRIP = 512  # rows that get noise at once: the noise of 100 megapixels takes gigabytes
SAMPLE = Path(__file__).parent / "sample.jpg"  # a copy of samples/astronaut.jpg, so that the wheel has it


def photo_like(sample: Path, megapixels: float) -> bytes:
    """Return a 4:3 JPEG of that size that shows the sample, with noise like a camera's.

    Raises:
        RequestError: The sample cannot be read.
    """
    return _photo_of(_opened(sample), megapixels)


def doubtful_photo(megapixels: float) -> bytes:
    """Return a JPEG in which no detector is confident of anything: a bright disc in a haze.

    On it the networks do everything that they do if one look is not enough.
    """
    x, y = np.meshgrid(np.linspace(0, 4, 800), np.linspace(0, 3, 600))
    disc = np.hypot(x - 2.6, y - 1.3) < 0.5
    pixels = np.stack([90 + 20 * y, 110 + 15 * y, 140 + 5 * x], -1) + disc[..., None] * np.array([120, 60, -60])
    return _photo_of(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), megapixels)


def _opened(sample: Path) -> Image.Image:
    try:
        with Image.open(sample) as file:
            return file.convert("RGB")
    except OSError as error:
        raise RequestError(f"The picture {sample.name} cannot be read. Name another with --picture.") from error


def _photo_of(picture: Image.Image, megapixels: float) -> bytes:
    size = (round(sqrt(megapixels * 1e6 * 4 / 3)), round(sqrt(megapixels * 1e6 * 3 / 4)))
    large = picture.resize(size, Image.Resampling.BICUBIC)
    random = np.random.default_rng(0)
    for top in range(0, size[1], STRIP):
        strip = large.crop((0, top, size[0], min(top + STRIP, size[1])))
        pixels = np.asarray(strip, dtype=np.float32) + random.normal(0, NOISE, (strip.height, strip.width, 3))
        large.paste(Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8)), (0, top))
    buffer = BytesIO()
    large.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
