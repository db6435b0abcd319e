"""Pictures made on the spot, of every format and kind, and how they are compared."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pillow_heif
from conftest import STORED_AS, encoded
from PIL import Image, ImageCms

from crop_core import ImageError
from crop_core.photo import open_photo

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


def icc(space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """Return an ICC profile, version 2.4, made by hand: Pillow makes none for gray or CMYK."""
    d50 = struct.pack(">3i", 63190, 65536, 54061)
    text = b"made for a test\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(8 + 3 + 67),
        b"cprt": b"text\0\0\0\0" + text,
        b"wtpt": b"XYZ \0\0\0\0" + d50,
        **tags,
    }
    table, body = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(content))
        body += content
    head = bytearray(128)
    head[8:12], head[12:16], head[16:20], head[20:24] = b"\x02\x40\0\0", b"prtr", space, connection
    head[24:36], head[36:40], head[68:80] = struct.pack(">6H", 2026, 1, 1, 0, 0, 0), b"acsp", d50
    head[0:4] = struct.pack(">I", 132 + 12 * len(tags) + len(body))
    return bytes(head) + table + body


def linear_gray_profile() -> bytes:
    """Return a gray profile of gamma 1: 128 of 255 is half the light, 188 in sRGB."""
    return icc(b"GRAY", b"XYZ ", {b"kTRC": b"curv\0\0\0\0" + struct.pack(">I", 0)})


def cmyk_profile() -> bytes:
    """Return a CMYK profile in which all cyan ink is a strong red (Lab 50, 70, 50), any other ink is black."""
    table = b""
    for cell in range(16):  # cyan varies slowest, black fastest; 8-bit Lab: L * 255/100, a + 128, b + 128
        lightness, a, b = {0: (100, 0, 0), 8: (50, 70, 50)}.get(cell, (0, 0, 0))
        table += bytes((round(lightness * 2.55), a + 128, b + 128))
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    straight = bytes(range(256))
    return icc(b"CMYK", b"Lab ", {b"A2B0": b"mft1\0\0\0\0\4\3\2\0" + identity + straight * 4 + table + straight * 3})


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def assert_reads_well(error: ImageError) -> None:
    message = str(error)
    assert message.endswith(".")
    assert "\n" not in message
    assert len(message) < 300
    assert "/" not in message
    assert "\\" not in message
