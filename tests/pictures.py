"""Pictures made on the spot, of every format and kind, and how they are compared."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pillow_heif
from conftest import STORED_AS, encoded
from PIL import Image

from crop_core import ImageError
from crop_core.photo.photo import open_photo

ORIENTATION_TAG = 0x0112


def heic(image: Image.Image, **options: object) -> bytes:
    buffer = BytesIO()
    pillow_heif.from_pillow(image).save(buffer, **options)
    return buffer.getvalue()


# Every format, as close to lossless as it goes; the tolerance is the largest difference of a channel on a ramp.
WRITERS: dict[str, Callable[..., bytes]] = {
    "JPEG": lambda image, **o: encoded(image, "JPEG", quality=95, subsampling=0, **o),
    "MPO": lambda image, **o: encoded(image, "MPO", quality=95, save_all=True, append_images=[image], **o),
    "PNG": lambda image, **o: encoded(image, "PNG", **o),
    "WEBP": lambda image, **o: encoded(image, "WEBP", lossless=True, **o),
    "AVIF": lambda image, **o: encoded(image, "AVIF", quality=95, subsampling="4:4:4", **o),
    "HEIF": lambda image, **o: heic(image, quality=95, chroma=444, **o),
    "TIFF": lambda image, **o: encoded(image, "TIFF", **o),
    "BMP": lambda image: encoded(image, "BMP"),
    "GIF": lambda image: encoded(image, "GIF"),
}


def exif_bytes(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    return exif.tobytes()


def stored(upright: Image.Image, orientation: int) -> Image.Image:
    turn = STORED_AS[orientation]
    return upright if turn is None else upright.transpose(turn)


def array_of(data: bytes, **options: object) -> np.ndarray:
    """Return the photo's pixels as [h, w, channels] of int, which differences need."""
    return open_photo(data).pixels(**options).permute(1, 2, 0).numpy().astype(int)


def largest_difference(one: np.ndarray, other: np.ndarray) -> int:
    assert one.shape == other.shape
    return int(np.abs(one - other).max())


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int, color: int, rows: bytes, before: bytes = b"", after: bytes = b"") -> bytes:
    """Return a PNG made by hand, for what Pillow does not write; `rows` begin with their filter's 0."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + pixels + after + chunk(b"IEND", b"")


def tiff(array: np.ndarray, photometric: int = 2, sample_format: int = 1) -> bytes:
    """Return a TIFF made by hand, for what Pillow does not write: [h, w, channels] as it stands, in one strip."""
    height, width, channels = array.shape
    body = array.astype(array.dtype.newbyteorder("<")).tobytes()
    bits = struct.pack(f"<{channels}H", *[array.dtype.itemsize * 8] * channels)
    formats = struct.pack(f"<{channels}H", *[sample_format] * channels)
    at = 8 + len(body)
    entries = [
        (256, 3, 1, width),
        (257, 3, 1, height),
        (258, 3, channels, at),
        (259, 3, 1, 1),
        (262, 3, 1, photometric),
    ]
    entries += [(273, 4, 1, 8), (277, 3, 1, channels), (278, 3, 1, height), (279, 4, 1, len(body))]
    entries += [(339, 3, channels, at + len(bits))]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", at + len(bits) + len(formats)) + body + bits + formats + directory


def assert_reads_well(error: ImageError) -> None:
    message = str(error)
    assert message.endswith(".")
    assert "\n" not in message
    assert len(message) < 300
    assert "/" not in message
    assert "\\" not in message
