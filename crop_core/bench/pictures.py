"""Photos of any size, made on the spot."""

from __future__ import annotations

from io import BytesIO
from math import sqrt
from pathlib import Path

import numpy as np
from PIL import Image

from crop_core.errors import RequestError

# A phone's 12-megapixel JPEG has 3 to 4 MB, 0.27 bytes a pixel; an enlarged sample alone would have a tenth of it.
NOISE = 8  # standard deviation, of 255
QUALITY = 90
STRIP = 512  # rows that noise is made for at a time: in one piece, 100 megapixels of it take gigabytes
SAMPLE = Path(__file__).parent / "sample.jpg"  # samples/astronaut.jpg, where the wheel has it too


def photo_like(sample: Path, megapixels: float) -> bytes:
    """Return a 4:3 JPEG of that size that shows the sample, with the noise of a camera.

    Raises:
        RequestError: The sample cannot be read.
    """
    try:
        with Image.open(sample) as file:
            picture = file.convert("RGB")
    except OSError as error:
        raise RequestError(f"The picture {sample.name} cannot be read. Name another with --picture.") from error
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
