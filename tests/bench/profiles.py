"""Colour profiles made by hand, and how the colours of pictures are compared through them."""

from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms


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


def plausible_cmyk_profile() -> bytes:
    """Return a CMYK profile in which each ink takes its colour out of white, as paper does in schoolbooks."""
    corners = [(cell >> 3 & 1, cell >> 2 & 1, cell >> 1 & 1, cell & 1) for cell in range(16)]
    colors = [tuple(round(255 * (1 - ink) * (1 - black)) for ink in inks) for *inks, black in corners]
    swatches = Image.frombytes("RGB", (16, 1), bytes(value for color in colors for value in color))
    lab = ImageCms.profileToProfile(swatches, ImageCms.createProfile("sRGB"), LAB, outputMode="LAB")
    table = bytes(value for one in np.asarray(lab)[0].tolist() for value in (one[0], one[1] ^ 128, one[2] ^ 128))
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    straight = bytes(range(256))
    return icc(b"CMYK", b"Lab ", {b"A2B0": b"mft1\0\0\0\0\4\3\2\0" + identity + straight * 4 + table + straight * 3})


def rgb_profile(
    colorants: tuple[tuple[float, float, float], ...], curve: bytes, more: dict[bytes, bytes] | None = None
) -> bytes:
    """Return an RGB profile by the XYZ of its red, green and blue under D50, one curve for all three, and more tags."""
    columns = {
        name + b"XYZ": b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in color))
        for name, color in zip((b"r", b"g", b"b"), colorants, strict=True)
    }
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), b"curv\x00\x00\x00\x00" + curve)
    return icc(b"RGB ", b"XYZ ", columns | curves | (more or {}))


def gamma(exponent: float) -> bytes:
    return struct.pack(">IH", 1, round(exponent * 256))


def table(values: np.ndarray) -> bytes:
    return struct.pack(f">I{len(values)}H", len(values), *(np.clip(values, 0, 1) * 65535).round().astype(int).tolist())


_STEPS = np.linspace(0, 1, 1024)
_SRGB_CURVE = np.where(_STEPS <= 0.04045, _STEPS / 12.92, ((_STEPS + 0.055) / 1.055) ** 2.4)
_SRGB_COLORANTS = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))

LAB = ImageCms.createProfile("LAB")
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# The primaries of each space, adapted to D50 as ICC profiles hold them.
DISPLAY_P3 = rgb_profile(
    ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)), table(_SRGB_CURVE)
)
ADOBE_RGB = rgb_profile(
    ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)), gamma(563 / 256)
)
PROPHOTO = rgb_profile(((0.79767, 0.28804, 0.0), (0.13519, 0.71188, 0.0), (0.03134, 0.00009, 0.82491)), gamma(1.8))


def chained_profile(links: int) -> bytes:
    """Return sRGB with a second conversion beside its usual one: a chain that darkens at each of its many links."""
    curve = b"curf\0\0\0\0" + struct.pack(">HH", 1, 0) + b"parf\0\0\0\0" + struct.pack(">HH4f", 0, 0, 1.1, 1, 0, 0)
    place = struct.pack(">II", 12 + 3 * 8, len(curve))
    curves = b"cvst\0\0\0\0" + struct.pack(">HH", 3, 3) + place * 3 + curve
    matrix = b"matf\0\0\0\0" + struct.pack(
        ">HH12f", 3, 3, *(0.9, 0.05, 0.05, 0.05, 0.9, 0.05, 0.05, 0.05, 0.9), 0, 0, 0
    )
    # All links lie in two places: the table alone grows.
    first = 16 + 8 * links
    places = (struct.pack(">II", first, len(curves)), struct.pack(">II", first + len(curves), len(matrix)))
    chain = b"mpet\0\0\0\0" + struct.pack(">HHI", 3, 3, links) + b"".join(places[n % 2] for n in range(links))
    return rgb_profile(_SRGB_COLORANTS, table(_SRGB_CURVE), {b"D2B0": chain + curves + matrix})


# A picture whose pixels are its own negative: as far from what they mean as XYB's, and made in one line.
NEGATIVE = rgb_profile(_SRGB_COLORANTS, table(_SRGB_CURVE[::-1]))


def in_profile(image: Image.Image, profile: bytes, mode: str = "RGB") -> Image.Image:
    """Return an sRGB picture in the space of a profile."""
    source, target = (ImageCms.ImageCmsProfile(BytesIO(one)) for one in (SRGB, profile))
    return ImageCms.profileToProfile(image, source, target, outputMode=mode)


def lab_of(image: Image.Image, profile: bytes | None) -> np.ndarray:
    """Return what colours a picture shows by its profile, sRGB where it has none: L*, a*, b* [h, w, 3]."""
    source = ImageCms.ImageCmsProfile(BytesIO(profile or SRGB))
    lab = ImageCms.profileToProfile(image, source, LAB, outputMode="LAB")
    values = np.asarray(lab).astype(float)
    values[..., 0] *= 100 / 255
    values[..., 1:] = (np.asarray(lab)[..., 1:].view(np.int8)).astype(float)
    return values


def mean_delta_e(one: np.ndarray, other: np.ndarray) -> float:
    """Return the mean distance of colours, CIE76: 1 is just seen, 2 is hard to see."""
    assert one.shape == other.shape
    return float(np.sqrt(((one - other) ** 2).sum(-1)).mean())
