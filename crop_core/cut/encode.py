"""Encodes pixels into a file's bytes, and names the file.

Of the picture's metadata only the colour profile is kept: no EXIF, no GPS, no thumbnails.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

from PIL import AvifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin
from torch import Tensor

from crop_core.cut.encode_on_gpu import encode_jpeg
from crop_core.photo.transparency import on_white
from crop_core.request import MATCH_INPUT

# The effort of each encoder: much faster than Pillow's defaults, for slightly larger files of the same quality.
# tests/bench/README.md has the figures.
WEBP_METHOD, AVIF_SPEED, PNG_LEVEL = 2, 9, 1
# Importing these registers their writers. Without it Image.save would import every plugin of Pillow to find one.
_WRITERS = (AvifImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin)
# What match_input means for each format of a picture: the same format, or the nearest that every program opens.
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
        quality: 1 to 100; PNG ignores it.
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
    """Return the format to write: the request's, or for `match_input` the picture's own or the nearest to it."""
    return MATCHING[source_format] if output_format == MATCH_INPUT else output_format


def file_name(index: int, label: str, aspect_ratio: str, extension: str) -> str:
    """Return a name such as 00_person_1x1.webp, which says what the crop is: servers do not keep the files' order."""
    return f"{index:02d}_{label.replace(' ', '-')}_{aspect_ratio.replace(':', 'x')}.{extension}"
