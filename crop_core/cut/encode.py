"""Pixels to a file's bytes, in the wanted format, and the name that says what it is.

Only the colour profile travels along: no EXIF, no GPS, no thumbnails.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

from PIL import AvifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin
from torch import Tensor

from crop_core.cut.encode_on_gpu import encode_jpeg
from crop_core.photo.transparency import on_white
from crop_core.request import MATCH_INPUT

# The effort of each encoder, by size against time at equal SSIM; a photo of 1080 x 1080 and a noisy one of 3000 x 3000:
# WebP in half the time for 4 and 5 % more bytes (97 to 45 ms, 1.2 to 0.6 s), AVIF in a sixth and a tenth for 7 and 5 %
# (361 to 60 ms, 4.7 to 0.4 s), PNG in a quarter for 6 and -2 % (356 to 82 ms, 2.4 to 0.6 s).
WEBP_METHOD, AVIF_SPEED, PNG_LEVEL = 2, 9, 1
# They register their writers when they are imported; Image.save would import all that Pillow has to find one.
_WRITERS = (AvifImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin)
# What match_input means for each format that a picture can have: itself, or the nearest that all can open.
MATCHING = {
    "JPEG": "jpg",
    "MPO": "jpg",
    "HEIF": "jpg",
    "PNG": "png",
    "GIF": "png",
    "BMP": "png",
    "TIFF": "png",
    "WEBP": "webp",
    "AVIF": "avif",
}


def encode(pixels: Tensor, output_format: str, quality: int, icc_profile: bytes | None) -> bytes:
    """Return the encoded picture.

    Args:
        pixels: uint8 tensor [3 or 4, H, W], RGB or RGBA.
        output_format: ``webp``, ``jpg`` (4:4:4 chroma, transparency on white), ``png`` or ``avif``.
        quality: 1 to 100; PNG has none.
        icc_profile: The colour profile to embed, or none.
    """
    if output_format == "jpg" and pixels.device.type == "cuda":
        made_there = encode_jpeg(on_white(pixels), quality, icc_profile)
        if made_there is not None:
            return made_there
    options: dict[str, Any] = {"icc_profile": icc_profile} if icc_profile else {}
    match output_format:
        case "jpg":
            pixels = on_white(pixels)
            options |= {"format": "JPEG", "quality": quality, "subsampling": "4:4:4"}
        case "png":
            options |= {"format": "PNG", "compress_level": PNG_LEVEL}
        case "webp":
            options |= {"format": "WEBP", "quality": quality, "method": WEBP_METHOD}
        case "avif":
            options |= {"format": "AVIF", "quality": quality, "speed": AVIF_SPEED}
        case _:
            raise ValueError(f"no encoder for {output_format!r}")
    buffer = BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).contiguous().cpu().numpy()).save(buffer, **options)
    return buffer.getvalue()


def format_for(output_format: str, source_format: str) -> str:
    """Return the format to write: the request's, or for `match_input` the source's own or nearest."""
    return MATCHING[source_format] if output_format == MATCH_INPUT else output_format


def file_name(index: int, label: str, aspect_ratio: str, extension: str) -> str:
    """Return a name that says what the crop is, since the order of uploads is not kept: 00_person_1x1.webp."""
    return f"{index:02d}_{label.replace(' ', '-')}_{aspect_ratio.replace(':', 'x')}.{extension}"
