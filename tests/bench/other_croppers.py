"""Other people's croppers, each from a JPEG's bytes to those of a square JPEG, with no file between.

The extra `bench` installs them; one that is not installed is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from io import BytesIO

import numpy as np
from PIL import Image

QUALITY = 85


def _libvips(data: bytes, side: int) -> bytes | None:
    import pyvips

    result: bytes = pyvips.Image.thumbnail_buffer(data, side, height=side, crop="attention").jpegsave_buffer(Q=QUALITY)
    return result


def _smartcrop(data: bytes, side: int) -> bytes | None:
    import smartcrop

    with Image.open(BytesIO(data)) as file:
        picture = file.convert("RGB")
    top = smartcrop.SmartCrop().crop(picture, 100, 100)["top_crop"]
    box = (top["x"], top["y"], top["x"] + top["width"], top["y"] + top["height"])
    return _jpeg(picture.crop(box).resize((side, side), Image.Resampling.LANCZOS))


def _smart_crop_ai(data: bytes, side: int) -> bytes | None:
    import smart_crop_ai

    with Image.open(BytesIO(data)) as file:
        picture = file.convert("RGB")
    return _jpeg(smart_crop_ai.crop(picture, ratio=1.0).image.resize((side, side), Image.Resampling.LANCZOS))


def _autocrop(data: bytes, side: int) -> bytes | None:
    import autocrop

    with Image.open(BytesIO(data)) as file:
        picture = np.asarray(file.convert("RGB"))[:, :, ::-1]  # it takes OpenCV's order, and gives RGB
    found = autocrop.Cropper(width=side, height=side).crop(picture)
    return None if found.image is None else _jpeg(Image.fromarray(found.image))


def _jpeg(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


Peer = Callable[[bytes, int], bytes | None]

_ALL: dict[str, tuple[str, Peer]] = {
    "libvips attention": ("pyvips", _libvips),
    "smartcrop.py": ("smartcrop", _smartcrop),
    "smart-crop-ai": ("smart_crop_ai", _smart_crop_ai),
    "autocrop": ("autocrop", _autocrop),
}


def installed() -> dict[str, Peer]:
    """Return the peers that are there, by name."""
    return {name: peer for name, (module, peer) in _ALL.items() if find_spec(module) is not None}
